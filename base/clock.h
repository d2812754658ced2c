/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/err.h"

#include <stdint.h>

int64_t clock_now_ns(void);  /* since 1970-01-01T00:00:00Z */
int64_t clock_mono_ns(void); /* for durations */
/* Since the machine started, sleep included: nobody sets it. In builds with
 * -DTEST_FAULT the environment variable TEST_CLOCK=wall:boot moves clock_now_ns and
 * this one by so many seconds. */
int64_t clock_boot_ns(void);
#define CLOCK_TEXT_BYTES 40
/* RFC 3339 in UTC with milliseconds: 2026-05-01T10:00:00.123Z */
const char *clock_text(int64_t time_ns, char out[CLOCK_TEXT_BYTES]);
/* RFC 3339 with an offset, or a date alone (midnight UTC), of the years 1678 to 2261.
 * ERR_INVALID. */
int clock_parse(const char *text, int64_t *out_ns, struct err *err) MUST_CHECK;

/* A length of time as people type it: 30d, 12h, 90m, 45s, 4w, or 0. ERR_INVALID. */
int clock_parse_span(const char *text, int64_t *out_ns, struct err *err) MUST_CHECK;

#endif
