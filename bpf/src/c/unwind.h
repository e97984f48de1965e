/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How a table of unwind rules lies in memory: what the encoder (unwind/) writes and the walk reads.
 *
 * A table belongs to a file and is keyed by file offset, because that is what a mapping gives and what a word holds.
 * Its image is three parts, each found by an offset from the image's start:
 *
 *   index    u32 for each page of the file from the first to the last that has a row, and one more: where its block
 *            begins in the image; the next entry says where it ends
 *   blocks   of n = bytes / 3 rows: u16 key[n], u8 low[n], and a byte of padding where the next would begin odd
 *            key = offset in the page << 3 | rule >> 8, ascending; low = rule & 0xff
 *   rules    struct rule each, the most frequent first, aligned like them
 *
 * A row holds up to the next. A page that begins within a row's range repeats that row as its first. A block never
 * lies across a multiple of PIECE_BYTES of the image: the one before is filled up with its last row.
 */
#pragma once

#include "kernel.h"

enum unwind_limits {
	/* Kernel memory for tables comes in pieces of this size. A smaller image lies in one, a larger one begins with one. */
	PIECE_BYTES = 256 * 1024,
	PAGE_BITS = 13,
	ROW_BYTES = 3,
	/* Of a key, below the offset: the upper bits of the rule's number. */
	KEY_RULE_BITS = 16 - PAGE_BITS,
	/* What is left of a row beside the offset in a page numbers so many. */
	MAX_RULES = 2048,
	/* Of rule::reg: the lower bits number a register, the upper ones say where the caller's rbx is. */
	REGISTER_BITS = 5,
	/* Upper bits of rule::reg: nobody says. 0: rbx is unchanged; else saved at CFA - 8 * (this + 1). */
	RBX_LOST = 7,
	/* rule::fp: the caller's frame pointer is saved where the frame pointer points. */
	FP_AT_FP = -32768,
};

enum rule_kind {
	/* Nothing is known from here on. */
	RULE_NONE = 0,
	/* The return address is undefined: the entry of a program or a thread. */
	RULE_END = 1,
	/* CFA = register[reg] + cfa. */
	RULE_REGISTER = 2,
	/* CFA = *(register[reg] + (low half of cfa)) + (high half of cfa), both signed: realigned stacks. */
	RULE_DEREF = 3,
	/* CFA = rsp + 8 + (8 if (rip & 15) >= cfa): a stub of the procedure linkage table pushes one word half way. */
	RULE_PLT = 4,
	/* rsp points at the ucontext of a signal frame, which holds the registers that were interrupted. */
	RULE_SIGNAL = 5,
	/* A frame pointer step that may lead to another stack: Go's systemstack and its like. */
	RULE_SWITCH = 6,
	/* reg: enum unsupported. */
	RULE_UNSUPPORTED = 7,
};

/* Why a rule is beyond this format. */
enum unsupported {
	UNSUPPORTED_CFA_EXPRESSION = 1,
	UNSUPPORTED_CFA_REGISTER = 2,
	UNSUPPORTED_RETURN_ADDRESS = 3,
	UNSUPPORTED_FRAME_POINTER = 4,
	UNSUPPORTED_TOO_MANY_RULES = 5,
	UNSUPPORTED_BAD_CFI = 6,
};

/* How far a file's table has come; decides what the walk does in that file. */
enum table_state {
	/* It is being built. */
	TABLE_PENDING = 0,
	TABLE_READY = 1,
	/* The file has no rules: frame pointers are all there is. */
	TABLE_NONE = 2,
	TABLE_UNREADABLE = 3,
	/* There was no room for it. */
	TABLE_OVER_BUDGET = 4,
};

/* Where a table lies, and its geometry. */
struct table {
	/* enum table_state */
	__u32 state;
	/* The piece its image begins in, and where; a larger image goes on in the pieces behind. */
	__u32 piece;
	__u32 start;
	/* Number of the first page with a row, and how many pages follow it. */
	__u32 first_page;
	__u32 pages;
	/* Offsets in the image. */
	__u32 index;
	__u32 rules;
	/* Read by nobody here: elements of an array lie at multiples of 8 bytes. */
	__u32 rule_count;
};

/* How to find the caller's frame. The return address lies at CFA - 8 in kinds 2 to 4. */
struct rule {
	__s32 cfa;
	/* The caller's frame pointer: 0 unchanged, FP_AT_FP, else saved at CFA + 8 * fp. */
	__s16 fp;
	/* enum rule_kind */
	__u8 kind;
	/* DWARF number of a register, and where rbx is. */
	__u8 reg;
};
