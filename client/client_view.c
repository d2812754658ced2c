/* SPDX-License-Identifier: Apache-2.0 */
/* Versions that are kept here for programs that read them (exec): each in a directory
 * named by its digest, with a lock beside it that whoever reads holds shared, and who
 * writes or removes holds alone.
 *
 *   $XDG_CACHE_HOME/sluice/views/<64 hex>/       the files, all verified
 *   $XDG_CACHE_HOME/sluice/views/<64 hex>.lock   its time: when it was last wanted */
#include "client/client_int.h"

#include "base/crypto.h"
#include "base/fs.h"
#include "client/tree.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEPT_BYTES (INT64_C(20) << 30) /* beside those that are being read */
#define KEPT_MAX 64
#define HEX 64

/* The lock of a digest, held; one that was removed while we waited is none. */
static int
lock(const char *path, int how, int *out, struct err *err)
{
    for (;;) {
        int fd AUTO(fs_close) = -1;
        struct stat is, was;

        if (fs_open(&fd, AT_FDCWD, path, O_RDWR | O_CREAT, 0600, err) < 0)
            return -(int)err->code;
        while (flock(fd, how) < 0)
            if (errno != EINTR)
                return errno == EWOULDBLOCK ? 1 : err_sys(err, errno, "lock %s", path);
        if (fstat(fd, &was) < 0)
            return err_sys(err, errno, "look at %s", path);
        if (stat(path, &is) == 0 && is.st_ino == was.st_ino) {
            *out = fd;
            fd = -1;
            return 0;
        }
    }
}

/* ---- its bounds ---- */

struct kept {
    char hex[HEX + 1];
    int64_t used_ns, bytes;
};

static int
add_bytes(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)err;
    *(int64_t *)arg += e->st.st_size;
    return 0;
}

static int
by_use(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;

    return x->used_ns < y->used_ns ? 1 : x->used_ns > y->used_ns ? -1 : 0;
}

static int
list_kept(const char *dir, struct kept **out, int *n, struct err *err)
{
    DIR *d = opendir(dir);

    if (!d)
        return err_sys(err, errno, "open %s", dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        struct stat st;
        struct kept *k;

        if (strlen(e->d_name) != HEX + 5 || strcmp(e->d_name + HEX, ".lock") != 0 ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        *out = xreallocarray(*out, (size_t)*n + 1, sizeof(**out));
        k = &(*out)[(*n)++];
        *k = (struct kept){ .bytes = 0 };
        memcpy(k->hex, e->d_name, HEX);
        k->hex[HEX] = '\0';
        k->used_ns = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
    }
    closedir(d);
    return 0;
}

/* Nobody writes to what others read; who removes it may again. */
static int
set_mode(void *arg, const struct fs_entry *e, struct err *err)
{
    const bool sealed = *(const bool *)arg;
    const mode_t mode = S_ISDIR(e->st.st_mode) ? (sealed ? 0555 : 0700) : 0444;

    return (sealed || S_ISDIR(e->st.st_mode)) &&
                   fchmodat(e->dirfd, e->name, mode, 0) < 0
               ? err_sys(err, errno, "chmod %s", e->path)
               : 0;
}

static int
seal(const char *path, bool sealed, struct err *err)
{
    if (!sealed && chmod(path, 0700) < 0 && errno != ENOENT)
        return err_sys(err, errno, "chmod %s", path);
    if (access(path, F_OK) == 0 && fs_walk(AT_FDCWD, path, set_mode, &sealed, err) < 0)
        return -(int)err->code;
    return sealed && chmod(path, 0555) < 0 ? err_sys(err, errno, "chmod %s", path) : 0;
}

static int
remove_kept(const char *dir, const char *hex, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf("%s/%s", dir, hex);
    char *name AUTO(free_ptr) = xasprintf("%s.lock", path);
    int fd AUTO(fs_close) = -1;
    int r = lock(name, LOCK_EX | LOCK_NB, &fd, err);

    if (r != 0)
        return r < 0 ? r : 0; /* somebody reads it */
    r = seal(path, false, err);
    if (r == 0)
        r = fs_remove_tree(AT_FDCWD, path, err);
    return r < 0 ? r : fs_unlink(AT_FDCWD, name, err);
}

/* The least wanted go, once there is more than the bounds allow. */
static int
sweep(const char *dir, const char *keep, struct err *err)
{
    struct kept *all AUTO(free_ptr) = NULL;
    int64_t bytes = 0;
    int n = 0, r = list_kept(dir, &all, &n, err);

    if (r == 0 && n > 0)
        qsort(all, (size_t)n, sizeof(*all), by_use);
    for (int i = 0; r == 0 && i < n; i++) {
        char *path AUTO(free_ptr) = xasprintf("%s/%s", dir, all[i].hex);

        if (fs_exists(AT_FDCWD, path, err) == 1)
            r = fs_walk(AT_FDCWD, path, add_bytes, &all[i].bytes, err);
        bytes += all[i].bytes;
        if (r == 0 && (bytes > KEPT_BYTES || i >= KEPT_MAX) &&
            strcmp(all[i].hex, keep) != 0)
            r = remove_kept(dir, all[i].hex, err);
    }
    return r;
}

/* ---- a version ---- */

void
client_view_close(struct client_view *v)
{
    fs_close(&v->lock_fd);
    free(v->path);
    *v = (struct client_view)CLIENT_VIEW_INIT;
}

/* Files of a version that was here last are not sent again. */
static char *
newest_other(const char *dir, const char *hex)
{
    struct err err = ERR_INIT;
    struct kept *all AUTO(free_ptr) = NULL;
    char *path = NULL;
    int n = 0;

    if (list_kept(dir, &all, &n, &err) < 0)
        err_clear(&err);
    if (n > 0)
        qsort(all, (size_t)n, sizeof(*all), by_use);
    for (int i = 0; i < n && !path; i++) {
        path = xasprintf("%s/%s", dir, all[i].hex);
        if (strcmp(all[i].hex, hex) == 0 || fs_exists(AT_FDCWD, path, &err) != 1) {
            err_clear(&err);
            free(path);
            path = NULL;
        }
    }
    return path;
}

/* Under the lock: there, or brought. */
static int
fill(struct client *c, const char *dir, const char *hex, const char *tree,
     const char *path, struct err *err)
{
    int there = fs_exists(AT_FDCWD, path, err);

    if (there != 0)
        return there < 0 ? there : 0;
    char *have AUTO(free_ptr) = newest_other(dir, hex);
    if (client_pull_tree(c, tree, path, have, err) < 0)
        return -(int)err->code;
    return seal(path, true, err);
}

static int
open_kept(struct client *c, const char *tree, const char *hex, struct client_view *out,
          struct err *err)
{
    struct buf dir AUTO(buf_release) = BUF_INIT;
    struct err second = ERR_INIT;
    int r = client_cache_dir("/views", &dir, err);

    if (r < 0)
        return r;
    out->path = xasprintf("%s/%s", buf_str(&dir), hex);
    char *name AUTO(free_ptr) = xasprintf("%s.lock", out->path);
    for (;;) {
        if (lock(name, LOCK_SH, &out->lock_fd, err) < 0)
            return -(int)err->code;
        r = fs_exists(AT_FDCWD, out->path, err);
        if (r != 0)
            break;
        fs_close(&out->lock_fd);
        if (lock(name, LOCK_EX, &out->lock_fd, err) < 0 ||
            fill(c, buf_str(&dir), hex, tree, out->path, err) < 0)
            return -(int)err->code;
        fs_close(&out->lock_fd); /* another one may come between, and remove it */
    }
    if (r < 0)
        return r;
    (void)!futimens(out->lock_fd, NULL);
    if (sweep(buf_str(&dir), hex, &second) < 0)
        err_clear(&second); /* too much is kept, which hurts nobody */
    return 0;
}

int
client_view_open(struct client *c, const char *ref, struct client_view *out,
                 cJSON **reply, struct err *err)
{
    cJSON *request AUTO(json_free) = cJSON_CreateObject(), *v AUTO(json_free) = NULL;
    const char *model, *digest, *tree;
    struct digest d;
    double number;

    *reply = NULL;
    json_put_str(request, "ref", ref);
    if (client_call_trees(c, "pull", request, &v, err) < 0)
        return -(int)err->code;
    const cJSON *trees = cJSON_GetObjectItemCaseSensitive(v, "trees");
    if (json_str(v, "model", NULL, &model, "its answer", err) < 0 ||
        json_num(v, "number", -1, &number, "its answer", err) < 0 ||
        json_str(v, "digest", NULL, &digest, "its answer", err) < 0 ||
        json_str(trees, "dest", NULL, &tree, "its answer", err) < 0)
        return -(int)err->code;
    if (!repo_digest_parse(digest, &d))
        return err_set(err, ERR_INVALID, "its answer: '%.80s' is no digest", digest);
    if (open_kept(c, tree, digest + 7, out, err) < 0)
        return err_ctx(err, "exec %s", ref);
    *reply = cJSON_CreateObject();
    char *name AUTO(free_ptr) = xasprintf("%s@%.0f", model, number);
    json_put_str(*reply, "version", name);
    json_put_str(*reply, "digest", digest);
    json_put_str(*reply, "model_dir", out->path);
    return 0;
}
