/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels on strings share. A string is bytes; where an op counts characters
 * they are UTF-8. */
#ifndef RUNTIME_OPS_STRING_INT_H
#define RUNTIME_OPS_STRING_INT_H

#include "runtime/ops/ops_int.h"

static inline struct str
str_at(const struct rt_tensor *t, int64_t i)
{
    return ((const struct str *)t->data)[i];
}

/* Space, \t \n \v \f \r, as absl::ascii_isspace. */
static inline bool
str_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A byte that continues a UTF-8 character. */
static inline bool
utf8_continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Takes one code point from the front of *s (s->n > 0). -1: an ill-formed sequence, of
 * which the longest prefix that could have begun a character is taken (one byte at
 * least). */
int32_t utf8_take(struct str *s);
/* Writes code point c (0 … 0x10ffff) and returns its length. */
int utf8_put(int32_t c, char out[4]);

/* Output i = string tensor of t's shape; *y are its elements. */
int str_out_like(struct rt_ctx *ctx, int i, const struct rt_tensor *t, struct str **y,
                 struct err *err) MUST_CHECK;
/* Moves what `b` gathered (cleared afterwards) into run memory. */
int str_from_buf(struct rt_ctx *ctx, struct buf *b, struct str *out,
                 struct err *err) MUST_CHECK;

/* SipHash-2-4. */
uint64_t str_siphash(const uint64_t key[2], struct str s);

/* Parses all of `s` as TensorFlow's StringToNumber does (blanks around it allowed).
 * out: an element of dtype. False: no such number. */
bool str_to_number(struct str s, int dtype, void *out);

/* The elements of t as TensorFlow prints a tensor, `limit` at each edge (< 0: all). */
int str_summarize(struct rt_ctx *ctx, const struct rt_tensor *t, int64_t limit,
                  struct buf *out, struct err *err) MUST_CHECK;

#endif
