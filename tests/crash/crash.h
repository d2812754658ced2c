/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the crash driver share. Everything happens in one directory per
 * worker, WORK/live, because a target's row holds an absolute path: it is filled by a
 * scene's setup, read into memory, and filled again from there for each try. */
#ifndef TESTS_CRASH_CRASH_H
#define TESTS_CRASH_CRASH_H

#include "base/buf.h"
#include "tests/crash/shim.h"

#include <sys/types.h>

/* ---- disks in memory (crash_disk.c) ---- */

struct disk_entry {
    char *name;
    int node;
};
struct disk_node {
    uint64_t ino;
    mode_t mode;   /* type and rights */
    uint8_t *data; /* of a file, text of a link; shared until written */
    size_t n_bytes;
    bool own;                   /* data is this disk's */
    uint64_t hash;              /* of data; 0: not known */
    struct disk_entry *entries; /* of a directory; lent like data, by own_entries */
    int n_entries;
    bool own_entries;
};
struct disk {
    struct disk_node *nodes; /* [0]: the directory itself */
    int n;
};
int disk_read(struct disk *d, const char *path);
void disk_copy(struct disk *to, const struct disk *from); /* lends from `from` */
void disk_release(struct disk *d);
/* path is emptied first; mtimes are an hour old. */
int disk_write(const struct disk *d, const char *path);
/* The same for the same tree, but for the shared memory of databases. `replayed`: also
 * for the same databases once their logs are replayed. */
uint64_t disk_hash(struct disk *d, bool replayed);
uint64_t disk_hash_bytes(const uint8_t *p, size_t n);
uint64_t wal_replayed_hash(const struct disk_node *base,
                           const struct disk_node *wal); /* crash_wal.c */
int disk_find(const struct disk *d, uint64_t ino);       /* -1: none */

/* An operation of the log, with inodes as nodes of a disk. */
struct disk_op {
    const struct shim_op *op;
    int node, dir, dir2;
    int durable_at; /* the operation that puts it on the disk; INT_MAX: none */
};
struct disk_log {
    struct disk_op *ops;
    int n;
};
/* Adds the inodes that the log makes to `d`, nameless, and says when what is durable.
 */
int disk_log_read(struct disk_log *l, const struct shim *s, struct disk *d);
enum disk_how { DISK_ALL, DISK_ZEROS, DISK_HEAD, DISK_TAIL, DISK_HEAD_PAGE };
void disk_apply(struct disk *d, const struct disk_op *op, enum disk_how how);

/* ---- scenes (crash_scene.c) ---- */

enum {
    SCENE_FAST = 1,     /* in the slice that `make check` takes */
    SCENE_BIG = 2,      /* moves megabytes: failing calls yes, disk states no */
    SCENE_ONCE = 4,     /* the second time it may say that it is done (exit 3 or 7) */
    SCENE_KEYED = 8,    /* has an idempotency key: the second time changes nothing */
    SCENE_DAMAGED = 16, /* what is there before has damage that the run mends */
    SCENE_LATE = 32     /* rows say it before links do, which the next run makes so */
};
struct scene {
    const char *name, *setup, *run;
    unsigned flags;
    const char
        *needs; /* a verb without which it is skipped, and said to be; NULL: none */
};
extern const struct scene scenes[];
extern const int n_scenes;

/* A worker: a process of the driver with a directory of its own. */
struct worker {
    struct shim *shim;
    char dir[200];            /* WORK */
    char live[220];           /* WORK/live, its current directory */
    struct disk start;        /* live after the scene's setup */
    struct buf before, after; /* what can be seen of it before and after the run */
    char *said;      /* shared memory: what a child found wrong, "" for nothing */
    bool had_latest; /* something was live before the run */
    long shown[2];   /* what a server that takes the highest number of web/m serves,
                      * before and after the run; 0: nothing */
};
enum { SAID_BYTES = 8192, SAID_ROOM = SAID_BYTES - 2 * (int)sizeof(int) };
int worker_open(struct worker *w, const char *base, int i);
void worker_close(struct worker *w);
/* Fills live and start; runs the scene once without faults for `after`. */
int scene_begin(struct worker *w, const struct scene *s);
void scene_end(struct worker *w);

/* One child that runs `run` (commands divided by ';') with the plan in w->shim. */
struct ran {
    int status;     /* exit status; 128 + signal */
    int n_done;     /* commands that ended with 0 */
    bool leaked;    /* it ended by itself, with a descriptor open */
    struct buf err; /* what it said on stderr */
};
void scene_run(struct worker *w, const struct scene *s, struct ran *out);
/* Runs commands, divided by ';', in this process, with stdout and stderr in *out. */
int scene_heard(const char *line, struct buf *out);

/* ---- a server of models (crash_server.c) ---- */

struct crash_server {
    pid_t pid; /* -1: none */
    char url[40];
};
/* In a process of its own; its URL is in the environment, as CRASH_SERVER. */
int crash_server_open(struct crash_server *s);
void crash_server_close(struct crash_server *s);

/* ---- what must hold (crash_check.c) ---- */

/* In a child: recovery and invariants. `allowed`: what may be seen before the retry.
 * false: w->said tells. */
enum {
    CHECK_KILLED = 1, /* the run was not given time to clear up */
    CHECK_LOOSE = 2,  /* numbers and times may differ */
    CHECK_SHORT = 4   /* after the retry: only whether something is left behind */
};
bool scene_check(struct worker *w, const struct scene *s, const struct buf *allowed,
                 int n_allowed, unsigned flags);
/* The highest number in a directory; 0: none. */
long scene_highest(const char *dir);
/* What list shows; "" without a store. For a child. */
void scene_see(struct buf *out, bool loose);
/* The same in a child. */
void scene_look(struct worker *w, struct buf *out);
/* After a bit of this file flipped: it is found, or harmless. false: w->said tells. */
bool scene_bit_is_safe(struct worker *w, const char *path);

/* ---- parts ---- */

struct job_count {
    long n_jobs_taken, n_cut, n_tried, n_states, n_checked, n_bad,
        n_hits[SHIM_CALLS_MAX];
    long next;
    char bad[2000][3000];
};
struct options {
    const char *scene; /* part of a name; NULL: all */
    unsigned seed;
    int n_workers, seconds;
    bool fast;
};
struct crash {
    struct options o;
    struct job_count *count; /* shared */
    int64_t all_end_ns;      /* 0: none */
    int64_t end_ns;          /* of what this worker is at; 0: none */
};
/* Gives this worker its share of the time left, when so many jobs are still to be done.
 */
void crash_share(struct crash *c, long n_jobs);
/* Notes a violation, said by w->said or by the caller. */
void crash_bad(struct crash *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool crash_wanted(const struct crash *c, const struct scene *s);
bool crash_over(const struct crash *c);
int crash_fault(struct crash *c, struct worker *w);
int crash_states(struct crash *c, struct worker *w);
int crash_bits(struct crash *c, struct worker *w);

int sluice_main(int argc, char **argv);
_Noreturn void sluice_exit(int status); /* its exit */

#endif
