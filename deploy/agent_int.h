/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the agent share. */
#ifndef DEPLOY_AGENT_INT_H
#define DEPLOY_AGENT_INT_H

#include "base/ssh.h"
#include "deploy/agent.h"
#include "deploy/deploy_int.h"
#include "repo/incoming.h"

/* ---- agent_source.c: the store that is followed -------------------------------------
 */

/* Whether it was asked over a pipe, ssh or anything else is its own. */
struct agent_source {
    const struct agent_source_ops *ops;
    const struct agent_opts *o;
    struct ssh_url url; /* of ssh */
    char *self;         /* this program, or the client */
    bool is_service;
    bool away; /* the last call failed because it did not answer */
};
struct agent_report {
    int64_t id;
    const char *model, *alias;
    int64_t release;
    const char *state, *detail, *shows;
    int64_t at_ns;
};
/* Takes the next bytes. */
typedef int agent_sink_fn(void *arg, const char *p, size_t n, struct err *err);
struct agent_source_ops {
    /* What deploy_host_want says there. */
    int (*want)(struct agent_source *s, const char *alias, cJSON **out,
                struct err *err);
    /* *why (appended): "" or what a "fetching" has to wait for. */
    int (*report)(struct agent_source *s, const struct agent_report *rep,
                  struct buf *why, struct err *err);
    /* As repo_send, of MODEL@NUMBER. */
    int (*cat)(struct agent_source *s, const char *model, int64_t number,
               const char *const *paths, int n, int64_t offset_bytes,
               agent_sink_fn *sink, void *arg, struct err *err);
};
int agent_source_open(struct agent_source *s, const struct agent_opts *o,
                      struct err *err) MUST_CHECK;
void agent_source_close(struct agent_source *s); /* for AUTO */

/* What is wanted of one model, checked: what comes from elsewhere is not trusted. */
struct agent_want {
    char model[REPO_NAME_BYTES];
    char alias[REPO_ALIAS_BYTES];
    int64_t release;
    bool is_rollback, go, again;
    struct deploy_member members[DEPLOY_MEMBERS_MAX];
    struct digest digests[DEPLOY_MEMBERS_MAX];
    int n_members;
    struct deploy_member mirror; /* its mirror is 0: there is none */
    struct digest mirror_digest;
    char reason[256]; /* of the release here: tells which it is */
    const char *why;  /* lent by the document; "" */
};
/* One element of "models". ERR_INVALID names what is wrong with it. */
int agent_want_parse(const cJSON *o, const char *alias, struct agent_want *out,
                     struct err *err) MUST_CHECK;

/* ---- agent_fetch.c ------------------------------------------------------------------
 */

struct agent_fetch {
    struct repo *r;
    struct agent_source *source;
    cJSON *notes;
    /* Now and then, with how much is there; ERR_PENDING ends it. */
    int (*tick)(void *arg, int64_t done_bytes, int64_t total_bytes, struct err *err);
    void *arg;
};
/* The version is in this store, under its number, every byte verified. `source->away`
 * tells an error that is nobody's fault; what came so far is kept. */
int agent_fetch(struct agent_fetch *f, const char *model, int64_t number,
                const struct digest *digest, struct err *err) MUST_CHECK;
/* Deletes versions that came from elsewhere and that no release here needs, adding
 * their number to *n. */
int agent_prune(struct repo *r, const char *model, int *n, struct err *err) MUST_CHECK;

/* ---- agent_rows.c -------------------------------------------------------------------
 */

struct follow {
    char model[REPO_NAME_BYTES];
    char alias[REPO_ALIAS_BYTES];
    int64_t release, local_release;
    char state[16]; /* of host.h, and "failing": about to go back */
    char detail[600];
    char reason[256];
};
/* 1 found, 0 none. */
int follow_get(struct repo *r, const char *model, const char *alias, struct follow *out,
               struct err *err) MUST_CHECK;
/* All of an alias. The caller frees *out. */
int follow_all(struct repo *r, const char *alias, struct follow **out, int *n,
               struct err *err) MUST_CHECK;
/* Writes the row; with `tell` also a report of it, to be delivered. */
int follow_set(struct repo *r, const struct follow *f, const char *shows, bool tell,
               struct err *err) MUST_CHECK;
/* Delivers reports, oldest first. 1: all, 0: the store is away or takes none (why is
 * appended), -code. *n_left. */
int follow_deliver(struct repo *r, struct agent_source *s, int64_t *n_left,
                   struct buf *why, struct err *err) MUST_CHECK;
/* "3=90% 4=10%", appended. */
void agent_shows(const struct deploy_release *rel, struct buf *out);

/* ---- agent_pass.c: one look ---------------------------------------------------------
 */

#define TELL_NS INT64_C(30000000000) /* that it is still at it, or alive */
struct pass {
    struct repo *r;
    const struct agent_opts *o;
    struct agent_source source;
    cJSON *doc, *models, *notes;
    struct buf away;
    bool takes_reports;
    int n_deleted;
    /* of the model it is at */
    struct agent_want w;
    struct follow f;
    int64_t told_ns, looked_ns;
    bool is_overtaken; /* the look begins anew */
    int n_restarts;
};
/* Its state is one of two. */
bool follow_is(const struct follow *f, const char *a, const char *b);
/* The state that was reached, in the row; with `tell`, a report that waits. */
int pass_keep(struct pass *p, struct follow *f, const char *state, const char *detail,
              bool tell, struct err *err) MUST_CHECK;
/* Now and then, while something takes its time. ERR_PENDING: the store wants something
 * by now that comes before it. */
int pass_look(struct pass *p, struct err *err) MUST_CHECK;
/* Tells the store that is followed, now. 1: it knows, or takes no reports; 0: it is not
 * the turn of this host yet, or nobody knows (*why). */
int pass_tell(struct pass *p, const char *detail, struct buf *why,
              struct err *err) MUST_CHECK;

/* ---- agent_serve.c: releases of this store ------------------------------------------
 */

/* p->w becomes the release here. */
int pass_apply(struct pass *p, struct err *err) MUST_CHECK;
/* Somebody released something else here. */
int pass_notice(struct pass *p, struct follow *f, struct err *err) MUST_CHECK;
/* Whether what is live is served; if not for good, back. */
int pass_observe(struct pass *p, struct err *err) MUST_CHECK;
/* To what was good here, with why. */
int pass_go_back(struct pass *p, const char *why, struct err *err) MUST_CHECK;

#endif
