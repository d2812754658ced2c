/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REPO_REPO_INT_H
#define REPO_REPO_INT_H

#include "repo/objects.h"
#include "repo/repo.h"

#define REPO_MODE 0700                        /* directories of a store */
#define REPO_FILES_MAX 1000000                /* of one manifest */
#define REPO_MANIFEST_MAX ((size_t)256 << 20) /* bytes of its text */
#define REPO_PATH_MAX 4095                    /* bytes of a path in a manifest */
#define REPO_ENCODED_NAME_MAX 200 /* bytes of a model's name as a directory */

/* ---- repo_manifest.c ------------------------------------------------------------- */

/* Bytes outside [!-~] and '%' as %XX, upper case. */
void repo_path_encode(const char *path, struct buf *out);
/* Appends the canonical text; the files must be in order. */
void repo_manifest_format(const struct repo_manifest *m, struct buf *out);
/* ERR_CORRUPT names the line and the rule; `what` names the text. Fills everything,
 * m->digest too. On failure *out is empty. */
int repo_manifest_parse(struct repo_manifest *out, struct str text, const char *what,
                        struct err *err) MUST_CHECK;

/* ---- repo_version.c -------------------------------------------------------------- */

/* versions/<model>/<n> */
void repo_version_path(const char *model, int64_t number, struct buf *out);
void repo_version_text(const char *model, int64_t number, const struct digest *d,
                       int64_t time_ns, struct buf *out);
/* Columns for repo_version_row, with "FROM version v JOIN model m ON m.id =
 * v.model_id". */
#define REPO_VERSION_SELECT                                                            \
    "SELECT v.id, v.model_id, m.name, v.number, v.digest, v.state, v.created_ns, "     \
    "v.size_bytes, v.n_files, v.pushed_by FROM version v "                             \
    "JOIN model m ON m.id = v.model_id "
void repo_version_row(struct db_stmt *st, struct repo_version *out);

/* ---- repo_stage.c ---------------------------------------------------------------- */

/* Removes what dead processes left in stage/; nothing to do costs one empty listing. */
void repo_stage_sweep(struct repo *r);

#endif
