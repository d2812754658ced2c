/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/repo_fixture.h"

#define X16 "xxxxxxxxxxxxxxxx"
#define X128 X16 X16 X16 X16 X16 X16 X16 X16

TEST(test_repo_name__model_names)
{
    static const char *const good[] = { "fraud", "Fraud_2.v-1", "3",      "v3",
                                        "a b",   "modèle",      "模型",   "#%?*",
                                        "a",     "latest2",     "sha256", X128 };
    static const struct {
        const char *name, *word;
    } bad[] = { { "", "empty" },
                { "-x", "begins" },
                { ".x", "begins" },
                { "..", "begins" },
                { "config", "config" },
                { "latest", "latest" },
                { "a/b", "/ : @" },
                { "a:b", "/ : @" },
                { "a@b", "/ : @" },
                { "a\nb", "control" },
                { "a\x7f", "control" },
                { "a\xc2\x85", "control" },
                { "\xff", "UTF-8" },
                { "a\xc3", "UTF-8" },
                { "\xc0\xaf", "UTF-8" },
                { "\xe0\x80\xaf", "UTF-8" },
                { "\xed\xa0\x80", "UTF-8" },
                { "\xf4\x90\x80\x80", "UTF-8" },
                { "\xf8\x88\x80\x80\x80", "UTF-8" },
                { X128 X128, "255" },
                { X128 X16 X16 X16 X16 X16, "200" },
                { "模型模型模型模型模型模型模型模型模型模型模型模型", "200" } };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK_OK(repo_check_model_name(good[i], &err));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_INT(repo_check_model_name(bad[i].name, &err), -ERR_INVALID);
        if (!strstr(err.msg, bad[i].word) || strpbrk(err.msg, "\n\x7f\xff"))
            unit_fail(__FILE__, __LINE__, "case %zu: %s", i, err.msg);
        err_clear(&err);
    }
}

TEST(test_repo_name__encoded_as_a_directory)
{
    struct buf b = BUF_INIT;

    repo_name_encode("a.B_9-", &b);
    CHECK_STR(buf_str(&b), "a.B_9-");
    buf_clear(&b);
    repo_name_encode("a b%\xc3\xa9~", &b);
    CHECK_STR(buf_str(&b), "a%20b%25%C3%A9%7E");
    buf_release(&b);
}

TEST(test_repo_name__alias_names)
{
    static const char *const good[] = { "production", "_x", "0a", "v3x", "v",
                                        "a.b-c",      "P",  "v-", "1.0", X128 };
    static const char *const bad[] = { "",   "3",   "latest", "v3",  "v007",
                                       "-a", ".a",  "a b",    "a/b", "a@",
                                       "é",  "a\n", X128 "x", "a%",  "a:b" };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK_OK(repo_check_alias_name(good[i], &err));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(repo_check_alias_name(bad[i], &err), ERR_INVALID);
}

TEST(test_repo_ref__parses)
{
    static const struct {
        const char *text, *model;
        int64_t number;
        const char *alias, *digest;
    } cases[] = {
        { "fraud", "fraud", 0, "", "" },
        { "fraud@3", "fraud", 3, "", "" },
        { "fraud@production", "fraud", 0, "production", "" },
        { "fraud@3a", "fraud", 0, "3a", "" },
        { "my model@9223372036854775799", "my model", 9223372036854775799, "", "" },
        { "models:/fraud/3", "fraud", 3, "", "" },
        { "models:/fraud@production", "fraud", 0, "production", "" },
        { "sha256:0123abCD", "", 0, "", "0123abcd" },
        { "sha256:"
          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
          "", 0, "",
          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
    };
    static const char *const bad[] = {
        "",
        "@3",
        "fraud@",
        "fraud@0",
        "fraud@03",
        "fraud@v3",
        "fraud@latest",
        "fraud@99999999999999999999",
        "fraud@a@b",
        "a/b",
        "models:/fraud",
        "models:/",
        "models:/fraud/production",
        "models:/fraud/3/4",
        "models:/fraud/0",
        "models:/fraud@3",
        "models://3",
        "sha256:",
        "sha256:1234567",
        "sha256:0123456g",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0",
        "SHA256:01234567",
        "\xff@3",
    };
    struct err err = ERR_INIT;
    struct repo_ref ref;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CHECK_OK(repo_ref_parse(cases[i].text, &ref, &err));
        CHECK_STR(ref.model, cases[i].model);
        CHECK_INT(ref.number, cases[i].number);
        CHECK_STR(ref.alias, cases[i].alias);
        CHECK_STR(ref.digest_hex, cases[i].digest);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (repo_ref_parse(bad[i], &ref, &err) != -ERR_INVALID)
            unit_fail(__FILE__, __LINE__, "%s was taken", bad[i]);
        else
            err_clear(&err);
}
