/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Words, the elements of a stack (word.rs says what they mean), and the two hashes that a stack is known by. */
#pragma once

#include "shared.h"

struct hashes {
	u64 strong;
	u64 check;
};

static __always_inline void hash_word(struct hashes *h, u64 word)
{
	h->strong = (h->strong ^ word) * 0x9e3779b97f4a7c15ull;
	h->strong ^= h->strong >> 29;
	h->check = (h->check ^ word) * 0xc2b2ae3d27d4eb4full;
	h->check ^= h->check >> 31;
}

static __always_inline u64 tagged(enum word_tag tag, u64 payload)
{
	return (u64)tag << 56 | (payload & 0x00ffffffffffffffull);
}

static __always_inline enum word_tag tag_of(u64 word)
{
	return word >> 56;
}
