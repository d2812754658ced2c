/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts that follow a store with `sluice agent`: what each should show, what each says
 * it shows, and how fast a release may go round. This is the side of the store that is
 * followed; deploy/agent.h is the side of the host.
 *
 * A host asks (deploy_host_want), takes a release by reporting "fetching", and reports
 * what became of it:
 *
 *   fetching ─> checking ─> observed      seen to be served
 *      │           │    └─> switched      nothing on the host can look
 *      │           └──────> failed        and the host went back by itself
 *      ├─────────────────> held           frozen there
 *      └─────────────────> failed
 *   observed, switched ──> rolled-back    somebody there went back
 *   failed, rolled-back ─> again          `host retry` here */
#ifndef DEPLOY_HOST_H
#define DEPLOY_HOST_H

#include "deploy/deploy.h"

#define HOST_NAME_BYTES 129

/* How a release goes round the hosts of an alias. A rollback goes to all at once. */
struct host_rule {
    int64_t at_once;     /* hosts that may be fetching or checking; 0: all */
    int64_t max_failing; /* more that failed or went back stop it; -1: none does */
    int64_t silent_s; /* who is at it and was not heard for so long counts as failed */
};
#define HOST_SILENT_S 600

/* {"host", "alias", "rule", "models": [{"model", "alias", "release", "verb", "by",
 * "since", "reason", "members": [{"version", "weight", "digest", "bytes"}], "mirror":
 * {"version", "share", "digest", "bytes"} or absent, "go", "again", "why"}]}: what is
 * live on the alias, of each model that `reads` lets pass, and whether the host is to
 * show it now. Writes nothing. */
int deploy_host_want(struct repo *r, const char *host, const char *alias,
                     bool (*reads)(void *arg, const char *model), void *arg,
                     cJSON **out, struct err *err) MUST_CHECK;

struct host_report {
    const char *host, *model, *alias;
    int64_t release; /* of this store */
    const char *state;
    const char *detail; /* one line */
    const char *shows;  /* "3=90% 4=10%"; "": nothing */
    int64_t at_ns;      /* by the host's clock */
};
/* In the caller's transaction. 1: noted, something is new; 0: known already, but for
 * when the host was heard; *why is "" . A "fetching" that the rule does not let pass is
 * not noted: 0, and *why says what it waits for. */
int deploy_host_report(struct repo *r, const struct host_report *h, struct buf *why,
                       struct err *err) MUST_CHECK;

/* [{"host", "model", "alias", "release", "state", "detail", "shows", "at", "heard",
 * "ok", "wanted"}], of one alias or all. */
int deploy_hosts(struct repo *r, const char *alias_or_null, cJSON **out,
                 struct err *err) MUST_CHECK;
/* Adds "hosts" to each element of deploy_status's "aliases" that hosts follow: how many
 * show its release, those that differ, and "stopped": why no other gets it. */
int deploy_hosts_status(struct repo *r, cJSON *status, struct err *err) MUST_CHECK;

/* In the caller's transaction; rule NULL: none any more. */
int deploy_host_rule_set(struct repo *r, const char *alias,
                         const struct host_rule *rule, struct err *err) MUST_CHECK;
/* 1 found, 0 none. */
int deploy_host_rule(struct repo *r, const char *alias, struct host_rule *out,
                     struct err *err) MUST_CHECK;
/* In the caller's transaction: what failed on the host, or was taken back there, is
 * given to it again; or all that is known of it is forgotten. ERR_NOTFOUND. */
int deploy_host_retry(struct repo *r, const char *host, int *n,
                      struct err *err) MUST_CHECK;
int deploy_host_forget(struct repo *r, const char *host, struct err *err) MUST_CHECK;

#endif
