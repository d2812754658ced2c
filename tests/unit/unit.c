/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/fs.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct unit_test {
    const char *name;
    void (*fn)(void);
} tests[1024];
static int n_tests;
static jmp_buf leave;
static enum { PASSED, FAILED, SKIPPED } outcome;
static char why[8192];
static char dir[256];

void
unit_register(const char *name, void (*fn)(void))
{
    if (n_tests == (int)(sizeof tests / sizeof tests[0]))
        abort();
    tests[n_tests++] = (struct unit_test){ name, fn };
}

void
unit_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(why, sizeof why, "%s:%d: ", file, line);
    va_start(ap, fmt);
    vsnprintf(why + n, sizeof why - (size_t)n, fmt, ap);
    va_end(ap);
    outcome = FAILED;
    longjmp(leave, 1);
}

void
unit_skip(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    outcome = SKIPPED;
    longjmp(leave, 1);
}

const char *
unit_dir(void)
{
    if (!dir[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(dir, sizeof dir, "%s/sluice-unit-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(dir))
            abort();
    }
    return dir;
}

const char *
unit_data(const char *name)
{
    static char path[4096];
    char cwd[2048];
    if (!getcwd(cwd, sizeof cwd))
        abort();
    snprintf(path, sizeof path, "%s/tests/data/%s", cwd, name);
    return path;
}

static void
run_one(void (*fn)(void))
{
    outcome = PASSED;
    dir[0] = '\0';
    if (setjmp(leave) == 0)
        fn();
}

/* usage: unit-MODULE [SUBSTRING]...   runs the tests whose name holds one of them */
int
main(int argc, char **argv)
{
    int failed = 0, n = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < n_tests; i++) {
        bool wanted = argc < 2;
        for (int k = 1; k < argc; k++)
            wanted |= strstr(tests[i].name, argv[k]) != NULL;
        if (!wanted)
            continue;
        run_one(tests[i].fn);
        printf("%sok %d - %s%s%s\n", outcome == FAILED ? "not " : "", ++n,
               tests[i].name, outcome == SKIPPED ? " # SKIP " : "",
               outcome == SKIPPED ? why : "");
        if (outcome == FAILED) {
            printf("# %s\n", why);
            failed++;
        }
        if (dir[0] && outcome != FAILED) {
            struct err err = ERR_INIT;
            if (fs_remove_tree(AT_FDCWD, dir, &err) < 0)
                printf("# %s\n", err.msg);
        }
    }
    printf("1..%d\n", n);
    return failed != 0;
}
