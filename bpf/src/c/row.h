/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The search for a rule: from an offset in a file to the row it lies in. unwind.h has the picture. */
#pragma once

#include "pieces.h"

enum table_limits {
	MAX_TABLES = 8192,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_TABLES);
	__type(key, u32);
	__type(value, struct table);
} tables SEC(".maps");

/* A place in an image, as a number of a piece and an offset in it. */
static __always_inline u32 piece_of(const struct table *table, u64 at)
{
	return table->piece + (u32)((table->start + at) / PIECE_BYTES);
}

static __always_inline u64 in_piece(const struct table *table, u64 at, u64 alignment)
{
	return (table->start + at) & (PIECE_BYTES - alignment);
}

/* Bounds of a page's block in the image; false if one is out of reach. */
static __always_inline bool find_block(const struct table *table, u64 page, u32 *from, u32 *to)
{
	u64 at = table->index + page * sizeof(u32);
	u32 number = piece_of(table, at);
	struct piece *piece = piece_number(number);

	if (!piece)
		return false;
	*from = *(u32 *)(piece->bytes + in_piece(table, at, sizeof(u32)));
	at += sizeof(u32);
	if (piece_of(table, at) != number) {
		piece = piece_number(number + 1);
		if (!piece)
			return false;
	}
	*to = *(u32 *)(piece->bytes + in_piece(table, at, sizeof(u32)));
	return true;
}

/*
 * Writes the rule that holds at `offset` of the table's file. RULE_NONE where there is none. Global, so that the
 * verifier walks the search once.
 */
__noinline int find_rule(const struct table *table, u64 offset, struct rule *rule)
{
	u64 page, keys, low = 0, rows, left;
	u32 from, to, number;
	struct piece *piece;

	if (!table || !rule)
		return 0;
	*rule = (struct rule){ .kind = RULE_NONE };
	page = (offset >> PAGE_BITS) - table->first_page;
	if (page >= table->pages || !find_block(table, page, &from, &to) || from >= to)
		return 0;
	rows = (to - from) / ROW_BYTES;
	piece = piece_number(piece_of(table, from));
	if (!piece)
		return 0;
	offset &= (1 << PAGE_BITS) - 1;
	keys = from;
	left = rows;
	/* A page has at most a row a byte, and as many again where its block is filled up. */
	for (int i = 0; i <= PAGE_BITS + 1; i++) {
		u64 half = left >> 1;
		u64 key;

		if (!half)
			break;
		key = *(u16 *)(piece->bytes + in_piece(table, keys + (low + half) * sizeof(u16), sizeof(u16)));
		if (key >> KEY_RULE_BITS <= offset)
			low += half;
		left -= half;
	}
	keys = *(u16 *)(piece->bytes + in_piece(table, from + low * sizeof(u16), sizeof(u16)));
	if (keys >> KEY_RULE_BITS > offset)
		return 0;
	number = (keys & ((1 << KEY_RULE_BITS) - 1)) << 8 | piece->bytes[in_piece(table, from + rows * sizeof(u16) + low, 1)];
	left = table->rules + (u64)number * sizeof(*rule);
	piece = piece_number(piece_of(table, left));
	if (piece)
		*rule = *(struct rule *)(piece->bytes + in_piece(table, left, sizeof(*rule)));
	return 0;
}
