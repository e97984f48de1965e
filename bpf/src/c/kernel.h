/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's types, as far as the programs read them.
 *
 * Offsets are not these: preserve_access_index makes clang record every access by name, and libbpf puts the running
 * kernel's offset in from its BTF. So a structure holds just the members that are read, and no vmlinux.h is needed.
 */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;

enum { false, true };

/* Stable numbers of the user-space ABI (linux/bpf.h, linux/sched.h). */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_F_MMAPABLE = 1 << 10,
	BPF_F_USER_STACK = 1 << 8,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
};

/* task_struct::flags (include/linux/sched.h; not an ABI, but unchanged since 5.12). */
enum {
	PF_EXITING = 0x00000004,
	PF_IO_WORKER = 0x00000010,
	/* Threads of vhost, since 6.4; nothing before. */
	PF_USER_WORKER = 0x00004000,
	PF_KTHREAD = 0x00200000,
};

/* Code segment of 32-bit user space (arch/x86/include/asm/segment.h). */
enum {
	USER32_CS = 0x23,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* The user's registers as the kernel saved them; x86-64. */
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct path f_path;
};

struct mm_struct {
	struct file *exe_file;
};

struct vm_unmapped_area_info {
	unsigned long length;
};

struct kernfs_node {
	u64 id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

/* Numbered by the kernel's configuration: only the names are used here. */
enum cgroup_subsys_id {
	cpu_cgrp_id,
	memory_cgrp_id,
	pids_cgrp_id,
	CGROUP_SUBSYS_COUNT = 64,
};

struct css_set {
	struct cgroup_subsys_state *subsys[CGROUP_SUBSYS_COUNT];
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	unsigned int flags;
	unsigned in_execve : 1;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct css_set *cgroups;
	char comm[16];
};

struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop

/* Context of a perf_event program, as far as it is read: the interrupted registers (linux/bpf_perf_event.h, an ABI). */
struct bpf_perf_event_data {
	unsigned long before_ip[16];
	unsigned long ip, cs;
};
