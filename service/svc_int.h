/* SPDX-License-Identifier: Apache-2.0 */
/* What the handlers of verbs share. */
#ifndef SERVICE_SVC_INT_H
#define SERVICE_SVC_INT_H

#include "savedmodel/savedmodel.h"
#include "service/service.h"
#include "validate/validate.h"

struct svc {
    char *store_path; /* NULL: the default */
    struct repo *repo;
    svc_progress_fn *progress; /* NULL: nobody looks */
    void *progress_arg;
    bool (*stop)(void *arg); /* NULL: nobody ends a call early; gets progress_arg */
    svc_tell_fn *tell;       /* NULL: nobody listens */
    void *tell_arg;
    struct repo_view view;     /* made by exec, for svc_take_view */
    const struct acc_who *who; /* NULL: the kernel's user */
};

/* One call under way. */
struct svc_call {
    struct svc *s;
    const struct svc_verb *verb;
    struct repo *repo; /* NULL for a call without a store */
    const cJSON *req;
    cJSON *reply;
    /* What the event says; a handler fills in what it finds out. */
    char object[REPO_NAME_BYTES + REPO_ALIAS_BYTES];
    char digest[REPO_DIGEST_BYTES];
    cJSON *body;
    unsigned n_cut; /* fs_maps_n_cut() when the call began */
    bool recorded;  /* the event stands already, in the act's own transaction */
    bool keyed;     /* it has an idempotency key, which stands for `request` */
    bool replayed;  /* and was carried out before: reply is that answer */
    struct digest request;
    cJSON *once; /* members of the reply that nobody keeps: a secret; NULL: none */
    char *made;  /* what a read wrote for its caller; goes when it is not given out */
};

typedef int svc_do_fn(struct svc_call *c, struct err *err);
#define VERB(name, right, needs, help, ...) svc_do_fn svc_do_##name;
#include "service/verbs.def"
#undef VERB

/* Fields of the request: NULL or the fallback when absent (types are checked before).
 */
const char *svc_str(const struct svc_call *c, const char *field);
int64_t svc_int(const struct svc_call *c, const char *field, int64_t fallback);
bool svc_flag(const struct svc_call *c, const char *field);

/* svc_on_stop's function says that the caller waits no more. */
bool svc_is_stopped(const struct svc_call *c);

/* The version that field `ref` names; it becomes the event's object. */
int svc_version(struct svc_call *c, struct repo_version *out,
                struct err *err) MUST_CHECK;
/* Of a verb with --wait: ERR_USAGE when it is no time. */
int svc_check_wait(const struct svc_call *c, struct err *err) MUST_CHECK;
/* Once a change of traffic is in c->reply: drives its steps for as long as --wait says.
 * ERR_PENDING: it stands, and some server does not have it, or was not told.
 * ERR_CONFLICT: it stands no more. */
int svc_after_change(struct svc_call *c, struct err *err) MUST_CHECK;
/* "MODEL@ALIAS" of field `ref`; it becomes the event's object. */
struct deploy_options;
void svc_target_options(const struct svc_call *c, struct deploy_options *out);
int svc_alias(struct svc_call *c, struct repo_ref *out, struct err *err) MUST_CHECK;
void svc_about(struct svc_call *c, const struct repo_version *v);

/* ---- svc_object.c: what the gate is asked about ---- */

struct svc_object {
    struct acc_object on; /* of the names below */
    bool any;             /* a list: whatever the caller may read */
    char model[REPO_NAME_BYTES], name[REPO_NAME_BYTES];
};
/* Of the call's request. */
int svc_about_what(struct svc_call *c, struct svc_object *out,
                   struct err *err) MUST_CHECK;
/* acc_check of a second object, in the verb's name. */
int svc_allow(struct svc_call *c, enum acc_right right, struct acc_object on,
              struct err *err) MUST_CHECK;
/* A version that is not the verb's first object: asks before it looks, so that who may
 * not learns nothing. */
int svc_resolve(struct svc_call *c, const char *text, enum acc_right right,
                struct repo_version *out, struct err *err) MUST_CHECK;
/* A right or a verb that there is, as a person types it; what a rule calls it is
 * appended, `right` is what the verb asks for. */
int svc_take_what(const char *text, enum acc_right *right, struct buf *what,
                  struct err *err) MUST_CHECK;
/* For lists: 1: the caller may read it, 0: it is left out. */
int svc_shows(struct svc_call *c, struct acc_object on, struct err *err) MUST_CHECK;
/* The same for what belongs to the store as a whole: who may read that sees that there
 * is one, too. */
int svc_shows_of_store(struct svc_call *c, struct acc_object on,
                       struct err *err) MUST_CHECK;
/* Takes those out of an array whose members `model` and `alias` (of one: the model)
 * name something that the caller may not read. */
int svc_hide(struct svc_call *c, cJSON *list, struct err *err) MUST_CHECK;

/* Opens the session's store, unless it is open. */
int svc_need_store(struct svc *s, struct err *err) MUST_CHECK;
/* Commits the caller's transaction together with the event of this call. */
int svc_commit(struct svc_call *c, struct err *err) MUST_CHECK;

/* ---- svc_key.c: calls with an idempotency key ---- */

/* Before the handler: 1: the call was carried out, c->reply is its answer. A verb with
 * fields that are SVC_APART asks itself. */
int svc_key_begin(struct svc_call *c, struct err *err) MUST_CHECK;
/* The same, by the digests of the bytes that such fields stand for. The handler ends
 * with 0 when this is 1. */
int svc_key_find(struct svc_call *c, const struct digest *bytes, int n,
                 struct err *err) MUST_CHECK;
/* The reply as it stands is what the key keeps, should this process die before the end
 * of the call (svc_commit does it). */
void svc_key_reply(struct svc_call *c);
/* After the handler: keeps the whole answer; or finds that of a twin that was faster,
 * and clears `err`. */
int svc_key_end(struct svc_call *c, int result, struct err *err) MUST_CHECK;

/* ---- svc_version.c, svc_provenance.c ---- */

/* `tags` of a version; all that is said of one. */
int svc_put_tags(struct svc_call *c, cJSON *to, int64_t version_id,
                 struct err *err) MUST_CHECK;
int svc_put_said(struct svc_call *c, cJSON *to, const struct repo_version *v,
                 struct err *err) MUST_CHECK;
/* The pairs of field `provenance`, checked. */
int svc_put_provenance(struct svc_call *c, cJSON *to, struct err *err) MUST_CHECK;

/* ---- svc_log.c ---- */

/* The call's event, unless it stands already, and the log's files. Returns the call's
 * result, which the log can spoil: a read that cannot be recorded is not given out,
 * unless the store says otherwise. */
int svc_log_call(struct svc_call *c, int result, struct err *err) MUST_CHECK;
const char *svc_outcome(enum err_code code); /* of acc_event */
bool svc_is_full(const struct err *err);     /* no room on the disk */
/* Before anything is done: what cannot be recorded or changed is refused at once. */
int svc_check_read_only(struct svc_call *c, struct err *err) MUST_CHECK;

/* list --sizes (svc_cold.c): members of a version's object; `models` and `total` of the
 * reply, whose `versions` are there. */
int svc_put_version_sizes(struct svc_call *c, const struct repo_version *v, cJSON *o,
                          struct err *err) MUST_CHECK;
int svc_put_all_sizes(struct svc_call *c, const char *model_or_null,
                      struct err *err) MUST_CHECK;
/* For repo_gc_need.make_cold, by the rules of `cold --all`. */
struct repo_gc_item;
int svc_cold_for_room(struct svc_call *c, const struct repo_version *v, bool apply,
                      struct repo_gc_item *item, struct err *err) MUST_CHECK;

/* Common pieces of replies. */
void svc_no_reply(struct svc_call *c); /* forgets it: the call failed after all */
cJSON *svc_version_json(const struct repo_version *v);
void svc_put_time(cJSON *obj, const char *key, int64_t time_ns);
void svc_put_hex(cJSON *obj, const char *key, const struct digest *d);
/* "verdict", "backend", "time", "by" and the "report" of a stored verdict. */
void svc_put_outcome(cJSON *o, const struct val_verdict *v);
/* "time", "by", the verb as `verb_key`, "object", "digest" and "detail": the body but
 * for the rows of a rebuild. */
void svc_put_event(cJSON *o, const char *verb_key, const struct acc_event_row *row);

/* In a transaction of its own, with the call's event: a request for approval of field
 * `ref` for an alias, which is the reply then. `waits`: one that stands is kept. */
int svc_ask_approval(struct svc_call *c, const char *alias, bool when_approved,
                     bool waits, struct err *err) MUST_CHECK;

/* weights --ramp: stores it, and follows it unless told otherwise (svc_canary.c). */
int svc_ramp_start(struct svc_call *c, const struct repo_ref *ref,
                   struct err *err) MUST_CHECK;

/* A checkpoint to look at: a prefix, or a directory that has one. */
struct svc_ckpt {
    struct buf prefix;
    struct sm_bundle *bundle;
};
int svc_ckpt_open(const char *path, struct svc_ckpt *out, struct err *err) MUST_CHECK;
void svc_ckpt_close(struct svc_ckpt *c); /* for AUTO */

/* Files taken in for a row that is still to come; without it they go again. */
struct svc_taken {
    struct repo *r;
    struct repo_ingest in;
    bool kept;
};
void svc_taken_end(struct svc_taken *t); /* for AUTO */
/* Takes in a directory, or the archive of a model, as fields `reread` and `dry_run`
 * say. */
int svc_take_dir(struct svc_call *c, const char *path, bool is_model,
                 struct svc_taken *files, struct err *err) MUST_CHECK;
/* What the request wishes for, and what the store wants of every push. */
int svc_push_wish(struct svc_call *c, struct repo_wish *wish,
                  struct err *err) MUST_CHECK;
/* svc_golden.c: the golden set in `dir` is of that kind and fits the model in
 * `model_dir` (NULL, or no directory: not asked), else the error begins with `beside`;
 * name, kind and digest of one. */
int svc_golden_check(const char *dir, bool acceptance, const char *model_dir_or_null,
                     const char *beside, struct err *err) MUST_CHECK;
void svc_put_set(cJSON *obj, const struct val_set *set);
/* `sets` of the reply: those that apply to a version (0: to any). */
int svc_put_sets(struct svc_call *c, const char *model, int64_t version_id,
                 struct err *err) MUST_CHECK;
/* The reply of push --dry-run; what a push would be refused for is refused. */
int svc_dry_push(struct svc_call *c, const char *model, const struct svc_taken *files,
                 const struct svc_taken *golden_or_null, struct err *err) MUST_CHECK;
/* Takes in the weights of field `checkpoint` on the version of field `onto`; `model` is
 * that version's, `about` gets what was matched, also when it is refused. */
int svc_onto_take(struct svc_call *c, struct svc_taken *files,
                  char model[REPO_NAME_BYTES], cJSON *about,
                  struct err *err) MUST_CHECK;

/* The graph of show: `nodes` and `edges` of the reply, what one signature (NULL: any)
 * needs. */
struct sm_meta;
struct sm_signature;
int svc_show_graph(cJSON *reply, const struct sm_meta *meta,
                   const struct sm_signature *only_or_null, struct err *err) MUST_CHECK;

/* All members of object `from` become members of `to`. */
void svc_move_members(cJSON *from, cJSON *to);
/* As json_put_str; of a list, key_or_null is NULL. */
void svc_put_slice(cJSON *o, const char *key_or_null, struct str s);
/* A new element {key: name} of `list`. */
cJSON *svc_add_named(cJSON *list, const char *key, struct str name);

struct fp_tensor;
struct fp_weights;
/* Which tensor of b is which of a (svc_pair.c). `bundle` and `meta` may be NULL. */
struct svc_weights {
    const struct fp_weights *weights;
    struct sm_bundle *bundle;
    const struct sm_meta *meta;
};
struct svc_pairs {
    const struct fp_tensor **of_a; /* b's for each of a's; NULL: none */
    bool *is_taken;                /* each of b's */
    int n;
    bool by_objects; /* not by their keys */
};
void svc_pair_tensors(struct svc_pairs *out, const struct svc_weights *a,
                      const struct svc_weights *b);
void svc_pairs_release(struct svc_pairs *p); /* for AUTO */

/* Files beside the graph: `assets`, `assets_extra`, and of keras_metadata.pb
 * `keras` (or `keras_error`). */
int svc_show_files(cJSON *reply, const char *dir, struct err *err) MUST_CHECK;

/* The inputs that the fields inputs, input_exprs and input_examples name (later ones
 * win); then whether a signature takes them, and their dtypes made its own. */
struct backend_args;
struct backend_signature;
struct sm_tensor_list;
int svc_run_inputs(struct svc_call *c, struct sm_tensor_list *in,
                   struct err *err) MUST_CHECK;
int svc_run_fit(struct sm_tensor_list *in, const struct backend_signature *sig,
                struct err *err) MUST_CHECK;
/* Runs the records of the model's warm-up file: `records` of the reply. */
int svc_run_warmup(struct svc_call *c, const struct backend_args *args,
                   struct err *err) MUST_CHECK;

/* What a backend calls the signature or function of fields `signature_def` and
 * `function`; default serving_default. ERR_USAGE: both. The caller frees. */
int svc_signature_key(struct svc_call *c, char **out, struct err *err) MUST_CHECK;
/* show --plan: the runner's word on the stages of field `signature_def`. */
int svc_show_plan(struct svc_call *c, const char *dir, struct err *err) MUST_CHECK;
/* Member `profile` of the reply, from what a backend's profile said; written to field
 * `profile_out` as a Chrome trace, too. */
int svc_put_profile(struct svc_call *c, const struct buf *json,
                    struct err *err) MUST_CHECK;

/* A model directory to look at: field `dir`, a view of the version `ref` names, or one
 * made for the frozen graph in field `graph_def`. */
struct svc_dir {
    const char *path;
    const char *name; /* for a person: what was given, or "fraud@3" */
    struct repo_view view;
    char *scratch;
};
int svc_dir_open(struct svc_call *c, struct svc_dir *out, struct err *err) MUST_CHECK;
/* The part of it that is about frozen graphs. */
int svc_frozen_open(struct svc_call *c, struct svc_dir *out,
                    struct err *err) MUST_CHECK;
/* The directory or version that a field of type SVC_ANY names. */
int svc_any_open(struct svc_call *c, const char *field, struct svc_dir *out,
                 struct err *err) MUST_CHECK;
void svc_dir_close(struct svc_dir *d); /* for AUTO */

#endif
