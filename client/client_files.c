/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a request names: those it reads go there as trees before it does, and
 * what it makes comes back. On the way their names change, and in the answer they are
 * what the caller typed. */
#include "client/client_int.h"

#include "base/fs.h"
#include "client/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUT_TREE "tree:"
#define LIST_MAX ((size_t)3 << 20) /* of JSON a service takes 4 MB */

void
client_files_release(struct client_files *f)
{
    for (int i = 0; i < f->n; i++) {
        free(f->v[i].path);
        free(f->v[i].tree);
    }
    free(f->v);
    free(f->to);
    *f = (struct client_files){ .n = 0 };
}

static void
add(struct client_files *f, const char *field, const char *path,
    const char *tree_or_null)
{
    struct client_moved *m;

    f->v = xreallocarray(f->v, (size_t)f->n + 1, sizeof(*f->v));
    m = &f->v[f->n++];
    *m = (struct client_moved){ .path = path ? xstrdup(path) : NULL,
                                .tree = tree_or_null ? xstrdup(tree_or_null)
                                                     : xasprintf(OUT_TREE "%s", field),
                                .field = field,
                                .out = !tree_or_null };
}

int
client_no_file(struct err *err, const char *path_or_null)
{
    if (err->code == ERR_IO && err->sys == ENOENT)
        err->code = ERR_NOTFOUND;
    return path_or_null ? err_ctx(err, "%s", path_or_null) : -(int)err->code;
}

/* ---- names, there and here ---- */

/* The last first: after a tree comes what is named in it. */
void
client_files_rename(const struct client_files *f, cJSON *value)
{
    for (int i = f->n - 1; i >= 0; i--)
        if (f->v[i].path)
            json_replace(value, f->v[i].tree, f->v[i].path);
}

void
client_files_rename_err(const struct client_files *f, struct err *err)
{
    for (int i = f->n - 1; i >= 0; i--)
        if (f->v[i].path)
            err_replace(err, f->v[i].tree, f->v[i].path);
}

/* ---- what goes ---- */

struct sending {
    struct client *c;
    const struct svc_verb *verb;
    const char *model;
    struct client_files *files;
    bool is_dry; /* a push that is one; what a golden set must fit is sent */
    struct client_sent sent; /* of the last push */
};

/* A directory for what is to go, until it is gone: below $TMPDIR. */
static int
work_open(char **dir, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *path AUTO(free_ptr) =
        xasprintf("%s/sluice-XXXXXX", tmp && *tmp ? tmp : "/tmp");

    if (!mkdtemp(path))
        return err_sys(err, errno, "make a directory for what is sent: %s", path);
    *dir = path;
    path = NULL;
    return 0;
}

static void
work_close(char **dir)
{
    struct err err = ERR_INIT;

    if (*dir && fs_remove_tree(AT_FDCWD, *dir, &err) < 0)
        err_clear(&err); /* it is below $TMPDIR */
    free(*dir);
}

static int
take_stdin(const char *path, struct err *err)
{
    char *piece AUTO(free_ptr) = xmalloc((size_t)1 << 20);
    int fd AUTO(fs_close) = -1;

    if (fs_open(&fd, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0600, err) < 0)
        return err_ctx(err, "standard input");
    for (;;) {
        const ssize_t n = read(STDIN_FILENO, piece, (size_t)1 << 20);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read standard input");
        if (n == 0)
            return 0;
        if (fs_write_all(fd, piece, (size_t)n, "standard input", err) < 0)
            return -(int)err->code;
    }
}

/* s->sent says how that went. */
static int
push(struct sending *s, const char *path, struct buf *tree, struct err *err)
{
    return client_push_tree(s->c, s->verb->name, s->model, path, tree, &s->sent, err);
}

static int
send_stdin(struct sending *s, struct buf *tree, struct err *err)
{
    char *work AUTO(work_close) = NULL;

    if (work_open(&work, err) < 0)
        return -(int)err->code;
    char *file AUTO(free_ptr) = xasprintf("%s/stdin", work);
    return take_stdin(file, err) < 0 ? -(int)err->code : push(s, file, tree, err);
}

struct links {
    const char *dir, *name;
};

static int
link_shard(void *arg, const struct fs_entry *e, struct err *err)
{
    const struct links *l = arg;
    const size_t n = strlen(l->name);

    if (strchr(e->path, '/') || !S_ISREG(e->st.st_mode) ||
        strncmp(e->name, l->name, n) != 0 ||
        (strcmp(e->name + n, ".index") != 0 && strncmp(e->name + n, ".data-", 6) != 0))
        return 0;
    char *to AUTO(free_ptr) = xasprintf("%s/%s", l->dir, e->name);
    if (fs_link(e->dirfd, e->name, AT_FDCWD, to, err) == 0)
        return 0;
    err_clear(err); /* of another file system, or somebody else's */
    return fs_copy_unsynced(e->dirfd, e->name, AT_FDCWD, to, 0600, err);
}

/* A checkpoint is named by what its files begin with: they go, as a directory of which
 * they are all there is. 1: it is one. */
static int
send_prefix(struct sending *s, const char *path, struct buf *tree, struct err *err)
{
    char *index AUTO(free_ptr) = xasprintf("%s.index", path);
    const char *slash = strrchr(path, '/');
    char *up AUTO(free_ptr) =
        slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup(".");
    struct links l = { .name = slash ? slash + 1 : path };
    char *work AUTO(work_close) = NULL;

    if (access(path, F_OK) == 0 || access(index, F_OK) != 0)
        return 0;
    if (work_open(&work, err) < 0)
        return -(int)err->code;
    l.dir = work;
    return fs_walk(AT_FDCWD, up, link_shard, &l, err) < 0 ||
                   push(s, work, tree, err) < 0
               ? -(int)err->code
               : 1;
}

/* What a push would be refused for over there need not go first. */
static int
check_sent(struct sending *s, const char *field, const char *path, struct err *err)
{
    struct stat st;

    if (strcmp(s->verb->name, "push") != 0 || strcmp(field, "dir") != 0 ||
        stat(path, &st) < 0 || S_ISREG(st.st_mode))
        return 0;
    return S_ISDIR(st.st_mode)
               ? repo_check_saved_model(path, err)
               : err_set(err, ERR_INVALID, "neither a directory nor an archive");
}

static bool
is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A dry run of a push says only what its files are. */
static int
list_dry(struct sending *s, const char *path, struct buf *text, struct err *err)
{
    buf_adds(text, SVC_MANIFEST_PREFIX);
    if (client_push_list(s->c, path, text, &s->sent, err) < 0)
        return err_ctx(err, "push %s", path);
    s->files->read_bytes += s->sent.read_bytes;
    return 0;
}

static int
send_path(struct sending *s, const char *field, const char *path, struct buf *tree,
          struct err *err)
{
    for (int i = 0; i < s->files->n; i++)
        if (!s->files->v[i].out && strcmp(s->files->v[i].path, path) == 0) {
            buf_adds(tree, s->files->v[i].tree);
            return 0;
        }
    int r = send_prefix(s, path, tree, err);

    if (r < 0)
        return r;
    if (r == 1) {
        const char *slash = strrchr(path, '/');
        char *named AUTO(free_ptr) =
            xasprintf("%s/%s", buf_str(tree), slash ? slash + 1 : path);

        add(s->files, field, path, buf_str(tree));
        add(s->files, field, path, named);
        return 0;
    }
    if (check_sent(s, field, path, err) < 0)
        return err_ctx(err, "push %s", path);
    if (s->is_dry && is_dir(path) && strcmp(field, "dir") == 0) {
        if (list_dry(s, path, tree, err) < 0)
            return -(int)err->code;
        if (tree->len < LIST_MAX)
            return 0;
        buf_clear(tree); /* too many files for one request */
    }
    if (strcmp(path, "-") == 0 && strcmp(s->verb->name, "import") == 0) {
        if (send_stdin(s, tree, err) < 0)
            return -(int)err->code;
    } else if (push(s, path, tree, err) < 0) {
        const bool is_model = strcmp(s->verb->name, "push") == 0 &&
                              strcmp(field, "dir") == 0 && !s->sent.is_asked;

        (void)client_no_file(err, NULL);
        return is_model ? err_ctx(err, "push %s", path) : -(int)err->code;
    }
    s->files->read_bytes += s->sent.read_bytes;
    add(s->files, field, path, buf_str(tree));
    return 0;
}

static int
send_value(struct sending *s, const char *field, cJSON *value, struct err *err)
{
    struct buf tree AUTO(buf_release) = BUF_INIT;

    if (send_path(s, field, value->valuestring, &tree, err) < 0)
        return -(int)err->code;
    cJSON_SetValuestring(value, buf_str(&tree));
    return 0;
}

/* run --inputs: "key=file;key=file[name]". */
static int
send_inputs(struct sending *s, const char *field, cJSON *value, struct err *err)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    const char *p = value->valuestring;

    while (*p) {
        struct buf tree AUTO(buf_release) = BUF_INIT;
        const size_t n = strcspn(p, ";");
        const char *eq = memchr(p, '=', n);
        const size_t key = eq ? (size_t)(eq - p) + 1 : n;
        size_t path = n - key;
        const char *bracket = memchr(p + key, '[', path);

        path = bracket ? (size_t)(bracket - p) - key : path;
        char *name AUTO(free_ptr) = xstrndup(p + key, path);
        if (path > 0 && send_path(s, field, name, &tree, err) < 0)
            return -(int)err->code;
        buf_add(&out, p, key);
        buf_adds(&out, buf_str(&tree));
        buf_add(&out, p + key + path, n - key - path);
        p += n;
        if (*p)
            buf_addc(&out, *p++);
    }
    cJSON_SetValuestring(value, buf_str(&out));
    return 0;
}

/* A path of the machine that has the store. */
static int
check_there(const struct client *c, const struct svc_field *f, cJSON *value,
            struct err *err)
{
    const char *path = value->valuestring;
    char *cwd AUTO(free_ptr) = NULL;

    if (path[0] == '/' || strcmp(path, "-") == 0)
        return 0;
    if (c->place.kind != CLIENT_UNIX)
        return err_set(err, ERR_USAGE,
                       "%s: %s is a path of the machine that has the store: say all of "
                       "it, from / on",
                       f->name, path);
    cwd = getcwd(NULL, 0);
    if (!cwd)
        return err_sys(err, errno, "find this directory");
    char *all AUTO(free_ptr) = xasprintf("%s/%s", cwd, path);
    cJSON_SetValuestring(value, all);
    return 0;
}

static int
send_field(struct sending *s, const struct svc_field *f, cJSON *value, struct err *err)
{
    if ((f->flags & SVC_IN) && cJSON_IsArray(value)) {
        for (cJSON *e = value->child; e; e = e->next)
            if (cJSON_IsString(e) && send_value(s, f->name, e, err) < 0)
                return -(int)err->code;
        return 0;
    }
    if (!cJSON_IsString(value))
        return 0;
    if ((f->flags & SVC_IN) && f->type == SVC_STR)
        return send_inputs(s, f->name, value, err);
    if ((f->flags & SVC_IN) || (f->type == SVC_ANY && svc_is_path(value->valuestring)))
        return send_value(s, f->name, value, err);
    if (f->flags & SVC_OUT) {
        add(s->files, f->name, value->valuestring, NULL);
        cJSON_SetValuestring(value, OUT_TREE);
        return 0;
    }
    return f->type == SVC_PATH ? check_there(s->c, f, value, err) : 0;
}

/* What goes to a file here comes as bytes. A directory of backups has generations,
 * which are made where the store is. */
static void
send_dest(const struct svc_verb *verb, cJSON *request, struct client_files *f)
{
    const bool is_export = strcmp(verb->name, "export") == 0;
    cJSON *args = cJSON_GetObjectItemCaseSensitive(request, "args"), *dest;

    if (!is_export &&
        (strcmp(verb->name, "backup") != 0 || json_has(request, "verify")))
        return;
    dest = is_export ? cJSON_GetArrayItem(args, cJSON_GetArraySize(args) - 1)
                     : cJSON_GetObjectItemCaseSensitive(request, "dest");
    if (!cJSON_IsString(dest) || strcmp(dest->valuestring, "-") == 0)
        return;
    const size_t n = strlen(dest->valuestring);
    const bool is_tar = n > 4 && strcmp(dest->valuestring + n - 4, ".tar") == 0;

    if (!is_export && !is_tar)
        return;
    f->to = xstrdup(dest->valuestring);
    cJSON_SetValuestring(dest, "-");
}

/* After --checkpoint and --onto a word is no directory but the model's name. */
static int
check_word(cJSON *request, const char *onto, struct err *err)
{
    const char *word = cJSON_GetStringValue(cJSON_GetObjectItem(request, "dir"));
    const size_t n = strcspn(onto, "@");

    if (!word || json_has(request, "model") || strchr(word, '/'))
        return 0; /* the verb says what is wrong */
    if (strlen(word) != n || strncmp(word, onto, n) != 0)
        return err_set(err, ERR_USAGE,
                       "the new version is one of %.*s, whose graph it has; leave '%s' "
                       "out",
                       (int)n, onto, word);
    cJSON_DeleteItemFromObject(request, "dir");
    return 0;
}

/* Only we know where the weights of a push lay: its tree has their names, and this is
 * the directory. */
static void
say_origin(cJSON *request, const struct client_files *f)
{
    for (int i = 0; i < f->n; i++) {
        const char *path = f->v[i].path, *slash = path ? strrchr(path, '/') : NULL;

        if (strcmp(f->v[i].field, "checkpoint") != 0)
            continue;
        char *dir AUTO(free_ptr) = is_dir(path) ? xstrdup(path)
                                   : slash      ? xstrndup(path, (size_t)(slash - path))
                                                : xstrdup(".");
        char *pair AUTO(free_ptr) = xasprintf("checkpoint=%s", dir);
        cJSON *list = cJSON_GetObjectItemCaseSensitive(request, "provenance");

        if (!list)
            list = cJSON_AddArrayToObject(request, "provenance");
        cJSON_AddItemToArray(list, cJSON_CreateString(pair));
        return;
    }
}

int
client_files_send(struct client *c, const struct svc_verb *verb, cJSON *request,
                  struct client_files *out, struct err *err)
{
    const char *ref = cJSON_GetStringValue(cJSON_GetObjectItem(request, "ref"));
    const char *onto = cJSON_GetStringValue(cJSON_GetObjectItem(request, "onto"));
    const char *model = cJSON_GetStringValue(cJSON_GetObjectItem(request, "model"));
    const char *as = cJSON_GetStringValue(cJSON_GetObjectItem(request, "as"));
    const char *about = model ? model : onto ? onto : ref ? ref : as;

    if (!about)
        about = svc_names_version(verb, request);
    char *name AUTO(free_ptr) = about ? xstrndup(about, strcspn(about, "@")) : NULL;
    struct sending s = {
        .c = c,
        .verb = verb,
        .model = name,
        .files = out,
        .is_dry = strcmp(verb->name, "push") == 0 && !json_has(request, "golden") &&
                  cJSON_IsTrue(cJSON_GetObjectItem(request, "dry_run")),
    };

    if (onto && check_word(request, onto, err) < 0)
        return -(int)err->code;
    c->reread = cJSON_IsTrue(cJSON_GetObjectItem(request, "reread"));
    cJSON_DeleteItemFromObject(request, "reread"); /* it is for who reads files */
    send_dest(verb, request, out);

    for (int i = 0; i < verb->n_fields; i++) {
        cJSON *value = cJSON_GetObjectItemCaseSensitive(request, verb->fields[i].name);

        if (value && send_field(&s, &verb->fields[i], value, err) < 0)
            return -(int)err->code;
    }
    if (strcmp(verb->name, "push") == 0)
        say_origin(request, out);
    if (strcmp(verb->name, "pull") == 0 && !json_has(request, "dest")) {
        json_put_str(request, "dest", OUT_TREE); /* where to says the answer */
        add(out, "dest", NULL, NULL);
    }
    return 0;
}
