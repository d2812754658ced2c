/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client_hashes.h"

#include "base/clock.h"
#include "client/client_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "hashes"
#define FIRST_LINE "sluice-hashes 1\n"
#define BYTES_MAX ((size_t)16 << 20)
#define LINES_MAX 20000 /* the newest are kept */
#define RACY_NS (INT64_C(2) * 1000000000)
#define LOCK_MS 1000

struct line {
    int64_t dev, ino, size_bytes, mtime_ns, ctime_ns;
    struct digest digest;
};
struct client_hashes {
    int dirfd;      /* -1: none */
    struct line *v; /* in the order they were learned */
    size_t n, n_alloc, n_old;
};

static int64_t
ns_of(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static struct line
line_of(const struct stat *st)
{
    return (struct line){ .dev = (int64_t)st->st_dev,
                          .ino = (int64_t)st->st_ino,
                          .size_bytes = st->st_size,
                          .mtime_ns = ns_of(&st->st_mtim),
                          .ctime_ns = ns_of(&st->st_ctim) };
}

static bool
is_same_file(const struct line *a, const struct line *b)
{
    return a->dev == b->dev && a->ino == b->ino;
}

static void
add(struct client_hashes *h, const struct line *l)
{
    if (h->n == h->n_alloc) {
        h->n_alloc = h->n_alloc ? 2 * h->n_alloc : 64;
        h->v = xreallocarray(h->v, h->n_alloc, sizeof(*h->v));
    }
    h->v[h->n++] = *l;
}

/* ---- the file ---- */

static void
read_line(struct client_hashes *h, const char *text)
{
    struct line l;
    char hex[DIGEST_HEX_BYTES];
    int end = 0;

    if (sscanf(
            text,
            "%" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %64[0-9a-f]%n",
            &l.dev, &l.ino, &l.size_bytes, &l.mtime_ns, &l.ctime_ns, hex, &end) == 6 &&
        text[end] == '\0' && digest_parse(str_of(hex), &l.digest))
        add(h, &l);
}

static void
read_file(struct client_hashes *h)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = BYTES_MAX };
    struct err err = ERR_INIT;
    struct stat st;

    if (fstatat(h->dirfd, FILE_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) ||
        fs_read(h->dirfd, FILE_NAME, &text, &err) < 0) {
        err_clear(&err);
        return;
    }
    if (strncmp(buf_str(&text), FIRST_LINE, sizeof(FIRST_LINE) - 1) != 0)
        return;
    for (char *p = text.data + sizeof(FIRST_LINE) - 1, *lf; (lf = strchr(p, '\n'));
         p = lf + 1) {
        *lf = '\0';
        read_line(h, p);
    }
    h->n_old = h->n;
}

static int
by_file(const void *a, const void *b)
{
    const struct line *const *x = a, *const *y = b;

    return (*x)->dev != (*y)->dev   ? ((*x)->dev < (*y)->dev ? -1 : 1)
           : (*x)->ino != (*y)->ino ? ((*x)->ino < (*y)->ino ? -1 : 1)
                                    : (*x < *y) - (*x > *y); /* the newest first */
}

/* Of each file the newest line, and of those the newest LINES_MAX. */
static void
write_file(struct client_hashes *h)
{
    const struct line **v AUTO(free_ptr) = xcalloc(h->n + 1, sizeof(*v));
    bool *stays AUTO(free_ptr) = xcalloc(h->n + 1, sizeof(*stays));
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    size_t n_stay = 0;

    for (size_t i = 0; i < h->n; i++)
        v[i] = &h->v[i];
    qsort(v, h->n, sizeof(*v), by_file);
    for (size_t i = 0; i < h->n; i++)
        if (i == 0 || !is_same_file(v[i - 1], v[i])) {
            stays[v[i] - h->v] = true;
            n_stay++;
        }
    buf_adds(&text, FIRST_LINE);
    for (size_t i = 0; i < h->n; i++) {
        const struct line *l = &h->v[i];
        char hex[DIGEST_HEX_BYTES];

        if (!stays[i] || n_stay-- > LINES_MAX)
            continue;
        digest_hex(&l->digest, hex);
        buf_addf(&text,
                 "%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %s\n",
                 l->dev, l->ino, l->size_bytes, l->mtime_ns, l->ctime_ns, hex);
    }
    if (fs_replace(h->dirfd, FILE_NAME, buf_str(&text), text.len, 0600, &err) < 0)
        err_clear(&err);
}

/* ---- as called ---- */

void
client_hashes_open(struct client_hashes **out)
{
    struct client_hashes *h = xcalloc(1, sizeof(*h));
    struct buf dir AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;

    h->dirfd = -1;
    if (client_cache_dir("", &dir, &err) < 0 ||
        fs_open_dir(&h->dirfd, AT_FDCWD, buf_str(&dir), &err) < 0)
        err_clear(&err);
    else
        read_file(h);
    *out = h;
}

void
client_hashes_close(struct client_hashes *h)
{
    struct err err = ERR_INIT;
    int lock AUTO(fs_close) = -1;

    if (!h)
        return;
    if (h->dirfd >= 0 && h->n > h->n_old &&
        fs_lock(&lock, h->dirfd, ".lock", LOCK_MS, &err) == 0) {
        struct client_hashes now = { .dirfd = h->dirfd };

        read_file(&now); /* what others learned meanwhile stays */
        for (size_t i = h->n_old; i < h->n; i++)
            add(&now, &h->v[i]);
        write_file(&now);
        free(now.v);
    }
    err_clear(&err);
    fs_close(&h->dirfd);
    free(h->v);
    free(h);
}

bool
client_hashes_find(struct client_hashes *h, const struct stat *st, struct digest *out)
{
    const struct line want = line_of(st);

    for (size_t i = h->n; i > 0; i--) {
        const struct line *l = &h->v[i - 1];

        if (!is_same_file(l, &want))
            continue;
        *out = l->digest; /* the newest is the one that counts */
        return l->size_bytes == want.size_bytes && l->mtime_ns == want.mtime_ns &&
               l->ctime_ns == want.ctime_ns;
    }
    return false;
}

void
client_hashes_add(struct client_hashes *h, const struct stat *st,
                  const struct digest *d, int64_t begun_ns)
{
    struct line l = line_of(st);

    l.digest = *d;
    if (h->dirfd >= 0 && l.ctime_ns <= begun_ns - RACY_NS)
        add(h, &l);
}
