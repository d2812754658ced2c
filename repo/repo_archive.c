/* SPDX-License-Identifier: Apache-2.0 */
/* From an archive to a directory of stage/ that can be ingested. What sluice-unpack
 * says is believed in nothing: names, kinds, sizes and numbers are checked here. */
#include "repo/repo_int.h"
#include "repo/unpack/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Weights hardly shrink; whoever needs more unpacks by hand. */
#define BOMB_FACTOR 200
#define BOMB_FREE_BYTES ((int64_t)256 << 20)
#define WRITEOUT_BYTES ((int64_t)8 << 20)
#define PARTS_MAX 60 /* of a path: fs_walk goes 64 directories deep */

struct unpacking {
    const struct repo_unpack_to *to;
    int n_entries;
    int64_t total_bytes;
    struct buf path; /* of the file at hand */
    int fd;          /* -1: none */
    int64_t want_bytes, got_bytes;
    int64_t sent_bytes; /* the kernel was told to write so many of them */
};

static int
refuse(const char *path, const char *why, struct err *err)
{
    struct buf shown AUTO(buf_release) = BUF_INIT;

    repo_path_encode(path, &shown);
    return err_set(err, ERR_INVALID, "%.300s: %s", buf_str(&shown), why);
}

/* The path below the top, "" for the top itself: without ".", empty parts and a last
 * slash. */
static int
clean(const char *path, struct buf *out, struct err *err)
{
    const char *whole = path;
    int n_parts = 0;

    buf_clear(out);
    if (strlen(path) > REPO_PATH_MAX)
        return refuse(path, "a name longer than 4095 bytes", err);
    if (path[0] == '/')
        return refuse(path, "an absolute name: an archive of a model has none", err);
    for (size_t n; *path; path += n + (path[n] == '/')) {
        n = strcspn(path, "/");
        if (n == 2 && path[0] == '.' && path[1] == '.')
            return refuse(whole, "a name with '..': it could leave its directory", err);
        if (n == 0 || (n == 1 && path[0] == '.'))
            continue;
        if (++n_parts > PARTS_MAX)
            return refuse(whole, "more than 60 directories deep", err);
        if (out->len > 0)
            buf_addc(out, '/');
        buf_add(out, path, n);
    }
    return repo_check_file_path(buf_str(out), err);
}

static int
end_file(struct unpacking *u, struct err *err)
{
    const bool is_whole = u->want_bytes < 0 || u->want_bytes == u->got_bytes;

    if (u->fd < 0)
        return 0;
    fs_close(&u->fd);
    if (is_whole)
        return 0;
    return err_set(err, ERR_CORRUPT,
                   "%s has %" PRId64 " bytes of the %" PRId64
                   " that the archive promises: it is damaged",
                   buf_str(&u->path), u->got_bytes, u->want_bytes);
}

static int
begin_file(struct unpacking *u, struct err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    char *path = u->path.data;
    char *slash = strrchr(path, '/');
    int sys, r = fs_open(&u->fd, u->to->dirfd, path, flags, 0600, err);

    if (r < 0 && err->sys == ENOENT && slash) {
        err_clear(err);
        *slash = '\0';
        r = fs_mkdirs(u->to->dirfd, path, 0700, err);
        *slash = '/';
        if (r == 0)
            r = fs_open(&u->fd, u->to->dirfd, path, flags, 0600, err);
    }
    sys = r < 0 ? err->sys : 0;
    if (sys != EEXIST && sys != ENOTDIR && sys != ENAMETOOLONG)
        return r;
    err_clear(err);
    return refuse(path,
                  sys == EEXIST    ? "is in the archive twice"
                  : sys == ENOTDIR ? "a file of the archive is the directory of another"
                                   : "a part of its name is longer than 255 bytes",
                  err);
}

static int
make_dir(struct unpacking *u, struct err *err)
{
    int r = fs_mkdirs(u->to->dirfd, u->path.data, 0700, err);
    int sys = r < 0 ? err->sys : 0;

    if (sys != ENOTDIR && sys != ENAMETOOLONG)
        return r;
    err_clear(err);
    return refuse(u->path.data,
                  sys == ENOTDIR ? "a file of the archive is a directory, too"
                                 : "a part of its name is longer than 255 bytes",
                  err);
}

static int
bomb(struct err *err)
{
    return err_set(err, ERR_LIMIT,
                   "it unpacks to more than %d times its size: unpack it by hand and "
                   "push the directory if it is what you think it is",
                   BOMB_FACTOR);
}

static int
on_entry(void *arg, const struct unpack_entry *e, struct err *err)
{
    struct unpacking *u = arg;
    int r = end_file(u, err);

    if (r == 0)
        r = clean(e->path, &u->path, err);
    if (r < 0)
        return r;
    if (e->kind != UNPACK_FILE && e->kind != UNPACK_DIR) {
        struct buf why AUTO(buf_release) = BUF_INIT;

        buf_addf(&why,
                 "%s; a model is files and directories: pack it with those that "
                 "are meant",
                 unpack_kind_text(e->kind));
        return refuse(e->path, buf_str(&why), err);
    }
    if (++u->n_entries > REPO_FILES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d entries", REPO_FILES_MAX);
    if (e->kind == UNPACK_DIR)
        return u->path.len > 0 ? make_dir(u, err) : 0;
    if (u->path.len == 0)
        return refuse(e->path, "a file without a name", err);
    if (e->mode & (S_ISUID | S_ISGID))
        return refuse(e->path, "a setuid or setgid file is no part of a model", err);
    if (e->size_bytes > u->to->most_bytes - u->total_bytes)
        return bomb(err);
    u->want_bytes = e->size_bytes;
    u->got_bytes = u->sent_bytes = 0;
    return begin_file(u, err);
}

static int
on_data(void *arg, const void *p, size_t n, struct err *err)
{
    struct unpacking *u = arg;
    int r;

    u->total_bytes += (int64_t)n;
    if (u->total_bytes > u->to->most_bytes)
        return bomb(err);
    r = fs_write_all(u->fd, p, n, buf_str(&u->path), err);
    if (r < 0)
        return r;
    u->got_bytes += (int64_t)n;
    /* so that there is little left when they are synced */
    if (u->got_bytes - u->sent_bytes >= WRITEOUT_BYTES) {
        fs_writeout(u->fd, u->sent_bytes, u->got_bytes - u->sent_bytes);
        u->sent_bytes = u->got_bytes;
    }
    if (u->to->progress)
        u->to->progress(u->to->arg, u->total_bytes);
    return 0;
}

int
repo_unpack_stream(int fd, const struct repo_unpack_to *to, bool is_reply,
                   struct err *err)
{
    struct unpacking u = { .to = to, .path = BUF_INIT, .fd = -1 };
    const struct unpack_sink sink = { .entry = on_entry, .data = on_data, .arg = &u };
    int r = is_reply ? unpack_receive(fd, &sink, err) : unpack_read(fd, &sink, err);

    if (r == 0)
        r = end_file(&u, err);
    fs_close(&u.fd);
    buf_release(&u.path);
    return r;
}

/* ---- where in it the model is ---- */

static bool
has_model(int dirfd)
{
    static const char *const names[] = { "saved_model.pb", "saved_model.pbtxt",
                                         "saved_model.cpb" };
    bool any = false;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        any |= faccessat(dirfd, names[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    return any;
}

static void
close_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

/* The only entry of a directory; NULL: none, or several. The caller frees. */
static char *
only_entry(int dirfd)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir AUTO(close_dir) = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *d;
    char *name = NULL;

    while (dir && (d = readdir(dir)) != NULL) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        if (name) {
            free(name);
            return NULL;
        }
        name = xstrdup(d->d_name);
    }
    return name;
}

/* An archive of a directory has that directory at its top. */
static char *
find_root(int dirfd, const char *path)
{
    char *name AUTO(free_ptr) = has_model(dirfd) ? NULL : only_entry(dirfd);
    int fd AUTO(fs_close) = -1;

    if (name)
        fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && has_model(fd) ? xasprintf("%s/%s", path, name) : xstrdup(path);
}

int
repo_unpack(struct repo *r, const char *archive,
            void (*progress)(void *arg, int64_t done_bytes), void *arg,
            struct repo_view *out, char **root, struct err *err)
{
    struct repo_view v AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct repo_unpack_to to = { .progress = progress, .arg = arg };
    struct repo_seen before, after;
    int fd AUTO(fs_close) = -1;
    struct stat st;
    int rc = fs_open(&fd, AT_FDCWD, archive, O_RDONLY | O_NONBLOCK, 0, err);

    if (rc == 0 && fstat(fd, &st) < 0)
        rc = err_sys(err, errno, "stat %s", archive);
    if (rc == 0 && !S_ISREG(st.st_mode))
        rc = err_set(err, ERR_INVALID, "%s: neither a directory nor an archive",
                     archive);
    if (rc == 0)
        rc = repo_stage_open(r, &v, err);
    if (rc < 0)
        return rc;
    before = repo_seen_of(&st);
    to.dirfd = v.lock_fd;
    to.most_bytes = st.st_size > (INT64_MAX - BOMB_FREE_BYTES) / BOMB_FACTOR
                        ? INT64_MAX
                        : BOMB_FREE_BYTES + BOMB_FACTOR * st.st_size;
    rc = repo_unpack_stream(fd, &to, false, err);
    if (rc < 0)
        return rc;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", archive);
    after = repo_seen_of(&st);
    if (!repo_seen_same(&before, &after))
        return err_set(err, ERR_CONFLICT,
                       "%s: modified during push; push again when its writer is done",
                       archive);
    *root = find_root(v.lock_fd, v.path);
    *out = v;
    v = (struct repo_view)REPO_VIEW_INIT;
    return 0;
}
