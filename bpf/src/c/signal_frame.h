/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The step from a signal handler to what it interrupted. */
#pragma once

#include "frame.h"

enum ucontext {
	/* Offsets of registers in a ucontext (arch/x86/include/uapi/asm/sigcontext.h). */
	UCONTEXT_RBP = 120,
	UCONTEXT_RBX = 128,
	UCONTEXT_RSP = 160,
	UCONTEXT_RIP = 168,
};

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
