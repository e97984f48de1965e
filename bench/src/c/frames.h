/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What programs have walked that do nothing else. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct frames {
	u64 samples;
	u64 user;
	u64 kernel;
};

/* Sums of one CPU, over all programs of a file: one of them runs at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct frames);
} frames SEC(".maps");
