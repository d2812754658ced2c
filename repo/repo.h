/* SPDX-License-Identifier: Apache-2.0 */
/* The content-addressed store and its catalogue: objects, versions, aliases.
 *
 * Ordering law: data durable < name durable < row durable < acknowledged < deployed. */
#ifndef REPO_REPO_H
#define REPO_REPO_H

#include "access/access.h"
#include "base/crypto.h"
#include "base/db.h"
#include "base/fs.h"

#define REPO_NAME_BYTES 256  /* a model's name with its NUL */
#define REPO_ALIAS_BYTES 129 /* an alias's name with its NUL */
#define REPO_DIGEST_BYTES 72 /* "sha256:" + 64 hex + NUL */

extern const struct db_schema repo_schema; /* repo_schema.c says what each table is */

/* Read-only to everybody but repo/. */
struct objects;
struct repo {
    char *path;
    char *db_path;
    int dirfd;
    struct db *db;
    struct acc *acc;
    struct objects *objects;   /* repo/objects.h */
    uid_t owner_uid;           /* of the directory */
    bool is_read_only;         /* its file system is mounted so */
    struct db_schema *schemas; /* of all modules, copied */
    int n_schemas;
    int64_t lease_id;      /* repo/gc.h; 0: none */
    int64_t lease_mono_ns; /* when it was taken or renewed */
    int lease_fd;          /* its lock; -1: none */
    bool has_keep_views;   /* the temporary views of repo_gc.c are made */
};

/* What a store's file system means for it. */
enum repo_fs_kind {
    REPO_FS_LOCAL,
    REPO_FS_PASSING, /* gone with its container or machine */
    REPO_FS_MAYBE,   /* FUSE: of one machine or of several, nobody can tell */
    REPO_FS_NETWORK  /* refused */
};
/* By statfs's f_type; *name: static. */
enum repo_fs_kind repo_fs_kind(uint32_t magic, const char **name);

/* Makes the directory (0700, and its missing parents) and everything in it, or nothing.
 * `schemas` are those of all modules (service/ knows them), acc_schema before
 * repo_schema. ERR_CONFLICT: there is a store already, or the directory is not empty.
 * What an init that was killed left behind is cleared away first. */
int repo_init(const char *path, const struct db_schema *schemas, int n_schemas,
              struct err *err) MUST_CHECK;
/* ERR_NOTFOUND: no store there: names the path and "sluice init". ERR_DENIED: its
 * directory belongs to somebody else (root may open it, and needs grants), or others
 * can write there or read its key. ERR_UNSUPPORTED: its format is newer than this
 * program, or it lies on a network file system. */
int repo_open(struct repo **out, const char *path, const struct db_schema *schemas,
              int n_schemas, struct err *err) MUST_CHECK;
void repo_close(struct repo *r);
/* In place of it, when the process ends next: lets go what others wait for, and leaves
 * memory and descriptors to the kernel. NULL allowed. */
void repo_leave(struct repo *r);
void repo_close_p(struct repo **r);
/* --store, else $SLUICE_STORE, else ./.sluice when it exists, else
 * ~/.local/share/sluice. */
int repo_default_path(const char *given, struct buf *out, struct err *err) MUST_CHECK;

/* ---- names ---- */

/* Rules of docs/formats.md; ERR_INVALID says which one is broken. */
int repo_check_model_name(const char *name, struct err *err) MUST_CHECK;
int repo_check_alias_name(const char *name, struct err *err) MUST_CHECK;
/* UTF-8 without control characters (`lines`: LF and tab may be), at most max_bytes.
 * ERR_INVALID, ERR_LIMIT; `what` names the text. */
int repo_check_text(const char *text, size_t max_bytes, bool lines, const char *what,
                    struct err *err) MUST_CHECK;
/* The form of a model's name as a directory: bytes outside [A-Za-z0-9._-] as %XX. */
void repo_name_encode(const char *name, struct buf *out);

/* A parsed reference: "fraud", "fraud@3", "fraud@production", "sha256:…",
 * "models:/fraud/3", "models:/fraud@production". Syntax only. */
struct repo_ref {
    char model[REPO_NAME_BYTES];  /* "" with a digest */
    int64_t number;               /* 0: none */
    char alias[REPO_ALIAS_BYTES]; /* "": none */
    char digest_hex[65];          /* 8..64 hex digits, "": none */
};
int repo_ref_parse(const char *text, struct repo_ref *out, struct err *err) MUST_CHECK;

/* ---- versions ---- */

struct repo_version {
    int64_t id, model_id; /* catalogue rows */
    char model[REPO_NAME_BYTES];
    int64_t number;
    struct digest digest; /* SHA-256 of the manifest */
    char state[16];       /* quarantined ready rejected deleted */
    int64_t created_ns;
    int64_t size_bytes; /* sum of the files */
    int64_t n_files;
    char pushed_by[64];
};
/* "sha256:…" */
void repo_digest_text(const struct digest *d, char out[REPO_DIGEST_BYTES]);
bool repo_digest_parse(const char *text, struct digest *out); /* false: it is none */
/* ERR_NOTFOUND names what is missing (model, number, alias) and what there is. A digest
 * prefix that fits two versions is ERR_CONFLICT. A bare model = its newest ready
 * version. */
int repo_resolve(struct repo *r, const char *ref, struct repo_version *out,
                 struct err *err) MUST_CHECK;
/* The JSON object that repo_version_add was given. */
int repo_version_provenance(struct repo *r, int64_t version_id, struct buf *out,
                            struct err *err) MUST_CHECK;
int repo_version_get(struct repo *r, int64_t version_id, struct repo_version *out,
                     struct err *err) MUST_CHECK;
/* Newest first when model is given, else by model name then number. Those whose bytes
 * gc has taken (repo/gc.h) are not among them. */
int repo_versions(struct repo *r, const char *model_or_null,
                  int (*fn)(void *arg, const struct repo_version *v, struct err *err),
                  void *arg, struct err *err) MUST_CHECK;
/* 1 known, 0 not, -code; *id when known. */
int repo_model_id(struct repo *r, const char *model, int64_t *id,
                  struct err *err) MUST_CHECK;

/* A canonical manifest: text and digest (docs/formats.md). */
struct repo_file {
    char *path; /* relative, raw bytes */
    struct digest digest;
    int64_t size_bytes;
};
struct repo_manifest {
    struct repo_file *files; /* sorted bytewise by path */
    int n_files;
    int64_t size_bytes;
    struct digest digest;
};
void repo_manifest_release(struct repo_manifest *m); /* for AUTO */
/* Appends the canonical text; the files must be in order. */
void repo_manifest_format(const struct repo_manifest *m, struct buf *out);
/* ERR_CORRUPT names the line and the rule; `what` names the text. Fills everything,
 * m->digest too. On failure *out is empty. */
int repo_manifest_parse(struct repo_manifest *out, struct str text, const char *what,
                        struct err *err) MUST_CHECK;
int repo_manifest_get(struct repo *r, const struct digest *d, struct repo_manifest *out,
                      struct err *err) MUST_CHECK;

/* The manifest that a directory would get; stores nothing. ERR_INVALID: a link, device
 * … in it. */
int repo_manifest_of_dir(const char *dir, struct repo_manifest *out,
                         struct err *err) MUST_CHECK;

/* What tells a file from what it was: of stat. */
struct repo_seen {
    int64_t dev, ino, size_bytes, mtime_ns, ctime_ns;
};
struct repo_learned {
    struct repo_seen seen;
    struct digest digest;
};
struct repo_ingest {
    struct repo_manifest manifest;
    bool *is_new;       /* of each of its files: its object was not there yet */
    int n_new_files;    /* of one object two files are new once */
    int64_t new_bytes;  /* what was not there yet */
    int64_t read_bytes; /* the other files are known not to have changed */
    struct repo_learned *learned; /* for repo_ingest_remember */
    int n_learned;
};
void repo_ingest_release(struct repo_ingest *in); /* for AUTO */

struct repo_ingest_opts {
    /* The version also has this one's files whose paths the directory has not: objects
     * that the store has already, which are not read again. NULL: none. */
    const struct repo_manifest *over;
    bool is_model; /* as repo_check_saved_model, and each tensor has its checksum */
    bool is_ours;  /* a directory of stage/: its files become the objects themselves */
    bool reread;   /* also what did not change since it was read the last time */
    bool dry_run;  /* read and say, store nothing */
    const char *name; /* of the directory, for messages; NULL: its path */
    /* Bytes read so far, of those that are to be read; NULL: nobody asks. */
    void (*progress)(void *arg, int64_t done_bytes, int64_t total_bytes);
    void *arg;
};
/* Hashes and stores every file below `dir` and the manifest, durably; no row yet.
 * Outside a transaction. One pass over each file, and none over those that did not
 * change since a push remembered them. ERR_CONFLICT when something changes meanwhile;
 * symlinks, devices, FIFOs, setuid files, names that are not UTF-8 or hold control
 * characters and an empty directory are ERR_INVALID; with is_model as
 * repo_check_saved_model. On failure what was stored is removed again. Also used for
 * golden sets. The caller releases *out. */
int repo_ingest(struct repo *r, const char *dir, const struct repo_ingest_opts *opts,
                struct repo_ingest *out, struct err *err) MUST_CHECK;
/* For a caller who is not the owner: as new counts what he may not read, as if the
 * store had none of it; with dry_run is_new says so, too. Before there is a row. */
int repo_ingest_tell(struct repo *r, struct repo_ingest *in, bool dry_run,
                     struct err *err) MUST_CHECK;
/* Without options. */
int repo_ingest_dir(struct repo *r, const char *dir, struct repo_ingest *out,
                    struct err *err) MUST_CHECK;
/* In the transaction that records what was ingested: the next push need not read these
 * files again. */
int repo_ingest_remember(struct repo *r, const struct repo_ingest *in,
                         struct err *err) MUST_CHECK;
/* In the caller's transaction, after repo_ingest_dir: the rows of the manifest, its
 * objects and files. repo_version_add does it; golden sets call it themselves, in the
 * transaction of the row that names the manifest. ERR_BUSY: an object has gone
 * meanwhile (another process gave up on it): ingest again. */
int repo_manifest_record(struct repo *r, const struct repo_manifest *m,
                         struct err *err) MUST_CHECK;
/* Removes those of the manifest's objects that no row names: for a caller that ingested
 * and then cannot record. Outside a transaction; best effort, leftovers do no harm. */
void repo_ingest_drop(struct repo *r, const struct repo_manifest *m);
/* Hashes every file of a manifest: before a target serves it. ERR_CORRUPT, ERR_NOTFOUND
 * name the file. */
int repo_manifest_verify(struct repo *r, const struct digest *manifest,
                         struct err *err) MUST_CHECK;
/* What a pushed directory must be: a SavedModel whose pb parses and whose index and
 * shards are whole. Reads what it needs, stores nothing; errors name file, place and
 * way out. */
int repo_check_saved_model(const char *dir, struct err *err) MUST_CHECK;
/* What is asked of a path in a model: UTF-8 without control characters. ERR_INVALID. */
int repo_check_file_path(const char *path, struct err *err) MUST_CHECK;

/* In the caller's transaction (after repo_ingest_dir): writes versions/<model>/<n>,
 * then the rows. The number is above those of the catalogue and of versions/: one that
 * a crash took is not given again. *is_new false: this model has these bytes already as
 * *out. */
int repo_version_add(struct repo *r, const char *model, const struct repo_manifest *m,
                     const char *provenance_json, struct repo_version *out,
                     bool *is_new, struct err *err) MUST_CHECK;

/* How a push may ask for more than the next number. */
struct repo_wish {
    int64_t number;  /* this one; above all that were given. 0: the next */
    bool quarantine; /* no traffic before repo_version_set_state says "ready" */
    bool again;      /* rejected bytes become a version of their own once more */
    bool mirrors;    /* `number` is another store's: free is enough (repo/incoming.h) */
};
#define REPO_NUMBER_MAX INT64_C(999999999999999)
/* As repo_version_add, which wishes nothing. ERR_CONFLICT: the number is not above all
 * that were given, or the bytes have another. ERR_REFUSED: a version with these bytes
 * was rejected, and maybe deleted after that; names it and why. */
int repo_version_add_as(struct repo *r, const char *model,
                        const struct repo_manifest *m, const char *provenance_json,
                        const struct repo_wish *wish, struct repo_version *out,
                        bool *is_new, struct err *err) MUST_CHECK;

/* What repo_version_add_as would answer: its errors, the number, whether it is new. */
int repo_version_foresee(struct repo *r, const char *model, const struct digest *d,
                         const struct repo_wish *wish, int64_t *number, bool *is_new,
                         struct err *err) MUST_CHECK;

/* In the caller's transaction; v->state follows. Any state to any: which changes make
 * sense is the caller's to know. */
int repo_version_set_state(struct repo *r, struct repo_version *v, const char *state,
                           const char *reason, struct err *err) MUST_CHECK;
/* Why it has its state, appended; nothing when nobody said. */
int repo_version_why(struct repo *r, int64_t version_id, struct buf *out,
                     struct err *err) MUST_CHECK;

/* ---- what is said of a version (repo_tag.c, repo_attach.c) ----
 * Setters stand in the caller's transaction. All text is UTF-8 without control
 * characters (a note may have lines and tabs). */

#define REPO_TAG_KEY_MAX 128    /* bytes: [A-Za-z0-9] and then also _ . / : - */
#define REPO_TAG_VALUE_MAX 1024 /* bytes */
#define REPO_TAGS_MAX 100       /* of one version */
#define REPO_NOTE_MAX 16384     /* bytes */
/* "key" or "key=value", split and checked. */
int repo_tag_parse(const char *text, char key[REPO_TAG_KEY_MAX + 1], const char **value,
                   struct err *err) MUST_CHECK;
int repo_tag_set(struct repo *r, int64_t version_id, const char *key, const char *value,
                 struct err *err) MUST_CHECK;
/* 1: removed, 0: there was none. */
int repo_tag_remove(struct repo *r, int64_t version_id, const char *key,
                    struct err *err) MUST_CHECK;
int repo_note_add(struct repo *r, int64_t version_id, const char *text,
                  struct err *err) MUST_CHECK;
/* The same bytes were pushed again, by somebody who said where from. */
int repo_push_add(struct repo *r, int64_t version_id, const char *provenance_json,
                  struct err *err) MUST_CHECK;

/* One tag (key, text), note (text), push (text: JSON) or attachment. */
struct repo_said {
    const char *key;  /* of a tag; type of an attachment */
    const char *text; /* value, note, provenance; name of an attachment */
    const char *actor;
    int64_t time_ns;
    struct digest digest; /* of an attachment */
    int64_t size_bytes;   /* of an attachment */
};
typedef int repo_said_fn(void *arg, const struct repo_said *s, struct err *err);
int repo_tags(struct repo *r, int64_t version_id, repo_said_fn *fn, void *arg,
              struct err *err) MUST_CHECK; /* by key */
int repo_notes(struct repo *r, int64_t version_id, repo_said_fn *fn, void *arg,
               struct err *err) MUST_CHECK; /* oldest first */
int repo_pushes(struct repo *r, int64_t version_id, repo_said_fn *fn, void *arg,
                struct err *err) MUST_CHECK; /* oldest first */
int repo_attachments(struct repo *r, int64_t version_id, const char *type_or_null,
                     repo_said_fn *fn, void *arg,
                     struct err *err) MUST_CHECK; /* by type and name */

#define REPO_ATTACHMENT_TYPE_MAX 64  /* bytes */
#define REPO_ATTACHMENT_NAME_MAX 255 /* bytes */
/* Takes a regular file in as an object, durably; no row yet, outside a transaction.
 * ERR_LIMIT: larger than max_bytes. ERR_CONFLICT: it changed meanwhile. */
struct repo_blob {
    struct digest digest;
    int64_t size_bytes;
    bool is_new;
};
int repo_blob_put(struct repo *r, const char *path, int64_t max_bytes,
                  struct repo_blob *out, struct err *err) MUST_CHECK;
/* For a caller that cannot record it after all. Outside a transaction; best effort. */
void repo_blob_drop(struct repo *r, const struct repo_blob *b);
/* `type`: [a-z0-9] and then also _ . -, at most 64 bytes. 1: attached; 0: these bytes
 * were attached so already. ERR_CONFLICT: other bytes bear the type and name, and not
 * `replace`. */
int repo_attach(struct repo *r, int64_t version_id, const char *type, const char *name,
                const struct repo_blob *b, bool replace, struct err *err) MUST_CHECK;
/* 1: removed, 0: there was none. */
int repo_detach(struct repo *r, int64_t version_id, const char *type, const char *name,
                struct err *err) MUST_CHECK;
int repo_check_attachment_type(const char *type, struct err *err) MUST_CHECK;
/* It becomes a file's name somewhere: ERR_INVALID with a / or a . at its beginning. */
int repo_check_attachment_name(const char *name, struct err *err) MUST_CHECK;
/* A verified copy of an object as a new file. ERR_CONFLICT: there is one. */
int repo_blob_copy(struct repo *r, const struct digest *d, int dirfd, const char *path,
                   struct err *err) MUST_CHECK;

/* ---- settings (repo/settings.def) ---- */

struct repo_setting {
    const char *key, *standard, *values, *help;
};
int repo_n_settings(void);
const struct repo_setting *repo_setting_at(int i);
/* ERR_NOTFOUND lists the settings there are. */
int repo_setting_find(const char *key, const struct repo_setting **out,
                      struct err *err) MUST_CHECK;
/* 1: the owner's choice, 0: the default; appended. */
int repo_setting_get(struct repo *r, const char *key, struct buf *out,
                     struct err *err) MUST_CHECK;
int repo_setting_int(struct repo *r, const char *key, int64_t *out,
                     struct err *err) MUST_CHECK;
/* 1: it has this value, 0: another. */
int repo_setting_is(struct repo *r, const char *key, const char *value,
                    struct err *err) MUST_CHECK;
/* In the caller's transaction; NULL: the default again. ERR_INVALID: not one of its
 * values. */
int repo_setting_set(struct repo *r, const char *key, const char *value_or_null,
                     struct err *err) MUST_CHECK;

/* Makes `dest` (must not exist: ERR_CONFLICT) below dest_dirfd with the version's files
 * and the directories TensorFlow always writes; every file and directory synced, named
 * last (one rename inside the same parent, from ".sluice-<random>", which a crash may
 * leave). Copies are hashed; for links repo_manifest_verify is the caller's choice. */
enum repo_checkout_how {
    REPO_LINK,      /* hard links to objects; a verified copy across mounts */
    REPO_COPY,      /* a verified copy; with shared blocks where the file system can */
    REPO_COPY_QUICK /* a copy as cp makes it: neither hashed nor synced; sizes must fit
                     */
};
int repo_checkout(struct repo *r, const struct digest *manifest, int dest_dirfd,
                  const char *dest, enum repo_checkout_how how,
                  struct err *err) MUST_CHECK;
/* A short-lived tree of links below stage/ for a reader (the runner), or of copies
 * below $TMPDIR when the store is read-only; removed by repo_view_close. */
struct repo_view {
    struct repo *r;
    char *path;  /* "STORE/stage/view-<random>", "/tmp/sluice-view-<random>" */
    int lock_fd; /* held while the reader lives */
};
#define REPO_VIEW_INIT                                                                 \
    {                                                                                  \
        .lock_fd = -1                                                                  \
    }
int repo_view_open(struct repo *r, const struct digest *manifest, struct repo_view *out,
                   struct err *err) MUST_CHECK;
/* Nobody writes in its directories any more (its files are read-only anyhow): for a
 * reader that is not ours. */
int repo_view_seal(struct repo_view *v, struct err *err) MUST_CHECK;
void repo_view_close(struct repo_view *v); /* for AUTO; REPO_VIEW_INIT allowed */
/* An empty one, for files that are made here to be ingested. */
int repo_stage_open(struct repo *r, struct repo_view *out, struct err *err) MUST_CHECK;

/* One with the files of an archive (.tar .tar.gz .tar.zst .zip); *root, which the
 * caller frees, is the model's directory in it: the archive's single top directory when
 * the model is in there. Errors as unpack_read; ERR_INVALID: a link, device …, a name
 * that is absolute, has "..", comes twice or is not UTF-8. ERR_LIMIT: it unpacks to far
 * more than its size. ERR_CONFLICT: it changed meanwhile. */
int repo_unpack(struct repo *r, const char *archive,
                void (*progress)(void *arg, int64_t done_bytes), void *arg,
                struct repo_view *out, char **root, struct err *err) MUST_CHECK;

/* ---- aliases ---- */

/* What an alias means now. deploy/ is the only caller of the setter: alias and targets
 * move as one. In the caller's transaction. */
int repo_alias_set(struct repo *r, int64_t model_id, const char *alias,
                   int64_t version_id, int64_t release_id, struct err *err) MUST_CHECK;
/* 1 found, 0 not, -code. */
int repo_alias_get(struct repo *r, int64_t model_id, const char *alias,
                   int64_t *version_id, int64_t *release_id,
                   struct err *err) MUST_CHECK;
int repo_aliases(struct repo *r, int64_t version_id,
                 int (*fn)(void *arg, const char *alias, struct err *err), void *arg,
                 struct err *err) MUST_CHECK;

/* ---- check ---- */

struct repo_check {
    int64_t n_versions, n_objects, n_bytes;
    int64_t n_bad;
    int64_t n_repaired;
    /* no findings: files in objects/ without a row (a push under way, or killed), names
     * in stage/, trash/ and quarantine/ */
    int64_t n_orphans, n_stage, n_trash, n_quarantine;
};
/* Re-hashes every object, re-reads every manifest and version file, runs SQLite's own
 * checks. ERR_FAILED when something is wrong; each problem goes to fn. Objects and
 * version files without a row are no problem: a push that was killed leaves them.
 * repo/keep.h has more of it: repair, threads. */
int repo_check(struct repo *r, struct repo_check *out,
               int (*fn)(void *arg, const char *problem, struct err *err), void *arg,
               struct err *err) MUST_CHECK;

/* ---- figures (repo_figures.c) ---- */

struct repo_figures {
    int64_t n_models;
    struct {
        char state[16];
        int64_t n;
    } versions[8]; /* by state */
    int n_states;
    int64_t n_objects, object_bytes, cold_bytes, trash_bytes;
    int64_t free_bytes;     /* of the file system */
    int64_t min_free_bytes; /* what pushes leave free */
    int64_t reserve_bytes;  /* what is left of the reserve */
};
/* Counts rows: some milliseconds with 10,000 versions. */
int repo_figures(struct repo *r, struct repo_figures *out, struct err *err) MUST_CHECK;

#endif
