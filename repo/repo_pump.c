/* SPDX-License-Identifier: Apache-2.0 */
/* A big file on its way into the store: a ring of buffers that three threads follow
 * each other through.
 *
 *   reader   source -> buffer, and the CRC-32C of the tensors that the model's index
 *            names
 *   hasher   (the caller) SHA-256: the slowest, so the others hide behind it
 *   writer   buffer -> object, past the page cache where the file system can: that
 * takes a fifth of the processor time of a copy through it, nothing is left for the
 * sync to write, and what the machine serves stays cached
 *
 * What is a hole of the source is not read and is a hole of the object.
 *
 * All three see the same bytes, so a source that is written meanwhile can spoil a push,
 * never an object. A source that is the object already (a clone, a file of stage/) has
 * no writer. */
#include "repo/repo_int.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOT_BYTES ((size_t)4 << 20)
#define N_SLOTS 5

struct piece {
    char *p; /* SLOT_BYTES */
    int64_t at;
    size_t n;
    bool is_hole;
};

struct pump {
    struct repo_pump *p;
    int64_t n_slots;
    char *slots; /* n_slots * SLOT_BYTES */
    struct piece pieces[N_SLOTS];
    struct fs_hole hole; /* the next, for the reader; from < 0: none */
    bool has_writer, has_holes;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    /* Under the lock. Slot i % n_slots holds piece i from when it is read until it is
     * hashed and written. */
    int64_t n_read, n_hashed, n_written;
    bool is_at_end; /* n_read pieces are all */
    int64_t read_bytes;
    struct err error; /* of the first that failed; all end then */
};

enum role { READER, HASHER, WRITER };

static void
fail(struct pump *pump, const struct err *err)
{
    pthread_mutex_lock(&pump->lock);
    if (pump->error.code == ERR_OK)
        pump->error = *err;
    pthread_cond_broadcast(&pump->moved);
    pthread_mutex_unlock(&pump->lock);
}

/* Waits for the turn of piece i. False: there is none, or somebody failed. */
static bool
begin(struct pump *pump, enum role role, int64_t i)
{
    bool go_on;

    pthread_mutex_lock(&pump->lock);
    while (pump->error.code == ERR_OK &&
           (role == READER
                ? i >= pump->n_hashed + pump->n_slots ||
                      (pump->has_writer && i >= pump->n_written + pump->n_slots)
                : i >= pump->n_read && !pump->is_at_end))
        pthread_cond_wait(&pump->moved, &pump->lock);
    go_on = pump->error.code == ERR_OK && (role == READER || i < pump->n_read);
    pthread_mutex_unlock(&pump->lock);
    return go_on;
}

static void
end(struct pump *pump, int64_t *counter)
{
    pthread_mutex_lock(&pump->lock);
    ++*counter;
    pthread_cond_broadcast(&pump->moved);
    pthread_mutex_unlock(&pump->lock);
}

static struct piece *
piece(struct pump *pump, int64_t i)
{
    return &pump->pieces[i % pump->n_slots];
}

/* ---- the reader ---- */

static int
bad_crc(const struct objects_crc *c, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT,
                   "%s: tensor '%.*s' (%" PRId64 " bytes at offset %" PRId64
                   "): its checksum does not fit: these are not the bytes that were "
                   "saved; copy the model again from where it was made",
                   what, STR_ARG(c->name), c->size_bytes, c->offset);
}

int
repo_crc_run(struct repo_crc_run *k, const char *p, size_t n, int64_t at,
             struct err *err)
{
    const int64_t end_at = at + (int64_t)n;

    while (k->i < k->file->n_crcs) {
        const struct objects_crc *c = &k->file->crcs[k->i];
        const int64_t tensor_end = c->offset + c->size_bytes;
        const int64_t from = c->offset > at ? c->offset : at;
        const int64_t to = tensor_end < end_at ? tensor_end : end_at;

        if (from < to)
            k->crc = crc32c(k->crc, p + (from - at), (size_t)(to - from));
        if (tensor_end > end_at)
            return 0;
        if (crc32c_mask(k->crc) != c->crc32c)
            return bad_crc(c, k->what, err);
        k->i++;
        k->crc = 0;
    }
    return 0;
}

int
repo_check_crcs(const struct objects_file *file, const char *bytes, size_t n,
                const char *what, struct err *err)
{
    struct repo_crc_run k = { .file = file, .what = what };

    return repo_crc_run(&k, bytes, n, 0, err);
}

static void
find_hole(struct pump *pump, int64_t at)
{
    const struct objects_file *f = pump->p->file;

    if (!fs_find_hole(f->fd, at, f->size_bytes, &pump->hole))
        pump->hole = (struct fs_hole){ .from = -1, .to = -1 };
}

/* The piece at `at`: zeros of a hole, or bytes up to the next one. 1: there is more, 0:
 * the source ended, -code. */
static int
read_piece(struct pump *pump, struct piece *s, int64_t at, struct err *err)
{
    const struct objects_file *f = pump->p->file;
    const bool was_hole = s->is_hole;
    const size_t n_was = s->n;
    int64_t end_at = f->size_bytes, n;

    if (pump->hole.from >= 0 && at >= pump->hole.to)
        find_hole(pump, at);
    s->at = at;
    s->is_hole = pump->hole.from >= 0 && at >= pump->hole.from;
    if (pump->hole.from >= 0)
        end_at = s->is_hole ? pump->hole.to : pump->hole.from;
    s->n = end_at - at < (int64_t)SLOT_BYTES ? (size_t)(end_at - at) : SLOT_BYTES;
    if (s->is_hole) {
        if (!was_hole || s->n > n_was)
            memset(s->p, 0, s->n);
        return 1;
    }
    n = fs_read_at(f->fd, s->p, s->n, at, pump->p->what, err);
    if (n < 0)
        return (int)n;
    end_at = (int64_t)s->n;
    s->n = (size_t)n;
    return n == end_at; /* less: the source was cut short */
}

static int
read_all(struct pump *pump, struct err *err)
{
    const struct objects_file *f = pump->p->file;
    struct repo_crc_run k = { .file = f, .what = pump->p->what };
    int64_t at = 0;
    int more = 1;

    for (int64_t i = 0; at < f->size_bytes && more > 0; i++) {
        struct piece *s = piece(pump, i);
        int r;

        if (!begin(pump, READER, i))
            return 0;
        more = read_piece(pump, s, at, err);
        if (more < 0 || s->n == 0)
            break;
        r = repo_crc_run(&k, s->p, s->n, at, err);
        if (r < 0)
            return r;
        at += (int64_t)s->n;
        pthread_mutex_lock(&pump->lock);
        pump->read_bytes = at;
        pthread_mutex_unlock(&pump->lock);
        end(pump, &pump->n_read);
    }
    pthread_mutex_lock(&pump->lock);
    pump->is_at_end = true;
    pthread_cond_broadcast(&pump->moved);
    pthread_mutex_unlock(&pump->lock);
    return more < 0 ? more : 0;
}

static void *
reader(void *arg)
{
    struct err err = ERR_INIT;

    if (read_all(arg, &err) < 0)
        fail(arg, &err);
    return NULL;
}

/* ---- the writer ---- */

static int
write_all(struct pump *pump, struct err *err)
{
    const int fd = pump->p->to_fd;
    const char *what = pump->p->what;
    int64_t at = 0;
    int r =
        pump->has_holes ? 0 : fs_reserve(fd, 0, pump->p->file->size_bytes, what, err);

    (void)fs_set_direct(fd, true);
    for (int64_t i = 0; r == 0 && begin(pump, WRITER, i); i++) {
        const struct piece *s = piece(pump, i);
        const size_t whole =
            (s->n + FS_DIRECT_BYTES - 1) / FS_DIRECT_BYTES * FS_DIRECT_BYTES;

        /* the last piece is filled up; the file gets its size below */
        if (!s->is_hole) {
            memset(s->p + s->n, 0, whole - s->n);
            r = fs_write_at(fd, s->p, whole, s->at, what, err);
            fs_writeout(fd, s->at,
                        (int64_t)whole); /* where it went through the cache */
        }
        at = s->at + (int64_t)s->n;
        end(pump, &pump->n_written);
    }
    if (r == 0 && ftruncate(fd, at) < 0)
        r = err_sys(err, errno, "write %s", what);
    return r < 0 ? r : fs_datasync(fd, what, err);
}

static void *
writer(void *arg)
{
    struct err err = ERR_INIT;

    if (write_all(arg, &err) < 0)
        fail(arg, &err);
    return NULL;
}

/* ---- all together ---- */

static void
hash(struct pump *pump)
{
    const struct objects_file *f = pump->p->file;
    struct sha256 sha;

    sha256_init(&sha);
    for (int64_t i = 0; begin(pump, HASHER, i); i++) {
        const struct piece *s = piece(pump, i);
        const size_t n = s->n;

        sha256_add(&sha, s->p, n);
        end(pump, &pump->n_hashed);
        if (f->progress)
            f->progress(pump->p->progress_arg, (int64_t)n);
    }
    sha256_end(&sha, &pump->p->digest);
}

static int
run(struct pump *pump, struct err *err)
{
    struct err mine = ERR_INIT;
    pthread_t reads, writes;
    int e = pthread_create(&reads, NULL, reader, pump);

    if (e != 0)
        return err_sys(err, e, "start a thread");
    e = pump->has_writer ? pthread_create(&writes, NULL, writer, pump) : 0;
    if (e != 0) {
        (void)err_sys(&mine, e, "start a thread");
        fail(pump, &mine);
    }
    hash(pump);
    pthread_join(reads, NULL);
    if (pump->has_writer && e == 0)
        pthread_join(writes, NULL);
    if (pump->error.code != ERR_OK) {
        *err = pump->error;
        return -(int)err->code;
    }
    pump->p->size_bytes = pump->read_bytes;
    return 0;
}

/* A clone has all that the source had by then. */
static int
cut(int fd, int64_t size_bytes, const char *what, struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0 ||
        (st.st_size > size_bytes && ftruncate(fd, size_bytes) < 0))
        return err_sys(err, errno, "clone %s", what);
    return 0;
}

int
repo_pump(struct repo_pump *p, struct err *err)
{
    struct objects_file object = *p->file;
    struct repo_pump own = *p;
    struct pump pump = { .p = &own,
                         .lock = PTHREAD_MUTEX_INITIALIZER,
                         .moved = PTHREAD_COND_INITIALIZER,
                         .error = ERR_INIT };
    int r;

    if (!object.is_ours && fs_clone(p->to_fd, object.fd)) {
        r = cut(p->to_fd, object.size_bytes, p->what, err);
        if (r < 0)
            return r;
        object.fd = p->to_fd;
    }
    own.file = &object;
    pump.has_writer = !object.is_ours && object.fd != p->to_fd;
    pump.n_slots = (object.size_bytes + (int64_t)SLOT_BYTES - 1) / (int64_t)SLOT_BYTES;
    pump.n_slots = pump.n_slots > N_SLOTS ? N_SLOTS : pump.n_slots;
    pump.slots = aligned_alloc(FS_DIRECT_BYTES, (size_t)pump.n_slots * SLOT_BYTES);
    if (!pump.slots)
        return err_set(err, ERR_LIMIT, "%s: no memory for its buffers", p->what);
    for (int64_t i = 0; i < pump.n_slots; i++)
        pump.pieces[i].p = pump.slots + (size_t)i * SLOT_BYTES;
    find_hole(&pump, 0);
    pump.has_holes = pump.hole.from >= 0;
    r = run(&pump, err);
    free(pump.slots);
    if (r == 0 && !pump.has_writer)
        r = fs_datasync(p->to_fd, p->what, err);
    p->digest = own.digest;
    p->size_bytes = own.size_bytes;
    return r;
}
