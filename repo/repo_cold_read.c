/* SPDX-License-Identifier: Apache-2.0 */
/* An object read through its delta and the deltas that one stands on, down to a whole
 * file. Bytes that come out are not to be believed before the whole was hashed. */
#include "repo/cold_int.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <zstd.h>

#define CHUNK_BYTES ((size_t)1 << 20)
#define PART "a cold object or its base"

/* 1 and *fd, 0: there is none. */
static int
open_part(int *fd, int store_dirfd, const char *folder, const struct digest *d,
          struct err *err)
{
    char path[COLD_PATH_BYTES];
    int r;

    cold_path(folder, d, path);
    r = fs_open(fd, store_dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
    if (r < 0 && err->sys == ENOENT) {
        err_clear(err);
        return 0;
    }
    return r < 0 ? r : 1;
}

static int
add_level(struct cold_reader *rd, int delta_fd, const char *what, struct err *err)
{
    struct cold_file *f;
    int r;

    if (rd->n_levels > REPO_COLD_DEPTH_MAX) {
        fs_close(&delta_fd);
        return err_set(err, ERR_CORRUPT, "%s: stands on more than %d others", what,
                       REPO_COLD_DEPTH_MAX);
    }
    rd->levels =
        xreallocarray(rd->levels, (size_t)rd->n_levels + 1, sizeof(*rd->levels));
    f = &rd->levels[rd->n_levels];
    r = cold_file_open(f, delta_fd, what, err);
    rd->n_levels += r == 0;
    return r;
}

/* What the last level stands on; 0: all is open now. Whole files are preferred. */
static int
open_below(struct cold_reader *rd, int store_dirfd, const struct digest *d,
           int64_t least_bytes, struct err *err)
{
    char path[COLD_PATH_BYTES], hex[DIGEST_HEX_BYTES];
    struct stat st;
    int fd = -1, r = open_part(&fd, store_dirfd, "objects", d, err);

    if (r == 1) {
        rd->whole_fd = fd;
        cold_path("objects", d, path);
        if (fstat(fd, &st) < 0)
            return err_sys(err, errno, "stat %s", path);
        rd->whole_bytes = st.st_size;
        return S_ISREG(st.st_mode) && st.st_size >= least_bytes
                   ? 0
                   : err_set(err, ERR_CORRUPT, "%s: not a file of %lld bytes or more",
                             path, (long long)least_bytes);
    }
    if (r == 0)
        r = open_part(&fd, store_dirfd, "cold", d, err);
    if (r == 1) {
        cold_path("cold", d, path);
        r = add_level(rd, fd, path, err);
        if (r < 0)
            return r;
        if (!digest_eq(&rd->levels[rd->n_levels - 1].object, d) ||
            rd->levels[rd->n_levels - 1].size_bytes < least_bytes)
            return err_set(err, ERR_CORRUPT, "%s: is another object's delta", path);
        return 1;
    }
    digest_hex(d, hex);
    return r < 0 ? r : err_set(err, ERR_NOTFOUND, "object %s is not in the store", hex);
}

static int
open_levels(struct cold_reader *rd, int store_dirfd, struct err *err)
{
    int r = 1;

    while (r == 1) {
        const struct cold_file *f = &rd->levels[rd->n_levels - 1];
        const struct digest base = f->base; /* adding a level moves `f` */

        r = f->has_base ? open_below(rd, store_dirfd, &base, f->base_bytes, err) : 0;
        if (r == -ERR_NOTFOUND) {
            err->code = ERR_CORRUPT; /* the object itself is there */
            return err_ctx(err, "the base of a cold object");
        }
    }
    rd->size_bytes = rd->levels[0].size_bytes;
    return r;
}

int
cold_reader_open(struct cold_reader *out, int store_dirfd, const struct digest *d,
                 struct err *err)
{
    int r;

    *out = (struct cold_reader)COLD_READER_INIT;
    r = open_below(out, store_dirfd, d, 0, err);
    if (r == 0)
        out->size_bytes = out->whole_bytes;
    if (r == 1)
        r = open_levels(out, store_dirfd, err);
    if (r < 0)
        cold_reader_close(out);
    return r;
}

int
cold_reader_open_delta(struct cold_reader *out, int store_dirfd, int delta_fd,
                       const char *what, struct err *err)
{
    int fd = dup(delta_fd), r;

    *out = (struct cold_reader)COLD_READER_INIT;
    if (fd < 0)
        return err_sys(err, errno, "open %s again", what);
    r = add_level(out, fd, what, err);
    if (r == 0)
        r = open_levels(out, store_dirfd, err);
    if (r < 0)
        cold_reader_close(out);
    return r;
}

int
cold_open_named(struct cold_reader *rd, int dirfd, const struct digest *d,
                struct err *err)
{
    char path[COLD_PATH_BYTES], hex[DIGEST_HEX_BYTES];
    int fd AUTO(fs_close) = -1;
    int r;

    cold_path("cold", d, path);
    r = fs_open(&fd, dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
    if (r < 0 && err->sys == ENOENT) {
        digest_hex(d, hex);
        err_clear(err);
        return err_set(err, ERR_NOTFOUND, "object %s is not in the store", hex);
    }
    if (r == 0)
        r = cold_reader_open_delta(rd, dirfd, fd, path, err);
    if (r == 0 && !digest_eq(&rd->levels[0].object, d)) {
        cold_reader_close(rd);
        r = err_set(err, ERR_CORRUPT, "%s: is another object's delta", path);
    }
    return r;
}

void
cold_reader_close(struct cold_reader *rd)
{
    for (int i = 0; i < rd->n_levels; i++)
        cold_file_close(&rd->levels[i]);
    free(rd->levels);
    free(rd->unpacked);
    free(rd->packed);
    fs_close(&rd->whole_fd);
    *rd = (struct cold_reader)COLD_READER_INIT;
}

/* ---- one run of bytes ------------------------------------------------------------ */

/* Where `at` of the object comes from, and how far on it does. */
struct run {
    int fd;
    int64_t at; /* in fd; with `zstd` in the unpacked piece */
    int64_t n;
    const struct cold_piece *zstd; /* NULL: as it lies there */
};

static const struct cold_piece *
find_piece(const struct cold_file *f, int64_t at)
{
    size_t low = 0, high = f->n_pieces;

    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;

        if (f->pieces[middle].from <= at)
            low = middle;
        else
            high = middle;
    }
    return &f->pieces[low];
}

static struct run
find_run(const struct cold_reader *rd, int64_t at, int64_t n)
{
    for (int i = 0; i < rd->n_levels; i++) {
        const struct cold_file *f = &rd->levels[i];
        const struct cold_piece *p = find_piece(f, at);
        const int64_t in = at - p->from;

        if (n > p->length - in)
            n = p->length - in;
        if (p->kind == COLD_ZSTD)
            return (struct run){ .fd = f->fd, .at = in, .n = n, .zstd = p };
        at = p->at + in;
        if (p->kind == COLD_OWN)
            return (struct run){ .fd = f->fd, .at = at, .n = n };
    }
    return (struct run){ .fd = rd->whole_fd, .at = at, .n = n };
}

static int
unpack(struct cold_reader *rd, int fd, const struct cold_piece *p, struct err *err)
{
    size_t n;
    int r;

    if (rd->cached == p)
        return 0;
    if (!rd->unpacked) {
        rd->unpacked = xmalloc((size_t)COLD_LEAF_BYTES);
        rd->packed = xmalloc((size_t)COLD_LEAF_BYTES);
    }
    rd->cached = NULL;
    r = cold_read_at(fd, rd->packed, (size_t)p->stored, p->at, PART, err);
    if (r < 0)
        return r;
    n = ZSTD_decompress(rd->unpacked, (size_t)p->length, rd->packed, (size_t)p->stored);
    if (ZSTD_isError(n) || n != (size_t)p->length)
        return err_set(err, ERR_CORRUPT, "a cold object: a zstd piece is damaged");
    rd->cached = p;
    return 0;
}

static int
read_run(struct cold_reader *rd, const struct run *run, void *p, struct err *err)
{
    int r;

    if (!run->zstd)
        return cold_read_at(run->fd, p, (size_t)run->n, run->at, PART, err);
    r = unpack(rd, run->fd, run->zstd, err);
    if (r == 0)
        memcpy(p, rd->unpacked + run->at, (size_t)run->n);
    return r;
}

int
cold_read(struct cold_reader *rd, int64_t at, void *p, size_t n, struct err *err)
{
    char *to = p;

    while (n > 0) {
        const struct run run = find_run(rd, at, (int64_t)n);
        int r = read_run(rd, &run, to, err);

        if (r < 0)
            return r;
        to += run.n;
        at += run.n;
        n -= (size_t)run.n;
    }
    return 0;
}

/* ---- all of it ------------------------------------------------------------------- */

/* Whether to_fd now has the blocks of the whole file at the bottom. */
static bool
clone_whole(const struct cold_reader *rd, int to_fd)
{
    return rd->n_levels > 0 && rd->whole_fd >= 0 &&
           ioctl(to_fd, FICLONE, rd->whole_fd) == 0;
}

int
cold_reader_all(struct cold_reader *rd, int to_fd, const struct digest *want,
                struct err *err)
{
    char *chunk AUTO(free_ptr) = xmalloc(CHUNK_BYTES);
    const bool is_clone = to_fd >= 0 && clone_whole(rd, to_fd);
    char hex[DIGEST_HEX_BYTES];
    struct sha256 hash;
    struct digest got;
    int r = 0;

    if (is_clone && ftruncate(to_fd, rd->size_bytes) < 0)
        return err_sys(err, errno, "bring an object back");
    sha256_init(&hash);
    for (int64_t at = 0; r == 0 && at < rd->size_bytes;) {
        const int64_t left = rd->size_bytes - at;
        const struct run run =
            find_run(rd, at, left < (int64_t)CHUNK_BYTES ? left : (int64_t)CHUNK_BYTES);
        /* a clone has these already */
        const bool is_there = is_clone && run.fd == rd->whole_fd && run.at == at;

        r = read_run(rd, &run, chunk, err);
        if (r == 0 && to_fd >= 0 && !is_there) {
            if (is_clone && lseek(to_fd, at, SEEK_SET) < 0)
                return err_sys(err, errno, "bring an object back");
            r = fs_write_all(to_fd, chunk, (size_t)run.n, "an object", err);
        }
        sha256_add(&hash, chunk, (size_t)run.n);
        at += run.n;
    }
    if (r < 0)
        return r;
    sha256_end(&hash, &got);
    if (digest_eq(&got, want))
        return 0;
    digest_hex(want, hex);
    return err_set(err, ERR_CORRUPT,
                   "object %s: what its delta and base give hashes to something else: "
                   "one of them is damaged; push the same files again, or restore "
                   "them, then 'sluice warm' the version",
                   hex);
}
