/* SPDX-License-Identifier: Apache-2.0 */
/* What a layout's links say in the tree, and turning one: one rename each. */
#include "deploy/deploy_int.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX_BYTES (1 << 20)

const char *const flip_kind_names[LAYOUT_N_KINDS] = {
    [LAYOUT_LINK] = "link",
    [LAYOUT_DIR] = "directory",
    [LAYOUT_FILE] = "file",
};

int
flip_kind_find(const char *name, enum layout_kind *out)
{
    for (int i = 0; i < LAYOUT_N_KINDS; i++)
        if (strcmp(name, flip_kind_names[i]) == 0) {
            *out = (enum layout_kind)i;
            return 0;
        }
    return -1;
}

/* ---- reading ---- */

static int
not_ours(const struct site *s, const char *path, const char *what, struct err *err)
{
    err_clear(err);
    return err_set(err, ERR_CONFLICT,
                   "target %s: %s/%s is not a %s that sluice made: move it away",
                   s->t.name, s->t.dir, path, what);
}

static int
read_link(struct site *s, const char *path, char **out, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    int e = fs_readlink(s->dirfd, path, &text, err);

    if (e == 0)
        *out = buf_take(&text);
    else if (err->sys == EINVAL)
        return not_ours(s, path, "link", err);
    return e;
}

static int
read_dir(struct site *s, const char *path, char **out, struct err *err)
{
    const char *name = strrchr(path, '/') + 1;
    struct stat st;

    if (fstatat(s->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (!S_ISDIR(st.st_mode))
            return not_ours(s, path, "directory", err);
        *out = xstrdup(name);
        return 0;
    }
    if (errno != ENOENT)
        return err_sys(err, errno, "stat %s", path);
    *out = xasprintf(".%s", name);
    return 0;
}

/* By its text, so that one that somebody wrote is none of ours. */
static int
read_file(struct site *s, const char *path, char **out, struct err *err)
{
    struct layout_files one AUTO(layout_files_release) = { .n = 1 };
    const char *name = strrchr(path, '/') + 1;
    char id[CONFIG_ID_BYTES];
    struct stat st;
    int e;

    one.file[0] =
        (struct layout_file){ .name = name, .text = { .cap_bytes = FILE_MAX_BYTES } };
    if (fstatat(s->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
        return not_ours(s, path, "file", err);
    e = fs_read(s->dirfd, path, &one.file[0].text, err);
    if (e < 0)
        return e;
    files_id(&one, id);
    *out = xasprintf(LAYOUT_OWN "%.*s%s/%s", (int)(name - path), path, id, name);
    return 0;
}

int
flip_read(struct site *s, enum layout_kind kind, const char *path, char **out,
          struct err *err)
{
    static int (*const fn[LAYOUT_N_KINDS])(struct site * s, const char *path,
                                           char **out, struct err *err) = {
        [LAYOUT_LINK] = read_link,
        [LAYOUT_DIR] = read_dir,
        [LAYOUT_FILE] = read_file,
    };
    int e;

    *out = NULL;
    e = fn[kind](s, path, out, err);
    if (e < 0 && err->sys == ENOENT) {
        err_clear(err);
        return 0;
    }
    return e < 0 && err->code != ERR_CONFLICT
               ? err_ctx(err, "target %s (%s)", s->t.name, s->t.dir)
               : e;
}

/* ---- turning ---- */

static int
turn_dir(struct site *s, const char *path, const char *text, struct err *err)
{
    const int n = (int)(strrchr(path, '/') + 1 - path);
    char *parked AUTO(free_ptr) = xasprintf("%.*s.%s", n, path, path + n);
    const bool park = text[0] == '.';
    const char *from = park ? path : parked, *to = park ? parked : path;
    int e = fs_exists(s->dirfd, from, err);

    if (e == 1)
        e = fs_rename_new(s->dirfd, from, s->dirfd, to, err);
    else if (e == 0 && !park && (e = fs_exists(s->dirfd, to, err)) == 0)
        e = err_set(err, ERR_CONFLICT, "%s is gone: sluice target check --repair",
                    parked);
    return e < 0 ? e : 0;
}

/* The rendered one gets a second name, which is renamed into place. Made outside of the
 * directory, which a server may be reading, and by who holds the lock. */
static int
turn_file(struct site *s, const char *path, const char *text, struct err *err)
{
    int e = fs_unlink(s->dirfd, SITE_FLIP, err);

    if (e == 0)
        e = fs_link(s->dirfd, text, s->dirfd, SITE_FLIP, err);
    if (e == 0)
        e = fs_rename(s->dirfd, SITE_FLIP, s->dirfd, path, err);
    /* names of one file stay both */
    return e < 0 ? e : fs_unlink(s->dirfd, SITE_FLIP, err);
}

int
flip_turn(struct site *s, enum layout_kind kind, const char *path,
          const char *text_or_null, struct err *err)
{
    if (kind == LAYOUT_DIR)
        return turn_dir(s, path, text_or_null, err);
    if (!text_or_null)
        return fs_unlink(s->dirfd, path, err);
    return kind == LAYOUT_FILE ? turn_file(s, path, text_or_null, err)
                               : fs_symlink_replace(text_or_null, s->dirfd, path, err);
}

/* ---- what must hold ---- */

struct numbers {
    int64_t *v;
    int n;
};

static void
numbers_release(struct numbers *l)
{
    free(l->v);
}

static int
by_number(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* The number that TF Serving reads in a name (blanks, a sign and leading zeros, too):
 * 1, or 0: none. */
static bool
number_in(const char *name, int64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoll(name, &end, 10);
    end += strspn(end, " \t\n\v\f\r");
    return errno == 0 && end > name && *end == '\0';
}

/* A number in the tree: one of the model's versions, or somebody's. */
static int
add_number(struct repo *r, const struct site *s, const struct deploy_release *rel,
           const char *name, int64_t number, struct numbers *out, struct err *err)
{
    struct buf own AUTO(buf_release) = BUF_INIT;
    int64_t one;
    int e = 0;

    s->layout->version_dir(number, &own);
    if (strcmp(buf_str(&own), name) == 0)
        e = db_get_int(r->db, &one, err,
                       "SELECT 1 FROM version v JOIN model m ON m.id = v.model_id "
                       "WHERE m.name = ? AND v.number = ?",
                       "ti", rel->model, number);
    if (e == 0 && number >= rel->latest)
        return err_set(err, ERR_CONFLICT,
                       "target %s: %s/%s%s/%s is not of this store, and the server "
                       "takes the highest number, not %" PRId64 ": move it away",
                       s->t.name, s->t.dir, s->layout->models, rel->model, name,
                       rel->latest);
    if (e != 1)
        return e;
    out->v = xreallocarray(out->v, (size_t)out->n + 1, sizeof(*out->v));
    out->v[out->n++] = number;
    return 0;
}

/* Another name with the number of a version that is loaded: a server that finds both
 * takes either. */
static int
refuse_twin(const struct site *s, const struct deploy_release *rel, const char *name,
            int64_t number, struct err *err)
{
    struct buf own AUTO(buf_release) = BUF_INIT;
    const struct deploy_member *m;

    s->layout->version_dir(number, &own);
    for (int i = 0; (m = release_at(rel, i)) != NULL; i++)
        if (m->number == number && strcmp(buf_str(&own), name) != 0)
            return err_set(err, ERR_CONFLICT,
                           "target %s: %s/%s%s/%s is not of this store, and the server "
                           "takes it for version %" PRId64 ": move it away",
                           s->t.name, s->t.dir, s->layout->models, rel->model, name,
                           number);
    return 0;
}

/* The numbers that a server sees in a model's directory. */
static int
read_numbers(struct repo *r, struct site *s, const struct deploy_release *rel,
             struct numbers *out, struct err *err)
{
    struct buf path AUTO(buf_release) = BUF_INIT;
    int fd AUTO(fs_close) = -1;
    const struct dirent *ent;
    DIR *d;
    int e;

    site_model_path(s, rel->model, &path);
    e = fs_open_dir(&fd, s->dirfd, buf_str(&path), err);
    if (e < 0 && err->sys == ENOENT) {
        err_clear(err);
        return 0;
    }
    if (e < 0)
        return e;
    d = fdopendir(fd);
    if (!d)
        return err_sys(err, errno, "read %s", buf_str(&path));
    fd = -1; /* d's now */
    while (e == 0 && (ent = readdir(d)) != NULL) {
        int64_t number;

        if (number_in(ent->d_name, &number))
            e = s->layout->parks ? add_number(r, s, rel, ent->d_name, number, out, err)
                                 : refuse_twin(s, rel, ent->d_name, number, err);
    }
    closedir(d);
    if (out->n > 1)
        qsort(out->v, (size_t)out->n, sizeof(*out->v), by_number);
    return e;
}

int
site_links(struct repo *r, struct site *s, const struct deploy_release *rel,
           const char *config_id, struct layout_links *out, struct err *err)
{
    struct layout_files own AUTO(layout_files_release) = { .n = 0 };
    struct numbers shown AUTO(numbers_release) = { .v = NULL };
    char model_id[CONFIG_ID_BYTES];
    int e = 0;

    if (s->layout->parks || s->layout->by_number)
        e = read_numbers(r, s, rel, &shown, err);
    if (e < 0)
        return e;
    site_render_model(s, rel, &own, model_id);
    s->layout->links(rel,
                     &(struct layout_tree){ .config_id = config_id,
                                            .model_id = model_id,
                                            .shown = shown.v,
                                            .n_shown = shown.n },
                     out);
    return 0;
}

int
site_accepts(const struct site *s, const struct deploy_release *rel, struct err *err)
{
    struct buf why AUTO(buf_release) = BUF_INIT;

    if (s->layout->refuse)
        s->layout->refuse(rel, &why);
    if (why.len == 0)
        return 0;
    return err_set(err, ERR_CONFLICT, "target %s (layout %s) cannot show it: %s",
                   s->t.name, s->layout->name, buf_str(&why));
}
