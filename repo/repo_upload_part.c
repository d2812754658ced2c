/* SPDX-License-Identifier: Apache-2.0 */
/* Parts on their way in: written where they belong, believed when they end well. */
#include "repo/upload_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELD_BYTES ((size_t)256 << 10) /* of a part, before they are written */
#define COPY_BYTES ((int64_t)64 << 20) /* of one call to the kernel */

/* ---- checksums of a request ---- */

static int
parse_sum(struct str name, struct str value, struct repo_part_sums *out,
          struct err *err)
{
    struct buf raw AUTO(buf_release) = { .cap_bytes = 64 };
    const bool is_sha = str_is(name, "sha-256"), is_crc = str_is(name, "crc32c");

    if (!is_sha && !is_crc)
        return 0;
    if (value.n < 2 || value.p[0] != ':' || value.p[value.n - 1] != ':' ||
        base64_decode(&raw, (struct str){ value.p + 1, value.n - 2 }, err) < 0 ||
        raw.len != (is_sha ? sizeof(out->sha256.b) : 4)) {
        err_clear(err);
        return err_set(
            err, ERR_INVALID,
            "'%.*s' is no digest: sha-256=:BASE64: or crc32c=:BASE64:", STR_ARG(value));
    }
    if (is_sha) {
        memcpy(out->sha256.b, raw.data, sizeof(out->sha256.b));
        out->has_sha256 = true;
        return 0;
    }
    out->crc32c = 0;
    for (int i = 0; i < 4; i++)
        out->crc32c = out->crc32c << 8 | (uint8_t)raw.data[i];
    out->has_crc32c = true;
    return 0;
}

int
repo_part_sums_parse(const char *text, struct repo_part_sums *out, struct err *err)
{
    int rc = 0;

    *out = (struct repo_part_sums){ .has_sha256 = false };
    while (rc == 0 && *text) {
        const size_t n = strcspn(text, ",");
        const char *eq = memchr(text, '=', n);
        struct str name = { text, eq ? (size_t)(eq - text) : n };
        struct str value = { eq ? eq + 1 : text + n,
                             eq ? n - (size_t)(eq + 1 - text) : 0 };

        while (name.n && (*name.p == ' ' || *name.p == '\t'))
            name = (struct str){ name.p + 1, name.n - 1 };
        while (value.n && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
            value.n--;
        rc = parse_sum(name, value, out, err);
        text += n + (text[n] == ',');
    }
    return rc;
}

/* ---- one part ---- */

/* Under the lock. */
static int
claim(struct repo_part *p, struct err *err)
{
    struct repo_upload *u = p->u;

    if (u->is_dropped)
        return err_set(err, ERR_NOTFOUND, "the upload was given up");
    if (u->is_committed || u->is_committing)
        return err_set(err, ERR_CONFLICT, "the upload is committed: begin another");
    for (struct repo_part *o = u->parts; o; o = o->next)
        if (o->f == p->f && !o->is_taken && o->from < p->to && p->from < o->to) {
            if (o->is_writing)
                return err_set(err, ERR_BUSY, "%s: another part is written there",
                               p->f->path);
            o->is_taken = true;
        }
    upload_ranges_gaps(&p->f->came, p->from, p->to, &p->gaps);
    p->next = u->parts;
    u->parts = p;
    return 0;
}

static int
open_file(struct repo_part *p, struct err *err)
{
    char name[16];

    if (upload_room(p->u->us, p->to - p->from, err) < 0)
        return -(int)err->code;
    upload_file_name(p->u, p->f, name);
    return fs_open(&p->fd, p->u->dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
}

int
repo_part_begin(struct repo_part **out, struct repo_upload *u, int64_t n,
                int64_t offset_bytes, int64_t size_bytes,
                const struct repo_part_sums *sums, struct err *err)
{
    struct repo_part *p;
    int rc;

    if (n < 0 || n >= u->n_files)
        return err_set(err, ERR_NOTFOUND, "the upload has no file %" PRId64, n);
    if (offset_bytes < 0 || size_bytes < 0 || size_bytes > u->files[n].size_bytes ||
        offset_bytes > u->files[n].size_bytes - size_bytes)
        return err_set(err, ERR_INVALID,
                       "%s has %" PRId64 " bytes: a part of %" PRId64 " from %" PRId64
                       " on is beyond them",
                       u->files[n].path, u->files[n].size_bytes, size_bytes,
                       offset_bytes);
    p = xcalloc(1, sizeof(*p));
    *p = (struct repo_part){ .u = u,
                             .f = &u->files[n],
                             .fd = -1,
                             .from = offset_bytes,
                             .at = offset_bytes,
                             .to = offset_bytes + size_bytes,
                             .want = *sums };
    if (offset_bytes == 0 && size_bytes == p->f->size_bytes &&
        size_bytes <= UPLOAD_BIG_BYTES && p->f->has_digest && !sums->has_sha256) {
        p->want.has_sha256 = true; /* a whole file says itself what it is */
        p->want.sha256 = p->f->digest;
    }
    sha256_init(&p->sha);
    pthread_mutex_lock(&u->lock);
    rc = claim(p, err);
    pthread_mutex_unlock(&u->lock);
    if (rc == 0 && p->gaps.n > 0)
        rc = open_file(p, err);
    if (rc < 0) {
        repo_part_close(p);
        return rc;
    }
    *out = p;
    return 0;
}

/* Whole blocks of what fills a slab go past the page cache: that takes a fifth of the
 * processor time, and leaves nothing for the sync to write. */
static int
write_range(struct repo_part *p, const char *bytes, int64_t from, int64_t to,
            struct err *err)
{
    const int64_t direct = p->slab && bytes == p->held && from % FS_DIRECT_BYTES == 0
                               ? (to - from) / FS_DIRECT_BYTES * FS_DIRECT_BYTES
                               : 0;
    int rc = 0;

    if (direct > 0 && fs_set_direct(p->fd, true)) {
        rc = fs_reserve(p->fd, from, direct, p->f->path, err);
        if (rc == 0)
            rc = fs_write_at(p->fd, bytes, (size_t)direct, from, p->f->path, err);
        (void)fs_set_direct(p->fd, false);
        bytes += direct;
        from += direct;
    }
    return rc < 0 || from == to
               ? rc
               : fs_write_at(p->fd, bytes, (size_t)(to - from), from, p->f->path, err);
}

/* What of the bytes that are held is not there yet. */
static int
write_gaps(struct repo_part *p, struct err *err)
{
    const int64_t at = p->at - (int64_t)p->n_held;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < p->gaps.n; i++) {
        const int64_t from = p->gaps.v[i].from > at ? p->gaps.v[i].from : at;
        const int64_t to = p->gaps.v[i].to < p->at ? p->gaps.v[i].to : p->at;

        if (from < to)
            rc = write_range(p, p->held + (from - at), from, to, err);
    }
    return rc;
}

/* False: it is somebody else's now. */
static bool
writing(struct repo_part *p, bool on)
{
    bool ours;

    pthread_mutex_lock(&p->u->lock);
    ours = !p->is_taken;
    p->is_writing = on && ours;
    pthread_mutex_unlock(&p->u->lock);
    return ours;
}

static int
taken(const struct repo_part *p, struct err *err)
{
    return err_set(err, ERR_BUSY,
                   "%s: this part was begun once more by another request", p->f->path);
}

static void
hash(struct repo_part *p, const void *bytes, size_t n)
{
    if (p->want.has_sha256)
        sha256_add(&p->sha, bytes, n);
}

/* What is held. A few big writes cost less than the many that a network gives. */
static int
write_out(struct repo_part *p, struct err *err)
{
    int rc;

    if (p->n_held == 0)
        return 0;
    if (!writing(p, true))
        return taken(p, err);
    rc = write_gaps(p, err);
    (void)writing(p, false);
    p->n_held = 0;
    return rc;
}

int
repo_part_flush(struct repo_part *p, struct err *err)
{
    hash(p, p->held, p->n_held);
    return write_out(p, err);
}

static void
get_buffer(struct repo_part *p)
{
    const int64_t n = p->to - p->from;

    if (n > (int64_t)HELD_BYTES) {
        pthread_mutex_lock(&p->u->lock);
        p->slab = upload_slab_take(p->u);
        pthread_mutex_unlock(&p->u->lock);
    }
    p->held_max = p->slab ? UPLOAD_SLAB_BYTES : HELD_BYTES;
    if (n < (int64_t)p->held_max)
        p->held_max = (size_t)n;
    p->held = p->slab ? p->slab->p : xmalloc(p->held_max);
}

int
repo_part_take(struct repo_part *p, const void *bytes, size_t *n, struct err *err)
{
    if ((uint64_t)(p->to - p->at) < *n)
        return err_set(err, ERR_INVALID, "%s: more bytes than the part has",
                       p->f->path);
    if (p->gaps.n > 0 && !p->held)
        get_buffer(p);
    if (p->gaps.n > 0 && *n > p->held_max - p->n_held)
        *n = p->held_max - p->n_held;
    if (p->want.has_crc32c) /* at once: it takes less than to fetch them again */
        p->crc = crc32c(p->crc, bytes, *n);
    if (p->gaps.n == 0) { /* all of it is there */
        hash(p, bytes, *n);
        p->at += (int64_t)*n;
        return 0;
    }
    memcpy(p->held + p->n_held, bytes, *n);
    p->n_held += *n;
    p->at += (int64_t)*n;
    /* the last ones are written by the end, when they are what they should be */
    return p->n_held == p->held_max && p->at < p->to;
}

static int
check_sums(struct repo_part *p, struct err *err)
{
    struct digest got;

    if (p->at != p->to)
        return err_set(err, ERR_INVALID, "%s: the part ended %" PRId64 " bytes early",
                       p->f->path, p->to - p->at);
    sha256_end(&p->sha, &got);
    if ((p->want.has_sha256 && !digest_eq(&got, &p->want.sha256)) ||
        (p->want.has_crc32c && p->crc != p->want.crc32c))
        return err_set(err, ERR_CORRUPT,
                       "%s: the %" PRId64 " bytes from %" PRId64
                       " on are not what their digest says: send them again",
                       p->f->path, p->to - p->from, p->from);
    return 0;
}

/* Under the lock. */
static int
came(struct repo_part *p, int64_t from, int64_t to, struct err *err)
{
    int rc = upload_note(p->u, p->f, from, to - from, err);

    if (rc < 0)
        return rc;
    upload_ranges_add(&p->f->came, from, to);
    upload_hash_wake(p->u, p->f);
    return 0;
}

/* What is in memory as a whole need not be read to be hashed. Under the lock. */
static void
keep_warm(struct repo_part *p)
{
    if (!p->slab || p->to - p->from > (int64_t)UPLOAD_SLAB_BYTES || p->gaps.n != 1 ||
        p->gaps.v[0].from != p->from || p->gaps.v[0].to != p->to)
        return;
    upload_slab_warm(p->u, p->slab, p->f, p->from, p->to);
    p->slab = NULL;
    p->held = NULL;
}

int
repo_part_end(struct repo_part *p, struct err *err)
{
    int rc;

    hash(p, p->held, p->n_held);
    rc = check_sums(p, err);
    if (rc < 0 || p->gaps.n == 0)
        return rc;
    rc = write_out(p, err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&p->u->lock);
    rc = p->is_taken ? taken(p, err) : came(p, p->from, p->to, err);
    if (rc == 0)
        keep_warm(p);
    pthread_mutex_unlock(&p->u->lock);
    return rc;
}

void
repo_part_close(struct repo_part *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->u->lock);
    for (struct repo_part **at = &p->u->parts; *at; at = &(*at)->next)
        if (*at == p) {
            *at = p->next;
            break;
        }
    if (p->slab)
        p->held = NULL;
    upload_slab_give(p->u, p->slab);
    pthread_cond_broadcast(&p->u->moved);
    pthread_mutex_unlock(&p->u->lock);
    upload_ranges_release(&p->gaps);
    fs_close(&p->fd);
    free(p->held);
    free(p);
}

/* ---- pieces of what the store has ---- */

static int
copy_range(int from_fd, int64_t from, int to_fd, int64_t to, int64_t n,
           const char *what, struct err *err)
{
    char *chunk AUTO(free_ptr) = NULL;

    while (n > 0) {
        off_t in = from, out = to;
        ssize_t done = copy_file_range(from_fd, &in, to_fd, &out,
                                       (size_t)(n < COPY_BYTES ? n : COPY_BYTES), 0);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && (errno == ENOSYS || errno == EXDEV || errno == EINVAL ||
                         errno == EOPNOTSUPP)) {
            const size_t most = (size_t)(n < UPLOAD_BIG_BYTES ? n : UPLOAD_BIG_BYTES);

            chunk = chunk ? chunk : xmalloc((size_t)UPLOAD_BIG_BYTES);
            done = fs_read_at(from_fd, chunk, most, from, what, err);
            if (done > 0 && fs_write_at(to_fd, chunk, (size_t)done, to, what, err) < 0)
                return -(int)err->code;
        } else if (done < 0) {
            return err_sys(err, errno, "copy into %s", what);
        }
        if (done <= 0)
            return done < 0
                       ? (int)done
                       : err_set(err, ERR_INVALID,
                                 "%s: a piece is beyond what it is taken from", what);
        from += done;
        to += done;
        n -= done;
    }
    return 0;
}

static bool
number_at(const cJSON *piece, int i, int64_t *out)
{
    const cJSON *v = cJSON_GetArrayItem(piece, i);

    if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0) || v->valuedouble > 9e15)
        return false;
    *out = (int64_t)v->valuedouble;
    return true;
}

/* A part without bytes: its claim, for as long as the kernel copies. */
static int
copy_piece(struct repo_upload *u, int64_t n, int from_fd, const cJSON *piece,
           int64_t *out_bytes, struct err *err)
{
    const struct repo_part_sums none = { .has_sha256 = false };
    struct repo_part *p = NULL;
    int64_t to = 0, size = 0, from = 0;
    int rc;

    if (!cJSON_IsArray(piece) || cJSON_GetArraySize(piece) != 3 ||
        !number_at(piece, 0, &to) || !number_at(piece, 1, &size) ||
        !number_at(piece, 2, &from))
        return err_set(err, ERR_INVALID, "a piece is [offset, size, offset in from]");
    rc = repo_part_begin(&p, u, n, to, size, &none, err);
    if (rc < 0)
        return rc;
    rc = writing(p, true) ? 0 : taken(p, err);
    for (size_t i = 0; rc == 0 && i < p->gaps.n; i++)
        rc = copy_range(from_fd, from + (p->gaps.v[i].from - to), p->fd,
                        p->gaps.v[i].from, p->gaps.v[i].to - p->gaps.v[i].from,
                        p->f->path, err);
    if (writing(p, false) && rc == 0 && p->gaps.n > 0) {
        pthread_mutex_lock(&u->lock);
        rc = p->is_taken ? taken(p, err) : came(p, to, to + size, err);
        pthread_mutex_unlock(&u->lock);
    }
    repo_part_close(p);
    *out_bytes += rc == 0 ? size : 0;
    return rc;
}

int
repo_upload_copy(struct repo_upload *u, struct repo *r, int64_t n, const cJSON *ask,
                 int64_t *out_bytes, struct err *err)
{
    const cJSON *pieces = cJSON_GetObjectItemCaseSensitive(ask, "pieces");
    int fd AUTO(fs_close) = -1;
    struct digest d;
    const char *from;
    int rc = json_str(ask, "from", NULL, &from, "the pieces", err);

    *out_bytes = 0;
    if (rc < 0)
        return rc;
    if (!repo_digest_parse(from, &d) || !cJSON_IsArray(pieces))
        return err_set(err, ERR_INVALID,
                       "pieces are {\"from\": \"sha256:…\", \"pieces\": [[offset, "
                       "size, offset in from], …]}");
    rc = repo_object_may_read(r, &d, err);
    if (rc == 0)
        rc = err_set(err, ERR_NOTFOUND, "there is no object %.80s", from);
    if (rc == 1)
        rc = r->objects->ops->open(r->objects, &d, &fd, err);
    for (const cJSON *p = pieces->child; p && rc == 0; p = p->next)
        rc = copy_piece(u, n, fd, p, out_bytes, err);
    return rc < 0 ? rc : 0;
}
