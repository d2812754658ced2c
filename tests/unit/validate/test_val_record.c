/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs from files, and made-up ones. */
#include "tests/unit/validate/fake_backend.h"

#include "validate/record.h"
#include "validate/val_int.h"
#include "validate/val_probe_int.h"

#include <math.h>

/* ---- request bodies ---- */

static int
body(const char *text, struct val_request *q, struct err *err)
{
    return val_body_read(str_of(text), false, q, err);
}

TEST(test_val_body__reads_rows_and_columns)
{
    struct err err = ERR_INIT;
    struct val_request q AUTO(val_request_release) = { .name = NULL };
    const struct sm_tensor *t;

    CHECK_OK(body("{\"signature_name\": \"s\", \"instances\": [{\"x\": [1, 2], \"w\": "
                  "\"a\"}, {\"w\": {\"b64\": \"YgA=\"}, \"x\": [3, 4]}]}",
                  &q, &err));
    CHECK_INT(q.n_signatures, 1);
    CHECK_STR(q.signatures[0], "s");
    t = sm_tensor_list_find(&q.inputs, "x");
    CHECK(t && t->rank == 2 && t->dims[0] == 2 && t->dims[1] == 2);
    t = sm_tensor_list_find(&q.inputs, "w");
    CHECK(t && t->rank == 1 && sm_tensor_str(t)[1].n == 2);
    val_request_release(&q);
    CHECK_OK(body("{\"signature_name\": \"\", \"inputs\": {\"x\": 3}}", &q, &err));
    CHECK_INT(q.n_signatures, 0);
    CHECK_INT(q.inputs.v[0].t.rank, 0);
    val_request_release(&q);
    CHECK_OK(body("{\"instances\": [1, 2, 3]}", &q, &err));
    CHECK_STR(q.inputs.v[0].name, "");
    CHECK_INT(q.inputs.v[0].t.n_elems, 3);
    val_request_release(&q);
    CHECK_OK(val_body_read(STR_LIT("{\"x\": [1, 2]}"), true, &q, &err));
    t = sm_tensor_list_find(&q.inputs, "x");
    CHECK(t && t->rank == 2 && t->dims[0] == 1 && t->dims[1] == 2);
}

TEST(test_val_body__refuses_what_is_no_request)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"x\": 1}",
        "{\"instances\": []}",
        "{\"instances\": 1}",
        "{\"instances\": [1], \"inputs\": [1]}",
        "{\"instances\": [{\"x\": 1}, {\"y\": 1}]}",
        "{\"instances\": [{\"x\": 1}, {\"x\": 1, \"y\": 1}]}",
        "{\"instances\": [{\"x\": 1}, 2]}",
        "{\"instances\": [{\"x\": [1]}, {\"x\": [1, 2]}]}",
        "{\"instances\": [{\"x\": 1, \"x\": 2}]}",
        "{\"instances\": [1, \"a\"]}",
        "{\"inputs\": {\"x\": {\"y\": 1}}}",
        "{\"signature_name\": 1, \"inputs\": 1}",
        "{\"signature_name\": 12345678901234567890, \"inputs\": 1}",
        "{\"inputs\": 1",
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct val_request q AUTO(val_request_release) = { .name = NULL };

        CHECK_ERR(body(bad[i], &q, &err), ERR_INVALID);
    }
}

/* ---- files ---- */

static void
add_text(struct val_inputs *in, const char *name, const char *text)
{
    struct err err = ERR_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/%s", unit_dir(), name);

    CHECK_OK(fs_replace(AT_FDCWD, path, text, strlen(text), 0600, &err));
    CHECK_OK(val_inputs_add(in, path, &err));
}

TEST(test_val_inputs__tells_lines_from_documents)
{
    struct err err = ERR_INIT;
    struct val_inputs in AUTO(val_inputs_release) = { .n = 0 };
    struct val_request q AUTO(val_request_release) = { .name = NULL };

    add_text(&in, "pretty.json", "{\n \"instances\":\n [1, 2]\n}\n");
    CHECK_INT(in.n, 1);
    add_text(&in, "one.json", "\n{\"instances\": [1, 2]}\n\n");
    CHECK_INT(in.n, 2);
    add_text(&in, "log", "{\"instances\": [1]}\n\r\n{\"instances\": [2]}");
    CHECK_INT(in.n, 4);
    add_text(&in, ".hidden.jsonl", "[1]");
    CHECK_INT(in.n, 5);
    CHECK_OK(val_inputs_read(&in, 0, NULL, &q, &err));
    CHECK_STR(q.name, "pretty.json");
    val_request_release(&q);
    CHECK_OK(val_inputs_read(&in, 3, NULL, &q, &err));
    CHECK_STR(q.name, "log:3");
    val_request_release(&q);
    CHECK_OK(val_inputs_read(&in, 4, NULL, &q, &err));
    CHECK_STR(q.name, "file.hidden.jsonl:1");
}

TEST(test_val_inputs__reads_logs_and_examples)
{
    struct err err = ERR_INIT;
    struct val_inputs in AUTO(val_inputs_release) = { .n = 0 };
    struct buf file AUTO(buf_release) = BUF_INIT, log AUTO(buf_release) = BUF_INIT;
    struct sm_tensor_list x AUTO(sm_tensor_list_release) = { .n = 0 };
    struct val_request q AUTO(val_request_release) = { .name = NULL };
    char *path AUTO(free_ptr) = NULL;
    const int64_t two = 2;
    struct sm_tensor t;

    CHECK_OK(sm_tensor_alloc(&t, SM_FLOAT, 1, &two, &err));
    ((float *)t.data)[1] = 1.5F;
    sm_tensor_list_add(&x, "x", &t);
    sm_pb_put_bytes(&log, 1, STR_LIT("\22\3abc")); /* metadata of the logger */
    sm_warmup_add("m", "other", &x, &log);
    sm_tfrecord_add((struct str){ log.data, log.len }, &file);
    buf_clear(&log);
    sm_pb_put_bytes(&log, 1, STR_LIT("")); /* an Example without features */
    sm_tfrecord_add((struct str){ log.data, log.len }, &file);
    sm_tfrecord_add(STR_LIT("no protobuf"), &file);
    path = xasprintf("%s/log", unit_dir());
    CHECK_OK(fs_replace(AT_FDCWD, path, file.data, file.len, 0600, &err));
    CHECK_OK(val_inputs_add(&in, path, &err));
    CHECK_INT(in.n, 3);
    CHECK_OK(val_inputs_read(&in, 0, NULL, &q, &err));
    CHECK_STR(q.signatures[0], "other");
    CHECK(!q.is_numpy && ((const float *)q.inputs.v[0].t.data)[1] == 1.5F);
    val_request_release(&q);
    CHECK_OK(val_inputs_read(&in, 1, NULL, &q, &err));
    CHECK(q.n_signatures == 0 && q.inputs.v[0].t.dtype == SM_STRING);
    CHECK_INT(sm_tensor_str(&q.inputs.v[0].t)[0].n, 2);
    val_request_release(&q);
    CHECK_ERR(val_inputs_read(&in, 2, NULL, &q, &err), ERR_CORRUPT);
    CHECK_STR(q.name, "log:2");
}

TEST(test_val_inputs__sample_keeps_order_and_follows_the_seed)
{
    enum { N = 1000, WANTED = 100 };
    struct val_inputs in[3] = { { .n = 0 }, { .n = 0 }, { .n = 0 } };
    struct buf text AUTO(buf_release) = BUF_INIT;
    int n_same = 0;

    for (int i = 0; i < N; i++)
        buf_adds(&text, "[1]\n");
    for (int k = 0; k < 3; k++) {
        add_text(&in[k], "x.jsonl", buf_str(&text));
        val_inputs_sample(&in[k], WANTED, k == 2 ? 8 : 7);
        CHECK_INT(in[k].n, WANTED);
    }
    for (int i = 0; i < WANTED; i++) {
        CHECK(i == 0 || in[0].v[i].place > in[0].v[i - 1].place);
        CHECK_INT(in[0].v[i].place, in[1].v[i].place);
        n_same += in[0].v[i].place == in[2].v[i].place;
    }
    CHECK(n_same < WANTED / 2);
    CHECK(in[0].v[0].place < N / 5 && in[0].v[WANTED - 1].place > N - N / 5);
    val_inputs_sample(&in[0], N, 1);
    CHECK_INT(in[0].n, WANTED);
    for (int k = 0; k < 3; k++)
        val_inputs_release(&in[k]);
}

/* ---- recording ---- */

struct fixture {
    struct val_record_args args;
    struct val_recorder *r;
    struct sm_tensor_list in;
    cJSON *report;
    char *model, *set;
};

static void
begin(struct fixture *f, const char *fake, bool sequential, const char *outputs)
{
    struct err err = ERR_INIT;

    *f = (struct fixture){ .report = cJSON_CreateObject() };
    f->model = xstrdup(fake_text("model", "fake", fake));
    f->set = xasprintf("%s/set", unit_dir());
    CHECK_OK(fs_mkdirs(AT_FDCWD, f->set, 0700, &err));
    f->args = (struct val_record_args){ .ops = &fake_backend,
                                        .model_dir = f->model,
                                        .tags = "serve",
                                        .sequential = sequential,
                                        .outputs = outputs,
                                        .way_out = "no way",
                                        .dirfd = -1,
                                        .dir = f->set };
    CHECK_OK(fs_open_dir(&f->args.dirfd, AT_FDCWD, f->set, &err));
    CHECK_OK(val_record_open(&f->r, &f->args, &err));
}

static void
end(struct fixture *f)
{
    val_record_close_p(&f->r);
    sm_tensor_list_release(&f->in);
    fs_close(&f->args.dirfd);
    cJSON_Delete(f->report);
    free(f->model);
    free(f->set);
}

static void
put_x(struct fixture *f, float v)
{
    struct err err = ERR_INIT;
    const int64_t one = 1;
    struct sm_tensor t;

    sm_tensor_list_release(&f->in);
    CHECK_OK(sm_tensor_alloc(&t, SM_FLOAT, 1, &one, &err));
    *(float *)t.data = v;
    sm_tensor_list_add(&f->in, "x", &t);
}

static cJSON *
recorded(void)
{
    cJSON *o = cJSON_CreateObject();

    json_put_str(o, "ref", "m@1");
    json_put_str(o, "digest", "sha256:00");
    return o;
}

TEST(test_val_record__keeps_what_the_model_answers)
{
    struct err err = ERR_INIT;
    struct val_golden g AUTO(val_golden_release) = { .cases = NULL };
    const struct str words[2] = { STR_LIT("a\0"), STR_LIT("\0b") };
    const int64_t two = 2;
    struct fixture f;
    struct sm_tensor t;

    begin(&f, "scale 3", false, "y,text,half,gone");
    put_x(&f, -0.0F);
    CHECK_OK(sm_tensor_strings(&t, 1, &two, words, &err));
    sm_tensor_list_add(&f.in, "text", &t);
    CHECK_OK(val_record_case(f.r, "a/b", "serving_default", &f.in, false, &err));
    put_x(&f, 5);
    CHECK_OK(val_record_case(f.r, "a_b", "serving_default", &f.in, false, &err));
    CHECK_OK(val_record_case(f.r, "bad", "none", &f.in, false, &err));
    val_record_leave_out(f.r, "line 3", "no JSON", ERR_INVALID);
    CHECK_OK(val_record_end(f.r, recorded(), f.report, &err));
    CHECK_INT(cJSON_GetNumberValue(cJSON_GetObjectItem(f.report, "cases")), 2);
    CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(f.report, "left_out")), 2);
    CHECK_OK(val_golden_load(&g, f.set, &err));
    CHECK(g.acceptance && g.n_cases == 2);
    CHECK_STR(g.recorded, "m@1 sha256:00");
    CHECK_INT(cJSON_GetNumberValue(cJSON_GetObjectItem(g.recording, "left_out")), 2);
    CHECK_STR(g.cases[0].name, "a_b");
    CHECK_STR(g.cases[1].name, "a_b~2");
    CHECK(!sm_tensor_list_find(&g.cases[0].expected, "digit"));
    CHECK(((const float *)sm_tensor_list_find(&g.cases[1].expected, "y")->data)[0] ==
          17);
    /* NULs at the end are there still: the values stand in golden.json itself. */
    CHECK_INT(sm_tensor_str(sm_tensor_list_find(&g.cases[0].inputs, "text"))[0].n, 2);
    end(&f);
}

TEST(test_val_record__refuses_what_is_not_deterministic)
{
    struct err err = ERR_INIT;
    struct fixture f;

    begin(&f, "scale 1", false, "count");
    put_x(&f, 1);
    CHECK_OK(val_record_case(f.r, "only", "serving_default", &f.in, false, &err));
    CHECK_ERR(val_record_end(f.r, recorded(), f.report, &err), ERR_FAILED);
    end(&f);
}

TEST(test_val_record__a_session_may_remember)
{
    struct err err = ERR_INIT;
    struct val_golden g AUTO(val_golden_release) = { .cases = NULL };
    struct fixture f;

    begin(&f, "scale 1", true, "count");
    put_x(&f, 1);
    for (int i = 0; i < 3; i++)
        CHECK_OK(val_record_case(f.r, "again", "serving_default", &f.in, false, &err));
    CHECK_OK(val_record_end(f.r, recorded(), f.report, &err));
    CHECK_OK(val_golden_load(&g, f.set, &err));
    CHECK(g.sequential);
    CHECK_INT(((const int64_t *)g.cases[2].expected.v[0].t.data)[0], 3);
    end(&f);
}

TEST(test_val_record__nothing_left_is_the_first_ones_error)
{
    struct err err = ERR_INIT;
    struct fixture f;

    begin(&f, "asserts 0", false, NULL);
    put_x(&f, -1);
    CHECK_OK(val_record_case(f.r, "refused", "serving_default", &f.in, false, &err));
    CHECK_OK(val_record_case(f.r, "unknown", "none", &f.in, false, &err));
    CHECK_ERR(val_record_end(f.r, recorded(), f.report, &err), ERR_FAILED);
    CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(f.report, "left_out")), 2);
    end(&f);
}

TEST(test_val_record__reads_tolerances)
{
    static const char *const bad[] = { "",          "abs",     "abs=",   "abs=-1",
                                       "abs=1x",    "abs=inf", "near=1", "exact=1",
                                       "y:exact=1", "abs=nan" };
    struct err err = ERR_INIT;
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *o AUTO(json_free) = cJSON_CreateObject();

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(val_tolerance_read(bad[i], o, &err), ERR_USAGE);
    CHECK_OK(val_tolerance_read("abs=1", o, &err));
    CHECK_OK(val_tolerance_read("abs=0.5", o, &err));
    CHECK_OK(val_tolerance_read("a:b:exact", o, &err));
    json_print(o, &text, true);
    CHECK_STR(buf_str(&text),
              "{\"abs\": 0.5, \"outputs\": {\"a:b\": {\"exact\": true}}}");
}

/* ---- probes ---- */

TEST(test_val_fill__fills_every_dtype)
{
    struct err err = ERR_INIT;

    for (int dtype = 1; dtype < SM_DTYPE_END; dtype++) {
        const unsigned family = val_fill_family(dtype);

        for (int fill = RANDOM; fill <= LONG && family; fill++) {
            struct sm_tensor a AUTO(sm_tensor_release) = {
                .dtype = dtype, .rank = 1, .dims = { 33 }, .n_elems = 33
            };
            struct sm_tensor b AUTO(sm_tensor_release) = a;
            struct val_diff d;
            uint64_t s = 5, same = 5;

            CHECK_OK(val_fill(&a, (enum fill)fill, 0, &s, &err));
            CHECK_OK(val_fill(&b, (enum fill)fill, 0, &same, &err));
            val_compare("x", &a, &b, VAL_EXACT, 0, &d);
            CHECK(d.ok);
            CHECK_INT(a.dims[0], 33);
        }
    }
    CHECK(val_fill_family(SM_STRING) && val_fill_family(SM_BFLOAT16));
    CHECK(!val_fill_family(SM_RESOURCE) && !val_fill_family(SM_FLOAT8_E5M2));
}

static int64_t
first_int(int dtype, enum fill fill, int64_t below)
{
    struct err err = ERR_INIT;
    struct sm_tensor t AUTO(sm_tensor_release) = { .dtype = dtype, .n_elems = 1 };
    uint64_t s = 1;

    CHECK_OK(val_fill(&t, fill, below, &s, &err));
    return val_int_at(&t, 0);
}

static double
first_real(int dtype, enum fill fill, int64_t below)
{
    struct err err = ERR_INIT;
    struct sm_tensor t AUTO(sm_tensor_release) = { .dtype = dtype, .n_elems = 1 };
    uint64_t s = 1;

    CHECK_OK(val_fill(&t, fill, below, &s, &err));
    return val_real_at(&t, 0);
}

TEST(test_val_fill__edges)
{
    CHECK_INT(first_int(SM_INT8, LARGEST, 0), 127);
    CHECK_INT(first_int(SM_INT8, LOWEST, 0), -128);
    CHECK_INT(first_int(SM_UINT16, LARGEST, 0), 65535);
    CHECK_INT(first_int(SM_UINT16, LOWEST, 0), 0);
    CHECK_INT(first_int(SM_INT64, LARGEST, 0), INT64_MAX);
    CHECK_INT(first_int(SM_INT64, LOWEST, 0), INT64_MIN);
    CHECK_INT(first_int(SM_INT64, LARGEST, 12), 11);
    CHECK_INT(first_int(SM_INT64, LOWEST, 12), 0);
    CHECK_INT(first_int(SM_INT32, ONE, 1), 0);
    CHECK_INT(first_int(SM_UINT8, LARGEST, 1000), 255);
    CHECK(first_real(SM_HALF, LARGEST, 0) == 65504);
    CHECK(first_real(SM_HALF, DENORMAL, 0) == 0x1p-24);
    CHECK(first_real(SM_BFLOAT16, LOWEST, 0) == -0x1.fep127);
    CHECK(first_real(SM_BFLOAT16, DENORMAL, 0) == 0x1p-133);
    CHECK(first_real(SM_FLOAT, DENORMAL, 0) == 0x1p-149);
    CHECK(first_real(SM_DOUBLE, DENORMAL, 0) == 0x1p-1074);
    CHECK(signbit(first_real(SM_FLOAT, MINUS_ZERO, 0)));
    CHECK(isnan(first_real(SM_HALF, NOT_A_NUMBER, 0)));
    CHECK(first_real(SM_BFLOAT16, MINUS_INF, 0) == -(double)INFINITY);
    CHECK(first_real(SM_FLOAT, LARGEST, 30) == 29);
    for (int i = 0; i < 100; i++) {
        uint64_t s = (uint64_t)i;

        CHECK(val_random_below(&s, 7) < 7);
    }
}
