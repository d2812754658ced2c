/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fixed small allocations: abort when memory is out. */
void *xmalloc(size_t size_bytes);
void *xcalloc(size_t n, size_t size_bytes);
void *xrealloc(void *p, size_t size_bytes);
/* n * size_bytes, aborts on overflow too. */
void *xreallocarray(void *p, size_t n, size_t size_bytes);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) PRINTF(1, 2);
void free_ptr(void *pp); /* for AUTO(free_ptr): frees *(void **)pp */

/* A growing byte string. Invariants: data[len] is '\0' whenever data is not NULL;
 * len never passes cap_bytes (0: BUF_CAP_DEFAULT). An append past the cap is dropped
 * and remembered in `over`; who fills a buffer from foreign input asks buf_check. */
struct buf {
    char *data;
    size_t len;
    size_t alloc_bytes;
    size_t cap_bytes;
    bool over;
};
#define BUF_INIT                                                                       \
    {                                                                                  \
        .data = NULL                                                                   \
    }
#define BUF_CAP_DEFAULT ((size_t)1 << 30)

void buf_release(struct buf *b); /* frees; the buffer is empty and reusable */
void buf_clear(struct buf *b);   /* keeps the memory, len = 0, over = false */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
/* Room for n more bytes at data + len; NULL (and `over`) when the cap forbids it.
 * The caller fills it and adds to len. */
char *buf_room(struct buf *b, size_t n);
/* ERR_LIMIT when an append was dropped; `what` names the content. */
int buf_check(const struct buf *b, const char *what, struct err *err) MUST_CHECK;
const char *buf_str(const struct buf *b); /* never NULL; lends until the next append */
char *buf_take(struct buf *b);            /* hands the string over; b is empty again */

/* A borrowed byte slice, not NUL-terminated: a view into a map or a buffer. */
struct str {
    const char *p;
    size_t n;
};
#define STR_LIT(s) ((struct str){ (s), sizeof(s) - 1 })
struct str str_of(const char *s);
char *str_dup(struct str s); /* as xstrndup; s.p may be NULL where s.n is 0 */
bool str_eq(struct str a, struct str b);
bool str_is(struct str a, const char *s);
bool str_is_line(const char *s);         /* no control character is in it */
int str_cmp(struct str a, struct str b); /* bytewise, a prefix sorts first */
/* Number of single-letter edits between two words; more than `cap` says only that it
 * is more. Its time grows as 3^cap. */
int str_distance(struct str a, struct str b, int cap);
/* The text with `to` for each `from` in it, which the caller frees; NULL: there is
 * none.
 */
char *str_replaced(const char *text, const char *from, const char *to);
/* For printf's "%.*s": STR_ARG(s) */
#define STR_ARG(s) (int)((s).n > 0x7fffffff ? 0x7fffffff : (s).n), ((s).p ? (s).p : "")

#endif
