/* SPDX-License-Identifier: Apache-2.0 */
/* Targets, releases, weights, rollback: what is live, and moving it.
 *
 * A release moves an alias and its targets as one: intent committed -> version
 * directories and rendered files ready -> commit point (one rename in each target) ->
 * the rest -> directories synced -> done row, alias and event committed in one
 * transaction. TARGET/.sluice/lock is held from intent to done; the writing command
 * that holds it next finds an intent left over and heals it: not yet at the commit
 * point -> cancelled, past it -> finished. Reading commands report, never heal. */
#ifndef DEPLOY_DEPLOY_H
#define DEPLOY_DEPLOY_H

#include "base/json.h"
#include "repo/repo.h"
#include "validate/policy.h"

/* target, release, release_member, intent, mark, freeze */
extern const struct db_schema deploy_schema;

#define DEPLOY_WEIGHT_ALL 10000
#define DEPLOY_MEMBERS_MAX 16
#define DEPLOY_KEPT_MAX 48 /* of a release 16; a server that changes over has more */
#define DEPLOY_KEEP_LOADED_MAX 8
#define DEPLOY_LOCK_MS 30000

struct deploy_member {
    int64_t version_id;
    int64_t number;
    int weight;     /* of DEPLOY_WEIGHT_ALL */
    char label[12]; /* "stable", "canary" or "": the name a server knows it by */
    int mirror;     /* share that is copied to it, its answers thrown away; or 0 */
};

/* A release as it stands in the catalogue. */
struct deploy_release {
    int64_t id;
    char model[REPO_NAME_BYTES];
    char alias[REPO_ALIAS_BYTES];
    int64_t number; /* per model and alias */
    char verb[16];  /* promote weights rollback */
    char state[12]; /* intended live past cancelled */
    struct deploy_member
        members[DEPLOY_MEMBERS_MAX]; /* weight > 0, the stable one first */
    int n_members;
    struct deploy_member kept[DEPLOY_KEPT_MAX]; /* weight 0: loaded for a rollback, or
                                                 * to be mirrored to */
    int n_kept;
    int64_t latest;    /* number of the member that leads: largest weight, on a tie the
                        * one that led before */
    int64_t latest_id; /* its version row */
    int64_t replaces;  /* number of the release before; 0: the first */
    int64_t stands_at; /* its place in the history; see deploy_change */
    int64_t intended_ns; /* switched at; 0: never got there */
    int64_t observed_ns; /* seen live at; 0: not yet */
    char actor[64];
    char reason[256];
};

/* Adds a target: makes the directory and its .sluice/, records identity, and shows in
 * it what the alias means now for every model. Records its own event ("target-add").
 * ERR_CONFLICT: the directory belongs to another target or store, or holds what is not
 * ours. ERR_INVALID: unknown layout, a bad name, or a directory inside the store.
 * ERR_USAGE: an option that is none. */
enum deploy_option {
    DEPLOY_SERVING_ROOT, /* the directory's path as the server sees it; none: dir */
    DEPLOY_STATUS_URL, /* http(s)://…: where the server says what it has loaded; none:
                        * what is live is intended, never observed */
    DEPLOY_RELOAD, /* told after each flip: grpc://HOST:PORT, http(s)://…, or a command
                    * for /bin/sh; none: the server looks by itself */
    DEPLOY_RENDER,  /* files of config/ besides the server's own: names with commas;
                     * none: the layout's own choice */
    DEPLOY_READERS, /* who may read its directories: all (none), or grants */
    DEPLOY_GROUP,   /* their group; none: the owner's */
    DEPLOY_N_OPTIONS
};
/* "serving_root" …: the column, and the flag */
extern const char *const deploy_option_names[DEPLOY_N_OPTIONS];
struct deploy_options {
    const char *v[DEPLOY_N_OPTIONS]; /* NULL: not said; "": none */
};
int deploy_target_add(struct repo *r, const char *name, const char *dir,
                      const char *alias, const char *layout,
                      const struct deploy_options *options_or_null,
                      struct err *err) MUST_CHECK;
/* Changes what is said, and shows it. Records its own event ("target-set").
 * ERR_NOTFOUND: no such target. ERR_USAGE: no value of the kind. */
int deploy_target_set(struct repo *r, const char *name,
                      const struct deploy_options *options, struct err *err) MUST_CHECK;
/* The store forgets the target; what lies in its directory stays, also when nobody can
 * reach it. Records its own event ("target-remove"). ERR_NOTFOUND: no such target.
 * ERR_BUSY: another command holds it. */
int deploy_target_remove(struct repo *r, const char *name, struct err *err) MUST_CHECK;
struct deploy_target {
    int64_t id;
    char name[REPO_ALIAS_BYTES];
    char *dir; /* absolute */
    char alias[REPO_ALIAS_BYTES];
    char layout[16];
    char *option[DEPLOY_N_OPTIONS]; /* NULL: none */
    char uid[33];                   /* random hex, also in TARGET/.sluice/target.json */
};
void deploy_target_release(struct deploy_target *t);
int deploy_targets(struct repo *r, const char *alias_or_null,
                   int (*fn)(void *arg, const struct deploy_target *t, struct err *err),
                   void *arg, struct err *err) MUST_CHECK;

/* How a server, or what splits its traffic, is started on this target: compose,
 * systemd, nginx, envoy. Appended. ERR_NOTFOUND: no such target. ERR_USAGE: no such
 * text, or not of this target; says what there is. */
int deploy_target_text(struct repo *r, const char *name, const char *as,
                       struct buf *out, struct err *err) MUST_CHECK;

/* Shows a change of grants on a model ("*": on all) in the directories of the targets
 * whose readers are `grants`: adds {"target", "shown", "why_not"} of each to `out`. One
 * that cannot be reached or changed is no error: `target check --repair` mends it. */
int deploy_rights_apply(struct repo *r, const char *model, cJSON *out,
                        struct err *err) MUST_CHECK;

/* One way in for every change of traffic.
 *
 * Rollback. A release stands at a place in its alias's history: promote and weights at
 * their own number, a rollback at the place of the release whose meaning it brings
 * back. `rollback` goes to the newest release below the current place that was live, of
 * which no member is marked bad (or no longer ready), and that leaves at least one
 * version of the current release without traffic (so that it undoes a version, not a
 * change of weights); what it leaves is marked bad. Pressed twice it therefore goes
 * further back, never forward, and ends with ERR_NOTFOUND. With to_number it goes to
 * that version alone: one that was live here needs no gate (a mark on it is lifted:
 * somebody chose it), any other passes the gate like a promotion. A version marked bad
 * gets traffic again only with `again`. */
enum deploy_verb {
    DEPLOY_PROMOTE,
    DEPLOY_WEIGHTS,
    DEPLOY_ROLLBACK,
    DEPLOY_DRILL, /* only deploy_drill: where a rollback would go, or back again */
    DEPLOY_N_VERBS
};
struct deploy_change {
    enum deploy_verb verb;
    const char *model;
    const char *alias;
    /* promote: the version; weights: parts; rollback: to_number or 0. */
    const struct repo_version *version;
    /* number and share as given; normalised to 10,000 by largest remainder; none: as
     * they are */
    const struct deploy_member *parts;
    int n_parts;
    /* weights: number and mirror (0 ends it); NULL: as it is */
    const struct deploy_member *mirror;
    int64_t to_number;
    int64_t back_to; /* drill: the release to bring back, by number; 0: the way there */
    int64_t
        expect_release; /* number; 0: whatever it is; else ERR_CONFLICT if not this */
    bool again;         /* give traffic to a version marked bad */
    bool in_order;      /* weights: the parts stand as they share the line of hashes */
    bool dry_run; /* asks the gates (no hooks) and says what would change; does nothing
                   */
    int keep_loaded;         /* so many good releases before it stay loaded, at most
                              * DEPLOY_KEEP_LOADED_MAX; 0: one, -1: none. A rollback keeps what
                              * is loaded. */
    const char *reason;      /* may be NULL */
    const char *break_glass; /* why the policy does not count; NULL: it does */
    int lock_timeout_ms;     /* 0: DEPLOY_LOCK_MS */
};
/* Gate and pre-promote hook (once for each version whose share, or mirror, grows),
 * intent, switch, done. On 0 the event is recorded here (also for a change that changed
 * nothing); on an error the caller records it. `report` (*report NULL or to be freed,
 * also after an error): JSON with the release, what it replaced, the gates, targets
 * switched. Of a dry run: "dry_run", "server" (load, unload, labels, loaded_bytes) and
 * in each target "new_directories", "links" and "files" with what they say and would
 * say; also with ERR_REFUSED, and no event. ERR_BUSY then: an unfinished release is in
 * the way. ERR_REFUSED, ERR_HOOK: nothing changed. ERR_CONFLICT: not the expected
 * release. ERR_BUSY: another command holds a target. ERR_NOTFOUND: rollback with
 * nothing older that was good: lists the releases there are. What is live already: 0,
 * "changed": false. */
int deploy_change(struct repo *r, const struct deploy_change *c, cJSON **report,
                  struct err *err) MUST_CHECK;

/* The steps of releases on targets whose server says what it has loaded: one round, in
 * which a step follows the next for as long as the server is ready for it; and telling
 * those that could not be told of a flip. Records each step ("target-step").
 * *out: {"targets": [{"target", "alias", "model", "release", "stage", "wants", "error",
 * "not_told", "versions": [{"version", "state", "error"}]}], "waiting": so many are not
 * done, "steps": so many were made}. A server that is down, or lies, is told in
 * "error": the round goes on. ERR_NOTFOUND: no such target. */
struct deploy_step {
    const char *target, *alias, *model; /* NULL: all */
    int wall_ms;                        /* for one question; 0: 2000 */
};
int deploy_step(struct repo *r, const struct deploy_step *what, cJSON **out,
                struct err *err) MUST_CHECK;

/* A rollback rehearsed: goes where one would go, waits until the servers answer with
 * that, goes back to what was live, and waits again. Both are releases of the alias,
 * and of all its targets; they stand where the releases stand whose meaning they bring
 * back, mark nothing bad, and no rollback ends at one of them. Recorded as an event
 * ("drill") with what was measured. One that was interrupted on the way is ended first:
 * then that is all that is done. *report: {"model", "alias", "from", "to", "targets",
 * "there": {"release", "switch_ms", "targets": [{"name", "observed_ms", "why"}]},
 * "back": …, "state", "why"}; of one that is not to be done, what it would do.
 * ERR_NOTFOUND: nothing older was good; no such target. ERR_REFUSED: frozen. ERR_BUSY:
 * a release, or another drill, is under way. ERR_PENDING: switched there and back, and
 * nobody said what is served. ERR_FAILED: a server did not answer in time; what was
 * live is live again. ERR_CONFLICT: somebody moved the alias meanwhile. */
struct deploy_drill {
    const char *model, *alias;
    const char *target; /* the only one that is waited for; NULL: all of the alias */
    bool apply;         /* else only says what it would do */
    int wait_ms;        /* for each way; 0: 120 s */
    const char *reason; /* may be NULL */
};
int deploy_drill(struct repo *r, const struct deploy_drill *d, cJSON **report,
                 struct err *err) MUST_CHECK;

/* What val_gate would be asked for this version and alias now. */
struct deploy_question {
    struct val_gate_args args; /* borrows from the rest, from `v` and `alias` */
    char **targets;
    struct buf frozen;
};
int deploy_question(struct repo *r, const struct repo_version *v, const char *alias,
                    struct deploy_question *q, struct err *err) MUST_CHECK;
void deploy_question_release(struct deploy_question *q); /* for AUTO */

/* reason NULL: unfreeze. Records its own event ("freeze", "unfreeze"). Frozen:
 * everything but rollback is refused. ERR_INVALID: an empty reason. ERR_NOTFOUND: not
 * frozen. */
int deploy_freeze(struct repo *r, const char *model, const char *alias,
                  const char *reason_or_null_to_unfreeze, struct err *err) MUST_CHECK;
/* Only while this release is live (0: whatever is); ERR_CONFLICT. */
int deploy_freeze_at(struct repo *r, const char *model, const char *alias,
                     int64_t expect_release, const char *reason_or_null_to_unfreeze,
                     struct err *err) MUST_CHECK;

/* What became of a release that somebody intended, by row: 1 and a report like that of
 * deploy_change (without gates and targets; also after an error), 0: cancelled. One
 * that was interrupted is healed first. */
int deploy_settle(struct repo *r, int64_t release_id, cJSON **report,
                  struct err *err) MUST_CHECK;
/* 1: the version has, or is about to get, traffic (or copies of it) on an alias, whose
 * name is appended;
 * 0: it has none. */
int deploy_has_traffic(struct repo *r, int64_t version_id, struct buf *alias,
                       struct err *err) MUST_CHECK;

/* The version to which a share of the traffic is copied (its answers are thrown away);
 * NULL: none. */
const struct deploy_member *deploy_mirror(const struct deploy_release *rel);

/* What is live on an alias: 1 found, 0 nothing yet. */
int deploy_live(struct repo *r, const char *model, const char *alias,
                struct deploy_release *out, struct err *err) MUST_CHECK;
/* Newest first, also those that never got there. */
int deploy_releases(struct repo *r, const char *model, const char *alias,
                    int (*fn)(void *arg, const struct deploy_release *rel,
                              struct err *err),
                    void *arg, struct err *err) MUST_CHECK;
/* The i-th of the members, then of what is kept; NULL after the last. */
const struct deploy_member *release_at(const struct deploy_release *rel, int i);
/* The one of this number; NULL: none is. */
const struct deploy_member *release_version(const struct deploy_release *rel,
                                            int64_t number);
/* [{"version", "weight", "mirror" (if any)}] of what has traffic, or copies of it. */
cJSON *release_members_json(const struct deploy_release *rel);
/* For `status`: JSON with alias, live members with weights, since, by whom, observed or
 * only intended, frozen, leftover intents, drift of targets, and what a rollback would
 * do. model NULL: all models. */
int deploy_status(struct repo *r, const char *model_or_null, cJSON **out,
                  struct err *err) MUST_CHECK;

/* Which version a unit got: the release, the hash, each version's part of the line, and
 * what the gate and the verdicts said of that version. See deploy_split.h. */
struct deploy_unit {
    const char *model;
    const char *alias;
    const char *unit; /* its bytes, as the server that split the traffic saw them */
    int64_t at_ns;    /* by the release that was live then; 0: now */
};
/* ERR_USAGE: an empty unit, or a time to come. ERR_NOTFOUND: nothing was live, with the
 * time of the first release if there is one. */
int deploy_route(struct repo *r, const struct deploy_unit *u, cJSON **out,
                 struct err *err) MUST_CHECK;

/* How many targets on the store's file system have a directory of this version; then
 * the same, taken away, for a version that is deleted and that no release needs. A
 * target whose disk is away is left out. ERR_BUSY: another command holds one. */
int deploy_version_dirs(struct repo *r, const struct repo_version *v,
                        struct err *err) MUST_CHECK;
int deploy_forget(struct repo *r, const struct repo_version *v,
                  struct err *err) MUST_CHECK;

/* Whether every version directory that a live release needs has, in each target, the
 * files that were pushed: a link to its object, or bytes with its digest. What differs
 * goes to fn; with `repair` it is first replaced by a whole copy (its object was
 * checked by the caller). Links and missing directories are deploy_status's. */
int deploy_check_files(struct repo *r, bool repair,
                       int (*fn)(void *arg, const char *target, const char *what,
                                 bool repaired, struct err *err),
                       void *arg, struct err *err) MUST_CHECK;

/* What a target (NULL: each) holds against what it should: links, rendered files,
 * version directories and their files, modes, owners, and what is not of the store. A
 * version's file that is a link to its object is taken for it (repo_check reads
 * objects). With `repair` what the store can mend is mended, under the target's lock;
 * what is foreign stays. *out: {"targets": [{"target", "dir", "ok", "drift": [{"kind",
 * "path", "wanted", "saw", "repaired", "why_not"}]}]}, "left": how much differs
 * afterwards. */
int deploy_drift(struct repo *r, const char *name_or_null, bool repair, cJSON **out,
                 struct err *err) MUST_CHECK;

/* 1: the version is in a release that is live or intended, or was in one that was
 * replaced at since_ns or later; 0, -code. */
int deploy_in_use(struct repo *r, int64_t version_id, int64_t since_ns,
                  struct err *err) MUST_CHECK;

/* ---- figures (deploy_figures.c) ---- */

/* An alias of a model, or with a target what that shows of it. All text is lent. */
struct deploy_figure {
    const char *model, *alias, *target; /* target NULL: the alias as a whole */
    int64_t intended;                   /* number of the release that is live */
    int64_t intended_ns;                /* since */
    int64_t version;                    /* number of its member that leads */
    bool can_observe;    /* every server of it can be asked, or its links are read */
    int64_t observed;    /* number of the newest release that was seen; 0: none was */
    int64_t observed_ns; /* first seen so; 0: never */
    bool is_frozen;
};
/* Of each alias, then of each target that can be asked; *n_unfinished: releases that
 * were intended and have no end. Rows only: no directory or server is looked at. */
int deploy_figures(struct repo *r, int64_t *n_unfinished,
                   int (*fn)(void *arg, const struct deploy_figure *f, struct err *err),
                   void *arg, struct err *err) MUST_CHECK;

#endif
