/* SPDX-License-Identifier: Apache-2.0 */
/* What the names in a pickle of NumPy arrays mean.
 *
 *   _reconstruct(ndarray, (0,), b'b')         an array, empty until
 *     BUILD (version, shape, dtype, is_fortran, bytes; of dtype 'O' a list)
 *   _frombuffer(bytes, dtype, shape, order)   an array (protocol 5)
 *   scalar(dtype, bytes)                      a NumPy number or string
 *   dtype('f4', False, True)                  a dtype, native byte order until
 *     BUILD (version, byte order, subdtype, names, fields, …)
 *   _codecs.encode(text, 'latin1')            bytes (protocols below 3)
 *   bytes(), list(), dict()                   empty ones */
#include "savedmodel/sm_pickle_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define DEPTH_MAX 32
#define LITERAL_MAX_BYTES ((size_t)64 << 20)
#define KEYS_MAX 4096

int
pk_global_named(struct str module, struct str name)
{
    static const struct {
        const char *module, *name;
        enum pk_global id;
    } known[] = {
        { "numpy.core.multiarray", "_reconstruct", PK_RECONSTRUCT },
        { "numpy._core.multiarray", "_reconstruct", PK_RECONSTRUCT },
        { "numpy.core.multiarray", "scalar", PK_SCALAR_OF },
        { "numpy._core.multiarray", "scalar", PK_SCALAR_OF },
        { "numpy.core.numeric", "_frombuffer", PK_FROMBUFFER },
        { "numpy._core.numeric", "_frombuffer", PK_FROMBUFFER },
        { "numpy", "ndarray", PK_NDARRAY },
        { "numpy", "dtype", PK_DTYPE_CLASS },
        { "_codecs", "encode", PK_ENCODE },
        { "builtins", "bytes", PK_BYTES_CLASS },
        { "__builtin__", "bytes", PK_BYTES_CLASS },
        { "builtins", "list", PK_LIST_CLASS },
        { "__builtin__", "list", PK_LIST_CLASS },
        { "builtins", "dict", PK_DICT_CLASS },
        { "__builtin__", "dict", PK_DICT_CLASS },
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (str_is(module, known[i].module) && str_is(name, known[i].name))
            return (int)known[i].id;
    }
    return -1;
}

static int
malformed(struct pk *p, const char *what)
{
    return err_set(p->err, ERR_CORRUPT, "a malformed %s", what);
}

/* Item i of a tuple; NULL: it is none, or shorter. */
static const struct pk_value *
item(const struct pk *p, pk_ref tuple, size_t i)
{
    const struct pk_value *t = &p->v[tuple];
    return t->kind == PK_TUPLE && i < t->n_items ? &p->v[t->items[i]] : NULL;
}

static bool
is_kind(const struct pk_value *v, enum pk_kind kind)
{
    return v && v->kind == kind;
}

/* Python 2 wrote its short strings as bytes. */
static bool
is_text(const struct pk_value *v)
{
    return is_kind(v, PK_STR) || is_kind(v, PK_BYTES);
}

/* ---- calls -------------------------------------------------------------------------
 */

static int
make_dtype(struct pk *p, pk_ref args, pk_ref *out)
{
    const struct pk_value *name = item(p, args, 0);
    if (!is_text(name) || name->s.n == 0 || name->s.n > 30)
        return malformed(p, "dtype");
    struct str s = name->s;
    *out = pk_new(p, PK_DTYPE);
    p->v[*out].s = s;
    p->v[*out].i = '<';
    return 0;
}

/* Text of code points below 256 as the bytes they name. */
static int
encode(struct pk *p, pk_ref args, pk_ref *out)
{
    const struct pk_value *text = item(p, args, 0), *codec = item(p, args, 1);
    struct buf bytes AUTO(buf_release) = { .cap_bytes = p->max_bytes };
    if (!is_kind(text, PK_STR) || !is_text(codec) ||
        !(str_is(codec->s, "latin1") || str_is(codec->s, "latin-1")))
        return err_set(p->err, ERR_UNSUPPORTED,
                       "_codecs.encode to something else than latin1");
    for (size_t i = 0; i < text->s.n; i++) {
        uint8_t c = (uint8_t)text->s.p[i];
        if (c >= 0x80) {
            uint8_t next = i + 1 < text->s.n ? (uint8_t)text->s.p[++i] : 0;
            if ((c & 0xfe) != 0xc2 || (next & 0xc0) != 0x80)
                return malformed(p, "latin1 text");
            c = (uint8_t)((c & 3) << 6 | (next & 0x3f));
        }
        buf_addc(&bytes, (char)c);
    }
    char *kept = bytes.over ? NULL : pk_keep(p, buf_str(&bytes), bytes.len);
    if (!kept)
        return err_set(p->err, ERR_LIMIT, "too many bytes of decoded text");
    *out = pk_new(p, PK_BYTES);
    p->v[*out].s = (struct str){ kept, bytes.len };
    return 0;
}

/* Takes over items of args: an array or a scalar from what they are. */
static pk_ref
compose(struct pk *p, enum pk_kind kind, pk_ref dtype, pk_ref shape, pk_ref data)
{
    pk_ref v = pk_new(p, kind);
    pk_append(p, v, dtype);
    pk_append(p, v, shape);
    pk_append(p, v, data);
    return v;
}

static int
from_buffer(struct pk *p, pk_ref args, pk_ref *out)
{
    const struct pk_value *order = item(p, args, 3);
    if (!is_kind(item(p, args, 0), PK_BYTES) || !is_kind(item(p, args, 1), PK_DTYPE) ||
        !is_kind(item(p, args, 2), PK_TUPLE) || !is_text(order))
        return malformed(p, "_frombuffer");
    bool is_fortran = str_is(order->s, "F");
    const pk_ref *a = p->v[args].items;
    *out = compose(p, PK_ARRAY, a[1], a[2], a[0]);
    p->v[*out].i = is_fortran;
    return 0;
}

static int
make_scalar(struct pk *p, pk_ref args, pk_ref *out)
{
    if (!is_kind(item(p, args, 0), PK_DTYPE) || !is_kind(item(p, args, 1), PK_BYTES))
        return malformed(p, "scalar");
    pk_ref dtype = p->v[args].items[0], data = p->v[args].items[1];
    pk_ref shape = pk_new(p, PK_TUPLE);
    *out = compose(p, PK_ARRAY, dtype, shape, data);
    return 0;
}

int
pk_call(struct pk *p, pk_ref global, pk_ref args, pk_ref *out)
{
    static const enum pk_kind empty[] = { [PK_BYTES_CLASS] = PK_BYTES,
                                          [PK_LIST_CLASS] = PK_LIST,
                                          [PK_DICT_CLASS] = PK_DICT };
    if (p->v[global].kind != PK_GLOBAL || p->v[args].kind != PK_TUPLE)
        return malformed(p, "call");
    int64_t id = p->v[global].i;
    switch (id) {
    case PK_RECONSTRUCT: {
        const struct pk_value *type = item(p, args, 0);
        if (!is_kind(type, PK_GLOBAL) || type->i != PK_NDARRAY)
            return malformed(p, "_reconstruct");
        *out = pk_new(p, PK_ARRAY);
        return 0;
    }
    case PK_DTYPE_CLASS:
        return make_dtype(p, args, out);
    case PK_SCALAR_OF:
        return make_scalar(p, args, out);
    case PK_FROMBUFFER:
        return from_buffer(p, args, out);
    case PK_ENCODE:
        return encode(p, args, out);
    case PK_BYTES_CLASS:
    case PK_LIST_CLASS:
    case PK_DICT_CLASS:
        if (p->v[args].n_items > 0)
            break;
        *out = pk_new(p, empty[id]);
        p->v[*out].s = STR_LIT("");
        return 0;
    default:
        break;
    }
    return err_set(p->err, ERR_UNSUPPORTED, "a call that pickled arrays do not make");
}

/* ---- state -------------------------------------------------------------------------
 */

static int
build_dtype(struct pk *p, pk_ref dtype, pk_ref state)
{
    const struct pk_value *order = item(p, state, 1);
    for (size_t i = 2; i < 5; i++) {
        const struct pk_value *part = item(p, state, i);
        if (part && part->kind != PK_NONE)
            return err_set(p->err, ERR_UNSUPPORTED,
                           "a structured dtype, of which a tensor is one field: save "
                           "x['FIELD']");
    }
    if (!is_text(order) || order->s.n != 1)
        return malformed(p, "state of a dtype");
    p->v[dtype].i = (uint8_t)order->s.p[0];
    return 0;
}

static int
build_array(struct pk *p, pk_ref array, pk_ref state)
{
    const struct pk_value *is_fortran = item(p, state, 3), *data = item(p, state, 4);
    if (p->v[array].n_items > 0 || !is_kind(item(p, state, 1), PK_TUPLE) ||
        !is_kind(item(p, state, 2), PK_DTYPE) ||
        !(is_kind(is_fortran, PK_BOOL) || is_kind(is_fortran, PK_INT)) ||
        !(is_kind(data, PK_BYTES) || is_kind(data, PK_LIST)))
        return malformed(p, "state of an array");
    p->v[array].i = is_fortran->i != 0;
    for (int i = 2; i < 5; i++) {
        static const int from[] = { 0, 0, 2, 1, 4 }; /* dtype, shape, data */
        pk_append(p, array, p->v[state].items[from[i]]);
    }
    return 0;
}

int
pk_build(struct pk *p, pk_ref value, pk_ref state)
{
    if (p->v[value].kind == PK_DTYPE)
        return build_dtype(p, value, state);
    if (p->v[value].kind == PK_ARRAY)
        return build_array(p, value, state);
    return err_set(p->err, ERR_UNSUPPORTED,
                   "BUILD of something that is neither an array nor a dtype");
}

/* ---- arrays ------------------------------------------------------------------------
 */

static int
shape_of(struct pk *p, const struct pk_value *tuple, struct sm_shape *out)
{
    *out = (struct sm_shape){ .rank = 0 };
    if (tuple->n_items > SM_MAX_RANK)
        return err_set(p->err, ERR_LIMIT, "an array of rank %zu (limit %d)",
                       tuple->n_items, SM_MAX_RANK);
    for (size_t i = 0; i < tuple->n_items; i++) {
        const struct pk_value *dim = &p->v[tuple->items[i]];
        if (dim->kind != PK_INT || dim->i < 0)
            return malformed(p, "shape");
        out->dims[out->rank++] = dim->i;
    }
    return 0;
}

/* An object array: its elements, in row-major order whatever the flag says. */
static int
strings_of(struct pk *p, const struct pk_value *list, const struct sm_shape *s,
           struct sm_tensor *out)
{
    int64_t n;
    int rc = sm_shape_count(s, &n, p->err);
    if (rc < 0)
        return rc;
    if (list->kind != PK_LIST || (uint64_t)n != list->n_items)
        return malformed(p, "object array");
    struct str *v AUTO(free_ptr) = xcalloc(list->n_items + 1, sizeof(*v));
    for (size_t i = 0; i < list->n_items; i++) {
        const struct pk_value *e = &p->v[list->items[i]];
        if (!is_text(e))
            return err_set(p->err, ERR_UNSUPPORTED,
                           "element %zu of an object array is no string: save "
                           "x.astype(…) with the dtype that the model wants",
                           i);
        v[i] = e->s;
    }
    return sm_tensor_strings(out, s->rank, s->dims, v, p->err);
}

static int
array_of(struct pk *p, const struct pk_value *a, struct sm_tensor *out)
{
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    struct sm_shape s;
    char descr[40];
    if (a->n_items != 3)
        return malformed(p, "array: it never got its values");
    const struct pk_value *dtype = &p->v[a->items[0]], *data = &p->v[a->items[2]];
    int rc = shape_of(p, &p->v[a->items[1]], &s);
    if (rc < 0)
        return rc;
    if (dtype->s.p[0] == 'O')
        return strings_of(p, data, &s, out);
    if (data->kind != PK_BYTES)
        return malformed(p, "array: its values are no bytes");
    descr[0] = (char)dtype->i;
    memcpy(descr + 1, dtype->s.p, dtype->s.n);
    rc = sm_npy_elements((struct str){ descr, dtype->s.n + 1 }, a->i != 0, &s, data->s,
                         &t, p->err);
    return rc < 0 ? rc : sm_tensor_copy(out, &t, p->err);
}

/* ---- plain Python values -----------------------------------------------------------
 */

static int
number_add(struct pk *p, double d, struct buf *out)
{
    if (isnan(d))
        return err_set(p->err, ERR_UNSUPPORTED, "NaN in a list: pickle np.array(x)");
    if (isinf(d))
        buf_adds(out, d < 0 ? "-1e999" : "1e999");
    else
        buf_addf(out, "%.17e", d);
    return 0;
}

/* The value as a Python literal. What holds itself ends at the depth, what holds one
 * thing many times at the bytes. */
static int
literal_add(struct pk *p, pk_ref ref, int depth, struct buf *out)
{
    const struct pk_value *v = &p->v[ref];
    int rc = 0;
    if (depth == DEPTH_MAX)
        return err_set(p->err, ERR_LIMIT, "lists nested more than %d deep", DEPTH_MAX);
    switch (v->kind) {
    case PK_BOOL:
        buf_adds(out, v->i ? "True" : "False");
        return 0;
    case PK_INT:
        buf_addf(out, "%" PRId64, v->i);
        return 0;
    case PK_FLOAT:
        return number_add(p, v->d, out);
    case PK_STR:
    case PK_BYTES:
        buf_adds(out, "b'");
        for (size_t i = 0; i < v->s.n; i++)
            buf_addf(out, "\\x%02x", (uint8_t)v->s.p[i]);
        buf_addc(out, '\'');
        return 0;
    case PK_LIST:
    case PK_TUPLE:
        buf_addc(out, '[');
        for (size_t i = 0; rc == 0 && !out->over && i < v->n_items; i++) {
            rc = literal_add(p, v->items[i], depth + 1, out);
            buf_addc(out, ',');
        }
        buf_addc(out, ']');
        return rc;
    default:
        return err_set(p->err, ERR_UNSUPPORTED,
                       "a list that holds %s: pickle np.array(x)",
                       v->kind == PK_ARRAY  ? "arrays"
                       : v->kind == PK_NONE ? "None"
                                            : "something else than numbers or strings");
    }
}

static int
tensor_of(struct pk *p, pk_ref ref, struct sm_tensor *out)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = LITERAL_MAX_BYTES };
    const struct pk_value *v = &p->v[ref];
    if (v->kind == PK_ARRAY)
        return array_of(p, v, out);
    if (v->kind == PK_NONE || v->kind >= PK_DICT)
        return err_set(p->err, ERR_UNSUPPORTED, "it is no array");
    int rc = literal_add(p, ref, 0, &text);
    if (rc == 0)
        rc = buf_check(&text, "a list as text", p->err);
    return rc < 0 ? rc : sm_literal_read(buf_str(&text), out, p->err);
}

int
pk_arrays(struct pk *p, pk_ref top, const char *only, struct sm_tensor_list *out)
{
    const struct pk_value *v = &p->v[top];
    struct sm_tensor t;
    size_t n_bytes = 0;
    int rc = 0;
    if (v->kind != PK_DICT) {
        rc = tensor_of(p, top, &t);
        if (rc == 0)
            sm_tensor_list_add(out, "", &t);
        return rc;
    }
    if (v->n_items / 2 > KEYS_MAX)
        return err_set(p->err, ERR_LIMIT, "more than %d keys", KEYS_MAX);
    for (size_t i = 0; rc == 0 && i < v->n_items; i += 2) {
        const struct pk_value *key = &p->v[v->items[i]];
        if (!is_text(key) || memchr(key->s.p, '\0', key->s.n))
            return err_set(p->err, ERR_UNSUPPORTED, "a key of the dict is no string");
        if (only && !str_is(key->s, only))
            continue;
        char *name AUTO(free_ptr) = str_dup(key->s);
        rc = tensor_of(p, v->items[i + 1], &t);
        if (rc < 0)
            return err_ctx(p->err, "key \"%s\"", name);
        n_bytes += sm_tensor_bytes(&t);
        if (n_bytes > 8 * p->max_bytes) {
            sm_tensor_release(&t);
            return err_set(p->err, ERR_LIMIT, "many keys share one big array");
        }
        struct sm_tensor *old = sm_tensor_list_find(out, name);
        if (old) { /* the later one wins */
            sm_tensor_release(old);
            *old = t;
        } else {
            sm_tensor_list_add(out, name, &t);
        }
    }
    return rc;
}
