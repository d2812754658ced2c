/* SPDX-License-Identifier: Apache-2.0 */
/* Every tensor of a run: which step made it, in which turn, from what. */
#include "base/json.h"
#include "runtime/rt_watch.h"
#include "tests/unit/runtime/rt_fixture.h"

static void
watch_into(struct backend *b, float x, const struct backend_place *places, int n_places,
           struct sm_tensor_list *values, struct buf *json)
{
    struct err err = ERR_INIT;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    fx_feed(&in, "x", SM_FLOAT, 0, 1, &x);
    CHECK_OK(rt_backend.watch(b, "serving_default", &in, places, n_places, values, json,
                              &err));
}

static cJSON *
watch(struct backend *b, float x)
{
    struct err err = ERR_INIT;
    struct buf json AUTO(buf_release) = BUF_INIT;
    struct sm_tensor_list none AUTO(sm_tensor_list_release) = { 0 };
    cJSON *j = NULL;
    watch_into(b, x, NULL, 0, &none, &json);
    CHECK_INT(none.n, 0);
    CHECK_OK(json_parse(&j, (struct str){ buf_str(&json), json.len }, "json", &err));
    return j;
}

static const cJSON *
member(const cJSON *j, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(j, key);
}

static int
at(const cJSON *list, int i)
{
    CHECK(cJSON_IsNumber(cJSON_GetArrayItem(list, i)));
    return cJSON_GetArrayItem(list, i)->valueint;
}

/* The n-th event of a node, and its index. */
static const cJSON *
event_of(const cJSON *j, const char *node, int n, int *index)
{
    *index = 0;
    for (const cJSON *e = member(j, "events")->child; e; e = e->next, ++*index) {
        const cJSON *s = cJSON_GetArrayItem(member(j, "steps"), at(e, 0));
        if (strcmp(member(s, "node")->valuestring, node) == 0 && n-- == 0)
            return e;
    }
    unit_fail(__FILE__, __LINE__, "no such event of %s", node);
}

/* y = -w, where w is x doubled while it is below 100. */
static void
load_loop(struct backend **b)
{
    struct mb m = { .init_op = NULL };
    fx_add_loop(&m);
    mb_node(&m, "y", "Neg", "w", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(b, &m);
}

TEST(test_rt_watch__turns_of_a_loop_follow_from_one_another)
{
    struct backend *b AUTO(fx_close) = NULL;
    int loop, first, second, y, less;
    load_loop(&b);
    cJSON *j AUTO(json_free) = watch(b, 1);
    const cJSON *e = event_of(j, "w", 0, &loop);
    CHECK_INT(at(cJSON_GetArrayItem(cJSON_GetArrayItem(e, 5), 0), 0), RT_WATCH_FEED);
    e = event_of(j, "s", 0, &first);
    CHECK_INT(at(e, 1), 0);
    CHECK_INT(at(e, 2), loop);
    CHECK_INT(at(cJSON_GetArrayItem(cJSON_GetArrayItem(e, 5), 0), 0), RT_WATCH_FEED);
    e = event_of(j, "s", 1, &second);
    const cJSON *in = cJSON_GetArrayItem(cJSON_GetArrayItem(e, 5), 1);
    CHECK_INT(at(e, 1), 1);
    CHECK_INT(at(in, 0), RT_WATCH_MADE);
    CHECK_INT(at(in, 1), first);
    /* cond sees what the body made, beside a constant */
    e = cJSON_GetArrayItem(event_of(j, "p", 1, &less), 5);
    CHECK_INT(at(cJSON_GetArrayItem(e, 0), 1), first);
    CHECK_INT(at(cJSON_GetArrayItem(e, 1), 0), RT_WATCH_HELD);
    /* the loop ends behind its seven turns, and y is made of it */
    e = event_of(j, "y", 0, &y);
    CHECK_INT(at(e, 3), 7 + 8 + 1);
    in = cJSON_GetArrayItem(cJSON_GetArrayItem(e, 5), 0);
    CHECK_INT(at(in, 1), loop);
    CHECK_INT(at(member(j, "outputs")->child, 2), y);
}

TEST(test_rt_watch__values_are_brought_when_asked_for)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct buf json AUTO(buf_release) = BUF_INIT;
    struct sm_tensor_list values AUTO(sm_tensor_list_release) = { 0 };
    struct backend_place places[2];
    char name[32];
    int third, less;
    load_loop(&b);
    cJSON *j AUTO(json_free) = watch(b, 1);
    event_of(j, "s", 2, &third);
    event_of(j, "p", 0, &less);
    places[0] = (struct backend_place){ less, -2 }; /* the limit */
    places[1] = (struct backend_place){ third, 0 };
    watch_into(b, 1, places, 2, &values, &json);
    CHECK_INT(json.len, 0);
    CHECK_INT(values.n, 2);
    snprintf(name, sizeof(name), "%d:-2", less);
    CHECK(*(float *)sm_tensor_list_find(&values, name)->data == 100);
    snprintf(name, sizeof(name), "%d:0", third);
    CHECK(*(float *)sm_tensor_list_find(&values, name)->data == 8);
}

/* What is fused gives the value of the last node; what it was made of is gone. */
TEST(test_rt_watch__a_fused_step_says_whose_value_it_gives)
{
    static const float w[4] = { 1, 2, 3, 4 }, bias[2] = { 1, 1 };
    struct backend *b AUTO(fx_close) = NULL;
    struct mb m = { .init_op = NULL };
    int32_t dims[2] = { 1, 2 };
    int product;
    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_const(&m, "dims", "", SM_INT32, "2", dims, sizeof(dims));
    mb_const(&m, "w", "", SM_FLOAT, "2,2", w, sizeof(w));
    mb_const(&m, "bias", "", SM_FLOAT, "2", bias, sizeof(bias));
    mb_node(&m, "row", "Fill", "dims x", "T:t=1 index_type:t=3");
    mb_node(&m, "mm", "MatMul", "row w", "T:t=1");
    mb_node(&m, "sum", "BiasAdd", "mm bias", "T:t=1");
    mb_node(&m, "y", "Relu", "sum", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    cJSON *j AUTO(json_free) = watch(b, 1);
    const cJSON *e = event_of(j, "mm", 0, &product);
    const cJSON *s = cJSON_GetArrayItem(member(j, "steps"), at(e, 0));
    CHECK_STR(member(s, "gives")->valuestring, "y");
    CHECK_STR(member(s, "op")->valuestring, "MatMul+BiasAdd+Relu");
    CHECK_INT(cJSON_GetArraySize(member(j, "events")), 2);
}

/* The step that fails has begun and not ended. */
TEST(test_rt_watch__an_error_is_part_of_what_was_seen)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct mb m = { .init_op = NULL };
    int32_t seven = 7;
    int y;
    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_const(&m, "shape", "", SM_INT32, "1", &seven, sizeof(seven));
    mb_node(&m, "twice", "AddV2", "x x", "T:t=1");
    mb_node(&m, "y", "Reshape", "twice shape", "T:t=1 Tshape:t=3");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    fx_load(&b, &m);
    cJSON *j AUTO(json_free) = watch(b, 1);
    CHECK(strstr(member(j, "error")->valuestring, "node 'y' (Reshape)") != NULL);
    CHECK_INT(at(event_of(j, "y", 0, &y), 3), -1);
}
