/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * One step of the walk: from a frame to the one that called it.
 *
 * The rule of the frame's place decides. Where a file has none for it, or the code lies in no file, the step is made by
 * the frame pointer if that looks like one. Every walk ends with an outcome that says why.
 */
#pragma once

#include "frame_cache.h"
#include "no_rule.h"
#include <bpf/bpf_core_read.h>

/* DWARF's numbers of x86-64's registers. */
enum dwarf_register {
	DWARF_RBX = 3,
	DWARF_RBP = 6,
	DWARF_RSP = 7,
	/* The first of four that every function keeps. */
	DWARF_R12 = 12,
};

enum found {
	FOUND = 0,
	/* What was found may change without a new list. */
	FOUND_FOR_NOW = 1,
	FOUND_NOTHING = 2,
	/* The list does not tell of what is there now. */
	FOUND_REMAPPED = 3,
};

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

/*
 * The register that a CFA is computed from; false if it is not known in this frame. Those that a function need not keep are
 * known in the leaf, and in its caller if that goes by one of them: it calls only what is written for it, and leaves the
 * register alone. OpenSSL's AES-GCM has its stack pointer in rax.
 */
static __always_inline bool base_register(struct walk *w, u32 number, u64 *value)
{
	if (number == DWARF_RSP)
		*value = w->sp;
	else if (number == DWARF_RBP)
		*value = w->fp;
	else if (number == DWARF_RBX && w->knows_bx)
		*value = w->bx;
	else if (number != DWARF_RBX && number <= 15 && (w->frames == 1 || (w->frames == 2 && number < DWARF_R12)))
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
		/* Should the callee have changed the register after all. */
		if (w->frames == 2 && cfa - w->sp > FAR)
			return end_walk(w, OUTCOME_UNSUPPORTED, UNSUPPORTED_CFA_REGISTER);
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
