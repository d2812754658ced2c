/* SPDX-License-Identifier: Apache-2.0 */
/* Programs on events: an executable STORE/hooks/<name>. "pre-" hooks can veto. */
#ifndef HOOKS_HOOKS_H
#define HOOKS_HOOKS_H

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

#endif
