/* SPDX-License-Identifier: Apache-2.0 */
/* Stands between the program and libc: shim.c defines the calls themselves, so whatever
 * is linked with it (SQLite too: it calls libc) goes through them, and nothing in the
 * program knows. Counts calls, makes the n-th fail, kills the process before it, or
 * logs what calls did to the disk. Descriptors 0-2 are left alone. */
#ifndef TESTS_CRASH_SHIM_H
#define TESTS_CRASH_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a call can do wrong. A plan counts only the calls that can do its thing. */
enum shim_class {
    SHIM_IO = 1,      /* EIO */
    SHIM_SPACE = 2,   /* ENOSPC, EDQUOT */
    SHIM_INTR = 4,    /* EINTR */
    SHIM_SHORT = 8,   /* reads or writes half of it, at least a byte */
    SHIM_FILES = 16,  /* EMFILE */
    SHIM_MEMORY = 32, /* ENOMEM: maps, and malloc and its kin */
    SHIM_DENIED = 64, /* EROFS: whatever would change the disk */
    SHIM_ANY = 128    /* every call; for SHIM_KILL */
};
enum { SHIM_KILL = -1, SHIM_HALF = -2 }; /* in place of an errno */

#define SHIM_CALLS_MAX 64
/* Shared between the driver and its children. */
struct shim {
    /* the plan, set while disarmed */
    enum shim_class class;
    int what;    /* errno, SHIM_KILL or SHIM_HALF */
    long n;      /* which call, from 1; 0: none */
    bool sticky; /* and all after it */
    bool log;    /* write down what changes the disk */
    /* found out */
    long count;                    /* calls of the class so far */
    long n_failed;                 /* how many were made to fail */
    char failed[24];               /* the first of them */
    uint64_t seen[SHIM_CALLS_MAX]; /* calls by kind */
    bool overflow;                 /* the log is full */
    size_t log_bytes, log_cap_bytes;
    int lock;
};
/* Memory for both that outlives fork. */
struct shim *shim_open(size_t log_cap_bytes);
void shim_close(struct shim *s);
void shim_reset(struct shim *s); /* no plan, no log */
/* Only in the child that runs the program; no plan is followed before. */
void shim_arm(struct shim *s);
const char *shim_call_name(int kind); /* NULL behind the last */

/* ---- the log ---- */

enum shim_op_kind {
    OP_CREATE = 1, /* name in dir is the new ino; mode; data: text of a symlink */
    OP_INODE,      /* ino without a name (O_TMPFILE) */
    OP_LINK,       /* name in dir is ino */
    OP_UNLINK,     /* no name in dir any more */
    OP_RENAME,     /* name in dir becomes name2 in dir2; ino */
    OP_WRITE,      /* data of ino at `at` */
    OP_TRUNCATE,   /* ino has `at` bytes */
    OP_MODE,       /* ino has mode */
    OP_SYNC,       /* everything about ino up to here is on the disk */
    OP_SYNC_ALL
};
struct shim_op { /* followed by name, name2 (with NUL) and data, then padded to 8 */
    uint32_t total_bytes, kind;
    uint64_t ino, dir, dir2;
    int64_t at;
    uint32_t mode, name_bytes, name2_bytes, data_bytes;
};
const struct shim_op *shim_first(const struct shim *s);
const struct shim_op *shim_next(const struct shim *s, const struct shim_op *op);
const char *shim_name(const struct shim_op *op);
const char *shim_name2(const struct shim_op *op);
const uint8_t *shim_data(const struct shim_op *op);

#endif
