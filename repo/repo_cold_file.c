/* SPDX-License-Identifier: Apache-2.0 */
/* One cold object, cold/ab/cdef… (named as its whole file would be). Numbers are 64-bit
 * little-endian.
 *
 *     0  "SLCOLD1\n"
 *     8  bytes that the base has not: raw, or zstd frames
 *     T  the table, 32 bytes a piece, in the object's order:
 *          kind (0 base, 1 own, 2 zstd), length in the object, where, stored bytes
 *   end  120 bytes: T, pieces, size of the object, SHA-256 of the object, SHA-256 of
 * the base (zeros: none), SHA-256 of the table and the 88 bytes before this
 *
 * Invariants: lengths are above 0 and sum up to the size; what a piece names lies in
 * [8, T) of this file, or in the base; a zstd piece is no longer than a leaf. */
#include "repo/cold_int.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define MAGIC "SLCOLD1\n"
#define MAGIC_BYTES 8
#define PIECE_BYTES 32
#define END_BYTES 120
#define SIGNED_BYTES 88 /* of the end: what its hash covers */
#define ZSTD_LEVEL 3

void
cold_path(const char *folder, const struct digest *d, char out[COLD_PATH_BYTES])
{
    char hex[DIGEST_HEX_BYTES];

    digest_hex(d, hex);
    snprintf(out, COLD_PATH_BYTES, "%s/%.2s/%s", folder, hex, hex + 2);
}

static uint64_t
get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static void
put64(struct buf *b, uint64_t v)
{
    v = htole64(v);
    buf_add(b, &v, sizeof(v));
}

int
cold_read_at(int fd, void *p, size_t n, int64_t at, const char *what, struct err *err)
{
    char *to = p;

    while (n > 0) {
        ssize_t got = pread(fd, to, n, at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, errno, "read %s", what);
        if (got == 0)
            return err_set(err, ERR_CORRUPT, "%s: cut off", what);
        to += got;
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

/* ---- reading --------------------------------------------------------------------- */

/* NULL, or what is wrong with the piece. */
static const char *
take_piece(struct cold_file *f, const uint8_t *raw, int64_t from, int64_t table_at)
{
    const uint64_t kind = get64(raw), length = get64(raw + 8), at = get64(raw + 16),
                   stored = get64(raw + 24);
    struct cold_piece *p = &f->pieces[f->n_pieces];

    if (kind > COLD_ZSTD)
        return "a piece of unknown kind";
    if (length == 0 || length > (uint64_t)(f->size_bytes - from))
        return "pieces longer than the object";
    if (at > INT64_MAX - length || stored > INT64_MAX)
        return "a piece out of range";
    if (kind == COLD_BASE ? stored != 0 || !f->has_base
                          : at < MAGIC_BYTES || at > (uint64_t)table_at ||
                                stored > (uint64_t)table_at - at)
        return "a piece out of range";
    if ((kind == COLD_OWN && stored != length) ||
        (kind == COLD_ZSTD && (length > COLD_LEAF_BYTES || stored >= length)))
        return "a piece whose lengths do not fit";
    *p = (struct cold_piece){ .kind = (enum cold_kind)kind,
                              .from = from,
                              .length = (int64_t)length,
                              .at = (int64_t)at,
                              .stored = (int64_t)stored };
    if (kind == COLD_BASE && p->at + p->length > f->base_bytes)
        f->base_bytes = p->at + p->length;
    f->n_pieces++;
    return NULL;
}

static const char *
take_table(struct cold_file *f, const uint8_t *table, uint64_t n, const uint8_t *end)
{
    static const struct digest none;
    const char *fault = NULL;
    struct sha256 hash;
    struct digest check;
    int64_t from = 0;

    sha256_init(&hash);
    sha256_add(&hash, table, n * PIECE_BYTES);
    sha256_add(&hash, end, SIGNED_BYTES);
    sha256_end(&hash, &check);
    if (memcmp(check.b, end + SIGNED_BYTES, sizeof(check.b)) != 0)
        return "its table's checksum is wrong";
    if (get64(end + 16) > INT64_MAX)
        return "a size out of range";
    f->size_bytes = (int64_t)get64(end + 16);
    memcpy(f->object.b, end + 24, sizeof(f->object.b));
    memcpy(f->base.b, end + 56, sizeof(f->base.b));
    f->has_base = !digest_eq(&f->base, &none);
    f->pieces = xcalloc(n > 0 ? n : 1, sizeof(*f->pieces));
    for (uint64_t i = 0; i < n && !fault; i++) {
        fault = take_piece(f, table + i * PIECE_BYTES, from, (int64_t)get64(end));
        if (!fault)
            from += f->pieces[i].length;
    }
    return fault                   ? fault
           : from != f->size_bytes ? "pieces shorter than the object"
                                   : NULL;
}

static int
open_file(struct cold_file *f, const char *what, struct err *err)
{
    uint8_t *table AUTO(free_ptr) = NULL;
    uint8_t magic[MAGIC_BYTES], end[END_BYTES];
    const char *fault;
    uint64_t table_at, n;
    struct stat st;
    int r;

    if (fstat(f->fd, &st) < 0)
        return err_sys(err, errno, "stat %s", what);
    if (!S_ISREG(st.st_mode) || st.st_size < MAGIC_BYTES + END_BYTES)
        return err_set(err, ERR_CORRUPT, "%s: no cold object: too short", what);
    f->file_bytes = st.st_size;
    r = cold_read_at(f->fd, magic, sizeof(magic), 0, what, err);
    if (r == 0)
        r = cold_read_at(f->fd, end, sizeof(end), st.st_size - END_BYTES, what, err);
    if (r < 0)
        return r;
    table_at = get64(end);
    n = get64(end + 8);
    if (memcmp(magic, MAGIC, sizeof(magic)) != 0 || n > COLD_PIECES_MAX ||
        table_at < MAGIC_BYTES || table_at > (uint64_t)st.st_size ||
        (uint64_t)st.st_size - table_at != n * PIECE_BYTES + END_BYTES)
        return err_set(err, ERR_CORRUPT, "%s: no cold object, or cut off", what);
    table = xmalloc(n * PIECE_BYTES + 1);
    r = cold_read_at(f->fd, table, n * PIECE_BYTES, (int64_t)table_at, what, err);
    if (r < 0)
        return r;
    fault = take_table(f, table, n, end);
    return fault ? err_set(err, ERR_CORRUPT, "%s: %s", what, fault) : 0;
}

int
cold_file_open(struct cold_file *out, int fd, const char *what, struct err *err)
{
    int r;

    *out = (struct cold_file){ .fd = fd };
    r = open_file(out, what, err);
    if (r < 0)
        cold_file_close(out);
    return r;
}

void
cold_file_close(struct cold_file *f)
{
    fs_close(&f->fd);
    free(f->pieces);
    f->pieces = NULL;
    f->n_pieces = 0;
}

/* ---- writing --------------------------------------------------------------------- */

int
cold_write_start(struct cold_writer *w, int fd, struct err *err)
{
    *w = (struct cold_writer){ .fd = fd, .at = MAGIC_BYTES };
    return fs_write_all(fd, MAGIC, MAGIC_BYTES, "a cold object", err);
}

void
cold_write_release(struct cold_writer *w)
{
    ZSTD_freeCCtx(w->zstd);
    free(w->packed);
    free(w->pieces);
    *w = (struct cold_writer){ .fd = -1 };
}

/* Neighbours that go on where the one before them ends become one. */
static int
add_piece(struct cold_writer *w, enum cold_kind kind, int64_t at, int64_t length,
          int64_t stored, struct err *err)
{
    struct cold_piece *last = w->n_pieces > 0 ? &w->pieces[w->n_pieces - 1] : NULL;

    w->size_bytes += length;
    if (last && last->kind == kind && kind != COLD_ZSTD &&
        last->at + last->length == at) {
        last->length += length;
        last->stored += stored;
        return 0;
    }
    if (w->n_pieces == COLD_PIECES_MAX)
        return err_set(err, ERR_LIMIT, "a delta of more than %llu pieces",
                       (unsigned long long)COLD_PIECES_MAX);
    if (w->n_pieces == w->n_alloc) {
        w->n_alloc = w->n_alloc ? 2 * w->n_alloc : 64;
        w->pieces = xreallocarray(w->pieces, w->n_alloc, sizeof(*w->pieces));
    }
    w->pieces[w->n_pieces++] = (struct cold_piece){
        .kind = kind, .length = length, .at = at, .stored = stored
    };
    return 0;
}

int
cold_write_base(struct cold_writer *w, int64_t at, int64_t n, struct err *err)
{
    w->uses_base |= n > 0;
    return n > 0 ? add_piece(w, COLD_BASE, at, n, 0, err) : 0;
}

int
cold_write_own(struct cold_writer *w, const void *p, size_t n, struct err *err)
{
    const size_t room = ZSTD_COMPRESSBOUND((size_t)COLD_LEAF_BYTES);
    const int64_t at = w->at;
    size_t packed;
    int r;

    if (n == 0)
        return 0;
    if (!w->zstd) {
        w->zstd = ZSTD_createCCtx();
        w->packed = xmalloc(room);
        if (!w->zstd)
            return err_set(err, ERR_LIMIT, "no memory for zstd");
    }
    packed = ZSTD_compressCCtx(w->zstd, w->packed, room, p, n, ZSTD_LEVEL);
    if (ZSTD_isError(packed) || packed > n - n / 20 || packed >= n) {
        w->at += (int64_t)n;
        r = fs_write_all(w->fd, p, n, "a cold object", err);
        return r < 0 ? r : add_piece(w, COLD_OWN, at, (int64_t)n, (int64_t)n, err);
    }
    w->at += (int64_t)packed;
    r = fs_write_all(w->fd, w->packed, packed, "a cold object", err);
    return r < 0 ? r : add_piece(w, COLD_ZSTD, at, (int64_t)n, (int64_t)packed, err);
}

int
cold_write_end(struct cold_writer *w, const struct digest *object,
               const struct digest *base, struct err *err)
{
    static const struct digest none;
    struct buf table AUTO(buf_release) = BUF_INIT;
    struct digest check;

    for (size_t i = 0; i < w->n_pieces; i++) {
        put64(&table, w->pieces[i].kind);
        put64(&table, (uint64_t)w->pieces[i].length);
        put64(&table, (uint64_t)w->pieces[i].at);
        put64(&table, (uint64_t)w->pieces[i].stored);
    }
    put64(&table, (uint64_t)w->at);
    put64(&table, w->n_pieces);
    put64(&table, (uint64_t)w->size_bytes);
    buf_add(&table, object->b, sizeof(object->b));
    buf_add(&table, (w->uses_base ? base : &none)->b, sizeof(none.b));
    sha256_of(table.data, table.len, &check);
    buf_add(&table, check.b, sizeof(check.b));
    w->at += (int64_t)table.len;
    return fs_write_all(w->fd, table.data, table.len, "a cold object", err);
}
