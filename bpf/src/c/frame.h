/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where a walk is: a frame, and what is known of it. */
#pragma once

#include "mapping.h"
#include "prologue.h"
#include "row.h"
#include "shared.h"
#include "stack.h"
#include "words.h"
#include <bpf/bpf_helpers.h>

/* What is known of a place in a program: enough to name it and to leave it. */
struct frame {
	u64 pc;
	/* Id of the list it was found by: the program, and the state of its mappings. */
	u64 list;
	u64 word;
	struct rule rule;
};

struct walk {
	struct stack_record record;
	struct hashes hashes;
	struct published list;
	/* Addresses of which the list does not know what is there now. */
	u64 remapped;
	u64 remapped_bytes;
	/* Registers of the frame that the walk is at. */
	u64 ip;
	u64 sp;
	u64 fp;
	u64 bx;
	/* The mapping and the table that were searched last. */
	struct mapping mapping;
	struct table table;
	struct frame found;
	/* Where in the cache the frame before was. */
	u32 cached;
	u32 unused;
	struct chunk chunk;
	/* `ip` is where the frame is, not where it will go on: a leaf, or what a signal interrupted. */
	u32 exact;
	/* `ip` was found by a frame pointer, and may be none. */
	u32 by_frame_pointer;
	/* A frame pointer stood in for a rule in code of a file, and callers may have been skipped by it. */
	u32 guessed;
	/* `bx` is what it says. */
	u32 knows_bx;
	/* User frames so far. */
	u32 frames;
	u32 outcome;
	/* What the outcome is about. */
	u32 detail;
	/* For a moment; all calls together have 512 bytes of stack. */
	struct mapping candidate;
	u8 code[LOOKED_AT];
	/* The first table that was wanted and not there: its state, and its file. */
	u32 missing;
	u32 missing_file;
};

static __always_inline int end_walk(struct walk *w, enum outcome outcome, u32 detail)
{
	w->outcome = outcome;
	w->detail = detail;
	return 1;
}

/* Adds a word to the stack. There is room for as many as each part may have; the verifier wants to see it. */
static __always_inline void append(struct walk *w, u64 word)
{
	u64 at = w->record.length;

	/* Without it clang tests one copy of the index and uses another, for which the verifier has no bound. */
	barrier_var(at);
	if (at >= MAX_WORDS)
		return;
	w->record.words[at] = word;
	w->record.length = at + 1;
	hash_word(&w->hashes, word);
}
