/* SPDX-License-Identifier: Apache-2.0 */
/* gc --explain: every reason why an object stays, or none. */
#include "repo/repo_gc_int.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS INT64_C(1000000000)
#define HEX_MIN 8

struct explain {
    struct repo *r;
    struct digest d;
    repo_line_fn *fn;
    void *arg;
    int n_reasons;
};

static int PRINTF(3, 4) say(struct explain *x, struct err *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return x->fn(x->arg, text, err);
}

static int
reason(struct explain *x, const char *text, struct err *err)
{
    x->n_reasons++;
    return x->fn(x->arg, text, err);
}

/* ---- which object
 * --------------------------------------------------------------------
 */

static int
find(struct repo *r, const char *hex, struct digest *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    char low[DIGEST_HEX_BYTES], high[DIGEST_HEX_BYTES];
    struct digest least, greatest;
    size_t n;
    int found = 0, rc;

    if (strncmp(hex, "sha256:", 7) == 0)
        hex += 7;
    n = strlen(hex);
    if (n < HEX_MIN || n > 64)
        return err_set(err, ERR_INVALID, "'%s' is no digest: %d to 64 hex digits", hex,
                       HEX_MIN);
    memset(low, '0', 64);
    memset(high, 'f', 64);
    low[64] = high[64] = '\0';
    memcpy(low, hex, n);
    memcpy(high, hex, n);
    if (!digest_parse(str_of(low), &least) || !digest_parse(str_of(high), &greatest))
        return err_set(err, ERR_INVALID, "'%s' is no digest: %d to 64 hex digits", hex,
                       HEX_MIN);
    rc = db_query(r->db, &st, err,
                  "SELECT digest FROM object WHERE digest >= ? AND digest <= ? UNION "
                  "SELECT digest FROM trash WHERE digest >= ? AND digest <= ? UNION "
                  "SELECT digest FROM doomed WHERE digest >= ? AND digest <= ?",
                  "bbbbbb", least.b, sizeof(least.b), greatest.b, sizeof(greatest.b),
                  least.b, sizeof(least.b), greatest.b, sizeof(greatest.b), least.b,
                  sizeof(least.b), greatest.b, sizeof(greatest.b));
    while (rc >= 0 && (rc = db_step(st, err)) == 1)
        found += repo_column_digest(st, 0, out);
    if (rc < 0 || found == 1)
        return rc;
    if (found > 1)
        return err_set(err, ERR_CONFLICT, "%s fits %d objects: give more digits", hex,
                       found);
    *out = least; /* a whole one may be a file without a row */
    return 0;
}

/* ---- reasons
 * -------------------------------------------------------------------------
 */

static int
say_keeper(void *arg, const char *why, const char *way_out, struct err *err)
{
    char text[1024];

    snprintf(text, sizeof(text), "  %s (%s)", why, way_out);
    return ((struct explain *)arg)->fn(((struct explain *)arg)->arg, text, err);
}

static int
explain_version(struct explain *x, const struct repo_version *v, const char *path,
                struct err *err)
{
    struct repo_deletion gone = { .left_s = 0 };
    char text[1024], when[64] = "";
    int rc = repo_deletion(x->r, v->id, &gone, err);

    if (rc < 0 || gone.purged_ns != 0)
        return rc < 0 ? rc : 0;
    if (rc == 1)
        snprintf(when, sizeof(when), ", for %" PRId64 " s more", gone.left_s);
    snprintf(text, sizeof(text), "%s@%" PRId64 " (%s%s) has it as %s", v->model,
             v->number, v->state, when, path ? path : "its manifest");
    rc = reason(x, text, err);
    return rc < 0 ? rc : repo_keepers(x->r, v->id, say_keeper, x, err);
}

static int
explain_versions(struct explain *x, const struct digest *manifest, const char *path,
                 struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct repo_version *all AUTO(free_ptr) = NULL;
    int n = 0;
    int rc = db_query(x->r->db, &st, err,
                      REPO_VERSION_SELECT "WHERE v.digest = ? ORDER BY m.name, "
                                          "v.number",
                      "b", manifest->b, sizeof(manifest->b));

    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        all = xreallocarray(all, (size_t)n + 1, sizeof(*all));
        repo_version_row(st, &all[n++]);
    }
    for (int i = 0; rc >= 0 && i < n; i++)
        rc = explain_version(x, &all[i], path, err);
    return rc < 0 ? rc : 0;
}

/* Lists that modules keep, but for versions. */
static int
explain_refs(struct explain *x, const struct digest *root, struct err *err)
{
    for (int i = 0; i < x->r->n_schemas; i++) {
        const struct db_schema *s = &x->r->schemas[i];

        for (const char *const *p = s->object_refs; p && *p; p++) {
            const char *dot = strchr(*p, '.');
            char *from AUTO(free_ptr) =
                strchr(*p, ' ')
                    ? xstrdup(*p)
                    : xasprintf("SELECT %s FROM %.*s", dot + 1, (int)(dot - *p), *p);
            char *sql AUTO(free_ptr) = xasprintf(
                "SELECT 1 FROM (SELECT NULL AS digest WHERE 1 = 0 UNION ALL %s) "
                "WHERE digest = ? LIMIT 1",
                from);
            const char *table;
            char text[256];
            int64_t one;
            int rc;

            if (strcmp(*p, "SELECT digest FROM kept_version") == 0)
                continue;
            rc = db_get_int(x->r->db, &one, err, sql, "b", root->b, sizeof(root->b));
            table = strstr(from, " FROM ") + 6;
            if (strncmp(table, "tree ", 5) == 0)
                snprintf(text, sizeof(text),
                         "it was sent, or made, through a service: for a day at most");
            else
                snprintf(text, sizeof(text), "a row of %.*s names it",
                         (int)strcspn(table, " "), table);
            if (rc == 1)
                rc = reason(x, text, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static int
explain_roots(struct explain *x, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = explain_versions(x, &x->d, NULL, err);

    if (rc == 0)
        rc = explain_refs(x, &x->d, err);
    if (rc == 0)
        rc = db_query(x->r->db, &st, err,
                      "SELECT manifest, path FROM manifest_file WHERE object = ?", "b",
                      x->d.b, sizeof(x->d.b));
    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        struct digest manifest;

        if (!repo_column_digest(st, 0, &manifest))
            continue;
        rc = explain_versions(x, &manifest, db_text(st, 1), err);
        if (rc == 0)
            rc = explain_refs(x, &manifest, err);
    }
    return rc;
}

/* ---- where it is
 * ---------------------------------------------------------------------
 */

/* 1: found somewhere. */
static int
explain_place(struct explain *x, int64_t age_ns, struct err *err)
{
    char hex[DIGEST_HEX_BYTES];
    int64_t size_bytes = 0, row_bytes, until_ns, since_ns;
    int has_file, has_row, in_trash, is_doomed, rc = 0;

    digest_hex(&x->d, hex);
    has_file = x->r->objects->ops->has(x->r->objects, &x->d, &size_bytes, err);
    if (has_file < 0)
        return has_file;
    has_row = db_get_int(x->r->db, &row_bytes, err,
                         "SELECT size_bytes FROM object WHERE digest = ?", "b", x->d.b,
                         sizeof(x->d.b));
    in_trash = db_get_int(x->r->db, &until_ns, err,
                          "SELECT until_age_ns FROM trash WHERE digest = ?", "b",
                          x->d.b, sizeof(x->d.b));
    is_doomed = db_get_int(x->r->db, &since_ns, err,
                           "SELECT since_age_ns FROM doomed WHERE digest = ?", "b",
                           x->d.b, sizeof(x->d.b));
    if (err->code != ERR_OK)
        return -(int)err->code;
    if (has_row)
        rc = say(x, err, "object %s of %" PRId64 " bytes%s", hex, row_bytes,
                 has_file ? "" : "; its file is missing: sluice fsck");
    else if (has_file)
        rc = say(x, err, "a file of %" PRId64 " bytes that no row knows: %s",
                 size_bytes, hex);
    if (rc == 0 && in_trash)
        rc = say(x, err, "%s lies in the trash for %" PRId64 " s more", hex,
                 until_ns > age_ns ? (until_ns - age_ns) / NS : 0);
    if (rc == 0 && is_doomed)
        rc = say(x, err, "gc has seen it without use %" PRId64 " s ago",
                 (age_ns - since_ns) / NS);
    return rc < 0 ? rc : has_row || has_file || in_trash;
}

static int
explain_push(struct explain *x, struct repo_gc *g, int64_t age_ns, struct err *err)
{
    int64_t before_ns;
    int rc = gc_limits(g, age_ns, &before_ns, err);

    return rc == 0 && before_ns != INT64_MAX
               ? say(x, err, "a push is under way: it may be using it")
               : rc;
}

int
repo_gc_explain(struct repo_gc *g, const char *hex, struct digest *out, bool *out_stays,
                repo_line_fn *fn, void *arg, struct err *err)
{
    struct explain x = { .r = g->r, .fn = fn, .arg = arg };
    int64_t age_ns;
    int rc = find(g->r, hex, &x.d, err);

    if (rc == 0)
        rc = repo_age(g->r, &age_ns, err);
    if (rc == 0)
        rc = explain_place(&x, age_ns, err);
    if (rc == 0)
        return err_set(err, ERR_NOTFOUND, "there is no object %s", hex);
    if (rc == 1)
        rc = explain_roots(&x, err);
    if (rc == 0 && x.n_reasons == 0)
        rc = explain_push(&x, g, age_ns, err);
    *out = x.d;
    *out_stays = x.n_reasons > 0;
    return rc < 0 ? rc
                  : fn(arg, x.n_reasons > 0 ? "stays" : "goes: nothing names it", err);
}
