/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Kernel memory that the agent fills: pieces of one size, made as they are needed, which hold tables and lists of
 * mappings. Being values of maps, they are read without a call.
 */
#pragma once

#include "unwind.h"
#include <bpf/bpf_helpers.h>

enum piece_limits {
	MAX_PIECES = 4096,
};

struct piece {
	u8 bytes[PIECE_BYTES];
};

struct piece_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct piece));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_PIECES);
	__type(key, u32);
	__array(values, struct piece_map);
} pieces SEC(".maps");

static __always_inline struct piece *piece_number(u32 number)
{
	u32 zero = 0;
	void *map = bpf_map_lookup_elem(&pieces, &number);

	return map ? bpf_map_lookup_elem(map, &zero) : 0;
}
