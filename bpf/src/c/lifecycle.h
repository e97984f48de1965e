/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Births of programs: each fork and exec begins a generation. */
#pragma once

#include "mapping.h"
#include "process.h"
#include "window.h"
#include <bpf/bpf_tracing.h>

static __always_inline bool passes_filter(u32 tgid, const struct process_state *process)
{
	switch (config.filter) {
	case FILTER_PROCESS:
		return tgid == config.target_tgid;
	case FILTER_DESCENDANTS:
		return process && process->followed;
	default:
		return true;
	}
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct process_state *mine, *theirs;

	/* A thread shares its leader's state. */
	if (child->pid != child->tgid)
		return 0;
	mine = bpf_task_storage_get(&processes, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!mine)
		return 0;
	mine->generation = bpf_ktime_get_ns();
	theirs = bpf_task_storage_get(&processes, parent->group_leader, 0, 0);
	if (theirs) {
		mine->followed = theirs->followed;
		mine->remapped = theirs->remapped;
	}
	inherit_mappings(parent, theirs ? theirs->generation : 0, child, mine->generation);
	return 0;
}

/* True for the children of the filter's process, and for those of its descendants. */
static __always_inline bool is_followed_child(struct task_struct *task)
{
	struct process_state *parents;

	if (task->real_parent->tgid == config.target_tgid)
		return true;
	parents = bpf_task_storage_get(&processes, task->real_parent->group_leader, 0, 0);
	return parents && parents->followed;
}

/* True for what the filter's process starts of itself, to read symbols: that is no part of what it records. */
static __always_inline bool is_own_worker(struct task_struct *task, struct linux_binprm *binprm)
{
	static const char itself[] = "/proc/self/exe";
	char path[sizeof(itself)] = {};

	if (task->real_parent->tgid != config.target_tgid)
		return false;
	bpf_probe_read_kernel_str(path, sizeof(path), binprm->filename);
	for (u32 i = 0; i < sizeof(itself); i++)
		if (path[i] != itself[i])
			return false;
	return true;
}

/*
 * The thread that called exec has become the group's leader by now. If it was not before, it has no storage yet: that
 * of the old leader is gone with it, so whether the process is followed is asked of its parent.
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *binprm)
{
	struct process_state *process = bpf_task_storage_get(&processes, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!process)
		return 0;
	process->generation = bpf_ktime_get_ns();
	process->remapped.since = 0;
	if (config.filter == FILTER_DESCENDANTS && is_followed_child(task) && !is_own_worker(task, binprm))
		process->followed = 1;
	return 0;
}
