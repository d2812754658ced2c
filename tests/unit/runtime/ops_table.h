/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels against tables of answers that TensorFlow gave. A case is an op, attributes
 * (the words of mb_node; also g: a float, I, G and S: lists of ints, floats and
 * strings), inputs
 * and outputs as "f32[2,2] 1 2 3 4; i32[] 1"; an output that begins with "!" is the
 * text an error must hold. A string that begins with "hex:" is bytes. Each case runs
 * twice, the second time with inputs that may be reused in place. */
#ifndef TESTS_OPS_TABLE_H
#define TESTS_OPS_TABLE_H

#include "runtime/rt_half.h"
#include "runtime/rt_int.h"
#include "tests/unit/runtime/model_build.h"

#include <math.h>

struct op_case {
    const char *op, *attrs, *in, *out;
};

enum { OT_TENSORS_MAX = 16 };

static const struct {
    const char *name;
    int dtype;
} ot_dtypes[] = {
    { "f32", SM_FLOAT },     { "f64", SM_DOUBLE },    { "f16", SM_HALF },
    { "bf16", SM_BFLOAT16 }, { "i8", SM_INT8 },       { "i16", SM_INT16 },
    { "i32", SM_INT32 },     { "i64", SM_INT64 },     { "u8", SM_UINT8 },
    { "u16", SM_UINT16 },    { "u32", SM_UINT32 },    { "u64", SM_UINT64 },
    { "bool", SM_BOOL },     { "c64", SM_COMPLEX64 }, { "c128", SM_COMPLEX128 },
    { "str", SM_STRING },    { "qi8", SM_QINT8 },     { "qu8", SM_QUINT8 },
};

/* Bytes of the strings that were hexadecimal; emptied by ot_run. */
static struct rt_arena ot_bytes;

static inline struct str
ot_hex(const char *p, size_t n)
{
    char *out = rt_arena_alloc(&ot_bytes, n / 2 + 1, 1);
    for (size_t i = 0; i < n / 2; i++) {
        char two[3] = { p[2 * i], p[2 * i + 1], 0 };
        out[i] = (char)strtol(two, NULL, 16);
    }
    return (struct str){ out, n / 2 };
}

/* Puts the next word of *p into an element; complex numbers are two words. */
static inline void
ot_element(const char **p, struct rt_tensor *t, int64_t i)
{
    char *end;
    while (**p == ' ')
        ++*p;
    if (t->dtype == SM_STRING) {
        size_t n = strcspn(*p, " ;");
        ((struct str *)t->data)[i] =
            strncmp(*p, "hex:", 4) == 0 ? ot_hex(*p + 4, n - 4) : (struct str){ *p, n };
        *p += n;
        return;
    }
    double d = strtod(*p, &end);
    long long l = strtoll(*p, NULL, 10);
    CHECK(end != *p);
    switch (t->dtype) {
    case SM_FLOAT:
        ((float *)t->data)[i] = (float)d;
        break;
    case SM_DOUBLE:
        ((double *)t->data)[i] = d;
        break;
    case SM_HALF:
        ((uint16_t *)t->data)[i] = rt_f32_to_half((float)d);
        break;
    case SM_BFLOAT16:
        ((uint16_t *)t->data)[i] = rt_f32_to_bf16((float)d);
        break;
    case SM_COMPLEX64:
        ((float *)t->data)[2 * i] = (float)d;
        ((float *)t->data)[2 * i + 1] = (float)strtod(end, &end);
        break;
    case SM_COMPLEX128:
        ((double *)t->data)[2 * i] = d;
        ((double *)t->data)[2 * i + 1] = strtod(end, &end);
        break;
    case SM_UINT64: {
        uint64_t u = strtoull(*p, &end, 10);
        memcpy((uint64_t *)t->data + i, &u, sizeof(u));
        break;
    }
    default: /* the low bytes of a little-endian integer */
        memcpy((char *)t->data + (size_t)i * rt_dtype_size(t->dtype), &l,
               rt_dtype_size(t->dtype));
    }
    *p = end;
}

/* Reads "f32[2] 1 2; …"; strings are borrowed from the text. Returns how many. */
static inline int
ot_tensors(const char *p, struct rt_mem *mem, struct rt_tensor *out)
{
    struct err err = ERR_INIT;
    int n = 0;
    while (*p) {
        size_t name = strcspn(p, "[");
        int dtype = 0, rank = 0;
        int64_t dims[SM_MAX_RANK];
        for (size_t i = 0; i < sizeof(ot_dtypes) / sizeof(ot_dtypes[0]); i++)
            if (str_is((struct str){ p, name }, ot_dtypes[i].name))
                dtype = ot_dtypes[i].dtype;
        CHECK(dtype != 0 && n < OT_TENSORS_MAX);
        for (p += name + 1; *p != ']'; p += *p == ',') {
            char *end;
            dims[rank++] = strtoll(p, &end, 10);
            p = end;
        }
        p++;
        CHECK_OK(rt_tensor_make(&out[n], mem, dtype, rank, dims, &err));
        for (int64_t i = 0; i < out[n].n_elems; i++)
            ot_element(&p, &out[n], i);
        n++;
        p += strspn(p, "; ");
    }
    return n;
}

static inline void
ot_attr(struct buf *node, const char *key, size_t key_len, char kind, const char *text)
{
    struct buf v = BUF_INIT, l = BUF_INIT;
    float f = strtof(text, NULL);
    if (kind == 'g') {
        buf_addc(&v, 4 << 3 | 5);
        buf_add(&v, &f, sizeof(f));
    } else if (kind == 'I' || kind == 'G') {
        for (const char *p = text; *p; p += strcspn(p, ","), p += *p == ',') {
            f = strtof(p, NULL);
            if (kind == 'I') {
                pb_int(&l, 3, strtoll(p, NULL, 10));
                continue;
            }
            buf_addc(&l, 4 << 3 | 5);
            buf_add(&l, &f, sizeof(f));
        }
        pb_msg(&v, 1, &l);
    } else if (kind == 'S') {
        for (const char *p = text; *p; p += strcspn(p, ","), p += *p == ',')
            pb_bytes(&l, 2, p, strcspn(p, ","));
        pb_msg(&v, 1, &l);
    } else {
        mb_attr_value(&v, kind, text);
    }
    mb_add_attr(node, key, key_len, &v);
}

static inline double
ot_value(const struct rt_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case SM_FLOAT:
    case SM_COMPLEX64:
        return (double)((const float *)t->data)[i];
    case SM_DOUBLE:
    case SM_COMPLEX128:
        return ((const double *)t->data)[i];
    case SM_HALF:
        return (double)rt_half_to_f32(((const uint16_t *)t->data)[i]);
    default:
        return (double)rt_bf16_to_f32(((const uint16_t *)t->data)[i]);
    }
}

/* What a value may be off by, of the largest one; 0: compared as bytes. */
static inline double
ot_tolerance(int dtype)
{
    switch (dtype) {
    case SM_FLOAT:
    case SM_COMPLEX64:
        return 2e-6;
    case SM_DOUBLE:
    case SM_COMPLEX128:
        return 1e-10;
    case SM_HALF:
        return 1e-3;
    case SM_BFLOAT16:
        return 8e-3;
    }
    return 0;
}

static inline void
ot_compare(const struct op_case *c, int k, const struct rt_tensor *got,
           const struct rt_tensor *want)
{
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    bool pairs = want->dtype == SM_COMPLEX64 || want->dtype == SM_COMPLEX128;
    int64_t n = want->n_elems * (pairs ? 2 : 1);
    double tolerance = ot_tolerance(want->dtype), most = 1;
    if (got->dtype != want->dtype || !rt_same_shape(got, want))
        unit_fail(__FILE__, __LINE__, "%s (%s) output %d is %s%s, not %s%s", c->op,
                  c->in, k, rt_dtype_text(got->dtype), rt_shape_text(got, a),
                  rt_dtype_text(want->dtype), rt_shape_text(want, b));
    for (int64_t i = 0; i < n && tolerance > 0; i++)
        if (isfinite(ot_value(want, i)))
            most = fmax(most, fabs(ot_value(want, i)));
    for (int64_t i = 0; i < n; i++) {
        size_t size = rt_dtype_size(want->dtype);
        bool same;
        if (want->dtype == SM_STRING) {
            same = str_eq(((struct str *)got->data)[i], ((struct str *)want->data)[i]);
        } else if (tolerance > 0) {
            double g = ot_value(got, i), w = ot_value(want, i);
            same = isfinite(w) ? fabs(g - w) <= tolerance * most
                               : (isnan(w) ? isnan(g) : g == w);
        } else {
            same = memcmp((const char *)got->data + (size_t)i * size,
                          (const char *)want->data + (size_t)i * size, size) == 0;
        }
        if (!same)
            unit_fail(__FILE__, __LINE__, "%s {%s} (%s) output %d differs at %" PRId64,
                      c->op, c->attrs, c->in, k, i);
    }
}

/* How many outputs a failing case would have: as many as ops.def names, or what an
 * attribute like "num_split:i=2" says. */
static inline int
ot_count_out(const struct rt_op_def *def, const char *attrs)
{
    const char *num = strstr(attrs, "num_");
    int n = 1;
    if (num)
        return (int)strtol(strchr(num, '=') + 1, NULL, 10);
    for (const char *p = def->out; *p; p++)
        n += *p == ',';
    return n;
}

/* Runs one case with the inputs' buffers given (may_forward) or kept. */
static inline void
ot_run(struct rt_session *s, const struct op_case *c, uint64_t may_forward)
{
    struct err err = ERR_INIT;
    struct buf bytes AUTO(buf_release) = BUF_INIT;
    struct rt_tensor in[OT_TENSORS_MAX], want[OT_TENSORS_MAX];
    struct rt_tensor out[OT_TENSORS_MAX] = { { 0 } }, deref[OT_TENSORS_MAX] = { { 0 } };
    const struct rt_tensor *ins[OT_TENSORS_MAX];
    const struct rt_op_def *def = NULL;
    struct rt_plan_mem mem = { 0 };
    struct sm_node sm;
    struct rt_run run;
    bool fails = c->out[0] == '!';
    for (int i = 0; i < rt_n_op_defs; i++)
        if (strcmp(rt_op_defs[i].name, c->op) == 0)
            def = &rt_op_defs[i];
    if (!def)
        unit_fail(__FILE__, __LINE__, "%s is not in ops.def", c->op);
    mb_begin_node(&bytes, "n", c->op, "");
    for (const char *p = c->attrs; *p; p += strcspn(p, " "), p += *p == ' ') {
        const char *colon = strchr(p, ':');
        char *text = xstrndup(colon + 3, strcspn(colon + 3, " "));
        ot_attr(&bytes, p, (size_t)(colon - p), colon[1], text);
        free(text);
    }
    CHECK_OK(sm_node_parse((struct str){ bytes.data, bytes.len }, &sm, &err));
    int n_in = ot_tensors(c->in, &s->mem, in);
    int n_out = fails ? ot_count_out(def, c->attrs) : ot_tensors(c->out, &s->mem, want);
    struct rt_step step = { .node = { .name = "n",
                                      .op = def->name,
                                      .def = def,
                                      .n_in = n_in,
                                      .n_out = n_out },
                            .run = def->run,
                            .may_forward = may_forward };
    struct rt_prep prep = { .node = &step.node, .err = &err, .mem = &mem, .sm = &sm };
    for (int i = 0; i < n_in; i++)
        ins[i] = &in[i];
    rt_run_init(&run, s);
    int rc = def->prepare ? def->prepare(&prep) : 0;
    if (rc == 0)
        rc = rt_step_run(&run, &step, ins, deref, out, &err);
    if (fails && (rc == 0 || !strstr(err.msg, c->out + 1)))
        unit_fail(__FILE__, __LINE__, "%s {%s} (%s): \"%s\" does not hold \"%s\"",
                  c->op, c->attrs, c->in, err.msg, c->out + 1);
    if (!fails && rc < 0)
        unit_fail(__FILE__, __LINE__, "%s (%s): %s", c->op, c->in, err.msg);
    for (int k = 0; k < n_out && !fails; k++) {
        ot_compare(c, k, &out[k], &want[k]);
        rt_tensor_unref(&out[k]);
        rt_tensor_unref(&want[k]);
    }
    for (int i = 0; i < n_in; i++)
        rt_tensor_unref(&in[i]);
    rt_run_release(&run);
    for (struct rt_drop *d = mem.drops; d; d = d->next)
        d->drop(d->arg);
    rt_arena_release(&mem.arena);
    rt_arena_release(&ot_bytes);
}

static inline void
ot_run_all(const struct op_case *cases, size_t n)
{
    struct rt_session s = { .n_threads = 1 };
    rt_mem_init(&s.mem, (size_t)1 << 30);
    for (size_t i = 0; i < n; i++) {
        ot_run(&s, &cases[i], 0);
        ot_run(&s, &cases[i], UINT64_MAX);
    }
    for (int i = 0; i < RT_SLOT_END; i++)
        if (s.slot[i])
            s.slot_drop[i](s.slot[i]);
    rt_mem_release(&s.mem);
}
#define OT_RUN(table) ot_run_all(table, sizeof(table) / sizeof(table[0]))

#endif
