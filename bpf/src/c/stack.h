/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Reading a user stack. A call of bpf_probe_read_user costs nearly the same for a word as for half a kilobyte, so the
 * stack is read in chunks, upwards, as a walk goes.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

enum chunk_limits {
	CHUNK_WORDS = 64,
	CHUNK_BYTES = CHUNK_WORDS * sizeof(u64),
	/* No address: what lies this high is the kernel's. */
	NO_CHUNK = -1,
};

struct chunk {
	/* Virtual address of the first word, or NO_CHUNK. */
	u64 start;
	u64 words[CHUNK_WORDS];
};

/* The word at a user address; false where it cannot be read. */
static __always_inline bool read_word(struct chunk *chunk, u64 address, u64 *word)
{
	u64 at = address - chunk->start;

	if (at >= CHUNK_BYTES || at % sizeof(u64)) {
		if (bpf_probe_read_user(chunk->words, CHUNK_BYTES, (void *)address)) {
			/* The mapping ends within the chunk, or the stack is not aligned to words, or there is nothing. */
			chunk->start = NO_CHUNK;
			return !bpf_probe_read_user(word, sizeof(*word), (void *)address);
		}
		chunk->start = address;
		at = 0;
	}
	/* Or clang, which knows the bounds already, leaves out the mask that the verifier wants to see. */
	barrier_var(at);
	at &= CHUNK_BYTES - sizeof(u64);
	*word = *(u64 *)((void *)chunk->words + at);
	return true;
}
