/* SPDX-License-Identifier: Apache-2.0 */
/* A header is 512 bytes: name 0–99, mode 100, uid 108, gid 116, size 124 (12), mtime
 * 136 (12), checksum 148 (8), type 156, magic 257 "ustar\0" "00", prefix 345–499.
 * Numbers are octal; a size of 8 GiB and more is big-endian binary with the first bit
 * set, as GNU tar writes it. A pax header (type x) goes before its file: lines "LENGTH
 * KEY=VALUE\n". */
#include "base/tar.h"

#include "base/fs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 512
#define NAME_MAX_BYTES 99
#define OCTAL_MAX INT64_C(077777777777)
#define PAX_MAX 65536
#define SIZE_MAX_BYTES (INT64_MAX - BLOCK) /* so that padding can be added */
#define SIZE_AT 124
#define SUM_AT 148
#define TYPE_AT 156
#define MAGIC_AT 257
#define PREFIX_AT 345
#define PREFIX_BYTES 155

static unsigned
checksum(const uint8_t *h)
{
    unsigned sum = 0;

    for (int i = 0; i < BLOCK; i++)
        sum += i >= SUM_AT && i < SUM_AT + 8 ? ' ' : h[i];
    return sum;
}

static int64_t
padding(int64_t size_bytes)
{
    return (BLOCK - size_bytes % BLOCK) % BLOCK;
}

/* ---- out ------------------------------------------------------------------------- */

static int
end_file(struct tar_out *t, struct err *err)
{
    static const char zeros[BLOCK];
    const size_t pad = (size_t)t->pad;

    if (t->left != 0)
        BUG("a file in a tar ends %" PRId64 " bytes early", t->left);
    t->pad = 0;
    return pad > 0 ? fs_write_all(t->fd, zeros, pad, "tar", err) : 0;
}

/* One block; a name that is too long for it is cut. */
static void
add_head(struct buf *out, const char *name, int64_t size_bytes, char type, mode_t mode)
{
    char h[BLOCK] = { 0 };
    const size_t n = strlen(name);

    memcpy(h, name, n < NAME_MAX_BYTES ? n : NAME_MAX_BYTES);
    snprintf(h + 100, 8, "%07o", (unsigned)mode & 0777);
    snprintf(h + 108, 8, "%07o", 0);
    snprintf(h + 116, 8, "%07o", 0);
    if (size_bytes <= OCTAL_MAX) {
        snprintf(h + SIZE_AT, 12, "%011" PRIo64, size_bytes);
    } else {
        h[SIZE_AT] = (char)0x80;
        for (int i = 0; i < 8; i++)
            h[SIZE_AT + 4 + i] = (char)(size_bytes >> (56 - 8 * i));
    }
    snprintf(h + 136, 12, "%011o", 0);
    h[TYPE_AT] = type;
    memcpy(h + MAGIC_AT, "ustar\00000", 8);
    snprintf(h + SUM_AT, 8, "%06o", checksum((const uint8_t *)h));
    h[SUM_AT + 7] = ' ';
    buf_add(out, h, BLOCK);
}

void
tar_head(struct buf *out, const char *name, int64_t size_bytes, char type, mode_t mode)
{
    static const char zeros[BLOCK];
    const size_t n = strlen(name) + sizeof(" path=\n") - 1;

    if (strlen(name) > NAME_MAX_BYTES) {
        char *line;
        size_t all = n, last = 0;

        while (all != last) { /* the length counts its own digits */
            last = all;
            all = n + (size_t)snprintf(NULL, 0, "%zu", last);
        }
        line = xasprintf("%zu path=%s\n", all, name);
        add_head(out, "pax", (int64_t)all, 'x', 0644);
        buf_add(out, line, all);
        buf_add(out, zeros, (size_t)padding((int64_t)all));
        free(line);
    }
    add_head(out, name, size_bytes, type, mode);
}

size_t
tar_padding(int64_t size_bytes)
{
    return (size_t)padding(size_bytes);
}

int
tar_file(struct tar_out *t, const char *name, int64_t size_bytes, mode_t mode,
         struct err *err)
{
    struct buf head AUTO(buf_release) = BUF_INIT;
    int r = end_file(t, err);

    if (r < 0)
        return r;
    if (strlen(name) > NAME_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "%s: a name in a tar has at most %d bytes", name,
                       NAME_MAX_BYTES);
    tar_head(&head, name, size_bytes, '0', mode);
    t->left = size_bytes;
    t->pad = padding(size_bytes);
    return fs_write_all(t->fd, head.data, head.len, "tar", err);
}

int
tar_write(struct tar_out *t, const void *p, size_t n, struct err *err)
{
    if ((int64_t)n > t->left)
        return err_set(err, ERR_CONFLICT, "a file grew while it was written to a tar");
    t->left -= (int64_t)n;
    return fs_write_all(t->fd, p, n, "tar", err);
}

int
tar_end(struct tar_out *t, struct err *err)
{
    static const char zeros[2 * BLOCK];
    int r = end_file(t, err);

    return r < 0 ? r : fs_write_all(t->fd, zeros, sizeof(zeros), "tar", err);
}

/* ---- in -------------------------------------------------------------------------- */

static int
cut_off(const struct tar_in *t, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "%s: cut off in entry %" PRId64, t->what,
                   t->n_entries);
}

/* 1: all n bytes, 0: the stream ended before the first. */
static int
read_block(struct tar_in *t, void *p, size_t n, struct err *err)
{
    size_t at = 0;

    while (at < n) {
        ssize_t got = read(t->fd, (char *)p + at, n - at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, errno, "read %s", t->what);
        if (got == 0)
            return at == 0 ? 0 : cut_off(t, err);
        at += (size_t)got;
    }
    return 1;
}

int64_t
tar_read(struct tar_in *t, void *p, size_t n, struct err *err)
{
    ssize_t got;

    if ((int64_t)n > t->left)
        n = (size_t)t->left;
    if (n == 0)
        return 0;
    do
        got = read(t->fd, p, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_sys(err, errno, "read %s", t->what);
    if (got == 0)
        return cut_off(t, err);
    t->left -= got;
    return got;
}

static int
pass_over(struct tar_in *t, struct err *err)
{
    char block[4096];
    int64_t n;

    t->left += t->pad;
    t->pad = 0;
    while ((n = tar_read(t, block, sizeof(block), err)) > 0)
        ;
    return (int)n;
}

static bool
parse_size(const uint8_t *p, int64_t *out)
{
    *out = 0;
    if (p[0] & 0x80) { /* binary: what a file can have fits into its last 8 bytes */
        if ((p[0] & 0x7f) != 0 || p[1] != 0 || p[2] != 0 || p[3] != 0 || (p[4] & 0x80))
            return false;
        for (int i = 4; i < 12; i++)
            *out = *out << 8 | p[i];
        return *out <= SIZE_MAX_BYTES;
    }
    for (int i = 0; i < 12 && p[i] != ' ' && p[i] != '\0'; i++) {
        if (p[i] < '0' || p[i] > '7')
            return false;
        *out = *out << 3 | (p[i] - '0');
    }
    return true;
}

/* "LENGTH KEY=VALUE\n" lines: path and size of the next file. */
static bool
parse_pax(struct str text, struct tar_entry *out, bool *has_path, bool *has_size)
{
    while (text.n > 0) {
        size_t length = 0, at = 0;
        struct str line;
        const char *eq;

        for (; at < text.n && at < 8 && text.p[at] >= '0' && text.p[at] <= '9'; at++)
            length = length * 10 + (size_t)(text.p[at] - '0');
        if (at == 0 || at >= text.n || text.p[at] != ' ' || length > text.n ||
            length < at + 3 || text.p[length - 1] != '\n')
            return false;
        line = (struct str){ text.p + at + 1, length - at - 2 };
        eq = memchr(line.p, '=', line.n);
        if (!eq)
            return false;
        const struct str key = { line.p, (size_t)(eq - line.p) };
        const struct str value = { eq + 1, line.n - key.n - 1 };

        if (str_is(key, "path")) {
            if (value.n == 0 || value.n >= sizeof(out->name) ||
                memchr(value.p, '\0', value.n))
                return false;
            memcpy(out->name, value.p, value.n);
            out->name[value.n] = '\0';
            *has_path = true;
        } else if (str_is(key, "size")) {
            out->size_bytes = 0;
            for (size_t i = 0; i < value.n; i++) {
                if (value.p[i] < '0' || value.p[i] > '9' ||
                    out->size_bytes > (SIZE_MAX_BYTES - 9) / 10)
                    return false;
                out->size_bytes = out->size_bytes * 10 + (value.p[i] - '0');
            }
            *has_size = value.n > 0;
        }
        text.p += length;
        text.n -= length;
    }
    return true;
}

static void
header_name(const uint8_t *h, char out[TAR_NAME_BYTES])
{
    const char *name = (const char *)h, *prefix = (const char *)h + PREFIX_AT;
    const int n_prefix = (int)strnlen(prefix, PREFIX_BYTES);

    if (memcmp(h + MAGIC_AT, "ustar", 5) == 0 && n_prefix > 0)
        snprintf(out, TAR_NAME_BYTES, "%.*s/%.100s", n_prefix, prefix, name);
    else
        snprintf(out, TAR_NAME_BYTES, "%.100s", name);
}

static int
read_pax(struct tar_in *t, int64_t size_bytes, struct buf *text, struct err *err)
{
    int64_t n;

    if (size_bytes > PAX_MAX)
        return err_set(err, ERR_LIMIT,
                       "%s: entry %" PRId64 ": a header of %" PRId64
                       " bytes: the limit is %d",
                       t->what, t->n_entries, size_bytes, PAX_MAX);
    t->left = size_bytes;
    t->pad = padding(size_bytes);
    while (t->left > 0) {
        char *room = buf_room(text, (size_t)t->left);

        n = tar_read(t, room, (size_t)t->left, err);
        if (n < 0)
            return (int)n;
        text->len += (size_t)n;
    }
    return pass_over(t, err);
}

int
tar_next(struct tar_in *t, struct tar_entry *out, struct err *err)
{
    bool has_path = false, has_size = false;
    struct tar_entry pax = { .size_bytes = 0 };
    int r = pass_over(t, err);

    for (; r >= 0;) {
        struct buf text AUTO(buf_release) = BUF_INIT;
        uint8_t h[BLOCK];
        int64_t size_bytes;
        unsigned sum = 0;

        r = read_block(t, h, BLOCK, err);
        if (r < 0)
            return r;
        t->n_entries++;
        if (r == 0)
            return cut_off(t, err);
        if (h[0] == '\0' && checksum(h) == 8 * ' ')
            return 0; /* a block of zeros */
        for (int i = 0; i < 7 && h[SUM_AT + i] >= '0' && h[SUM_AT + i] <= '7'; i++)
            sum = sum << 3 | (unsigned)(h[SUM_AT + i] - '0');
        if (sum != checksum(h) || !parse_size(h + SIZE_AT, &size_bytes))
            return err_set(err, ERR_CORRUPT,
                           "%s: entry %" PRId64
                           ": its header is damaged, or this is no "
                           "tar",
                           t->what, t->n_entries);
        if (h[TYPE_AT] == 'x' || h[TYPE_AT] == 'g') {
            r = read_pax(t, size_bytes, &text, err);
            if (r == 0 && h[TYPE_AT] == 'x' &&
                !parse_pax((struct str){ buf_str(&text), text.len }, &pax, &has_path,
                           &has_size))
                return err_set(err, ERR_CORRUPT,
                               "%s: entry %" PRId64 ": a pax header that is none",
                               t->what, t->n_entries);
            continue;
        }
        *out =
            (struct tar_entry){ .size_bytes = has_size ? pax.size_bytes : size_bytes };
        if (has_path)
            memcpy(out->name, pax.name, sizeof(out->name));
        else
            header_name(h, out->name);
        has_path = has_size = false;
        t->left = out->size_bytes;
        t->pad = padding(out->size_bytes);
        if (h[TYPE_AT] == '5') {
            r = pass_over(t, err);
            continue;
        }
        if (h[TYPE_AT] != '0' && h[TYPE_AT] != '\0')
            return err_set(err, ERR_INVALID,
                           "%s: %s is a link, a device or else no plain file", t->what,
                           out->name);
        return 1;
    }
    return r;
}
