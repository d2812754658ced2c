/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_OPS_TABLE_INT_H
#define RUNTIME_OPS_TABLE_INT_H

#include "runtime/rt_int.h"
#include "runtime/rt_ops.h"

struct table_content {
    int refs;              /* atomic */
    struct rt_names index; /* key to row */
    struct str *keys;
    char *values;
    int n, cap;
    bool initialised;
    struct rt_arena arena; /* bytes of keys and of string values */
};

struct rt_table {
    struct rt_obj obj;
    pthread_mutex_t lock;
    char *name;
    int key_dtype, value_dtype;
    struct sm_shape key_shape, value_shape; /* of one; both known */
    int64_t key_elems, value_elems;
    size_t value_bytes;
    bool is_mutable;
    struct table_content *c;
};

/* The table of input 0, lent. NULL with err set. */
struct rt_table *table_in(const struct rt_ctx *ctx, struct err *err);
struct str table_key_at(const struct rt_table *t, const struct rt_tensor *keys,
                        int64_t i);
struct table_content *table_content_new(void);
/* For tables that can be filled only once: a second, different value for a key is an
 * error. */
int table_put_once(struct rt_ctx *ctx, const struct rt_table *t,
                   struct table_content *c, struct str key, const char *value,
                   struct err *err) MUST_CHECK;
/* Gives the table its contents, which are taken; a table that has some already is left
 * as it is. With rc < 0 it only frees them and returns rc. */
int table_install(struct rt_table *t, struct table_content *c, int rc);

#endif
