/* SPDX-License-Identifier: Apache-2.0 */
/* Models with real tensor bundles, and the steps of the verb `cold`. */
#ifndef TESTS_COLD_FIXTURE_H
#define TESTS_COLD_FIXTURE_H

#include "repo/cold_int.h"
#include "savedmodel/savedmodel.h"
#include "tests/unit/repo/repo_fixture.h"

enum { N_TENSORS = 6, ONE_BEFORE = -2 };

/* dir/ with N_TENSORS tensors of n bytes; tensor `other` depends on `seed`, or there is
 * another one of odd size before them. */
static inline void
put_bundle(struct fixture *f, const char *dir, size_t n, int other, unsigned seed)
{
    struct sm_bundle_writer *w AUTO(sm_bundle_write_close_p) = NULL;
    char *prefix AUTO(free_ptr) = xasprintf("%s/%s/variables/variables", f->dir, dir);
    char *folder AUTO(free_ptr) = xasprintf("%s/%s/variables", f->dir, dir);
    uint8_t *p AUTO(free_ptr) = xmalloc(n + 4);
    struct err err = ERR_INIT;
    char path[300], key[32];

    CHECK_OK(fs_remove_tree(AT_FDCWD, folder, &err));
    CHECK_OK(fs_mkdirs(AT_FDCWD, folder, 0755, &err));
    snprintf(path, sizeof(path), "%s/saved_model.pb", dir);
    put_text(f, path, "graph");
    CHECK_OK(sm_bundle_write_open(&w, AT_FDCWD, prefix, &err));
    for (int i = other == ONE_BEFORE ? -1 : 0; i < N_TENSORS; i++) {
        struct sm_tensor t = { .dtype = SM_UINT8, .rank = 1, .dims = { (int64_t)n } };
        uint64_t x = 88172645463325252u + (uint64_t)i * 7919 +
                     (i == other ? (uint64_t)seed << 32 : 0);

        for (size_t k = 0; k < n; k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            p[k] = (uint8_t)(x >> 32);
        }
        t.n_elems = i < 0 ? 5001 : (int64_t)n;
        t.dims[0] = t.n_elems;
        t.data = p;
        snprintf(key, sizeof(key), i < 0 ? "before" : "layer-%d", i);
        CHECK_OK(sm_bundle_write_tensor(w, str_of(key), &t, &err));
    }
    CHECK_OK(sm_bundle_write_end(w, &err));
}

static inline struct repo_version
push_bundle(struct fixture *f, const char *model, size_t n, int other, unsigned seed)
{
    put_bundle(f, "src", n, other, seed);
    return push(f, "src", model);
}

static const struct repo_cold_policy any = { .before_ns = INT64_MAX };

/* What the service does, without the event. */
static inline int
try_cold(struct fixture *f, const struct repo_version *v, struct repo_cold *c,
         struct err *err)
{
    int r = repo_cold_make(f->r, v, &any, false, c, err);

    if (r == 0)
        r = db_begin(f->r->db, err);
    if (r == 0)
        r = repo_cold_record(f->r, c, err);
    if (r == 0)
        r = db_commit(f->r->db, err);
    if (r == 0)
        r = repo_cold_finish(f->r, c, err);
    db_rollback(f->r->db);
    return r;
}

static inline int
make_cold(struct fixture *f, const struct repo_version *v)
{
    struct repo_cold c AUTO(repo_cold_release) = { .items = NULL };
    struct err err = ERR_INIT;

    CHECK_OK(try_cold(f, v, &c, &err));
    return c.n_items;
}

static inline int
try_warm(struct fixture *f, const struct repo_version *v, struct err *err)
{
    struct repo_warm w;
    int r = repo_warm_make(f->r, &v->digest, &w, err);

    if (r == 0)
        r = db_begin(f->r->db, err);
    if (r == 0)
        r = repo_warm_record(f->r, &v->digest, err);
    if (r == 0)
        r = db_commit(f->r->db, err);
    db_rollback(f->r->db);
    return r;
}

/* The data shard of a version: the only file that is large enough. */
static inline struct repo_file
shard_of(struct fixture *f, const struct repo_version *v)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    struct repo_file found = { .path = NULL };
    struct err err = ERR_INIT;

    CHECK_OK(repo_manifest_get(f->r, &v->digest, &m, &err));
    for (int i = 0; i < m.n_files; i++)
        if (strstr(m.files[i].path, ".data-"))
            found = m.files[i];
    found.path = NULL;
    CHECK(found.size_bytes > 0);
    return found;
}

/* Whether objects/ ("objects") or cold/ has a file for it. */
static inline bool
is_in(struct fixture *f, const char *folder, const struct digest *d)
{
    char path[COLD_PATH_BYTES];
    struct err err = ERR_INIT;
    int r;

    cold_path(folder, d, path);
    r = fs_exists(f->r->dirfd, path, &err);
    CHECK_OK(r);
    return r == 1;
}

/* The object's bytes are to be had, however it is kept; nothing changes by that. */
static inline void
check_readable(struct fixture *f, const struct digest *d)
{
    struct cold_reader rd AUTO(cold_reader_close) = COLD_READER_INIT;
    struct err err = ERR_INIT;

    CHECK_OK(cold_reader_open(&rd, f->r->dirfd, d, &err));
    CHECK_OK(cold_reader_all(&rd, -1, d, &err));
}

static inline int64_t
file_bytes(struct fixture *f, const char *folder, const struct digest *d)
{
    char path[COLD_PATH_BYTES];
    struct stat st;

    cold_path(folder, d, path);
    CHECK(fstatat(f->r->dirfd, path, &st, 0) == 0);
    return st.st_size;
}

#endif
