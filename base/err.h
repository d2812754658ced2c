/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#define AUTO(fn) __attribute__((cleanup(fn)))

enum err_code {
#define ERR_CODE(name, exit_status, meaning) ERR_##name,
#include "base/err.def"
#undef ERR_CODE
};

/* Room for a whole list (all unsupported ops, all gates), so that a failing path
 * never allocates. */
#define ERR_MSG_BYTES 4096

/* One error, on the caller's stack. Invariants: code is ERR_OK until the first
 * failure; only the detector of a failure sets it (a second set is a BUG); callers
 * add context with err_ctx or handle it and call err_clear. `msg` is one line
 * without a final newline: "push fraud: open saved_model.pb: Permission denied"
 * (a list may add lines that begin with two spaces). */
struct err {
    enum err_code code;
    int sys;          /* errno, SQLite extended code or exit status; 0: none */
    const char *file; /* where it was raised; static storage */
    int line;
    char msg[ERR_MSG_BYTES];
};
#define ERR_INIT                                                                       \
    {                                                                                  \
        .code = ERR_OK                                                                 \
    }

/* Each sets `err` and returns -code, so that a detector can `return err_set(...)`. */
#define err_set(err, code, ...)                                                        \
    err_set_at(err, code, 0, __FILE__, __LINE__, __VA_ARGS__)
/* ERR_IO with ": strerror(sys)" after the message. EEXIST, ENOENT and the like keep
 * ERR_IO; a caller that must tell them apart looks at err->sys. */
#define err_sys(err, sys, ...) err_sys_at(err, sys, __FILE__, __LINE__, __VA_ARGS__)

int err_set_at(struct err *err, enum err_code code, int sys, const char *file, int line,
               const char *fmt, ...) PRINTF(6, 7);
int err_sys_at(struct err *err, int sys, const char *file, int line, const char *fmt,
               ...) PRINTF(5, 6);
/* Puts "context: " before the message of a set error; returns -code. */
int err_ctx(struct err *err, const char *fmt, ...) PRINTF(2, 3);
void err_clear(struct err *err);
/* In the message of a set error, `to` for each `from`. */
void err_replace(struct err *err, const char *from, const char *to);
const char *err_name(enum err_code code); /* "NOTFOUND" */
int err_exit_status(enum err_code code);

/* A programmer's error: prints where and aborts. Never for input. */
#define BUG(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)
void bug_at(const char *file, int line, const char *fmt, ...) PRINTF(3, 4)
    __attribute__((noreturn));

#endif
