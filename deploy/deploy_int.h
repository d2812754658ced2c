/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of deploy/ share. */
#ifndef DEPLOY_INT_H
#define DEPLOY_INT_H

#include "deploy/deploy.h"
#include "deploy/layout.h"
#include "deploy/server.h"
#include "validate/validate.h"

/* ---- deploy_weights.c ---------------------------------------------------------------
 */

/* Shares to weights that sum to DEPLOY_WEIGHT_ALL, by largest remainder (first given on
 * a tie). Parts with share 0 are dropped. ERR_INVALID: none left, a negative share, a
 * version twice, a share below 1/10,000. ERR_LIMIT: more than DEPLOY_MEMBERS_MAX. */
int weights_normalise(const struct deploy_member *parts, int n,
                      struct deploy_release *out, struct err *err) MUST_CHECK;
/* Sets latest and latest_id; `before`: number of the version that led, 0: none. */
void weights_lead(struct deploy_release *rel, int64_t before);
/* Puts the members in the order in which they share the line of hashes: those that had
 * traffic in the release before as they stood there, then the one that leads, then as
 * given. So the first is the stable version, and the share of a version that grows
 * beside it takes units from it alone. */
void weights_order(struct deploy_release *rel, const struct deploy_release *cur);
/* Names the members for a server: what leads is "stable", the largest beside it
 * "canary". When a label may move is deploy_steps.c's. */
void weights_label(struct deploy_release *rel);
int weights_of(const struct deploy_release *rel, int64_t version_id); /* 0: none */
/* Puts what is mirrored to into rel->kept: `said` (mirror 0: none any more), else what
 * `cur` has, unless that gets traffic now. ERR_INVALID: `said` has traffic, or is to
 * end what is not. */
int weights_mirror(struct deploy_release *rel, const struct deploy_release *cur,
                   const struct deploy_member *said, struct err *err) MUST_CHECK;
bool weights_same(const struct deploy_release *a, const struct deploy_release *b);

/* ---- deploy_release.c: rows ---------------------------------------------------------
 */

/* Releases, one after the other. */
struct history {
    struct db_stmt *st;
    bool at_row; /* st stands at the first row of the next release */
    bool ended;
};
#define HISTORY_INIT                                                                   \
    {                                                                                  \
        .st = NULL                                                                     \
    }
void history_close(struct history *h); /* for AUTO */
/* Live and past ones of an alias, newest first. */
int history_open(struct history *h, struct repo *r, const char *model,
                 const char *alias, struct err *err) MUST_CHECK;
/* All of an alias, also cancelled ones, newest first. */
int history_open_all(struct history *h, struct repo *r, const char *model,
                     const char *alias, struct err *err) MUST_CHECK;
/* The live releases of all models on an alias, by model name. */
int history_open_live(struct history *h, struct repo *r, const char *alias,
                      struct err *err) MUST_CHECK;
/* Every live release there is (model NULL), or of one model. */
int history_open_status(struct history *h, struct repo *r, const char *model_or_null,
                        struct err *err) MUST_CHECK;
int history_next(struct history *h, struct deploy_release *out,
                 struct err *err) MUST_CHECK;
/* 1 found, 0 not. */
int release_get(struct repo *r, int64_t id, struct deploy_release *out,
                struct err *err) MUST_CHECK;
/* A release of any model on the alias that is intended; 1 found, 0 none. */
int release_pending(struct repo *r, const char *alias, int64_t *id,
                    struct err *err) MUST_CHECK;
/* Inserts `rel` as intended: gives it id, number (and stands_at when 0), actor. */
int release_insert(struct repo *r, struct deploy_release *rel,
                   struct err *err) MUST_CHECK;

/* Versions that count as bad on an alias. */
struct bad_set {
    int64_t *ids;
    int n;
};
void bad_release(struct bad_set *b);
int bad_load(struct repo *r, const char *model, const char *alias, struct bad_set *out,
             struct err *err) MUST_CHECK;
bool bad_has(const struct bad_set *b, int64_t version_id);
void bad_add(struct bad_set *b, int64_t version_id);

/* Where a rollback from `cur` goes (the rule of deploy.h): 1 and a release that could
 * be inserted (members, kept, labels, stands_at, verb), or 0: nowhere. `bad` is what
 * counts as bad now. */
int rollback_find(struct repo *r, const struct deploy_release *cur,
                  const struct bad_set *bad, struct deploy_release *out,
                  struct err *err) MUST_CHECK;
/* Adds to rel->kept what so many rollbacks in a row from `rel` would need loaded; of
 * what is there only what is mirrored to stays. */
int release_keep(struct repo *r, struct deploy_release *rel, const struct bad_set *bad,
                 int n_good, struct err *err) MUST_CHECK;
/* So many for a rollback from `cur` to `to`: one, and what is loaded beyond it. */
int release_keep_back(const struct deploy_release *cur, const struct deploy_release *to,
                      const struct bad_set *bad);
/* ERR_NOTFOUND with the list of releases there are. */
int rollback_none(struct repo *r, const char *model, const char *alias,
                  struct err *err) MUST_CHECK;

/* In the caller's transaction: the release is live, the one before past, the alias
 * points at it, what a rollback leaves is marked bad, marks on its members are lifted,
 * the intent is gone, the event is there. healed: finished by a later command. `left`
 * (may be NULL) gets an array of the numbers marked bad. */
int release_finish(struct repo *r, struct deploy_release *rel, int64_t observed_ns,
                   bool healed, cJSON **left, struct err *err) MUST_CHECK;
struct sites;
/* In the caller's transaction, when its switch is done: release_finish, and the steps
 * that follow; or taken back: it never happened. */
int release_end(struct repo *r, struct sites *sites, struct deploy_release *rel,
                bool done, bool healed, cJSON **left_or_null,
                struct err *err) MUST_CHECK;
/* In the caller's transaction. */
int event_add(struct repo *r, const char *verb, const char *object, const char *digest,
              const char *outcome, const cJSON *body, struct err *err) MUST_CHECK;
void tx_end_p(struct db **db); /* for AUTO: rolls back when one is open */

/* ---- deploy_target.c: directories ---------------------------------------------------
 */

/* Names below a target that no server takes for a version. All on its file system. */
#define SITE_DOT ".sluice"
#define SITE_IDENTITY ".sluice/target.json"
#define SITE_LOCK ".sluice/lock"
#define SITE_STAGING ".sluice/staging"
#define SITE_ADOPTED ".sluice/adopted"
#define SITE_FLIP ".sluice/flip" /* a file on its way into place */

/* A target being written to, or looked at. */
struct site {
    struct deploy_target t;
    const struct layout_ops *layout;
    int dirfd, lock_fd; /* -1: closed */
};
struct sites {
    struct site *s;
    int n;
};
#define SITES_INIT                                                                     \
    {                                                                                  \
        .s = NULL                                                                      \
    }
void sites_release(struct sites *s); /* for AUTO: unlocks, closes */
/* Rows only; in id order, which is the order of locking. */
int sites_load(struct repo *r, const char *alias, struct sites *out,
               struct err *err) MUST_CHECK;
/* Opens the directory and checks that it is this target's. */
int site_open(struct site *s, struct err *err) MUST_CHECK;
/* .sluice/target.json: 1 and a document to free, 0 there is none. */
int site_identity(int dirfd, cJSON **out, struct err *err) MUST_CHECK;
int sites_lock(struct sites *s, int timeout_ms, struct err *err) MUST_CHECK;
void sites_unlock(struct sites *s);
/* Context for an error of a target's directory: which one, and what to do when it
 * cannot be written. Returns -code. */
int site_fault(const char *name, const char *dir, struct err *err);

/* What a release that did not end was staging goes, durably. */
int site_clear_staging(const struct site *s, struct err *err) MUST_CHECK;
/* "fraud" -> "fraud" or "models/fraud", appended */
void site_model_path(const struct site *s, const char *model, struct buf *out);
/* "fraud" -> "fraud/v3", appended. In a layout that parks, and with the site open, the
 * name that it has now, else the parked one: the one that it is made with. */
void site_version_path(const struct site *s, const char *model, int64_t number,
                       struct buf *out);
/* Where its files lie: the same, or below it. */
void site_files_path(const struct site *s, const char *model, int64_t number,
                     struct buf *out);
/* One version's directory; 1: made, its name not synced yet; 0: it was there. */
int site_ready_version(struct repo *r, struct site *s, const char *model,
                       const struct deploy_member *m, struct err *err) MUST_CHECK;
/* Every member and kept version has its directory in the tree, complete and synced. */
int site_ready(struct repo *r, struct site *s, const struct deploy_release *rel,
               struct err *err) MUST_CHECK;
/* Renders what `live` means and names it; the name is "" when the layout has none. */
#define CONFIG_ID_BYTES 33
void site_render(const struct site *s, const struct deploy_release *const *live, int n,
                 struct layout_files *out, char id[CONFIG_ID_BYTES]);
/* The same of what the model has for itself. */
void site_render_model(const struct site *s, const struct deploy_release *rel,
                       struct layout_files *out, char id[CONFIG_ID_BYTES]);
/* First half of the SHA-256 of names and texts, in hex. */
void files_id(const struct layout_files *files, char id[CONFIG_ID_BYTES]);
/* Where a model's own rendered files lie: ".sluice/models/fraud", appended. */
void site_own_path(const struct site *s, const char *model, struct buf *out);
/* 1: rendered files of that name lie below `base`, synced, and are young again. */
int site_has_files(struct site *s, const char *base, const char *id,
                   struct err *err) MUST_CHECK;
/* The rendered files lie below `base` (LAYOUT_RELEASES, or a model's own), synced. Does
 * nothing when they are there. */
int site_put_files(struct site *s, const char *base, const struct layout_files *files,
                   const char *id, struct err *err) MUST_CHECK;
/* What the model has for itself; does nothing for a layout without. */
int site_put_model(struct site *s, const struct deploy_release *rel,
                   struct err *err) MUST_CHECK;
/* Drops rendered files that nothing has used for long, except `keep`. */
void site_prune(struct site *s, const char *base, const char *keep);

/* ---- deploy_check.c -----------------------------------------------------------------
 */

/* NULL: the file is what was pushed; else what is wrong, to be freed. */
char *site_file_fault(struct repo *r, const struct repo_file *f, int dirfd,
                      const char *path);
/* A whole file in the place of what has the name, by one rename. */
int site_replace_file(struct repo *r, const struct repo_file *f, int dirfd,
                      const char *path, struct err *err) MUST_CHECK;

/* ---- deploy_target.c, deploy_adopt_tree.c -------------------------------------------
 */

/* What an alias means now, of every model. */
struct live {
    struct deploy_release *rel;
    const struct deploy_release **by; /* the same, as layouts take them */
    int n;
};
void live_release(struct live *l); /* for AUTO */
int live_load(struct repo *r, const char *alias, struct live *out,
              struct err *err) MUST_CHECK;
/* Directories of a model: of what is live, and of what a rollback would bring back. */
int site_fill_model(struct repo *r, struct site *s, const struct deploy_release *rel,
                    struct err *err) MUST_CHECK;

/* Directories, rendered files and links of every model; the lock is held. */
int site_fill(struct repo *r, struct site *s, const struct live *live,
              struct err *err) MUST_CHECK;

struct adopt_tree;
/* Whether a target of this name, directory and alias could be added. */
int deploy_target_check(struct repo *r, const char *name, const char *dir,
                        const char *alias, struct err *err) MUST_CHECK;
/* Before the layout's links are made: the names of versions; and after: `latest` of a
 * flat tree. */
int adopt_names(struct repo *r, struct site *s, const struct adopt_tree *t,
                struct err *err) MUST_CHECK;
int adopt_latest(struct site *s, const struct adopt_tree *t,
                 struct err *err) MUST_CHECK;

/* ---- deploy_steps.c -----------------------------------------------------------------
 */

/* Where a server reads a target and says what it has loaded (a status URL), one release
 * takes several configs: */
enum step_stage {
    STEP_LOAD,  /* what was in force, and all versions of the release loaded beside */
    STEP_LABEL, /* the release; what had traffic before stays loaded, without a label */
    STEP_LOOK,  /* the release alone; not yet seen */
    STEP_DONE   /* and its server has it */
};
extern const char *const step_names[]; /* "load" … */
#define STEP_VERSIONS_MAX (DEPLOY_MEMBERS_MAX + DEPLOY_KEPT_MAX)
struct step_set {
    int64_t number[STEP_VERSIONS_MAX];
    int n;
};
bool step_set_has(const struct step_set *s, int64_t number);
void step_set_add(struct step_set *s, int64_t number);
/* How far a target has got with a release. A release made before the one before was in
 * force keeps what is: so any release, a rollback too, replaces a whole one. */
struct step {
    bool is_stepped; /* false: the target shows `rel` as it is, at once */
    enum step_stage stage;
    struct deploy_release rel;
    struct deploy_release from; /* what was in force; no members: nothing */
    int64_t stable, canary;     /* in STEP_LOAD: the labels in force */
    /* What its server was seen to have, and no config left out since; and what one left
     * out, and nobody saw gone. A server that is about to unload a version says
     * AVAILABLE of it: it is not asked for again before it is gone. */
    struct step_set available, dropped;
    bool is_told; /* of the last flip */
    int64_t observed_ns;
};
bool site_is_stepped(const struct site *s);
/* How the site shows `rel`, which is live. Without a status URL: no SQL. */
int step_get(struct repo *r, const struct site *s, const struct deploy_release *rel,
             struct step *out, struct err *err) MUST_CHECK;
/* The first step to `next`; `now`: of what is live, NULL: nothing is. */
void step_begin(const struct site *s, const struct step *now_or_null,
                const struct deploy_release *next, struct step *out);
/* To the step that follows. */
void step_on(struct step *st);
/* The versions, weights and labels that the server is to have: what is rendered. */
void step_view(const struct step *st, struct deploy_release *out);
/* One that must be loaded before it gets traffic. */
bool step_needs(const struct deploy_member *m);
/* Into the row; in the caller's transaction. */
int step_put(struct repo *r, const struct site *s, const struct step *st,
             struct err *err) MUST_CHECK;
/* In the transaction in which `rel` gets live, before it does. */
int steps_start(struct repo *r, struct sites *sites, const struct deploy_release *rel,
                struct err *err) MUST_CHECK;
/* In the transaction in which `rel` is cancelled: what it showed for a moment, nobody
 * knows. */
int steps_cancel(struct repo *r, struct sites *sites, const struct deploy_release *rel,
                 struct err *err) MUST_CHECK;
/* What is live, as this site shows it. */
int live_shown(struct repo *r, const struct site *s, const struct live *live,
               struct live *out, struct err *err) MUST_CHECK;

/* ---- deploy_advance.c ---------------------------------------------------------------
 */

/* deploy/server.h, or what a test has in its place. */
struct server_calls {
    int (*observe)(const struct deploy_target *t, const char *model, int wall_ms,
                   struct server_seen *out, struct err *err);
    int (*label)(const struct deploy_target *t, const char *model, const char *label,
                 int wall_ms, int64_t *number, struct err *err);
    int (*reload)(struct repo *r, const struct deploy_target *t,
                  const struct deploy_release *rel, int wall_ms, struct err *err);
};
extern const struct server_calls server_real;
/* Tells the site's server of the flip, if it is to be told; notes that it was. No lock
 * is held: a server may take its time. */
int site_tell(struct repo *r, const struct site *s, const struct server_calls *ops,
              const struct deploy_release *rel, struct err *err) MUST_CHECK;
/* deploy_step with a server that tests can play. */
int deploy_step_with(struct repo *r, const struct server_calls *ops,
                     const struct deploy_step *what, cJSON **out,
                     struct err *err) MUST_CHECK;
int deploy_status_with(struct repo *r, const char *model_or_null,
                       const struct server_calls *ops, cJSON **out,
                       struct err *err) MUST_CHECK;
/* What the server says of the versions of `view`: [{"version", "state", "error"}]. */
cJSON *seen_json(const struct server_seen *seen, const struct deploy_release *view);
/* Of a target that a round tells of: what it waits for; NULL: nothing. */
const char *step_waits(const cJSON *said);

/* ---- deploy_drift.c, deploy_drift_tree.c --------------------------------------------
 */

/* A target that is looked at. */
struct drift {
    struct repo *r;
    struct site *s;
    struct live live;
    bool repair;
    const char *held; /* what keeps a repair from mending anything, or NULL */
    cJSON *list;
    int n_left;
};
/* One name in a directory of `model` ("": none). */
typedef int name_fn(struct drift *d, const char *model, const char *path,
                    const char *name, struct err *err);
/* `mended`: of a repair, 0 or what it failed with (then `why` says more). */
void drift_tell(struct drift *d, const char *kind, const char *path, const char *wanted,
                const char *saw, bool mended, struct err *why);
int drift_each_name(struct drift *d, const char *model, const char *dir, name_fn *fn,
                    struct err *err) MUST_CHECK;
/* A name in the target itself: a model's directory, with all in it, or foreign. */
int drift_check_top(struct drift *d, const char *where, const char *path,
                    const char *name, struct err *err) MUST_CHECK;

/* ---- deploy_options.c ---------------------------------------------------------------
 */

int options_check(const struct deploy_options *o, const struct layout_ops *layout,
                  struct err *err) MUST_CHECK;
void options_apply(const struct deploy_options *o_or_null, struct deploy_target *t);
/* Into the row; in the caller's transaction. */
int options_store(struct repo *r, const struct deploy_target *t, int64_t id,
                  struct err *err) MUST_CHECK;
void options_json(const struct deploy_target *t, cJSON *out);

/* ---- deploy_flip.c ------------------------------------------------------------------
 */

extern const char *const flip_kind_names[LAYOUT_N_KINDS];    /* as rows have them */
int flip_kind_find(const char *name, enum layout_kind *out); /* 0, -1 */
/* What it says now. NULL: there is none. ERR_CONFLICT: something else has the name. */
int flip_read(struct site *s, enum layout_kind kind, const char *path, char **out,
              struct err *err) MUST_CHECK;
/* Makes it say this (NULL: nothing), by one rename, not synced. Repeatable. */
int flip_turn(struct site *s, enum layout_kind kind, const char *path,
              const char *text_or_null, struct err *err) MUST_CHECK;
/* What must hold for a release in this tree; config_id names the target's rendered
 * files. ERR_CONFLICT: what is not of the store would be served instead. */
int site_links(struct repo *r, struct site *s, const struct deploy_release *rel,
               const char *config_id, struct layout_links *out,
               struct err *err) MUST_CHECK;
/* ERR_CONFLICT: the layout's server cannot serve this; says why and the way out. */
int site_accepts(const struct site *s, const struct deploy_release *rel,
                 struct err *err) MUST_CHECK;
/* ---- deploy_rights.c: who may read a model's directory ----------------------------
 */

/* The target says who: readers, or a group. */
bool site_has_rights(const struct site *s);
/* Whether it can be done here, and by this user; changes nothing. ERR_UNSUPPORTED: no
 * ACLs. ERR_USAGE: no such group. ERR_DENIED: not this user. */
int site_rights_check(struct site *s, struct err *err) MUST_CHECK;
/* Makes it so; nothing to do when it is, or when there is no such directory. */
int site_rights(struct repo *r, struct site *s, const char *model,
                struct err *err) MUST_CHECK;
int site_rights_all(struct repo *r, struct site *s, struct err *err) MUST_CHECK;
/* Tells what is not so: "group", "acl". */
int site_rights_differ(struct repo *r, struct site *s, const char *model,
                       void (*fn)(void *arg, const char *kind, const char *wanted,
                                  const char *saw),
                       void *arg, struct err *err) MUST_CHECK;

/* ---- deploy_switch.c: flips ---------------------------------------------------------
 */

/* One link (directory, file) of one target. */
struct flip {
    struct site *s;
    enum layout_kind kind;
    int place; /* 0: the target's commit point; below: before any commit point */
    char *path;
    char *was; /* NULL: there was none */
    char *becomes;
    bool tried; /* to be turned, by this process */
};
struct flips {
    struct flip *f;
    int n;
};
#define FLIPS_INIT                                                                     \
    {                                                                                  \
        .f = NULL                                                                      \
    }
void flips_release(struct flips *f);
/* Adds the links of a site that must change for `rel`. */
int flips_plan(struct repo *r, struct flips *f, struct site *s,
               const struct deploy_release *rel, const char *config_id,
               struct err *err) MUST_CHECK;
int flips_insert(struct repo *r, int64_t release_id, const struct flips *f,
                 struct err *err) MUST_CHECK;
int flips_load(struct repo *r, int64_t release_id, struct sites *sites,
               struct flips *out, struct err *err) MUST_CHECK;
/* Removes links that a killed process was about to rename into place. */
void flips_sweep(const struct flips *f);
/* What stands before the commit points, those of all sites, then the rest, and syncs.
 * When that fails all are put back and *past is false; when that fails, too, *past is
 * true. Repeatable. */
int flips_apply(struct flips *f, bool *past, struct err *err) MUST_CHECK;
/* 1: some target shows the new state, 0: none does. */
int flips_committed(const struct flips *f, struct err *err) MUST_CHECK;
/* Finishes or cancels every intent left over on the alias; the sites are locked. */
int heal(struct repo *r, struct sites *sites, const char *alias,
         struct err *err) MUST_CHECK;
/* Now, when every site shows what is served by its links; 0: not known. */
int64_t sites_observed_ns(const struct sites *s);

/* ---- deploy_undo.c: what a rollback need not render ---------------------------------
 */

struct undo {
    int64_t target_id;
    char from[CONFIG_ID_BYTES], to[CONFIG_ID_BYTES];
    char *means;
};
struct undos {
    struct undo *u;
    int n;
};
void undos_release(struct undos *u);
/* The files `from`, but with `rel` for its model, are the files `to` of the site. */
void undos_add(struct undos *u, const struct site *s, const char *from,
               const struct deploy_release *rel, const char *to);
/* In the caller's transaction, in the place of what was known of the sites. */
int undos_store(struct repo *r, const struct undos *u, const struct sites *sites,
                struct err *err) MUST_CHECK;
int undos_forget(struct repo *r, int64_t target_id, struct err *err) MUST_CHECK;
/* 1: `rel` in the place of what its model means now is the files `id`, which are there;
 * 0: not known. */
int undo_find(struct repo *r, struct site *s, const struct deploy_release *rel,
              char id[CONFIG_ID_BYTES], struct err *err) MUST_CHECK;

/* ---- deploy_change.c ----------------------------------------------------------------
 */

extern const struct val_outside deploy_outside; /* deploy_gate.c */
typedef int deploy_gate_fn(struct repo *r, const struct val_gate_args *args,
                           cJSON **report, struct err *err);
/* What a plan rests on. */
struct snapshot {
    int64_t live_id; /* 0: nothing is live */
    int64_t last_target, n_targets;
    bool frozen;
};

/* What a target shows, and will. */
struct site_plan {
    struct step now, next; /* of the plan's model; next at its first step */
    struct step *other;    /* of plan.others; NULL: as they are, not stepped */
    /* The rendered files of `next`, from plan_flips. */
    struct layout_files files;
    char files_id[CONFIG_ID_BYTES]; /* "": the layout has none */
    bool files_there;               /* `files` is empty then */
};

struct plan {
    struct repo *r;
    const struct deploy_change *c;
    deploy_gate_fn *gate;
    const struct server_calls *server;
    cJSON *report;
    struct snapshot seen;
    struct sites sites;
    struct bad_set bad;
    bool has_cur;
    struct deploy_release cur, next;
    bool ungated; /* next gives traffic only to what was live here */
    struct flips flips;
    struct deploy_release *others; /* live releases of the other models of the alias */
    int n_others;
    struct site_plan *by_site;
    bool has_others;
    struct undos undos;  /* what would undo p->next, as it is made ready */
    char **target_names; /* borrowed from sites */
    /* val_stamp of each version that gains, when its gates were asked */
    struct digest stamps[DEPLOY_MEMBERS_MAX + 1]; /* one is mirrored to */
    int n_stamps;
};

/* The flips that p->next needs; and unless a rollback does without them, the other
 * models that its files name. */
int plan_flips(struct plan *p, struct err *err) MUST_CHECK;
/* The files of a target in which `view` takes the place of what p's model shows. */
void plan_render(const struct plan *p, const struct site *s,
                 const struct deploy_release *view, struct layout_files *files,
                 char id[CONFIG_ID_BYTES]);
const struct site_plan *plan_of(const struct plan *p, const struct site *s);
/* Completes p->report with what p->next would change; changes nothing. */
int plan_foresee(struct plan *p, struct err *err) MUST_CHECK;
/* All that must be there before the first flip; for a rollback it mostly is. */
int plan_ready(struct plan *p, struct err *err) MUST_CHECK;
/* Each version whose share grows passes the gate and the pre-promote hook once; all
 * gates are asked before the first hook runs. */
int plan_ask(struct plan *p, struct err *err) MUST_CHECK;
/* In the intent's transaction: 1 when what the gates were asked about still holds. */
int plan_gates_hold(struct plan *p, struct err *err) MUST_CHECK;
/* What let it through: the evidence, and what the guards of the catalogue ask for. */
int passes_insert(struct plan *p, struct err *err) MUST_CHECK;
/* Completes p->report. */
int plan_answer(struct plan *p, bool changed, struct err *err) MUST_CHECK;

/* deploy_change with a gate that tests can count, and with a server they can play. */
int deploy_change_with(struct repo *r, const struct deploy_change *c,
                       deploy_gate_fn *gate, const struct server_calls *server,
                       cJSON **report, struct err *err) MUST_CHECK;
int deploy_change_gated(struct repo *r, const struct deploy_change *c,
                        deploy_gate_fn *gate, cJSON **report,
                        struct err *err) MUST_CHECK;
const char *deploy_verb_text(enum deploy_verb verb);

/* ---- deploy_drill.c, deploy_drill_rows.c --------------------------------------------
 */

int plan_drill(struct plan *p, struct err *err) MUST_CHECK;
/* Of a live one: where a rollback would be, on the way of a drill from `number`. */
bool drill_is_there(const struct deploy_release *live, int64_t number);
/* A rollback while a drill is on its way ends it: 1 and what the drill came from; 0:
 * none is, or that cannot be had any more. */
int drill_came_from(struct repo *r, const struct deploy_release *live,
                    struct deploy_release *out, struct err *err) MUST_CHECK;
/* The newest one that has no end: 1 and its row, 0 none. */
int drill_open(struct repo *r, const char *model, const char *alias, int64_t *row,
               int64_t *from_release, struct err *err) MUST_CHECK;
/* As val_outside.drilled. */
int drill_ago(struct repo *r, const char *model, const char *alias, int64_t *ago_ns,
              struct err *err) MUST_CHECK;
/* "drill" of a status: the last one that was measured, or null; and as an element of
 * `unfinished` one that stands where a rollback would be. */
int drill_status(struct repo *r, const struct deploy_release *rel, cJSON *o,
                 cJSON *unfinished, struct err *err) MUST_CHECK;

/* 1 frozen (the reason appended), 0 not. */
int freeze_get(struct repo *r, const char *model, const char *alias, struct buf *reason,
               struct err *err) MUST_CHECK;
/* ERR_REFUSED: frozen. */
int freeze_refuse(struct repo *r, const char *model, const char *alias,
                  struct err *err) MUST_CHECK;

#endif
