/* SPDX-License-Identifier: Apache-2.0 */
/* The names, files, modes and owners in a target, against what the store put there. */
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
drift_tell(struct drift *d, const char *kind, const char *path, const char *wanted,
           const char *saw, bool mended, struct err *why)
{
    cJSON *o = cJSON_CreateObject();

    json_put_str(o, "kind", kind);
    json_put_str(o, "path", path);
    json_put_str(o, "wanted", wanted);
    json_put_str(o, "saw", saw);
    json_put_bool(o, "repaired", mended);
    json_put_str(o, "why_not", why && why->code != ERR_OK ? why->msg : d->held);
    cJSON_AddItemToArray(d->list, o);
    d->n_left += !mended;
    if (why)
        err_clear(why);
}

static void
tell_foreign(struct drift *d, const char *path, const char *saw)
{
    drift_tell(d, "foreign", path, "nothing of this name", saw, false, NULL);
}

static const char *
type_of(const struct stat *st)
{
    return S_ISDIR(st->st_mode)   ? "a directory"
           : S_ISLNK(st->st_mode) ? "a link"
           : S_ISREG(st->st_mode) ? "a file"
                                  : "a special file";
}

/* ---- modes and owners ---- */

/* Only its owner may write in a directory, and nobody to a file. */
static void
check_rights(struct drift *d, const char *path, const struct stat *st)
{
    const bool is_dir = S_ISDIR(st->st_mode);
    const mode_t extra = (is_dir ? 0022 : 0222) | S_ISUID | S_ISGID;
    const mode_t lacks = (is_dir ? 0500 : 0400) & ~st->st_mode;
    struct err why = ERR_INIT;
    char wanted[64], saw[64];

    if ((st->st_mode & extra & ~(is_dir ? (mode_t)S_ISGID : 0)) || lacks) {
        const mode_t mode = ((st->st_mode & 0777) | lacks) & ~extra;
        bool mended = d->repair && fchmodat(d->s->dirfd, path, mode, 0) == 0;

        snprintf(wanted, sizeof(wanted), "mode %04o", (unsigned)mode);
        snprintf(saw, sizeof(saw), "mode %04o", (unsigned)(st->st_mode & 07777));
        if (d->repair && !mended)
            (void)err_sys(&why, errno, "chmod %s", path);
        drift_tell(d, "mode", path, wanted, saw, mended, &why);
    }
    if (st->st_uid != d->r->owner_uid) {
        bool mended = d->repair && fchownat(d->s->dirfd, path, d->r->owner_uid,
                                            (gid_t)-1, AT_SYMLINK_NOFOLLOW) == 0;

        snprintf(wanted, sizeof(wanted), "owner %ju", (uintmax_t)d->r->owner_uid);
        snprintf(saw, sizeof(saw), "owner %ju", (uintmax_t)st->st_uid);
        if (d->repair && !mended)
            (void)err_sys(&why, errno, "chown %s", path);
        drift_tell(d, "owner", path, wanted, saw, mended, &why);
    }
}

struct model_rights {
    struct drift *d;
    const char *model, *path;
};

static void
tell_rights(void *arg, const char *kind, const char *wanted, const char *saw)
{
    const struct model_rights *m = arg;
    struct err why = ERR_INIT;
    const bool mended =
        m->d->repair && site_rights(m->d->r, m->d->s, m->model, &why) == 0;

    drift_tell(m->d, kind, m->path, wanted, saw, mended, &why);
}

/* Who may read a model's directory. */
static void
check_readers(struct drift *d, const char *model, const char *path)
{
    struct model_rights m = { d, model, path };
    struct err why = ERR_INIT;

    if (site_rights_differ(d->r, d->s, model, tell_rights, &m, &why) < 0)
        drift_tell(d, "acl", path, "what the grants say", "it cannot be told", false,
                   &why);
}

/* ---- version directories ---- */

struct walk {
    struct drift *d;
    const char *dir;
    const struct repo_manifest *m;
    bool *is_there;
};

static int
by_path(const void *key, const void *file)
{
    return strcmp(key, ((const struct repo_file *)file)->path);
}

/* The file as it was pushed, in its place, durably; its directory may be gone too. */
static bool
mend_file(struct drift *d, const struct repo_file *f, const char *path, struct err *why)
{
    char *dir AUTO(free_ptr) = xstrndup(path, (size_t)(strrchr(path, '/') - path));

    return fs_mkdirs(d->s->dirfd, dir, 0755, why) == 0 &&
           site_replace_file(d->r, f, d->s->dirfd, path, why) == 0 &&
           fs_fsync_dir(d->s->dirfd, dir, why) == 0;
}

static void
check_file(struct walk *w, int i)
{
    struct drift *d = w->d;
    const struct repo_file *f = &w->m->files[i];
    char *path AUTO(free_ptr) = xasprintf("%s/%s", w->dir, f->path);
    char *fault AUTO(free_ptr) = w->is_there[i]
                                     ? site_file_fault(d->r, f, d->s->dirfd, path)
                                     : xstrdup("absent");
    char wanted[REPO_DIGEST_BYTES];
    struct err why = ERR_INIT;
    bool mended;

    if (!fault)
        return;
    repo_digest_text(&f->digest, wanted);
    mended = d->repair && mend_file(d, f, path, &why);
    drift_tell(d, w->is_there[i] ? "changed" : "missing", path, wanted, fault, mended,
               &why);
}

static int
check_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    struct walk *w = arg;
    char *path AUTO(free_ptr) = xasprintf("%s/%s", w->dir, e->path);
    const struct repo_file *f;

    (void)err;
    if (S_ISDIR(e->st.st_mode)) {
        check_rights(w->d, path, &e->st);
        return 0;
    }
    f = bsearch(e->path, w->m->files, (size_t)w->m->n_files, sizeof(*f), by_path);
    if (!f) {
        tell_foreign(w->d, path, "a file that was not pushed");
        return 0;
    }
    w->is_there[f - w->m->files] = true;
    check_rights(w->d, path, &e->st);
    return 0;
}

/* Its files, all below `path`. */
static int
check_files(struct drift *d, const struct repo_version *v, const char *path,
            struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    bool *is_there AUTO(free_ptr) = NULL;
    struct walk w = { .d = d, .dir = path, .m = &m };
    struct err why = ERR_INIT;
    struct stat st;
    int e = repo_manifest_get(d->r, &v->digest, &m, err);

    if (e < 0)
        return e;
    w.is_there = is_there = xcalloc((size_t)m.n_files + 1, sizeof(*is_there));
    if (fstatat(d->s->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        check_rights(d, path, &st);
    if (fs_walk(d->s->dirfd, path, check_entry, &w, &why) < 0 && why.sys != ENOENT) {
        /* what it did not get to is not known */
        drift_tell(d, "foreign", path, "files and directories", why.msg, false, NULL);
        return 0;
    }
    err_clear(&why);
    for (int i = 0; i < m.n_files; i++)
        check_file(&w, i);
    return 0;
}

/* ---- names ---- */

/* Each name in a directory of the target. `dir`: "" for its own. */
int
drift_each_name(struct drift *d, const char *model, const char *dir, name_fn *fn,
                struct err *err)
{
    int fd AUTO(fs_close) = -1;
    const struct dirent *ent;
    DIR *stream;
    int e = fs_open_dir(&fd, d->s->dirfd, dir[0] ? dir : ".", err);

    if (e < 0)
        return e;
    stream = fdopendir(fd);
    if (!stream)
        return err_sys(err, errno, "read %s", dir);
    fd = -1; /* the stream's now */
    while (e >= 0 && (ent = readdir(stream)) != NULL) {
        char *path AUTO(free_ptr) =
            xasprintf("%s%s%s", dir, dir[0] ? "/" : "", ent->d_name);

        if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
            e = fn(d, model, path, ent->d_name, err);
    }
    closedir(stream);
    return e;
}

/* Any name but one is foreign. */
static int
check_only(struct drift *d, const char *the_one, const char *path, const char *name,
           struct err *err)
{
    struct stat st;

    if (strcmp(name, the_one) == 0)
        return 0;
    if (fstatat(d->s->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        tell_foreign(d, path, type_of(&st));
    else if (errno != ENOENT)
        return err_sys(err, errno, "stat %s", path);
    return 0;
}

/* ---- a model's directory ---- */

static int
check_version(struct drift *d, const struct repo_version *v, const char *path,
              const struct stat *st, struct err *err)
{
    const char *inside = d->s->layout->inside;
    char *files AUTO(free_ptr) = xasprintf("%s%s", path, inside);
    int e = 0;

    if (inside[0]) {
        check_rights(d, path, st);
        e = drift_each_name(d, inside + 1, path, check_only, err);
    }
    return e < 0 ? e : check_files(d, v, files, err);
}

/* The version whose directory has this name: 1, 0. */
static int
version_named(struct drift *d, const char *model, const char *name,
              struct repo_version *out, struct err *err)
{
    const char *digits = name + strcspn(name, "0123456789");
    const int64_t number = strlen(digits) <= 15 ? strtoll(digits, NULL, 10) : 0;
    struct buf want AUTO(buf_release) = BUF_INIT;
    int64_t id;
    int e;

    if (number <= 0)
        return 0;
    d->s->layout->version_dir(number, &want);
    name += d->s->layout->parks && name[0] == '.';
    if (strcmp(buf_str(&want), name) != 0)
        return 0;
    e = db_get_int(d->r->db, &id, err,
                   "SELECT v.id FROM version v JOIN model m ON m.id = v.model_id "
                   "WHERE m.name = ? AND v.number = ? AND v.state <> 'deleted'",
                   "ti", model, number);
    if (e == 1)
        e = repo_version_get(d->r, id, out, err) < 0 ? -(int)err->code : 1;
    return e;
}

/* A link to another name of the same directory: `latest`, or what an adoption left. */
static bool
is_plain_link(const struct drift *d, const char *path)
{
    struct err err = ERR_INIT;
    struct buf text AUTO(buf_release) = BUF_INIT;

    if (fs_readlink(d->s->dirfd, path, &text, &err) < 0)
        return false;
    return text.len > 0 && buf_str(&text)[0] != '/' && !strstr(buf_str(&text), "..") &&
           faccessat(d->s->dirfd, path, F_OK, 0) == 0;
}

static int
check_name(struct drift *d, const char *model, const char *path, const char *name,
           struct err *err)
{
    struct repo_version v;
    struct stat st;
    int e;

    if (fstatat(d->s->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "stat %s", path);
    if (d->s->layout->render_model && S_ISREG(st.st_mode) &&
        strcmp(name, "config.pbtxt") == 0)
        return 0;
    if (strcmp(name, "latest") == 0 || (S_ISLNK(st.st_mode) && is_plain_link(d, path)))
        return 0; /* `latest` is told with the links */
    e = version_named(d, model, name, &v, err);
    if (e == 1 && S_ISDIR(st.st_mode))
        return check_version(d, &v, path, &st, err);
    if (e >= 0)
        tell_foreign(d, path, type_of(&st));
    return e < 0 ? e : 0;
}

/* The model whose directory has this name: 1, 0. */
static int
model_named(struct drift *d, const char *name, struct buf *model, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(d->r->db, &st, err, "SELECT name FROM model", "");

    while (e >= 0 && (e = db_step(st, err)) == 1) {
        struct buf dir AUTO(buf_release) = BUF_INIT;

        repo_name_encode(db_text(st, 0), &dir);
        if (strcmp(buf_str(&dir), name) != 0)
            continue;
        buf_adds(model, db_text(st, 0));
        return 1;
    }
    return e;
}

/* A name where models lie; `where`: in their directory, or above it, where each has
 * its `latest`. */
static int
check_model(struct drift *d, const char *where, const char *path, const char *name,
            struct err *err)
{
    struct buf model AUTO(buf_release) = BUF_INIT;
    struct stat st;
    int e;

    if (fstatat(d->s->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "stat %s", path);
    if (S_ISLNK(st.st_mode) && is_plain_link(d, path))
        return 0;
    e = S_ISDIR(st.st_mode) ? model_named(d, name, &model, err) : 0;
    if (e == 0)
        tell_foreign(d, path, type_of(&st));
    if (e != 1)
        return e;
    check_rights(d, path, &st);
    if (strcmp(where, d->s->layout->models) == 0)
        check_readers(d, buf_str(&model), path);
    return strcmp(where, d->s->layout->models) == 0
               ? drift_each_name(d, buf_str(&model), path, check_name, err)
               : drift_each_name(d, "latest", path, check_only, err);
}

int
drift_check_top(struct drift *d, const char *where, const char *path, const char *name,
                struct err *err)
{
    const char *models = d->s->layout->models;
    const size_t n = strlen(models);
    struct stat st;

    if (strcmp(name, SITE_DOT) == 0 || strcmp(name, "lost+found") == 0 ||
        (d->s->layout->render && strcmp(name, LAYOUT_CONFIG_LINK) == 0))
        return 0;
    if (n == 0 || strlen(name) != n - 1 || strncmp(name, models, n - 1) != 0)
        return check_model(d, where, path, name, err);
    if (fstatat(d->s->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "stat %s", path);
    if (!S_ISDIR(st.st_mode)) {
        tell_foreign(d, path, type_of(&st));
        return 0;
    }
    check_rights(d, path, &st);
    return drift_each_name(d, models, path, check_model, err);
}
