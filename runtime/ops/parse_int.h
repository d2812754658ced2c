/* SPDX-License-Identifier: Apache-2.0 */
/* Reading tf.Example and tf.SequenceExample as TensorFlow's fast parser does: stricter
 * than protocol buffers about what stands where, and forgiving about a length that
 * passes the end of its message (the message ends there). */
#ifndef RUNTIME_OPS_PARSE_INT_H
#define RUNTIME_OPS_PARSE_INT_H

#include "runtime/ops/string_int.h"

#define EX_TAG(field, wire) ((uint8_t)((field) << 3 | (wire)))

/* Each takes from the front of *it; false: malformed. */
bool ex_tag(struct str *it, uint8_t tag); /* false, nothing taken: another tag */
/* A length and the message behind it, cut at the end of *it. */
bool ex_message(struct str *it, struct str *out);
/* A length and as many bytes. */
bool ex_string(struct str *it, struct str *out);
/* Any field but groups. */
bool ex_skip(struct str *it);

/* Where elements go: int64_t, float or struct str (which keep pointing into the input).
 * n counts also what found no room. */
struct ex_sink {
    int dtype;
    bool grows; /* v is malloc'ed */
    char *v;
    int64_t n, cap;
};
void ex_sink_release(struct ex_sink *s);
/* The body of a BytesList, FloatList or Int64List by s->dtype. False: malformed, or a
 * string without room. */
bool ex_list(struct str list, struct ex_sink *s);

/* SM_STRING, SM_FLOAT, SM_INT64 by the tag that begins a Feature; -1: another tag. */
int ex_kind(uint8_t tag);

/* 0: dtype is one of float, int64, string. */
int ex_check_dtypes(struct rt_prep *p, const int *types, int n);
/* Output `out` = sink's elements as dims. */
int ex_out(struct rt_ctx *ctx, int out, const struct ex_sink *s, int rank,
           const int64_t *dims, struct err *err) MUST_CHECK;

#endif
