/* SPDX-License-Identifier: Apache-2.0 */
#include "server/srv_range.h"

#include "tests/unit/unit.h"

#include <stdio.h>

/* "FROM+N FROM+N" of 1000 bytes; "none": 416, "all": the header counts for nothing. */
static void
gives(const char *header, const char *want)
{
    struct srv_range ranges[SRV_RANGES_MAX];
    char got[2000] = "";
    const int n = srv_range_parse(header, 1000, ranges);
    for (int i = 0; i < n; i++) {
        size_t k = strlen(got);
        snprintf(got + k, sizeof got - k, "%s%d+%d", i ? " " : "", (int)ranges[i].from,
                 (int)ranges[i].n_bytes);
    }
    CHECK_STR(n == 0 ? "none" : n < 0 ? "all" : got, want);
}

TEST(test_srv_range__forms)
{
    gives("bytes=0-0", "0+1");
    gives("bytes=0-", "0+1000");
    gives("bytes=999-", "999+1");
    gives("bytes=-1", "999+1");
    gives("bytes=-5000", "0+1000");
    gives("bytes=10-5000", "10+990");
    gives("Bytes=1-2, 5-6 ,\t-3", "1+2 5+2 997+3");
    gives("bytes=1000-", "none");
    gives("bytes=-0", "none");
    gives("bytes=1000-1001,5000-", "none");
    gives("bytes=1000-,0-1", "0+2");
    gives("bytes=99999999999999999999999-", "none");
    gives("bytes=0-99999999999999999999999", "0+1000");
}

TEST(test_srv_range__what_counts_for_nothing)
{
    static const char *const bad[] = { "",           "bytes",         "bytes=",
                                       "bytes=-",    "bytes=a-b",     "items=0-",
                                       "bytes=5",    "bytes=5-4",     "bytes=0-,",
                                       "bytes=0--1", "bytes=0-1 2-3", "bytes=0-,0-" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        gives(bad[i], "all");
    char many[1000] = "bytes=0-0";
    for (int i = 1; i < SRV_RANGES_MAX; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), ",%d-%d", 2 * i,
                 2 * i);
    struct srv_range ranges[SRV_RANGES_MAX];
    CHECK_INT(srv_range_parse(many, 1000, ranges), SRV_RANGES_MAX);
    snprintf(many + strlen(many), sizeof many - strlen(many), ",500-500");
    gives(many, "all");
}
