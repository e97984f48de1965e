// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The kernel programs. Each samples one kind of event; what they share lies in the headers. */
#include "kernel.h"
#include "shared.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "window.h"

#include "cgroup.h"
#include "lifecycle.h"
#include "remap.h"
#include "unwind.h"
#include "walk.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What no map or variable names reaches the skeleton through this one. */
const volatile struct {
	enum word_tag word_tag;
	enum outcome outcome;
	enum limits limits;
	struct count_key count_key;
	struct count count;
	struct thread_key thread_key;
	struct thread_names thread_names;
	struct cgroup_event cgroup_event;
	enum unwind_limits unwind_limits;
	enum rule_kind rule_kind;
	enum unsupported unsupported;
	enum table_state table_state;
	enum mapping_limits mapping_limits;
	enum piece_limits piece_limits;
	enum table_limits table_limits;
	enum frame_cache_limits frame_cache_limits;
	struct rule rule;
	struct table table;
	struct list_header list_header;
	struct mapping mapping;
	struct published published;
} exported;

static __always_inline struct thread_names *names_of(void *set, struct task_struct *task,
						     const struct thread_key *thread)
{
	struct thread_names *known = bpf_map_lookup_elem(set, thread);
	struct thread_names fresh = {};
	const unsigned char *exe;

	if (known)
		return known;
	fresh.is_kernel = !!(task->flags & PF_KTHREAD);
	exe = BPF_CORE_READ(task, mm, exe_file, f_path.dentry, d_name.name);
	bpf_probe_read_kernel_str(fresh.exe, sizeof(fresh.exe), exe);
	bpf_map_update_elem(set, thread, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(set, thread);
}

/* Threads are often sampled before they have given themselves a name: the last one of a window counts. */
static __always_inline void name_thread(void *set, struct task_struct *task, const struct count_key *key,
					struct counters *c)
{
	struct thread_key thread = { .generation = key->generation, .tgid = key->tgid, .tid = key->tid };
	struct thread_names *names = names_of(set, task, &thread);

	if (!names) {
		c->threads_full++;
		return;
	}
	bpf_get_current_comm(names->comm, sizeof(names->comm));
	if (task->pid == task->tgid)
		__builtin_memcpy(names->process, names->comm, sizeof(names->process));
	else
		bpf_probe_read_kernel_str(names->process, sizeof(names->process), task->group_leader->comm);
}

static __always_inline bool is_power_of_two(u64 n)
{
	return n && !(n & (n - 1));
}

SEC("perf_event")
int on_cpu(struct bpf_perf_event_data *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct count_key key = {};
	struct process_state *process;
	void *counts_set, *threads_set;
	struct walk *w;
	struct window_state *window;
	struct counters *c;
	u32 zero = 0, set, check;
	bool at_once;

	c = bpf_map_lookup_elem(&counters, &zero);
	if (!c)
		return 0;
	c->ticks++;
	if (!task->pid) {
		c->idle++;
		if (!config.idle)
			return 0;
	}
	process = bpf_task_storage_get(&processes, task->group_leader, 0, 0);
	if (!passes_filter(task->tgid, process)) {
		c->filtered++;
		return 0;
	}

	window = window_now();
	w = bpf_map_lookup_elem(&scratch, &zero);
	if (!window || !w)
		return 0;
	set = window->set;
	counts_set = bpf_map_lookup_elem(&counts, &set);
	threads_set = bpf_map_lookup_elem(&threads, &set);
	if (!counts_set || !threads_set)
		return 0;

	key.generation = process ? process->generation : 0;
	check = walk(ctx, task, process, w);
	w->record.window = window->number;
	w->record.tgid = task->tgid;

	key.stack = w->record.hash;
	key.cgroup = cgroup_id(task);
	key.tgid = task->tgid;
	key.tid = task->pid;
	/* What the agent knows of the process's mappings is not all: the next samples may be better. */
	at_once = w->outcome == OUTCOME_NO_MAPPING;
	/* Again and again, more and more seldom: a name seldom changes. */
	if (is_power_of_two(count_sample(counts_set, &key, &w->record, check, at_once, c)))
		name_thread(threads_set, task, &key, c);
	return 0;
}
