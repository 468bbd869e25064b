//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// What runs in the kernel. Each program is attached by itself, so that one that a kernel refuses costs only its own signal.
#include "events.h"

// The kernel asks for it of programs that use the helpers of tracing.
char license_text[] SEC("license") = "Dual BSD/GPL";

// Set before loading: stacks are asked for, and the kernel has bpf_loop and bpf_find_vma (5.17).
volatile const u8 walk_stacks;

struct {
	MAP_TYPE(MAP_RINGBUF);
	MAP_ENTRIES(4 << 20);
} events SEC(".maps");

struct {
	MAP_TYPE(MAP_PERCPU_ARRAY);
	MAP_ENTRIES(COUNTS);
	MAP_KEY(u32);
	MAP_VALUE(u64);
} counts SEC(".maps");

struct {
	MAP_TYPE(MAP_HASH);
	MAP_ENTRIES(1 << 16);
	MAP_KEY(struct hit_key);
	MAP_VALUE(struct hit);
} hits SEC(".maps");

// Hits that were lost of each probe: a gap of its function only.
struct {
	MAP_TYPE(MAP_ARRAY);
	MAP_ENTRIES(1 << 10);
	MAP_KEY(u32);
	MAP_VALUE(u64);
} lost SEC(".maps");

// The turn in which a probe is attached, where each is a link of its own: it takes the kernel a tenth of a second to take one
// away, one after the other. Those of another turn do not count meanwhile. 0 is none.
struct {
	MAP_TYPE(MAP_ARRAY);
	MAP_ENTRIES(1 << 10);
	MAP_KEY(u32);
	MAP_VALUE(u32);
} turns SEC(".maps");

// Programs that the reader knows: it need not be woken for them.
struct {
	MAP_TYPE(MAP_LRU_HASH);
	MAP_ENTRIES(1 << 13);
	MAP_KEY(struct program);
	MAP_VALUE(u8);
} known SEC(".maps");

// The types of events are in BTF only where something has them.
const struct exec_event *exec_event_type __attribute__((unused));
const struct fork_event *fork_event_type __attribute__((unused));
const struct exit_event *exit_event_type __attribute__((unused));
const struct connect_event *connect_event_type __attribute__((unused));
const struct first_hit_event *first_hit_event_type __attribute__((unused));
const struct mapping *mapping_type __attribute__((unused));
const enum event_type *event_type_type __attribute__((unused));
const enum count *count_type __attribute__((unused));

INLINE void count(u32 what)
{
	u64 *n = map_lookup(&counts, &what);
	if (n)
		*n += 1; // a program is not moved to another CPU, but another one can interrupt it there
}

INLINE void *reserve(u64 size, u32 otherwise)
{
	void *record = ring_reserve(&events, size, 0);
	if (!record)
		count(otherwise);
	return record;
}

#define LATER 1 /* BPF_RB_NO_WAKEUP */
#define NOW 2   /* BPF_RB_FORCE_WAKEUP */

/* The reader is woken for what it can only find out in time; the rest it reads with that, or a while later. */
INLINE void submit(void *record, u64 wakeup)
{
	ring_submit(record, wakeup);
	count(COUNT_SUBMITTED);
}

INLINE void identify(struct process *into, struct task_struct *task)
{
	struct task_struct *leader = READ(task, group_leader);
	into->pid = READ(task, tgid);
	into->padding = 0;
	into->start = READ(leader, start_boottime);
}

INLINE void head(struct header *into, u32 type, struct task_struct *task)
{
	struct cred *cred = READ(task, cred);
	into->type = type;
	into->time = boot_time();
	identify(&into->process, task);
	into->uid = READ(cred, euid.val);
}

INLINE void identify_file(struct file_id *into, struct file *file)
{
	struct inode *inode = READ(file, f_inode);
	struct super_block *sb = READ(inode, i_sb);
	into->dev = READ(sb, s_dev);
	into->generation = READ(inode, i_generation);
	into->inode = READ(inode, i_ino);
}

INLINE s64 changed(struct inode *inode)
{
	const s64 second = 1000000000;
	struct inode___parts *parts = (void *)inode;
	struct inode___renamed *renamed = (void *)inode;
	if (HAS_MEMBER(parts->i_ctime_sec))
		return READ(parts, i_ctime_sec) * second + (READ(parts, i_ctime_nsec) & 0x7fffffff); // the last bit is a flag
	if (HAS_MEMBER(renamed->__i_ctime))
		return READ(renamed, __i_ctime.tv_sec) * second + READ(renamed, __i_ctime.tv_nsec);
	return READ(inode, i_ctime.tv_sec) * second + READ(inode, i_ctime.tv_nsec);
}

/* FNV-1a. */
INLINE u64 hash(const char *name)
{
	u64 sum = 0xcbf29ce484222325;
	for (int i = 0; i < FILENAME && name[i]; i++)
		sum = (sum ^ (u8)name[i]) * 0x100000001b3;
	return sum;
}

INLINE struct kernfs_node *above(struct kernfs_node *node)
{
	struct kernfs_node___renamed *renamed = (void *)node;
	if (HAS_MEMBER(renamed->__parent))
		return READ(renamed, __parent);
	return READ(node, parent);
}

INLINE struct cgroup *cgroup_of(struct task_struct *task)
{
	struct css_set *set = READ(task, cgroups);
	struct cgroup *cgroup = READ(set, dfl_cgrp);
	if (READ(cgroup, level) > 0 || !HAS_ENUMERATOR(enum cgroup_subsys_id, memory_cgrp_id))
		return cgroup;
	struct cgroup_subsys_state *state = 0;
	u32 at = ENUMERATOR(enum cgroup_subsys_id, memory_cgrp_id);
	if (at < 16)
		read_kernel(&state, sizeof(state), (void *)__builtin_preserve_access_index(&set->subsys[0]) + at * sizeof(state));
	struct cgroup *other = READ(state, cgroup);
	return other ? other : cgroup;
}

INLINE int executed(struct task_struct *task, struct linux_binprm *binprm)
{
	struct exec_event *e = reserve(sizeof(*e), COUNT_PROCESSES_LOST);
	if (!e)
		return 0;
	head(&e->header, EVENT_EXEC, task);
	identify(&e->parent, READ(task, real_parent));
	struct file *file = READ(binprm, file);
	struct nsproxy *proxy = READ(task, nsproxy);
	struct mnt_namespace *mounts = READ(proxy, mnt_ns);
	struct cgroup *cgroup = cgroup_of(task);
	struct kernfs_node *node = READ(cgroup, kn);
	struct program program = {};
	identify_file(&program.file, file);
	program.changed = changed(READ(file, f_inode));
	program.cgroup = READ(node, id);
	program.mount_namespace = READ(mounts, ns.inum);
	program.uid = e->header.uid;
	for (int i = 0; i < CGROUPS; i++) {
		e->cgroups[i][0] = 0;
		if (node) {
			read_kernel_text(e->cgroups[i], CGROUP_NAME, READ(node, name));
			node = above(node);
		}
	}
	e->filename[0] = 0;
	read_kernel_text(e->filename, FILENAME, READ(binprm, interp));
	program.name = hash(e->filename);
	e->program = program;
	submit(e, map_lookup(&known, &program) ? LATER : NOW);
	return 0;
}

INLINE int forked(struct task_struct *parent, struct task_struct *child)
{
	if (READ(child, pid) != READ(child, tgid))
		return 0; // a thread
	struct fork_event *e = reserve(sizeof(*e), COUNT_PROCESSES_LOST);
	if (!e)
		return 0;
	head(&e->header, EVENT_FORK, child);
	identify(&e->parent, parent);
	submit(e, LATER);
	return 0;
}

INLINE int exited(struct task_struct *task)
{
	struct signal_struct *shared = READ(task, signal);
	if (READ(shared, live.counter) != 0)
		return 0; // other threads live
	struct exit_event *e = reserve(sizeof(*e), COUNT_PROCESSES_LOST);
	if (!e)
		return 0;
	head(&e->header, EVENT_EXIT, task);
	e->code = READ(task, exit_code);
	e->padding = 0;
	submit(e, LATER);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int on_exec(u64 *args) { return executed((void *)args[0], (void *)args[2]); }

SEC("tp_btf/sched_process_fork")
int on_fork(u64 *args) { return forked((void *)args[0], (void *)args[1]); }

SEC("tp_btf/sched_process_exit")
int on_exit(u64 *args) { return exited((void *)args[0]); }

// The same for kernels that refuse programs with BTF arguments.
SEC("raw_tracepoint/sched_process_exec")
int on_raw_exec(u64 *args) { return executed((void *)args[0], (void *)args[2]); }

SEC("raw_tracepoint/sched_process_fork")
int on_raw_fork(u64 *args) { return forked((void *)args[0], (void *)args[1]); }

SEC("raw_tracepoint/sched_process_exit")
int on_raw_exit(u64 *args) { return exited((void *)args[0]); }

enum { TCP_SYN_SENT = 2, TCP_CLOSE = 7 };

// inet_sock_set_state(sk, oldstate, newstate): a process that connects is the current one.
SEC("tp_btf/inet_sock_set_state")
int on_connect(u64 *args)
{
	if ((u32)args[1] != TCP_CLOSE || (u32)args[2] != TCP_SYN_SENT)
		return 0;
	struct connect_event *e = reserve(sizeof(*e), COUNT_CONNECTS_LOST);
	if (!e)
		return 0;
	head(&e->header, EVENT_CONNECT, current_task());
	submit(e, NOW);
	return 0;
}

// BOUND keeps an index, which is below a power of two, there in a way that the kernel's verifier follows.
#define BOUND(index, limit)                  \
	do {                                     \
		__asm__ volatile("" : "+r"(index));  \
		(index) &= (limit)-1;                \
	} while (0)

struct looked_up {
	struct user_frame *frame;
	u64 address;
	u32 found;
};

static long look(struct task_struct *task __attribute__((unused)), struct vm_area_struct *area, struct looked_up *at)
{
	struct file *file = READ(area, vm_file);
	if (!file)
		return 0;
	struct user_frame frame = {};
	identify_file(&frame.file, file);
	frame.mapping = READ(area, vm_start);
	frame.offset = at->address - frame.mapping + (READ(area, vm_pgoff) << 12);
	*at->frame = frame;
	at->found = 1;
	return 0;
}

// What is mapped executable now, of all processes.
SEC("iter/task_vma")
int on_mapped(struct bpf_iter__task_vma *at)
{
	struct task_struct *task = at->task;
	struct vm_area_struct *area = at->vma;
	if (!task || !area || task->pid != task->tgid || !(area->vm_flags & VM_EXEC))
		return 0;
	struct file *file = area->vm_file;
	if (!file)
		return 0;
	struct mapping mapping = {};
	identify(&mapping.process, task);
	identify_file(&mapping.file, file);
	mapping.start = area->vm_start;
	mapping.offset = (u64)area->vm_pgoff << 12;
	seq_write(at->meta->seq, &mapping, sizeof(mapping));
	return 0;
}

struct walk {
	struct first_hit_event *event;
	struct task_struct *task;
	u32 frames;
};

static long step(u64 i, struct walk *walk)
{
	struct first_hit_event *e = walk->event;
	if (i >= walk->frames)
		return 1;
	BOUND(i, FRAMES);
	struct user_frame frame = {};
	struct looked_up at = {&frame, e->scratch[i], 0};
	e->scratch[i] = 0;
	find_vma(walk->task, at.address, look, &at, 0);
	if (!at.found) // another thread may hold the lock of the mappings
		frame.offset = at.address;
	e->frame[i] = frame;
	return 0;
}

INLINE void tell_first(void *ctx, struct task_struct *task, struct hit_key *key, u64 now)
{
	struct first_hit_event *e = reserve(sizeof(*e), COUNT_STACKS_LOST);
	if (!e)
		return;
	head(&e->header, EVENT_FIRST_HIT, task);
	e->header.time = now;
	e->probe = key->probe;
	e->frames = 0;
	for (u32 i = 0; i < FRAMES; i++)
		e->scratch[i] = 0;
	if (walk_stacks) {
		long size = get_stack(ctx, e->scratch, sizeof(e->scratch), STACK_USER);
		if (size <= 0)
			count(COUNT_STACKS_FAILED);
		else {
			struct walk walk = {e, task, size / 8};
			loop(FRAMES, step, &walk, 0);
			e->frames = walk.frames;
		}
	}
	submit(e, NOW);
}

INLINE int called(void *ctx, u32 probe)
{
	struct task_struct *task = current_task();
	struct hit_key key = {};
	key.probe = probe;
	// As identify, without its calls: this pointer may be followed.
	key.process.pid = task->tgid;
	key.process.start = task->group_leader->start_boottime;
	u64 now = boot_time();
	struct hit *known = map_lookup(&hits, &key);
	if (!known) {
		struct hit first = {1, now, now};
		if (map_update(&hits, &key, &first, UPDATE_NOEXIST) == 0) {
			tell_first(ctx, task, &key, now);
			return 0;
		}
		known = map_lookup(&hits, &key); // another thread was faster
		if (!known) {
			u64 *n = map_lookup(&lost, &key.probe);
			if (n)
				__sync_fetch_and_add(n, 1);
			count(COUNT_HITS_LOST);
			return 0;
		}
	}
	__sync_fetch_and_add(&known->hits, 1);
	known->last = now; // of two threads either will do
	return 0;
}

SEC("uprobe.multi/call")
int on_call_multi(void *ctx) { return called(ctx, attach_cookie(ctx)); }

SEC("uprobe/call")
int on_call(void *ctx)
{
	u64 cookie = attach_cookie(ctx);
	u32 probe = cookie;
	u32 *turn = map_lookup(&turns, &probe);
	return turn && *turn == cookie >> 32 ? called(ctx, probe) : 0;
}

// An event for each hit, to compare with.
SEC("uprobe.multi/event")
int on_event(void *ctx __attribute__((unused)))
{
	struct connect_event *e = reserve(sizeof(*e), COUNT_CONNECTS_LOST);
	if (!e)
		return 0;
	head(&e->header, EVENT_CONNECT, current_task());
	submit(e, 0);
	return 0;
}

// What a probe costs at the least, to compare with.
SEC("uprobe.multi/nothing")
int on_nothing(void *ctx __attribute__((unused))) { return 0; }
