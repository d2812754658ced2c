/* SPDX-License-Identifier: Apache-2.0 */
#include "base/farmhash.h"
#include "tests/unit/unit.h"

#define CHECK_U64(a, b)                                                                \
    do {                                                                               \
        uint64_t a_ = (a), b_ = (b);                                                   \
        if (a_ != b_)                                                                  \
            unit_fail(__FILE__, __LINE__, "%s is %" PRIu64 ", not %" PRIu64, #a, a_,   \
                      b_);                                                             \
    } while (0)

TEST(test_farmhash__known_hashes)
{
    static const struct {
        const char *s;
        uint64_t want;
    } v[] = {
        { "", 11160318154034397263u },
        { "a", 12917804110809363939u },
        { "abcd", 1897425971756105985u },
        { "0123456789abcdef", 6105018409752412263u },
        { "Hello", 15404698994557526151u },
        { "World", 18308117990299812472u },
    };
    static const struct {
        size_t n;
        uint64_t want;
    } x[] = { { 17, 11306081951414300581u }, { 33, 12270365409943098935u },
              { 64, 6916188127298655160u },  { 65, 4935023790501551929u },
              { 128, 5868382771906808855u }, { 129, 17793147381016297142u } };
    char xs[129];
    memset(xs, 'x', sizeof(xs));
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
        CHECK_U64(farm64(str_of(v[i].s)), v[i].want);
    for (size_t i = 0; i < sizeof(x) / sizeof(x[0]); i++)
        CHECK_U64(farm64((struct str){ xs, x[i].n }), x[i].want);
}

TEST(test_farmhash__cat)
{
    uint64_t hello = farm64(STR_LIT("Hello")), world = farm64(STR_LIT("World"));
    CHECK_U64(farm_cat(hello, world), 16877292868973613377u);
    CHECK_U64(farm_cat(world, hello), 7158413233176775252u);
    CHECK_U64(farm_cat(0, 0), 6351753276682545529u);
    CHECK_U64(farm_cat(0, 1), 12545870214588752817u);
    CHECK_U64(farm_cat(1, 0), 12725806677685968135u);
}

/* A hash of a string in pieces is the hash of the string. */
TEST(test_farmhash__pieces)
{
    char s[700];
    for (size_t i = 0; i < sizeof(s); i++)
        s[i] = (char)(i * i * 31 + i);
    for (size_t n = 0; n <= 330; n += n < 200 ? 1 : 13) {
        uint64_t whole = farm64((struct str){ s, n });
        for (size_t step = 1; step <= 150; step += step < 9 ? 1 : 7) {
            struct farm f;
            farm_init(&f);
            for (size_t at = 0; at < n; at += step)
                farm_add(&f, s + at, n - at < step ? n - at : step);
            CHECK_U64(farm_end(&f), whole);
        }
        for (size_t cut = 0; cut <= n; cut++) {
            struct farm f;
            farm_init(&f);
            farm_add(&f, s, cut);
            CHECK_U64(farm_end(&f), farm64((struct str){ s, cut }));
            farm_add(&f, s + cut, n - cut);
            CHECK_U64(farm_end(&f), whole);
        }
    }
}
