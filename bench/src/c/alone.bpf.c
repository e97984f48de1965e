// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The agent's walk and nothing else: nothing is counted but frames. Its tables and lists of mappings are those of a running
 * agent.
 */
#include "frames.h"
#include "process.h"
#include "walk.h"

static __always_inline int take(struct bpf_perf_event_data *ctx, bool kernel)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct process_state *process;
	struct frames *sums;
	struct walk *w;
	u32 zero = 0;

	w = bpf_map_lookup_elem(&scratch, &zero);
	sums = bpf_map_lookup_elem(&frames, &zero);
	if (!w || !sums || !task->pid)
		return 0;
	process = bpf_task_storage_get(&processes, task->group_leader, 0, 0);
	w->hashes = (struct hashes){};
	w->record.length = 0;
	if (kernel)
		walk_kernel(ctx, w);
	sums->kernel += w->record.length;
	w->frames = 0;
	walk_user(w, task, process);
	sums->user += w->frames;
	sums->samples++;
	return 0;
}

SEC("perf_event")
int walk_user_alone(struct bpf_perf_event_data *ctx)
{
	return take(ctx, false);
}

SEC("perf_event")
int walk_both_alone(struct bpf_perf_event_data *ctx)
{
	return take(ctx, true);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
