/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The cgroup a task is in when it is sampled, by its id (the inode number of the cgroup's directory), and the births
 * and deaths of cgroups, so that the agent knows the path of an id even when it is gone by the end of the window.
 */
#pragma once

#include "window.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} cgroup_ring SEC(".maps");

/* Births and deaths that found the ring full: the agent then reads the hierarchy again. */
u64 cgroup_events_lost;

/* Plain loads: the task is the current one, and its cgroups do not go away under a program. */
#define V1_ID(task, controller)                                                                                        \
	(bpf_core_enum_value_exists(enum cgroup_subsys_id, controller) ?                                               \
		 (task)->cgroups->subsys[bpf_core_enum_value(enum cgroup_subsys_id, controller)]->cgroup->kn->id :     \
		 0)

static __always_inline u64 cgroup_id(struct task_struct *task)
{
	switch (config.cgroup_source) {
	case CGROUP_UNIFIED:
		return task->cgroups->dfl_cgrp->kn->id;
	case CGROUP_V1_MEMORY:
		return V1_ID(task, memory_cgrp_id);
	case CGROUP_V1_CPU:
		return V1_ID(task, cpu_cgrp_id);
	case CGROUP_V1_PIDS:
		return V1_ID(task, pids_cgrp_id);
	default:
		return 0;
	}
}

static __always_inline void send_cgroup_event(struct cgroup *cgroup, const char *path, bool created)
{
	struct cgroup_event *event;
	long length;

	if (cgroup->root->hierarchy_id != config.cgroup_hierarchy)
		return;
	event = bpf_ringbuf_reserve(&cgroup_ring, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&cgroup_events_lost, 1);
		return;
	}
	event->id = cgroup->kn->id;
	event->created = created;
	length = bpf_probe_read_kernel_str(event->path, sizeof(event->path), path);
	event->length = length > 0 ? length - 1 : 0;
	bpf_ringbuf_submit(event, 0);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	send_cgroup_event(cgroup, path, true);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(on_cgroup_rmdir, struct cgroup *cgroup, const char *path)
{
	send_cgroup_event(cgroup, path, false);
	return 0;
}
