/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rt_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* ---- buffers --------------------------------------------------------------------- */

int
rt_buf_new(struct rt_buf **out, struct rt_mem *m, size_t size_bytes, struct err *err)
{
    *out = rt_mem_take(m, size_bytes);
    if (*out)
        return 0;
    return err_set(err, ERR_LIMIT,
                   "a tensor of %zu bytes: the run would pass %zu bytes", size_bytes,
                   m->cap_bytes);
}

struct rt_buf *
rt_buf_wrap(const void *data, size_t size_bytes, void *owned)
{
    struct rt_buf *b = xcalloc(1, sizeof(*b));
    *b = (struct rt_buf){ .refs = 1,
                          .flags = RT_BUF_RO,
                          .size_bytes = size_bytes,
                          .data = (void *)(uintptr_t)data,
                          .owned = owned };
    return b;
}

void
rt_buf_ref(struct rt_buf *b)
{
    if (b)
        __atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
}

static void
buf_free(struct rt_buf *b)
{
    if (b->flags & RT_BUF_OBJS) {
        struct rt_obj **o = b->data;
        for (size_t i = 0; i < b->size_bytes / sizeof(struct rt_obj *); i++)
            rt_obj_unref(o[i]);
    }
    if (b->mem) {
        rt_mem_give(b);
        return;
    }
    free(b->owned);
    free(b);
}

void
rt_buf_unref(struct rt_buf *b)
{
    if (b && __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) == 0)
        buf_free(b);
}

bool
rt_buf_writable(const struct rt_buf *b)
{
    return b && !(b->flags & RT_BUF_RO) &&
           __atomic_load_n(&b->refs, __ATOMIC_ACQUIRE) == 1;
}

bool
rt_buf_is_weight(const struct rt_buf *b)
{
    return b && (b->flags & RT_BUF_WEIGHT);
}

void
rt_buf_untouch(const struct rt_buf *b, const void *data, size_t size_bytes)
{
    const uintptr_t page = 4096;
    uintptr_t from = ((uintptr_t)data + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)data + size_bytes) & ~(page - 1);
    if (b && (b->flags & RT_BUF_MAPPED) && to > from)
        (void)!madvise((void *)from, to - from, MADV_DONTNEED);
}

/* ---- tensors --------------------------------------------------------------------- */

size_t
rt_dtype_size(int dtype)
{
    switch (dtype) {
    case SM_FLOAT:
    case SM_INT32:
        return 4;
    case SM_STRING:
        return sizeof(struct str);
    case SM_RESOURCE:
    case SM_VARIANT:
        return sizeof(struct rt_obj *);
    default:
        break;
    }
    if (dtype > SM_REF)
        return sizeof(struct rt_obj *);
    const struct sm_dtype_info *d = sm_dtype_info(dtype);
    return d ? d->size_bytes : 0;
}

static bool
holds_objs(int dtype)
{
    return dtype == SM_RESOURCE || dtype == SM_VARIANT || dtype > SM_REF;
}

const char *
rt_dtype_text(int dtype)
{
    switch (dtype > SM_REF ? dtype - SM_REF : dtype) {
    case SM_FLOAT:
        return "float";
    case SM_DOUBLE:
        return "double";
    case SM_HALF:
        return "half";
    default:
        break;
    }
    const struct sm_dtype_info *d = sm_dtype_info(dtype);
    return d ? d->tf_name : "invalid";
}

const char *
rt_dims_text(int rank, const int64_t *dims, char out[RT_SHAPE_TEXT_BYTES])
{
    size_t n = 0;
    out[n++] = '[';
    for (int i = 0; i < rank && i < SM_MAX_RANK; i++) {
        if (dims[i] < 0)
            n +=
                (size_t)snprintf(out + n, RT_SHAPE_TEXT_BYTES - n, "%s?", i ? "," : "");
        else
            n += (size_t)snprintf(out + n, RT_SHAPE_TEXT_BYTES - n, "%s%lld",
                                  i ? "," : "", (long long)dims[i]);
    }
    out[n++] = ']';
    out[n] = '\0';
    return out;
}

const char *
rt_shape_text(const struct rt_tensor *t, char out[RT_SHAPE_TEXT_BYTES])
{
    return rt_dims_text(t->rank, t->dims, out);
}

void
rt_tensor_ref(struct rt_tensor *out, const struct rt_tensor *t)
{
    *out = *t;
    rt_buf_ref(t->buf);
}

void
rt_tensor_unref(struct rt_tensor *t)
{
    rt_buf_unref(t->buf);
    t->dtype = t->rank = 0;
    t->n_elems = 0;
    t->data = NULL;
    t->buf = NULL;
}

int
rt_dims_count(int dtype, int rank, const int64_t *dims, int64_t *n_elems,
              struct err *err)
{
    char text[RT_SHAPE_TEXT_BYTES];
    size_t elem = rt_dtype_size(dtype);
    if (elem == 0)
        return err_set(err, ERR_UNSUPPORTED, "dtype %s has no values here",
                       rt_dtype_text(dtype));
    if (rank < 0 || rank > SM_MAX_RANK)
        return err_set(err, ERR_UNSUPPORTED, "a tensor of rank %d; at most %d", rank,
                       SM_MAX_RANK);
    int64_t n = 1;
    bool over = false, zero = false;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return err_set(err, ERR_FAILED, "shape %s: a dimension must be >= 0",
                           rt_dims_text(rank, dims, text));
        if (dims[i] == 0)
            zero = true;
        over |= __builtin_mul_overflow(n, dims[i] ? dims[i] : 1, &n);
    }
    /* TensorFlow counts 0 before it can overflow; a shape such as [0, 2^62, 2^62] that
     * does is refused all the same. */
    if (over || n > INT64_MAX / (int64_t)elem / 2)
        return err_set(err, ERR_FAILED, "shape %s has too many elements",
                       rt_dims_text(rank, dims, text));
    *n_elems = zero ? 0 : n;
    return 0;
}

int
rt_tensor_make(struct rt_tensor *out, struct rt_mem *m, int dtype, int rank,
               const int64_t *dims, struct err *err)
{
    int64_t n = 0;
    struct rt_buf *b = NULL;
    if (rt_dims_count(dtype, rank, dims, &n, err) < 0 ||
        rt_buf_new(&b, m, (size_t)n * rt_dtype_size(dtype), err) < 0)
        return -(int)err->code;
    if (holds_objs(dtype))
        b->flags |= RT_BUF_OBJS;
    if (holds_objs(dtype) || dtype == SM_STRING)
        memset(b->data, 0, b->size_bytes);
    out->dtype = dtype;
    out->rank = rank;
    if (rank > 0)
        memcpy(out->dims, dims, (size_t)rank * sizeof(dims[0]));
    out->n_elems = n;
    out->data = b->data;
    out->buf = b;
    return 0;
}

int
rt_tensor_of_obj(struct rt_tensor *out, struct rt_mem *m, int dtype, struct rt_obj *o,
                 struct err *err)
{
    if (rt_tensor_make(out, m, dtype, 0, NULL, err) < 0) {
        rt_obj_unref(o);
        return -(int)err->code;
    }
    *(struct rt_obj **)out->data = o;
    return 0;
}

static size_t
strings_bytes(const struct str *s, int64_t n)
{
    size_t sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += s[i].n;
    return sum;
}

int
rt_tensor_deep_copy(struct rt_tensor *out, struct rt_mem *m, const struct rt_tensor *t,
                    struct err *err)
{
    struct rt_buf *b = NULL;
    size_t size = rt_size(t);
    bool strings = t->dtype == SM_STRING;
    if (rt_buf_new(&b, m, size + (strings ? strings_bytes(t->data, t->n_elems) : 0),
                   err) < 0)
        return -(int)err->code;
    *out = *t;
    out->buf = b;
    out->data = b->data;
    if (size > 0)
        memcpy(b->data, t->data, size);
    if (strings) {
        struct str *s = b->data;
        char *p = (char *)b->data + size;
        for (int64_t i = 0; i < t->n_elems; i++) {
            if (s[i].n > 0)
                memcpy(p, s[i].p, s[i].n);
            s[i].p = p;
            p += s[i].n;
        }
    } else if (holds_objs(t->dtype)) {
        b->flags |= RT_BUF_OBJS;
        for (int64_t i = 0; i < t->n_elems; i++)
            rt_obj_ref(((struct rt_obj **)b->data)[i]);
    }
    return 0;
}

void
rt_tensor_from_sm(struct rt_tensor *out, struct sm_tensor *t, unsigned flags)
{
    *out =
        (struct rt_tensor){ .dtype = t->dtype, .rank = t->rank, .n_elems = t->n_elems };
    memcpy(out->dims, t->dims, sizeof(out->dims));
    size_t size = rt_size(out);
    out->buf = rt_buf_wrap(t->data ? t->data : "", size, t->owned);
    out->buf->flags |= flags;
    out->data = out->buf->data;
    *t = (struct sm_tensor){ 0 };
}

int
rt_tensor_from_proto(struct rt_tensor *out, const struct rt_mem *m, struct str proto,
                     struct err *err)
{
    enum { PROTO_DTYPE = 1, PROTO_SHAPE = 2 };
    struct sm_shape s;
    struct sm_tensor t = { 0 };
    int64_t n_elems = 0;
    int dtype = (int)sm_pb_int(proto, PROTO_DTYPE, 0);
    size_t elem = rt_dtype_size(dtype);
    if (elem > 0 && (sm_shape_parse(sm_pb_bytes(proto, PROTO_SHAPE), &s, err) < 0 ||
                     rt_dims_count(dtype, s.rank, s.dims, &n_elems, err) < 0))
        return -(int)err->code;
    if (elem > 0 && (size_t)n_elems > m->cap_bytes / elem)
        return err_set(err, ERR_LIMIT,
                       "a constant of %lld elements: the run would pass "
                       "%zu bytes",
                       (long long)n_elems, m->cap_bytes);
    if (sm_tensor_proto(proto, &t, err) < 0)
        return -(int)err->code;
    rt_tensor_from_sm(out, &t, RT_BUF_WEIGHT);
    return 0;
}

int
rt_tensor_to_sm(struct sm_tensor *out, const struct rt_tensor *t, struct err *err)
{
    if (t->dtype == SM_STRING)
        return sm_tensor_strings(out, t->rank, t->dims, t->data, err);
    if (sm_tensor_alloc(out, t->dtype, t->rank, t->dims, err) < 0)
        return -(int)err->code;
    if (t->n_elems > 0)
        memcpy(out->data, t->data, rt_size(t));
    return 0;
}

/* ---- objects --------------------------------------------------------------------- */

void
rt_obj_init(struct rt_obj *o, const struct rt_obj_type *type)
{
    o->type = type;
    o->refs = 1;
}

struct rt_obj *
rt_obj_ref(struct rt_obj *o)
{
    if (o)
        __atomic_add_fetch(&o->refs, 1, __ATOMIC_RELAXED);
    return o;
}

void
rt_obj_unref(struct rt_obj *o)
{
    if (o && __atomic_sub_fetch(&o->refs, 1, __ATOMIC_ACQ_REL) == 0)
        o->type->free(o);
}

bool
rt_obj_shared(const struct rt_obj *o)
{
    return __atomic_load_n(&o->refs, __ATOMIC_ACQUIRE) > 1;
}

/* ---- arenas ---------------------------------------------------------------------- */

struct rt_chunk {
    struct rt_chunk *next;
    size_t size_bytes;
    _Alignas(64) char data[];
};
enum { CHUNK_BYTES = 16 << 10 };

void *
rt_arena_alloc(struct rt_arena *a, size_t size_bytes, size_t align)
{
    size_t at = (a->used + align - 1) & ~(align - 1);
    if (!a->head || at > a->cap || size_bytes > a->cap - at) {
        /* A big one gets a chunk of its own behind the head, which stays in use. */
        size_t cap = size_bytes > CHUNK_BYTES / 4 ? size_bytes : CHUNK_BYTES;
        size_t all = (sizeof(struct rt_chunk) + cap + 63) & ~(size_t)63;
        struct rt_chunk *c = all > cap ? aligned_alloc(64, all) : NULL;
        if (!c)
            return NULL;
        c->size_bytes = cap;
        if (a->head && cap != CHUNK_BYTES) {
            c->next = a->head->next;
            a->head->next = c;
            return c->data;
        }
        c->next = a->head;
        a->head = c;
        a->cap = cap;
        at = 0;
    }
    a->used = at + size_bytes;
    return a->head->data + at;
}

void
rt_arena_release(struct rt_arena *a)
{
    while (a->head) {
        struct rt_chunk *c = a->head;
        a->head = c->next;
        free(c);
    }
    *a = (struct rt_arena){ 0 };
}

size_t
rt_arena_bytes(const struct rt_arena *a)
{
    size_t n = 0;
    for (const struct rt_chunk *c = a->head; c; c = c->next)
        n += c->size_bytes;
    return n;
}
