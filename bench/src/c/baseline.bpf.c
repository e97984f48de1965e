// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What the walk is measured against: programs that do nothing but have the kernel walk a stack, by frame pointers in user
 * space, and count its frames. The idle task's stack is left alone, as by the agent.
 */
#include "frames.h"

#define MAX_FRAMES 127

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64[MAX_FRAMES]);
} room SEC(".maps");

static __always_inline u64 walk(void *ctx, u64 flags)
{
	u32 zero = 0;
	void *words = bpf_map_lookup_elem(&room, &zero);
	long bytes = words ? bpf_get_stack(ctx, words, MAX_FRAMES * sizeof(u64), flags) : 0;

	return bytes > 0 ? (u64)bytes / sizeof(u64) : 0;
}

static __always_inline int take(void *ctx, bool user, bool kernel)
{
	u32 zero = 0;
	struct frames *sums = bpf_map_lookup_elem(&frames, &zero);

	if (!sums || !(u32)bpf_get_current_pid_tgid())
		return 0;
	sums->samples++;
	if (kernel)
		sums->kernel += walk(ctx, 0);
	if (user)
		sums->user += walk(ctx, BPF_F_USER_STACK);
	return 0;
}

SEC("perf_event")
int stack_user(void *ctx)
{
	return take(ctx, true, false);
}

SEC("perf_event")
int stack_kernel(void *ctx)
{
	return take(ctx, false, true);
}

SEC("perf_event")
int stack_both(void *ctx)
{
	return take(ctx, true, true);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
