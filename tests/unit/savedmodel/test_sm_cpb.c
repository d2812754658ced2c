/* SPDX-License-Identifier: Apache-2.0 */
#include "savedmodel/sm_int.h"
#include "tests/unit/savedmodel/build.h"

static int
open_at(struct sm_model **m, const char *dir, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    CHECK(fs_open_dir(&fd, AT_FDCWD, dir, err) == 0);
    return sm_open(m, fd, dir, err);
}

/* The fixed hashes of the format's own description. */
TEST(test_sm_riegeli__known_hashes)
{
    CHECK(sm_riegeli_hash((struct str){ "", 0 }) == 0x72c3b1e9c0139fe1);
    struct buf b = BUF_INIT;
    add_hex(&b, "0000000000000000 4000000000000000");
    CHECK(sm_riegeli_hash(str_buf(&b)) == 0x3f4a880dd170af83);
    buf_clear(&b);
    add_hex(&b, "0000000000000000 e19f13c0e9b1c372 7300000000000000 0000000000000000");
    CHECK(sm_riegeli_hash(str_buf(&b)) == 0xa9e187923cc2ba91);
    buf_release(&b);
}

/* The same nodes with the same attributes, though they were cut apart. */
static void
same_nodes(struct str a, struct str b, uint32_t field)
{
    struct err err = ERR_INIT;
    struct str x, y;
    struct sm_node n, k;
    struct sm_attr v, w;
    int ra, rb;
    while ((ra = sm_pb_next_msg(&a, field, &x)) > 0) {
        rb = sm_pb_next_msg(&b, field, &y);
        CHECK(rb > 0);
        CHECK_OK(sm_node_parse(x, &n, &err));
        CHECK_OK(sm_node_parse(y, &k, &err));
        CHECK(str_eq(n.name, k.name) && str_eq(n.op, k.op));
        if (sm_node_attr(&n, "value", &v)) {
            struct sm_tensor t, u;
            CHECK(sm_node_attr(&k, "value", &w));
            CHECK_OK(sm_tensor_proto(v.bytes, &t, &err));
            CHECK_OK(sm_tensor_proto(w.bytes, &u, &err));
            CHECK(t.dtype == u.dtype && t.n_elems == u.n_elems);
            CHECK(t.dtype == SM_STRING ||
                  memcmp(t.data, u.data, sm_tensor_bytes(&t)) == 0);
            sm_tensor_release(&t);
            sm_tensor_release(&u);
        }
    }
    CHECK_INT(sm_pb_next_msg(&b, field, &y), 0);
}

static void
same_model(const char *dir)
{
    struct err err = ERR_INIT;
    struct sm_model *a AUTO(sm_close_p) = NULL;
    struct sm_model *b AUTO(sm_close_p) = NULL;
    CHECK_OK(open_at(&a, unit_data("half_plus_two_tf2/model"), &err));
    CHECK_OK(open_at(&b, unit_data(dir), &err));
    CHECK(sm_form(b) == SM_FORM_CPB);
    const struct sm_meta *x = sm_meta(a, 0), *y = sm_meta(b, 0);
    same_nodes(x->graph, y->graph, SM_GRAPH_NODE);
    CHECK_INT(y->n_signatures, x->n_signatures);
    for (int i = 0; i < x->n_signatures; i++)
        CHECK(x->signatures[i].raw.n == y->signatures[i].raw.n &&
              str_eq(x->signatures[i].key, y->signatures[i].key));
    struct str fx = x->library, fy = y->library, f, g;
    while (sm_pb_next_msg(&fx, SM_LIBRARY_FUNCTION, &f) > 0) {
        CHECK(sm_pb_next_msg(&fy, SM_LIBRARY_FUNCTION, &g) > 0);
        CHECK(f.n == g.n && str_eq(sm_pb_bytes(f, 1), sm_pb_bytes(g, 1)));
    }
    CHECK_INT(sm_pb_next_msg(&fy, SM_LIBRARY_FUNCTION, &g), 0);
    CHECK(str_eq(x->object_graph, y->object_graph));
}

TEST(test_sm_cpb__each_compression)
{
    same_model("formats/cpb_none");
    same_model("formats/cpb_brotli");
    same_model("formats/cpb_zstd");
    same_model("formats/cpb_snappy");
}

static int
open_bytes(struct str bytes, struct err *err)
{
    struct sm_model *m AUTO(sm_close_p) = NULL;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/saved_model.cpb", unit_dir());
    write_file(path, bytes.p, bytes.n);
    return open_at(&m, unit_dir(), err);
}

TEST(test_sm_cpb__damage_is_told)
{
    struct err err = ERR_INIT;
    struct buf all = BUF_INIT;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/saved_model.cpb",
                   unit_data("formats/cpb_brotli"));
    read_file(path, &all);
    for (size_t n = 0; n < all.len; n += n < 80 ? 1 : 61)
        CHECK_ERR(open_bytes((struct str){ all.data, n }, &err), ERR_CORRUPT);
    for (size_t i = 70; i < all.len; i += 37) {
        all.data[i] ^= 0x10;
        CHECK_ERR(open_bytes(str_buf(&all), &err), ERR_CORRUPT);
        all.data[i] ^= 0x10;
    }
    CHECK_OK(open_bytes(str_buf(&all), &err));
    buf_release(&all);
}

/* ---- files by hand -----------------------------------------------------------------
 */

static void
chunk(struct buf *file, char type, struct str data, uint64_t n_records)
{
    struct buf h = BUF_INIT;
    uint64_t v[] = { data.n, sm_riegeli_hash(data), (uint8_t)type | n_records << 8, 0 };
    buf_add(&h, v, sizeof(v));
    uint64_t hash = sm_riegeli_hash(str_buf(&h));
    buf_add(file, &hash, sizeof(hash));
    buf_add(file, h.data, h.len);
    buf_add(file, data.p, data.n);
    buf_release(&h);
}

static void
signature(struct buf *file)
{
    buf_release(file);
    add_hex(file, "83af70d10d884a3f 0000000000000000 4000000000000000");
    chunk(file, 's', (struct str){ "", 0 }, 0);
}

/* Appends one record in a chunk of its own; returns its position. */
static uint64_t
record(struct buf *file, struct buf *bytes)
{
    struct buf d = BUF_INIT, size = BUF_INIT;
    uint64_t at = file->len;
    add_varint(&size, bytes->len);
    buf_addc(&d, 0);
    add_varint(&d, size.len);
    buf_add(&d, size.data, size.len);
    buf_add(&d, bytes->data, bytes->len);
    chunk(file, 'r', str_buf(&d), 1);
    buf_release(&d);
    buf_release(&size);
    buf_release(bytes);
    return at;
}

struct chunked {
    struct buf file;
    struct buf infos, fields;
};

static void
add_chunk(struct chunked *c, const char *hex)
{
    struct buf b = BUF_INIT, info = BUF_INIT;
    add_hex(&b, hex);
    pb_int(&info, 2, (int64_t)b.len);
    pb_int(&info, 3, (int64_t)record(&c->file, &b));
    pb_msg(&c->infos, 2, &info);
}

/* ChunkedField: steps that are message fields "1 f" or indices "3 i". */
static void
add_field(struct chunked *c, const char *steps, int64_t index)
{
    struct buf f = BUF_INIT, m = BUF_INIT;
    int kind, v, n;
    for (; sscanf(steps, "%d %d%n", &kind, &v, &n) == 2; steps += n) {
        struct buf step = BUF_INIT;
        pb_int(&step, (uint32_t)kind, v);
        pb_msg(&f, 1, &step);
    }
    pb_int(&m, 1, index);
    pb_msg(&f, 3, &m);
    pb_msg(&c->fields, 2, &f);
}

static int
merge(struct chunked *c, int64_t root_chunk, struct buf *out, struct err *err)
{
    struct buf root = BUF_INIT;
    if (root_chunk >= 0)
        pb_int(&root, 1, root_chunk);
    buf_add(&root, c->fields.data, c->fields.len);
    pb_msg(&c->infos, 3, &root);
    (void)record(&c->file, &c->infos);
    buf_release(&c->fields);
    buf_release(out);
    int rc = sm_cpb_merge(str_buf(&c->file), out, err);
    signature(&c->file);
    return rc;
}

static bool
graph_is(const struct buf *model, const char *hex)
{
    struct buf want = BUF_INIT;
    add_hex(&want, hex);
    struct str graph = sm_pb_bytes(sm_pb_bytes(str_buf(model), 2), 2);
    bool r = str_eq(graph, str_buf(&want));
    buf_release(&want);
    return r;
}

TEST(test_sm_cpb__merging)
{
    struct err err = ERR_INIT;
    struct chunked c = { .file = BUF_INIT };
    struct buf out = BUF_INIT;
    signature(&c.file);
    add_chunk(&c, "1204 12021801");          /* a MetaGraph with a GraphDef version 1 */
    add_chunk(&c, "0a00 1802");              /* a GraphDef: one node, version 2 */
    add_chunk(&c, "0a0161");                 /* a NodeDef: name a */
    add_field(&c, "1 2 3 0 1 2 1 1 3 2", 2); /* node 2: created with the one before */
    add_field(&c, "1 2 3 0 1 2", 1);
    CHECK_OK(merge(&c, 0, &out, &err));
    CHECK(graph_is(&out, "1801 0a00 1802 0a00 0a838080808000 0a0161"));
    /* Without a root chunk: everything is made. */
    add_chunk(&c, "0a0161");
    add_field(&c, "1 2 3 0 1 2 1 1 3 0", 0);
    CHECK_OK(merge(&c, -1, &out, &err));
    struct str graph = sm_pb_bytes(sm_pb_bytes(str_buf(&out), 2), 2);
    CHECK(str_is(sm_pb_bytes(sm_pb_bytes(graph, 1), 1), "a"));
    buf_release(&out);
    buf_release(&c.file);
}

TEST(test_sm_cpb__bad_directories)
{
    struct err err = ERR_INIT;
    struct chunked c = { .file = BUF_INIT };
    struct buf out = BUF_INIT;
    signature(&c.file);
    CHECK_ERR(sm_cpb_merge(str_buf(&c.file), &out, &err), ERR_CORRUPT);
    CHECK_ERR(merge(&c, 0, &out, &err), ERR_CORRUPT); /* no chunk 0 */
    static const char *const paths[] = { "1 9",
                                         "3 0",
                                         "1 2",
                                         "1 2 1 1",
                                         "1 1",
                                         "1 2 3 0 1 4",
                                         "1 2 3 0 1 2 1 1 3 0 1 1 1 1" };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        add_chunk(&c, "");
        add_field(&c, paths[i], 0);
        CHECK_ERR(merge(&c, -1, &out, &err), ERR_CORRUPT);
    }
    add_chunk(&c, "");
    add_field(&c, "1 2 3 2000000", 0);
    CHECK_ERR(merge(&c, -1, &out, &err), ERR_LIMIT);
    add_chunk(&c, "0aff");
    add_field(&c, "1 2 3 0", 0);
    CHECK_ERR(merge(&c, -1, &out, &err), ERR_CORRUPT);
    chunk(&c.file, 't', (struct str){ "", 0 }, 0);
    CHECK_ERR(merge(&c, -1, &out, &err), ERR_UNSUPPORTED);
    buf_release(&out);
    buf_release(&c.file);
}
