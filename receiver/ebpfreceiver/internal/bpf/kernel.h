/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs use of the kernel: helpers by number (include/uapi/linux/bpf.h), and of its types the members that are
 * read. Offsets of members are relocated when a program is loaded, by the kernel's own BTF. */
#ifndef WITNESS_KERNEL_H
#define WITNESS_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* Definition of maps, as libbpf and cilium/ebpf read them from BTF. */
#define MAP_TYPE(value) int(*type)[value]
#define MAP_ENTRIES(value) int(*max_entries)[value]
#define MAP_KEY(t) t *key
#define MAP_VALUE(t) t *value

enum { MAP_HASH = 1, MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6, MAP_LRU_HASH = 9, MAP_RINGBUF = 27 };
enum { UPDATE_NOEXIST = 1, UPDATE_EXIST = 2 };
enum { STACK_USER = 1 << 8 };

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const current_pid_tgid)(void) = (void *)14;
static u64 (*const current_uid_gid)(void) = (void *)15;
static long (*const get_stack)(void *ctx, void *buffer, u32 size, u64 flags) = (void *)67;
static long (*const read_kernel)(void *into, u32 size, const void *from) = (void *)113;
static long (*const read_kernel_text)(void *into, u32 size, const void *from) = (void *)115;
static u64 (*const boot_time)(void) = (void *)125;
static void *(*const ring_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*const ring_submit)(void *record, u64 flags) = (void *)132;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	u32 s_dev;
};

struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

struct inode {
	unsigned long i_ino;
	u32 i_generation;
	struct super_block *i_sb;
	struct timespec64 i_ctime;
};

/* Since Linux 6.6, and since 6.11. */
struct inode___renamed {
	struct timespec64 __i_ctime;
};

struct inode___parts {
	s64 i_ctime_sec;
	u32 i_ctime_nsec;
};

struct file {
	struct inode *f_inode;
};

struct linux_binprm {
	struct file *file;
	const char *interp;
};

struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	unsigned long vm_flags;
	unsigned long vm_pgoff;
	struct file *vm_file;
};

struct kernfs_node {
	const char *name;
	struct kernfs_node *parent;
	u64 id;
};

/* Since Linux 6.15. */
struct kernfs_node___renamed {
	struct kernfs_node *__parent;
};

struct cgroup {
	struct kernfs_node *kn;
	int level;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};

struct ns_common {
	u32 inum;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
};

typedef struct {
	u32 val;
} kuid_t;

struct cred {
	kuid_t euid;
};

struct task_struct {
	s32 pid;
	s32 tgid;
	s32 exit_code;
	u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct cred *cred;
};

struct seq_file {
	int unused;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma;
};

#pragma clang attribute pop

enum { VM_EXEC = 4 };

enum cgroup_subsys_id { memory_cgrp_id = 4, pids_cgrp_id = 11 };

/* Helpers whose arguments are kernel types. */
static long (*const seq_write)(struct seq_file *into, const void *data, u32 size) = (void *)127;
static struct task_struct *(*const current_task)(void) = (void *)158;
static u64 (*const attach_cookie)(void *ctx) = (void *)174;
static long (*const loop)(u32 times, void *callback, void *context, u64 flags) = (void *)181;
static long (*const find_vma)(struct task_struct *task, u64 address, void *callback, void *context, u64 flags) = (void *)180;

/* READ reads a member through a pointer into the kernel; it is 0 where that fails. */
#define READ(from, member)                                                                                  \
	({                                                                                                  \
		typeof((from)->member) value_ = 0;                                                          \
		read_kernel(&value_, sizeof(value_), (const void *)__builtin_preserve_access_index(&(from)->member)); \
		value_;                                                                                     \
	})

/* Whether the kernel's type has a member, and the value of an enumerator; the numbers are those of clang's relocations. */
#define HAS_MEMBER(member) __builtin_preserve_field_info(member, 2)
#define HAS_ENUMERATOR(type, name) __builtin_preserve_enum_value(*(typeof(type) *)name, 0)
#define ENUMERATOR(type, name) __builtin_preserve_enum_value(*(typeof(type) *)name, 1)

#endif
