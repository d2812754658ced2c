/* SPDX-License-Identifier: Apache-2.0 */
/* What plans and profiles say of a model that calls, loops and fails. */
#include "base/json.h"
#include "runtime/rt_trace.h"
#include "tests/unit/runtime/rt_fixture.h"

/* y = x doubled while it is below 100, 64 numbers wide at the end. */
static void
load_loop(struct backend **b)
{
    struct mb m = { .init_op = NULL };
    fx_add_loop(&m);
    mb_i32(&m, "wide", 64);
    mb_i32(&m, "zero", 0);
    mb_node(&m, "dims", "ExpandDims", "wide zero", "T:t=3 Tdim:t=3");
    mb_node(&m, "y", "Fill", "dims w", "T:t=1 index_type:t=3");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(b, &m);
}

static cJSON *
parse(const struct buf *text)
{
    struct err err = ERR_INIT;
    cJSON *j = NULL;
    CHECK_OK(json_parse(&j, (struct str){ buf_str(text), text->len }, "text", &err));
    return j;
}

static const cJSON *
member(const cJSON *j, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(j, key);
}

static double
num(const cJSON *j, const char *key)
{
    CHECK(cJSON_IsNumber(member(j, key)));
    return member(j, key)->valuedouble;
}

static const cJSON *
step_of(const cJSON *plan, const char *op)
{
    for (const cJSON *s = member(plan, "steps")->child; s; s = s->next)
        if (strcmp(member(s, "op")->valuestring, op) == 0)
            return s;
    CHECK(!"no such step");
    return NULL;
}

static cJSON *
profile(struct backend *b, float x, int n_more)
{
    struct err err = ERR_INIT;
    struct buf json AUTO(buf_release) = BUF_INIT;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    fx_feed(&in, "x", SM_FLOAT, 0, 1, &x);
    CHECK_OK(rt_backend.profile(b, "serving_default", &in, n_more, &out, &json, &err));
    struct sm_tensor *y = sm_tensor_list_find(&out, "y");
    CHECK(out.n == 1 && y && y->n_elems == 64);
    CHECK(*(float *)y->data == 128);
    return parse(&json);
}

TEST(test_rt_trace__each_step_is_counted)
{
    struct backend *b AUTO(fx_close) = NULL;
    load_loop(&b);
    cJSON *j AUTO(json_free) = profile(b, 1, 3); /* 1 2 4 … 128: seven turns */
    CHECK_INT((int)num(j, "runs"), 4);
    const cJSON *add = step_of(j, "AddV2"), *less = step_of(j, "Less"),
                *loop = step_of(j, "StatelessWhile"), *fill = step_of(j, "Fill");
    CHECK_INT((int)num(member(add, "first"), "calls"), 7);
    CHECK_INT((int)num(member(add, "later"), "calls"), 21);
    CHECK_INT((int)num(member(less, "first"), "calls"), 8);
    CHECK_INT((int)num(member(loop, "later"), "calls"), 3);
    CHECK_STR(member(add, "function")->valuestring, "body");
    CHECK_INT((int)num(fill, "bytes"), 64 * 4 + 4 + 4);
    CHECK_INT((int)num(add, "flops"), 1);
    CHECK_INT(cJSON_GetArraySize(member(j, "events")), 4 * (7 + 8 + 2));
    CHECK_INT((int)num(j, "events_lost"), 0);
}

/* What a step within a step takes is not the outer one's own time. */
TEST(test_rt_trace__own_time_is_without_what_lies_within)
{
    struct backend *b AUTO(fx_close) = NULL;
    load_loop(&b);
    cJSON *j AUTO(json_free) = profile(b, 1, 0);
    const cJSON *loop = member(step_of(j, "StatelessWhile"), "first");
    double within = num(member(step_of(j, "AddV2"), "first"), "total_us") +
                    num(member(step_of(j, "Less"), "first"), "total_us");
    double differ = num(loop, "total_us") - num(loop, "self_us") - within;
    CHECK(differ > -0.1 && differ < 0.1);
    CHECK(num(loop, "self_us") > 0);
}

/* Events lie within the one that calls them: so a trace viewer draws them. */
TEST(test_rt_trace__events_nest)
{
    struct backend *b AUTO(fx_close) = NULL;
    load_loop(&b);
    cJSON *j AUTO(json_free) = profile(b, 1, 0);
    double begin = 0, end = 0;
    int n = 0;
    for (const cJSON *e = member(j, "events")->child; e; e = e->next) {
        const cJSON *s = cJSON_GetArrayItem(member(j, "steps"), e->child->valueint);
        if (strcmp(member(s, "op")->valuestring, "StatelessWhile") == 0) {
            begin = e->child->next->valuedouble;
            end = begin + e->child->next->next->valuedouble;
        }
    }
    for (const cJSON *e = member(j, "events")->child; e; e = e->next) {
        const cJSON *s = cJSON_GetArrayItem(member(j, "steps"), e->child->valueint);
        double from = e->child->next->valuedouble,
               to = from + e->child->next->next->valuedouble;
        if (member(s, "function"))
            n += from >= begin - 0.01 && to <= end + 0.01;
    }
    CHECK_INT(n, 15);
}

static cJSON *
plan(struct backend *b)
{
    struct err err = ERR_INIT;
    struct buf json AUTO(buf_release) = BUF_INIT;
    CHECK_OK(rt_backend.plan(b, "serving_default", &json, &err));
    return parse(&json);
}

TEST(test_rt_show__stages_one_by_one)
{
    struct backend *b AUTO(fx_close) = NULL;
    load_loop(&b);
    cJSON *j AUTO(json_free) = plan(b);
    CHECK_INT((int)num(member(j, "read"), "functions"), 2);
    CHECK_INT((int)num(member(j, "read"), "nodes"), 6);
    const cJSON *x = member(member(j, "bind"), "inputs")->child;
    CHECK_STR(member(x, "node")->valuestring, "x");
    CHECK_STR(member(x, "dtype")->valuestring, "float");
    CHECK_INT(cJSON_GetArraySize(member(x, "shape")), 0);
    CHECK_INT((int)num(member(j, "restore"), "others"), 0);
    const cJSON *p = member(j, "plan");
    CHECK_INT(cJSON_GetArraySize(member(p, "steps")), 2); /* the rest was folded */
    const cJSON *fill = step_of(p, "Fill");
    CHECK_STR(member(fill, "from")->child->valuestring, "c0");
    /* Zero doubled is zero, for ever: the run on zeros is cut short in the loop. */
    CHECK(!member(fill, "out"));
    CHECK_INT(cJSON_GetArraySize(member(j, "functions")), 2);
    const cJSON *add = step_of(member(j, "functions")->child->next, "AddV2");
    CHECK_STR(member(member(add, "out")->child, "dtype")->valuestring, "float");
}

/* x of a Reshape that zeros do not fit: shapes are known up to there. */
TEST(test_rt_show__a_model_that_refuses_zeros_has_a_plan)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_node(&m, "n", "Neg", "x", "T:t=1");
    mb_i32(&m, "three", 3);
    mb_i32(&m, "zero", 0);
    mb_node(&m, "dims", "ExpandDims", "three zero", "T:t=3 Tdim:t=3");
    mb_node(&m, "y", "Reshape", "n dims", "T:t=1 Tshape:t=3");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    cJSON *j AUTO(json_free) = plan(b);
    CHECK(member(step_of(member(j, "plan"), "Neg"), "out"));
    CHECK(!member(step_of(member(j, "plan"), "Reshape"), "out"));
}

/* ---- cost ---- */

static double
flops(const char *op, const struct rt_tensor *a, const struct rt_tensor *b,
      const struct rt_tensor *y)
{
    struct rt_node n = { .op = op, .n_in = 2, .n_out = 1 };
    const struct rt_tensor *in[] = { a, b };
    return rt_cost_flops(&n, in, y);
}

TEST(test_rt_cost__counts_multiply_adds_twice)
{
    struct rt_tensor a = { .dtype = SM_FLOAT, .rank = 2, .dims = { 3, 5 } },
                     b = { .dtype = SM_FLOAT, .rank = 2, .dims = { 7, 5 } },
                     y = { .dtype = SM_FLOAT, .rank = 2, .dims = { 3, 7 } };
    a.n_elems = 15, b.n_elems = 35, y.n_elems = 21;
    CHECK_INT((int)(flops("MatMul", &a, &b, &y) + 0.5), 2 * 3 * 5 * 7);
    CHECK_INT((int)flops("AddV2", &a, &b, &y), 21);
    CHECK_INT((int)flops("Reshape", &a, &b, &y), 0);
    struct rt_tensor f = { .rank = 4, .dims = { 3, 3, 8, 16 }, .n_elems = 1152 },
                     z = { .rank = 4, .dims = { 1, 10, 10, 16 }, .n_elems = 1600 };
    CHECK_INT((int)flops("Conv2D", &a, &f, &z), 2 * 1600 * 3 * 3 * 8);
    CHECK_INT((int)flops("_FusedConv2D", &a, &f, &z), 2 * 1600 * 3 * 3 * 8);
    CHECK_INT((int)flops("DepthwiseConv2dNative", &a, &f, &z), 2 * 1600 * 3 * 3);
}
