/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is mapped where in a process: a sorted list of its executable mappings, made by the agent.
 *
 * A list lies in one piece, behind its header. It never changes: a process whose mappings change gets another one, and
 * the memory of the old one is used again only when no walk can still be reading it. A fork has the same list as its
 * parent, and gets it in the kernel, before it runs.
 */
#pragma once

#include "pieces.h"

#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))

enum mapping_limits {
	NO_FILE = 0xffffffff,
	NO_TABLE = 0xffffffff,
	/* What fits into one piece with its header. */
	MAX_MAPPINGS = PIECE_BYTES / 32 - 1,
};

struct list_header {
	/* Never given twice. 0 once the memory may hold something else. */
	u64 id;
	u64 unused[3];
};

struct mapping {
	/* Virtual addresses. */
	u64 start;
	u64 end;
	/* File offset of `start`, within the 4 GiB that `file` stands for. */
	u32 offset;
	/* Number of the file in words, or NO_FILE. */
	u32 file;
	/* Its slot in `tables`, or NO_TABLE. */
	u32 table;
	u32 unused;
};

/* The list that is true for a process. */
struct published {
	/* For the program with this generation alone: after an exec it is void. */
	u64 generation;
	u64 id;
	u32 piece;
	u32 start;
	u32 count;
	u32 unused;
	/*
	 * CLOCK_MONOTONIC of the last mapping it tells of: what was mapped later may lie where it has something else. (And
	 * what another thread was about to map at that moment, which nobody can know.)
	 */
	u64 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct published);
} published SEC(".maps");

/* The list's header; nothing if the agent gave a place that is none. */
static __always_inline struct list_header *header_of(const struct published *list)
{
	struct piece *piece = piece_number(list->piece);
	u64 at = list->start & (PIECE_BYTES - sizeof(struct list_header));

	return piece ? (struct list_header *)(piece->bytes + at) : 0;
}

/* Whether the list is still what it was when it was published. */
static __always_inline bool is_current(const struct published *list)
{
	struct list_header *header = header_of(list);

	return header && READ_ONCE(header->id) == list->id;
}

/* Finds the mapping that an address lies in; 0 if there is none. */
__noinline int find_mapping(const struct published *list, u64 address, struct mapping *mapping)
{
	struct piece *piece;
	u64 first, at, low = 0, left;

	if (!list || !mapping)
		return 0;
	piece = piece_number(list->piece);
	left = list->count;
	if (!piece || !left)
		return 0;
	first = list->start + sizeof(struct list_header);
	for (int i = 0; i < 13; i++) {
		u64 half = left >> 1;

		if (!half)
			break;
		at = (first + (low + half) * sizeof(*mapping)) & (PIECE_BYTES - sizeof(*mapping));
		if (((struct mapping *)(piece->bytes + at))->start <= address)
			low += half;
		left -= half;
	}
	at = (first + low * sizeof(*mapping)) & (PIECE_BYTES - sizeof(*mapping));
	*mapping = *(struct mapping *)(piece->bytes + at);
	return mapping->start <= address && address < mapping->end;
}

/* The child of a fork has its parent's mappings. */
static __always_inline void inherit_mappings(struct task_struct *parent, u64 parents_generation,
					     struct task_struct *child, u64 generation)
{
	struct published *theirs = bpf_task_storage_get(&published, parent->group_leader, 0, 0);
	struct published *mine;

	if (!theirs || theirs->generation != parents_generation)
		return;
	mine = bpf_task_storage_get(&published, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!mine)
		return;
	*mine = *theirs;
	mine->generation = generation;
}
