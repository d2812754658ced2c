/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

TEST(test_sm_tensor__dtype_names)
{
    CHECK_STR(sm_dtype_name(1), "DT_FLOAT");
    CHECK_STR(sm_dtype_name(101), "DT_FLOAT_REF");
    CHECK_STR(sm_dtype_name(0), "DT_INVALID");
    CHECK_STR(sm_dtype_name(77), "unknown dtype");
    CHECK_STR(sm_dtype_name(-5), "unknown dtype");
    CHECK(sm_dtype_info(0) == NULL && sm_dtype_info(63) == NULL);
    CHECK(sm_dtype_info(1000000) == NULL && sm_dtype_info(-1) == NULL);
    CHECK_STR(sm_dtype_info(109)->tf_name, "int64");
    CHECK_INT(sm_dtype_info(SM_COMPLEX128)->size_bytes, 16);
}

TEST(test_sm_tensor__shape_text)
{
    struct buf b = BUF_INIT;
    struct sm_shape s = { .rank = 2, .dims = { 3, -1 } };
    sm_shape_text(&s, &b);
    CHECK_STR(buf_str(&b), "(3, -1)");
    buf_clear(&b);
    sm_shape_text(&(struct sm_shape){ .rank = 0 }, &b);
    CHECK_STR(buf_str(&b), "()");
    buf_clear(&b);
    sm_shape_text(&(struct sm_shape){ .unknown_rank = true }, &b);
    CHECK_STR(buf_str(&b), "unknown_rank");
    buf_release(&b);
}

TEST(test_sm_tensor__limits)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    int64_t huge[] = { INT64_MAX, 2 }, big[] = { (int64_t)1 << 39 };
    int64_t ranks[SM_MAX_RANK + 1] = { 0 };
    CHECK_ERR(sm_tensor_alloc(&t, SM_FLOAT, 2, huge, &err), ERR_LIMIT);
    CHECK_ERR(sm_tensor_alloc(&t, SM_FLOAT, 1, big, &err), ERR_LIMIT);
    CHECK_ERR(sm_tensor_alloc(&t, SM_FLOAT, SM_MAX_RANK + 1, ranks, &err), ERR_LIMIT);
    CHECK_ERR(sm_tensor_alloc(&t, SM_RESOURCE, 0, NULL, &err), ERR_UNSUPPORTED);
    CHECK_ERR(sm_tensor_alloc(&t, 101, 0, NULL, &err), ERR_UNSUPPORTED);
    CHECK(t.owned == NULL);
    /* A zero anywhere makes it empty, whatever the rest would multiply to. */
    int64_t empty[] = { INT64_MAX, INT64_MAX, 0 };
    CHECK_OK(sm_tensor_alloc(&t, SM_FLOAT, 3, empty, &err));
    CHECK_INT(t.n_elems, 0);
    sm_tensor_release(&t);
}

TEST(test_sm_tensor__copy_owns_its_strings)
{
    struct err err = ERR_INIT;
    struct sm_tensor t, c;
    char text[] = "abcd";
    struct str v[] = { { text, 2 }, { text + 2, 2 }, { NULL, 0 } };
    int64_t dims[] = { 3 };
    CHECK_OK(sm_tensor_strings(&t, 1, dims, v, &err));
    memset(text, 'x', 4);
    CHECK_OK(sm_tensor_copy(&c, &t, &err));
    CHECK_INT(sm_tensor_bytes(&t), 4);
    sm_tensor_release(&t);
    CHECK(str_is(sm_tensor_str(&c)[0], "ab") && str_is(sm_tensor_str(&c)[1], "cd"));
    CHECK_INT(sm_tensor_str(&c)[2].n, 0);
    sm_tensor_release(&c);
    CHECK(c.data == NULL && c.n_elems == 0);
}

TEST(test_sm_tensor__list)
{
    struct err err = ERR_INIT;
    struct sm_tensor_list l = { .v = NULL };
    struct sm_tensor t;
    CHECK_OK(sm_tensor_alloc(&t, SM_INT32, 0, NULL, &err));
    *(int32_t *)t.data = 7;
    sm_tensor_list_add(&l, "seven", &t);
    CHECK(t.owned == NULL);
    CHECK(sm_tensor_list_find(&l, "six") == NULL);
    CHECK_INT(*(int32_t *)sm_tensor_list_find(&l, "seven")->data, 7);
    sm_tensor_list_release(&l);
    CHECK_INT(l.n, 0);
}
