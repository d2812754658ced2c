/* SPDX-License-Identifier: Apache-2.0 */
/* What lies around a checkpoint: the state file `checkpoint` that says which is the
 * newest, and checkpoints of the old form (V1), which are told from missing ones.
 *
 * `checkpoint` is a CheckpointState in text format.
 * V1: the tables themselves, PREFIX or PREFIX-SSSSS-of-NNNNN, without an index. */
#include "savedmodel/sm_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define STATE_MAX_BYTES ((size_t)64 << 20)

int
sm_ckpt_state_read(struct sm_ckpt_state *out, int dirfd, const char *path,
                   struct err *err)
{
    struct sm_file f AUTO(sm_file_release) = { .heap = NULL };
    struct buf raw AUTO(buf_release) = { .cap_bytes = STATE_MAX_BYTES };
    struct sm_field v;
    *out = (struct sm_ckpt_state){ .latest = { "", 0 } };
    int rc = sm_file_open(&f, dirfd, path, err);
    if (rc < 0)
        return rc;
    if (sm_pbtxt(f.bytes, SM_M_CheckpointState, &raw, err) < 0)
        return err_ctx(err, "%s", path);
    struct str all = { buf_str(&raw), raw.len }, it = all, path_of;
    out->latest = sm_pb_bytes(all, 1);
    while (sm_pb_next_msg(&it, 2, &path_of) > 0)
        out->n++;
    out->paths = xcalloc((size_t)out->n + 1, sizeof(*out->paths));
    out->times = xcalloc((size_t)out->n + 1, sizeof(*out->times));
    out->n = 0;
    for (it = all; sm_pb_next_msg(&it, 2, &path_of) > 0;)
        out->paths[out->n++] = path_of;
    for (it = all; sm_pb_next(&it, &v) > 0;) {
        uint64_t bits;
        while (v.num == 3 && v.wire == 2 && v.bytes.n > 0 &&
               sm_pb_packed_next(&v.bytes, 1, &bits)) {
            if (out->n_times < out->n)
                memcpy(&out->times[out->n_times++], &bits, sizeof(bits));
        }
    }
    if (sm_pb_get(all, 4, &v))
        memcpy(&out->last_preserved, &v.v, sizeof(v.v));
    out->own = buf_take(&raw);
    return 0;
}

void
sm_ckpt_state_release(struct sm_ckpt_state *s)
{
    free(s->paths);
    free(s->times);
    free(s->own);
    *s = (struct sm_ckpt_state){ .latest = { "", 0 } };
}

/* BASE-SSSSS-of-NNNNN with at least five digits each; with an empty base: of any but
 * the data of a V2 one. */
static bool
is_shard(const char *name, const char *base)
{
    const char *of = strstr(name, "-of-");
    size_t n = strlen(base);
    if (n == 0 && of && !strstr(name, ".data-")) {
        while (of > name && of[-1] >= '0' && of[-1] <= '9')
            of--;
        n = of > name ? (size_t)(of - name) - 1 : 0;
    }
    if (strncmp(name, base, strlen(base)) != 0 || name[n] != '-')
        return false;
    name += n + 1;
    size_t digits = strspn(name, "0123456789");
    if (digits < 5 || strncmp(name + digits, "-of-", 4) != 0)
        return false;
    name += digits + 4;
    digits = strspn(name, "0123456789");
    return digits >= 5 && name[digits] == '\0';
}

bool
sm_ckpt_is_v1(int dirfd, const char *prefix)
{
    struct sm_file f AUTO(sm_file_release) = { .heap = NULL };
    struct err err = ERR_INIT;
    if (sm_file_open(&f, dirfd, prefix, &err) == 0)
        return sm_table_magic(f.bytes);
    err_clear(&err);
    const char *slash = strrchr(prefix, '/');
    char *dir AUTO(free_ptr) =
        slash ? xstrndup(prefix, (size_t)(slash - prefix)) : xstrdup(".");
    int fd;
    bool found = false;
    if (fs_open_dir(&fd, dirfd, *dir ? dir : "/", &err) < 0)
        return false;
    DIR *d = fdopendir(fd);
    if (!d) {
        (void)close(fd);
        return false;
    }
    for (struct dirent *e; !found && (e = readdir(d));)
        found = is_shard(e->d_name, slash ? slash + 1 : prefix);
    (void)closedir(d);
    return found;
}

/* ---- checkpoints of a directory ---- */

#define NAMES_MAX 100000

void
sm_ckpt_names_release(struct sm_ckpt_names *l)
{
    for (int i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
    *l = (struct sm_ckpt_names){ .v = NULL };
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int
sm_ckpt_names(struct sm_ckpt_names *out, int dirfd, const char *dir, struct err *err)
{
    int fd, rc = fs_open_dir(&fd, dirfd, dir, err);
    *out = (struct sm_ckpt_names){ .v = NULL };
    if (rc < 0)
        return rc;
    DIR *d = fdopendir(fd);
    if (!d) {
        rc = err_sys(err, errno, "read %s", dir);
        (void)close(fd);
        return rc;
    }
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n <= 6 || e->d_name[0] == '.' || strcmp(e->d_name + n - 6, ".index") != 0)
            continue;
        if (out->n == NAMES_MAX)
            rc =
                err_set(err, ERR_LIMIT, "%s: more than %d checkpoints", dir, NAMES_MAX);
        if ((out->n & (out->n - 1)) == 0) /* full at each power of two */
            out->v =
                xreallocarray(out->v, out->n ? 2 * (size_t)out->n : 1, sizeof(*out->v));
        out->v[out->n++] = xstrndup(e->d_name, n - 6);
    }
    (void)closedir(d);
    if (out->n)
        qsort(out->v, (size_t)out->n, sizeof(*out->v), by_text);
    return rc;
}

int64_t
sm_ckpt_bytes(int dirfd, const char *prefix, int n_shards)
{
    int64_t bytes = 0;
    struct stat st;
    for (int i = -1; i < n_shards; i++) {
        char *path AUTO(free_ptr) =
            i < 0 ? xasprintf("%s.index", prefix)
                  : xasprintf("%s.data-%05d-of-%05d", prefix, i, n_shards);
        if (fstatat(dirfd, path, &st, 0) == 0 && S_ISREG(st.st_mode))
            bytes += st.st_size;
    }
    return bytes;
}

void
sm_ckpt_beside(const char *dir, struct str path, struct buf *out)
{
    if (path.n == 0 || path.p[0] != '/')
        buf_addf(out, "%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/");
    buf_add(out, path.p, path.n);
}

static bool
has_index(int dirfd, const char *prefix)
{
    char *path AUTO(free_ptr) = xasprintf("%s.index", prefix);
    return faccessat(dirfd, path, F_OK, 0) == 0;
}

/* The newest that the state file names. */
static int
newest(const struct sm_ckpt_state *s, int dirfd, const char *dir, struct buf *out,
       struct err *err)
{
    struct str path = s->latest.n || s->n == 0 ? s->latest : s->paths[s->n - 1];
    if (path.n == 0)
        return err_set(err, ERR_NOTFOUND, "%s/checkpoint names no checkpoint", dir);
    sm_ckpt_beside(dir, path, out);
    if (has_index(dirfd, buf_str(out)) || sm_ckpt_is_v1(dirfd, buf_str(out)))
        return 0;
    const char *slash = memrchr(path.p, '/', path.n);
    struct str name =
        slash ? (struct str){ slash + 1, path.n - (size_t)(slash - path.p) - 1 } : path;
    struct buf moved AUTO(buf_release) = BUF_INIT;
    sm_ckpt_beside(dir, name, &moved);
    bool is_moved = slash && has_index(dirfd, buf_str(&moved));
    return err_set(err, ERR_NOTFOUND,
                   "%s/checkpoint names %.*s, which is not there%s%s", dir,
                   STR_ARG(path),
                   is_moved ? "; the directory was moved: name the checkpoint itself, "
                            : "; sluice checkpoint list says what is",
                   is_moved ? buf_str(&moved) : "");
}

int
sm_ckpt_find(int dirfd, const char *path, struct buf *prefix, struct err *err)
{
    struct sm_ckpt_state state AUTO(sm_ckpt_state_release) = { .n = 0 };
    struct sm_ckpt_names names AUTO(sm_ckpt_names_release) = { .v = NULL };
    struct stat st;
    if (fstatat(dirfd, path, &st, 0) < 0 || !S_ISDIR(st.st_mode) ||
        has_index(dirfd, path)) {
        size_t n = strlen(path);
        bool is_index = n > 6 && strcmp(path + n - 6, ".index") == 0;
        buf_add(prefix, path, is_index ? n - 6 : n);
        return 0;
    }
    char *file AUTO(free_ptr) = xasprintf("%s/checkpoint", path);
    int rc = sm_ckpt_state_read(&state, dirfd, file, err);
    if (rc == 0)
        return newest(&state, dirfd, path, prefix, err);
    if (rc != -ERR_NOTFOUND)
        return rc;
    err_clear(err);
    char *variables AUTO(free_ptr) = xasprintf("%s/variables/variables", path);
    if (has_index(dirfd, variables)) {
        buf_adds(prefix, variables);
        return 0;
    }
    rc = sm_ckpt_names(&names, dirfd, path, err);
    if (rc < 0)
        return rc;
    if (names.n > 1)
        return err_set(
            err, ERR_NOTFOUND,
            "%s has no state file 'checkpoint' and %d checkpoints: name one, "
            "such as %s/%s",
            path, names.n, path, names.v[names.n - 1]);
    sm_ckpt_beside(path, str_of(names.n ? names.v[0] : ""), prefix);
    /* Of a V1 one without a name sm_bundle_open says what it is. */
    if (names.n == 0 && !sm_ckpt_is_v1(dirfd, buf_str(prefix)))
        return err_set(err, ERR_NOTFOUND, "there is no checkpoint in %s", path);
    return 0;
}
