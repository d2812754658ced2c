/* SPDX-License-Identifier: Apache-2.0 */
/* Canary analysis: the stable version of a live release beside the others, by what a
 * log or a server's metrics say of their requests; and what is done on a breach. The
 * statistics are those of canary_stat.h. */
#ifndef DEPLOY_CANARY_H
#define DEPLOY_CANARY_H

#include "deploy/deploy.h"

/* What is asked for is an object, so that a ramp can keep it:
 *   source            "log:PATH", "prometheus:URL", "tfserving:URL"
 *   metrics           ["p99_ms<=+5%", …]; absent: errors<=+0.1% and p99_ms<=+5%
 *   queries           ["NAME=PROMQL", …]
 *   stable_name, canary_name: of models, as a TF Serving knows them
 *   alpha             chance of a false alarm of the whole run; 0.01
 *   interval_ns       between two measurements; 10 s
 *   min_requests      of a canary, before its run may end well; 100
 *   failure_limit, inconclusive_limit, consecutive_errors: so many are borne; 0, -1, 4
 *   from_now          of a log: only what comes from now on
 * ERR_INVALID, ERR_USAGE: says what is wrong. */
struct canary;
int canary_open(struct canary **out, const struct deploy_release *rel,
                const cJSON *options, struct err *err) MUST_CHECK;
void canary_close(struct canary *c); /* NULL allowed */
void canary_close_p(struct canary **c);
/* The same versions, with other shares: the tests go on, and what a version must have
 * seen begins anew. */
void canary_rebase(struct canary *c, const struct deploy_release *rel);

enum canary_outcome {
    CANARY_GOES_ON,
    CANARY_BREACH, /* a version is worse */
    CANARY_STUCK   /* the limits on errors or inconclusive measurements are passed */
};
/* Reads what there is. *look: NULL, or what there is to tell (to be freed): at each
 * interval, and when it ends. Errors of the source are counted, not returned. */
enum canary_outcome canary_look(struct canary *c, int64_t now_ns, cJSON **look);
/* Returns when one of them (NULL: left out) should be looked at, at until_ns at the
 * latest, and after a second. */
enum { CANARY_WAIT_MAX = 64 };
void canary_wait(struct canary *const *c, int n, int64_t until_ns);
/* The last look did not come to the end of what there was. */
bool canary_more(const struct canary *c);
/* Every version has had its requests, and every metric could be looked at. */
bool canary_is_conclusive(const struct canary *c);
/* The number of the version that is worse, and why; 0: none. */
int64_t canary_breached(const struct canary *c, struct buf *why);
/* Why it is stuck, or what is missing. */
void canary_missing(const struct canary *c, struct buf *out);
/* All of it so far: versions, metrics. */
cJSON *canary_report(struct canary *c);

/* "MODEL@ALIAS" as a log says it, to be freed. */
char *canary_who(const struct deploy_release *rel);

/* On a breach of version `number`: what was asked for is done at once. *report: of
 * deploy_change. */
enum canary_act {
    CANARY_ROLLBACK, /* to the stable version alone; the others are marked bad */
    CANARY_WEIGHTS,  /* its share goes to the stable version */
    CANARY_REPORT    /* nothing */
};
int canary_act(struct repo *r, const struct deploy_release *rel, int64_t number,
               const char *why, enum canary_act act, cJSON **report,
               struct err *err) MUST_CHECK;

#endif
