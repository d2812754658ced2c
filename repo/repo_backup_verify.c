/* SPDX-License-Identifier: Apache-2.0 */
/* A backup, hashed where it lies. */
#include "repo/repo_backup_int.h"

#include "base/tar.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 20)

struct good {
    struct digest d;
    int64_t size_bytes;
};
struct verify {
    const char *path;
    struct good *good;
    size_t n_good, n_alloc;
    bool sorted;
    struct objects *objects; /* of a directory */
    struct repo_backup *out;
    int *n_generations;
    int n_bad;
    const char *generation;
    int (*fn)(void *arg, const char *problem, struct err *err);
    void *arg;
};

static int PRINTF(3, 4) problem(struct verify *v, struct err *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    v->n_bad++;
    return v->fn ? v->fn(v->arg, text, err) : 0;
}

static void
add_good(struct verify *v, const struct digest *d, int64_t size_bytes)
{
    if (v->n_good == v->n_alloc) {
        v->n_alloc = v->n_alloc ? 2 * v->n_alloc : 256;
        v->good = xreallocarray(v->good, v->n_alloc, sizeof(*v->good));
    }
    v->good[v->n_good++] = (struct good){ *d, size_bytes };
    v->out->n_objects++;
    v->sorted = false;
}

static int
by_digest(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct digest)); /* the first member of both */
}

static int
verify_object(void *arg, const struct digest *d, const char *name, int64_t size_bytes,
              struct err *err)
{
    struct verify *v = arg;

    if (!d)
        return problem(v, err, "objects/%s: not an object's name", name);
    if (objects_verify(v->objects, d, err) < 0) {
        const struct err why = *err;
        char hex[DIGEST_HEX_BYTES];

        err_clear(err);
        digest_hex(d, hex);
        return problem(v, err,
                       "%s; way out: remove objects/%.2s/%s there: the next sluice "
                       "backup copies it again if the store still has it",
                       why.msg, hex, hex + 2);
    }
    add_good(v, d, size_bytes);
    return 0;
}

static int
verify_named(void *arg, const struct digest *d, int64_t size_bytes, struct err *err)
{
    struct verify *v = arg;
    char hex[DIGEST_HEX_BYTES];
    const struct good *g;

    if (!v->sorted && v->n_good > 0)
        qsort(v->good, v->n_good, sizeof(*v->good), by_digest);
    v->sorted = true;
    g = v->n_good > 0 ? bsearch(d, v->good, v->n_good, sizeof(*v->good), by_digest)
                      : NULL;
    digest_hex(d, hex);
    if (!g)
        return problem(v, err, "generation %s: object %s is missing or damaged",
                       v->generation, hex);
    return g->size_bytes == size_bytes
               ? 0
               : problem(v, err, "generation %s: object %s has another size",
                         v->generation, hex);
}

static int
verify_catalogue(struct verify *v, int gen_fd, const char *dir, const char *name,
                 struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf("%s/catalogue.db", dir);
    struct db *db AUTO(db_close_p) = NULL;
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = backup_check_seal(gen_fd, name, err);

    v->generation = name;
    (*v->n_generations)++;
    snprintf(v->out->generation, sizeof(v->out->generation), "%s", name);
    if (r < 0) { /* what it says besides is worth nothing */
        const struct err why = *err;

        err_clear(err);
        return problem(v, err, "%s", why.msg);
    }
    r = db_open(&db, path, 0, err);
    if (r == 0)
        r = db_query(db, &st, err, "PRAGMA integrity_check", "");
    while (r >= 0 && (r = db_step(st, err)) == 1)
        if (strcmp(db_text(st, 0), "ok") != 0)
            r = problem(v, err, "generation %s: catalogue.db: %s", name,
                        db_text(st, 0));
    db_done_p(&st);
    db_close_p(&db);
    if (r == 0)
        r = backup_each_object(path, verify_named, v, &v->out->n_versions, err);
    if (r == -ERR_CORRUPT || r == -ERR_NOTFOUND || r == -ERR_DB) {
        const struct err why = *err;

        err_clear(err);
        r = problem(v, err, "generation %s: %s", name, why.msg);
    }
    return r;
}

static int
verify_generation(void *arg, const char *name, struct err *err)
{
    struct verify *v = arg;
    char *dir AUTO(free_ptr) = xasprintf("%s/generations/%s", v->path, name);
    int gen_fd AUTO(fs_close) = -1, r;

    for (size_t i = 0; i < BACKUP_N_PARTS; i++) {
        char *path AUTO(free_ptr) = xasprintf("%s/%s", dir, backup_parts[i].name);

        r = fs_exists(AT_FDCWD, path, err);
        if (r == 0 && !backup_parts[i].optional)
            r = problem(v, err, "generation %s: %s is missing", name,
                        backup_parts[i].name);
        if (r < 0)
            return r;
    }
    r = fs_open_dir(&gen_fd, AT_FDCWD, dir, err);
    return r < 0 ? r : verify_catalogue(v, gen_fd, dir, name, err);
}

static int
verify_dir(struct verify *v, struct err *err)
{
    int dirfd AUTO(fs_close) = -1;
    int r = backup_open(v->path, &dirfd, err);

    if (r == 0)
        r = objects_open_local(&v->objects, dirfd, err);
    if (r == 0)
        r = v->objects->ops->list(v->objects, verify_object, v, err);
    if (r == 0)
        r = backup_each_generation(dirfd, v->path, verify_generation, v, err);
    objects_close(v->objects);
    return r;
}

static int
hash_entry(struct backup_unpack *u, const struct digest *d, int64_t size_bytes,
           struct err *err)
{
    char *block AUTO(free_ptr) = xmalloc(COPY_BYTES);
    struct verify *v = u->arg;
    char hex[DIGEST_HEX_BYTES];
    struct sha256 sha;
    struct digest got;
    int64_t n;

    sha256_init(&sha);
    while ((n = tar_read(&u->tar, block, COPY_BYTES, err)) > 0)
        sha256_add(&sha, block, (size_t)n);
    sha256_end(&sha, &got);
    if (n < 0)
        return (int)n;
    digest_hex(d, hex);
    if (!digest_eq(&got, d))
        return problem(v, err, "object %s: its bytes hash to something else", hex);
    add_good(v, d, size_bytes);
    return 0;
}

static int
verify_tar(struct verify *v, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *dir AUTO(free_ptr) = xasprintf("%s/sluice-verify-XXXXXX", tmp ? tmp : "/tmp");
    struct backup_unpack u = { .gen_fd = -1, .object = hash_entry, .arg = v };
    struct err ignored = ERR_INIT;
    int r;

    if (!mkdtemp(dir))
        return err_sys(err, errno, "make %s", dir);
    r = fs_open_dir(&u.gen_fd, AT_FDCWD, dir, err);
    if (r == 0)
        r = backup_unpack(&u, v->path, err);
    if (r == 0)
        r = verify_catalogue(v, u.gen_fd, dir, u.generation, err);
    fs_close(&u.gen_fd);
    if (fs_remove_tree(AT_FDCWD, dir, &ignored) < 0)
        err_clear(&ignored); /* it is in the system's place for such things */
    return r;
}

int
repo_backup_verify(const char *path, const struct db_schema *schemas, int n_schemas,
                   struct repo_backup *out, int *n_generations,
                   int (*fn)(void *arg, const char *problem, struct err *err),
                   void *arg, struct err *err)
{
    struct verify v = {
        .path = path, .out = out, .n_generations = n_generations, .fn = fn, .arg = arg
    };
    int r;

    (void)schemas; /* a backup may be of an older program: it is not migrated */
    (void)n_schemas;
    memset(out, 0, sizeof(*out));
    *n_generations = 0;
    r = backup_is_tar(path) ? verify_tar(&v, err) : verify_dir(&v, err);
    free(v.good);
    if (r == 0 && v.n_bad > 0)
        r = err_set(err, ERR_FAILED, "%d problem%s", v.n_bad, v.n_bad == 1 ? "" : "s");
    return r < 0 ? err_ctx(err, "verify %s", path) : 0;
}
