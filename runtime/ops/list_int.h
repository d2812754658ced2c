/* SPDX-License-Identifier: Apache-2.0 */
/* What TensorList (list.c) and TensorArray (list_array.c) share. An element may be
 * missing; then it reads as zeros of its shape, where that is known. */
#ifndef RUNTIME_OPS_LIST_INT_H
#define RUNTIME_OPS_LIST_INT_H

#include "runtime/rt_int.h"
#include "runtime/rt_ops.h"

struct rt_list {
    struct rt_obj obj;
    int dtype;
    struct sm_shape shape; /* of an element, as far as it is known */
    struct rt_buf *room;   /* holds v */
    struct rt_tensor *v;   /* buf NULL: missing */
    int64_t n, cap, most;  /* most: < 0 without a limit */
    bool grows;            /* TensorArray dynamic_size */
};

extern const struct rt_obj_type list_type, list_array_type;

struct rt_list *list_new(const struct rt_obj_type *type, int dtype,
                         const struct sm_shape *shape);
/* To n elements; new ones are missing. */
int list_resize(const struct rt_ctx *ctx, struct rt_list *l, int64_t n,
                struct err *err) MUST_CHECK;
void list_set(struct rt_list *l, int64_t i, const struct rt_tensor *t);

/* Input i as a shape: a vector, -1 for what is not known, or a scalar -1. */
int list_shape_in(const struct rt_ctx *ctx, int i, struct sm_shape *s,
                  struct err *err) MUST_CHECK;
/* Input i, an int32 or int64 scalar. */
int list_scalar_in(const struct rt_ctx *ctx, int i, int64_t *v,
                   struct err *err) MUST_CHECK;
bool list_fits(const struct sm_shape *s, int rank, const int64_t *dims);
bool list_is_known(const struct sm_shape *s);
int list_bad_shape(const struct rt_ctx *ctx, struct err *err, const struct sm_shape *s,
                   int rank, const int64_t *dims);
/* Dtype and shape as the list wants its elements. */
int list_check_item(const struct rt_ctx *ctx, const struct rt_list *l,
                    const struct rt_tensor *t, struct err *err) MUST_CHECK;
/* A lent view of rows begin … begin + n of t, or, with `drop`, of one without its first
 * dimension. */
struct rt_tensor list_rows(const struct rt_tensor *t, int64_t begin, int64_t n,
                           bool drop);

/* Output i: element k. */
int list_give(struct rt_ctx *ctx, int i, const struct rt_list *l, int64_t k,
              const struct sm_shape *want, struct err *err) MUST_CHECK;
/* Output 0: elements indices[k] (NULL: all, in order) stacked. */
int list_stack(struct rt_ctx *ctx, const struct rt_list *l,
               const struct rt_tensor *indices, const struct sm_shape *want,
               struct err *err) MUST_CHECK;
/* Outputs 0 and 1: elements one behind the other along their first dimension, and its
 * sizes. */
int list_concat(struct rt_ctx *ctx, const struct rt_list *l,
                const struct sm_shape *want, struct err *err) MUST_CHECK;
/* The elements of l from rows of t, as many each as `lengths` says. */
int list_split(struct rt_ctx *ctx, struct rt_list *l, const struct rt_tensor *t,
               const struct rt_tensor *lengths, struct err *err) MUST_CHECK;

#endif
