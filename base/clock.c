/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)
#define S_PER_DAY INT64_C(86400)

static int64_t
read_clock(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts) < 0)
        BUG("clock_gettime(%d)", (int)id);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

#ifdef TEST_FAULT
static int64_t
test_shift_ns(bool boot)
{
    const char *text = getenv("TEST_CLOCK");
    long long shift[2] = { 0, 0 };

    if (text && sscanf(text, "%lld:%lld", &shift[0], &shift[1]) != 2)
        BUG("TEST_CLOCK=%s is not wall:boot", text);
    return shift[boot] * NS_PER_S;
}
#else
static int64_t
test_shift_ns(bool boot)
{
    (void)boot;
    return 0;
}
#endif

int64_t
clock_now_ns(void)
{
    return read_clock(CLOCK_REALTIME) + test_shift_ns(false);
}

int64_t
clock_boot_ns(void)
{
    return read_clock(CLOCK_BOOTTIME) + test_shift_ns(true);
}

int64_t
clock_mono_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

const char *
clock_text(int64_t time_ns, char out[CLOCK_TEXT_BYTES])
{
    int64_t ns = time_ns % NS_PER_S;
    time_t s = time_ns / NS_PER_S;
    struct tm tm;
    size_t len;

    if (ns < 0) { /* before 1970 the fraction still counts upwards */
        ns += NS_PER_S;
        s--;
    }
    if (!gmtime_r(&s, &tm))
        BUG("no calendar date for %lld s", (long long)s);
    len = strftime(out, CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + len, CLOCK_TEXT_BYTES - len, ".%03uZ",
             (unsigned)(ns / 1000000) % 1000);
    return out;
}

/* n digits at *p, which moves behind them; -1: something else stands there. */
static int
digits(const char **p, int n)
{
    int v = 0;

    for (int i = 0; i < n; i++) {
        if (**p < '0' || **p > '9')
            return -1;
        v = v * 10 + (*(*p)++ - '0');
    }
    return v;
}

static bool
skip(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

/* Days from 1970-01-01 of a date of the Gregorian calendar; false: no such day. */
static bool
days_of(int year, int month, int day, int64_t *out)
{
    static const int month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int y = year - 1;
    int64_t days;

    if (month < 1 || month > 12 || day < 1 ||
        day > month_days[month - 1] + (leap && month == 2))
        return false;
    days = INT64_C(365) * year + y / 4 - y / 100 + y / 400; /* before this year */
    for (int m = 0; m < month - 1; m++)
        days += month_days[m] + (leap && m == 1);
    *out = days + day - 1 - 719527; /* 1970-01-01 counts 719527 days by this rule */
    return true;
}

/* "Z" or "+hh:mm" at the end of the text. */
static bool
parse_offset(const char *p, int *out_s)
{
    int sign = *p == '-' ? -1 : 1, hours, minutes;

    if (*p == 'Z' || *p == 'z') {
        *out_s = 0;
        return p[1] == '\0';
    }
    if (!skip(&p, '+') && !skip(&p, '-'))
        return false;
    hours = digits(&p, 2);
    if (hours < 0 || hours > 23 || !skip(&p, ':'))
        return false;
    minutes = digits(&p, 2);
    if (minutes < 0 || minutes > 59)
        return false;
    *out_s = sign * (hours * 3600 + minutes * 60);
    return *p == '\0';
}

/* "hh:mm:ss[.fraction]offset" to nanoseconds of the day in UTC (which may lie outside
 * the day by the offset). A leap second counts as the second after it. */
static bool
parse_time(const char *p, int64_t *out_ns)
{
    int hour, minute, second, offset_s;
    int64_t fraction_ns = 0;

    hour = digits(&p, 2);
    if (hour < 0 || hour > 23 || !skip(&p, ':'))
        return false;
    minute = digits(&p, 2);
    if (minute < 0 || minute > 59 || !skip(&p, ':'))
        return false;
    second = digits(&p, 2);
    if (second < 0 || second > 60)
        return false;
    if (skip(&p, '.')) {
        int64_t unit_ns = NS_PER_S / 10;

        if (*p < '0' || *p > '9')
            return false;
        for (; *p >= '0' && *p <= '9'; p++, unit_ns /= 10)
            fraction_ns += (*p - '0') * unit_ns;
    }
    if (!parse_offset(p, &offset_s))
        return false;
    *out_ns = (INT64_C(3600) * hour + 60 * minute + second - offset_s) * NS_PER_S +
              fraction_ns;
    return true;
}

int
clock_parse(const char *text, int64_t *out_ns, struct err *err)
{
    const char *p = text;
    int year, month, day;
    int64_t days, time_ns = 0;
    bool ok;

    year = digits(&p, 4);
    ok = year >= 0 && skip(&p, '-');
    month = ok ? digits(&p, 2) : -1;
    ok = month >= 0 && skip(&p, '-');
    day = ok ? digits(&p, 2) : -1;
    ok = day >= 0 && days_of(year, month, day, &days);
    if (ok && *p != '\0')
        ok = (skip(&p, 'T') || skip(&p, 't') || skip(&p, ' ')) &&
             parse_time(p, &time_ns);
    if (!ok)
        return err_set(err, ERR_INVALID,
                       "'%s' is no time: wanted 2026-05-01T10:00:00Z, "
                       "2026-05-01T12:00:00+02:00 or 2026-05-01",
                       text);
    /* what int64_t nanoseconds hold, in whole years */
    if (year < 1678 || year > 2261)
        return err_set(err, ERR_INVALID, "'%s' is outside the years 1678 to 2261",
                       text);
    *out_ns = days * S_PER_DAY * NS_PER_S + time_ns;
    return 0;
}

int
clock_parse_span(const char *text, int64_t *out_ns, struct err *err)
{
    static const char units[] = "smhdw";
    static const int64_t unit_s[] = { 1, 60, 3600, S_PER_DAY, 7 * S_PER_DAY };
    const char *unit;
    int64_t n = 0;
    size_t i = 0;

    for (; text[i] >= '0' && text[i] <= '9' && i < 9; i++)
        n = 10 * n + (text[i] - '0');
    unit = text[i] ? strchr(units, text[i]) : NULL;
    if (i > 0 && n == 0 && !text[i]) {
        *out_ns = 0;
        return 0;
    }
    if (i == 0 || !unit || text[i + 1] ||
        n > INT64_MAX / NS_PER_S / unit_s[unit - units])
        return err_set(err, ERR_INVALID,
                       "'%s' is no length of time: a number and s, m, h, d or w, such "
                       "as 30d",
                       text);
    *out_ns = n * unit_s[unit - units] * NS_PER_S;
    return 0;
}
