/* SPDX-License-Identifier: Apache-2.0 */
/* What a request may reach of this machine, and the trees that stand for its paths
 * (server/reach.def, docs/transfer.md). */
#ifndef SERVER_SRV_REACH_H
#define SERVER_SRV_REACH_H

#include "repo/repo.h"
#include "service/service.h"

/* ERR_UNSUPPORTED: the verb is not for who is elsewhere; why. */
int srv_reach_verb(const struct svc_verb *verb, struct err *err) MUST_CHECK;
const char *srv_reach_here(const struct svc_verb *verb); /* why; NULL: it is carried */
/* It changes nothing, so that GET may ask for it. */
bool srv_reach_reads(const struct svc_verb *verb);
/* How a field is reached: "TREE" …; NULL: it is not in the table. */
const char *srv_reach_rule(const struct svc_verb *verb, const struct svc_field *field);

/* What stands for the paths of one call, for as long as it lasts. */
struct srv_reached {
    cJSON *request; /* with paths of this machine */
    struct repo_view *views;
    int n_views;
    struct repo_view stage; /* what the verb writes */
    struct {
        char *path, *text; /* as the caller knows it */
    } * names;
    int n_names;
    struct {
        const char *field;
        char *path;
    } outs[4];
    int n_outs;
};
#define SRV_REACHED_INIT                                                               \
    {                                                                                  \
        .stage = REPO_VIEW_INIT                                                        \
    }
void srv_reached_end(struct srv_reached *x); /* for AUTO */
/* Checks a request of the subject that `r` acts as, and brings its trees in.
 * ERR_DENIED, ERR_INVALID: names the field. */
int srv_reach_in(struct srv_reached *x, struct repo *r, const struct svc_verb *verb,
                 const cJSON *request, struct err *err) MUST_CHECK;
/* Paths of this machine that an answer speaks of get the names that the caller knows:
 * the tree that he sent, "tree:FIELD" for what the verb writes. */
void srv_reach_say(const struct srv_reached *x, cJSON *reply_or_null, struct err *err);
/* After a push or an import: versions have what was sent, so its trees need not stay
 * for their day. */
void srv_reach_done(const struct srv_reached *x, struct repo *r,
                    const struct svc_verb *verb);
/* After the call: what it wrote becomes trees: member "trees" of the reply. */
int srv_reach_out(struct srv_reached *x, struct repo *r, cJSON *reply,
                  struct err *err) MUST_CHECK;

#endif
