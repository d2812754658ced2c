/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo_int.h"
#include "tests/unit/repo/repo_fixture.h"

#define H "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HEAD "sluice-manifest 1\n"

static struct str
str_all(const char *s)
{
    return (struct str){ s, strlen(s) };
}

TEST(test_repo_manifest__parses_and_writes_the_same)
{
    static const char text[] = HEAD H " 0 a\n" H " 10 a%20b\n" H " 9223372036854775000 "
                                      "a%25.%C3%A9/~!b\n" H " 7 a.b\n" H " 1 a/b\n";
    static const char ok[] = HEAD H " 0 a%0A\n" H " 10 a%20b\n" H
                                    " 12 a%25.%C3%A9/~!b\n" H " 7 a.b\n" H " 1 a/b\n";
    struct repo_manifest m;
    struct buf again = BUF_INIT;
    struct digest d;
    struct err err = ERR_INIT;

    CHECK_ERR(repo_manifest_parse(&m, str_all(text), "m", &err), ERR_CORRUPT);
    CHECK_OK(repo_manifest_parse(&m, str_all(ok), "m", &err));
    CHECK_INT(m.n_files, 5);
    CHECK_INT(m.size_bytes, 30);
    CHECK_STR(m.files[0].path, "a\n");
    CHECK_STR(m.files[2].path, "a%.\xc3\xa9/~!b");
    repo_manifest_format(&m, &again);
    CHECK_STR(buf_str(&again), ok);
    sha256_of(ok, strlen(ok), &d);
    CHECK(digest_eq(&d, &m.digest));
    buf_release(&again);
    repo_manifest_release(&m);
}

TEST(test_repo_manifest__refuses)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        { "", "no text" },
        { "sluice-manifest 1", "cut off" },
        { "sluice-manifest 2\n" H " 0 a\n", "another format" },
        { HEAD, "no file" },
        { HEAD "\n", "empty line" },
        { HEAD H " 0 a", "cut off" },
        { HEAD H " 0 a\n\n", "empty line" },
        { HEAD H " 0 \n", "empty path" },
        { HEAD H " 00 a\n", "leading zero" },
        { HEAD H " 01 a\n", "leading zero" },
        { HEAD H " -1 a\n", "sign" },
        { HEAD H " +1 a\n", "sign" },
        { HEAD H "  1 a\n", "two blanks" },
        { HEAD H " 99999999999999999999 a\n", "too big" },
        { HEAD H " 9000000000000000000 a\n" H " 9000000000000000000 b\n", "sum" },
        { HEAD "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef 0 a\n",
          "upper case" },
        { HEAD "0123456789abcdef 0 a\n", "short digest" },
        { HEAD H H " 0 a\n", "long digest" },
        { HEAD H " 0 /a\n", "absolute" },
        { HEAD H " 0 a/\n", "empty part" },
        { HEAD H " 0 a//b\n", "empty part" },
        { HEAD H " 0 .\n", "dot" },
        { HEAD H " 0 ..\n", "dots" },
        { HEAD H " 0 a/../b\n", "dots" },
        { HEAD H " 0 ./a\n", "dot" },
        { HEAD H " 0 a/.\n", "dot" },
        { HEAD H " 0 %2E%2E/a\n", "encoded dots" },
        { HEAD H " 0 a%61\n", "encoded for nothing" },
        { HEAD H " 0 a%c3%a9\n", "lower case" },
        { HEAD H " 0 a%0\n", "half a code" },
        { HEAD H " 0 a%\n", "no code" },
        { HEAD H " 0 a%00b\n", "NUL" },
        { HEAD H " 0 a b\n", "raw blank" },
        { HEAD H " 0 \xc3\xa9\n", "raw byte" },
        { HEAD H " 0 a\r\n", "CR" },
        { HEAD H " 0 b\n" H " 0 a\n", "order" },
        { HEAD H " 0 a\n" H " 0 a\n", "twice" },
        { HEAD H " 0 a%20\n" H " 0 a%0A\n", "order of raw bytes" },
        { HEAD H " 0 a\n" H " 0 a.b\n" H " 0 a/b\n", "file and directory" },
        { HEAD H " 0 a/b\n" H " 0 a/b/c/d\n", "file and directory" },
    };
    struct err err = ERR_INIT;
    struct repo_manifest m;
    char *deep;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (repo_manifest_parse(&m, str_all(bad[i].text), "m", &err) != -ERR_CORRUPT ||
            m.files)
            unit_fail(__FILE__, __LINE__, "taken: %s", bad[i].why);
        err_clear(&err);
    }
    deep = xmalloc(6000);
    memset(deep, 'a', 5999);
    memcpy(deep, HEAD H " 0 ", sizeof(HEAD H " 0 ") - 1);
    deep[5998] = '\n';
    deep[5999] = '\0';
    CHECK_ERR(repo_manifest_parse(&m, str_all(deep), "m", &err), ERR_CORRUPT);
    free(deep);
}

TEST(test_repo_manifest__is_found_by_its_digest)
{
    struct fixture f;
    struct repo_version v;
    struct repo_manifest m;
    struct err err = ERR_INIT;
    struct digest none = { .b = { 1 } };
    char path[1024];

    fixture_new(&f);
    put_model(&f, "src", "1");
    v = push(&f, "src", "a");
    CHECK_OK(repo_manifest_get(f.r, &v.digest, &m, &err));
    CHECK(digest_eq(&m.digest, &v.digest));
    CHECK_INT(m.n_files, 3);
    CHECK_STR(m.files[0].path, "saved_model.pb");
    CHECK_OK(repo_manifest_verify(f.r, &v.digest, &err));
    /* a file of it is changed, but not its length */
    overwrite(object_file(&f, &m.files[1].digest, path), 2, "X", 1);
    CHECK_INT(repo_manifest_verify(f.r, &v.digest, &err), -ERR_CORRUPT);
    CHECK(strstr(err.msg, m.files[1].path));
    err_clear(&err);
    CHECK(unlink(object_file(&f, &m.files[1].digest, path)) == 0);
    CHECK_ERR(repo_manifest_verify(f.r, &v.digest, &err), ERR_NOTFOUND);
    repo_manifest_release(&m);
    CHECK_ERR(repo_manifest_get(f.r, &none, &m, &err), ERR_NOTFOUND);
    overwrite(object_file(&f, &v.digest, path), 20, "x", 1);
    CHECK_ERR(repo_manifest_get(f.r, &v.digest, &m, &err), ERR_CORRUPT);
    fixture_close(&f);
}
