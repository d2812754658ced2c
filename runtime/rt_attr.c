/* SPDX-License-Identifier: Apache-2.0 */
/* What prepare functions may ask for. */
#include "runtime/rt_int.h"

#include <stdarg.h>
#include <stdio.h>

void *
rt_prep_alloc(struct rt_prep *p, size_t size_bytes)
{
    void *m = rt_arena_alloc(&p->mem->arena, size_bytes ? size_bytes : 1, 64);
    if (!m)
        BUG("out of memory for a plan"); /* sizes come from attributes read from memory
                                          */
    memset(m, 0, size_bytes);
    return m;
}

void
rt_prep_on_free(struct rt_prep *p, void (*drop)(void *), void *arg)
{
    struct rt_drop *d = rt_prep_alloc(p, sizeof(*d));
    *d = (struct rt_drop){ drop, arg, p->mem->drops };
    p->mem->drops = d;
}

static int PRINTF(4, 0) fail_node(struct err *err, const struct rt_node *n,
                                  enum err_code code, const char *fmt, va_list ap)
{
    char msg[2048];
    vsnprintf(msg, sizeof(msg), fmt, ap);
    if (n->func)
        return err_set(err, code, "node '%s' (%s, function '%s'): %s", n->name, n->op,
                       n->func, msg);
    return err_set(err, code, "node '%s' (%s): %s", n->name, n->op, msg);
}

int
rt_prep_fail(struct rt_prep *p, enum err_code code, const char *fmt, ...)
{
    if (p->err->code == ERR_OK) {
        va_list ap;
        va_start(ap, fmt);
        fail_node(p->err, p->node, code, fmt, ap);
        va_end(ap);
    }
    return -(int)p->err->code;
}

int
rt_prep_done(const struct rt_prep *p)
{
    return -(int)p->err->code;
}

int
rt_fail(const struct rt_ctx *ctx, struct err *err, enum err_code code, const char *fmt,
        ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = fail_node(err, ctx->node, code, fmt, ap);
    va_end(ap);
    return rc;
}

int
rt_fail_dtype(const struct rt_ctx *ctx, struct err *err, int dtype)
{
    return rt_fail(ctx, err, ERR_UNSUPPORTED, "does not take dtype %s",
                   rt_dtype_text(dtype));
}

/* ---- attributes ------------------------------------------------------------------ */

/* 1 found, 0 absent or wrong (then p->err is set). */
static int
find(struct rt_prep *p, const char *name, enum sm_attr_kind kind, bool required,
     struct sm_attr *a)
{
    if (!sm_node_attr(p->sm, name, a)) {
        if (required)
            rt_prep_fail(p, ERR_CORRUPT, "attribute '%s' is missing", name);
        return 0;
    }
    if (a->kind == kind)
        return 1;
    if (a->kind == SM_ATTR_PLACEHOLDER)
        rt_prep_fail(p, ERR_UNSUPPORTED,
                     "attribute '%s' is a placeholder of a polymorphic "
                     "function",
                     name);
    else
        rt_prep_fail(p, ERR_CORRUPT, "attribute '%s' is of another kind", name);
    return 0;
}

int64_t
rt_attr_int(struct rt_prep *p, const char *name, int64_t fallback)
{
    struct sm_attr a;
    return find(p, name, SM_ATTR_I, fallback == RT_REQUIRED, &a) ? a.i : fallback;
}

bool
rt_attr_bool(struct rt_prep *p, const char *name, bool fallback)
{
    struct sm_attr a;
    return find(p, name, SM_ATTR_B, false, &a) ? a.i != 0 : fallback;
}

float
rt_attr_float(struct rt_prep *p, const char *name, float fallback)
{
    struct sm_attr a;
    return find(p, name, SM_ATTR_F, false, &a) ? a.f : fallback;
}

int
rt_attr_type(struct rt_prep *p, const char *name, int64_t fallback)
{
    struct sm_attr a;
    if (!find(p, name, SM_ATTR_TYPE, fallback == RT_REQUIRED, &a))
        return fallback == RT_REQUIRED ? 0 : (int)fallback;
    return (int)(a.i > SM_REF ? a.i - SM_REF : a.i);
}

const char *
rt_attr_str(struct rt_prep *p, const char *name, const char *fallback)
{
    struct sm_attr a;
    if (!find(p, name, SM_ATTR_S, !fallback, &a))
        return fallback ? fallback : "";
    char *s = rt_prep_alloc(p, a.bytes.n + 1);
    if (a.bytes.n > 0)
        memcpy(s, a.bytes.p, a.bytes.n);
    return s;
}

bool
rt_attr_has(struct rt_prep *p, const char *name)
{
    struct sm_attr a;
    return sm_node_attr(p->sm, name, &a);
}

/* A length as the readers of lists give it; -1 is an error. */
static int
list_len(struct rt_prep *p, const char *name, int n)
{
    if (n < 0)
        rt_prep_fail(p, ERR_CORRUPT, "attribute '%s' is malformed", name);
    return n < 0 ? 0 : n;
}

#define LIST_GETTER(fn, type, read)                                                    \
    const type *fn(struct rt_prep *p, const char *name, int *n)                        \
    {                                                                                  \
        struct sm_attr a;                                                              \
        *n = 0;                                                                        \
        if (!find(p, name, SM_ATTR_LIST, false, &a) ||                                 \
            (*n = list_len(p, name, read(&a, NULL, 0))) == 0)                          \
            return NULL;                                                               \
        type *v = rt_prep_alloc(p, (size_t)*n * sizeof(*v));                           \
        *n = read(&a, v, *n);                                                          \
        return v;                                                                      \
    }
LIST_GETTER(rt_attr_ints, int64_t, sm_attr_ints)
LIST_GETTER(rt_attr_floats, float, sm_attr_floats)
LIST_GETTER(rt_attr_types, int, sm_attr_types)
LIST_GETTER(rt_attr_strs, struct str, sm_attr_strs)

const struct sm_shape *
rt_attr_shapes(struct rt_prep *p, const char *name, int *n)
{
    const struct str *raw = rt_attr_strs(p, name, n);
    struct sm_shape *v = rt_prep_alloc(p, (size_t)*n * sizeof(*v));
    for (int i = 0; i < *n && p->err->code == ERR_OK; i++)
        if (sm_shape_parse(raw[i], &v[i], p->err) < 0)
            err_ctx(p->err, "node '%s' (%s): attribute '%s'", p->node->name,
                    p->node->op, name);
    return v;
}

struct sm_shape
rt_attr_shape(struct rt_prep *p, const char *name)
{
    struct sm_shape s = { .unknown_rank = true };
    struct sm_attr a;
    if (find(p, name, SM_ATTR_SHAPE, false, &a) && p->err->code == ERR_OK &&
        sm_shape_parse(a.bytes, &s, p->err) < 0)
        err_ctx(p->err, "node '%s' (%s): attribute '%s'", p->node->name, p->node->op,
                name);
    return s;
}
