/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * One step of the walk: from a frame to the one that called it.
 *
 * The rule of the frame's place decides. Where a file has none for it, or the code lies in no file, the step is made by
 * the frame pointer if that looks like one. Every walk ends with an outcome that says why.
 */
#pragma once

#include "mapping.h"
#include "prologue.h"
#include "row.h"
#include "shared.h"
#include "stack.h"
#include "words.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* DWARF's numbers of x86-64's registers. */
enum dwarf_register {
	DWARF_RBX = 3,
	DWARF_RBP = 6,
	DWARF_RSP = 7,
};

enum step_limits {
	/* Of each CPU; what a busy host runs within a second. 32 bytes each. */
	CACHED_FRAMES = 4096,
	/* Places in the index of these, so that few share one. */
	INDEXED_FRAMES = 2 * CACHED_FRAMES,
	/* Frame pointers that lead further up than this are none. */
	FAR = 8 << 20,
	/* Bytes of a frame without a rule that are searched for what might be a return address. */
	MOST_SEARCHED = 256,
	/* Offsets of registers in a ucontext (arch/x86/include/uapi/asm/sigcontext.h). */
	UCONTEXT_RBP = 120,
	UCONTEXT_RBX = 128,
	UCONTEXT_RSP = 160,
	UCONTEXT_RIP = 168,
};

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

enum found {
	FOUND = 0,
	/* What was found may change without a new list. */
	FOUND_FOR_NOW = 1,
	FOUND_NOTHING = 2,
	/* The list does not tell of what is there now. */
	FOUND_REMAPPED = 3,
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

/* Finds what is at `pc`, into w->found. */
__noinline int find_frame(struct walk *w, u64 pc)
{
	u32 slot;

	if (!w)
		return FOUND_NOTHING;
	w->found.pc = pc;
	w->found.list = w->list.id;
	w->found.rule = (struct rule){ .kind = RULE_NONE };
	w->found.word = tagged(WORD_UNRESOLVED, pc);
	if (!w->list.id)
		return FOUND_FOR_NOW;
	if (pc - w->remapped < w->remapped_bytes)
		return FOUND_REMAPPED;
	if (pc < w->mapping.start || pc >= w->mapping.end) {
		struct table *table = 0;

		if (!find_mapping(&w->list, pc, &w->mapping)) {
			w->mapping.start = w->mapping.end = 0;
			return FOUND_NOTHING;
		}
		slot = w->mapping.table;
		if (slot != NO_TABLE)
			table = bpf_map_lookup_elem(&tables, &slot);
		if (table)
			w->table = *table;
		else
			w->table.state = TABLE_NONE;
	}
	if (w->mapping.file == NO_FILE) {
		w->found.word = tagged(WORD_ANONYMOUS, pc);
		return FOUND;
	}
	u32 offset = w->mapping.offset + (u32)(pc - w->mapping.start);

	w->found.word = (u64)w->mapping.file << 32 | offset;
	switch (w->table.state) {
	case TABLE_READY:
		find_rule(&w->table, offset, &w->found.rule);
		return FOUND;
	case TABLE_NONE:
		return FOUND;
	default:
		if (w->missing == TABLE_READY) {
			w->missing = w->table.state;
			w->missing_file = w->mapping.file;
		}
		return FOUND_FOR_NOW;
	}
}

/* DWARF number of the register that a rule computes the CFA from. */
static __always_inline u32 base_of(const struct rule *rule)
{
	return rule->reg & ((1 << REGISTER_BITS) - 1);
}

/* Finds the caller's rbx; false if its place cannot be read. */
static __always_inline bool restore_bx(struct walk *w, u64 cfa, u32 place)
{
	if (!place)
		return true;
	w->knows_bx = place != RBX_LOST;
	return !w->knows_bx || read_word(&w->chunk, cfa - (place + 1) * sizeof(u64), &w->bx);
}

/* Goes on at the caller, whose frame begins at `cfa`. */
static __always_inline int leave(struct walk *w, u64 cfa, const struct rule *rule)
{
	u64 saved = w->fp, ip;
	s16 fp = rule->fp;

	/*
	 * A caller's frame lies above; but a leaf may just have taken its return address off the stack. Without this a frame
	 * pointer that points at itself is followed 1,024 times.
	 */
	if (rule->kind == RULE_REGISTER && cfa < w->sp + !w->exact)
		return end_walk(w, OUTCOME_ASTRAY, 0);
	/* From the lowest place up: a chunk goes upwards. */
	if (!restore_bx(w, cfa, rule->reg >> REGISTER_BITS))
		return end_walk(w, OUTCOME_UNREADABLE, 0);
	if (fp) {
		u64 at = fp == FP_AT_FP ? w->fp : cfa + (s64)fp * (s64)sizeof(u64);

		if (!read_word(&w->chunk, at, &saved))
			return end_walk(w, OUTCOME_UNREADABLE, 0);
	}
	if (!read_word(&w->chunk, cfa - sizeof(u64), &ip))
		return end_walk(w, OUTCOME_UNREADABLE, 0);
	w->ip = ip;
	w->sp = cfa;
	w->fp = saved;
	w->exact = 0;
	w->by_frame_pointer = 0;
	/* Whoever begins a thread by hand pushes a return address of nowhere. */
	return ip ? 0 : end_walk(w, OUTCOME_ENTRY, 0);
}

/* Goes on at what a signal interrupted: the kernel saved its registers behind the handler's frame. */
static __always_inline int leave_signal_frame(struct walk *w)
{
	u64 fp, bx, sp, ip;

	if (!read_word(&w->chunk, w->sp + UCONTEXT_RBP, &fp) || !read_word(&w->chunk, w->sp + UCONTEXT_RBX, &bx) ||
	    !read_word(&w->chunk, w->sp + UCONTEXT_RSP, &sp) || !read_word(&w->chunk, w->sp + UCONTEXT_RIP, &ip))
		return end_walk(w, OUTCOME_UNREADABLE, 0);
	w->ip = ip;
	w->sp = sp;
	w->fp = fp;
	w->bx = bx;
	w->knows_bx = 1;
	w->exact = 1;
	w->by_frame_pointer = 0;
	return 0;
}

/* Code that is known by its bytes: C libraries of some languages (musl's, Go's) have no rules for it. */
enum known_code {
	UNKNOWN_CODE,
	/* What a signal handler returns to: mov $__NR_rt_sigreturn, %rax (or %eax); syscall. */
	SIGRETURN,
	/* What the first function of a thread returns to in musl: mov %eax, %edi; xor %eax, %eax; mov $__NR_exit, %al; syscall; hlt. */
	THREAD_EXIT,
};

static __always_inline enum known_code code_at(u64 ip)
{
	u64 code[2] = {};

	if (bpf_probe_read_user(code, 9, (void *)ip))
		return UNKNOWN_CODE;
	if (code[0] == 0x0f0000000fc0c748ull && code[1] == 0x05)
		return SIGRETURN;
	if ((code[0] & 0x00ffffffffffffffull) == 0x050f0000000fb8ull)
		return SIGRETURN;
	return code[0] == 0x050f3cb0c031c789ull && code[1] == 0xf4 ? THREAD_EXIT : UNKNOWN_CODE;
}

/*
 * Whether callers may hide below the frame pointer: one that left it alone has its return address between there and the
 * stack pointer. Global, to be verified once.
 */
__noinline int may_hide_callers(struct walk *w)
{
	u64 word, at;

	if (!w || w->fp - w->sp > MOST_SEARCHED)
		return 1;
	at = w->sp;
	for (int i = 0; i < MOST_SEARCHED / (int)sizeof(u64); i++) {
		if (at >= w->fp)
			return 0;
		if (!read_word(&w->chunk, at, &word) || find_mapping(&w->list, word, &w->candidate))
			return 1;
		at += sizeof(u64);
	}
	return 0;
}

/* A step by the frame pointer, where nothing better is known. Whether it led anywhere shows when the caller is looked up. */
static __always_inline int leave_by_frame_pointer(struct walk *w, bool in_file, bool may_switch)
{
	u64 fp = w->fp, saved, ip;

	if (!fp || fp % sizeof(u64) || (!may_switch && fp - w->sp > FAR))
		return end_walk(w, OUTCOME_NO_FRAME_POINTER, !in_file);
	if (!read_word(&w->chunk, fp, &saved) || !read_word(&w->chunk, fp + sizeof(u64), &ip))
		return end_walk(w, OUTCOME_UNREADABLE, 0);
	/* Nobody looks up where this leads before the window is over, so each step must look right by itself. */
	if (!w->list.id && (saved <= fp || saved - fp > FAR))
		return end_walk(w, OUTCOME_NO_MAPPINGS, 0);
	w->ip = ip;
	w->sp = fp + 2 * sizeof(u64);
	w->fp = saved;
	w->knows_bx = 0;
	w->exact = 0;
	w->by_frame_pointer = 1;
	/* rbp may have pointed at anything. */
	return ip ? 0 : end_walk(w, OUTCOME_ASTRAY, 0);
}

/* Leaves a leaf without a rule that has no frame yet, or no more; not 0 if it is none, or its caller would be no code. */
__noinline int leave_frameless(struct walk *w)
{
	struct call_site site;
	u64 ip, saved;

	if (!w || !w->list.id || bpf_probe_read_user(w->code, sizeof(w->code), (void *)w->ip))
		return 1;
	if (!is_frameless(w->code, w->fp == w->sp, &site))
		return 1;
	if (!read_word(&w->chunk, w->sp + (u32)site.return_address, &ip) || !find_mapping(&w->list, ip, &w->candidate))
		return 1;
	if (!site.is_unchanged) {
		if (!read_word(&w->chunk, w->sp + (u32)site.saved, &saved))
			return 1;
		w->fp = saved;
	}
	w->ip = ip;
	w->sp += (u32)site.return_address + sizeof(u64);
	w->knows_bx = 0;
	w->exact = 0;
	w->by_frame_pointer = 0;
	return 0;
}

/* A step out of code that has no rule. */
static __always_inline int leave_without_rule(struct walk *w, bool in_file)
{
	switch (in_file ? code_at(w->ip) : UNKNOWN_CODE) {
	case SIGRETURN:
		return leave_signal_frame(w);
	case THREAD_EXIT:
		return end_walk(w, OUTCOME_ENTRY, 0);
	default:
		if (w->exact && !leave_frameless(w))
			return 0;
		if (in_file && may_hide_callers(w))
			w->guessed = 1;
		return leave_by_frame_pointer(w, in_file, false);
	}
}

/*
 * A register of the leaf frame, as it was when the kernel was entered. By calls: clang makes one load of plain ones, of
 * which 6.1's verifier says that it uses different pointers.
 */
static __always_inline u64 leaf_register(u32 number)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

	switch (number) {
	case 0:
		return BPF_CORE_READ(regs, ax);
	case 1:
		return BPF_CORE_READ(regs, dx);
	case 2:
		return BPF_CORE_READ(regs, cx);
	case 4:
		return BPF_CORE_READ(regs, si);
	case 5:
		return BPF_CORE_READ(regs, di);
	case 8:
		return BPF_CORE_READ(regs, r8);
	case 9:
		return BPF_CORE_READ(regs, r9);
	case 10:
		return BPF_CORE_READ(regs, r10);
	case 11:
		return BPF_CORE_READ(regs, r11);
	case 12:
		return BPF_CORE_READ(regs, r12);
	case 13:
		return BPF_CORE_READ(regs, r13);
	case 14:
		return BPF_CORE_READ(regs, r14);
	default:
		return BPF_CORE_READ(regs, r15);
	}
}

/* The register that a CFA is computed from; false if it is not known in this frame. */
static __always_inline bool base_register(struct walk *w, u32 number, u64 *value)
{
	if (number == DWARF_RSP)
		*value = w->sp;
	else if (number == DWARF_RBP)
		*value = w->fp;
	else if (number == DWARF_RBX && w->knows_bx)
		*value = w->bx;
	else if (number != DWARF_RBX && number <= 15 && w->frames == 1)
		*value = leaf_register(number);
	else
		return false;
	return true;
}

/* Leaves a frame by any rule but the usual one. Global, to keep the usual one short. */
__noinline int leave_unusual(struct walk *w, u64 pc, struct frame *frame)
{
	struct rule rule;
	u64 base, cfa;

	if (!w || !frame)
		return 1;
	rule = frame->rule;
	switch (rule.kind) {
	case RULE_END:
		return end_walk(w, OUTCOME_ENTRY, 0);
	case RULE_REGISTER:
	case RULE_DEREF:
		if (!base_register(w, base_of(&rule), &base))
			return end_walk(w, OUTCOME_UNSUPPORTED, UNSUPPORTED_CFA_REGISTER);
		cfa = base + (s64)rule.cfa;
		if (rule.kind == RULE_DEREF) {
			if (!read_word(&w->chunk, base + (s64)(s16)rule.cfa, &cfa))
				return end_walk(w, OUTCOME_UNREADABLE, 0);
			cfa += (s64)(rule.cfa >> 16);
		}
		return leave(w, cfa, &rule);
	case RULE_PLT:
		return leave(w, w->sp + sizeof(u64) + ((pc & 15) >= (u32)rule.cfa ? sizeof(u64) : 0), &rule);
	case RULE_SIGNAL:
		return leave_signal_frame(w);
	case RULE_SWITCH:
		/* Go clears the frame pointer where it leaves a stack for good. */
		if (!w->fp)
			return end_walk(w, OUTCOME_ENTRY, 0);
		return leave_by_frame_pointer(w, true, true);
	case RULE_UNSUPPORTED:
		return end_walk(w, OUTCOME_UNSUPPORTED, rule.reg);
	default:
		return leave_without_rule(w, tag_of(frame->word) == WORD_FILE);
	}
}

/* Adds the frame that the walk is at and goes on to its caller; not 0 at the end. Global: one step is verified once. */
__noinline int step(struct walk *w)
{
	struct frame_cache *cache;
	struct frame *frame = 0;
	u64 pc;
	u32 cpu = bpf_get_smp_processor_id();

	if (!w)
		return 1;
	pc = w->ip - !w->exact;
	/* Nothing on a CPU that came online after the agent and has a higher number than the others. */
	cache = bpf_map_lookup_elem(&frame_cache, &cpu);
	if (cache && w->list.id && pc - w->remapped >= w->remapped_bytes)
		frame = cached_frame(cache, w, pc);
	if (!frame) {
		frame = &w->found;
		switch (find_frame(w, pc)) {
		case FOUND:
			if (cache)
				cache_frame(cache, w);
			break;
		case FOUND_NOTHING:
			if (w->by_frame_pointer)
				return end_walk(w, OUTCOME_ASTRAY, 0);
			append(w, w->found.word);
			return end_walk(w, OUTCOME_NO_MAPPING, 0);
		case FOUND_REMAPPED:
			/* By the end of the window, when others are looked up, there may be a third thing. */
			return end_walk(w, OUTCOME_REMAPPED, 0);
		}
	}
	w->frames++;
	append(w, frame->word);
	if (frame->rule.kind == RULE_REGISTER) {
		u32 reg = base_of(&frame->rule);

		if (reg == DWARF_RSP)
			return leave(w, w->sp + (s64)frame->rule.cfa, &frame->rule);
		if (reg == DWARF_RBP)
			return leave(w, w->fp + (s64)frame->rule.cfa, &frame->rule);
	}
	return leave_unusual(w, pc, frame);
}
