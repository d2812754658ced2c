/* SPDX-License-Identifier: Apache-2.0 */
/* Making a version's files cold: which may, what each is compared with, the delta made
 * and verified. What comes after that is in repo_cold_rows.c; repo/cold.h says in which
 * order and why. */
#include "repo/cold_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define SMALL_BYTES 16384 /* a smaller file is not worth a delta */
#define CANDIDATES_MAX 8  /* versions that a file is compared with */
#define GOOD_PART 0.95    /* shared with a base: no need to look on */

struct making {
    struct repo *r;
    const struct repo_cold_policy *policy;
    struct repo_version v;
    struct repo_manifest m;
    struct repo_version *versions; /* of the model, best base first */
    int n_versions;
    struct repo_manifest bases[CANDIDATES_MAX];
    bool has_base[CANDIDATES_MAX]; /* bases[i] is read */
    bool dry_run;
    bool is_deep; /* a base was passed over: its chain is too long */
    struct repo_cold *out;
};

void
repo_cold_release(struct repo_cold *c)
{
    free(c->items);
    *c = (struct repo_cold){ .items = NULL };
}

static void
making_release(struct making *mk)
{
    for (int i = 0; i < CANDIDATES_MAX; i++)
        repo_manifest_release(&mk->bases[i]);
    repo_manifest_release(&mk->m);
    free(mk->versions);
}

/* ---- what may become cold -------------------------------------------------------- */

int
repo_cold_may(struct repo *r, const struct repo_version *v,
              const struct repo_cold_policy *policy, char why[80], struct err *err)
{
    struct buf keeper AUTO(buf_release) = BUF_INIT;
    int64_t newest = 0;
    int rc = repo_keep_views(r, err);

    if (rc == 0) /* aliases, holds, releases; who reads it reads it cold as well */
        rc = db_get_text(r->db, &keeper, err,
                         "SELECT why FROM keeper WHERE version_id = ? AND why NOT LIKE "
                         "'in use: %' LIMIT 1",
                         "i", v->id);
    if (rc == 1)
        snprintf(why, 80, "%.79s", buf_str(&keeper));
    if (rc == 0 && v->created_ns >= policy->before_ns) {
        snprintf(why, 80, "it was pushed too recently");
        rc = 1;
    }
    if (rc == 0 && policy->keep_newest) {
        rc = db_get_int(r->db, &newest, err,
                        "SELECT number FROM version WHERE model_id = ? AND "
                        "state = 'ready' ORDER BY number DESC LIMIT 1",
                        "i", v->model_id);
        if (rc == 1 && newest != v->number)
            rc = 0;
        if (rc == 1)
            snprintf(why, 80, "it is the newest of its model");
    }
    if (rc == 0 && policy->in_use) {
        rc = policy->in_use(policy->arg, v, err);
        if (rc == 1)
            snprintf(why, 80, "it is deployed, or was a short time ago");
    }
    return rc < 0 ? rc : rc == 0;
}

/* 1: some version, or what is no version, keeps the object whole. */
static int
is_needed_whole(struct making *mk, const struct digest *d, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int64_t *ids AUTO(free_ptr) = NULL;
    int64_t one;
    int n = 0, rc = db_get_int(mk->r->db, &one, err,
                               "SELECT 1 FROM manifest_file f WHERE f.object = ? AND "
                               "NOT EXISTS (SELECT 1 FROM version v WHERE v.digest = "
                               "f.manifest) LIMIT 1",
                               "b", d->b, sizeof(d->b));

    if (rc != 0) /* a golden set's: it is read at each validation */
        return rc;
    rc = db_query(mk->r->db, &st, err,
                  "SELECT v.id FROM version v WHERE v.digest IN (SELECT manifest FROM "
                  "manifest_file WHERE object = ?)",
                  "b", d->b, sizeof(d->b));
    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        ids = xreallocarray(ids, (size_t)n + 1, sizeof(*ids));
        ids[n++] = db_int(st, 0);
    }
    for (int i = 0; rc == 0 && i < n; i++) {
        struct repo_version v;
        char why[80];

        if (ids[i] == mk->v.id)
            continue;
        rc = repo_version_get(mk->r, ids[i], &v, err);
        if (rc == 0)
            rc = repo_cold_may(mk->r, &v, mk->policy, why, err);
        if (rc >= 0)
            rc = rc == 0;
    }
    return rc;
}

/* 1: the whole file may go, as far as the file itself tells; else counted. */
static int
may_go(struct making *mk, const struct repo_file *f, struct err *err)
{
    struct repo_cold *out = mk->out;
    char path[COLD_PATH_BYTES];
    struct stat st;
    int rc;

    cold_path("objects", &f->digest, path);
    if (fstatat(mk->r->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return err_sys(err, errno, "stat %s", path);
        out->n_cold++;
        return 0;
    }
    if (f->size_bytes < SMALL_BYTES)
        return out->n_small++, 0;
    if (st.st_nlink > 1) /* a target's or a reader's links keep the bytes anyway */
        return out->n_linked++, 0;
    if (st.st_mtim.tv_sec >= mk->policy->before_ns / 1000000000)
        return out->n_young++, 0; /* brought back lately */
    rc = is_needed_whole(mk, &f->digest, err);
    if (rc == 1)
        out->n_in_use++;
    return rc < 0 ? rc : rc == 0;
}

/* ---- a base ---------------------------------------------------------------------- */

static int
add_version(void *arg, const struct repo_version *v, struct err *err)
{
    struct making *mk = arg;

    (void)err;
    if (v->id == mk->v.id || digest_eq(&v->digest, &mk->v.digest))
        return 0;
    mk->versions =
        xreallocarray(mk->versions, (size_t)mk->n_versions + 1, sizeof(*mk->versions));
    mk->versions[mk->n_versions++] = *v;
    return 0;
}

static int
compare_places(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return x[0] != y[0] ? (x[0] < y[0] ? -1 : 1) : x[1] < y[1] ? -1 : x[1] > y[1];
}

/* Those that stay whole first, then by distance, the previous one before the next. */
static int
order_versions(struct making *mk, struct err *err)
{
    struct repo_version *sorted;
    int64_t(*places)[2];
    int n = mk->n_versions, rc = 0;

    if (n == 0)
        return 0;
    places = xcalloc((size_t)n, sizeof(*places));
    sorted = xcalloc((size_t)n, sizeof(*sorted));
    for (int i = 0; rc >= 0 && i < n; i++) {
        const int64_t far = mk->v.number - mk->versions[i].number;
        char why[80];

        rc = repo_cold_may(mk->r, &mk->versions[i], mk->policy, why, err);
        places[i][0] =
            (far > 0 ? 2 * far : 1 - 2 * far) + (rc == 1) * ((int64_t)1 << 60);
        places[i][1] = i;
    }
    qsort(places, (size_t)n, sizeof(*places), compare_places);
    for (int i = 0; i < n; i++)
        sorted[i] = mk->versions[places[i][1]];
    free(places);
    free(mk->versions);
    mk->versions = sorted;
    return rc < 0 ? rc : 0;
}

/* The file of a candidate to compare with: of the same path, else its largest. */
static const struct repo_file *
match_file(const struct repo_manifest *base, const struct repo_file *f)
{
    const struct repo_file *largest = NULL;

    for (int i = 0; i < base->n_files; i++) {
        const struct repo_file *other = &base->files[i];

        if (strcmp(other->path, f->path) == 0)
            return other;
        if (!largest || other->size_bytes > largest->size_bytes)
            largest = other;
    }
    return largest;
}

struct base {
    const struct repo_file *file; /* NULL: none */
    struct leaf_list leaves;
    int64_t shared_bytes;
};

static void
base_release(struct base *b)
{
    leaf_list_release(&b->leaves);
}

static int
find_base(struct making *mk, const struct repo_file *f, const struct leaf_list *leaves,
          struct base *best, struct err *err)
{
    for (int i = 0; i < mk->n_versions && i < CANDIDATES_MAX; i++) {
        struct leaf_list other;
        const struct repo_file *file;
        int64_t shared;
        int rc = 0;

        if (!mk->has_base[i])
            rc = repo_manifest_get(mk->r, &mk->versions[i].digest, &mk->bases[i], err);
        if (rc < 0)
            return rc;
        mk->has_base[i] = true;
        file = match_file(&mk->bases[i], f);
        if (file->size_bytes < SMALL_BYTES || digest_eq(&file->digest, &f->digest))
            continue;
        rc = repo_cold_fits(mk->r, &f->digest, &file->digest, err);
        if (rc == 0) {
            mk->is_deep = true;
            continue;
        }
        if (rc == 1)
            rc = repo_leaves_get(mk->r, &mk->bases[i], file, &other, err);
        if (rc < 0)
            return rc;
        shared = leaf_list_shared(leaves, &other);
        if (best->file && shared <= best->shared_bytes) {
            leaf_list_release(&other);
            continue;
        }
        leaf_list_release(&best->leaves);
        *best = (struct base){ .file = file, .leaves = other, .shared_bytes = shared };
        if ((double)shared >= GOOD_PART * (double)f->size_bytes)
            break;
    }
    return 0;
}

/* ---- a delta --------------------------------------------------------------------- */

static void
keep(struct repo_cold *c, const struct repo_cold_item *item)
{
    c->items = xreallocarray(c->items, (size_t)c->n_items + 1, sizeof(*c->items));
    c->items[c->n_items++] = *item;
    c->size_bytes += item->size_bytes;
    c->stored_bytes += item->stored_bytes;
}

/* What lies in cold/ already, verified. ERR_NOTFOUND: nothing. */
static int
adopt(struct making *mk, const struct repo_file *f, struct repo_cold_item *item,
      struct err *err)
{
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    char path[COLD_PATH_BYTES];
    int rc = cold_open_named(&rd, mk->r->dirfd, &f->digest, err);

    if (rc == 0)
        rc = cold_reader_all(&rd, -1, &f->digest, err);
    if (rc < 0)
        return rc;
    *item = (struct repo_cold_item){ .object = f->digest,
                                     .base = rd.levels[0].base,
                                     .has_base = rd.levels[0].has_base,
                                     .size_bytes = f->size_bytes,
                                     .stored_bytes = rd.levels[0].file_bytes };
    rc = repo_cold_row(mk->r, &f->digest, err);
    item->has_row = rc == 1;
    if (rc != 0 || mk->dry_run)
        return rc < 0 ? rc : 0;
    cold_path("cold", &f->digest,
              path); /* its maker may have died before it did this */
    return cold_sync_name(mk->r->dirfd, path, err);
}

/* Writes the delta into fd; *stored_bytes is what it takes. */
static int
write_delta(struct making *mk, const struct repo_file *f,
            const struct leaf_list *leaves, const struct base *base, int fd,
            struct repo_cold_item *item, struct err *err)
{
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    struct cold_reader below AUTO(cold_reader_close) = COLD_READER_INIT;
    struct cold_writer w AUTO(cold_write_release) = { .fd = -1 };
    const struct digest *on = base->file ? &base->file->digest : NULL;
    int rc = cold_reader_open(&rd, mk->r->dirfd, &f->digest, err);

    if (rc == 0 && on)
        rc = cold_reader_open(&below, mk->r->dirfd, on, err);
    if (rc == 0 && on && below.size_bytes != base->file->size_bytes)
        rc = err_set(err, ERR_CORRUPT, "the object of %s has not its size",
                     base->file->path);
    if (rc == 0)
        rc = cold_write_start(&w, fd, err);
    if (rc == 0)
        rc = cold_delta_write(&w, &rd, leaves, on ? &below : NULL, &base->leaves, err);
    if (rc == 0)
        rc = cold_write_end(&w, &f->digest, on, err);
    item->object = f->digest;
    item->has_base = w.uses_base;
    if (w.uses_base)
        item->base = *on;
    item->size_bytes = f->size_bytes;
    item->stored_bytes = w.at;
    return rc;
}

/* Read back from the disk, as far as the kernel lets us ask for that. */
static int
verify(struct making *mk, const struct repo_file *f, int fd, struct err *err)
{
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    int rc = fs_fsync(fd, "a cold object", err);

    if (rc < 0)
        return rc;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    rc = cold_reader_open_delta(&rd, mk->r->dirfd, fd, "the new delta", err);
    return rc < 0 ? rc : cold_reader_all(&rd, -1, &f->digest, err);
}

/* 1: an item, 0: nothing to gain. */
static int
make_delta(struct making *mk, const struct repo_file *f, struct repo_cold_item *item,
           struct err *err)
{
    struct leaf_list leaves AUTO(leaf_list_release) = { .v = NULL };
    struct base base AUTO(base_release) = { .file = NULL };
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    char path[3 + COLD_PATH_BYTES] = "../", *slash;
    int stage AUTO(fs_close) = -1;
    int rc = repo_leaves_get(mk->r, &mk->m, f, &leaves, err);

    if (rc == 0)
        rc = find_base(mk, f, &leaves, &base, err);
    if (rc == 0)
        rc = fs_open_dir(&stage, mk->r->dirfd, "stage", err);
    if (rc == 0)
        rc = fs_tmp_open(&tmp, stage, err);
    if (rc < 0)
        return rc;
    flock(tmp.fd, LOCK_SH | LOCK_NB); /* says "alive" where it has a name */
    rc = write_delta(mk, f, &leaves, &base, tmp.fd, item, err);
    if (rc < 0 || item->stored_bytes > item->size_bytes - item->size_bytes / 20)
        return rc;
    rc = verify(mk, f, tmp.fd, err);
    if (rc < 0 || mk->dry_run)
        return rc < 0 ? rc : 1;
    cold_path("cold", &f->digest, path + 3);
    slash = strrchr(path, '/');
    *slash = '\0';
    rc = fs_mkdirs(stage, path, REPO_MODE, err);
    *slash = '/';
    if (rc == 0)
        rc = fs_tmp_commit(&tmp, path, 0444, err);
    if (rc == 1) /* another process has made one just now */
        rc = adopt(mk, f, item, err);
    if (rc == 0)
        rc = cold_sync_name(mk->r->dirfd, path + 3, err);
    return rc < 0 ? rc : 1;
}

/* A delta that is damaged goes, for the whole file is there. */
static int
drop_delta(struct repo *r, const struct digest *d, struct err *err)
{
    struct objects *whole = objects_cold_whole(r->objects);
    int64_t size_bytes;
    int rc = objects_verify(whole, d, err);

    if (rc == 0)
        rc = db_begin(r->db, err);
    if (rc < 0)
        return rc;
    rc = whole->ops->has(whole, d, &size_bytes, err);
    if (rc == 1)
        rc = db_run(r->db, err, "DELETE FROM cold WHERE object = ?", "b", d->b,
                    sizeof(d->b));
    if (rc == 0)
        rc = cold_unlink(r->dirfd, d, err);
    if (rc == 0)
        return db_commit(r->db, err);
    db_rollback(r->db);
    return rc;
}

static int
make_file(struct making *mk, const struct repo_file *f, struct err *err)
{
    struct repo_cold_item item = { .size_bytes = 0 };
    int rc = may_go(mk, f, err);

    if (rc != 1)
        return rc;
    for (int i = 0; i < mk->out->n_items; i++)
        if (digest_eq(&mk->out->items[i].object, &f->digest))
            return 0; /* the same bytes under two names */
    mk->is_deep = false;
    rc = adopt(mk, f, &item, err);
    if (rc == -ERR_CORRUPT && !mk->dry_run) {
        err_clear(err);
        rc = drop_delta(mk->r, &f->digest, err);
        if (rc < 0)
            return rc;
        rc = -ERR_NOTFOUND;
    } else if (rc == -ERR_NOTFOUND || rc == -ERR_CORRUPT) {
        err_clear(err);
    } else {
        if (rc == 0)
            keep(mk->out, &item);
        return rc;
    }
    rc = make_delta(mk, f, &item, err);
    if (rc == 1)
        keep(mk->out, &item);
    if (rc == 0 && mk->is_deep)
        mk->out->n_deep++;
    else if (rc == 0)
        mk->out->n_no_gain++;
    return rc < 0 ? rc : 0;
}

int
repo_cold_make(struct repo *r, const struct repo_version *v,
               const struct repo_cold_policy *policy, bool dry_run,
               struct repo_cold *out, struct err *err)
{
    struct making mk AUTO(making_release) = {
        .r = r, .policy = policy, .v = *v, .dry_run = dry_run, .out = out
    };
    int rc;

    if (db_in_tx(r->db))
        BUG("%s made cold inside a transaction", v->model);
    *out = (struct repo_cold){ .items = NULL };
    repo_stage_sweep(r);
    rc = repo_manifest_get(r, &v->digest, &mk.m, err);
    if (rc == 0)
        rc = repo_versions(r, v->model, add_version, &mk, err);
    if (rc == 0)
        rc = order_versions(&mk, err);
    for (int i = 0; rc == 0 && i < mk.m.n_files; i++)
        if (make_file(&mk, &mk.m.files[i], err) < 0)
            rc = err_ctx(err, "make %s@%" PRId64 " cold: %s", v->model, v->number,
                         mk.m.files[i].path);
    if (rc < 0)
        repo_cold_release(out); /* deltas that were named are adopted the next time */
    return rc;
}
