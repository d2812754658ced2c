/* SPDX-License-Identifier: Apache-2.0 */
/* A While whose body is one step of a recurrent layer, as Keras writes it: found in the
 * plan of the body (rt_pass_rnn.c), run as one kernel (ops/rnn_loop.c). All numbers are
 * arguments of the body, which are those of the While. */
#ifndef RUNTIME_RT_RNN_H
#define RUNTIME_RT_RNN_H

#include "runtime/rt_kernel.h"

enum rt_rnn_kind { RT_RNN_LSTM, RT_RNN_GRU, RT_RNN_SIMPLE };

/* An argument, or the value of the variable that is one; `part` >= 0: that row of
 * n_parts. arg < 0: there is none. */
struct rt_rnn_source {
    int arg, part, n_parts;
    bool is_var;
};

struct rt_rnn {
    enum rt_rnn_kind kind;
    int n_args;
    bool *counts; /* per argument: one more after each step */
    int time;     /* which element of `list` is read */
    int list, out;
    int64_t out_at; /* the element of `out` that is written; < 0: as `time` */
    int h, c;       /* states; c: LSTM */
    /* Where an element of list `mask` is false, states stay and the output is that of
     * argument `before`. mask < 0: none. Argument `last` (< 0: none) becomes the
     * output; it may be `before`. */
    int mask, before, last;
    int64_t mask_width; /* the masks' row is repeated so often; 1: broadcast */
    bool relu;          /* RT_RNN_SIMPLE: instead of tanh */
    int64_t units;      /* that the body itself says there are; 0: it does not */
    struct rt_rnn_source kernel, recurrent, bias, bias_h; /* bias_h: GRU */
};

/* The plan of a condition: argument less[0] < argument less[1] (< 0: than limit), and
 * the same of the second pair, where there is one (else less[0] is -1). */
struct rt_rnn_cond {
    int less[2][2];
    int64_t limit[2];
};

struct rt_run;
/* Runs what is left of the loop from `vars` and sets all outputs: 1. 0: shapes or
 * dtypes are not those of such a layer; nothing has been done. */
int rt_rnn_run(struct rt_ctx *ctx, const struct rt_rnn *r, const struct rt_rnn_cond *c,
               struct err *err) MUST_CHECK;

#endif
