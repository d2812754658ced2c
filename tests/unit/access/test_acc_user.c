/* SPDX-License-Identifier: Apache-2.0 */
#include "access/identity.h"
#include "tests/unit/access/acc_fixture.h"

#include <stdlib.h>

TEST(test_acc_user__names)
{
    static const char *const bad[] = { "",     "-x",      ".x",    "a b",
                                       "a\nb", "uid:123", "a/b",   "\xc3\xa4",
                                       "a\"b", "a*b",     "a:b@c", NULL };
    struct fixture f;
    struct err err = ERR_INIT;
    char name[ACC_SUBJECT_BYTES + 1];

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    for (int i = 0; bad[i]; i++)
        CHECK_ERR(acc_user_add(f.acc, bad[i], false, NULL, &err), ERR_INVALID);
    memset(name, 'x', sizeof(name));
    name[ACC_SUBJECT_BYTES] = '\0';
    CHECK_ERR(acc_user_add(f.acc, name, false, NULL, &err), ERR_INVALID);
    name[ACC_SUBJECT_BYTES - 1] = '\0';
    CHECK_INT(acc_user_add(f.acc, name, false, NULL, &err), 1);
    CHECK_INT(acc_user_add(f.acc, "ci", true, "risk", &err), 1);
    CHECK_INT(acc_user_add(f.acc, "ci", true, "risk", &err), 0);
    CHECK_INT(acc_user_add(f.acc, "ci", true, "fraud", &err), 1);
    CHECK_ERR(acc_user_add(f.acc, acc_actor(f.acc), true, NULL, &err), ERR_INVALID);
    CHECK_ERR(acc_user_enable(f.acc, acc_actor(f.acc), false, &err), ERR_INVALID);
    CHECK_ERR(acc_user_enable(f.acc, "no-such-user-here", false, &err), ERR_NOTFOUND);
    CHECK_OK(db_commit(f.db, &err));
    fixture_close(&f);
}

TEST(test_acc_user__an_account_may_get_grants)
{
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    struct acc_grant g = { .subject = "no-such-user-here",
                           .effect = "allow",
                           .what = "push",
                           .object = "digits",
                           .until_ns = INT64_MAX };
    CHECK_ERR(acc_grant(f.acc, &g, &err), ERR_NOTFOUND);
    CHECK_INT(acc_user_known(f.acc, "ci", &err), 0);
    CHECK_INT(acc_user_add(f.acc, "ci", true, NULL, &err), 1);
    g.subject = "ci";
    CHECK_INT(acc_grant(f.acc, &g, &err), 1);
    CHECK_INT(acc_user_known(f.acc, "ci", &err), 1);
    CHECK_OK(db_commit(f.db, &err));
    fixture_close(&f);
}

TEST(test_acc_user__the_kernels_user_has_a_name)
{
    struct fixture f;
    struct err err = ERR_INIT;
    char name[ACC_SUBJECT_BYTES];

    fixture_new(&f);
    CHECK_OK(acc_user_of(f.db, getuid(), name, &err));
    CHECK_STR(name, acc_actor(f.acc));
    CHECK_OK(acc_user_of(f.db, 4000000001u, name, &err));
    CHECK_STR(name, "uid:4000000001");
    fixture_close(&f);
}

/* ---- certificates ---- */

TEST(test_acc_cert__stands_for_one)
{
    static const char print[] = "AB:" /* as openssl prints it */
                                "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:"
                                "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE";
    struct fixture f;
    struct buf value AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    char subject[ACC_SUBJECT_BYTES];

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    CHECK_OK(acc_user_add(f.acc, "a", true, NULL, &err));
    CHECK_OK(acc_user_add(f.acc, "b", true, NULL, &err));
    CHECK_OK(acc_cert_value("sha256", print, &value, &err));
    CHECK_STR(buf_str(&value),
              "ab00112233445566778899aabbccddeeff00112233445566778899aabbccddee");
    CHECK_INT(acc_cert_add(f.acc, "sha256", buf_str(&value), "a", &err), 1);
    CHECK_INT(acc_cert_add(f.acc, "sha256", buf_str(&value), "a", &err), 0);
    CHECK_ERR(acc_cert_add(f.acc, "sha256", buf_str(&value), "b", &err), ERR_CONFLICT);
    CHECK_INT(acc_cert_find(f.acc, "sha256", buf_str(&value), subject, &err), 1);
    CHECK_STR(subject, "a");
    CHECK_INT(acc_cert_find(f.acc, "URI", buf_str(&value), subject, &err), 0);
    CHECK_INT(acc_cert_remove(f.acc, "sha256", buf_str(&value), "b", &err), 0);
    CHECK_INT(acc_cert_remove(f.acc, "sha256", buf_str(&value), "a", &err), 1);
    CHECK_INT(acc_cert_find(f.acc, "sha256", buf_str(&value), subject, &err), 0);
    buf_clear(&value);
    CHECK_ERR(acc_cert_value("sha256", "ab00", &value, &err), ERR_INVALID);
    CHECK_ERR(acc_cert_value("sha256", "", &value, &err), ERR_INVALID);
    CHECK_ERR(acc_cert_value("URI", "a b", &value, &err), ERR_INVALID);
    CHECK_ERR(acc_cert_value("URI", "", &value, &err), ERR_INVALID);
    CHECK_OK(db_commit(f.db, &err));
    fixture_close(&f);
}

/* ---- issuers ---- */

TEST(test_acc_issuer__glob)
{
    static const struct {
        const char *pattern, *text;
        bool fits;
    } cases[] = {
        { "", "", true },
        { "", "x", false },
        { "*", "", true },
        { "*", "x/y", true },
        { "a*", "abc", true },
        { "a*", "ba", false },
        { "*c", "abc", true },
        { "*c", "abcd", false },
        { "a*c", "ac", true },
        { "a*b*c", "aXbYc", true },
        { "a*b*c", "aXcYb", false },
        { "a**c", "abc", true },
        { "abc", "abcd", false },
        { "abcd", "abc", false },
        { "*ab", "aab", true },
        { "org/*", "org", false },
        { "a?c", "abc", false },
        { "[a]", "a", false },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (acc_glob(cases[i].pattern, str_of(cases[i].text)) != cases[i].fits)
            unit_fail(__FILE__, __LINE__, "%s on %s", cases[i].pattern, cases[i].text);
}

static const struct acc_issuer github = { .name = "github",
                                          .url = "https://ci.example.org",
                                          .audience = "sluice" };

static int
add(struct fixture *f, const struct acc_issuer *i, const char *pairs,
    const char *subject, struct err *err)
{
    cJSON *list AUTO(json_free) = cJSON_Parse(pairs);
    int64_t number;
    int r = acc_issuer_add(f->acc, i, list, subject, NULL, &number, err);

    return r < 0 ? r : (int)number;
}

TEST(test_acc_issuer__first_rule_that_fits_decides)
{
    static const struct {
        const char *claims, *subject; /* NULL: nobody */
    } cases[] = {
        { "{\"repository\":\"org/fraud\",\"ref\":\"refs/heads/main\"}", "a" },
        { "{\"repository\":\"org/fraud\",\"ref\":\"refs/heads/main2\"}", "b" },
        { "{\"repository\":\"org/fraud\"}", "b" },
        { "{\"repository\":\"org2/fraud\",\"ref\":\"refs/heads/main\"}", NULL },
        { "{\"ref\":\"refs/heads/main\"}", NULL },
        { "{\"repository\":[\"x\",\"org/y\"]}", "b" },
        { "{\"repository\":{\"x\":\"org/y\"}}", NULL },
        { "{\"Repository\":\"org/fraud\"}", NULL },
        { "{\"protected\":true}", "c" },
        { "{\"protected\":\"true\"}", "c" },
        { "{\"protected\":false}", NULL },
        { "{\"project\":4711}", "c" },
        { "{\"project\":4712}", NULL },
        { "{}", NULL },
    };
    struct fixture f;
    struct acc_job job;
    struct err err = ERR_INIT;

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    for (const char *p = "abc"; *p; p++)
        CHECK_OK(acc_user_add(f.acc, (char[]){ *p, '\0' }, true, NULL, &err));
    CHECK_OK(add(&f, &github, "[\"repository=org/fraud\",\"ref=refs/heads/main\"]", "a",
                 &err));
    CHECK_OK(add(&f, &github, "[\"repository=org/*\"]", "b", &err));
    CHECK_OK(add(&f, &github, "[\"protected=true\"]", "c", &err));
    CHECK_INT(add(&f, &github, "[\"project=4711\"]", "c", &err), 4);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cJSON *claims AUTO(json_free) = cJSON_Parse(cases[i].claims);
        int r = acc_issuer_find(f.acc, github.url, claims, &job, &err);

        CHECK_OK(r);
        if (r != (cases[i].subject != NULL))
            unit_fail(__FILE__, __LINE__, "%s: %d", cases[i].claims, r);
        if (r)
            CHECK_STR(job.subject, cases[i].subject);
        CHECK_INT(acc_issuer_find(f.acc, "https://ci.example.org/", claims, &job, &err),
                  0);
    }
    CHECK_OK(acc_issuer_remove(f.acc, "github", 2, &err));
    CHECK_ERR(acc_issuer_remove(f.acc, "github", 2, &err), ERR_NOTFOUND);
    CHECK_OK(acc_issuer_remove(f.acc, "github", 0, &err));
    CHECK_ERR(acc_issuer_remove(f.acc, "github", 0, &err), ERR_NOTFOUND);
    CHECK_OK(db_commit(f.db, &err));
    fixture_close(&f);
}

TEST(test_acc_issuer__refuses_what_all_the_world_fits)
{
    static const char *const bad[] = { "[]",
                                       "[\"repository=*\"]",
                                       "[\"repository=*/fraud\"]",
                                       "[\"repository=\"]",
                                       "[\"=x\"]",
                                       "[\"repository\"]",
                                       "[\"iss=https://ci.example.org\"]",
                                       "[\"aud=sluice\"]",
                                       "[\"a=b\",\"a=c\"]",
                                       NULL };
    struct acc_issuer other = github;
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_new(&f);
    CHECK_OK(db_begin(f.db, &err));
    CHECK_OK(acc_user_add(f.acc, "a", true, NULL, &err));
    for (int i = 0; bad[i]; i++)
        CHECK_ERR(add(&f, &github, bad[i], "a", &err), ERR_INVALID);
    CHECK_ERR(add(&f, &github, "[\"a=b\"]", "no-such-user-here", &err), ERR_NOTFOUND);
    other.url = "http://ci.example.org";
    CHECK_ERR(add(&f, &other, "[\"a=b\"]", "a", &err), ERR_INVALID);
    other.url = "http://127.0.0.1.example.org:80";
    CHECK_ERR(add(&f, &other, "[\"a=b\"]", "a", &err), ERR_INVALID);
    other.url = "https://ci.example.org/?x";
    CHECK_ERR(add(&f, &other, "[\"a=b\"]", "a", &err), ERR_INVALID);
    other.url = "http://127.0.0.1:8080";
    CHECK_OK(add(&f, &github, "[\"a=b\"]", "a", &err));
    CHECK_ERR(add(&f, &other, "[\"a=b\"]", "a", &err), ERR_CONFLICT);
    other.name = "two";
    CHECK_OK(add(&f, &other, "[\"a=b\"]", "a", &err));
    other.url = github.url;
    other.name = "three";
    CHECK_ERR(add(&f, &other, "[\"a=b\"]", "a", &err), ERR_CONFLICT);
    CHECK_OK(db_commit(f.db, &err));
    fixture_close(&f);
}
