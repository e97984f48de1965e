/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Reading a user stack. A call of bpf_probe_read_user costs nearly the same for a word as for a kilobyte, so the
 * stack is read in chunks, upwards, as a walk goes.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

enum chunk_limits {
	CHUNK_WORDS = 128,
	CHUNK_BYTES = CHUNK_WORDS * sizeof(u64),
	/* What is mapped is mapped up to the end of a page, at least. */
	STACK_PAGE = 4096,
};

struct chunk {
	/* Virtual address of the first word. */
	u64 start;
	/* How many bytes were read: 0 at the start of a walk. */
	u64 bytes;
	u64 words[CHUNK_WORDS];
};

/* The word at a user address; false where it cannot be read. */
static __always_inline bool read_word(struct chunk *chunk, u64 address, u64 *word)
{
	u64 at = address - chunk->start;

	if (at >= chunk->bytes || at % sizeof(u64)) {
		u64 bytes = STACK_PAGE - address % STACK_PAGE;

		chunk->bytes = 0;
		/* Across the end of a page, for a stack that is not aligned to words. */
		if (bytes < sizeof(u64))
			return !bpf_probe_read_user(word, sizeof(*word), (void *)address);
		if (bytes > CHUNK_BYTES)
			bytes = CHUNK_BYTES;
		bytes -= bytes % sizeof(u64);
		/* Or clang, which knows the bound already, leaves out what the verifier wants to see. */
		barrier_var(bytes);
		if (bytes > CHUNK_BYTES || bpf_probe_read_user(chunk->words, bytes, (void *)address))
			return false;
		chunk->start = address;
		chunk->bytes = bytes;
		at = 0;
	}
	barrier_var(at);
	at &= CHUNK_BYTES - sizeof(u64);
	*word = *(u64 *)((void *)chunk->words + at);
	return true;
}
