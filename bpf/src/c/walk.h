/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The walk: a task's stack as words, leaf first, with how it ended as the last word, and its hash.
 *
 * Kernel addresses are words as they are. User addresses get a tag and are resolved to (file, offset) by the agent
 * when the window is drained. A word holds the address to look up: a return address points behind its call, perhaps
 * into the next function, so it is made one less; the leaf's address and the one at which user space was left are
 * exact.
 */
#pragma once

#include "window.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stack_record);
} scratch SEC(".maps");

struct hashes {
	u64 strong;
	u64 check;
};

static __always_inline void hash_word(struct hashes *h, u64 word)
{
	h->strong = (h->strong ^ word) * 0x9e3779b97f4a7c15ull;
	h->strong ^= h->strong >> 29;
	h->check = (h->check ^ word) * 0xc2b2ae3d27d4eb4full;
	h->check ^= h->check >> 31;
}

static __always_inline u64 tagged(enum word_tag tag, u64 payload)
{
	return (u64)tag << 56 | (payload & 0x00ffffffffffffffull);
}

/* Turns addresses words[from..to] into words, in place. Global, so that the verifier walks the loop once, not in each path. */
__noinline int finish_part(struct stack_record *record, struct hashes *h, u64 from, u64 to, bool user)
{
	if (!record || !h)
		return 0;
	for (u64 i = 0; i < MAX_FRAMES; i++) {
		u64 at = from + i;
		u64 word;

		/* Without it clang tests one copy of the index and uses another, for which the verifier has no bound. */
		barrier_var(at);
		if (at >= to || at >= MAX_WORDS)
			break;
		word = record->words[at] - (i > 0);
		if (user)
			word = tagged(WORD_UNRESOLVED, word);
		record->words[at] = word;
		hash_word(h, word);
	}
	return 0;
}

static __always_inline enum outcome outcome_of(struct task_struct *task, long user_bytes)
{
	if (user_bytes == MAX_FRAMES * sizeof(u64))
		return OUTCOME_TOO_DEEP;
	if (user_bytes > 0)
		return OUTCOME_CHAIN_ENDED;
	if (!task->pid)
		return OUTCOME_IDLE;
	if (task->flags & PF_IO_WORKER)
		return OUTCOME_IO_WORKER;
	if (task->flags & PF_KTHREAD)
		return OUTCOME_KERNEL_THREAD;
	if (task->flags & PF_EXITING)
		return OUTCOME_EXITING;
	if (BPF_CORE_READ_BITFIELD(task, in_execve))
		return OUTCOME_EXEC;
	return OUTCOME_UNREADABLE;
}

/* Fills `record` with the current task's stack and returns the second hash. */
static __always_inline u32 walk(void *ctx, struct task_struct *task, struct stack_record *record)
{
	struct hashes h = { .strong = config.seed, .check = ~config.seed };
	enum outcome outcome;
	u64 kernel = 0, user = 0;
	long bytes;

	bytes = bpf_get_stack(ctx, record->words, MAX_FRAMES * sizeof(u64), 0);
	if (bytes > 0)
		kernel = (u64)bytes / sizeof(u64);
	if (kernel > MAX_FRAMES)
		kernel = MAX_FRAMES;
	finish_part(record, &h, 0, kernel, false);

	bytes = task->flags & PF_KTHREAD ? 0 :
		bpf_get_stack(ctx, &record->words[kernel], MAX_FRAMES * sizeof(u64), BPF_F_USER_STACK);
	if (bytes > 0)
		user = (u64)bytes / sizeof(u64);
	if (user > MAX_FRAMES)
		user = MAX_FRAMES;
	finish_part(record, &h, kernel, kernel + user, true);

	outcome = outcome_of(task, bytes);
	if (kernel + user < MAX_WORDS)
		record->words[kernel + user] = tagged(WORD_OUTCOME, outcome);
	hash_word(&h, tagged(WORD_OUTCOME, outcome));
	record->length = kernel + user + 1;
	record->hash = h.strong;
	return h.check;
}
