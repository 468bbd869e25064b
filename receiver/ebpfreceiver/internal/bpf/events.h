/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs tell. The Go types are generated from these. Times are nanoseconds since boot, suspension included. */
#ifndef WITNESS_EVENTS_H
#define WITNESS_EVENTS_H

#include "kernel.h"

enum event_type { EVENT_EXEC = 1, EVENT_FORK, EVENT_EXIT, EVENT_CONNECT, EVENT_FIRST_HIT };

/* What is counted, of each CPU. */
enum count {
	COUNT_SUBMITTED,      /* events that were put into the ring */
	COUNT_PROCESSES_LOST, /* events of processes for which the ring had no room */
	COUNT_CONNECTS_LOST,  /* the same of connections */
	COUNT_STACKS_LOST,    /* the same of stacks */
	COUNT_HITS_LOST,      /* hits of processes for which the table of hits had no room */
	COUNT_STACKS_FAILED,  /* stacks that could not be walked */
	COUNTS,
};

/* A process is told apart by its pid in the first pid namespace and when its first thread began. */
struct process {
	u32 pid;
	u32 padding;
	u64 start;
};

struct file_id {
	u32 dev; /* as the kernel has it: major << 20 | minor */
	u32 generation;
	u64 inode;
};

/* What runs: a file as it is now, by a name, in a place, as a user. */
struct program {
	struct file_id file;
	s64 changed; /* the file, in nanoseconds since 1970 */
	u64 cgroup;
	u32 mount_namespace;
	u32 uid;
	u64 name; /* a hash of the name by which it is executed */
};

struct header {
	u32 type; /* enum event_type */
	u32 uid; /* effective */
	u64 time;
	struct process process;
};

#define CGROUPS 3
#define CGROUP_NAME 128
#define FILENAME 512

/* The names of the process's cgroup and of those above it are cut where they are too long. On a host with version 1 they
 * are those of the memory controller. */
struct exec_event {
	struct header header;
	struct process parent;
	struct program program;
	char cgroups[CGROUPS][CGROUP_NAME];
	char filename[FILENAME]; /* as it was given to execve, or by a script */
};

struct fork_event {
	struct header header; /* of the child */
	struct process parent;
};

struct exit_event {
	struct header header;
	s32 code; /* as wait has it */
	u32 padding;
};

struct connect_event {
	struct header header;
};

#define FRAMES 32

/* A frame is a place in a file, and the start of the mapping, by which the file is found in the process. Without a file the
 * mapping could not be looked up, and offset is an address. */
struct user_frame {
	struct file_id file;
	u64 offset;
	u64 mapping;
};

/* The first hit of a process: its stack, innermost first. */
struct first_hit_event {
	struct header header;
	u32 probe;
	u32 frames;
	struct user_frame frame[FRAMES];
	u64 scratch[FRAMES]; /* zeroed */
};

/* A file that a process has mapped executable. */
struct mapping {
	struct process process;
	struct file_id file;
	u64 start;
	u64 offset; /* in the file */
};

struct hit_key {
	u32 probe;
	u32 padding;
	struct process process;
};

/* Counts only grow while the process lives. */
struct hit {
	u64 hits;
	u64 first;
	u64 last;
};

#endif
