/* SPDX-License-Identifier: Apache-2.0 */
/* .npz: a ZIP archive of .npy members (APPNOTE 6.3, the part that NumPy uses).
 *
 *   local header, name, extra, data      for each member
 *   central header, name, extra, comment for each member
 *   [zip64 end record, zip64 locator]
 *   end record, comment
 * The end record is found from the file's end and names the central directory; that
 * names each local header. A size or offset of all ones stands in the zip64 extra
 * field (id 1: the 8-byte values, in this order: size, packed size, offset).
 *
 * Checked: every offset against the file, the packed sizes together against the file
 * (members that share bytes multiply them), unpacked sizes against what the packed
 * bytes can make, CRC-32, no name twice. */
#include "savedmodel/sm_int.h"

#include <stdlib.h>
#include <zlib.h>

#define LOCAL_BYTES 30
#define CENTRAL_BYTES 46
#define END_BYTES 22
#define END64_BYTES 56
#define LOCATOR_BYTES 20
#define LOCAL_SIG 0x04034b50u
#define CENTRAL_SIG 0x02014b50u
#define END_SIG 0x06054b50u
#define END64_SIG 0x06064b50u
#define LOCATOR_SIG 0x07064b50u
#define ALL32 0xffffffffu
#define MEMBERS_MAX 16384
#define UNPACKED_MAX_BYTES ((uint64_t)8 << 30) /* of all members together */
#define DEFLATE_MAX_RATIO 1032                 /* what deflate can reach */

struct member {
    struct str name;
    uint32_t flags, method, crc;
    uint64_t packed_bytes, size_bytes, offset;
    struct str packed;
};

/* ---- reading -----------------------------------------------------------------------
 */

/* The central directory: its slice and number of members. */
static bool
directory_find(struct str file, struct str *dir, uint64_t *n)
{
    if (file.n < END_BYTES)
        return false;
    size_t lowest = file.n > END_BYTES + 65535 ? file.n - END_BYTES - 65535 : 0;
    size_t at = file.n - END_BYTES;
    while (sm_le32(file.p + at) != END_SIG ||
           at + END_BYTES + sm_le16(file.p + at + 20) != file.n) {
        if (at == lowest)
            return false;
        at--;
    }
    const char *end = file.p + at;
    uint64_t size = sm_le32(end + 12), offset = sm_le32(end + 16);
    *n = sm_le16(end + 10);
    if (at >= LOCATOR_BYTES && sm_le32(end - LOCATOR_BYTES) == LOCATOR_SIG) {
        uint64_t at64 = sm_le64(end - LOCATOR_BYTES + 8);
        if (file.n < END64_BYTES || at64 > file.n - END64_BYTES ||
            sm_le32(file.p + at64) != END64_SIG)
            return false;
        *n = sm_le64(file.p + at64 + 32);
        size = sm_le64(file.p + at64 + 40);
        offset = sm_le64(file.p + at64 + 48);
    }
    if (offset > at || size > at - offset)
        return false;
    *dir = (struct str){ file.p + offset, (size_t)size };
    return *n <= size / CENTRAL_BYTES;
}

/* Values that did not fit into 32 bits, from the extra field. */
static bool
zip64_fields(struct str extra, struct member *m)
{
    struct str h, body, part;
    uint64_t *fields[] = { &m->size_bytes, &m->packed_bytes, &m->offset };
    bool wanted = false;
    for (int i = 0; i < 3; i++)
        wanted |= *fields[i] == ALL32;
    while (wanted && sm_take(&extra, 4, &h)) {
        if (!sm_take(&extra, sm_le16(h.p + 2), &body))
            return false;
        if (sm_le16(h.p) != 1)
            continue;
        for (int i = 0; i < 3; i++) {
            if (*fields[i] != ALL32)
                continue;
            if (!sm_take(&body, 8, &part))
                return false;
            *fields[i] = sm_le64(part.p);
        }
        return true;
    }
    return true;
}

static bool
central_next(struct str *dir, struct member *m)
{
    struct str h, extra, comment;
    if (!sm_take(dir, CENTRAL_BYTES, &h) || sm_le32(h.p) != CENTRAL_SIG)
        return false;
    *m = (struct member){ .flags = sm_le16(h.p + 8),
                          .method = sm_le16(h.p + 10),
                          .crc = sm_le32(h.p + 16),
                          .packed_bytes = sm_le32(h.p + 20),
                          .size_bytes = sm_le32(h.p + 24),
                          .offset = sm_le32(h.p + 42) };
    return sm_take(dir, sm_le16(h.p + 28), &m->name) &&
           sm_take(dir, sm_le16(h.p + 30), &extra) &&
           sm_take(dir, sm_le16(h.p + 32), &comment) && zip64_fields(extra, m);
}

static bool
member_locate(struct str file, struct member *m)
{
    if (file.n < LOCAL_BYTES || m->offset > file.n - LOCAL_BYTES)
        return false;
    struct str it = { file.p + m->offset, file.n - (size_t)m->offset }, h, name;
    return sm_take(&it, LOCAL_BYTES, &h) && sm_le32(h.p) == LOCAL_SIG &&
           sm_take(&it, sm_le16(h.p + 26) + sm_le16(h.p + 28), &name) &&
           sm_take(&it, m->packed_bytes, &m->packed);
}

/* zlib counts in 32 bits: feeds it in parts. True: just size_bytes came out. */
static bool
inflate_all(struct str packed, char *out, uint64_t size_bytes)
{
    const size_t most = (size_t)1 << 30;
    z_stream z = { .zalloc = Z_NULL };
    size_t done_in = 0, done = 0;
    if (inflateInit2(&z, -15) != Z_OK)
        return false;
    int r = Z_OK;
    while (r == Z_OK) {
        size_t in = packed.n - done_in < most ? packed.n - done_in : most;
        size_t room = size_bytes - done < most ? size_bytes - done : most;
        z.next_in = (Bytef *)(uintptr_t)(packed.p + done_in);
        z.avail_in = (uInt)in;
        z.next_out = (Bytef *)out + done;
        z.avail_out = (uInt)room;
        r = inflate(&z, Z_NO_FLUSH);
        done_in += in - z.avail_in;
        done += room - z.avail_out;
    }
    (void)inflateEnd(&z);
    return r == Z_STREAM_END && done == size_bytes;
}

static uint32_t
crc_of(struct str b)
{
    return (uint32_t)crc32_z(0, (const Bytef *)b.p, b.n);
}

static int
member_check(const struct member *m, struct err *err)
{
    if (m->flags & 1)
        return err_set(err, ERR_UNSUPPORTED, "encrypted");
    if (m->method != 0 && m->method != 8)
        return err_set(err, ERR_UNSUPPORTED,
                       "packed by method %u (stored and deflate are read)", m->method);
    if (m->method == 0 && m->packed_bytes != m->size_bytes)
        return err_set(err, ERR_CORRUPT, "stored, yet with two sizes");
    if (m->method == 8 && m->size_bytes / DEFLATE_MAX_RATIO > m->packed_bytes)
        return err_set(err, ERR_CORRUPT, "%llu bytes cannot unpack to %llu",
                       (unsigned long long)m->packed_bytes,
                       (unsigned long long)m->size_bytes);
    return 0;
}

/* The member's bytes: *heap owns them when it was packed, else they lie in the file. */
static int
member_unpack(const struct member *m, char **heap, struct str *out, struct err *err)
{
    *heap = NULL;
    *out = m->packed;
    if (m->method == 8) {
        *heap = malloc(m->size_bytes ? m->size_bytes : 1);
        if (!*heap)
            return err_set(err, ERR_LIMIT, "no memory for %llu bytes",
                           (unsigned long long)m->size_bytes);
        if (!inflate_all(m->packed, *heap, m->size_bytes))
            return err_set(err, ERR_CORRUPT, "damaged deflate data");
        *out = (struct str){ *heap, (size_t)m->size_bytes };
    }
    if (crc_of(*out) != m->crc)
        return err_set(err, ERR_CORRUPT, "checksum is wrong");
    return 0;
}

/* Adds the member under its name without ".npy", owning its bytes. */
static int
member_add(const struct member *m, const char *name, struct sm_tensor_list *out,
           struct err *err)
{
    char *heap AUTO(free_ptr) = NULL;
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    struct str bytes;
    int rc = member_unpack(m, &heap, &bytes, err);
    if (rc == 0)
        rc = sm_npy_read(bytes, "array", &t, err);
    if (rc == 0 && !t.owned && heap) {
        t.owned = heap;
        heap = NULL;
    } else if (rc == 0 && !t.owned) {
        struct sm_tensor copy;
        rc = sm_tensor_copy(&copy, &t, err);
        if (rc == 0)
            t = copy;
    }
    if (rc == 0)
        sm_tensor_list_add(out, name, &t);
    return rc;
}

/* What the members so far take. */
struct totals {
    uint64_t packed_bytes, size_bytes;
};

static int
totals_add(struct totals *sum, const struct member *m, size_t file_bytes,
           struct err *err)
{
    if (__builtin_add_overflow(sum->packed_bytes, m->packed_bytes,
                               &sum->packed_bytes) ||
        sum->packed_bytes > file_bytes)
        return err_set(err, ERR_CORRUPT, "it shares bytes with others");
    if (__builtin_add_overflow(sum->size_bytes, m->size_bytes, &sum->size_bytes) ||
        sum->size_bytes > UNPACKED_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "more than %llu bytes unpacked",
                       (unsigned long long)UNPACKED_MAX_BYTES);
    return 0;
}

static int
member_read(struct str file, struct member *m, struct totals *sum, const char *only,
            struct sm_tensor_list *out, struct err *err)
{
    size_t n = m->name.n;
    if (memchr(m->name.p, '\0', n))
        return err_set(err, ERR_CORRUPT, "a member's name holds a NUL byte");
    if (n >= 4 && memcmp(m->name.p + n - 4, ".npy", 4) == 0)
        n -= 4;
    if (only && !str_is((struct str){ m->name.p, n }, only))
        return 0;
    char *name AUTO(free_ptr) = xstrndup(m->name.p, n);
    if (sm_tensor_list_find(out, name))
        return err_set(err, ERR_CORRUPT, "two members are named '%s'", name);
    if (!member_locate(file, m))
        return err_set(err, ERR_CORRUPT, "member '%s' does not lie inside the file",
                       name);
    if (member_check(m, err) < 0 || totals_add(sum, m, file.n, err) < 0 ||
        member_add(m, name, out, err) < 0)
        return err_ctx(err, "member '%s'", name);
    return 0;
}

int
sm_npz_read(struct str bytes, const char *what, struct sm_tensor_list *out,
            struct err *err)
{
    return sm_npz_read_one(bytes, what, NULL, out, err);
}

int
sm_npz_read_one(struct str bytes, const char *what, const char *only,
                struct sm_tensor_list *out, struct err *err)
{
    struct str dir;
    uint64_t n;
    struct member m;
    *out = (struct sm_tensor_list){ .v = NULL };
    if (!directory_find(bytes, &dir, &n))
        return err_set(
            err, ERR_CORRUPT,
            "%s: not an .npz file, or cut off: no ZIP directory in %zu bytes", what,
            bytes.n);
    int rc = 0;
    struct totals sum = { 0 };
    if (n > MEMBERS_MAX)
        rc = err_set(err, ERR_LIMIT, "%llu members (limit %d)", (unsigned long long)n,
                     MEMBERS_MAX);
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        if (!central_next(&dir, &m))
            rc = err_set(err, ERR_CORRUPT,
                         "entry %llu of the ZIP directory is malformed",
                         (unsigned long long)i);
        else
            rc = member_read(bytes, &m, &sum, only, out, err);
    }
    if (rc < 0) {
        sm_tensor_list_release(out);
        return err_ctx(err, "%s", what);
    }
    return 0;
}

/* ---- writing -----------------------------------------------------------------------
 */

static void
add16(struct buf *b, uint64_t v)
{
    buf_add(b, &(uint16_t){ (uint16_t)v }, 2);
}

static void
add32(struct buf *b, uint64_t v)
{
    buf_add(b, &(uint32_t){ (uint32_t)v }, 4);
}

static void
add64(struct buf *b, uint64_t v)
{
    buf_add(b, &v, 8);
}

static uint64_t
low32(uint64_t v)
{
    return v < ALL32 ? v : ALL32;
}

/* The fields that both headers share: version … packed size, size, name length. */
static void
header_add(struct buf *b, const struct member *m, bool is64)
{
    add16(b, is64 ? 45 : 20);
    add16(b, m->flags);
    add16(b, 0); /* stored */
    add16(b, 0); /* time: 1980-01-01, as numpy writes */
    add16(b, 1 << 5 | 1);
    add32(b, m->crc);
    add32(b, is64 ? ALL32 : m->packed_bytes);
    add32(b, is64 ? ALL32 : m->size_bytes);
    add16(b, m->name.n);
}

static bool
needs64(const struct member *m)
{
    return m->size_bytes >= ALL32 || m->offset >= ALL32;
}

static void
local_add(struct buf *b, const struct member *m)
{
    bool is64 = m->size_bytes >= ALL32;
    add32(b, LOCAL_SIG);
    header_add(b, m, is64);
    add16(b, is64 ? 20 : 0);
    buf_add(b, m->name.p, m->name.n);
    if (is64) {
        add16(b, 1);
        add16(b, 16);
        add64(b, m->size_bytes);
        add64(b, m->packed_bytes);
    }
}

static void
central_add(struct buf *b, const struct member *m)
{
    bool is64 = needs64(m);
    add32(b, CENTRAL_SIG);
    add16(b, 3 << 8 | (is64 ? 45 : 20)); /* made on Unix */
    header_add(b, m, is64);
    add16(b, is64 ? 28 : 0);
    add16(b, 0); /* comment */
    add16(b, 0); /* disk */
    add16(b, 0); /* internal attributes */
    add32(b, 0600u << 16);
    add32(b, is64 ? ALL32 : m->offset);
    buf_add(b, m->name.p, m->name.n);
    if (is64) {
        add16(b, 1);
        add16(b, 24);
        add64(b, m->size_bytes);
        add64(b, m->packed_bytes);
        add64(b, m->offset);
    }
}

static void
end_add(struct buf *b, uint64_t n, uint64_t offset, uint64_t size_bytes)
{
    if (n >= 0xffff || offset >= ALL32 || size_bytes >= ALL32) {
        uint64_t at = offset + size_bytes;
        add32(b, END64_SIG);
        add64(b, END64_BYTES - 12);
        add16(b, 45);
        add16(b, 45);
        add64(b, 0); /* disks */
        add64(b, n);
        add64(b, n);
        add64(b, size_bytes);
        add64(b, offset);
        add32(b, LOCATOR_SIG);
        add32(b, 0);
        add64(b, at);
        add32(b, 1);
    }
    add32(b, END_SIG);
    add32(b, 0); /* disks */
    add16(b, n < 0xffff ? n : 0xffff);
    add16(b, n < 0xffff ? n : 0xffff);
    add32(b, low32(size_bytes));
    add32(b, low32(offset));
    add16(b, 0); /* comment */
}

int
sm_npz_write(const struct sm_tensor_list *l, struct buf *out, struct err *err)
{
    struct buf dir AUTO(buf_release) = BUF_INIT;
    size_t base = out->len;
    for (int i = 0; i < l->n; i++) {
        struct buf body AUTO(buf_release) = { .cap_bytes = out->cap_bytes };
        char *name AUTO(free_ptr) = xasprintf("%s.npy", l->v[i].name);
        if (strlen(name) > 0xffff)
            return err_set(err, ERR_LIMIT, "an array's name of %zu bytes",
                           strlen(name));
        if (sm_npy_write(&l->v[i].t, &body, err) < 0)
            return err_ctx(err, "array '%s'", l->v[i].name);
        struct str bytes = { body.data, body.len };
        struct member m = { .name = str_of(name),
                            .flags = 1 << 11, /* the name is UTF-8 */
                            .crc = crc_of(bytes),
                            .packed_bytes = bytes.n,
                            .size_bytes = bytes.n,
                            .offset = out->len - base };
        local_add(out, &m);
        buf_add(out, bytes.p, bytes.n);
        central_add(&dir, &m);
    }
    uint64_t offset = out->len - base;
    buf_add(out, dir.data, dir.len);
    end_add(out, (uint64_t)l->n, offset, dir.len);
    return buf_check(out, ".npz", err);
}
