/* SPDX-License-Identifier: Apache-2.0 */
/* Keeping a store whole: check, repair, scrub, rebuild, backup, restore, and bundles
 * for stores that no network joins. */
#ifndef REPO_KEEP_H
#define REPO_KEEP_H

#include "base/json.h"
#include "repo/repo.h"

/* ---- check and repair ---- */

/* One thing that is wrong. All text is lent for the call. */
struct repo_finding {
    const char *kind; /* damaged missing row version_file name catalogue */
    const char *text; /* "object 12ab…: its bytes hash to 34cd…" */
    const char *way_out;
    bool repaired;
    const struct digest *object; /* of damaged and missing; else NULL */
};
typedef int repo_finding_fn(void *arg, const struct repo_finding *f, struct err *err);

struct repo_fsck {
    int n_threads;      /* that hash; 0: one for each processor */
    int64_t rate_bytes; /* read at most, a second; 0: as fast as it goes */
    bool repair; /* damaged objects go to quarantine/, and what can be is mended */
    const char *const
        *from; /* where to look for whole copies: store, backup or any tree */
    int n_from;
    /* of all modules, to hold the tables of facts against what the log says; NULL: not
     */
    const struct db_schema *schemas;
    int n_schemas;
    int64_t
        scrub_ns; /* > 0: only objects, oldest verified first, for at most so long */
};
/* Hashes every object, reads every manifest and version file again and runs SQLite's
 * own checks. Each thing that is wrong goes to fn, repaired or not; with `repair` it is
 * told after the attempt. ERR_FAILED: something is (still) wrong. Objects and version
 * files without a row are no finding: a push that was killed leaves them. */
int repo_fsck(struct repo *r, const struct repo_fsck *how, struct repo_check *out,
              repo_finding_fn *fn, void *arg, struct err *err) MUST_CHECK;
/* The versions that an object is part of, by model and number; `path` is its file's, ""
 * for the manifest. Deleted versions too. */
int repo_object_uses(struct repo *r, const struct digest *d,
                     int (*fn)(void *arg, const struct repo_version *v,
                               const char *path, struct err *err),
                     void *arg, struct err *err) MUST_CHECK;

/* ---- rebuild ---- */

struct repo_rebuild {
    int64_t n_events, n_rows, n_versions, n_objects;
    int64_t n_lost;  /* told to `lost` */
    char *set_aside; /* where the old catalogue is now; NULL: there was none. To be
                        freed */
};
/* A new catalogue from audit/log.jsonl, versions/ and the manifests, checked, then put
 * in the place of the old one, which is kept below quarantine/. Needs no catalogue;
 * nobody has `path` open in this process. Every fact that cannot be brought back goes
 * to `lost`. ERR_BUSY: a writer is at work. A crash leaves the old catalogue, or none
 * and this to be run again. */
int repo_rebuild(const char *path, const struct db_schema *schemas, int n_schemas,
                 struct repo_rebuild *out,
                 int (*lost)(void *arg, const char *what, struct err *err), void *arg,
                 struct err *err) MUST_CHECK;

/* ---- backup ---- */

struct repo_backup {
    char generation[64]; /* "20260501T100000.123Z" */
    int64_t n_objects, n_new_objects, new_bytes, n_versions;
    bool has_key;
};
/* A generation more in the directory `dest` (made when absent), or one in a tar file
 * ("….tar", or "-" for stdout). The catalogue is copied first and the objects that it
 * names after it, so pushes may go on. Only objects that `dest` lacks are copied, each
 * hashed on the way. The private key goes along only `with_key`. */
int repo_backup(struct repo *r, const char *dest, bool with_key,
                struct repo_backup *out, struct err *err) MUST_CHECK;
/* Hashes every object of a backup directory or tar, and holds the catalogue of each
 * generation against them. Findings go to fn; ERR_FAILED. */
int repo_backup_verify(const char *path, const struct db_schema *schemas, int n_schemas,
                       struct repo_backup *out, int *n_generations,
                       int (*fn)(void *arg, const char *problem, struct err *err),
                       void *arg, struct err *err) MUST_CHECK;
/* Makes a store of a generation (NULL: the newest) at `to`, which must not exist: all
 * of it is checked before it gets that name. Without a private key in the backup
 * `key_or_null` names its file, or a new one is made (*new_key). */
int repo_restore(const char *from, const char *generation_or_null, const char *to,
                 const char *key_or_null, const struct db_schema *schemas,
                 int n_schemas, struct repo_backup *out, bool *new_key,
                 struct err *err) MUST_CHECK;

/* ---- bundles ---- */

/* A version with what was said of it, for an OCI image layout (docs/formats.md). */
struct repo_bundle_version {
    struct repo_version v;
    /* the config: model, number, provenance, verdicts, tags, notes, attachments …;
     * owned
     */
    cJSON *about;
    struct digest *sets; /* manifests of golden sets that go along */
    char (*set_names)[REPO_ALIAS_BYTES];
    int n_sets;
    struct buf events; /* lines of JSON */
};
void repo_bundle_version_release(struct repo_bundle_version *b);
/* Writes a new directory, or a tar when `dest` ends in .tar or is "-". The same
 * versions give the same bytes. ERR_CONFLICT: it exists. */
int repo_bundle_write(struct repo *r, const struct repo_bundle_version *list, int n,
                      const char *dest, struct err *err) MUST_CHECK;

struct repo_bundle_attachment {
    char type[REPO_ATTACHMENT_TYPE_MAX + 1], name[REPO_ATTACHMENT_NAME_MAX + 1];
    struct repo_blob blob;
};

/* One version of a bundle, read and checked: form, sizes, that every blob is there. */
struct repo_bundle_entry {
    char model[REPO_NAME_BYTES];
    int64_t number;
    struct repo_manifest manifest;
    struct repo_manifest *sets; /* golden sets */
    char (*set_names)[REPO_ALIAS_BYTES];
    int n_sets;
    struct repo_bundle_attachment *attachments;
    int n_attachments;
    cJSON *about;
};
struct repo_bundle {
    struct repo *r;
    struct repo_view stage; /* where a tar was unpacked */
    int dirfd;
    struct digest digest; /* of index.json */
    struct repo_bundle_entry *entries;
    int n_entries;
};
/* ERR_INVALID: not a bundle of ours; ERR_CORRUPT: bytes that are not what their digest
 * or size says; ERR_NOTFOUND: a blob that is missing. Nothing is stored yet. */
int repo_bundle_open(struct repo *r, const char *path, struct repo_bundle *out,
                     struct err *err) MUST_CHECK;
void repo_bundle_close(struct repo_bundle *b); /* for AUTO */
/* Takes the files of a manifest out of the bundle's blobs into objects/, hashed on the
 * way, as repo_ingest_dir does from a directory. */
int repo_bundle_take(struct repo_bundle *b, const struct repo_manifest *m,
                     struct repo_ingest *out, struct err *err) MUST_CHECK;
/* The same of one attachment, as repo_blob_put does from a file. */
int repo_bundle_take_blob(struct repo_bundle *b, struct repo_blob *blob,
                          struct err *err) MUST_CHECK;

#endif
