/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int exit_status;
} codes[] = {
#define ERR_CODE(name, exit_status, meaning) { #name, exit_status },
#include "base/err.def"
#undef ERR_CODE
};
#define N_CODES ((int)(sizeof(codes) / sizeof(codes[0])))

static void
raise_at(struct err *err, enum err_code code, int sys, const char *file, int line)
{
    if (err->code != ERR_OK)
        bug_at(file, line, "an error is set twice; the first was raised at %s:%d: %s",
               err->file, err->line, err->msg);
    if (code == ERR_OK)
        bug_at(file, line, "an error without a code");
    err->code = code;
    err->sys = sys;
    err->file = file;
    err->line = line;
}

int
err_set_at(struct err *err, enum err_code code, int sys, const char *file, int line,
           const char *fmt, ...)
{
    va_list ap;

    raise_at(err, code, sys, file, line);
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    return -(int)code;
}

int
err_sys_at(struct err *err, int sys, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    const char *why = strerrordesc_np(sys); /* of the C locale, thread-safe */
    size_t len;

    raise_at(err, ERR_IO, sys, file, line);
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    len = strlen(err->msg);
    if (why)
        snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", why);
    else
        snprintf(err->msg + len, sizeof(err->msg) - len, ": errno %d", sys);
    return -(int)ERR_IO;
}

int
err_ctx(struct err *err, const char *fmt, ...)
{
    char old[ERR_MSG_BYTES];
    va_list ap;
    size_t len;

    if (err->code == ERR_OK)
        BUG("context for an error that is not set: %s", fmt);
    memcpy(old, err->msg, sizeof(old));
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    len = strlen(err->msg);
    snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", old);
    return -(int)err->code;
}

void
err_clear(struct err *err)
{
    err->code = ERR_OK;
    err->sys = 0;
    err->file = NULL;
    err->line = 0;
    err->msg[0] = '\0';
}

const char *
err_name(enum err_code code)
{
    return (int)code >= 0 && (int)code < N_CODES ? codes[code].name : "?";
}

int
err_exit_status(enum err_code code)
{
    return (int)code >= 0 && (int)code < N_CODES ? codes[code].exit_status : 1;
}

void
bug_at(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "sluice: BUG at %s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}

void
err_replace(struct err *err, const char *from, const char *to)
{
    char *now AUTO(free_ptr) = str_replaced(err->msg, from, to);

    if (now)
        snprintf(err->msg, sizeof(err->msg), "%s", now);
}
