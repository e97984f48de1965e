/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The walk: a task's stack as words, leaf first, with how it ended as the last word, and its hash.
 *
 * A word holds the address to look up: a return address points behind its call, perhaps into the next function, so it
 * is made one less; the leaf's address, the one at which user space was left and the one that a signal interrupted are
 * exact.
 */
#pragma once

#include "step.h"
#include "window.h"

/* One for each kind of event that can interrupt another: there is one so far. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct walk);
} scratch SEC(".maps");

/* Makes kernel addresses words, in place. Global, so that the verifier walks the loop once, not in each path. */
__noinline int finish_kernel_part(struct walk *w)
{
	if (!w)
		return 0;
	for (u64 i = 0; i < MAX_KERNEL_FRAMES; i++) {
		u64 at = i;
		u64 word;

		barrier_var(at);
		if (at >= w->record.length || at >= MAX_KERNEL_FRAMES)
			break;
		word = w->record.words[at] - (i > 0);
		w->record.words[at] = word;
		hash_word(&w->hashes, word);
	}
	return 0;
}

static __always_inline void walk_kernel(struct bpf_perf_event_data *ctx, struct walk *w)
{
	long bytes;

	w->record.length = 0;
	/* The two low bits of the code segment are the privilege level: 3 is user space. */
	if (ctx->cs & 3)
		return;
	bytes = bpf_get_stack(ctx, w->record.words, MAX_KERNEL_FRAMES * sizeof(u64), 0);
	if (bytes > 0)
		w->record.length = (u64)bytes / sizeof(u64);
	finish_kernel_part(w);
}

/* Why a task has no user part to walk; OUTCOME_ENTRY if it has one. */
static __always_inline enum outcome without_user_part(struct task_struct *task)
{
	if (!task->pid)
		return OUTCOME_IDLE;
	if (task->flags & (PF_IO_WORKER | PF_USER_WORKER))
		return OUTCOME_IO_WORKER;
	if (task->flags & PF_KTHREAD)
		return OUTCOME_KERNEL_THREAD;
	if (!task->mm)
		return OUTCOME_EXITING;
	/* The memory may be the new program's already, and the registers still the old one's. */
	if (BPF_CORE_READ_BITFIELD(task, in_execve))
		return OUTCOME_EXEC;
	return OUTCOME_ENTRY;
}

static long step_once(u32 i, struct walk **w)
{
	return step(*w) != 0;
}

/* Takes the list of mappings that the walk goes by, if there is one for this program. */
static __always_inline void take_list(struct walk *w, struct task_struct *task, const struct process_state *process)
{
	struct published *list = bpf_task_storage_get(&published, task->group_leader, 0, 0);

	w->list.id = 0;
	w->remapped_bytes = 0;
	if (!list || list->generation != (process ? process->generation : 0))
		return;
	w->list = *list;
	if (!is_current(&w->list))
		w->list.id = 0;
	if (process && process->remapped.since > list->last) {
		w->remapped = process->remapped.start;
		w->remapped_bytes = process->remapped.end - w->remapped;
	}
}

static __always_inline void begin_user_part(struct walk *w, struct task_struct *task, const struct process_state *process)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	take_list(w, task, process);
	w->ip = regs->ip;
	w->sp = regs->sp;
	w->fp = regs->bp;
	w->bx = regs->bx;
	w->knows_bx = 1;
	w->exact = 1;
	w->by_frame_pointer = 0;
	w->guessed = 0;
	w->frames = 0;
	w->detail = 0;
	w->outcome = OUTCOME_TOO_DEEP;
	w->missing = TABLE_READY;
	w->mapping.start = w->mapping.end = 0;
	w->chunk.bytes = 0;
}

/* What is to be said of a walk that has ended, more than how its last step did. */
static __always_inline void judge(struct walk *w)
{
	if (!w->list.id) {
		w->outcome = OUTCOME_NO_MAPPINGS;
		w->detail = 0;
	} else if (!is_current(&w->list)) {
		w->outcome = OUTCOME_LIST_CHANGED;
		w->detail = 0;
	} else if (w->missing != TABLE_READY) {
		/* Frame pointers stood in for it, and may have skipped frames without a trace. */
		w->outcome = w->missing == TABLE_PENDING    ? OUTCOME_TABLE_PENDING :
			     w->missing == TABLE_UNREADABLE ? OUTCOME_TABLE_UNREADABLE :
							      OUTCOME_TABLE_OVER_BUDGET;
		w->detail = w->missing_file;
	} else if (w->guessed && w->outcome == OUTCOME_ENTRY) {
		w->outcome = OUTCOME_GUESSED;
		w->detail = 0;
	}
}

static __always_inline void walk_user(struct walk *w, struct task_struct *task, const struct process_state *process)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	w->detail = 0;
	w->outcome = without_user_part(task);
	if (w->outcome != OUTCOME_ENTRY)
		return;
	if (regs->cs == USER32_CS) {
		w->outcome = OUTCOME_COMPAT_32;
		return;
	}
	begin_user_part(w, task, process);
	bpf_loop(MAX_USER_FRAMES, step_once, &w, 0);
	judge(w);
}

/* Fills `w->record` with the current task's stack and returns the second hash. */
static __always_inline u32 walk(struct bpf_perf_event_data *ctx, struct task_struct *task,
				const struct process_state *process, struct walk *w)
{
	w->hashes.strong = config.seed;
	w->hashes.check = ~config.seed;
	walk_kernel(ctx, w);
	walk_user(w, task, process);
	append(w, tagged(WORD_OUTCOME, (u64)w->detail << OUTCOME_BITS | w->outcome));
	w->record.hash = w->hashes.strong;
	return w->hashes.check;
}
