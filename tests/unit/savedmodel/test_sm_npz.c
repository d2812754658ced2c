/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

#include <zlib.h>

static void
make(struct sm_tensor_list *l)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    int64_t dims[] = { 100 };
    *l = (struct sm_tensor_list){ .v = NULL };
    CHECK_OK(sm_tensor_alloc(&t, SM_INT32, 1, dims, &err));
    for (int i = 0; i < 100; i++)
        ((int32_t *)t.data)[i] = i;
    sm_tensor_list_add(l, "x", &t);
    CHECK_OK(sm_tensor_strings(&t, 0, NULL, &STR_LIT("hello"), &err));
    sm_tensor_list_add(l, "a/b é", &t);
}

TEST(test_sm_npz__round_trip)
{
    struct err err = ERR_INIT;
    struct sm_tensor_list l, back;
    struct buf b = BUF_INIT;
    make(&l);
    CHECK_OK(sm_npz_write(&l, &b, &err));
    CHECK_OK(sm_npz_read(str_buf(&b), "f", &back, &err));
    CHECK_INT(back.n, 2);
    buf_release(&b); /* nothing is borrowed */
    CHECK_INT(((int32_t *)sm_tensor_list_find(&back, "x")->data)[99], 99);
    CHECK(str_is(sm_tensor_str(sm_tensor_list_find(&back, "a/b é"))[0], "hello"));
    sm_tensor_list_release(&l);
    CHECK_OK(sm_npz_write(&l, &b, &err)); /* no member at all */
    sm_tensor_list_release(&back);
    CHECK_OK(sm_npz_read(str_buf(&b), "f", &back, &err));
    CHECK_INT(back.n, 0);
    buf_release(&b);
}

TEST(test_sm_npz__arrays_of_numpy)
{
    struct err err = ERR_INIT;
    struct sm_tensor_list l;
    struct buf b = BUF_INIT;
    read_file(unit_data("half_plus_two_tf2/batch-3.in.npz"), &b);
    CHECK_OK(sm_npz_read(str_buf(&b), "f", &l, &err));
    CHECK_INT(l.n, 1);
    CHECK_INT(l.v[0].t.dims[0], 3);
    sm_tensor_list_release(&l);
    buf_release(&b);
}

static void
add16(struct buf *b, uint16_t v)
{
    buf_add(b, &v, 2);
}

static void
add32(struct buf *b, uint32_t v)
{
    buf_add(b, &v, 4);
}

static void
add64(struct buf *b, uint64_t v)
{
    buf_add(b, &v, 8);
}

/* An archive with one member, with what a test wants to be different. */
struct zip {
    const char *name;
    struct str packed;
    uint16_t flags, method;
    uint32_t crc;
    uint64_t size, packed_size, offset;
    bool is64;      /* sizes and offset in the zip64 extra field */
    bool has_end64; /* zip64 end record and locator */
    int n_twice;    /* how often the member is listed */
};

static void
zip_write(const struct zip *z, struct buf *out)
{
    uint16_t n_name = (uint16_t)strlen(z->name);
    add32(out, 0x04034b50);
    add16(out, 45);
    add16(out, z->flags);
    add16(out, z->method);
    add32(out, 0);
    add32(out, z->crc);
    add32(out, 0xffffffff);
    add32(out, 0xffffffff);
    add16(out, n_name);
    add16(out, 3); /* some extra field */
    buf_adds(out, z->name);
    buf_adds(out, "xyz");
    buf_add(out, z->packed.p, z->packed.n);
    size_t at = out->len;
    for (int i = 0; i < z->n_twice; i++) {
        add32(out, 0x02014b50);
        add32(out, 45);
        add16(out, z->flags);
        add16(out, z->method);
        add32(out, 0);
        add32(out, z->crc);
        add32(out, z->is64 ? 0xffffffff : (uint32_t)z->packed_size);
        add32(out, z->is64 ? 0xffffffff : (uint32_t)z->size);
        add16(out, n_name);
        add16(out, z->is64 ? 33 : 0);
        add16(out, 0);
        add64(out, 0);
        add32(out, z->is64 ? 0xffffffff : (uint32_t)z->offset);
        buf_adds(out, z->name);
        if (z->is64) {
            add16(out, 0x5455); /* another field first */
            add16(out, 1);
            buf_addc(out, 0);
            add16(out, 1);
            add16(out, 24);
            add64(out, z->size);
            add64(out, z->packed_size);
            add64(out, z->offset);
        }
    }
    size_t size = out->len - at, end64 = out->len;
    if (z->has_end64) {
        add32(out, 0x06064b50);
        add64(out, 44);
        add32(out, 45);
        add64(out, 0);
        add64(out, (uint64_t)z->n_twice);
        add64(out, (uint64_t)z->n_twice);
        add64(out, size);
        add64(out, at);
        add32(out, 0x07064b50);
        add32(out, 0);
        add64(out, end64);
        add32(out, 1);
    }
    add32(out, 0x06054b50);
    add32(out, 0);
    add16(out, (uint16_t)(z->has_end64 ? 0xffff : z->n_twice));
    add16(out, (uint16_t)(z->has_end64 ? 0xffff : z->n_twice));
    add32(out, z->has_end64 ? 0xffffffff : (uint32_t)size);
    add32(out, z->has_end64 ? 0xffffffff : (uint32_t)at);
    add16(out, 7);
    buf_adds(out, "comment");
}

/* An .npy of three float32, plain and deflated. */
struct sample {
    struct buf plain;
    char packed[512];
    size_t n_packed;
};

static struct zip
sample(struct sample *s, bool deflated)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    int64_t dims[] = { 3 };
    s->plain = (struct buf)BUF_INIT;
    CHECK_OK(sm_tensor_alloc(&t, SM_FLOAT, 1, dims, &err));
    ((float *)t.data)[2] = 2.5f;
    CHECK_OK(sm_npy_write(&t, &s->plain, &err));
    sm_tensor_release(&t);
    z_stream z = { .zalloc = Z_NULL };
    CHECK(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in = (Bytef *)s->plain.data;
    z.avail_in = (uInt)s->plain.len;
    z.next_out = (Bytef *)s->packed;
    z.avail_out = sizeof(s->packed);
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    s->n_packed = sizeof(s->packed) - z.avail_out;
    (void)deflateEnd(&z);
    struct zip r = { .name = "v.npy", .n_twice = 1, .method = deflated ? 8 : 0 };
    r.packed = deflated ? (struct str){ s->packed, s->n_packed } : str_buf(&s->plain);
    r.crc = (uint32_t)crc32(0, (Bytef *)s->plain.data, (uInt)s->plain.len);
    r.size = s->plain.len;
    r.packed_size = r.packed.n;
    return r;
}

TEST(test_sm_npz__deflate_and_zip64)
{
    struct err err = ERR_INIT;
    for (int i = 0; i < 8; i++) {
        struct sample s;
        struct buf b = BUF_INIT;
        struct sm_tensor_list l;
        struct zip z = sample(&s, i & 1);
        z.is64 = i & 2;
        z.has_end64 = i & 4;
        z.name = i & 1 ? "v.npy" : "v";
        zip_write(&z, &b);
        CHECK_OK(sm_npz_read_one(str_buf(&b), "f", "w", &l, &err));
        CHECK_INT(l.n, 0);
        CHECK_OK(sm_npz_read(str_buf(&b), "f", &l, &err));
        CHECK(l.n == 1 && ((float *)sm_tensor_list_find(&l, "v")->data)[2] == 2.5f);
        sm_tensor_list_release(&l);
        buf_release(&b);
        buf_release(&s.plain);
    }
}

static void
refused(const struct zip *z, enum err_code code, const char *part)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_tensor_list l;
    zip_write(z, &b);
    CHECK_INT(sm_npz_read(str_buf(&b), "x.npz", &l, &err), -(int)code);
    CHECK(strstr(err.msg, "x.npz") && strstr(err.msg, part));
    CHECK(l.n == 0 && l.v == NULL);
    buf_release(&b);
}

TEST(test_sm_npz__what_is_refused)
{
    for (int deflated = 0; deflated < 2; deflated++) {
        struct sample s;
        const struct zip good = sample(&s, deflated != 0);
        struct zip z = good;
        z.crc ^= 1;
        refused(&z, ERR_CORRUPT, "member 'v': checksum");
        z = good;
        z.flags = 1;
        refused(&z, ERR_UNSUPPORTED, "encrypted");
        z = good;
        z.method = 12;
        refused(&z, ERR_UNSUPPORTED, "method 12");
        z = good;
        z.n_twice = 2;
        refused(&z, ERR_CORRUPT, "two members are named 'v'");
        z = good;
        z.offset = 1;
        refused(&z, ERR_CORRUPT, "does not lie inside");
        z = good;
        z.packed_size = 1 << 20;
        refused(&z, ERR_CORRUPT, "does not lie inside");
        z = good;
        z.is64 = true;
        z.size = (uint64_t)1 << 60; /* a bomb */
        refused(&z, ERR_CORRUPT, deflated ? "cannot unpack" : "two sizes");
        z = good;
        z.size--;
        refused(&z, ERR_CORRUPT, deflated ? "damaged" : "two sizes");
        buf_release(&s.plain);
    }
}

/* Two members over the same bytes, as archives do that unpack to far too much. */
TEST(test_sm_npz__members_that_share_bytes)
{
    struct sample s;
    struct zip z = sample(&s, false);
    struct buf b = BUF_INIT;
    struct err err = ERR_INIT;
    struct sm_tensor_list l;
    z.n_twice = 3;
    zip_write(&z, &b);
    for (size_t i = 0, seen = 0; i + 4 < b.len; i++) { /* v.npy, w.npy, x.npy */
        if (memcmp(b.data + i, "PK\1\2", 4) == 0)
            b.data[i + 46] = (char)(b.data[i + 46] + (int)seen++);
    }
    CHECK(sm_npz_read(str_buf(&b), "f", &l, &err) == -ERR_CORRUPT);
    CHECK(strstr(err.msg, "shares bytes"));
    buf_release(&b);
    buf_release(&s.plain);
}

TEST(test_sm_npz__every_truncation_is_told)
{
    struct err err = ERR_INIT;
    struct sm_tensor_list l, back;
    struct buf b = BUF_INIT;
    make(&l);
    CHECK_OK(sm_npz_write(&l, &b, &err));
    for (size_t n = 0; n < b.len; n++) {
        char *exact = xmalloc(n + 1);
        memcpy(exact, b.data, n);
        CHECK_ERR(sm_npz_read((struct str){ exact, n }, "f", &back, &err), ERR_CORRUPT);
        free_ptr(&exact);
    }
    sm_tensor_list_release(&l);
    buf_release(&b);
}
