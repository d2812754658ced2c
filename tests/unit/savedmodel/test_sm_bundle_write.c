/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

#include <stdlib.h>

static char *
in_dir(const char *name)
{
    return xasprintf("%s/%s", unit_dir(), name);
}

static int
by_offset(const void *pa, const void *pb)
{
    const struct sm_entry *a = *(const struct sm_entry *const *)pa;
    const struct sm_entry *b = *(const struct sm_entry *const *)pb;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* Every tensor of the bundle in the order in which they lie in its shard. */
static void
copy_bundle(const char *from, const char *to)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b;
    struct sm_bundle_writer *w;
    CHECK_OK(sm_bundle_open(&b, AT_FDCWD, from, &err));
    int n = sm_bundle_n_entries(b);
    const struct sm_entry **v AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*v));
    for (int i = 0; i < n; i++)
        v[i] = sm_bundle_entry(b, i);
    qsort(v, (size_t)n, sizeof(*v), by_offset);
    CHECK_OK(sm_bundle_write_open(&w, AT_FDCWD, to, &err));
    for (int i = 0; i < n; i++)
        CHECK_OK(sm_bundle_write_copy(w, v[i]->key, b, v[i]->key, &err));
    CHECK_OK(sm_bundle_write_end(w, &err));
    sm_bundle_write_close_p(&w);
    sm_bundle_close(b);
}

static void
same_file(const char *a, const char *b, const char *suffix)
{
    struct buf x = BUF_INIT, y = BUF_INIT;
    char *pa AUTO(free_ptr) = xasprintf("%s.%s", a, suffix);
    char *pb AUTO(free_ptr) = xasprintf("%s.%s", b, suffix);
    read_file(pa, &x);
    read_file(pb, &y);
    if (!str_eq(str_buf(&x), str_buf(&y)))
        unit_fail(__FILE__, __LINE__, "%s and the copy differ", pa);
    buf_release(&x);
    buf_release(&y);
}

TEST(test_sm_bundle_write__copies_are_tensorflows_bytes)
{
    static const char *const prefixes[] = {
        "cnn_tiny/model/variables/variables",
        "half_plus_two_tf1/model/variables/variables",
        "half_plus_two_tf2/model/variables/variables",
        "mlp_tiny/model/variables/variables",
        "multi_signature/model/variables/variables",
        "formats/bundle_variant/v",
    };
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        char *to_name AUTO(free_ptr) = xasprintf("copy-%zu", i);
        char *to AUTO(free_ptr) = in_dir(to_name);
        const char *from = unit_data(prefixes[i]);
        copy_bundle(from, to);
        same_file(from, to, "index");
        same_file(from, to, "data-00000-of-00001");
    }
}

/* Slices become one tensor. */
TEST(test_sm_bundle_write__slices_are_joined)
{
    struct err err = ERR_INIT;
    struct sm_bundle *a, *b;
    struct sm_tensor x, y;
    char *to AUTO(free_ptr) = in_dir("joined");
    const char *from = unit_data("tf1_partitioned/model/variables/variables");
    copy_bundle(from, to);
    CHECK_OK(sm_bundle_open(&a, AT_FDCWD, from, &err));
    CHECK_OK(sm_bundle_open(&b, AT_FDCWD, to, &err));
    CHECK_INT(sm_bundle_n_entries(b), sm_bundle_n_entries(a));
    CHECK(sm_bundle_find(a, STR_LIT("w"))->n_slices == 3);
    CHECK(sm_bundle_find(b, STR_LIT("w"))->n_slices == 0);
    CHECK_OK(sm_bundle_tensor(a, STR_LIT("w"), STR_LIT(""), true, &x, &err));
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("w"), STR_LIT(""), true, &y, &err));
    CHECK_INT(sm_tensor_bytes(&y), 7 * 4 * 4);
    CHECK(memcmp(x.data, y.data, sm_tensor_bytes(&x)) == 0);
    sm_tensor_release(&x);
    sm_tensor_release(&y);
    sm_bundle_close(a);
    sm_bundle_close(b);
}

/* More than one block of index, keys that share much and little, strings. */
TEST(test_sm_bundle_write__many_keys)
{
    enum { N = 9000 };
    struct err err = ERR_INIT;
    struct sm_bundle_writer *w;
    struct sm_bundle *b;
    struct sm_tensor t;
    char *to AUTO(free_ptr) = in_dir("many");
    char key[64];
    CHECK_OK(sm_bundle_write_open(&w, AT_FDCWD, to, &err));
    for (int i = N - 1; i >= 0; i--) {
        float value = (float)i;
        t = (struct sm_tensor){ .dtype = SM_FLOAT, .n_elems = 1, .data = &value };
        (void)snprintf(key, sizeof(key), "%s/layer-%d/\xff\xff%d", i % 3 ? "a" : "b", i,
                       i * 7919);
        CHECK_OK(sm_bundle_write_tensor(w, str_of(key), &t, &err));
    }
    struct str texts[2] = { STR_LIT("one"), STR_LIT("") };
    CHECK_OK(sm_tensor_strings(&t, 1, (const int64_t[]){ 2 }, texts, &err));
    CHECK_OK(sm_bundle_write_tensor(w, STR_LIT("strings"), &t, &err));
    sm_tensor_release(&t);
    CHECK_OK(sm_bundle_write_end(w, &err));
    sm_bundle_write_close_p(&w);

    CHECK_OK(sm_bundle_open(&b, AT_FDCWD, to, &err));
    CHECK_INT(sm_bundle_n_entries(b), N + 1);
    CHECK_OK(sm_bundle_check_sizes(b, &err));
    for (int i = 0; i < N; i++) {
        (void)snprintf(key, sizeof(key), "%s/layer-%d/\xff\xff%d", i % 3 ? "a" : "b", i,
                       i * 7919);
        CHECK_OK(sm_bundle_tensor(b, str_of(key), STR_LIT(""), true, &t, &err));
        CHECK(*(const float *)t.data == (float)i);
        sm_tensor_release(&t);
    }
    CHECK_OK(sm_bundle_tensor(b, STR_LIT("strings"), STR_LIT(""), true, &t, &err));
    CHECK(str_is(sm_tensor_str(&t)[0], "one") && sm_tensor_str(&t)[1].n == 0);
    sm_tensor_release(&t);
    sm_bundle_close(b);
}

TEST(test_sm_bundle_write__a_key_twice)
{
    struct err err = ERR_INIT;
    struct sm_bundle_writer *w, *again;
    int32_t value = 1;
    struct sm_tensor t = { .dtype = SM_INT32, .n_elems = 1, .data = &value };
    char *to AUTO(free_ptr) = in_dir("twice");
    CHECK_OK(sm_bundle_write_open(&w, AT_FDCWD, to, &err));
    CHECK_ERR(sm_bundle_write_open(&again, AT_FDCWD, to, &err), ERR_IO);
    CHECK_OK(sm_bundle_write_tensor(w, STR_LIT("x"), &t, &err));
    CHECK_OK(sm_bundle_write_tensor(w, STR_LIT("x"), &t, &err));
    CHECK_ERR(sm_bundle_write_end(w, &err), ERR_INVALID);
    sm_bundle_write_close_p(&w);
}
