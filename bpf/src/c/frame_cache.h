/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Frames that each CPU has met. */
#pragma once

#include "frame.h"

enum frame_cache_limits {
	/* Of each CPU; what a busy host runs within a second. 32 bytes each. */
	CACHED_FRAMES = 4096,
	/* Places in the index of these, so that few share one. */
	INDEXED_FRAMES = 2 * CACHED_FRAMES,
};

/*
 * Frames found lately on a CPU, in the order in which they were found: so the callers of a frame lie behind it, where
 * they are looked for first. Between two samples other code has had the CPU's caches for itself, and memory that is read
 * in the order it lies in comes several times as fast.
 */
struct frame_cache {
	/* Where the next one goes, in the place of the oldest. */
	u64 next;
	/* Places in `frames` by hash. */
	u16 index[INDEXED_FRAMES];
	struct frame frames[CACHED_FRAMES];
};

/* One for each CPU that is online; the agent gives it its size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct frame_cache);
} frame_cache SEC(".maps");

static __always_inline u32 hash_of_place(u64 pc, u64 list)
{
	u64 hash = (pc ^ list << 40) * 0x9e3779b97f4a7c15ull;

	return (u32)(hash >> 40) % INDEXED_FRAMES;
}

static __always_inline bool is_at(const struct frame *frame, const struct walk *w, u64 pc)
{
	return frame->pc == pc && frame->list == w->list.id;
}

/* The frame at `pc`, if it is in the cache. */
static __always_inline struct frame *cached_frame(struct frame_cache *cache, struct walk *w, u64 pc)
{
	u32 slot = (w->cached + 1) % CACHED_FRAMES;

	if (!is_at(&cache->frames[slot], w, pc)) {
		slot = cache->index[hash_of_place(pc, w->list.id)] % CACHED_FRAMES;
		if (!is_at(&cache->frames[slot], w, pc))
			return 0;
	}
	w->cached = slot;
	return &cache->frames[slot];
}

/* Puts what was found into the cache. */
static __always_inline void cache_frame(struct frame_cache *cache, struct walk *w)
{
	u32 slot = cache->next % CACHED_FRAMES;

	cache->next = slot + 1;
	cache->frames[slot] = w->found;
	cache->index[hash_of_place(w->found.pc, w->found.list)] = slot;
	w->cached = slot;
}
