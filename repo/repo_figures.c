/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/gc.h"
#include "repo/repo_int.h"

#include <stdio.h>
#include <sys/stat.h>

static int
count_versions(struct repo *r, struct repo_figures *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const int cap = sizeof(out->versions) / sizeof(out->versions[0]);
    int rc = db_query(r->db, &st, err,
                      "SELECT state, count(*) FROM version GROUP BY state", "");

    while (rc >= 0 && (rc = db_step(st, err)) == 1 && out->n_states < cap) {
        snprintf(out->versions[out->n_states].state, sizeof(out->versions[0].state),
                 "%s", db_text(st, 0));
        out->versions[out->n_states++].n = db_int(st, 1);
    }
    return rc < 0 ? rc : 0;
}

int
repo_figures(struct repo *r, struct repo_figures *out, struct err *err)
{
    const struct {
        const char *sql;
        int64_t *to;
    } counts[] = {
        { "SELECT count(*) FROM model", &out->n_models },
        { "SELECT count(*) FROM object", &out->n_objects },
        { "SELECT sum(size_bytes) FROM object", &out->object_bytes },
        { "SELECT sum(stored_bytes) FROM cold", &out->cold_bytes },
        { "SELECT sum(size_bytes) FROM trash", &out->trash_bytes },
    };
    struct stat st;
    int rc;

    *out = (struct repo_figures){ .free_bytes = repo_free_bytes(r) };
    if (fstatat(r->dirfd, REPO_RESERVE, &st, AT_SYMLINK_NOFOLLOW) == 0)
        out->reserve_bytes = st.st_size;
    rc = repo_min_free(r, &out->min_free_bytes, err);
    for (size_t i = 0; rc >= 0 && i < sizeof(counts) / sizeof(counts[0]); i++)
        rc = db_get_int(r->db, counts[i].to, err, counts[i].sql, "");
    return rc < 0 ? rc : count_versions(r, out, err);
}
