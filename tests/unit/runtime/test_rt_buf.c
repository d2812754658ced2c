/* SPDX-License-Identifier: Apache-2.0 */
/* Memory: blocks, their limit, and threads that share a loop. */
#include "runtime/rt_int.h"
#include "tests/unit/unit.h"

#include <stdio.h>

TEST(test_rt_buf__blocks_count_against_the_cap)
{
    struct rt_mem m;
    struct rt_buf *a, *b;
    struct err err = ERR_INIT;
    rt_mem_init(&m, 10000);
    CHECK_OK(rt_buf_new(&a, &m, 6000, &err));
    CHECK(a->size_bytes == 6000 && (uintptr_t)a->data % 64 == 0);
    CHECK_ERR(rt_buf_new(&b, &m, 6000, &err), ERR_LIMIT);
    rt_buf_unref(a);
    CHECK_OK(rt_buf_new(&b, &m, 7000, &err));
    CHECK_ERR(rt_buf_new(&a, &m, SIZE_MAX, &err), ERR_LIMIT);
    rt_buf_unref(b);
    CHECK(m.used_bytes == 0);
    rt_mem_release(&m);
}

/* Under ASan every block is its own: then there is no arena. */
TEST(test_rt_buf__holes_are_used_and_grow_together)
{
    struct rt_mem m;
    struct rt_buf *a, *b, *c, *d;
    struct err err = ERR_INIT;
    rt_mem_init(&m, 1 << 28);
    CHECK_OK(rt_buf_new(&a, &m, 1000000, &err));
    CHECK_OK(rt_buf_new(&b, &m, 2000000, &err));
    size_t touched = rt_mem_touched(&m);
    int64_t first = rt_mem_offset(&m, a);
    rt_buf_unref(a);
    CHECK_OK(rt_buf_new(&c, &m, 600000, &err)); /* in the hole of a */
    CHECK_OK(rt_buf_new(&d, &m, 300000, &err)); /* what is left of it */
    CHECK(rt_mem_touched(&m) == touched);
    CHECK(first < 0 || (rt_mem_offset(&m, c) == first && rt_mem_offset(&m, d) > first &&
                        rt_mem_offset(&m, d) < rt_mem_offset(&m, b)));
    rt_buf_unref(c);
    rt_buf_unref(b);
    rt_buf_unref(d); /* between two holes */
    CHECK_OK(rt_buf_new(&a, &m, 3000000, &err));
    CHECK(rt_mem_offset(&m, a) == first && rt_mem_touched(&m) <= touched + 1024);
    rt_buf_unref(a);
    CHECK(m.used_bytes == 0 && m.peak_bytes >= 3000000);
    rt_mem_release(&m);
}

TEST(test_rt_buf__blocks_never_overlap)
{
    enum { LIVE = 60, TURNS = 20000 };
    struct rt_buf *live[LIVE] = { NULL };
    struct rt_mem m;
    struct err err = ERR_INIT;
    uint32_t random = 1;
    rt_mem_init(&m, 3 << 20); /* regions of different sizes */
    for (int i = 0; i < TURNS; i++) {
        random = random * 1664525u + 1013904223u;
        int at = (int)(random >> 8) % LIVE;
        if (live[at]) {
            const uint8_t *v = live[at]->data;
            size_t n = live[at]->size_bytes;
            if (v[0] != at || v[n / 2] != at || v[n - 1] != at)
                CHECK_INT(i, -1); /* in which turn */
            rt_buf_unref(live[at]);
            live[at] = NULL;
        } else if (rt_buf_new(&live[at], &m, 1 + (random >> 10) % 100000, &err) == 0) {
            memset(live[at]->data, at, live[at]->size_bytes);
        } else {
            live[at] = NULL;
            err_clear(&err);
        }
    }
    for (int i = 0; i < LIVE; i++)
        rt_buf_unref(live[i]);
    CHECK(m.used_bytes == 0);
    CHECK_OK(rt_buf_new(&live[0], &m, 3000000, &err)); /* what is free gives way */
    rt_buf_unref(live[0]);
    rt_mem_release(&m);
}

TEST(test_rt_buf__shapes_that_overflow_are_refused)
{
    static const struct {
        int rank;
        int64_t dims[3], n;
    } shapes[] = {
        { 0, { 0 }, 1 },
        { 2, { 3, 0 }, 0 },
        { 2, { 1 << 20, 1 << 20 }, (int64_t)1 << 40 },
        { 2, { -1, 4 }, -1 },
        { 3, { (int64_t)1 << 32, (int64_t)1 << 32, 2 }, -1 },
        { 2, { 0, INT64_MAX }, -1 },
        { 2, { (int64_t)1 << 61, 1 }, -1 },
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct err err = ERR_INIT;
        int64_t n;
        int rc = rt_dims_count(SM_FLOAT, shapes[i].rank, shapes[i].dims, &n, &err);
        if (shapes[i].n < 0)
            CHECK_ERR(rc, ERR_FAILED);
        else
            CHECK(rc == 0 && n == shapes[i].n);
    }
}

TEST(test_rt_buf__a_deep_copy_owns_its_strings)
{
    struct rt_mem m;
    struct rt_tensor t, copy;
    struct err err = ERR_INIT;
    char text[] = "word";
    int64_t two = 2;
    rt_mem_init(&m, 1 << 20);
    CHECK_OK(rt_tensor_make(&t, &m, SM_STRING, 1, &two, &err));
    ((struct str *)t.data)[1] = (struct str){ text, 4 };
    CHECK_OK(rt_tensor_deep_copy(&copy, &m, &t, &err));
    text[0] = 'W';
    CHECK(str_is(((struct str *)copy.data)[1], "word"));
    CHECK(((struct str *)copy.data)[0].n == 0);
    rt_tensor_unref(&t);
    rt_tensor_unref(&copy);
    rt_mem_release(&m);
}

/* ---- threads ----------------------------------------------------------------------
 */

static void
add_up(void *arg, int64_t begin, int64_t end)
{
    int64_t sum = 0;
    for (int64_t i = begin; i < end; i++)
        sum += i;
    __atomic_add_fetch((int64_t *)arg, sum, __ATOMIC_RELAXED);
}

TEST(test_rt_pool__every_piece_is_done_once)
{
    CHECK(rt_pool_new(1) == NULL);
    struct rt_pool *p = rt_pool_new(3);
    for (int64_t n = 1; n < 3000; n = n * 2 + 1) {
        int64_t sum = 0;
        rt_pool_for(p, n, 7, add_up, &sum);
        CHECK_INT(sum, n * (n - 1) / 2);
    }
    rt_pool_free(p);
}

/* ---- names -------------------------------------------------------------------------
 */

TEST(test_rt_names__finds_what_was_added)
{
    struct rt_names h = { 0 };
    char text[1000][8];
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(text[i], sizeof(text[i]), "n%d", i);
        CHECK_INT(rt_names_add(&h, (struct str){ text[i], (size_t)n }, i), -1);
    }
    CHECK_INT(rt_names_add(&h, STR_LIT("n7"), 5), 7);
    CHECK_INT(rt_names_find(&h, STR_LIT("n999")), 999);
    CHECK_INT(rt_names_find(&h, STR_LIT("n1000")), -1);
    rt_names_release(&h);
}
