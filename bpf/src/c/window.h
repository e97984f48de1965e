/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A window: what is counted together. Two sets of maps take turns; the agent drains one while programs fill the other.
 *
 * A program learns its set from one slot of one array of maps. An update of such a slot returns only when no program
 * that saw the old entry is still running (the kernel waits for a grace period), so a set whose turn is over is
 * written to no more, and all maps of a sample belong to one set.
 */
#pragma once

#include "shared.h"
#include <bpf/bpf_helpers.h>

struct window_slot {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct window_state);
} window_0 SEC(".maps"), window_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct window_slot);
} current_window SEC(".maps") = { .values = { &window_0 } };

/*
 * Made by the agent, which also gives them their size: a map that was full is answered by a larger one at its next
 * turn. The kernel compares neither size with the prototype's, so the ones here are placeholders.
 */
struct counts_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct count_key));
	__uint(value_size, sizeof(struct count));
};

struct threads_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct thread_key));
	__uint(value_size, sizeof(struct thread_names));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, u32);
	__array(values, struct counts_map);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, u32);
	__array(values, struct threads_map);
} threads SEC(".maps");

/* Bodies of stacks that are new in their window, each once for a thread that has it. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} stack_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counters);
} counters SEC(".maps");

const volatile struct config config;

static __always_inline struct window_state *window_now(void)
{
	u32 zero = 0;
	void *slot = bpf_map_lookup_elem(&current_window, &zero);

	return slot ? bpf_map_lookup_elem(slot, &zero) : 0;
}

/* Puts a stack's body into the ring; false if that is full. The agent reads it at the end of the window, or at once. */
static __always_inline bool put_into_ring(const struct stack_record *record, bool at_once)
{
	u64 flags = BPF_RB_NO_WAKEUP;
	u32 length = record->length;

	if (length > MAX_WORDS)
		return false;
	if (at_once || bpf_ringbuf_query(&stack_ring, BPF_RB_AVAIL_DATA) > config.ring_watermark)
		flags = BPF_RB_FORCE_WAKEUP;
	return !bpf_ringbuf_output(&stack_ring, (void *)record,
				   sizeof(*record) - sizeof(record->words) + length * sizeof(u64), flags);
}

/* Adds to a count of the same stack. With the ring full its body stays unsent and goes with the next sample. */
static __always_inline void add_to_count(struct count *count, const struct stack_record *record, u32 check, bool at_once,
					 struct counters *c)
{
	/* The idle tasks of all CPUs have one pid: they add to the same element at the same time. */
	__sync_fetch_and_add(&count->events, 1);
	__sync_fetch_and_add(&count->amount, config.period);
	c->counted++;
	if (count->check != check) {
		c->hash_collisions++;
	} else if (!count->sent) {
		count->sent = put_into_ring(record, at_once);
		c->ring_full += !count->sent;
	}
}

/*
 * Counts a sample under its key, and sends its stack if it is new there in this window. Returns how many there are of the
 * key, this one included; 0 if it found no room. Two threads that have the same stack both send it: to know of that
 * beforehand would cost each new stack more than it saves a few of them.
 */
static __always_inline u64 count_sample(void *set, const struct count_key *key, const struct stack_record *record,
					u32 check, bool at_once, struct counters *c)
{
	struct count first = { .events = 1, .amount = config.period, .check = check };
	struct count *count = bpf_map_lookup_elem(set, key);

	if (!count) {
		first.sent = put_into_ring(record, at_once);
		c->ring_full += !first.sent;
		if (!bpf_map_update_elem(set, key, &first, BPF_NOEXIST)) {
			c->counted++;
			return 1;
		}
		/* Refused because the map is full, or because another CPU was faster. */
		count = bpf_map_lookup_elem(set, key);
		if (!count) {
			c->counts_full++;
			return 0;
		}
	}
	add_to_count(count, record, check, at_once, c);
	return count->events;
}
