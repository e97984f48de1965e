/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The first and last instructions of functions, by their bytes.
 *
 * Code without a rule is left by its frame pointer, which is its caller's until the function has made its own, and again
 * behind where it has given that back: there the caller itself would be skipped. What stands at the leaf's address tells.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* Where a leaf's return address and its caller's frame pointer lie, from the stack pointer up. */
struct call_site {
	s32 return_address;
	/* The frame pointer is as the caller left it, or else it lies here. */
	u32 is_unchanged;
	s32 saved;
};

enum prologue_limits {
	/* Of code. The longest that is looked for has 14. */
	LOOKED_AT = 16,
	/* Frames are smaller. */
	LARGEST_FRAME = 1 << 20,
};

static __always_inline s32 number_at(const u8 *code)
{
	return code[0] | code[1] << 8 | code[2] << 16 | (u32)code[3] << 24;
}

/* The number of an instruction that has one of one byte in its short form, and of four in its long one. */
static __always_inline s32 operand(const u8 *code, bool is_short)
{
	return is_short ? (signed char)code[0] : number_at(code);
}

/* The frame pointer was just saved this far up, and is next to be made, or to be put right. */
static __always_inline bool saved_at(struct call_site *site, s32 distance)
{
	*site = (struct call_site){ .return_address = distance + 8, .saved = distance };
	return distance >= 0 && distance < LARGEST_FRAME;
}

/* The caller's is still there, or there again, with the return address this far up. */
static __always_inline bool unchanged(struct call_site *site, s32 distance)
{
	*site = (struct call_site){ .return_address = distance, .is_unchanged = 1 };
	return distance >= 0 && distance < LARGEST_FRAME;
}

/* add $n, %rbp */
static __always_inline bool is_addition(const u8 *code)
{
	return code[0] == 0x48 && (code[1] == 0x83 || code[1] == 0x81) && code[2] == 0xc5;
}

/* sub $n, %rsp */
static __always_inline bool is_subtraction(const u8 *code)
{
	return code[0] == 0x48 && (code[1] == 0x83 || code[1] == 0x81) && code[2] == 0xec;
}

/* mov %rbp, n(%rsp) */
static __always_inline bool is_save(const u8 *code)
{
	return code[0] == 0x48 && code[1] == 0x89 && (code[2] == 0x6c || code[2] == 0xac) && code[3] == 0x24;
}

/* Whether the code at a leaf's address, LOOKED_AT bytes, is such a place. `is_level`: the frame pointer equals the stack pointer. */
static __always_inline bool is_frameless(const u8 *code, bool is_level, struct call_site *site)
{
	switch (code[0]) {
	case 0x55: /* push %rbp */
	case 0xc2: /* ret $n */
	case 0xc3: /* ret */
		return unchanged(site, 0);
	case 0x5d: /* pop %rbp; ret */
		return code[1] == 0xc3 && saved_at(site, 0);
	case 0x48:
		/* mov %rsp, %rbp; and, by HotSpot's C2, which has made room for the frame by now, add $n, %rbp */
		if ((code[1] == 0x89 && code[2] == 0xe5) || (code[1] == 0x8b && code[2] == 0xec))
			return saved_at(site, is_addition(code + 3) ? operand(code + 6, code[4] == 0x83) : 0);
		if (is_level && is_addition(code))
			return saved_at(site, operand(code + 3, code[1] == 0x83));
		if (is_save(code))
			return unchanged(site, operand(code + 4, code[2] == 0x6c) + 8);
		/* The first of C2's: sub $n, %rsp; mov %rbp, n - 16(%rsp) */
		return is_subtraction(code) && is_save(code + (code[1] == 0x83 ? 4 : 7)) && unchanged(site, 0);
	case 0x89:
		/* HotSpot tries whether there is room on the stack: mov %eax, -n(%rsp); then as above. */
		return code[1] == 0x84 && code[2] == 0x24 && (code[7] == 0x55 || is_subtraction(code + 7)) &&
		       unchanged(site, 0);
	case 0x49:
		/* And whether it is to stop, before it returns: cmp n(%r15), %rsp; ja elsewhere; ret */
		return code[1] == 0x3b && code[2] == 0xa7 && code[7] == 0x0f && code[8] == 0x87 && code[13] == 0xc3 &&
		       unchanged(site, 0);
	case 0x0f:
		return code[1] == 0x87 && code[6] == 0xc3 && unchanged(site, 0);
	default:
		return false;
	}
}
