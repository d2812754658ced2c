/* SPDX-License-Identifier: Apache-2.0 */
/* A store with the tables of access/ and repo/, and small source directories. */
#ifndef TESTS_REPO_FIXTURE_H
#define TESTS_REPO_FIXTURE_H

#include "repo/gc.h"
#include "repo/objects.h"
#include "repo/repo.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    char dir[400], path[500];
    struct repo *r;
};

static inline int
fixture_try_open(struct fixture *f, struct err *err)
{
    const struct db_schema schemas[] = { acc_schema, repo_schema };

    return repo_open(&f->r, f->path, schemas, 2, err);
}

static inline int
fixture_try_init(struct fixture *f, struct err *err)
{
    const struct db_schema schemas[] = { acc_schema, repo_schema };

    return repo_init(f->path, schemas, 2, err);
}

static inline void
fixture_open(struct fixture *f)
{
    struct err err = ERR_INIT;

    CHECK_OK(fixture_try_open(f, &err));
}

static inline void
fixture_close(struct fixture *f)
{
    repo_close_p(&f->r);
}

static inline void
fixture_paths(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "%s", unit_dir());
    snprintf(f->path, sizeof(f->path), "%s/store", f->dir);
}

static inline void
fixture_new(struct fixture *f)
{
    struct err err = ERR_INIT;

    fixture_paths(f);
    CHECK_OK(fixture_try_init(f, &err));
    fixture_open(f);
}

/* Empties the directory for the next turn of a loop. */
static inline void
fixture_clear(struct fixture *f)
{
    struct err err = ERR_INIT;

    fixture_close(f);
    CHECK_OK(fs_remove_tree(AT_FDCWD, f->dir, &err));
    CHECK_OK(fs_mkdirs(AT_FDCWD, f->dir, 0700, &err));
}

/* dir/path below the fixture's directory, with missing parents. */
static inline void
put_file(struct fixture *f, const char *path, const void *p, size_t n)
{
    struct err err = ERR_INIT;
    char full[1024], *slash;
    int fd;

    snprintf(full, sizeof(full), "%s/%s", f->dir, path);
    slash = strrchr(full, '/');
    *slash = '\0';
    CHECK_OK(fs_mkdirs(AT_FDCWD, full, 0755, &err));
    *slash = '/';
    CHECK_OK(fs_open(&fd, AT_FDCWD, full, O_WRONLY | O_CREAT | O_TRUNC, 0644, &err));
    CHECK_OK(fs_write_all(fd, p, n, full, &err));
    close(fd);
}

static inline void
put_text(struct fixture *f, const char *path, const char *text)
{
    put_file(f, path, text, strlen(text));
}

static inline char *
below(struct fixture *f, const char *path, char out[1024])
{
    snprintf(out, 1024, "%s/%s", f->dir, path);
    return out;
}

/* Three files; `seed` makes them differ. */
static inline void
put_model(struct fixture *f, const char *dir, const char *seed)
{
    char path[256], text[300];

    snprintf(path, sizeof(path), "%s/saved_model.pb", dir);
    snprintf(text, sizeof(text), "graph %s", seed);
    put_text(f, path, text);
    snprintf(path, sizeof(path), "%s/variables/variables.index", dir);
    put_text(f, path, "index");
    snprintf(path, sizeof(path), "%s/variables/variables.data-00000-of-00001", dir);
    snprintf(text, sizeof(text), "weights %s", seed);
    put_text(f, path, text);
}

/* What the service's push does: ingest, then row and event in one transaction. */
static inline int
try_push(struct fixture *f, const char *dir, const char *model,
         struct repo_version *out, bool *is_new, struct err *err)
{
    struct repo_ingest in;
    struct acc_event e = {
        .verb = "push", .object = model, .digest = "", .outcome = "ok", .body = "{}"
    };
    char path[1024];
    int r = repo_ingest_dir(f->r, below(f, dir, path), &in, err);

    if (r < 0)
        return r;
    r = db_begin(f->r->db, err);
    if (r == 0)
        repo_lease_end(f->r);
    if (r == 0)
        r = repo_version_add(f->r, model, &in.manifest, "{}", out, is_new, err);
    if (r == 0)
        r = acc_record(f->r->acc, &e, err);
    if (r == 0)
        r = db_commit(f->r->db, err);
    db_rollback(f->r->db);
    repo_ingest_release(&in);
    return r;
}

static inline struct repo_version
push(struct fixture *f, const char *dir, const char *model)
{
    struct repo_version v;
    struct err err = ERR_INIT;
    bool is_new;

    CHECK_OK(try_push(f, dir, model, &v, &is_new, &err));
    return v;
}

static inline int
show_problem(void *arg, const char *problem, struct err *err)
{
    (void)err;
    if (arg)
        buf_addf(arg, "%s\n", problem);
    else
        printf("# %s\n", problem);
    return 0;
}

static inline struct repo_check
check_clean(struct fixture *f)
{
    struct repo_check c;
    struct err err = ERR_INIT;

    CHECK_OK(repo_check(f->r, &c, show_problem, NULL, &err));
    return c;
}

/* The path of an object's file. */
static inline char *
object_file(struct fixture *f, const struct digest *d, char out[1024])
{
    char hex[DIGEST_HEX_BYTES];

    digest_hex(d, hex);
    snprintf(out, 1024, "%s/objects/%.2s/%s", f->path, hex, hex + 2);
    return out;
}

/* Regular files below a directory. */
static inline int
count_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)err;
    *(int *)arg += S_ISREG(e->st.st_mode);
    return 0;
}

static inline int
count_files(const char *path)
{
    struct err err = ERR_INIT;
    int n = 0;

    CHECK_OK(fs_walk(AT_FDCWD, path, count_entry, &n, &err));
    return n;
}

static inline void
overwrite(const char *path, off_t at, const void *p, size_t n)
{
    int fd;

    CHECK(chmod(path, 0600) == 0);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && pwrite(fd, p, n, at) == (ssize_t)n);
    close(fd);
}

#endif
