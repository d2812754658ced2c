/* SPDX-License-Identifier: Apache-2.0 */
/* Values in a form that does not depend on how they were written. */
#include "fingerprint/fp_int.h"

#include <stdlib.h>

void
fp_h_u64(struct sha256 *h, uint64_t v)
{
    sha256_add(h, &v, sizeof(v));
}

void
fp_h_str(struct sha256 *h, struct str s)
{
    fp_h_u64(h, s.n);
    sha256_add(h, s.p, s.n);
}

void
fp_h_text(struct sha256 *h, const char *s)
{
    fp_h_str(h, str_of(s));
}

void
fp_h_digest(struct sha256 *h, const struct digest *d)
{
    sha256_add(h, d->b, sizeof(d->b));
}

int
fp_digest_cmp(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct digest));
}

static void
sha_add(void *arg, const void *p, size_t n)
{
    sha256_add(arg, p, n);
}

/* By its digest, since the length of the form is not known beforehand. */
int
fp_h_det(struct sha256 *h, enum fp_type type, struct str msg, struct err *err)
{
    struct sha256 inner;
    struct digest d;
    sha256_init(&inner);
    int rc = fp_det(type, FP_MSG(msg), FP_DET_MEANING,
                    (struct fp_sink){ sha_add, &inner }, err);
    sha256_end(&inner, &d);
    fp_h_digest(h, &d);
    return rc;
}

/* Sizes, or "unknown"; names of dimensions mean nothing. */
void
fp_h_shape(struct sha256 *h, struct str shape)
{
    struct str it = shape, dim;
    uint64_t n = 0;
    if (sm_pb_int(shape, 3, 0) != 0) {
        fp_h_u64(h, UINT64_MAX);
        return;
    }
    while (sm_pb_next_msg(&it, 2, &dim) > 0)
        n++;
    fp_h_u64(h, n);
    while (sm_pb_next_msg(&shape, 2, &dim) > 0)
        fp_h_u64(h, (uint64_t)sm_pb_int(dim, 1, 0));
}

/* ---- constants ---- */

/* Number of elements of a TensorShapeProto; false: unknown or absurd. */
static bool
count_elems(struct str shape, uint64_t *n)
{
    struct str dim;
    *n = 1;
    bool is_empty = false, is_over = false;
    if (sm_pb_int(shape, 3, 0) != 0)
        return false;
    while (sm_pb_next_msg(&shape, 2, &dim) > 0) {
        int64_t d = sm_pb_int(dim, 1, 0);
        if (d < 0)
            return false;
        is_empty |= d == 0;
        is_over |= __builtin_mul_overflow(*n, (uint64_t)d, n);
    }
    if (is_empty)
        *n = 0;
    return is_empty || !is_over;
}

/* The constant as a vector of n elements, where the file gives fewer than its shape
 * has: what comes after repeats the last one, so n beyond those given is enough. */
static void
shorten(struct str raw, uint64_t n, struct buf *out)
{
    struct buf dim AUTO(buf_release) = BUF_INIT;
    sm_pb_put_int(&dim, 1, n);
    sm_pb_put_int(out, 1, (uint64_t)sm_pb_int(raw, 1, 0));
    sm_pb_put_head(out, 2, dim.len + 2);
    sm_pb_put_bytes(out, 2, (struct str){ dim.data, dim.len });
    struct fp_cursor cur = fp_cursor(FP_MSG(raw));
    struct sm_field f;
    struct str field;
    while (fp_next(&cur, &f, &field) > 0) {
        if (f.num > 4)
            buf_add(out, field.p, field.n);
    }
}

/* Elements up to the last one that differs from the one before it. */
static void
hash_elems(struct sha256 *h, const struct sm_tensor *t)
{
    size_t n = (size_t)t->n_elems;
    if (t->dtype == SM_STRING) {
        const struct str *v = sm_tensor_str(t);
        while (n > 1 && str_eq(v[n - 1], v[n - 2]))
            n--;
        fp_h_u64(h, n);
        for (size_t i = 0; i < n; i++)
            fp_h_str(h, v[i]);
        return;
    }
    const char *p = t->data;
    size_t unit = sm_dtype_info(t->dtype)->size_bytes;
    while (n > 1 && memcmp(p + (n - 1) * unit, p + (n - 2) * unit, unit) == 0)
        n--;
    fp_h_str(h, (struct str){ p, n * unit });
}

int
fp_h_const(struct sha256 *h, struct str raw, struct err *err)
{
    struct buf shorter AUTO(buf_release) = { .cap_bytes = raw.n + 64 };
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    struct str shape = sm_pb_bytes(raw, 2), value = raw;
    struct err why = ERR_INIT;
    uint64_t n;
    fp_h_text(h, "const");
    fp_h_u64(h, (uint64_t)sm_pb_int(raw, 1, 0));
    fp_h_shape(h, shape);
    bool is_valid = count_elems(shape, &n);
    if (is_valid && n > raw.n && sm_pb_bytes(raw, 4).n == 0) {
        /* Every value in the file takes at least a byte of it. */
        shorten(raw, raw.n, &shorter);
        value = (struct str){ shorter.data, shorter.len };
    }
    if (!is_valid || sm_tensor_proto(value, &t, &why) < 0) {
        /* No plain value (a resource, a variant, a broken constant): as it is written.
         */
        fp_h_text(h, "raw");
        return fp_h_det(h, FP_M_TensorProto, raw, err);
    }
    hash_elems(h, &t);
    return 0;
}

/* ---- names ---- */

void
fp_names_add(struct fp_names *x, struct str name, int at)
{
    if (x->n == x->cap) {
        x->cap = x->cap ? 2 * x->cap : 32;
        x->v = xreallocarray(x->v, (size_t)x->cap, sizeof(*x->v));
    }
    x->v[x->n++] = (struct fp_name){ name, at };
}

static int
name_cmp(const void *pa, const void *pb)
{
    const struct fp_name *a = pa, *b = pb;
    int r = str_cmp(a->name, b->name);
    return r ? r : (a->at > b->at) - (a->at < b->at);
}

void
fp_names_sort(struct fp_names *x)
{
    if (x->n > 1)
        qsort(x->v, (size_t)x->n, sizeof(*x->v), name_cmp);
}

int
fp_names_find(const struct fp_names *x, struct str name)
{
    int lo = 0, hi = x->n;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (str_cmp(x->v[mid].name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < x->n && str_eq(x->v[lo].name, name) ? x->v[lo].at : -1;
}

void
fp_names_release(struct fp_names *x)
{
    free(x->v);
    *x = (struct fp_names){ .v = NULL };
}

/* ---- resources ---- */

void
fp_uses_add(struct fp_uses *u, struct fp_resource r)
{
    if (u->n == FP_USES_MAX) {
        u->is_over = true;
        return;
    }
    if (u->n == u->cap) {
        u->cap = u->cap ? 2 * u->cap : 16;
        u->v = xreallocarray(u->v, (size_t)u->cap, sizeof(*u->v));
    }
    u->v[u->n++] = r;
}

void
fp_uses_release(struct fp_uses *u)
{
    free(u->v);
    *u = (struct fp_uses){ .v = NULL };
}

static int
resource_cmp(const struct fp_resource *a, const struct fp_resource *b)
{
    int r = str_cmp(a->container, b->container);
    return r ? r : str_cmp(a->name, b->name);
}

static int
use_cmp(const void *pa, const void *pb, void *arg)
{
    const struct fp_uses *u = arg;
    int a = *(const int *)pa, b = *(const int *)pb;
    int r = resource_cmp(&u->v[a], &u->v[b]);
    return r ? r : (a > b) - (a < b);
}

int
fp_h_uses(struct sha256 *h, struct fp_uses *u, struct err *err)
{
    size_t n = (size_t)u->n;
    if (u->is_over)
        return err_set(err, ERR_LIMIT, "resources are named more than %d times",
                       FP_USES_MAX);
    int *sorted AUTO(free_ptr) = xcalloc(n + 1, sizeof(*sorted));
    int *first AUTO(free_ptr) = xcalloc(n + 1, sizeof(*first));
    for (int i = 0; i < u->n; i++)
        sorted[i] = i;
    if (n > 1)
        qsort_r(sorted, n, sizeof(*sorted), use_cmp, u);
    for (size_t i = 0; i < n; i++) {
        bool is_new =
            i == 0 || resource_cmp(&u->v[sorted[i]], &u->v[sorted[i - 1]]) != 0;
        first[sorted[i]] = is_new ? sorted[i] : first[sorted[i - 1]];
    }
    fp_h_str(h, (struct str){ (const char *)first, n * sizeof(*first) });
    u->n = 0;
    for (int i = 0; i < (int)n; i++) {
        if (first[i] == i)
            u->v[u->n++] = u->v[i];
    }
    return 0;
}
