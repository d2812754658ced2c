/* SPDX-License-Identifier: Apache-2.0 */
/* A ramp: the share of one version beside the stable one grows by steps, each a
 * `weights` release like any other, through its gates. While its conditions hold; a
 * version that breaks them goes back at once.
 *
 *     running ─ all steps done ───────────────> done
 *        ├───── worse than the stable version ─> breach   (rolled back, marked bad)
 *        └───── another release, a refusal, stop > ended
 *
 * A ramp stands in the catalogue and moves only while somebody follows it: when that
 * one is killed, whoever follows next goes on where it stood. When a step is due is the
 * time of the release before it, so nothing else is kept: the time at which servers
 * were seen to have it, where they can be asked; its steps (deploy_step) are driven
 * here. */
#ifndef DEPLOY_RAMP_H
#define DEPLOY_RAMP_H

#include "deploy/canary.h"

enum { RAMP_STEPS_MAX = 32 };
struct ramp {
    char model[REPO_NAME_BYTES];
    char alias[REPO_ALIAS_BYTES];
    int64_t version;
    int steps[RAMP_STEPS_MAX]; /* of DEPLOY_WEIGHT_ALL, ascending */
    int n_steps;
    int step; /* so many are done */
    int64_t release;
    int64_t every_ns;
    bool again;    /* though the version is marked bad */
    char *options; /* JSON of canary_open; "": no conditions */
    char state[12];
    char why[256];
    int64_t started_ns;
    char actor[64];
};
void ramp_release(struct ramp *p); /* for AUTO */

/* "1%,5%,25%,100%". ERR_USAGE. */
int ramp_parse_steps(const char *text, struct ramp *out, struct err *err) MUST_CHECK;
/* Stores it (model, alias, version, steps, every_ns, again, options of `p`); its first
 * step is not done yet. 1: the same one is running, and goes on. ERR_CONFLICT: another
 * one is. ERR_INVALID: nothing is live, more than two versions are, or the version has
 * that share. */
int ramp_start(struct repo *r, struct ramp *p, struct err *err) MUST_CHECK;
/* 1 found, 0 none was ever made. */
int ramp_get(struct repo *r, const char *model, const char *alias, struct ramp *out,
             struct err *err) MUST_CHECK;
/* Those that run, of all aliases. */
int ramp_running(struct repo *r, int (*fn)(void *arg, struct ramp *p, struct err *err),
                 void *arg, struct err *err) MUST_CHECK;
/* The share stays as it is. ERR_NOTFOUND: none is running. */
int ramp_stop(struct repo *r, const char *model, const char *alias, const char *why,
              struct err *err) MUST_CHECK;
cJSON *ramp_json(const struct ramp *p);

/* One ramp being followed. */
struct ramp_run {
    struct repo *r;
    struct ramp ramp;
    struct deploy_release live;
    struct canary *canary; /* NULL: no conditions, or not begun */
    int64_t checked_ns;    /* when `live` was read */
    int64_t served;        /* id of the release that servers were seen to have */
    int64_t asked_ns;      /* when they were asked whether they have it */
    char waits[512];       /* what was told of what they wait for */
    bool again;            /* the last turn changed something: another may, too */
};
void ramp_run_release(struct ramp_run *run); /* for AUTO */
int ramp_run_open(struct ramp_run *run, struct repo *r, const char *model,
                  const char *alias, struct err *err) MUST_CHECK;
/* Does what is due. 1: it goes on, 0: it is at its end (ramp.state, ramp.why). *tell:
 * NULL, or what there is to tell (to be freed): a look, a step, an end. */
int ramp_turn(struct ramp_run *run, int64_t now_ns, cJSON **tell,
              struct err *err) MUST_CHECK;
/* When the next step is due. */
int64_t ramp_due_ns(const struct ramp_run *run);

#endif
