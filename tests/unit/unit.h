/* SPDX-License-Identifier: Apache-2.0 */
/* A test is TEST(test_repo_ref__stale_old_value_conflicts) { ... }; it registers
 * itself. A failed CHECK ends the test and says where. Prints TAP. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include "base/err.h"

#include <inttypes.h>
#include <string.h>

void unit_register(const char *name, void (*fn)(void));
void unit_fail(const char *file, int line, const char *fmt, ...) PRINTF(3, 4)
    __attribute__((noreturn));
/* Ends the test as skipped. */
void unit_skip(const char *fmt, ...) PRINTF(1, 2) __attribute__((noreturn));
/* A fresh directory for this test, removed when it passes. */
const char *unit_dir(void);
/* An absolute path below the source tree's tests/data. */
const char *unit_data(const char *name);

#define TEST(name)                                                                     \
    static void name(void);                                                            \
    __attribute__((constructor)) static void register_##name(void)                     \
    {                                                                                  \
        unit_register(#name, name);                                                    \
    }                                                                                  \
    static void name(void)

#define CHECK(cond)                                                                    \
    do {                                                                               \
        if (!(cond))                                                                   \
            unit_fail(__FILE__, __LINE__, "%s", #cond);                                \
    } while (0)
#define CHECK_INT(a, b)                                                                \
    do {                                                                               \
        intmax_t a_ = (intmax_t)(a), b_ = (intmax_t)(b);                               \
        if (a_ != b_)                                                                  \
            unit_fail(__FILE__, __LINE__, "%s is %jd, not %jd", #a, a_, b_);           \
    } while (0)
#define CHECK_STR(a, b)                                                                \
    do {                                                                               \
        const char *a_ = (a), *b_ = (b);                                               \
        if (!a_ || !b_ || strcmp(a_, b_) != 0)                                         \
            unit_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #a,              \
                      a_ ? a_ : "(null)", b_ ? b_ : "(null)");                         \
    } while (0)
/* `call` uses a `struct err err` in scope and must return >= 0. */
#define CHECK_OK(call)                                                                 \
    do {                                                                               \
        if ((call) < 0)                                                                \
            unit_fail(__FILE__, __LINE__, "%s: %s", #call, err.msg);                   \
    } while (0)
/* The return value, err.code and a message agree; err is cleared. */
#define CHECK_ERR(call, want)                                                          \
    do {                                                                               \
        int r_ = (call);                                                               \
        if (r_ != -(int)(want) || err.code != (want) || !err.msg[0])                   \
            unit_fail(__FILE__, __LINE__, "%s gave %d, %s \"%s\", not %s", #call, r_,  \
                      err_name(err.code), err.msg, err_name(want));                    \
        err_clear(&err);                                                               \
    } while (0)

#endif
