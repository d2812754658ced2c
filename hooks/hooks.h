/* SPDX-License-Identifier: Apache-2.0 */
/* Programs on events: an executable STORE/hooks/<name>. "pre-" hooks can veto. */
#ifndef HOOKS_HOOKS_H
#define HOOKS_HOOKS_H

#include "base/crypto.h"
#include "repo/repo.h"

/* Runs STORE/hooks/<name> when it is there and executable: no shell, argv = path,
 * model, alias, version; environment SLUICE_EVENT SLUICE_MODEL SLUICE_ALIAS
 * SLUICE_VERSION SLUICE_DIGEST SLUICE_ACTOR SLUICE_STORE SLUICE_REASON SLUICE_FROM; cwd
 * = the store; at most 60 s, 64 KiB of output. 0: there is no hook; 1: it ended with 0
 * (its output appended to `output`). ERR_HOOK: it said no (exit status and its output
 * in the message), was killed or timed out. A hook file that is not executable, or can
 * be written by others than the store's owner, is ERR_HOOK too: names the file and the
 * chmod. */
struct hook_args {
    const char *name; /* "pre-promote" */
    const char *model, *alias, *digest, *reason;
    int64_t number;
    int64_t from_number; /* live before; 0: none */
};
int hook_run(struct repo *r, const struct hook_args *args, struct buf *output,
             struct err *err) MUST_CHECK;

/* ---- the files (hook_file.c) ---- */

#define HOOK_MAX_BYTES ((size_t)1 << 20) /* of one that is set or shown here */

/* When a hook of this name is called, in words; NULL: never. */
const char *hook_called(const char *name);
/* ERR_INVALID: nothing would call it. So a good name is no path. */
int hook_check_name(const char *name, struct err *err) MUST_CHECK;

struct hook_file {
    const char *name;
    int64_t size_bytes; /* of the file that would run, behind a link too */
    unsigned mode;
    struct digest digest;
    bool is_link;
    const char *broken; /* why it cannot be read, and then no more is known; NULL */
};
/* What lies in hooks/, by name; files that nothing calls too. */
int hook_list(struct repo *r,
              int (*fn)(void *arg, const struct hook_file *f, struct err *err),
              void *arg, struct err *err) MUST_CHECK;
/* *f of the file, its bytes appended to `out`. 1: it is there, 0: it is not. ERR_LIMIT:
 * longer than HOOK_MAX_BYTES (with `out`); ERR_HOOK: no regular file. */
int hook_read(struct repo *r, const char *name, struct hook_file *f,
              struct buf *out_or_null, struct err *err) MUST_CHECK;
/* The bytes of a program that is to become a hook, from a file of the caller's.
 * ERR_INVALID: no regular file, or empty; ERR_LIMIT. */
int hook_take(const char *path, struct buf *out, struct err *err) MUST_CHECK;
/* In the caller's transaction, which keeps others off: the file is whole and durable
 * under its name, 0700; who runs the one before it is not disturbed. ERR_CONFLICT:
 * what lies there is no file that was put there so. */
int hook_put(struct repo *r, const char *name, const struct buf *bytes,
             struct err *err) MUST_CHECK;
/* The same; a link goes itself. ERR_NOTFOUND. */
int hook_remove(struct repo *r, const char *name, struct err *err) MUST_CHECK;

#endif
