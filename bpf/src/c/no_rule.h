/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Steps out of code that no rule is known for. */
#pragma once

#include "signal_frame.h"

enum no_rule_limits {
	/* Frame pointers that lead further up than this are none. */
	FAR = 8 << 20,
	/* Bytes of a frame without a rule that are searched for what might be a return address. */
	MOST_SEARCHED = 256,
};

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
