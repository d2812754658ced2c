/* SPDX-License-Identifier: Apache-2.0 */
/* A version's bytes come: its list of files first, then those files that this store
 * lacks, many in one answer. A wrong byte is discarded with its file, told, and asked
 * for again. */
#include "deploy/agent_int.h"

#include "repo/gc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 3
#define BATCH_FILES 256
#define BATCH_BYTES 32768 /* of paths */
#define MANIFEST_MAX ((size_t)256 << 20)

struct coming {
    struct agent_fetch *f;
    struct repo_incoming in;
    char *name; /* "fraud@4" */
    int *missing;
    int n_missing;
    int at, end; /* of missing: the file that comes, and the end of this answer */
    bool is_open;
    int n_bad; /* files that were discarded */
    int64_t done_bytes;
};

static void
coming_end(struct coming *c)
{
    repo_incoming_close(&c->in);
    repo_lease_end(c->f->r);
    free(c->missing);
    free(c->name);
}

static int
take_text(void *arg, const char *p, size_t n, struct err *err)
{
    buf_add(arg, p, n);
    return buf_check(arg, "the list of files", err);
}

/* A file is whole. */
static int
end_file(struct coming *c, struct err *err)
{
    int e = repo_incoming_file(&c->in, c->missing[c->at], err);

    if (e == -ERR_CORRUPT) {
        c->n_bad++;
        cJSON_AddItemToArray(c->f->notes, cJSON_CreateString(err->msg));
        err_clear(err);
        e = 0;
    }
    c->at++;
    c->is_open = false;
    return e < 0 ? e : 0;
}

static int
take_bytes(void *arg, const char *p, size_t n, struct err *err)
{
    struct coming *c = arg;
    int e = c->f->tick(c->f->arg, c->done_bytes, c->in.manifest.size_bytes, err);

    while (e == 0 && n > 0) {
        const struct repo_file *f;
        size_t k;

        if (c->at == c->end)
            return err_set(err, ERR_CORRUPT, "%s: more bytes came than its files have",
                           c->name);
        f = &c->in.manifest.files[c->missing[c->at]];
        if (!c->is_open)
            e = repo_incoming_file(&c->in, c->missing[c->at], err);
        if (e == 0 && !c->is_open) { /* two files of the same bytes */
            c->in.at_bytes = f->size_bytes;
            return err_set(err, ERR_BUSY, "%s: %s is here already", c->name, f->path);
        }
        if (e < 0)
            return e;
        c->is_open = true;
        k = (uint64_t)(f->size_bytes - c->in.at_bytes) < n
                ? (size_t)(f->size_bytes - c->in.at_bytes)
                : n;
        e = repo_incoming_write(&c->in, c->missing[c->at], p, k, err);
        p += k;
        n -= k;
        c->done_bytes += (int64_t)k;
        if (e == 0 && c->in.at_bytes == f->size_bytes)
            e = end_file(c, err);
    }
    return e;
}

/* Which files are to come; of the same bytes only one. */
static int
look(struct coming *c, struct err *err)
{
    const struct repo_manifest *m = &c->in.manifest;

    c->n_missing = 0;
    c->done_bytes = 0;
    free(c->missing);
    c->missing = xcalloc((size_t)m->n_files + 1, sizeof(*c->missing));
    for (int i = 0; i < m->n_files; i++) {
        int e = repo_incoming_file(&c->in, i, err);
        bool twice = false;

        if (e == -ERR_CORRUPT) { /* what came before was not whole */
            cJSON_AddItemToArray(c->f->notes, cJSON_CreateString(err->msg));
            err_clear(err);
            e = 1;
            c->in.at_bytes = 0;
        }
        if (e < 0)
            return e;
        for (int k = 0; e == 1 && k < c->n_missing && !twice; k++)
            twice = digest_eq(&m->files[c->missing[k]].digest, &m->files[i].digest);
        c->done_bytes += e == 1 && !twice ? c->in.at_bytes : m->files[i].size_bytes;
        if (e == 1 && !twice)
            c->missing[c->n_missing++] = i;
    }
    return 0;
}

/* One answer: files from missing[at] on, the first of them from where it stopped. */
static int
ask_batch(struct coming *c, int64_t number, const char *model, struct err *err)
{
    const struct repo_manifest *m = &c->in.manifest;
    const char *paths[BATCH_FILES];
    const int begin = c->at;
    size_t n_bytes = 0;
    int64_t offset_bytes = 0;
    int n = 0, e = 0;

    for (; begin + n < c->n_missing && n < BATCH_FILES && n_bytes < BATCH_BYTES; n++) {
        const int i = c->missing[begin + n];

        e = repo_incoming_file(&c->in, i, err);
        if (e < 0)
            return e;
        if (n == 0)
            offset_bytes = c->in.at_bytes;
        else if (c->in.at_bytes > 0)
            break; /* it begins an answer of its own */
        paths[n] = m->files[i].path;
        n_bytes += strlen(paths[n]) + 4;
    }
    c->end = begin + n;
    c->is_open = false;
    e = c->f->source->ops->cat(c->f->source, model, number, paths, n, offset_bytes,
                               take_bytes, c, err);
    if (e == 0 && c->at != c->end) {
        c->f->source->away = true; /* as when the line is cut */
        return err_set(err, ERR_BUSY, "%s: %d of %d files came", c->name, c->at - begin,
                       n);
    }
    return e;
}

/* 0: all are here; 1: some were wrong. */
static int
ask_files(struct coming *c, const char *model, int64_t number, struct err *err)
{
    int e = look(c, err);

    c->n_bad = 0;
    c->at = 0;
    while (e == 0 && c->at < c->n_missing)
        e = ask_batch(c, number, model, err);
    return e < 0 ? e : c->n_bad > 0;
}

static int
ask_manifest(struct coming *c, const char *model, int64_t number,
             const struct digest *digest, struct err *err)
{
    for (int i = 0;; i++) {
        struct buf text AUTO(buf_release) = { .cap_bytes = MANIFEST_MAX };
        int e = c->f->source->ops->cat(c->f->source, model, number, NULL, 0, 0,
                                       take_text, &text, err);

        if (e < 0)
            return e;
        e = repo_incoming_manifest(&c->in, (struct str){ buf_str(&text), text.len },
                                   digest, err);
        if (e != -ERR_CORRUPT || i + 1 == TRIES)
            return e;
        cJSON_AddItemToArray(c->f->notes, cJSON_CreateString(err->msg));
        err_clear(err);
    }
}

static int
record(struct coming *c, const char *model, int64_t number, struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    struct buf text AUTO(buf_release) = BUF_INIT;
    char digest[REPO_DIGEST_BYTES];
    struct repo_version v;
    bool is_new;
    int e = repo_incoming_sync(&c->in, err);

    json_put_str(body, "followed_from", c->f->source->o->from);
    json_print(body, &text, true);
    if (e == 0)
        e = db_begin(c->f->r->db, err);
    if (e < 0)
        return e;
    tx = c->f->r->db;
    e = repo_incoming_add(&c->in, model, number, buf_str(&text), &v, &is_new, err);
    if (e == 0)
        e = repo_quota_check(c->f->r, model, err);
    if (e < 0)
        return e;
    json_put_int(body, "new_bytes", c->in.new_bytes);
    repo_digest_text(&v.digest, digest);
    repo_lease_end(c->f->r);
    e = event_add(c->f->r, "fetch", c->name, digest, "ok", body, err);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(c->f->r->db, err);
}

/* 1: it is here, 0: it is to come. */
static int
is_here(struct repo *r, const char *model, int64_t number, const struct digest *digest,
        struct err *err)
{
    struct repo_version v;
    int e = repo_version_numbered(r, model, number, &v, err);

    if (e <= 0 || strcmp(v.state, "deleted") == 0)
        return e < 0 ? e : 0;
    if (!digest_eq(&v.digest, digest))
        return err_set(err, ERR_CONFLICT,
                       "%s@%" PRId64 " has other bytes here, and a number is never "
                       "given twice: follow into a store of its own",
                       model, number);
    if (strcmp(v.state, "ready") != 0)
        return err_set(err, ERR_REFUSED, "%s@%" PRId64 " is %s in this host's store",
                       model, number, v.state);
    return 1;
}

int
agent_fetch(struct agent_fetch *f, const char *model, int64_t number,
            const struct digest *digest, struct err *err)
{
    struct coming c AUTO(coming_end) = { .f = f, .in = REPO_INCOMING_INIT };
    int e = is_here(f->r, model, number, digest, err);

    f->source->away = false;
    if (e != 0)
        return e < 0 ? e : 0;
    c.name = xasprintf("%s@%" PRId64, model, number);
    e = repo_incoming_open(&c.in, f->r, err);
    if (e == 0)
        e = ask_manifest(&c, model, number, digest, err);
    if (e == 0)
        e = repo_room_for_files(f->r, model, &c.in.manifest, err);
    for (int i = 0; e == 0; i++) {
        e = ask_files(&c, model, number, err);
        if (e <= 0)
            break;
        e = i + 1 < TRIES ? 0
                          : err_set(err, ERR_CORRUPT,
                                    "%d of its files came wrong %d times: sluice fsck "
                                    "over there, and look at what lies between",
                                    c.n_bad, TRIES);
    }
    if (e == 0)
        e = record(&c, model, number, err);
    return e < 0 ? err_ctx(err, "fetch %s", c.name) : 0;
}

/* ---- what goes ----------------------------------------------------------------------
 */

struct list {
    struct repo *r;
    struct repo_version *v;
    int n;
};

static void
list_release(struct list *l)
{
    free(l->v);
}

/* What somebody pushed here himself is his. */
static int
add_followed(void *arg, const struct repo_version *v, struct err *err)
{
    struct list *l = arg;
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *doc AUTO(json_free) = NULL;

    if (strcmp(v->state, "deleted") == 0)
        return 0;
    if (repo_version_provenance(l->r, v->id, &text, err) < 0 ||
        json_parse(&doc, (struct str){ buf_str(&text), text.len }, "provenance", err) <
            0)
        return -(int)err->code;
    if (!json_has(doc, "followed_from"))
        return 0;
    l->v = xreallocarray(l->v, (size_t)l->n + 1, sizeof(*l->v));
    l->v[l->n++] = *v;
    return 0;
}

static int
count_keeper(void *arg, const char *why, const char *way_out, struct err *err)
{
    (void)why, (void)way_out, (void)err;
    ++*(int *)arg;
    return 0;
}

/* 1: deleted, 0: something needs it. */
static int
prune_one(struct repo *r, const struct repo_version *v, struct err *err)
{
    static const char why[] = "no release here needs it";
    struct db *tx AUTO(tx_end_p) = NULL;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    char *name AUTO(free_ptr) = xasprintf("%s@%" PRId64, v->model, v->number);
    char digest[REPO_DIGEST_BYTES];
    int n_keepers = 0, e = repo_keepers(r, v->id, count_keeper, &n_keepers, err);

    if (e == 0 && n_keepers == 0)
        e = db_begin(r->db, err);
    if (e < 0 || n_keepers > 0)
        return e;
    tx = r->db;
    repo_digest_text(&v->digest, digest);
    json_put_str(body, "why", why);
    e = repo_delete(r, v, 0, why, err);
    if (e == 0)
        e = event_add(r, "delete", name, digest, "ok", body, err);
    if (e == -ERR_REFUSED || e == -ERR_CONFLICT) { /* since it was looked at */
        err_clear(err);
        return 0;
    }
    if (e < 0)
        return e;
    tx = NULL;
    e = db_commit(r->db, err);
    return e < 0 ? e : 1;
}

/* The versions that a rollback would go to, on whatever alias. */
static int
last_good(struct repo *r, const char *model, struct bad_set *out, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    struct deploy_release live, back;
    int e = history_open_status(&h, r, model, err);

    while (e == 0 && (e = history_next(&h, &live, err)) == 1) {
        struct bad_set bad AUTO(bad_release) = { .ids = NULL };

        e = bad_load(r, model, live.alias, &bad, err);
        if (e == 0)
            e = rollback_find(r, &live, &bad, &back, err);
        for (int i = 0; e == 1 && i < back.n_members; i++)
            bad_add(out, back.members[i].version_id);
        e = e < 0 ? e : 0;
    }
    return e;
}

int
agent_prune(struct repo *r, const char *model, int *n, struct err *err)
{
    struct list l AUTO(list_release) = { .r = r };
    struct bad_set stay AUTO(bad_release) = { .ids = NULL };
    int e = repo_versions(r, model, add_followed, &l, err);

    if (e == 0)
        e = last_good(r, model, &stay, err);

    for (int i = 0; e == 0 && i < l.n; i++) {
        if (bad_has(&stay, l.v[i].id))
            continue;
        e = prune_one(r, &l.v[i], err);
        *n += e == 1;
        e = e < 0 ? e : 0;
    }
    return e < 0 ? err_ctx(err, "delete what is not needed any more") : 0;
}
