/* SPDX-License-Identifier: Apache-2.0 */
/* A file that an older directory may have most of: its pieces are hashed there, and
 * those that the new file has too are copied. */
#include "client/client_pull.h"

#include "client/client_pieces.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GAIN_BYTES ((int64_t)4 << 20) /* a smaller file is fetched */

/* The older file, while its pieces are hashed. */
struct older {
    struct client_pieces pieces;
    int fd;
    const char *path;
};

static void
older_release(struct older *o)
{
    client_pieces_release(&o->pieces);
    fs_close(&o->fd);
}

int
pull_hash_piece(void *arg, const struct client_job *job, struct err *err)
{
    struct older *o = job->file;
    const size_t n = (size_t)job->n_bytes;
    char *bytes AUTO(free_ptr) = xmalloc(n);
    int64_t got = fs_read_at(job->fd, bytes, n, job->at, o->path, err);

    (void)arg;
    if (got == job->n_bytes) /* else it has no such piece any more */
        sha256_of(bytes, n, &o->pieces.v[job->piece].digest);
    return got < 0 ? (int)got : 0;
}

static int
hash_older(struct pull *p, struct older *o, int64_t size_bytes, struct err *err)
{
    struct sm_cut *cuts AUTO(free_ptr) = NULL;
    const size_t n = client_pieces_cut(p->have_fd, o->path, size_bytes, &cuts);
    int e = 0;

    o->pieces.v = xcalloc(n + 1, sizeof(*o->pieces.v));
    o->pieces.n = n;
    for (size_t i = 0; e == 0 && i < n; i++) {
        const struct client_job job = { .file = o,
                                        .fd = o->fd,
                                        .at = cuts[i].at,
                                        .n_bytes = cuts[i].size_bytes,
                                        .is_piece = true,
                                        .piece = i };

        o->pieces.v[i].at = cuts[i].at;
        o->pieces.v[i].size_bytes = cuts[i].size_bytes;
        e = client_jobs_add(&p->jobs, &job, err);
    }
    e = client_jobs_wait(&p->jobs, e, err);
    client_pieces_sort(&o->pieces);
    return e;
}

/* The kernel copies, or shares blocks, where it can. */
static int
copy_piece(const struct older *o, const struct client_piece *from, int to_fd,
           int64_t to, struct err *err)
{
    off_t in = from->at, out = to;
    int64_t left = from->size_bytes;
    char *bytes AUTO(free_ptr) = NULL;

    while (left > 0) {
        const ssize_t n = copy_file_range(o->fd, &in, to_fd, &out, (size_t)left, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        left -= n;
    }
    if (left == 0)
        return 0;
    bytes = xmalloc((size_t)from->size_bytes);
    if (fs_read_at(o->fd, bytes, (size_t)from->size_bytes, from->at, o->path, err) < 0)
        return -(int)err->code;
    return fs_write_at(to_fd, bytes, (size_t)from->size_bytes, to, o->path, err);
}

int
pull_pieces(struct pull *p, int i, int fd, struct err *err)
{
    const struct repo_file *f = &p->m.files[i];
    struct client_pieces want AUTO(client_pieces_release) = { .v = NULL };
    struct older o AUTO(older_release) = { .fd = -1, .path = f->path };
    int64_t gap = 0;
    struct stat st;
    int e = 0;

    if (f->size_bytes < GAIN_BYTES ||
        fs_open(&o.fd, p->have_fd, f->path, O_RDONLY | O_NONBLOCK, 0, err) < 0 ||
        fstat(o.fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        client_pieces_get(p->c, &f->digest, &want, err) < 0 ||
        want.size_bytes != f->size_bytes) {
        err_clear(err); /* then all of it comes */
        return 0;
    }
    e = hash_older(p, &o, st.st_size, err);
    for (size_t k = 0; e == 0 && k < want.n; k++) {
        const struct client_piece *w = &want.v[k];
        const struct client_piece *has =
            client_pieces_find(&o.pieces, &w->digest, w->size_bytes);

        if (!has)
            continue;
        e = copy_piece(&o, has, fd, w->at, err);
        if (e == 0)
            e = pull_note(p, i, w->at, w->size_bytes, err);
        pull_add_part(p, gap, w->at - gap, false);
        pull_add_part(p, w->at, w->size_bytes, true);
        gap = w->at + w->size_bytes;
    }
    if (e == 0)
        pull_add_part(p, gap, f->size_bytes - gap, false);
    return e < 0 ? e : 1;
}
