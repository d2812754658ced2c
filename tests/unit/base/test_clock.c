/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include "tests/unit/unit.h"

#define S INT64_C(1000000000)

TEST(test_clock__text)
{
    char out[CLOCK_TEXT_BYTES];

    CHECK_STR(clock_text(0, out), "1970-01-01T00:00:00.000Z");
    CHECK_STR(clock_text(INT64_C(1777629600) * S + 123456789, out),
              "2026-05-01T10:00:00.123Z");
    CHECK_STR(clock_text(-1, out), "1969-12-31T23:59:59.999Z");
    CHECK_STR(clock_text(INT64_MIN, out), "1677-09-21T00:12:43.145Z");
    CHECK_STR(clock_text(INT64_MAX, out), "2262-04-11T23:47:16.854Z");
}

TEST(test_clock__parse)
{
    static const struct {
        const char *text;
        int64_t ns;
    } cases[] = {
        { "1970-01-01", 0 },
        { "1970-01-01T00:00:00Z", 0 },
        { "2026-05-01T10:00:00Z", INT64_C(1777629600) * S },
        { "2026-05-01T12:00:00+02:00", INT64_C(1777629600) * S },
        { "2026-05-01 04:30:00.5-05:30", INT64_C(1777629600) * S + S / 2 },
        { "2026-05-01t10:00:00.123456789999z", INT64_C(1777629600) * S + 123456789 },
        { "2024-02-29", INT64_C(1709164800) * S },
        { "2000-02-29", INT64_C(951782400) * S },
        { "1969-12-31T23:59:59Z", -S },
        { "2016-12-31T23:59:60Z", INT64_C(1483228800) * S },
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t ns = 1;

        CHECK_OK(clock_parse(cases[i].text, &ns, &err));
        CHECK_INT(ns, cases[i].ns);
    }
}

TEST(test_clock__parse_refuses)
{
    static const char *const cases[] = {
        "",
        "now",
        "2026",
        "2026-13-01",
        "2026-00-10",
        "2026-02-29",
        "1900-02-29",
        "2026-04-31",
        "2026-5-1",
        "2026-05-01T",
        "2026-05-01T10:00:00",
        "2026-05-01T10:00Z",
        "2026-05-01T24:00:00Z",
        "2026-05-01T10:60:00Z",
        "2026-05-01T10:00:61Z",
        "2026-05-01T10:00:00.Z",
        "2026-05-01T10:00:00+2:00",
        "2026-05-01T10:00:00+02:60",
        "2026-05-01T10:00:00Zx",
        "2026-05-01x",
        " 2026-05-01",
        "1677-12-31",
        "2262-01-01",
        "9999-12-31",
    };
    struct err err = ERR_INIT;
    int64_t ns;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_ERR(clock_parse(cases[i], &ns, &err), ERR_INVALID);
}

TEST(test_clock__text_reads_back)
{
    struct err err = ERR_INIT;
    char out[CLOCK_TEXT_BYTES];

    for (int64_t day = -106000; day < 106000; day += 97) {
        int64_t want = day * 86400 * S + 7 * S, got = 0;

        CHECK_OK(clock_parse(clock_text(want, out), &got, &err));
        CHECK_INT(got, want);
    }
}

TEST(test_clock__clocks_run)
{
    int64_t a = clock_mono_ns();

    CHECK(clock_mono_ns() >= a);
    CHECK(clock_now_ns() > INT64_C(1700000000) * S);
}

TEST(test_clock__spans)
{
    static const struct {
        const char *text;
        int64_t want_s; /* -1: refused */
    } cases[] = { { "30d", 30 * 86400 }, { "4w", 28 * 86400 }, { "12h", 12 * 3600 },
                  { "90m", 5400 },       { "45s", 45 },        { "0", 0 },
                  { "0d", 0 },           { "", -1 },           { "d", -1 },
                  { "30", -1 },          { "-1d", -1 },        { "1.5d", -1 },
                  { "30 d", -1 },        { "30days", -1 },     { "9999999999d", -1 },
                  { "999999999w", -1 } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = ERR_INIT;
        int64_t got = 0;

        if (cases[i].want_s < 0) {
            CHECK_ERR(clock_parse_span(cases[i].text, &got, &err), ERR_INVALID);
            continue;
        }
        CHECK_OK(clock_parse_span(cases[i].text, &got, &err));
        CHECK_INT(got, cases[i].want_s * S);
    }
}
