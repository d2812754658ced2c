/* SPDX-License-Identifier: Apache-2.0 */
/* What lies in a tree that was made by hand. */
#include "deploy/adopt.h"
#include "deploy/deploy_int.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
adopt_tree_release(struct adopt_tree *t)
{
    for (int i = 0; i < t->n_dirs; i++) {
        free(t->dirs[i].path);
        free(t->dirs[i].real);
    }
    for (int i = 0; i < t->n_notes; i++) {
        free(t->notes[i].path);
        free(t->notes[i].why);
    }
    free(t->dirs);
    free(t->models);
    free(t->notes);
    t->dirs = NULL;
    t->models = NULL;
    t->notes = NULL;
    t->n_dirs = t->n_models = t->n_notes = 0;
}

void
adopt_note(struct adopt_tree *t, const char *path, bool in_the_way, const char *fmt,
           ...)
{
    char why[2 * ERR_MSG_BYTES];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    t->notes = xreallocarray(t->notes, (size_t)t->n_notes + 1, sizeof(*t->notes));
    t->notes[t->n_notes++] = (struct adopt_note){ .path = xstrdup(path),
                                                  .why = xstrdup(why),
                                                  .in_the_way = in_the_way };
}

/* ---- names ---- */

struct names {
    char **v;
    int n;
};

static void
names_release(struct names *l)
{
    for (int i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
read_names(const char *dir, struct names *out, struct err *err)
{
    DIR *d = opendir(dir);
    const struct dirent *ent;

    if (!d)
        return err_sys(err, errno, "read %s", dir);
    while ((ent = readdir(d)) != NULL) {
        if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0 ||
            strcmp(ent->d_name, SITE_DOT) == 0)
            continue;
        out->v = xreallocarray(out->v, (size_t)out->n + 1, sizeof(*out->v));
        out->v[out->n++] = xstrdup(ent->d_name);
    }
    closedir(d);
    if (out->n > 0)
        qsort(out->v, (size_t)out->n, sizeof(*out->v), by_name);
    return 0;
}

/* "3" or "v3": its number; 0: no version's name; -1: nearly one, and what is wrong. */
static int64_t
number_of(const char *name, const char **why)
{
    const char *digits = name + (name[0] == 'v');
    const size_t n = strspn(digits, "0123456789");

    *why = "not a version's name";
    if (n == 0 || digits[n])
        return 0;
    *why = n == 1 ? "a version's number is 1 or more"
                  : "a leading zero, which a server may take for the number: rename it";
    if (digits[0] == '0')
        return -1;
    *why = "a number with more than 15 digits";
    return n > 15 ? -1 : strtoll(digits, NULL, 10);
}

static bool
has_versions(const struct names *l)
{
    const char *why;

    for (int i = 0; i < l->n; i++)
        if (number_of(l->v[i], &why) != 0)
            return true;
    return false;
}

/* ---- one model ---- */

/* "fraud/", or "" in a flat tree. */
static void
add_prefix(const struct adopt_tree *t, int model, struct buf *out)
{
    if (t->flat)
        return;
    repo_name_encode(t->models[model].name, out);
    buf_addc(out, '/');
}

/* The path that the layout gives a version. */
static void
layout_path(const struct adopt_tree *t, const struct layout_ops *layout, int model,
            int64_t number, struct buf *out)
{
    repo_name_encode(t->models[model].name, out);
    buf_addc(out, '/');
    layout->version_dir(number, out);
}

/* NULL: a directory that can become a version, and where it is; else why not. */
static char *
unfit(const struct adopt_tree *t, const char *path, char real[PATH_MAX])
{
    char *full AUTO(free_ptr) = xasprintf("%s/%s", t->dir, path);
    const size_t n = strlen(t->dir);
    struct stat st, top, to;

    if (lstat(full, &st) < 0 || stat(t->dir, &top) < 0)
        return xasprintf("%s", strerror(errno));
    if (!realpath(full, real) || stat(full, &to) < 0)
        return xstrdup("a link that points nowhere");
    if (!S_ISDIR(to.st_mode))
        return xstrdup("not a directory");
    if (S_ISLNK(st.st_mode) && (strncmp(real, t->dir, n) != 0 || real[n] != '/'))
        return xasprintf("a link out of the tree, to %s: copy that directory in", real);
    if (to.st_dev != top.st_dev)
        return xstrdup("on another file system than the tree: it could not be "
                       "exchanged in one step");
    if (access(real, R_OK | X_OK) < 0)
        return xasprintf("it cannot be read: %s", strerror(errno));
    return NULL;
}

/* A link in a flat tree that an adoption before this one made is as good as the
 * directory it names; any other stays what it is. */
static bool
is_our_link(const struct adopt_tree *t, int model, int64_t number, const char *path,
            const char *real)
{
    static const struct layout_ops *const both[] = { &layout_plain, &layout_tfserving };
    char *full AUTO(free_ptr) = xasprintf("%s/%s", t->dir, path);
    struct stat st;
    bool ours = lstat(full, &st) == 0 && !S_ISLNK(st.st_mode);

    for (int i = 0; !ours && i < 2; i++) {
        struct buf want AUTO(buf_release) = BUF_INIT;

        buf_addf(&want, "%s/", t->dir);
        layout_path(t, both[i], model, number, &want);
        ours = t->flat && strcmp(buf_str(&want), real) == 0;
    }
    return ours;
}

static void
scan_name(struct adopt_tree *t, int model, const char *path, const char *name)
{
    char real[PATH_MAX];
    const char *why;
    const int64_t number = number_of(name, &why);
    char *bad AUTO(free_ptr) = number > 0 ? unfit(t, path, real) : xstrdup(why);

    if (bad) {
        adopt_note(t, path, false, "%s", bad);
        return;
    }
    if (!is_our_link(t, model, number, path, real)) {
        adopt_note(t, path, false, "a link to %s: it stays one",
                   real + strlen(t->dir) + 1);
        return;
    }
    t->dirs = xreallocarray(t->dirs, (size_t)t->n_dirs + 1, sizeof(*t->dirs));
    t->dirs[t->n_dirs++] = (struct adopt_dir){
        .path = xstrdup(path), .real = xstrdup(real), .model = model, .number = number
    };
}

/* What `latest` shows: 0 when there is none. */
static void
scan_latest(struct adopt_tree *t, int model, const char *path)
{
    char *full AUTO(free_ptr) = xasprintf("%s/%s", t->dir, path);
    struct adopt_model *m = &t->models[model];
    char real[PATH_MAX];
    struct stat st;

    if (lstat(full, &st) < 0)
        return;
    m->has_link = true;
    if (!S_ISLNK(st.st_mode)) {
        adopt_note(t, path, true,
                   "%s, not a link: nobody can tell which version it is; give it its "
                   "number as name, and make a link: ln -s NAME latest",
                   S_ISDIR(st.st_mode) ? "a directory" : "a file");
        return;
    }
    if (!realpath(full, real)) {
        adopt_note(t, path, true, "a link that points nowhere: let it show a version");
        return;
    }
    for (int i = 0; i < t->n_dirs; i++)
        if (t->dirs[i].model == model && strcmp(t->dirs[i].real, real) == 0)
            m->live = t->dirs[i].number;
    if (m->live == 0)
        adopt_note(t, path, true,
                   "a link to %s, which does not become a version: let it show one",
                   real);
}

static int
by_number(const void *a, const void *b)
{
    const struct adopt_dir *x = a, *y = b;

    if (x->model != y->model)
        return x->model < y->model ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static int
scan_model(struct adopt_tree *t, const char *name, const struct names *names,
           struct err *err)
{
    const int model = t->n_models, first = t->n_dirs;
    struct buf prefix AUTO(buf_release) = BUF_INIT;
    char *latest AUTO(free_ptr) = NULL;
    struct adopt_model *m;
    int e = repo_check_model_name(name, err);

    if (e < 0)
        return e;
    t->models = xreallocarray(t->models, (size_t)model + 1, sizeof(*t->models));
    m = &t->models[t->n_models++];
    *m = (struct adopt_model){ .live = 0 };
    snprintf(m->name, sizeof(m->name), "%s", name);
    add_prefix(t, model, &prefix);
    for (int i = 0; i < names->n; i++) {
        char *path AUTO(free_ptr) = xasprintf("%s%s", buf_str(&prefix), names->v[i]);

        if (strcmp(names->v[i], "latest") != 0)
            scan_name(t, model, path, names->v[i]);
    }
    if (t->n_dirs == first) {
        t->n_models--;
        return 0;
    }
    qsort(t->dirs, (size_t)t->n_dirs, sizeof(*t->dirs), by_number);
    for (int i = first + 1; i < t->n_dirs; i++)
        if (t->dirs[i].number == t->dirs[i - 1].number)
            adopt_note(t, t->dirs[i].path, true,
                       "%s has this number too: rename or move one of them",
                       t->dirs[i - 1].path);
    latest = xasprintf("%slatest", buf_str(&prefix));
    scan_latest(t, model, latest);
    if (!t->models[model].has_link)
        t->models[model].live = t->dirs[t->n_dirs - 1].number;
    return 0;
}

/* ---- the tree ---- */

static int
scan_models(struct adopt_tree *t, const struct names *top, struct err *err)
{
    int e = 0;

    for (int i = 0; e == 0 && i < top->n; i++) {
        struct names names AUTO(names_release) = { .v = NULL };
        struct buf encoded AUTO(buf_release) = BUF_INIT;
        char *path AUTO(free_ptr) = xasprintf("%s/%s", t->dir, top->v[i]);
        struct stat st;

        repo_name_encode(top->v[i], &encoded);
        if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
            adopt_note(t, top->v[i], false, "not a directory");
        else if (top->v[i][0] == '.' || strcmp(buf_str(&encoded), top->v[i]) != 0)
            adopt_note(t, top->v[i], false, "not the name of a model's directory");
        else if ((e = read_names(path, &names, err)) == 0 && has_versions(&names))
            e = scan_model(t, top->v[i], &names, err);
        else if (e == 0)
            adopt_note(t, top->v[i], false, "no versions in it");
    }
    return e;
}

/* The layout's own names, when something else has them. */
static void
look_in_the_way(struct adopt_tree *t, const struct layout_ops *layout)
{
    for (int i = 0; i < t->n_dirs; i++) {
        struct buf want AUTO(buf_release) = BUF_INIT;

        layout_path(t, layout, t->dirs[i].model, t->dirs[i].number, &want);
        t->dirs[i].in_the_way = strcmp(buf_str(&want), t->dirs[i].path) == 0;
    }
    for (int i = 0; i < t->n_notes; i++) {
        const char *slash = strrchr(t->notes[i].path, '/'), *why;
        struct buf want AUTO(buf_release) = BUF_INIT;
        const int64_t number = slash ? number_of(slash + 1, &why) : 0;

        if (number <= 0)
            continue;
        layout->version_dir(number, &want);
        t->notes[i].in_the_way |= strcmp(buf_str(&want), slash + 1) == 0;
    }
}

/* Where a directory may be parked no link can follow it; and where the server takes the
 * highest number, another one would be unloaded. */
static void
check_parking(struct adopt_tree *t, int model)
{
    struct buf path AUTO(buf_release) = BUF_INIT;
    int64_t highest = 0;

    for (int i = 0; i < t->n_dirs; i++) {
        if (t->dirs[i].model != model)
            continue;
        highest = t->dirs[i].number;
        if (!t->dirs[i].in_the_way)
            adopt_note(t, t->dirs[i].path, true,
                       "it must be %s/%" PRId64 ", and a link of this name could not "
                       "follow that when it is parked: rename it",
                       t->models[model].name, highest);
    }
    if (t->models[model].live == 0 || t->models[model].live == highest)
        return;
    add_prefix(t, model, &path);
    buf_adds(&path, "latest");
    adopt_note(t, buf_str(&path), true,
               "it shows %" PRId64 ", and a server without a config file serves the "
               "highest, %" PRId64 ": let the link say what is served",
               t->models[model].live, highest);
}

static bool
all_bare(const struct adopt_tree *t)
{
    bool bare = true;

    for (int i = 0; i < t->n_dirs; i++) {
        const char *slash = strrchr(t->dirs[i].path, '/');

        bare = bare && (slash ? slash[1] : t->dirs[i].path[0]) != 'v';
    }
    return bare;
}

static int
no_versions(const struct adopt_tree *t, struct err *err)
{
    struct buf seen AUTO(buf_release) = BUF_INIT;

    for (int i = 0; i < t->n_notes && i < 5; i++)
        buf_addf(&seen, "\n  %s: %s", t->notes[i].path, t->notes[i].why);
    return err_set(err, ERR_INVALID,
                   "%s holds no versions (v1 v2 … or 1 2 …), nor do directories "
                   "in it%s",
                   t->dir, buf_str(&seen));
}

int
adopt_scan(const char *dir, const char *model_or_null, const char *layout_or_null,
           struct adopt_tree *out, struct err *err)
{
    struct names top AUTO(names_release) = { .v = NULL };
    const struct layout_ops *layout;
    int e;

    *out = (struct adopt_tree){ .flat = false };
    if (!realpath(dir, out->dir))
        return err_sys(err, errno, "find %s", dir);
    e = read_names(out->dir, &top, err);
    if (e < 0)
        return e;
    out->flat = has_versions(&top);
    if (out->flat && !model_or_null)
        return err_set(err, ERR_USAGE,
                       "versions lie directly in %s: say of which model: --model NAME",
                       dir);
    e = out->flat ? scan_model(out, model_or_null, &top, err)
                  : scan_models(out, &top, err);
    if (e == 0 && out->n_dirs == 0)
        e = no_versions(out, err);
    if (e == 0 && !out->flat && model_or_null &&
        (out->n_models > 1 || strcmp(out->models[0].name, model_or_null) != 0))
        e = err_set(err, ERR_USAGE,
                    "%s is a directory of models (%s%s), and all of it becomes the "
                    "target: leave --model out",
                    dir, out->models[0].name, out->n_models > 1 ? ", …" : "");
    if (e < 0)
        return e;
    out->layout = layout_or_null  ? layout_or_null
                  : all_bare(out) ? "tfserving"
                                  : "plain";
    e = layout_find(out->layout, &layout, err);
    if (e == 0 && layout->no_adoption)
        return err_set(err, ERR_UNSUPPORTED, "layout %s: %s", layout->name,
                       layout->no_adoption);
    if (e == 0)
        look_in_the_way(out, layout);
    for (int i = 0; e == 0 && layout->parks && i < out->n_models; i++)
        check_parking(out, i);
    return e;
}
