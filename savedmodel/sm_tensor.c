/* SPDX-License-Identifier: Apache-2.0 */
/* Dtypes, shapes, and the owning or borrowing tensor value. */
#include "savedmodel/sm_int.h"

#include <inttypes.h>
#include <stdlib.h>

#define TENSOR_MAX_BYTES ((int64_t)1 << 40)

static const struct sm_dtype_info dtypes[SM_DTYPE_END] = {
#define SM_DTYPE(id, name, tf_name, bytes, descr)                                      \
    [id] = { "DT_" #name, tf_name, bytes, descr },
#include "savedmodel/dtype.def"
#undef SM_DTYPE
};

static const char *const ref_names[SM_DTYPE_END] = {
#define SM_DTYPE(id, name, tf_name, bytes, descr) [id] = "DT_" #name "_REF",
#include "savedmodel/dtype.def"
#undef SM_DTYPE
};

static bool
is_known(int dtype)
{
    return dtype > 0 && dtype < SM_DTYPE_END && dtypes[dtype].enum_name;
}

const struct sm_dtype_info *
sm_dtype_info(int dtype)
{
    int base = dtype > SM_REF ? dtype - SM_REF : dtype;
    return is_known(base) ? &dtypes[base] : NULL;
}

const char *
sm_dtype_name(int dtype)
{
    if (dtype == SM_INVALID)
        return "DT_INVALID";
    if (is_known(dtype))
        return dtypes[dtype].enum_name;
    if (dtype > SM_REF && is_known(dtype - SM_REF))
        return ref_names[dtype - SM_REF];
    return "unknown dtype";
}

bool
sm_shape_eq(const struct sm_shape *a, const struct sm_shape *b)
{
    return a->unknown_rank == b->unknown_rank && a->rank == b->rank &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof(a->dims[0])) == 0;
}

void
sm_shape_text(const struct sm_shape *s, struct buf *out)
{
    if (s->unknown_rank) {
        buf_adds(out, "unknown_rank");
        return;
    }
    buf_addc(out, '(');
    for (int i = 0; i < s->rank; i++)
        buf_addf(out, "%s%" PRId64, i ? ", " : "", s->dims[i]);
    buf_addc(out, ')');
}

int
sm_shape_count(const struct sm_shape *s, int64_t *n, struct err *err)
{
    int64_t r = 1;
    bool empty = false, over = false;
    if (s->unknown_rank)
        return err_set(err, ERR_CORRUPT, "the shape's rank is unknown");
    for (int i = 0; i < s->rank; i++) {
        if (s->dims[i] < 0)
            return err_set(err, ERR_CORRUPT, "dimension %d of the shape is %" PRId64, i,
                           s->dims[i]);
        empty |= s->dims[i] == 0;
        over |= __builtin_mul_overflow(r, s->dims[i], &r);
    }
    if (over && !empty)
        return err_set(err, ERR_LIMIT, "the shape has more than 2^63 elements");
    *n = empty ? 0 : r;
    return 0;
}

/* Everything of *t but the data. */
static int
set_shape(struct sm_tensor *t, int dtype, int rank, const int64_t *dims,
          struct err *err)
{
    if (rank < 0 || rank > SM_MAX_RANK)
        return err_set(err, ERR_LIMIT, "rank %d: at most %d dimensions", rank,
                       SM_MAX_RANK);
    struct sm_shape s = { .rank = rank };
    for (int i = 0; i < rank; i++)
        s.dims[i] = dims[i];
    *t = (struct sm_tensor){ .dtype = dtype, .rank = rank };
    memcpy(t->dims, s.dims, sizeof(t->dims));
    return sm_shape_count(&s, &t->n_elems, err);
}

static size_t
elem_bytes(int dtype)
{
    const struct sm_dtype_info *info = sm_dtype_info(dtype);
    if (!info || dtype > SM_REF)
        return 0;
    return dtype == SM_STRING ? sizeof(struct str) : info->size_bytes;
}

int
sm_tensor_alloc(struct sm_tensor *t, int dtype, int rank, const int64_t *dims,
                struct err *err)
{
    *t = (struct sm_tensor){ .data = NULL };
    size_t unit = elem_bytes(dtype);
    if (unit == 0)
        return err_set(err, ERR_UNSUPPORTED, "%s (%d) has no plain values",
                       sm_dtype_name(dtype), dtype);
    struct sm_tensor r;
    int rc = set_shape(&r, dtype, rank, dims, err);
    if (rc < 0)
        return rc;
    if (r.n_elems > TENSOR_MAX_BYTES / (int64_t)unit)
        return err_set(err, ERR_LIMIT, "a tensor of %" PRId64 " elements of %s",
                       r.n_elems, sm_dtype_name(dtype));
    r.data = r.owned = calloc(r.n_elems ? (size_t)r.n_elems : 1, unit);
    if (!r.owned)
        return err_set(err, ERR_LIMIT, "no memory for %" PRId64 " elements of %s",
                       r.n_elems, sm_dtype_name(dtype));
    *t = r;
    return 0;
}

void
sm_tensor_release(struct sm_tensor *t)
{
    free(t->owned);
    *t = (struct sm_tensor){ .data = NULL };
}

int
sm_tensor_strings(struct sm_tensor *t, int rank, const int64_t *dims,
                  const struct str *v, struct err *err)
{
    *t = (struct sm_tensor){ .data = NULL };
    struct sm_tensor r;
    int rc = set_shape(&r, SM_STRING, rank, dims, err);
    if (rc < 0)
        return rc;
    size_t total;
    if (__builtin_mul_overflow((size_t)r.n_elems, sizeof(struct str), &total) ||
        total > (size_t)TENSOR_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "%" PRId64 " strings", r.n_elems);
    for (int64_t i = 0; i < r.n_elems; i++) {
        if (__builtin_add_overflow(total, v[i].n, &total) ||
            total > (size_t)TENSOR_MAX_BYTES)
            return err_set(err, ERR_LIMIT,
                           "%" PRId64 " strings of more than %" PRId64 " bytes",
                           r.n_elems, TENSOR_MAX_BYTES);
    }
    r.owned = malloc(total ? total : 1);
    if (!r.owned)
        return err_set(err, ERR_LIMIT, "no memory for %zu bytes of strings", total);
    struct str *to = r.owned;
    char *bytes = (char *)(to + r.n_elems);
    for (int64_t i = 0; i < r.n_elems; i++) {
        if (v[i].n)
            memcpy(bytes, v[i].p, v[i].n);
        to[i] = (struct str){ bytes, v[i].n };
        bytes += v[i].n;
    }
    r.data = to;
    *t = r;
    return 0;
}

int
sm_tensor_copy(struct sm_tensor *out, const struct sm_tensor *t, struct err *err)
{
    if (t->dtype == SM_STRING)
        return sm_tensor_strings(out, t->rank, t->dims, sm_tensor_str(t), err);
    int rc = sm_tensor_alloc(out, t->dtype, t->rank, t->dims, err);
    if (rc < 0)
        return rc;
    if (t->n_elems > 0)
        memcpy(out->data, t->data, sm_tensor_bytes(t));
    return 0;
}

size_t
sm_tensor_bytes(const struct sm_tensor *t)
{
    if (t->dtype != SM_STRING)
        return (size_t)t->n_elems * elem_bytes(t->dtype);
    size_t total = 0;
    for (int64_t i = 0; i < t->n_elems; i++)
        total += sm_tensor_str(t)[i].n;
    return total;
}

const struct str *
sm_tensor_str(const struct sm_tensor *t)
{
    return t->data;
}

static bool
is_clean_bool(struct str b)
{
    for (size_t i = 0; i < b.n; i++) {
        if ((uint8_t)b.p[i] > 1)
            return false;
    }
    return true;
}

int
sm_tensor_of_bytes(struct sm_tensor *t, int dtype, int rank, const int64_t *dims,
                   struct str bytes, struct err *err)
{
    size_t unit = elem_bytes(dtype);
    size_t align = unit > 8 ? 8 : unit;
    if (unit == 0 || dtype == SM_STRING)
        BUG("%s has no fixed size", sm_dtype_name(dtype));
    struct sm_tensor r;
    int rc = set_shape(&r, dtype, rank, dims, err);
    if (rc < 0)
        return rc;
    size_t want;
    if (__builtin_mul_overflow((size_t)r.n_elems, unit, &want) || want != bytes.n)
        BUG("%zu bytes for %" PRId64 " elements", bytes.n, r.n_elems);
    if ((uintptr_t)bytes.p % align == 0 && (dtype != SM_BOOL || is_clean_bool(bytes))) {
        r.data = (void *)(uintptr_t)bytes.p;
        *t = r;
        return 0;
    }
    rc = sm_tensor_alloc(t, dtype, rank, dims, err);
    if (rc < 0)
        return rc;
    if (bytes.n)
        memcpy(t->data, bytes.p, bytes.n);
    if (dtype == SM_BOOL) {
        uint8_t *b = t->data;
        for (size_t i = 0; i < bytes.n; i++)
            b[i] = b[i] != 0;
    }
    return 0;
}

size_t
sm_swap_unit(int dtype)
{
    if (dtype == SM_COMPLEX64)
        return 4;
    if (dtype == SM_COMPLEX128)
        return 8;
    return elem_bytes(dtype);
}

void
sm_swap(void *p, size_t n, size_t unit_bytes)
{
    char *b = p;
    for (size_t i = 0; i < n; i++, b += unit_bytes) {
        for (size_t lo = 0, hi = unit_bytes - 1; lo < hi; lo++, hi--) {
            char c = b[lo];
            b[lo] = b[hi];
            b[hi] = c;
        }
    }
}

bool
sm_utf8_add(struct buf *out, uint32_t c)
{
    static const uint8_t marks[] = { 0, 0xc0, 0xe0, 0xf0 };
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return false;
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    buf_addc(out, (char)(marks[more] | c >> (6 * more)));
    while (more-- > 0)
        buf_addc(out, (char)(0x80 | (c >> (6 * more) & 0x3f)));
    return true;
}

void
sm_tensor_list_release(struct sm_tensor_list *l)
{
    for (int i = 0; i < l->n; i++) {
        free(l->v[i].name);
        sm_tensor_release(&l->v[i].t);
    }
    free(l->v);
    *l = (struct sm_tensor_list){ .v = NULL };
}

void
sm_tensor_list_add(struct sm_tensor_list *l, const char *name, struct sm_tensor *t)
{
    l->v = xreallocarray(l->v, (size_t)l->n + 1, sizeof(*l->v));
    l->v[l->n++] = (struct sm_named_tensor){ .name = xstrdup(name), .t = *t };
    *t = (struct sm_tensor){ .data = NULL };
}

struct sm_tensor *
sm_tensor_list_find(const struct sm_tensor_list *l, const char *name)
{
    for (int i = 0; i < l->n; i++) {
        if (strcmp(l->v[i].name, name) == 0)
            return &l->v[i].t;
    }
    return NULL;
}
