/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include "tests/unit/unit.h"

#include <math.h>
#include <string.h>

TEST(test_json__parse_and_members)
{
    struct err err = ERR_INIT;
    cJSON *j AUTO(json_free) = NULL;
    const char *s = NULL;
    double v = 0;
    bool b = false;

    CHECK_OK(json_parse(&j,
                        STR_LIT(" {\"s\": \"\\u00e9\", \"n\": 1.5, \"b\": true, "
                                "\"z\": null}\n"),
                        "doc", &err));
    CHECK_OK(json_str(j, "s", NULL, &s, "doc", &err));
    CHECK_STR(s, "\xc3\xa9");
    CHECK_OK(json_num(j, "n", NAN, &v, "doc", &err));
    CHECK(v == 1.5);
    CHECK_OK(json_bool(j, "b", false, &b, "doc", &err));
    CHECK(b);
    CHECK(json_has(j, "z") && !json_has(j, "S"));
    CHECK_OK(json_str(j, "none", "other", &s, "doc", &err));
    CHECK_STR(s, "other");
    CHECK_OK(json_num(j, "z", 7, &v, "doc", &err));
    CHECK(v == 7);
    CHECK_OK(json_bool(j, "none", true, &b, "doc", &err));
    CHECK(b);
}

TEST(test_json__names_that_come_twice)
{
    struct err err = ERR_INIT;
    cJSON *j AUTO(json_free) = NULL;

    CHECK_OK(json_parse(&j, STR_LIT("{\"a\": {\"a\": 1, \"A\": 2}, \"b\": [{}, 3]}"),
                        "doc", &err));
    CHECK_OK(json_check_names(j, "doc", &err));
    json_free(&j);
    CHECK_OK(json_parse(&j, STR_LIT("[{\"b\": 1, \"a\": 2, \"b\": 1}]"), "doc", &err));
    CHECK(json_check_names(j, "doc", &err) < 0);
    CHECK(strstr(err.msg, "doc: \"b\" stands twice") != NULL);
    err_clear(&err);
}

TEST(test_json__members_of_another_type)
{
    struct err err = ERR_INIT;
    cJSON *j AUTO(json_free) = NULL;
    const char *s;
    double v;
    bool b;

    CHECK_OK(json_parse(&j, STR_LIT("{\"s\": \"x\", \"n\": 1}"), "doc", &err));
    CHECK_ERR(json_str(j, "n", NULL, &s, "doc", &err), ERR_INVALID);
    CHECK_ERR(json_str(j, "n", "x", &s, "doc", &err), ERR_INVALID);
    CHECK_ERR(json_str(j, "none", NULL, &s, "doc", &err), ERR_INVALID);
    CHECK_ERR(json_num(j, "s", NAN, &v, "doc", &err), ERR_INVALID);
    CHECK_ERR(json_num(j, "none", NAN, &v, "doc", &err), ERR_INVALID);
    CHECK_ERR(json_bool(j, "n", true, &b, "doc", &err), ERR_INVALID);
    CHECK_INT(json_str(j, "none", NULL, &s, "golden.json", &err), -ERR_INVALID);
    CHECK_STR(err.msg, "golden.json: \"none\" is missing, wanted a string");
    err_clear(&err);
}

TEST(test_json__bad_text)
{
    static const struct {
        struct str text;
    } cases[] = {
        { STR_LIT("") },
        { STR_LIT(" ") },
        { STR_LIT("{") },
        { STR_LIT("{\"a\": }") },
        { STR_LIT("{\"a\": 1,}") },
        { STR_LIT("[1 2]") },
        { STR_LIT("{} x") },
        { STR_LIT("{}{}") },
        { STR_LIT("\"abc") },
        { STR_LIT("nul") },
        { STR_LIT("[1, {\"a\": -1e999}]") },
        { STR_LIT("\"\xff\"") },
        { STR_LIT("\"\xc0\x80\"") },
        { STR_LIT("\"\xed\xa0\x80\"") },
        { STR_LIT("\"\xf4\x90\x80\x80\"") },
        { STR_LIT("\"\xe2\x82") },
        { STR_LIT("\"a\\u0000b\"") },
        { STR_LIT("\"a\0b\"") },
        { STR_LIT("{}\0") },
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cJSON *j = NULL;

        CHECK_ERR(json_parse(&j, cases[i].text, "doc", &err), ERR_INVALID);
        CHECK(!j);
    }
}

TEST(test_json__backslashes_are_read_in_pairs)
{
    struct err err = ERR_INIT;
    cJSON *j AUTO(json_free) = NULL;

    CHECK_OK(json_parse(&j, STR_LIT("\"\\\\u0000\""), "doc", &err));
    CHECK_STR(j->valuestring, "\\u0000");
}

TEST(test_json__error_names_line_and_column)
{
    struct err err = ERR_INIT;
    cJSON *j = NULL;

    CHECK_INT(json_parse(&j, STR_LIT("{\n  \"a\": x\n}"), "golden.json", &err),
              -ERR_INVALID);
    CHECK_STR(err.msg, "golden.json: line 2, column 8: not JSON");
}

TEST(test_json__deep_nesting_is_refused)
{
    struct err err = ERR_INIT;
    struct buf b AUTO(buf_release) = BUF_INIT;
    cJSON *j = NULL;

    for (int i = 0; i < 100000; i++)
        buf_addc(&b, '[');
    CHECK_ERR(json_parse(&j, (struct str){ b.data, b.len }, "doc", &err), ERR_INVALID);
}

TEST(test_json__print)
{
    cJSON *j AUTO(json_free) = cJSON_CreateObject();
    cJSON *list = cJSON_CreateArray();
    struct buf out AUTO(buf_release) = BUF_INIT;

    json_put_str(j, "s", "a\"\\\n\x01\xff z");
    json_put_str(j, "null", NULL);
    json_put_int(j, "max", INT64_MAX);
    json_put_int(j, "min", INT64_MIN);
    json_put_int(j, "i", -42);
    json_put_real(j, "r", 0.1);
    json_put_real(j, "f", (double)0.1f);
    json_put_real(j, "big", 1e300);
    json_put_real(j, "nan", NAN);
    json_put_real(j, "inf", -INFINITY);
    json_put_bool(j, "b", true);
    json_put_int(list, NULL, 1);
    json_put_str(list, NULL, "x");
    cJSON_AddItemToObject(j, "list", list);
    cJSON_AddItemToObject(j, "empty", cJSON_CreateObject());
    json_print(j, &out, true);
    CHECK_STR(
        buf_str(&out),
        "{\"s\": \"a\\\"\\\\\\n\\u0001\xef\xbf\xbd z\", \"null\": null, "
        "\"max\": 9223372036854775807, \"min\": -9223372036854775808, \"i\": -42, "
        "\"r\": 0.1, \"f\": 0.10000000149011612, \"big\": 1e+300, "
        "\"nan\": \"NaN\", \"inf\": \"-Infinity\", \"b\": true, "
        "\"list\": [1, \"x\"], \"empty\": {}}");
}

TEST(test_json__print_indented_reads_back)
{
    static const char text[] =
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n"
        "  \"c\": \"d\"\n}\n";
    struct err err = ERR_INIT;
    cJSON *j AUTO(json_free) = NULL;
    struct buf out AUTO(buf_release) = BUF_INIT;

    CHECK_OK(json_parse(&j, str_of(text), "doc", &err));
    json_print(j, &out, false);
    CHECK_STR(buf_str(&out), text);
}
