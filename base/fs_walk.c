/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"
#include "base/fs_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Each level holds a descriptor; deeper than this is no model. */
#define WALK_DEPTH_MAX 64

const char *
fs_kind(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "a regular file";
    case S_IFDIR:
        return "a directory";
    case S_IFLNK:
        return "a symlink";
    case S_IFIFO:
        return "a FIFO";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

/* The names of one directory. In a walk a directory is there twice: as "a", when it
 * is reported, and as "a/", when its entries are: that sorts whole paths bytewise
 * ("a", "a.b", "a/c"). */
struct names {
    char **v;
    size_t n;
    size_t alloc;
};

static void
names_release(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->v[i]);
    free(names->v);
}

static void
names_take(struct names *names, char *name)
{
    if (names->n == names->alloc) {
        names->alloc = names->alloc ? names->alloc * 2 : 16;
        names->v = xreallocarray(names->v, names->alloc, sizeof(*names->v));
    }
    names->v[names->n++] = name;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
close_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

/* All names in the directory of `fd` but "." and ".."; in directory order. */
static int
read_names(struct names *out, int fd, const char *path, struct err *err)
{
    DIR *dir AUTO(close_dir) = NULL;
    int dir_fd AUTO(fs_close) = -1;
    const struct dirent *d;
    int r = fs_open_dir(&dir_fd, fd, ".", err);

    if (r < 0)
        return err_ctx(err, "list %s", path);
    dir = fdopendir(dir_fd);
    if (!dir)
        return err_sys(err, errno, "list %s", path);
    dir_fd = -1; /* dir owns it now */
    while (errno = 0, (d = readdir(dir)) != NULL)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            names_take(out, xstrdup(d->d_name));
    if (errno != 0)
        return err_sys(err, errno, "list %s", path);
    return 0;
}

struct walk {
    fs_walk_fn *fn;
    void *arg;
    struct buf path; /* of the entry at hand */
    int depth;
};

static int walk_dir(struct walk *w, int fd, struct err *err);

/* Reports one entry, or goes into it when its name ends in '/'. */
static int
walk_name(struct walk *w, int fd, char *name, struct err *err)
{
    struct fs_entry e = { .path = buf_str(&w->path), .name = name, .dirfd = fd };
    const size_t len = strlen(name);
    int sub AUTO(fs_close) = -1;
    int r;

    if (name[len - 1] == '/') {
        name[len - 1] = '\0';
        r = fs_open(&sub, fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
        if (r < 0)
            return err_ctx(err, "%s", e.path);
        return walk_dir(w, sub, err);
    }
    if (fstatat(fd, name, &e.st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "stat %s", e.path);
    return w->fn(w->arg, &e, err);
}

/* Adds "name/" for each directory and refuses what is neither file nor directory. */
static int
add_descents(struct walk *w, struct names *names, int fd, struct err *err)
{
    const size_t n = names->n;

    for (size_t i = 0; i < n; i++) {
        const char *name = names->v[i];
        struct stat st;

        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return err_sys(err, errno, "stat %s%s", buf_str(&w->path), name);
        if (S_ISDIR(st.st_mode))
            names_take(names, xasprintf("%s/", name));
        else if (!S_ISREG(st.st_mode))
            return err_set(err, ERR_INVALID, "%s%s: %s, not a regular file%s",
                           buf_str(&w->path), name, fs_kind(st.st_mode),
                           S_ISLNK(st.st_mode) ? ": put there what it points to" : "");
    }
    return 0;
}

/* w->path is "" or ends in '/'. */
static int
walk_dir(struct walk *w, int fd, struct err *err)
{
    struct names names AUTO(names_release) = { .v = NULL };
    const size_t base_len = w->path.len;
    int r;

    if (w->depth == WALK_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "%s: more than %d directories deep",
                       buf_str(&w->path), WALK_DEPTH_MAX);
    w->depth++;
    r = read_names(&names, fd, base_len > 0 ? w->path.data : ".", err);
    if (r == 0)
        r = add_descents(w, &names, fd, err);
    if (r == 0 && names.n > 0)
        qsort(names.v, names.n, sizeof(*names.v), compare_names);
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        buf_adds(&w->path, names.v[i]);
        r = walk_name(w, fd, names.v[i], err);
        w->path.len = base_len;
        w->path.data[base_len] = '\0';
    }
    w->depth--;
    return r;
}

int
fs_walk(int dirfd, const char *path, fs_walk_fn *fn, void *arg, struct err *err)
{
    struct walk w = { .fn = fn, .arg = arg, .path = BUF_INIT };
    int fd AUTO(fs_close) = -1;
    int r = fs_open_dir(&fd, dirfd, path, err);

    if (r == 0)
        r = walk_dir(&w, fd, err);
    buf_release(&w.path);
    return r;
}

/* One rmdir or unlink; an errno, 0 for what is gone already. */
static int
remove_one(int dirfd, const char *name, int flags)
{
    int e = fs_fault("unlink");

    if (e == 0 && unlinkat(dirfd, name, flags) < 0)
        e = errno;
    return e == ENOENT ? 0 : e;
}

static int
remove_tree(int dirfd, const char *name, int depth, struct err *err)
{
    struct names names AUTO(names_release) = { .v = NULL };
    int fd AUTO(fs_close) = -1;
    struct stat st;
    int r, e;

    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "stat %s", name);
    if (!S_ISDIR(st.st_mode)) {
        e = remove_one(dirfd, name, 0);
        return e == 0 ? 0 : err_sys(err, e, "remove %s", name);
    }
    if (depth == WALK_DEPTH_MAX)
        return err_set(err, ERR_LIMIT, "%s: more than %d directories deep", name,
                       WALK_DEPTH_MAX);
    r = fs_open(&fd, dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
    if (r < 0)
        return r;
    if ((st.st_mode & S_IRWXU) != S_IRWXU) /* sealed trees are 0555 */
        if (fchmod(fd, (st.st_mode & 0777) | S_IRWXU) < 0)
            return err_sys(err, errno, "make %s writable", name);
    r = read_names(&names, fd, name, err);
    for (size_t i = 0; r == 0 && i < names.n; i++)
        if ((r = remove_tree(fd, names.v[i], depth + 1, err)) < 0)
            return err_ctx(err, "%s", name);
    if (r < 0)
        return r;
    e = remove_one(dirfd, name, AT_REMOVEDIR);
    return e == 0 ? 0 : err_sys(err, e, "remove %s", name);
}

int
fs_remove_tree(int dirfd, const char *path, struct err *err)
{
    return remove_tree(dirfd, path, 0, err);
}
