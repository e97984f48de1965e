/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the kernel programs and the agent both know: libbpf-cargo turns every type here that a map or a global
 * variable uses into a Rust type, so nothing of it is written twice.
 */
#pragma once

#include "kernel.h"

/* Top byte of a word that is no kernel address: see word.rs, which gives each its meaning. */
enum word_tag {
	WORD_FILE = 0x00,
	WORD_ANONYMOUS = 0x01,
	WORD_UNRESOLVED = 0x02,
	WORD_OUTCOME = 0x03,
	/* The agent's own: programs write none. */
	WORD_FUNCTION = 0x04,
};

/*
 * How a walk ended; the last word of each stack, with what it is about in the bits above: the reason of an unsupported
 * rule, the file of a missing table.
 */
enum outcome {
	/* The entry of a program or a thread was reached. */
	OUTCOME_ENTRY = 0,
	OUTCOME_TOO_DEEP = 1,
	/* There is no user part to reach. */
	OUTCOME_KERNEL_THREAD = 2,
	OUTCOME_IO_WORKER = 3,
	OUTCOME_EXITING = 4,
	OUTCOME_EXEC = 5,
	OUTCOME_IDLE = 6,
	/* Memory of the stack could not be read. */
	OUTCOME_UNREADABLE = 7,
	/* No list of mappings is published for this program: what is there was found by frame pointers. */
	OUTCOME_NO_MAPPINGS = 8,
	/* An address that lies in no executable mapping. */
	OUTCOME_NO_MAPPING = 9,
	/* A frame pointer led to no code. */
	OUTCOME_ASTRAY = 10,
	/* Neither a rule nor a frame pointer; detail 1: in code of no file. */
	OUTCOME_NO_FRAME_POINTER = 11,
	OUTCOME_UNSUPPORTED = 12,
	/* Frame pointers stood in for a table: see enum table_state. */
	OUTCOME_TABLE_PENDING = 13,
	OUTCOME_TABLE_UNREADABLE = 14,
	OUTCOME_TABLE_OVER_BUDGET = 15,
	/* A process of 32 bits. */
	OUTCOME_COMPAT_32 = 16,
	/* The list of mappings was given up while it was read. */
	OUTCOME_LIST_CHANGED = 17,
	/* The entry was reached, but a frame pointer stood in for a rule that a file does not have. */
	OUTCOME_GUESSED = 18,
	/* An address where something has been mapped that the list does not tell of: see remap.h. */
	OUTCOME_REMAPPED = 19,
};

enum limits {
	/* Of the kernel part; its own limit (kernel.perf_event_max_stack) is 127 unless it was raised. */
	MAX_KERNEL_FRAMES = 127,
	MAX_USER_FRAMES = 1024,
	/* Both parts and the outcome. */
	MAX_WORDS = MAX_KERNEL_FRAMES + MAX_USER_FRAMES + 1,
	OUTCOME_BITS = 16,
	COMM_LEN = 16,
	EXE_LEN = 64,
	CGROUP_PATH_LEN = 1024,
};

/* Which of a task's cgroups names its owner. */
enum cgroup_source {
	CGROUP_UNIFIED = 0,
	CGROUP_V1_MEMORY = 1,
	CGROUP_V1_CPU = 2,
	CGROUP_V1_PIDS = 3,
	CGROUP_NONE = 4,
};

enum filter {
	FILTER_NONE = 0,
	/* The threads of one process. */
	FILTER_PROCESS = 1,
	/* The programs that children of one process exec, and all their descendants. */
	FILTER_DESCENDANTS = 2,
};

/* Key of a count, for every kind of event. */
struct count_key {
	/* Hash of the stack. */
	u64 stack;
	/* Of the cgroup at sample time. */
	u64 cgroup;
	/* CLOCK_MONOTONIC of the fork or exec that began this program; 0: before the agent. */
	u64 generation;
	u32 tgid;
	u32 tid;
};

struct count {
	u64 events;
	/* Nanoseconds for on-CPU. */
	u64 amount;
	/* A second hash of the stack: two bodies under one hash differ here. */
	u32 check;
	/* 1 once the body is in the ring. */
	u32 sent;
};

struct thread_key {
	u64 generation;
	u32 tgid;
	u32 tid;
};

/* A thread's names when it was last sampled in the window; zero-terminated. */
struct thread_names {
	char comm[COMM_LEN];
	char process[COMM_LEN];
	char exe[EXE_LEN];
	/* PF_KTHREAD: it has no executable. */
	u32 is_kernel;
};

/* Which of the two sets of maps programs write to. */
struct window_state {
	/* 0 or 1. */
	u32 set;
	/* Number of the window, modulo 2^32. */
	u32 number;
};

/* A stack on its way to the agent; only the first `length` words are sent. */
struct stack_record {
	u64 hash;
	u32 window;
	u32 length;
	/* Of the process that sent it. */
	u32 tgid;
	u32 unused;
	u64 words[MAX_WORDS];
};

/* What happened on a CPU since the start; summed over CPUs by the agent. */
struct counters {
	/* Program runs: one for each tick that perf delivered. */
	u64 ticks;
	/* Of them, on the idle task. */
	u64 idle;
	u64 filtered;
	/* Samples counted in a window's map. */
	u64 counted;
	/* Samples that found the map of counts full. */
	u64 counts_full;
	/* Tries to send a stack that found the ring full. */
	u64 ring_full;
	u64 threads_full;
	/* Samples whose stack met another one under its hash. */
	u64 hash_collisions;
};

struct cgroup_event {
	u64 id;
	/* 0: removed. */
	u32 created;
	u32 length;
	char path[CGROUP_PATH_LEN];
};

/* Set before the programs are loaded. */
struct config {
	/* Makes hashes unguessable. */
	u64 seed;
	/* Nanoseconds of CPU time between two ticks. */
	u64 period;
	/* Bytes in the stack ring beyond which the agent is woken. */
	u64 ring_watermark;
	enum filter filter;
	/* The process of the filter. */
	u32 target_tgid;
	enum cgroup_source cgroup_source;
	/* cgroup_root::hierarchy_id of that source. */
	u32 cgroup_hierarchy;
	/* Count the idle task too. */
	u32 idle;
};
