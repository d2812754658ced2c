/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crypto.h"

#include "tests/unit/unit.h"

#include <stdlib.h>

TEST(test_crypto__sha256_vectors)
{
    struct digest d;
    struct sha256 s;
    char hex[DIGEST_HEX_BYTES];

    sha256_of("abc", 3, &d);
    digest_hex(&d, hex);
    CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_of("", 0, &d);
    digest_hex(&d, hex);
    CHECK_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_init(&s);
    for (int i = 0; i < 1000000; i += 1000) {
        char a[1000];

        memset(a, 'a', sizeof(a));
        sha256_add(&s, a, sizeof(a));
    }
    sha256_end(&s, &d);
    digest_hex(&d, hex);
    CHECK_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(test_crypto__digest_parse)
{
    static const char text[] =
        "BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    struct digest a, b;

    sha256_of("abc", 3, &a);
    CHECK(digest_parse(str_of(text), &b));
    CHECK(digest_eq(&a, &b));
    b.b[31] ^= 1;
    CHECK(!digest_eq(&a, &b));
    CHECK(!digest_parse((struct str){ text, 63 }, &b));
    CHECK(!digest_parse((struct str){ text, 65 }, &b));
    CHECK(!digest_parse(
        str_of("ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        &b));
    CHECK(!digest_parse(str_of(""), &b));
}

TEST(test_crypto__crc32c)
{
    static const char text[] = "123456789";
    uint8_t zeros[32] = { 0 };

    CHECK_INT(crc32c(0, text, 9), 0xe3069283u);
    CHECK_INT(crc32c(0, zeros, 32), 0x8a9136aau); /* RFC 3720, B.4 */
    CHECK_INT(crc32c(0, "", 0), 0);
    for (size_t cut = 0; cut <= 9; cut++)
        CHECK_INT(crc32c(crc32c(0, text, cut), text + cut, 9 - cut), 0xe3069283u);
    CHECK_INT(crc32c_mask(0), 0xa282ead8u);
    CHECK_INT(crc32c_mask(0xe3069283u), 0xc78ab0e5u);
}

/* RFC 8032, 7.1, tests 1 and 2 */
TEST(test_crypto__ed25519_vectors)
{
    static const struct {
        const char *priv, *pub, *sig;
        const char *text;
    } cases[] = {
        { "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
          "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
          "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a3"
          "3b"
          "acc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
          "" },
        { "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
          "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
          "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15"
          "99"
          "6e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
          "\x72" },
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < 2; i++) {
        struct digest priv, pub, want, half;
        uint8_t sig[64];
        const size_t n = strlen(cases[i].text);
        struct ed25519_key *key AUTO(ed25519_key_close_p) = NULL;

        CHECK(digest_parse(str_of(cases[i].priv), &priv));
        CHECK(digest_parse(str_of(cases[i].pub), &want));
        CHECK_OK(ed25519_public(priv.b, pub.b, &err));
        CHECK(digest_eq(&pub, &want));
        CHECK_OK(ed25519_key_open(&key, priv.b, &err));
        CHECK_OK(ed25519_sign(key, cases[i].text, n, sig, &err));
        for (size_t k = 0; k < 2; k++) {
            CHECK(digest_parse((struct str){ cases[i].sig + 64 * k, 64 }, &half));
            CHECK(memcmp(sig + 32 * k, half.b, 32) == 0);
        }
        CHECK(ed25519_verify(pub.b, cases[i].text, n, sig));
    }
}

TEST(test_crypto__ed25519_refuses_any_change)
{
    struct err err = ERR_INIT;
    uint8_t priv[32], pub[32], other[32], sig[64];
    char text[] = "head 17";

    struct ed25519_key *key AUTO(ed25519_key_close_p) = NULL;

    CHECK_OK(ed25519_new_key(priv, pub, &err));
    CHECK_OK(ed25519_key_open(&key, priv, &err));
    CHECK_OK(ed25519_sign(key, text, 7, sig, &err));
    CHECK(ed25519_verify(pub, text, 7, sig));
    text[6] = '8';
    CHECK(!ed25519_verify(pub, text, 7, sig));
    text[6] = '7';
    CHECK(!ed25519_verify(pub, text, 6, sig));
    sig[10] ^= 1;
    CHECK(!ed25519_verify(pub, text, 7, sig));
    sig[10] ^= 1;
    CHECK_OK(ed25519_new_key(priv, other, &err));
    CHECK(memcmp(pub, other, 32) != 0);
    CHECK(!ed25519_verify(other, text, 7, sig));
}

TEST(test_crypto__base64_vectors)
{
    static const char *const cases[][2] = {
        { "", "" },
        { "f", "Zg==" },
        { "fo", "Zm8=" },
        { "foo", "Zm9v" },
        { "foob", "Zm9vYg==" },
        { "fooba", "Zm9vYmE=" },
        { "foobar", "Zm9vYmFy" },
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf text AUTO(buf_release) = BUF_INIT;
        struct buf back AUTO(buf_release) = BUF_INIT;

        base64_add(&text, cases[i][0], strlen(cases[i][0]));
        CHECK_STR(buf_str(&text), cases[i][1]);
        CHECK_OK(base64_decode(&back, str_of(cases[i][1]), &err));
        CHECK_STR(buf_str(&back), cases[i][0]);
    }
}

TEST(test_crypto__base64_long_round_trip)
{
    struct err err = ERR_INIT;

    for (size_t n = 760; n < 780; n++) {
        struct buf text AUTO(buf_release) = BUF_INIT;
        struct buf back AUTO(buf_release) = BUF_INIT;
        uint8_t bytes[780];

        CHECK_OK(random_bytes(bytes, n, &err));
        base64_add(&text, bytes, n);
        CHECK_OK(base64_decode(&back, (struct str){ text.data, text.len }, &err));
        CHECK_INT(back.len, n);
        CHECK(memcmp(back.data, bytes, n) == 0);
    }
}

TEST(test_crypto__base64_refuses)
{
    static const char *const cases[] = { "Z",     "Zg",       "Zg=",  "=",
                                         "====",  "Zg=a",     "Z===", "Zm9v\n",
                                         " Zm9v", "Zm9v Zm9", "Zm-_", "Zm9vZg==Zm9v" };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf back AUTO(buf_release) = BUF_INIT;

        buf_adds(&back, "kept");
        CHECK_ERR(base64_decode(&back, str_of(cases[i]), &err), ERR_INVALID);
        CHECK_INT(back.len, 4);
    }
}

TEST(test_crypto__base64url)
{
    static const char *const bad[] = { "A",    "AAAAA", "A=",  "AA==",
                                       "A+AA", "A/AA",  "A AA" };
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;

    CHECK_OK(base64url_decode(&out, str_of("-_-_-w"), &err));
    CHECK_INT((long long)out.len, 4);
    CHECK(memcmp(out.data, "\xfb\xff\xbf\xfb", 4) == 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(base64url_decode(&out, str_of(bad[i]), &err), ERR_INVALID);
}

TEST(test_crypto__base64_respects_the_cap)
{
    struct err err = ERR_INIT;
    struct buf back AUTO(buf_release) = { .cap_bytes = 2 };

    CHECK_ERR(base64_decode(&back, STR_LIT("Zm9v"), &err), ERR_LIMIT);
}
