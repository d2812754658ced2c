/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers of Python source share: pieces of it, and calls with arguments. */
#ifndef SAVEDMODEL_SM_EXPR_INT_H
#define SAVEDMODEL_SM_EXPR_INT_H

#include "savedmodel/sm_int.h"

/* ---- pieces of source (sm_source.c) ---- */

struct str sm_src_trim(struct str s);
/* Cuts it off the front of *s; false: something else stands there. */
bool sm_src_take(struct str *s, const char *prefix);
struct str sm_src_word(struct str *s); /* letters, digits and "_"; may be empty */
/* Cuts off what stands before the first character of `stop` outside brackets and
 * quotes; false: it does not come. */
bool sm_src_until(struct str *s, const char *stop, struct str *out);
/* The text inside a bracket that begins and one that ends *s, items between commas:
 * 1 item, 0 end, -1 an empty one. */
int sm_src_item(struct str *s, struct str *out);

/* ---- NumPy's legacy generator (sm_random.c) ---- */

struct sm_random {
    uint32_t key[624];
    int at;
    bool has_spare;
    double spare;
    uint32_t cut; /* what is left of a draw that gave small integers */
    int n_cut;
};
void sm_random_seed(struct sm_random *r, uint32_t seed);
double sm_random_unit(struct sm_random *r);   /* [0, 1) */
double sm_random_normal(struct sm_random *r); /* mean 0, deviation 1 */
/* 0 … most, drawn for an integer type of `bits` (1, 8, 16, 32, 64). */
uint64_t sm_random_below(struct sm_random *r, uint64_t most, int bits);

/* ---- calls (sm_expr.c, sm_expr_np.c) ---- */

#define SM_EXPR_ARGS_MAX 16
#define SM_EXPR_ELEMENTS_MAX ((int64_t)1 << 26)

struct sm_call {
    const char *name;
    struct str args[SM_EXPR_ARGS_MAX]; /* n = 0: not given */
    int n;                             /* given by place */
    struct sm_random *random;
    int depth;
    struct err *err;
};
struct sm_np_function {
    const char *name;
    const char *params; /* names, blank-separated; NULL: any number of lengths */
    int (*fn)(struct sm_call *c, struct sm_tensor *out);
};
extern const struct sm_np_function
    sm_expr_functions[];                            /* np.NAME; the last has no name */
extern const struct sm_np_function sm_expr_draws[]; /* RandomState(n).NAME */

/* Argument i is there and not None. */
bool sm_arg_given(const struct sm_call *c, int i);
int sm_arg_value(struct sm_call *c, int i, struct sm_tensor *out) MUST_CHECK;
/* As numbers; absent: the fallback. */
int sm_arg_double(struct sm_call *c, int i, double fallback, double *v) MUST_CHECK;
int sm_arg_int(struct sm_call *c, int i, int64_t fallback, int64_t *v) MUST_CHECK;
int sm_arg_dtype(struct sm_call *c, int i, int fallback, int *dtype) MUST_CHECK;
/* An int or a list of them as a shape of at most SM_EXPR_ELEMENTS_MAX elements. */
int sm_arg_shape(struct sm_call *c, int i, struct sm_shape *out) MUST_CHECK;
int sm_arg_missing(struct sm_call *c, const char *what) MUST_CHECK;
/* ERR_LIMIT when the shape has too many elements. */
int sm_expr_alloc(struct sm_call *c, int dtype, const struct sm_shape *s,
                  struct sm_tensor *out) MUST_CHECK;
bool sm_is_integer(int dtype); /* bool is none */
/* As NumPy converts values: to integers by cutting off, to bool by != 0. wraps:
 * integers lose their high bits (astype); otherwise, and for a float outside the type,
 * which C does not define, ERR_INVALID. */
int sm_expr_convert(struct sm_tensor *t, int dtype, bool wraps,
                    struct err *err) MUST_CHECK;

#endif
