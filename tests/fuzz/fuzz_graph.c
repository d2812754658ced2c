/* SPDX-License-Identifier: Apache-2.0 */
/* A whole model: loads the bytes as saved_model.pb, gives variables zeros (there is no
 * checkpoint), plans and runs each signature on small inputs, within small limits.
 *
 * The mutator changes a field somewhere in the message and puts the lengths around it
 * right, so that what comes out is mostly a graph with something wrong in it, not bytes
 * that no reader takes. */
#include "runtime/rt_backend_int.h"
#include "savedmodel/savedmodel.h"
#include "tests/fuzz/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
size_t LLVMFuzzerMutate(uint8_t *p, size_t n, size_t cap) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t cap, unsigned seed);

enum { DIM = 2, ELEMS_MAX = 4096 }; /* DIM: for dimensions that are not known */

static bool
add_input(struct sm_tensor_list *in, const struct backend_tensor *want)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    struct str words[ELEMS_MAX] = { { "word", 4 } };
    int64_t dims[SM_MAX_RANK], elems = 1;
    int rank = want->shape.unknown_rank ? 1 : want->shape.rank;
    for (int i = 0; i < rank; i++) {
        dims[i] = want->shape.unknown_rank || want->shape.dims[i] < 0
                      ? DIM
                      : want->shape.dims[i];
        if (__builtin_mul_overflow(elems, dims[i], &elems) || elems > ELEMS_MAX)
            return false;
    }
    int rc = want->dtype == SM_STRING
                 ? sm_tensor_strings(&t, rank, dims, words, &err)
                 : sm_tensor_alloc(&t, want->dtype, rank, dims, &err);
    if (rc == 0)
        sm_tensor_list_add(in, want->key, &t);
    return rc == 0;
}

/* What a checkpoint would have given. */
static void
zero_variables(struct backend *b)
{
    struct rt_session *s = &b->s;
    for (int i = 0; i < s->n_state; i++) {
        struct rt_var *v = (struct rt_var *)s->state[i].obj;
        if (v->obj.type != &rt_var_type.obj || v->value.buf)
            continue;
        for (int k = 0; k < s->model.main.n_nodes; k++) {
            const struct sm_node *n = &s->model.main.nodes[k].sm;
            struct err err = ERR_INIT;
            struct sm_attr shape;
            struct sm_shape dims;
            struct rt_tensor t;
            if (!str_is(n->name, v->name) || !sm_node_attr(n, "shape", &shape) ||
                shape.kind != SM_ATTR_SHAPE ||
                sm_shape_parse(shape.bytes, &dims, &err) < 0 || dims.unknown_rank ||
                rt_tensor_make(&t, &s->mem, v->dtype, dims.rank, dims.dims, &err) < 0)
                continue;
            if (t.n_elems > 0)
                memset(t.data, 0, rt_size(&t));
            if (rt_var_assign(v, &t, &err) < 0)
                err_clear(&err);
            rt_tensor_unref(&t);
        }
    }
}

static void
run_signature(struct backend *b, const char *key)
{
    struct err err = ERR_INIT;
    const struct backend_signature *sig;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    if (rt_backend.signature(b, key, &sig, &err) < 0)
        return;
    for (int i = 0; i < sig->n_inputs; i++)
        if (!sig->inputs[i].has_default && !add_input(&in, &sig->inputs[i]))
            return;
    if (rt_backend.run(b, key, &in, &out, &err) < 0)
        err_clear(&err);
    zero_variables(b); /* those that the plan has made */
    sm_tensor_list_release(&out);
    if (rt_backend.run(b, key, &in, &out, &err) < 0)
        return;
    struct buf json AUTO(buf_release) = BUF_INIT;
    if (rt_backend.plan(b, key, &json, &err) < 0)
        return;
}

/* The signatures' names, from a reading of its own. */
static void
run_all(struct backend *b, struct scratch *s)
{
    struct err err = ERR_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    const struct sm_meta *meta;
    if (sm_open(&m, s->fd, s->path, &err) < 0 ||
        sm_find_meta(m, "serve", &meta, &err) < 0)
        return;
    for (int i = 0; i < meta->n_signatures; i++) {
        char *key = xstrndup(meta->signatures[i].key.p, meta->signatures[i].key.n);
        run_signature(b, key);
        free(key);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct scratch s;
    struct err err = ERR_INIT;
    struct backend *b;
    scratch_open(&s);
    scratch_put(&s, "saved_model.pb", p, n);
    struct backend_args a = { .model_dir = s.path,
                              .max_memory_bytes = 64 << 20,
                              .max_wall_ms = 500,
                              .max_loop_steps = 1000 };
    if (rt_backend.load(&b, &a, &err) == 0) {
        run_all(b, &s);
        rt_backend.close(b);
    }
    scratch_close(&s);
    return 0;
}

/* ---- mutator --------------------------------------------------------------------- */

struct dice {
    uint64_t x;
};

static uint32_t
roll(struct dice *d, uint32_t sides)
{
    d->x = d->x * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(d->x >> 33) % sides;
}

static void
put_varint(struct buf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_addc(out, (char)(v | 0x80));
    buf_addc(out, (char)v);
}

static bool
is_message(struct str s)
{
    struct sm_field f;
    int rc, n = 0;
    while ((rc = sm_pb_next(&s, &f)) == 1)
        n++;
    return rc == 0 && n > 0;
}

static uint64_t
odd_number(struct dice *d, uint64_t v)
{
    static const uint64_t odd[] = { 0,          1,
                                    2,          7,
                                    100,        127,
                                    65536,      1u << 31,
                                    1u << 30,   (uint64_t)1 << 62,
                                    UINT64_MAX, UINT64_MAX - 1 };
    uint32_t k = roll(d, 16);
    return k < 12 ? odd[k] : k == 12 ? v + 1 : k == 13 ? v - 1 : v ^ 1u << roll(d, 8);
}

static void mutate_message(struct dice *d, struct str m, int depth, struct buf *out);

static void
mutate_bytes(struct str s, struct buf *out)
{
    uint8_t v[4096];
    size_t n = s.n;
    if (n > sizeof(v) / 2) {
        buf_add(out, s.p, s.n);
        return;
    }
    if (n > 0)
        memcpy(v, s.p, n);
    if (LLVMFuzzerMutate)
        n = LLVMFuzzerMutate(v, n, sizeof(v));
    buf_add(out, v, n);
}

static void
put_field(struct dice *d, const struct sm_field *f, bool change, int depth,
          struct buf *out)
{
    put_varint(out, (uint64_t)f->num << 3 | f->wire);
    if (f->wire == 0) {
        put_varint(out, change ? odd_number(d, f->v) : f->v);
    } else if (f->wire != 2) {
        uint64_t v = change ? odd_number(d, f->v) : f->v;
        buf_add(out, &v, f->wire == 1 ? 8 : 4);
    } else {
        struct buf inner AUTO(buf_release) = BUF_INIT;
        if (!change)
            buf_add(&inner, f->bytes.p, f->bytes.n);
        else if (is_message(f->bytes) && roll(d, 8) > 0)
            mutate_message(d, f->bytes, depth + 1, &inner);
        else
            mutate_bytes(f->bytes, &inner);
        put_varint(out, inner.len);
        buf_add(out, buf_str(&inner), inner.len);
    }
}

/* One of its fields changes; sometimes it goes, comes twice, or gives its place to
 * another. */
static void
mutate_message(struct dice *d, struct str m, int depth, struct buf *out)
{
    enum { MAX_FIELDS = 100000, MAX_DEPTH = 40 };
    struct sm_field f, keep = { .num = 0 };
    struct str it = m;
    uint32_t n = 0;
    while (n < MAX_FIELDS && sm_pb_next(&it, &f) == 1)
        n++;
    if (n == 0 || depth > MAX_DEPTH) {
        buf_add(out, m.p, m.n);
        return;
    }
    uint32_t at = roll(d, n), other = roll(d, n), how = roll(d, 16);
    it = m;
    for (uint32_t i = 0; i < n && sm_pb_next(&it, &f) == 1; i++)
        if (i == other)
            keep = f;
    it = m;
    for (uint32_t i = 0; i < n && sm_pb_next(&it, &f) == 1; i++) {
        if (i != at) {
            put_field(d, &f, false, depth, out);
        } else if (how == 1) {
            put_field(d, &f, false, depth, out);
            put_field(d, &f, true, depth, out);
        } else if (how == 2) {
            keep.num = f.num;
            put_field(d, &keep, false, depth, out);
        } else if (how > 0) {
            put_field(d, &f, true, depth, out);
        }
    }
}

size_t
LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t cap, unsigned seed)
{
    struct dice d = { seed };
    struct str m = { (const char *)p, n };
    struct buf out AUTO(buf_release) = BUF_INIT;
    if (!is_message(m))
        return LLVMFuzzerMutate(p, n, cap);
    int times = 1 + (int)roll(&d, 3);
    buf_add(&out, m.p, m.n);
    for (int i = 0; i < times; i++) {
        struct buf next AUTO(buf_release) = BUF_INIT;
        mutate_message(&d, (struct str){ buf_str(&out), out.len }, 0, &next);
        buf_clear(&out);
        buf_add(&out, buf_str(&next), next.len);
    }
    if (out.len == 0 || out.len > cap)
        return n;
    memcpy(p, out.data, out.len);
    return out.len;
}
