/* SPDX-License-Identifier: Apache-2.0 */
#include "access/identity.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

static void
add_part(struct buf *out, const char *json)
{
    struct buf b AUTO(buf_release) = BUF_INIT;

    base64_add(&b, json, strlen(json));
    for (size_t i = 0; i < b.len && b.data[i] != '='; i++)
        buf_addc(out, b.data[i] == '+' ? '-' : b.data[i] == '/' ? '_' : b.data[i]);
}

static int
parse(const char *header, const char *claims, struct acc_jwt *out, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    add_part(&text, header);
    buf_addc(&text, '.');
    add_part(&text, claims);
    buf_adds(&text, ".c2ln");
    return acc_jwt_parse((struct str){ text.data, text.len }, out, err);
}

#define RS256 "{\"alg\":\"RS256\",\"kid\":\"k1\"}"
#define ISS "\"iss\":\"https://ci\""

TEST(test_acc_jwt__reads_and_refuses)
{
    static const struct {
        const char *header, *claims;
    } bad[] = {
        { "{\"alg\":\"none\"}", "{" ISS "}" },
        { "{\"alg\":\"HS256\"}", "{" ISS "}" },
        { "{\"alg\":\"rs256\"}", "{" ISS "}" },
        { "{\"alg\":\"RS512\"}", "{" ISS "}" },
        { "{\"alg\":7}", "{" ISS "}" },
        { "{}", "{" ISS "}" },
        { "[]", "{" ISS "}" },
        { "{\"alg\":\"none\",\"alg\":\"RS256\"}", "{" ISS "}" },
        { "{\"alg\":\"RS256\",\"crit\":[\"b64\"],\"b64\":false}", "{" ISS "}" },
        { "{\"alg\":\"RS256\",\"typ\":\"JOSE\"}", "{" ISS "}" },
        { "{\"alg\":\"RS256\",\"kid\":1}", "{" ISS "}" },
        { RS256, "{}" },
        { RS256, "{\"iss\":1}" },
        { RS256, "[]" },
        { RS256, "{" ISS ",\"sub\":\"a\",\"sub\":\"b\"}" },
        { RS256, "{" ISS "} x" },
        { RS256, "" },
    };
    struct acc_jwt t;
    struct err err = ERR_INIT;
    char *big = xcalloc(1, 2 * ACC_JWT_MAX);

    CHECK_OK(parse(RS256, "{" ISS ",\"sub\":\"a\"}", &t, &err));
    CHECK_STR(t.alg, "RS256");
    CHECK_STR(t.kid, "k1");
    CHECK_STR(t.iss, "https://ci");
    acc_jwt_release(&t);
    CHECK_OK(parse("{\"alg\":\"ES256\",\"typ\":\"jwt\"}", "{" ISS "}", &t, &err));
    CHECK(!t.kid);
    acc_jwt_release(&t);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(parse(bad[i].header, bad[i].claims, &t, &err), ERR_INVALID);
    static const char *const texts[] = {
        "",         ".",       "..", "...",  "eyJ",     "eyJ.eyJ",
        "eyJ.eyJ.", "a.b.c.d", "=.", "+.+.", "a b.c.d", "eyJhbGciOiJSUzI1NiJ9==.e30.x",
        NULL
    };
    for (int i = 0; texts[i]; i++)
        CHECK_ERR(acc_jwt_parse(str_of(texts[i]), &t, &err), ERR_INVALID);
    memset(big, 'a', 2 * ACC_JWT_MAX - 1);
    CHECK_ERR(acc_jwt_parse(str_of(big), &t, &err), ERR_INVALID);
    free(big);
}

TEST(test_acc_jwt__times_and_audience)
{
    static const struct {
        const char *claims;
        bool good;
    } cases[] = {
        { "\"exp\":1010,\"iat\":990,\"aud\":\"s\"", true },
        { "\"exp\":1010,\"iat\":990,\"aud\":[\"x\",\"s\"]", true },
        { "\"exp\":1010,\"iat\":990,\"aud\":\"S\"", false },
        { "\"exp\":1010,\"iat\":990,\"aud\":[]", false },
        { "\"exp\":1010,\"iat\":990,\"aud\":{\"s\":\"s\"}", false },
        { "\"exp\":1010,\"iat\":990", false },
        { "\"exp\":941,\"iat\":900,\"aud\":\"s\"", true }, /* 59 s ago */
        { "\"exp\":940,\"iat\":900,\"aud\":\"s\"", false },
        { "\"iat\":900,\"aud\":\"s\"", false },
        { "\"exp\":1010,\"aud\":\"s\"", false },
        { "\"exp\":\"1010\",\"iat\":900,\"aud\":\"s\"", false },
        { "\"exp\":1e300,\"iat\":900,\"aud\":\"s\"", false },
        { "\"exp\":-1,\"iat\":900,\"aud\":\"s\"", false },
        { "\"exp\":2000,\"iat\":1060,\"aud\":\"s\"", true },
        { "\"exp\":2000,\"iat\":1061,\"aud\":\"s\"", false },
        { "\"exp\":2000,\"iat\":1000,\"nbf\":1060,\"aud\":\"s\"", true },
        { "\"exp\":2000,\"iat\":1000,\"nbf\":1061,\"aud\":\"s\"", false },
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *claims = xasprintf("{" ISS ",%s}", cases[i].claims);
        struct acc_jwt t AUTO(acc_jwt_release) = { .header = NULL };

        CHECK_OK(parse(RS256, claims, &t, &err));
        if (cases[i].good)
            CHECK_OK(acc_jwt_check(&t, "s", INT64_C(1000) * 1000000000, &err));
        else
            CHECK_ERR(acc_jwt_check(&t, "s", INT64_C(1000) * 1000000000, &err),
                      ERR_DENIED);
        free(claims);
    }
}
