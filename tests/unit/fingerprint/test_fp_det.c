/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fingerprint/tree.h"

static void
add(void *arg, const void *p, size_t n)
{
    buf_add(arg, p, n);
}

static int
det(enum fp_type type, struct str raw, struct buf *out, struct err *err)
{
    buf_clear(out);
    return fp_det(type, FP_MSG(raw), 0, (struct fp_sink){ add, out }, err);
}

static void
check_det(enum fp_type type, const char *hex, const char *want)
{
    struct buf in = BUF_INIT, out = BUF_INIT, expected = BUF_INIT;
    struct err err = ERR_INIT;
    add_hex(&in, hex);
    add_hex(&expected, want);
    CHECK_OK(det(type, str_buf(&in), &out, &err));
    if (!str_eq(str_buf(&out), str_buf(&expected))) {
        char got[1024];
        size_t n = 0;
        for (size_t i = 0; i < out.len && n < sizeof(got) - 3; i++)
            n += (size_t)snprintf(got + n, sizeof(got) - n, "%02x",
                                  (uint8_t)out.data[i]);
        got[n] = '\0';
        unit_fail(__FILE__, __LINE__, "%s gives %s, not %s", hex, got, want);
    }
    buf_release(&in);
    buf_release(&out);
    buf_release(&expected);
}

TEST(test_fp_det__scalars)
{
    /* VersionDef: default dropped, last wins, int32 cut and sign-extended. */
    check_det(FP_M_VersionDef, "0800 1005", "1005");
    check_det(FP_M_VersionDef, "0801 0802", "0802");
    check_det(FP_M_VersionDef, "10ffffffff0f", "10ffffffffffffffffff01");
    check_det(FP_M_VersionDef, "0881808000", "0801");
    /* fields by number, unknown ones last and as they were */
    check_det(FP_M_VersionDef, "4a0161 1002 0801 c03e8100",
              "0801 1002 4a0161 c03e8100");
    /* a known number with a wrong wire type is unknown */
    check_det(FP_M_VersionDef, "0a0161 1002", "1002 0a0161");
    /* bool: anything but zero is one */
    check_det(FP_M_AttrValue, "287f", "2801");
    check_det(FP_M_SaverDef, "3500000000", "");
    check_det(FP_M_SaverDef, "3500000080", "3500000080");
}

TEST(test_fp_det__packed)
{
    check_det(FP_M_VersionDef, "1805 1806", "1a020506");
    check_det(FP_M_VersionDef, "1a020506 1807", "1a03050607");
    check_det(FP_M_VersionDef, "1a00", "");
    check_det(FP_M_VersionDef, "1a0585808080 00", "1a0105");
    check_det(FP_M_VersionDef, "1a05ffffffff0f", "1a0affffffffffffffffff01");
    check_det(FP_M_TensorProto, "2d0000803f 2d00000040", "2a080000803f00000040");
}

TEST(test_fp_det__oneof)
{
    check_det(FP_M_AttrValue, "2800", "2800");
    check_det(FP_M_AttrValue, "1200", "1200");
    check_det(FP_M_AttrValue, "1801 2801", "2801");
    check_det(FP_M_AttrValue, "2801 1801", "1801");
    /* the same message member twice merges; with another in between it starts anew */
    check_det(FP_M_AttrValue, "3a02 1200 3a04 12020803", "3a06 1200 12020803");
    check_det(FP_M_AttrValue, "3a02 1200 2801 3a04 12020803", "3a04 12020803");
}

TEST(test_fp_det__messages)
{
    /* present but empty stays; twice is merged */
    check_det(FP_M_GraphDef, "1200", "1200");
    check_det(FP_M_GraphDef, "2202 0801 2202 1002", "2204 0801 1002");
    check_det(FP_M_GraphDef, "2202 0801 2202 0800", "2200");
    /* GraphDebugInfo is proto2: a set scalar is written also when zero */
    check_det(FP_M_FileLineCol, "0800 2200", "0800 2200");
    check_det(FP_M_StackTrace, "11 0100000000000000", "1208 0100000000000000");
}

TEST(test_fp_det__maps)
{
    /* function_aliases: sorted, a prefix first, last wins, key and value always there
     */
    check_det(FP_M_MetaInfoDef, "4206 0a0162 120178 4207 0a026161 120179 4203 0a0161",
              "4205 0a0161 1200 4207 0a026161 120179 4206 0a0162 120178");
    check_det(FP_M_MetaInfoDef, "4206 0a0161 120178 4206 0a0161 120179",
              "4206 0a0161 120179");
    check_det(FP_M_MetaInfoDef, "4200", "4204 0a00 1200");
    check_det(FP_M_MetaInfoDef, "4206 120178 0a0161", "4206 0a0161 120178");
    check_det(FP_M_MetaInfoDef, "4209 0a0161 120178 1a0171", "4206 0a0161 120178");
    /* integer keys, message values */
    check_det(FP_M_FunctionDef, "3a02 080a 3a02 0802", "3a04 0802 1200 3a04 080a 1200");
    check_det(FP_M_FunctionDef, "4200", "4204 0800 1000");
}

TEST(test_fp_det__malformed)
{
    static const struct {
        enum fp_type type;
        const char *hex;
    } v[] = {
        { FP_M_VersionDef, "08" },           { FP_M_VersionDef, "1a02" },
        { FP_M_VersionDef, "1a0180" },       { FP_M_GraphDef, "2201 08" },
        { FP_M_VersionDef, "0b08010c" },     { FP_M_TensorProto, "2a03000000" },
        { FP_M_MetaInfoDef, "4203 0a0561" },
    };
    struct err err = ERR_INIT;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        struct buf in = BUF_INIT, out = BUF_INIT;
        add_hex(&in, v[i].hex);
        CHECK_ERR(det(v[i].type, str_buf(&in), &out, &err), ERR_CORRUPT);
        buf_release(&in);
        buf_release(&out);
    }
}

TEST(test_fp_det__too_deep)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    struct err err = ERR_INIT;
    for (int i = 0; i < 150; i++) {
        struct buf next = BUF_INIT;
        pb_bytes(&next, 2, buf_str(&in), in.len);
        buf_release(&in);
        in = next;
    }
    CHECK_ERR(det(FP_M_FullTypeDef, str_buf(&in), &out, &err), ERR_LIMIT);
    buf_release(&in);
    buf_release(&out);
}

/* ---- real models, rewritten ---- */

static const char *const models[] = {
    "mlp_tiny/model",        "cnn_tiny/model",          "tf1_partitioned/model",
    "multi_signature/model", "half_plus_two_tf1/model", "every_reference/model"
};

struct position {
    struct tree tree;
    uint32_t place;
};

static int
by_place(const void *a, const void *b)
{
    const struct position *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

/* Moves whole fields; entries of maps one by one. */
static void
move_fields(struct tree *t, void *seed)
{
    struct position *v = xcalloc((size_t)t->n + 1, sizeof(*v));
    uint32_t base = tree_random(seed);
    for (int i = 0; i < t->n; i++) {
        struct tree *k = &t->kid[i];
        v[i].tree = *k;
        v[i].place = (k->num * 2654435761u + base) << 8 >> 4;
        if (k->type == TREE_ENTRY)
            v[i].place = tree_random(seed);
        else
            v[i].place += (uint32_t)i % (1u << 20);
    }
    qsort(v, (size_t)t->n, sizeof(*v), by_place);
    for (int i = 0; i < t->n; i++)
        t->kid[i] = v[i].tree;
    free(v);
}

static void
fatten(struct tree *t, void *seed)
{
    for (int i = 0; i < t->n; i++)
        t->kid[i].is_fat = tree_random(seed) % 3 == 0;
}

/* What the parser drops: defaults that need not be there, earlier values, an earlier
 * entry of a map under the same key. Order means something afterwards. */
static void
add_noise(struct tree *t, void *seed)
{
    int n = t->n;
    for (int i = 0; i < n; i++) {
        const struct fp_field *f = tree_field(t->type, t->kid[i].num);
        if (f && f->label == FP_L_ONE && f->kind == FP_K_STR &&
            tree_random(seed) % 2 == 0) {
            struct tree *k = tree_add(t, TREE_LEAF, f->num, 2);
            buf_adds(&k->bytes, "superseded");
            struct tree first = t->kid[i];
            t->kid[i] = *k;
            *k = first;
        }
        if (f && f->label == FP_L_MAP && f->key == FP_K_STR && f->kind == FP_K_MSG &&
            tree_random(seed) % 2 == 0) {
            struct tree *e = tree_add(t, TREE_ENTRY, f->num, 2);
            struct str key = tree_str(&t->kid[i], 1);
            struct tree *k = tree_add(e, TREE_LEAF, 1, 2);
            buf_add(&k->bytes, key.p, key.n);
            (void)tree_add(e, f->type, 2, 2);
            struct tree first = t->kid[i];
            t->kid[i] = t->kid[t->n - 1];
            t->kid[t->n - 1] = first;
        }
    }
    if (t->type == FP_M_NodeDef && !tree_get(t, 4))
        tree_add(t, TREE_LEAF, 4, 2); /* an empty device */
}

/* Every rewriting parses to the same message, so the form is the same. */
TEST(test_fp_det__rewritten_models)
{
    static void (*const rewrite[])(struct tree *, void *) = { move_fields, fatten,
                                                              move_fields, add_noise,
                                                              fatten };
    struct err err = ERR_INIT;
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        struct tree t;
        struct buf plain = BUF_INIT, want = BUF_INIT;
        char path[256];
        uint32_t seed = (uint32_t)i;
        snprintf(path, sizeof(path), "%s/saved_model.pb", models[i]);
        tree_read(&t, unit_data(path));
        tree_write(&t, &plain);
        CHECK_OK(det(FP_M_SavedModel, str_buf(&plain), &want, &err));
        for (int round = 0; round < 5; round++) {
            struct buf raw = BUF_INIT, out = BUF_INIT;
            tree_each(&t, -3, rewrite[round], &seed);
            tree_write(&t, &raw);
            CHECK(!str_eq(str_buf(&raw), str_buf(&plain)));
            CHECK_OK(det(FP_M_SavedModel, str_buf(&raw), &out, &err));
            CHECK(str_eq(str_buf(&out), str_buf(&want)));
            /* and its own form is itself */
            struct buf again = BUF_INIT;
            CHECK_OK(det(FP_M_SavedModel, str_buf(&out), &again, &err));
            CHECK(str_eq(str_buf(&again), str_buf(&want)));
            buf_release(&raw);
            buf_release(&out);
            buf_release(&again);
        }
        tree_free(&t);
        buf_release(&plain);
        buf_release(&want);
    }
}
