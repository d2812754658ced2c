/* SPDX-License-Identifier: Apache-2.0 */
/* Each verb once: request in, authorise, do, record, reply out; no printing. A request
 * and a reply are JSON objects whose fields the tables verbs.def and fields.def name,
 * so that the same call can be made here, over a socket and over HTTP. */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include "base/json.h"
#include "repo/repo.h"

enum svc_needs {
    SVC_NONE,  /* touches no store */
    SVC_MAYBE, /* a store only when the request names a version */
    SVC_STORE
};
enum svc_field_type {
    SVC_STR,
    SVC_PATH,
    SVC_ANY, /* a directory when it contains "/" or begins with ".", else a version */
    SVC_INT,
    SVC_BOOL,
    SVC_LIST /* the remaining arguments, or a flag that may come again */
};
enum {
    SVC_OPTIONAL = 0,
    SVC_REQUIRED = 1,
    SVC_POSITIONAL = 2,
    SVC_REST = 4,   /* the remaining arguments */
    SVC_APART = 8,  /* an idempotency key does not compare it: a path whose bytes count,
                     * or what may differ when a call is made again */
    SVC_WAITS = 16, /* nor this: for how long the caller waits */
    /* Of a path. IN: a file or directory of the caller's that is read. OUT: one that is
     * written for the caller. Through a service both travel as trees
     * (docs/transfer.md); a path that is neither is one of the machine that has the
     * store. */
    SVC_IN = 32,
    SVC_OUT = 64
};

struct svc_field {
    const char *name; /* also the flag: "tag_set" is --tag_set and --tag-set */
    enum svc_field_type type;
    unsigned flags;
    const char *help;
};
struct svc_verb {
    const char *name; /* "target_add" is `sluice target add` */
    enum acc_right right;
    enum svc_needs needs;
    const char *help;
    const struct svc_field *fields;
    int n_fields;
    int index; /* in the table */
};
/* NULL when there is no such verb. */
const struct svc_verb *svc_find(const char *name);
/* NULL when it takes no such field. */
const struct svc_field *svc_find_field(const struct svc_verb *verb, const char *name);
int svc_n_verbs(void);
const struct svc_verb *svc_verb_at(int i);

/* The request has the verb's fields, each of its type. ERR_USAGE names one that is not,
 * or is missing. */
int svc_check_request(const struct svc_verb *verb, const cJSON *request,
                      struct err *err) MUST_CHECK;

/* Of an SVC_ANY: it contains "/" or begins with "."; else it is a reference. */
bool svc_is_path(const char *text);

/* The dir of a push that is a dry run of files that are elsewhere: this, and their
 * manifest's text. */
#define SVC_MANIFEST_PREFIX "manifest:"
bool svc_is_manifest(const cJSON *request, const char *dir);
/* The first field of the request that names a version; NULL: none. */
const char *svc_names_version(const struct svc_verb *verb, const cJSON *request);

/* What this call writes to standard output is its answer: cat, and export and backup to
 * "-". */
bool svc_gives_bytes(const struct svc_verb *verb, const cJSON *request);

/* The tables of all modules, for repo_init and repo_open. */
enum { SVC_N_SCHEMAS = 4 };
int svc_schemas(struct db_schema out[SVC_N_SCHEMAS]);

/* KEY=VALUE of push's field `provenance`: ERR_INVALID, ERR_LIMIT. */
int svc_check_provenance(const char *pair, struct err *err) MUST_CHECK;
/* One of doctor's: what was looked at, whether it is right, the way out when not. */
void svc_add_finding(cJSON *list, const char *what, bool ok, const char *saw,
                     const char *fix);

/* One caller's session: opens the store when a verb first needs it. */
struct svc;
int svc_open(struct svc **out, const char *store_path_or_null,
             struct err *err) MUST_CHECK;
void svc_close(struct svc *s);
/* In whose name the calls that follow are made; NULL: the kernel's user, as at first.
 * `who` is lent until the next such call. */
int svc_act_as(struct svc *s, const struct acc_who *who_or_null,
               struct err *err) MUST_CHECK;
/* false: the catalogue that it has open is not the store's any more. Who keeps a
 * session between calls takes a new one then. */
bool svc_is_current(const struct svc *s);
/* The session's store, opened now if it was not. */
int svc_store(struct svc *s, struct repo **out, struct err *err) MUST_CHECK;
void svc_leave(struct svc *s);    /* in place of it, when the process ends next */
void svc_close_p(struct svc **s); /* for AUTO */

/* After a call of exec: the directory it made, which is the caller's now. It stays for
 * as long as lock_fd, or a copy of it in another process, is open. */
void svc_take_view(struct svc *s, struct repo_view *out);

/* When this session found a store of an older program and upgraded it: where the
 * catalogue lies as it was, to be freed. Else NULL. */
char *svc_upgraded(const struct svc *s);

/* Called now and then while a long verb works, from svc_call's thread: `what` it does
 * ("pushing", "unpacking"), how much of it is done; total_bytes 0: not known.
 * done_bytes -1: `what` says all, and is gone after the call. */
typedef void svc_progress_fn(void *arg, const char *what, int64_t done_bytes,
                             int64_t total_bytes);
void svc_on_progress(struct svc *s, svc_progress_fn *fn, void *arg);
/* Asked now and then, with that arg, by verbs that may wait long: true ends the call
 * with ERR_PENDING, and what is half done is gone on with by the next. */
void svc_on_stop(struct svc *s, bool (*stop)(void *arg));
/* Called with each thing that a verb which goes on for long (canary, ramp) has to tell
 * before its reply. */
typedef void svc_tell_fn(void *arg, const cJSON *what);
void svc_on_tell(struct svc *s, svc_tell_fn *fn, void *arg);

/* Checks the request against the verb's fields (ERR_USAGE names the field), asks
 * acc_check, does it, records one event (reads and refusals included; outcome ok,
 * denied, refused, failed or replayed), replies. A call whose idempotency_key is known
 * is not carried out again: its reply is the first one, with "replayed". The caller
 * frees *reply, which may hold a report even when the call failed (gates, verdicts);
 * NULL otherwise. */
int svc_call(struct svc *s, const char *verb, const cJSON *request, cJSON **reply,
             struct err *err) MUST_CHECK;

/* ---- look-ups: resolve, thousands of times a second ---- */

/* What the event of a call of resolve says; number: of the version, 0: not known. */
struct svc_look {
    int64_t number;
    char object[REPO_NAME_BYTES + REPO_ALIAS_BYTES];
    char digest[REPO_DIGEST_BYTES];
};
/* resolve as svc_call does it (rights too), but that its event is the caller's to
 * record. *reply is NULL after an error. */
int svc_look_up(struct svc *s, const char *ref, cJSON **reply, struct svc_look *about,
                struct err *err) MUST_CHECK;

/* So many look-ups of one subject, with one answer: one event. */
struct svc_lookups {
    struct acc_who who;
    struct svc_look about;
    enum err_code code; /* of the failure; ERR_OK */
    const char *error;  /* its message; NULL */
    int64_t n, first_ns, last_ns;
};
struct svc_recorded {
    bool stands;     /* the events are in the catalogue */
    bool is_allowed; /* after an error: reads are given out all the same */
};
/* All of them in one transaction, and published. An error: as for a read that cannot be
 * recorded; one that only keeps the log's files behind a full disk is none. */
int svc_record_lookups(struct svc *s, const struct svc_lookups *list, int n,
                       struct svc_recorded *out, struct err *err) MUST_CHECK;

#endif
