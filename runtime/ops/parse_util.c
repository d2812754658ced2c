/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/ops/parse_int.h"

#include <stdlib.h>

bool
ex_tag(struct str *it, uint8_t tag)
{
    if (it->n == 0 || (uint8_t)it->p[0] != tag)
        return false;
    it->p++;
    it->n--;
    return true;
}

static struct str
take(struct str *it, size_t n)
{
    struct str s = { it->p, n };
    it->p += n;
    it->n -= n;
    return s;
}

bool
ex_message(struct str *it, struct str *out)
{
    uint64_t n;
    if (!sm_varint(it, &n))
        return false;
    *out = take(it, K_MIN((size_t)(uint32_t)n, it->n));
    return true;
}

bool
ex_string(struct str *it, struct str *out)
{
    uint64_t n;
    if (!sm_varint(it, &n) || (uint32_t)n > it->n)
        return false;
    *out = take(it, (uint32_t)n);
    return true;
}

bool
ex_skip(struct str *it)
{
    uint64_t tag, v;
    struct str s;
    if (!sm_varint(it, &tag))
        return false;
    size_t fixed = (tag & 7) == 1 ? 8 : 4;
    switch (tag & 7) {
    case 0:
        return sm_varint(it, &v);
    case 2:
        return ex_message(it, &s);
    case 1:
    case 5:
        if (it->n < fixed)
            return false;
        take(it, fixed);
        return true;
    default:
        return false;
    }
}

void
ex_sink_release(struct ex_sink *s)
{
    if (s->grows)
        free(s->v);
}

/* Room for n more; false: the sink is full. */
static bool
room(struct ex_sink *s, int64_t n)
{
    if (s->n + n <= s->cap)
        return true;
    if (!s->grows)
        return false;
    s->cap = K_MAX(2 * s->cap, s->n + n);
    s->v = xreallocarray(s->v, (size_t)s->cap, rt_dtype_size(s->dtype));
    return true;
}

static bool
bytes_list(struct str it, struct ex_sink *s)
{
    while (it.n > 0) {
        struct str v;
        if (!ex_tag(&it, EX_TAG(1, 2)) || !ex_string(&it, &v) || !room(s, 1))
            return false;
        ((struct str *)s->v)[s->n++] = v;
    }
    return true;
}

static void
add_floats(struct ex_sink *s, const char *p, int64_t n)
{
    room(s, n);
    int64_t fit = K_MIN(n, K_MAX(s->cap - s->n, (int64_t)0));
    if (fit > 0)
        memcpy(s->v + s->n * 4, p, (size_t)fit * 4);
    s->n += n;
}

static bool
float_list(struct str it, struct ex_sink *s)
{
    struct str packed;
    uint64_t n;
    if (it.n == 0)
        return true;
    if (ex_tag(&it, EX_TAG(1, 2))) {
        if (!sm_varint(&it, &n) || ((uint32_t)n & ~3u) > it.n)
            return false;
        packed = take(&it, (uint32_t)n & ~3u);
        add_floats(s, packed.p, (int64_t)(packed.n / 4));
        return true;
    }
    while (it.n > 0) {
        if (!ex_tag(&it, EX_TAG(1, 5)) || it.n < 4)
            return false;
        packed = take(&it, 4);
        add_floats(s, packed.p, 1);
    }
    return true;
}

static bool
int64_list(struct str it, struct ex_sink *s)
{
    struct str packed;
    uint64_t v;
    bool is_packed = ex_tag(&it, EX_TAG(1, 2));
    if (is_packed && !ex_message(&it, &packed))
        return false;
    if (is_packed)
        it = packed;
    while (it.n > 0) {
        if ((!is_packed && !ex_tag(&it, EX_TAG(1, 0))) || !sm_varint(&it, &v))
            return false;
        if (room(s, 1))
            ((int64_t *)s->v)[s->n] = (int64_t)v;
        s->n++;
    }
    return true;
}

bool
ex_list(struct str list, struct ex_sink *s)
{
    return s->dtype == SM_STRING  ? bytes_list(list, s)
           : s->dtype == SM_FLOAT ? float_list(list, s)
                                  : int64_list(list, s);
}

int
ex_kind(uint8_t tag)
{
    return tag == EX_TAG(1, 2)   ? SM_STRING
           : tag == EX_TAG(2, 2) ? SM_FLOAT
           : tag == EX_TAG(3, 2) ? SM_INT64
                                 : -1;
}

int
ex_check_dtypes(struct rt_prep *p, const int *types, int n)
{
    for (int i = 0; i < n; i++)
        if (types[i] != SM_FLOAT && types[i] != SM_INT64 && types[i] != SM_STRING)
            return rt_prep_fail(p, ERR_FAILED, "Invalid config dtype: %s",
                                rt_dtype_text(types[i]));
    return 0;
}

int
ex_out(struct rt_ctx *ctx, int out, const struct ex_sink *s, int rank,
       const int64_t *dims, struct err *err)
{
    struct rt_tensor *t;
    if (rt_out(ctx, out, s->dtype, rank, dims, &t, err) < 0)
        return -(int)err->code;
    if (t->n_elems > 0)
        memcpy(t->data, s->v, rt_size(t));
    return 0;
}
