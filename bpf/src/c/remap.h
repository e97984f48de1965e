/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Memory that is mapped where something else was mapped.
 *
 * munmap leaves no record, and the record of a new mapping reaches the agent only after the program runs on in it. In
 * between the published list still has there what is gone: a walk would name the wrong library. But a new mapping gets
 * its address from the kernel (dlopen asks for none), and where that is the address of a mapping in the list, the list
 * is out of date there. Walks find nothing at such addresses until a list tells of later mappings.
 */
#pragma once

#include "mapping.h"
#include "process.h"
#include <bpf/bpf_tracing.h>

/* Whether a list has a mapping within [start, end). */
static __always_inline bool lists_within(const struct published *list, u64 start, u64 end)
{
	struct mapping last = {};

	find_mapping(list, end - 1, &last);
	return last.start < end && start < last.end;
}

static __always_inline void add_remapped(struct process_state *process, u64 last, u64 start, u64 end)
{
	struct remapped *remapped = &process->remapped;

	/* One range is enough: libraries that are loaded anew one after the other are neighbours. */
	if (remapped->since > last) {
		if (start > remapped->start)
			start = remapped->start;
		if (end < remapped->end)
			end = remapped->end;
	}
	remapped->start = start;
	remapped->end = end;
	remapped->since = bpf_ktime_get_ns();
}

SEC("tp_btf/vm_unmapped_area")
int BPF_PROG(on_address_given, unsigned long address, struct vm_unmapped_area_info *info)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	struct published *list = bpf_task_storage_get(&published, leader, 0, 0);
	u64 end = address + info->length;
	struct process_state *process;

	/* No page: an error number. */
	if (!list || address % 4096 || end <= address || !lists_within(list, address, end))
		return 0;
	/* One that was there before the agent has none yet. */
	process = bpf_task_storage_get(&processes, leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (process && process->generation == list->generation)
		add_remapped(process, list->last, address, end);
	return 0;
}
