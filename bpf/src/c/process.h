/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Generations: which program a process ran when it was sampled.
 *
 * A process id names several programs one after the other, by exec and by reuse. Each fork and exec gives the process
 * a new generation: the time of that event. It lives in the storage of the group's leader and dies with it, so a
 * reused id starts anew. Being a time of the same clock as the perf records of mappings, it also says which of them
 * came before and which after.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* Virtual addresses that were given to a new mapping while a list still had an old one there: see remap.h. */
struct remapped {
	u64 start;
	u64 end;
	/* CLOCK_MONOTONIC: a list that tells of later mappings knows what is there. 0: there are none. */
	u64 since;
};

struct process_state {
	u64 generation;
	/* FILTER_DESCENDANTS: it is one. */
	u64 followed;
	struct remapped remapped;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct process_state);
} processes SEC(".maps");
