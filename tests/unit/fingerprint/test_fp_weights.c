/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of tensors and weights: by value, not by where the bytes lie. */
#include "tests/unit/fingerprint/variant.h"

struct shards {
    struct buf data[4];
    int n;
    struct {
        struct buf key, value;
    } entry[256];
    int n_entries;
};

static void
put_entry(struct shards *s, struct str key, const struct sm_entry *e,
          const int64_t *dims, struct str bytes, uint32_t crc)
{
    int shard = s->n_entries % s->n;
    struct buf *key_out = &s->entry[s->n_entries].key;
    struct buf *v = &s->entry[s->n_entries++].value;
    buf_add(&s->data[shard], "padding", 7);
    buf_add(key_out, key.p, key.n);
    pb_fixed32(v, 6, crc);
    pb_int(v, 5, (int64_t)bytes.n);
    pb_int(v, 4, (int64_t)s->data[shard].len);
    pb_int(v, 3, shard);
    pb_shape(v, 2, dims);
    pb_int(v, 1, e->dtype);
    buf_add(&s->data[shard], bytes.p, bytes.n);
}

static void
dims_of(const struct sm_entry *e, int64_t *dims)
{
    memcpy(dims, e->shape.dims, sizeof(e->shape.dims));
    dims[e->shape.rank] = -2;
}

/* A tensor in two slices along its first dimension. */
static void
put_slices(struct shards *s, const struct sm_entry *e, struct str bytes)
{
    int64_t dims[SM_MAX_RANK + 1], first = e->shape.dims[0] / 2;
    size_t row = bytes.n / (size_t)e->shape.dims[0];
    struct buf *v = &s->entry[s->n_entries].value;
    dims_of(e, dims);
    buf_add(&s->entry[s->n_entries++].key, e->key.p, e->key.n);
    pb_int(v, 1, e->dtype);
    pb_shape(v, 2, dims);
    for (int i = 0; i < 2; i++) {
        int64_t start = i ? first : 0, n = i ? e->shape.dims[0] - first : first;
        struct buf slice = BUF_INIT, extent = BUF_INIT, key = BUF_INIT;
        struct str part = { bytes.p + (size_t)start * row, (size_t)n * row };
        pb_int(&extent, 1, start);
        pb_int(&extent, 2, n);
        pb_msg(&slice, 1, &extent);
        buf_addc(&key, 0);
        buf_add(&key, e->key.p, e->key.n);
        buf_add(&key, "\0\1\1", 3);
        buf_addc(&key, (char)e->shape.rank);
        buf_addc(&key, (char)(start ^ 0x80));
        buf_addc(&key, (char)(n ^ 0x80));
        for (int k = 1; k < e->shape.rank; k++) {
            buf_add(&key, "\x80\x7f", 2);
            pb_msg(&slice, 1, &extent);
        }
        pb_msg(v, 7, &slice);
        dims[0] = n;
        put_entry(s, str_buf(&key), e, dims, part,
                  crc32c_mask(crc32c(0, part.p, part.n)));
        buf_release(&key);
        v = &s->entry[s->n_entries - 2 - i].value;
    }
}

static int
entry_order(const void *a, const void *b)
{
    const struct {
        struct buf key, value;
    } *x = a, *y = b;
    return str_cmp(str_buf(&x->key), str_buf(&y->key));
}

static void
shards_write(struct shards *s, const char *dir)
{
    struct table table = { .entries = BUF_INIT };
    char path[512];
    qsort(s->entry, (size_t)s->n_entries, sizeof(s->entry[0]), entry_order);
    table_header(&table, s->n, 0);
    for (int i = 0; i < s->n_entries; i++) {
        table_add(&table, str_buf(&s->entry[i].key), &s->entry[i].value);
        buf_release(&s->entry[i].key);
    }
    snprintf(path, sizeof(path), "%s/variables/variables.index", dir);
    table_write(&table, (struct str){ "", 0 }, path);
    for (int i = 0; i < s->n; i++) {
        snprintf(path, sizeof(path), "%s/variables/variables.data-%05d-of-%05d", dir, i,
                 s->n);
        write_file(path, buf_str(&s->data[i]), s->data[i].len);
        buf_release(&s->data[i]);
    }
}

/* The same tensors in n shards, last one first, with gaps; big ones in slices. */
static void
reshard(const char *dir, int n, bool is_sliced)
{
    struct shards s = { .n = n };
    struct sm_bundle *b = NULL;
    struct err err = ERR_INIT;
    struct buf data = BUF_INIT;
    char path[512];
    int fd AUTO(fs_close) = -1;
    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, dir, &err));
    CHECK_OK(sm_bundle_open(&b, fd, "variables/variables", &err));
    CHECK_INT(sm_bundle_n_shards(b), 1);
    snprintf(path, sizeof(path), "%s/variables/variables.data-00000-of-00001", dir);
    read_file(path, &data);
    for (int i = sm_bundle_n_entries(b) - 1; i >= 0; i--) {
        const struct sm_entry *e = sm_bundle_entry(b, i);
        struct sm_tensor t = { .data = NULL };
        int64_t dims[SM_MAX_RANK + 1];
        struct str bytes = { data.data + e->offset, (size_t)e->size_bytes };
        dims_of(e, dims);
        if (e->n_slices > 0) { /* a partitioned one becomes one piece */
            CHECK_OK(
                sm_bundle_tensor(b, e->key, (struct str){ "", 0 }, true, &t, &err));
            bytes = (struct str){ t.data, sm_tensor_bytes(&t) };
            put_entry(&s, e->key, e, dims, bytes,
                      crc32c_mask(crc32c(0, bytes.p, bytes.n)));
        } else if (is_sliced && e->shape.rank > 0 && e->shape.dims[0] > 1 &&
                   e->shape.dims[0] < 64) {
            put_slices(&s, e, bytes);
        } else {
            put_entry(&s, e->key, e, dims, bytes, e->crc32c);
        }
        sm_tensor_release(&t);
    }
    sm_bundle_close(b);
    CHECK_OK(fs_unlink(AT_FDCWD, path, &err));
    shards_write(&s, dir);
    buf_release(&data);
}

static void
three_shards(struct tree *t, const char *dir)
{
    (void)t;
    reshard(dir, 3, false);
}

static void
slices(struct tree *t, const char *dir)
{
    (void)t;
    reshard(dir, 1, true);
}

static const struct variant keeps[] = {
    { "three shards", three_shards, NULL, 0, false },
    { "slices", slices, NULL, 0, true },
};

TEST(test_fp_weights__stored_otherwise)
{
    variant_check_kept(keeps, sizeof(keeps) / sizeof(keeps[0]));
}

static void
weights_at(const char *dir, struct sm_bundle **b, struct fp_weights *w)
{
    struct err err = ERR_INIT;
    int fd AUTO(fs_close) = -1;
    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, dir, &err));
    CHECK_OK(sm_bundle_open(b, fd, "variables/variables", &err));
    CHECK_OK(fp_weights_of(w, *b, &err));
}

/* The digests can be made again with nothing but this description. */
TEST(test_fp_weights__by_hand)
{
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct fp_weights w AUTO(fp_weights_release) = { .v = NULL };
    static const float values[2] = { 0.5f, 2.0f };
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct digest d;
    char hex[DIGEST_HEX_BYTES];
    weights_at(unit_data("half_plus_two_tf1/model"), &b, &w);
    buf_adds(&text, "sluice-weights 1\n");
    static const char *const names[] = { "a", "b" };
    CHECK_INT(w.n, 2);
    for (int i = 0; i < w.n; i++) {
        CHECK(str_is(w.v[i].entry->key, names[i]));
        CHECK(fp_weights_find(&w, w.v[i].entry->key) == &w.v[i]);
        digest_hex(&w.v[i].digest, hex);
        buf_addf(&text, "%s float32 [] %s\n", hex, names[i]);
    }
    sha256_of(&values[0], sizeof(float), &d);
    CHECK(digest_eq(&d, &w.v[0].digest));
    sha256_of(&values[1], sizeof(float), &d);
    CHECK(digest_eq(&d, &w.v[1].digest));
    sha256_of(text.data, text.len, &d);
    CHECK(digest_eq(&d, &w.id));
    CHECK(!fp_weights_find(&w, STR_LIT("d")));
    CHECK_INT(w.n_bytes, 8);
}

TEST(test_fp_weights__strings)
{
    const struct str v[] = { STR_LIT("ab"), STR_LIT(""), STR_LIT("c") };
    const struct str joined[] = { STR_LIT("a"), STR_LIT("b"), STR_LIT("c") };
    const int64_t dims[] = { 3 };
    struct sm_tensor t, other;
    struct digest d, e;
    struct err err = ERR_INIT;
    CHECK_OK(sm_tensor_strings(&t, 1, dims, v, &err));
    CHECK_OK(sm_tensor_strings(&other, 1, dims, joined, &err));
    fp_tensor_digest(&t, &d);
    fp_tensor_digest(&other, &e);
    CHECK(!digest_eq(&d, &e));
    struct buf b AUTO(buf_release) = BUF_INIT;
    add_hex(&b, "0200000000000000 6162 0000000000000000 0100000000000000 63");
    sha256_of(b.data, b.len, &e);
    CHECK(digest_eq(&d, &e));
    sm_tensor_release(&t);
    sm_tensor_release(&other);
}

TEST(test_fp_weights__variants)
{
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct fp_weights w AUTO(fp_weights_release) = { .v = NULL };
    struct err err = ERR_INIT;
    char *prefix AUTO(free_ptr) =
        xasprintf("%s/v", unit_data("formats/bundle_variant"));
    CHECK_OK(sm_bundle_open(&b, AT_FDCWD, prefix, &err));
    CHECK_OK(fp_weights_of(&w, b, &err));
    const struct fp_tensor *lists = fp_weights_find(&w, STR_LIT("lists"));
    CHECK(lists && lists->entry->dtype == SM_VARIANT && w.n >= 2);
    for (int i = 0; i < w.n; i++)
        CHECK(&w.v[i] == lists || !digest_eq(&w.v[i].digest, &lists->digest));
}

TEST(test_fp_weights__no_variables)
{
    struct fp_weights w AUTO(fp_weights_release) = { .v = NULL };
    struct err err = ERR_INIT;
    struct digest d;
    CHECK_OK(fp_weights_of(&w, NULL, &err));
    CHECK_INT(w.n, 0);
    sha256_of("sluice-weights 1\n", 17, &d);
    CHECK(digest_eq(&d, &w.id));
}

TEST(test_fp_weights__damage_is_told)
{
    char *dir AUTO(free_ptr) = xasprintf("%s/model", unit_dir());
    char *shard AUTO(free_ptr) =
        xasprintf("%s/variables/variables.data-00000-of-00001", dir);
    struct fp_identity id;
    struct buf data AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    int fd AUTO(fs_close) = -1;
    variant_make(NULL, "mlp_tiny/model", dir);
    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, dir, &err));
    read_file(shard, &data);
    data.data[data.len / 4] ^= 0x10;
    write_file(shard, data.data, data.len);
    CHECK_ERR(fp_identity_of(&id, fd, dir, &err), ERR_CORRUPT);
    write_file(shard, data.data, data.len / 2);
    CHECK_ERR(fp_identity_of(&id, fd, dir, &err), ERR_CORRUPT);
    CHECK_OK(fs_unlink(AT_FDCWD, shard, &err));
    CHECK_INT(fp_identity_of(&id, fd, dir, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "variables.data-00000-of-00001 is missing"));
    err_clear(&err);
}

TEST(test_fp_weights__missing_asset)
{
    char *dir AUTO(free_ptr) = xasprintf("%s/model", unit_dir());
    char *asset AUTO(free_ptr) = xasprintf("%s/assets/vocabulary.txt", dir);
    struct fp_identity id;
    struct err err = ERR_INIT;
    int fd AUTO(fs_close) = -1;
    variant_make(NULL, "every_reference/model", dir);
    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, dir, &err));
    CHECK_OK(fs_unlink(AT_FDCWD, asset, &err));
    CHECK_INT(fp_identity_of(&id, fd, dir, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "assets/vocabulary.txt"));
    err_clear(&err);
}

/* The same model as text, and in chunks. */
TEST(test_fp_weights__other_forms)
{
    static const char *const forms[][2] = { { "pbtxt", "saved_model.pbtxt" },
                                            { "cpb_none", "saved_model.cpb" },
                                            { "cpb_brotli", "saved_model.cpb" } };
    char *dir AUTO(free_ptr) = xasprintf("%s/model", unit_dir());
    char *pb AUTO(free_ptr) = xasprintf("%s/saved_model.pb", dir);
    struct fp_identity plain;
    struct err err = ERR_INIT;
    variant_make(NULL, "half_plus_two_tf2/model", dir);
    variant_identity(&plain, dir);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        char *name AUTO(free_ptr) =
            xasprintf("formats/%s/%s", forms[i][0], forms[i][1]);
        char *to AUTO(free_ptr) = xasprintf("%s/%s", dir, forms[i][1]);
        variant_make(NULL, "half_plus_two_tf2/model", dir);
        CHECK_OK(fs_unlink(AT_FDCWD, pb, &err));
        CHECK_OK(fs_copy(AT_FDCWD, unit_data(name), AT_FDCWD, to, 0644, &err));
        variant_expect("half_plus_two_tf2/model", forms[i][0], dir, &plain);
    }
}
