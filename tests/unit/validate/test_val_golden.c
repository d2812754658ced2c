/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/validate/fake_backend.h"

#include "validate/val_int.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static int
parse(struct val_golden *g, const char *text, struct err *err)
{
    return val_golden_parse(g, str_of(text), -1, "golden.json", err);
}

/* A set with one case whose members are `members`. */
static int
parse_case(struct val_golden *g, const char *members, struct err *err)
{
    char *text AUTO(free_ptr) =
        xasprintf("{\"golden\": 1, \"cases\": [{%s}]}", members);

    return parse(g, text, err);
}

TEST(test_val_golden__reads_the_documented_form)
{
    struct err err = ERR_INIT;
    struct val_golden g;
    const struct val_case *c;

    CHECK_OK(parse(
        &g,
        "{\"golden\": 1, \"kind\": \"export\", \"tags\": [\"serve\", \"gpu\"], "
        "\"sequential\": true, \"note\": [1e999, {}], \"model\": \"../m\", \"cases\": "
        "[{\"name\": \"inline\", \"inputs\": {\"x\": [1.0, 2.0]}, \"expected\": "
        "{\"y\": [2.5, 3.0]}, \"tolerance\": {\"rel_max\": 1e-4, \"abs\": 0.5, "
        "\"outputs\": {\"digit\": {\"exact\": true}, \"p\": {\"top_k\": 3}}}}, "
        "{\"inputs\": {}, \"signature\": \"other\"}]}",
        &err));
    c = g.cases;
    CHECK(!g.acceptance && g.sequential);
    CHECK_STR(g.tags, "serve,gpu");
    CHECK_INT(g.n_cases, 2);
    CHECK_STR(c->name, "inline");
    CHECK_STR(c->signature, "serving_default");
    CHECK_INT(c->inputs.n, 1);
    CHECK_STR(c->inputs.v[0].name, "x");
    CHECK_INT(c->n_tolerances, 4);
    CHECK(c->tolerances[0].kind == VAL_REL_MAX && !c->tolerances[0].output);
    CHECK(c->tolerances[1].kind == VAL_ABS && c->tolerances[1].limit == 0.5);
    CHECK(c->tolerances[2].kind == VAL_EXACT);
    CHECK_STR(c->tolerances[2].output, "digit");
    CHECK(c->tolerances[3].kind == VAL_TOP_K && c->tolerances[3].limit == 3);
    CHECK_STR(g.cases[1].name, "case-2");
    CHECK_STR(g.cases[1].signature, "other");
    val_golden_release(&g);
}

TEST(test_val_golden__refuses_what_it_cannot_judge_by)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "", "empty" },
        { "[]", "wanted an object" },
        { "{}", "\"golden\" is missing" },
        { "{\"golden\": 1}", "\"cases\": wanted a list" },
        { "{\"golden\": 1, \"cases\": [1]}", "case-1: wanted an object" },
        { "{\"golden\": 1, \"kind\": \"exam\", \"cases\": []}",
          "\"kind\" is \"exam\"" },
        { "{\"golden\": 1, \"tags\": \"serve\", \"cases\": []}", "\"tags\"" },
        { "{\"golden\": 1, \"tags\": [12345678901234567890], \"cases\": []}",
          "\"tags\"" },
        { "{\"golden\": 1, \"owner\": NaN, \"cases\": []}", "\"owner\"" },
        { "{\"golden\": 1, \"sequential\": 1, \"cases\": []}", "\"sequential\"" },
        { "{\"golden\": 1, \"cases\": [], \"metrics\": {}}",
          "\"metrics\": wanted a list" },
        { "{\"golden\": 1, \"cases\": [], \"metrics\": [{\"metric\": \"roc\", "
          "\"output\": \"y\"}]}",
          "metrics: roc: there is no such metric; there are: accuracy, "
          "top_k_accuracy" },
        { "{\"golden\": 1, \"cases\": [], \"metrics\": [{\"metric\": \"accuracy\", "
          "\"output\": "
          "\"y\", \"labels\": \"d\"}]}",
          "no case has labels 'd'" },
        { "{\"golden\": 1, \"cases\": [{\"inputs\": {}, \"labels\": {\"d\": [1]}}], "
          "\"metrics\": "
          "[{\"metric\": \"accuracy\", \"output\": \"y\", \"max_drop\": -1}]}",
          "\"max_drop\"" },
        { "{\"golden\": 1, \"cases\": [{\"inputs\": {}, \"labels\": {\"d\": [1]}}], "
          "\"metrics\": "
          "[{\"metric\": \"accuracy\", \"output\": \"y\", \"min\": NaN}]}",
          "\"min\"" },
        { "{\"golden\": 1, \"cases\": [{\"name\": \"a\", \"inputs\": {}}, {\"name\": "
          "\"a\", "
          "\"inputs\": {}}]}",
          "case 'a': name: two cases are called so" },
        { "{\"golden\": 1, \"cases\": [\"\\u0001\"]}", "begins with \\u0001" },
        { "{\"golden\": 1, \"owner\": \"a\nb\", \"cases\": []}", "control character" },
    };
    struct err err = ERR_INIT;
    struct val_golden g;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int r = parse(&g, rows[i].text, &err);

        if (r != -ERR_INVALID || !strstr(err.msg, rows[i].why) ||
            !strstr(err.msg, "golden.json"))
            unit_fail(__FILE__, __LINE__, "%s gave %d \"%s\"", rows[i].text, r,
                      err.msg);
        err_clear(&err);
    }
    CHECK_ERR(parse(&g, "{\"golden\": 2, \"cases\": []}", &err), ERR_UNSUPPORTED);
}

TEST(test_val_golden__refuses_bad_cases)
{
    static const struct {
        const char *members, *why;
    } rows[] = {
        { "\"name\": \"\", \"inputs\": {}", "name" },
        { "\"name\": \"a/b\", \"inputs\": {}", "name" },
        { "\"name\": \"..\", \"inputs\": {}", "name" },
        { "\"name\": \"a\\u001fb\", \"inputs\": {}", "name" },
        { "\"name\": 7, \"inputs\": {}", "\"name\"" },
        { "\"inputs\": {}, \"signature\": []", "\"signature\"" },
        { "\"name\": \"n\"", "case 'n': \"inputs\" is missing" },
        { "\"inputs\": \"a.txt\"", "wanted an .npz or .npy file" },
        { "\"inputs\": \"/etc/a.npz\"", "leads out" },
        { "\"inputs\": \"../a.npz\"", "leads out" },
        { "\"inputs\": {\"x\": [[1], 2]}", "inputs: x: lists of unequal depth" },
        { "\"inputs\": {\"x\": [1, [2]]}", "lists of unequal depth" },
        { "\"inputs\": {\"x\": [[1], [2, 3]]}", "lists of unequal length" },
        { "\"inputs\": {\"x\": [1, true]}", "mixes numbers and true and false" },
        { "\"inputs\": {\"x\": [1, \"a\"]}", "mixes numbers and strings" },
        { "\"inputs\": {\"x\": [null]}", "value 0 is no number" },
        { "\"inputs\": {\"x\": {\"b65\": \"\"}}", "value 0 is no number" },
        { "\"inputs\": {\"x\": {\"b64\": \"a\"}}", "base64" },
        { "\"inputs\": {\"x\": [1e999]}", "1e999 is beyond any number dtype" },
        { "\"inputs\": {\"x\": 1, \"x\": 2}", "'x' is given twice" },
        { "\"inputs\": {}, \"tolerance\": 1e-5", "tolerance: wanted an object" },
        { "\"inputs\": {}, \"tolerance\": {\"relmax\": 1}", "there is no \"relmax\"" },
        { "\"inputs\": {}, \"tolerance\": {\"abs\": -1}", "\"abs\": wanted a number" },
        { "\"inputs\": {}, \"tolerance\": {\"abs\": NaN}", "\"abs\": wanted a number" },
        { "\"inputs\": {}, \"tolerance\": {\"exact\": false}",
          "\"exact\": wanted true" },
        { "\"inputs\": {}, \"tolerance\": {\"top_k\": 0}", "\"top_k\"" },
        { "\"inputs\": {}, \"tolerance\": {\"top_k\": 1.5}", "\"top_k\"" },
        { "\"inputs\": {}, \"tolerance\": {\"outputs\": {\"y\": {\"outputs\": {}}}}",
          "tolerance: y: there is no \"outputs\"" },
    };
    struct err err = ERR_INIT;
    struct val_golden g;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int r = parse_case(&g, rows[i].members, &err);

        if (r != -ERR_INVALID || !strstr(err.msg, rows[i].why))
            unit_fail(__FILE__, __LINE__, "%s gave %d \"%s\"", rows[i].members, r,
                      err.msg);
        err_clear(&err);
    }
    CHECK_ERR(parse_case(&g, "\"inputs\": {\"x\": [[[[[[[[[[[[[1]]]]]]]]]]]]]}", &err),
              ERR_LIMIT);
}

/* ---- inline values -------------------------------------------------------------- */

/* The inline value `text`, converted to dtype. */
static int
inline_as(const char *text, int dtype, struct sm_tensor *out, struct err *err)
{
    char *members AUTO(free_ptr) = xasprintf("\"inputs\": {\"x\": %s}", text);
    struct val_golden g;
    struct sm_tensor_list in;
    int r = parse_case(&g, members, err);
    const struct backend_tensor key = { .key = "x", .dtype = dtype };
    const struct backend_signature sig = { .inputs = &key, .n_inputs = 1 };

    *out = (struct sm_tensor){ .data = NULL };
    if (r < 0)
        return r;
    val_borrow(&in, &g.cases[0].inputs);
    r = val_bind(&in, &sig, err);
    if (r == 0)
        r = sm_tensor_copy(out, &in.v[0].t, err);
    sm_tensor_list_release(&in);
    val_golden_release(&g);
    return r;
}

TEST(test_val_golden__inline_integers_are_not_damaged)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;

    CHECK_OK(inline_as(
        "[9007199254740993, -9223372036854775808, 9223372036854775807, 7, 2.0]",
        SM_INT64, &t, &err));
    CHECK(((int64_t *)t.data)[0] == 9007199254740993);
    CHECK(((int64_t *)t.data)[1] == INT64_MIN);
    CHECK(((int64_t *)t.data)[2] == INT64_MAX);
    CHECK(((int64_t *)t.data)[3] == 7 && ((int64_t *)t.data)[4] == 2);
    sm_tensor_release(&t);
    CHECK_OK(inline_as("18446744073709551615", SM_UINT64, &t, &err));
    CHECK(t.rank == 0 && *(uint64_t *)t.data == UINT64_MAX);
    sm_tensor_release(&t);
    CHECK_OK(inline_as("[100000000000000000000]", SM_DOUBLE, &t, &err));
    CHECK(*(double *)t.data == 1e20);
    sm_tensor_release(&t);
    CHECK_ERR(inline_as("[18446744073709551615]", SM_INT64, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[9223372036854775808]", SM_INT64, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[-1]", SM_UINT64, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[0.5]", SM_INT32, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[128]", SM_INT8, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[256]", SM_UINT8, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[1]", SM_BOOL, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[1]", SM_STRING, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[1]", SM_COMPLEX64, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[true]", SM_FLOAT, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[\"1\"]", SM_FLOAT, &t, &err), ERR_INVALID);
}

TEST(test_val_golden__inline_floats)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;

    CHECK_OK(inline_as("[[NaN, Infinity], [-Infinity, -0.0], [16777217, 0.1]]",
                       SM_FLOAT, &t, &err));
    CHECK(t.rank == 2 && t.dims[0] == 3 && t.dims[1] == 2);
    CHECK(isnan(((float *)t.data)[0]) && ((float *)t.data)[1] == INFINITY);
    CHECK(((float *)t.data)[2] == -INFINITY && signbit(((float *)t.data)[3]));
    CHECK(((float *)t.data)[4] == 16777216 && ((float *)t.data)[5] == 0.1f);
    sm_tensor_release(&t);
    CHECK_OK(inline_as("[1.5, 65504]", SM_HALF, &t, &err));
    CHECK(((uint16_t *)t.data)[0] == 0x3e00 && ((uint16_t *)t.data)[1] == 0x7bff);
    sm_tensor_release(&t);
    CHECK_OK(inline_as("[1.5]", SM_BFLOAT16, &t, &err));
    CHECK(((uint16_t *)t.data)[0] == 0x3fc0);
    sm_tensor_release(&t);
    CHECK_OK(inline_as("[[], []]", SM_FLOAT, &t, &err));
    CHECK(t.rank == 2 && t.dims[0] == 2 && t.dims[1] == 0 && t.n_elems == 0);
    sm_tensor_release(&t);
    CHECK_ERR(inline_as("[1e39]", SM_FLOAT, &t, &err), ERR_INVALID);
    CHECK_ERR(inline_as("[70000]", SM_HALF, &t, &err), ERR_INVALID);
}

TEST(test_val_golden__inline_strings_and_bools)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;

    CHECK_OK(inline_as(
        "[\"\\u00e4\\n\\\"NaN 12345678901234567890\", {\"b64\": \"AAH/\"}, \"\"]",
        SM_STRING, &t, &err));
    CHECK_INT(t.n_elems, 3);
    CHECK(str_is(sm_tensor_str(&t)[0], "\xc3\xa4\n\"NaN 12345678901234567890"));
    CHECK(sm_tensor_str(&t)[1].n == 3 &&
          memcmp(sm_tensor_str(&t)[1].p, "\0\1\xff", 3) == 0);
    CHECK_INT(sm_tensor_str(&t)[2].n, 0);
    sm_tensor_release(&t);
    CHECK_OK(inline_as("[true, false]", SM_BOOL, &t, &err));
    CHECK(((uint8_t *)t.data)[0] == 1 && ((uint8_t *)t.data)[1] == 0);
    sm_tensor_release(&t);
    CHECK_OK(inline_as("[]", SM_STRING, &t, &err));
    CHECK_INT(t.n_elems, 0);
    sm_tensor_release(&t);
}

/* ---- binding -------------------------------------------------------------------- */

TEST(test_val_bind__names_and_dtypes)
{
    struct err err = ERR_INIT;
    const struct backend_tensor keys[] = { { .key = "b", .dtype = SM_BFLOAT16 },
                                           { .key = "q", .dtype = SM_QINT8 } };
    struct backend_signature sig = { .inputs = keys, .n_inputs = 2 };
    struct sm_tensor_list in = { .n = 0 };
    struct sm_tensor t;
    const int64_t dims[] = { 1 };

    CHECK_OK(sm_tensor_alloc(&t, SM_FLOAT, 1, dims, &err));
    *(float *)t.data = 1.5f;
    sm_tensor_list_add(&in, "b", &t);
    CHECK_OK(sm_tensor_alloc(&t, SM_INT8, 1, dims, &err));
    sm_tensor_list_add(&in, "q", &t);
    CHECK_OK(val_bind(&in, &sig, &err));
    CHECK(in.v[0].t.dtype == SM_BFLOAT16 && *(uint16_t *)in.v[0].t.data == 0x3fc0);
    CHECK_INT(in.v[1].t.dtype, SM_QINT8);
    CHECK_OK(sm_tensor_alloc(&t, SM_DOUBLE, 1, dims, &err));
    sm_tensor_list_add(&in, "z", &t);
    CHECK(val_bind(&in, &sig, &err) == -ERR_INVALID);
    CHECK_STR(err.msg, "there is no input 'z'; the signature has b, q");
    err_clear(&err);
    free(in.v[2].name);
    in.v[2].name = xstrdup("b");
    CHECK(val_bind(&in, &sig, &err) == -ERR_INVALID);
    CHECK_STR(
        err.msg,
        "input 'b': is float64 in the golden set; the signature asks for bfloat16");
    err_clear(&err);
    /* without a name: the only input there is */
    free(in.v[2].name);
    in.v[2].name = xstrdup("");
    CHECK_ERR(val_bind(&in, &sig, &err), ERR_INVALID);
    sm_tensor_list_release(&in);
    sig.n_inputs = 1;
    CHECK_OK(sm_tensor_alloc(&t, SM_BFLOAT16, 1, dims, &err));
    sm_tensor_list_add(&in, "", &t);
    CHECK_OK(val_bind(&in, &sig, &err));
    CHECK_STR(in.v[0].name, "b");
    sm_tensor_list_release(&in);
}

/* ---- files ---------------------------------------------------------------------- */

static void
write_npz(const char *dir, const char *name, const char *key, int64_t v)
{
    struct err err = ERR_INIT;
    struct sm_tensor_list l = { .n = 0 };
    struct buf b AUTO(buf_release) = BUF_INIT;
    struct sm_tensor t;
    const int64_t dims[] = { 1 };

    CHECK_OK(sm_tensor_alloc(&t, SM_INT64, 1, dims, &err));
    *(int64_t *)t.data = v;
    if (strstr(name, ".npy")) {
        CHECK_OK(sm_npy_write(&t, &b, &err));
        sm_tensor_release(&t);
    } else {
        sm_tensor_list_add(&l, key, &t);
        CHECK_OK(sm_npz_write(&l, &b, &err));
        sm_tensor_list_release(&l);
    }
    fake_write(dir, name, buf_str(&b), b.len);
}

TEST(test_val_golden__arrays_lie_beside_it)
{
    struct err err = ERR_INIT;
    struct val_golden g;
    const char *dir;

    write_npz("set", "a.npz", "x", 41);
    write_npz("set/sub", "b.npy", "", 42);
    dir = fake_text("set", "golden.json",
                    "{\"golden\": 1, \"cases\": [{\"inputs\": \"a.npz\", \"expected\": "
                    "\"sub/b.npy\"}]}");
    CHECK_OK(val_golden_load(&g, dir, &err));
    CHECK_INT(*(int64_t *)sm_tensor_list_find(&g.cases[0].inputs, "x")->data, 41);
    CHECK_STR(g.cases[0].expected.v[0].name, "");
    CHECK_INT(*(int64_t *)g.cases[0].expected.v[0].t.data, 42);
    val_golden_release(&g);
}

TEST(test_val_golden__never_leaves_its_directory)
{
    static const char *const links[] = { "link.npz", "dir/a.npz" };
    struct err err = ERR_INIT;
    struct val_golden g;
    char path[4200];
    const char *dir;

    write_npz("out", "a.npz", "x", 1);
    dir = fake_text("set", "x", "");
    snprintf(path, sizeof(path), "%s/link.npz", dir);
    CHECK(symlink("../out/a.npz", path) == 0);
    snprintf(path, sizeof(path), "%s/dir", dir);
    CHECK(symlink("../out", path) == 0);
    for (size_t i = 0; i < 2; i++) {
        char *text AUTO(free_ptr) =
            xasprintf("{\"golden\": 1, \"cases\": [{\"inputs\": \"%s\"}]}", links[i]);

        dir = fake_text("set", "golden.json", text);
        CHECK(val_golden_load(&g, dir, &err) < 0);
        CHECK(strstr(err.msg, "case 'case-1': inputs: "));
        CHECK(strstr(err.msg, links[i]));
        err_clear(&err);
    }
}

TEST(test_val_golden__missing_files_are_named)
{
    struct err err = ERR_INIT;
    struct val_golden g;
    const char *dir = fake_text(
        "set", "golden.json", "{\"golden\": 1, \"cases\": [{\"inputs\": \"a.npz\"}]}");

    CHECK(val_golden_load(&g, dir, &err) == -ERR_INVALID);
    CHECK(strstr(err.msg,
                 "golden.json: case 'case-1': inputs: a.npz: there is no such file"));
    err_clear(&err);
    CHECK_ERR(val_golden_load(&g, "/nowhere/at/all", &err), ERR_NOTFOUND);
    CHECK_ERR(val_golden_load(&g, unit_dir(), &err), ERR_NOTFOUND);
    fake_text("set", "a.npz", "PK\3\4 no zip");
    CHECK_ERR(val_golden_load(&g, dir, &err), ERR_CORRUPT);
}

TEST(test_val_golden__reads_the_test_models)
{
    static const char *const names[] = { "half_plus_two_tf2", "strings_passthrough",
                                         "multi_signature", "unsupported_ops" };
    struct err err = ERR_INIT;
    struct val_golden g;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CHECK_OK(val_golden_load(&g, unit_data(names[i]), &err));
        CHECK(g.n_cases > 0);
        CHECK_OK(val_golden_judges(&g, &err));
        val_golden_release(&g);
    }
}

/* ---- caps ----------------------------------------------------------------------- */

static int
capped(const char *tolerance, const char *caps, struct err *err)
{
    char *members AUTO(free_ptr) =
        xasprintf("\"inputs\": {}, \"expected\": {\"y\": [2.5], \"s\": [\"a\"]}%s%s",
                  tolerance[0] ? ", \"tolerance\": " : "", tolerance);
    cJSON *doc AUTO(json_free) = cJSON_Parse(caps);
    struct val_golden g;
    struct val_caps c;
    int r;

    if (parse_case(&g, members, err) < 0)
        unit_fail(__FILE__, __LINE__, "%s: %s", members, err->msg);
    r = val_caps_parse(doc, &c, err);
    if (r == 0)
        r = val_set_check_caps(&g, &c, err);
    val_golden_release(&g);
    return r;
}

TEST(test_val_caps__the_tightest_tolerance_of_an_output_counts)
{
    static const struct {
        const char *tolerance, *caps, *why; /* NULL: allowed */
    } rows[] = {
        { "", "{\"rel_max\": 1e-5}", NULL },
        { "", "{\"rel_max\": 1e-6}",
          "output 'y': the set allows itself rel_max 1e-05" },
        { "", "{\"abs\": 1}", "wants abs 1 or exact" },
        { "{\"abs\": 0.5}", "{\"abs\": 0.5}", NULL },
        { "{\"abs\": 0.6}", "{\"abs\": 0.5}", "abs 0.6" },
        { "{\"abs\": 9, \"rel_max\": 1e-5}", "{\"rel_max\": 1e-4}", NULL },
        { "{\"exact\": true}", "{}", NULL },
        { "{\"top_k\": 1}", "{\"top_k\": 2}", "top_k 1" },
        { "{\"top_k\": 3}", "{\"top_k\": 2}", NULL },
        { "{\"outputs\": {\"y\": {\"abs\": 9}}}", "{\"rel_max\": 1}", "abs 9" },
        { "{\"outputs\": {\"s\": {\"abs\": 9}}}", "{\"rel_max\": 1}", "output 's'" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = ERR_INIT;
        int r = capped(rows[i].tolerance, rows[i].caps, &err);

        CHECK_INT(r, rows[i].why ? -(int)ERR_REFUSED : 0);
        CHECK(!rows[i].why || strstr(err.msg, rows[i].why));
        err_clear(&err);
    }
}

TEST(test_val_caps__malformed_caps_are_named)
{
    static const struct {
        const char *caps, *why;
    } rows[] = { { "[]", "wanted an object" },
                 { "{\"near\": 1}", "no tolerance \"near\"" },
                 { "{\"abs\": -1}", "at least 0" },
                 { "{\"exact\": true}", "needs no cap" } };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = ERR_INIT;
        int r = capped("", rows[i].caps, &err);

        CHECK(strstr(err.msg, rows[i].why) != NULL);
        CHECK_INT(r, -(int)ERR_INVALID);
        err_clear(&err);
    }
}
