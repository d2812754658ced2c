/* SPDX-License-Identifier: Apache-2.0 */
/* What a verb made for its caller comes to where he wanted it: under a name of its own
 * first, then as the verb would have put it there. */
#include "client/client_int.h"

#include "base/crypto.h"
#include "base/fs.h"
#include "client/tree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Files of `from` move into `to`. */
struct moving {
    const char *from, *to;
    const char *verb;
    bool over; /* what is there */
};

static int
move_one(void *arg, const struct fs_entry *e, struct err *err)
{
    const struct moving *m = arg;
    char *from AUTO(free_ptr) = xasprintf("%s/%s", m->from, e->path);
    char *to AUTO(free_ptr) = xasprintf("%s/%s", m->to, e->path);

    if (S_ISDIR(e->st.st_mode))
        return fs_mkdirs(AT_FDCWD, to, 0755, err);
    if (m->over)
        return fs_rename(AT_FDCWD, from, AT_FDCWD, to, err);
    if (fs_rename_new(AT_FDCWD, from, AT_FDCWD, to, err) == 0)
        return 0;
    return err_ctx(err, "%s: nothing was written over what is there", m->to);
}

static int
check_free(void *arg, const struct fs_entry *e, struct err *err)
{
    const struct moving *m = arg;
    char *to AUTO(free_ptr) = xasprintf("%s/%s", m->to, e->path);
    int there = S_ISDIR(e->st.st_mode) || m->over ? 0 : fs_exists(AT_FDCWD, to, err);

    if (there == 1 && strcmp(m->verb, "run") != 0)
        return err_set(err, ERR_CONFLICT,
                       strcmp(m->verb, "golden_export") == 0
                           ? "%s: nothing was written over what is there"
                           : "%s: there is something already",
                       e->path);
    if (there == 1)
        return err_set(
            err, ERR_CONFLICT,
            "Output file %s already exists. Add \"--overwrite\" to overwrite "
            "the existing output files.",
            to);
    return there;
}

/* A name beside `path` (in it, when it is a directory). */
static char *
work_name(const char *path, bool in, struct err *err)
{
    uint32_t random = 0;
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    if (random_bytes(&random, sizeof(random), err) < 0)
        return NULL;
    return xasprintf("%.*s%s.sluice-%08x", (int)n, path, in ? "/" : "", random);
}

static int
into_dir(struct client *c, const char *verb, const char *tree, const char *dest,
         bool over, struct err *err)
{
    struct err second = ERR_INIT;
    char *work AUTO(free_ptr) = work_name(dest, true, err);
    struct moving m = { .from = work, .to = dest, .verb = verb, .over = over };
    int e = work ? client_pull_tree(c, tree, work, NULL, err) : -(int)err->code;

    if (e == 0)
        e = fs_walk(AT_FDCWD, work, check_free, &m, err);
    if (e == 0)
        e = fs_walk(AT_FDCWD, work, move_one, &m, err);
    if (work && fs_remove_tree(AT_FDCWD, work, &second) < 0)
        err_clear(&second);
    return e;
}

static int
over_file(struct client *c, const char *tree, const char *dest, struct err *err)
{
    struct err second = ERR_INIT;
    char *work AUTO(free_ptr) = work_name(dest, false, err);
    int e = work ? client_pull_tree(c, tree, work, NULL, err) : -(int)err->code;

    if (e == 0)
        e = fs_rename(AT_FDCWD, work, AT_FDCWD, dest, err);
    if (e < 0 && work && fs_unlink(AT_FDCWD, work, &second) < 0)
        err_clear(&second);
    return e;
}

/* "tree:sha256:<64 hex>/NAME" */
static bool
is_file(const char *tree)
{
    return strchr(tree, '/') != NULL;
}

/* TFX's Pusher looks for one of two files; the other one goes. */
static int
unbless(const char *dir, const cJSON *reply, struct err *err)
{
    char *other AUTO(free_ptr) = xasprintf(
        "%s/%s", dir,
        cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reply, "ok")) ? "NOT_BLESSED"
                                                                    : "BLESSED");

    return fs_unlink(AT_FDCWD, other, err);
}

static int
take_one(struct client *c, const struct svc_verb *verb, const cJSON *request,
         const char *tree, const struct client_moved *m, const cJSON *reply,
         struct err *err)
{
    struct stat st;
    const bool is_dir = stat(m->path, &st) == 0 && S_ISDIR(st.st_mode);
    const bool over = cJSON_IsTrue(cJSON_GetObjectItem(request, "overwrite")) ||
                      strcmp(verb->name, "policy_check") == 0;
    char *up AUTO(free_ptr) = xstrdup(m->path);
    char *slash = strrchr(up, '/');

    if (strcmp(verb->name, "policy_check") == 0 && is_dir &&
        unbless(m->path, reply, err) < 0)
        return -(int)err->code;
    if (is_file(tree))
        return over_file(c, tree, m->path, err);
    if (is_dir && strcmp(m->field, "dest") != 0)
        return into_dir(c, verb->name, tree, m->path, over, err);
    if (is_dir && json_has(request, "warmup"))
        return into_dir(c, verb->name, tree, m->path, false, err);
    if (slash && slash != up) {
        *slash = '\0';
        if (strcmp(m->field, "dest") != 0 && fs_mkdirs(AT_FDCWD, up, 0777, err) < 0)
            return -(int)err->code;
    }
    return client_pull_tree(
        c, tree, m->path,
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "have")), err);
}

/* pull without a destination: MODEL-NUMBER. */
static int
name_pull(const cJSON *reply, char **out, struct err *err)
{
    struct buf name AUTO(buf_release) = BUF_INIT;
    const char *model;
    double number;

    if (json_str(reply, "model", NULL, &model, "its answer", err) < 0 ||
        json_num(reply, "number", NAN, &number, "its answer", err) < 0)
        return -(int)err->code;
    repo_name_encode(model, &name);
    buf_addf(&name, "-%.0f", number);
    *out = buf_take(&name);
    return 0;
}

int
client_files_take(struct client *c, const struct svc_verb *verb, const cJSON *request,
                  cJSON *reply, struct client_files *f, struct err *err)
{
    cJSON *trees AUTO(json_free) =
        cJSON_DetachItemFromObjectCaseSensitive(reply, "trees");

    for (int i = 0; i < f->n; i++) {
        struct client_moved *m = &f->v[i];
        const char *tree =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(trees, m->field));

        if (!m->out)
            continue;
        if (!m->path && name_pull(reply, &m->path, err) < 0)
            return -(int)err->code;
        if (tree && take_one(c, verb, request, tree, m, reply, err) < 0) {
            const bool is_pull = strcmp(verb->name, "pull") == 0;

            (void)client_no_file(err, is_pull ? NULL : m->path);
            return is_pull ? err_ctx(err, "pull %s",
                                     cJSON_GetStringValue(
                                         cJSON_GetObjectItem(request, "ref")))
                           : -(int)err->code;
        }
        if (tree && strcmp(verb->name, "pull") == 0)
            cJSON_ReplaceItemInObjectCaseSensitive(reply, "path",
                                                   cJSON_CreateString(m->path));
    }
    if (json_has(reply, "read_bytes")) /* of a push: they are read here */
        cJSON_SetNumberValue(cJSON_GetObjectItem(reply, "read_bytes"),
                             (double)f->read_bytes);
    client_files_rename(f, reply);
    return 0;
}
