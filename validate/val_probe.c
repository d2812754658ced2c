/* SPDX-License-Identifier: Apache-2.0 */
/* Probes: inputs made from signatures alone, for who has no requests yet. They show
 * that a version still answers as another did, at the edges of its dtypes too; whether
 * it is right nobody knows. Everything follows from the seed, the signature and the
 * names of case and input. */
#include "validate/record.h"
#include "validate/val_example.h"
#include "validate/val_int.h"
#include "validate/val_probe_int.h"
#include "validate/val_scan_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BATCHES_MAX 16
#define BATCH_MAX 1000000
#define DIMS_MAX 64
#define SMALL_DIM 8  /* where a dimension may be anything */
#define IMAGE_DIM 64 /* the same of four axes and more: height, width */
#define ELEMS_MAX (INT64_C(1) << 26)

/* ---- kinds of cases ------------------------------------------------------------ */

/* Inputs of other families than these are filled at random. */
static const struct kind {
    const char *name;
    enum fill fill;
    unsigned families;
    bool nonfinite;
} kinds[] = {
    { "zeros", ZERO, REALS | INTS | BOOLS, false },
    { "ones", ONE, REALS | INTS | BOOLS, false },
    { "largest", LARGEST, REALS | INTS, false },
    { "lowest", LOWEST, REALS | INTS, false },
    { "denormal", DENORMAL, REALS, false },
    { "minus-zero", MINUS_ZERO, REALS, false },
    { "empty", EMPTY, STRINGS, false },
    { "digits", DIGITS, STRINGS, false },
    { "utf8", UTF8, STRINGS, false },
    { "long", LONG, STRINGS, false },
    { "nan", NOT_A_NUMBER, REALS, true },
    { "inf", PLUS_INF, REALS, true },
    { "minus-inf", MINUS_INF, REALS, true },
};

/* ---- arguments ------------------------------------------------------------------ */

struct dim {
    char *input; /* NULL: of every input */
    int axis;    /* -1: each that is not known */
    int64_t size;
    const char *text;
    bool is_used;
};

struct probe {
    const struct val_probe_args *args;
    const struct sm_meta *meta;
    struct scan_graph graph;
    bool has_graph; /* else nothing is known of ids */
    int64_t batches[BATCHES_MAX];
    struct dim dims[DIMS_MAX];
    int n_batches, n_dims, n_signatures;
    val_probe_fn *fn;
    void *arg;
    cJSON *inputs, *skipped;
};

/* A whole number from 1 to max, and nothing behind it. */
static bool
read_size(const char *text, size_t n, int64_t max, int64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9' || *out > max / 10)
            return false;
        *out = *out * 10 + (text[i] - '0');
    }
    return n > 0 && *out >= 1 && *out <= max;
}

static int
read_batches(struct probe *p, struct err *err)
{
    const char *text = p->args->batch ? p->args->batch : VAL_PROBE_BATCH;

    for (const char *at = text; *at || p->n_batches == 0;) {
        const size_t n = strcspn(at, ",");

        if (p->n_batches == BATCHES_MAX ||
            !read_size(at, n, BATCH_MAX, &p->batches[p->n_batches]))
            return err_set(err, ERR_USAGE,
                           "--batch %s: wanted at most %d sizes from 1 to %d, such as "
                           "%s",
                           text, BATCHES_MAX, BATCH_MAX, VAL_PROBE_BATCH);
        p->n_batches++;
        at += n + (at[n] == ',');
    }
    return 0;
}

/* "x:1=12", "1=12", "x=12" */
static int
read_dim(struct probe *p, const char *text, struct err *err)
{
    struct dim *d = &p->dims[p->n_dims];
    const char *equals = strrchr(text, '=');
    const size_t n = equals ? (size_t)(equals - text) : 0;
    size_t colon = n;
    int64_t axis;

    if (p->n_dims == DIMS_MAX)
        return err_set(err, ERR_USAGE, "--dim: more than %d", DIMS_MAX);
    *d = (struct dim){ .axis = -1, .text = text };
    if (!equals || n == 0 ||
        !read_size(equals + 1, strlen(equals + 1), ELEMS_MAX, &d->size))
        return err_set(err, ERR_USAGE,
                       "--dim %s: wanted INPUT:AXIS=N, AXIS=N (of every input) or "
                       "INPUT=N (every axis that is not known), such as tokens:1=128",
                       text);
    while (colon > 0 && text[colon - 1] >= '0' && text[colon - 1] <= '9')
        colon--;
    if (colon < n && (colon == 0 || text[colon - 1] == ':')) {
        axis = strtol(text + colon, NULL, 10);
        if (axis >= SM_MAX_RANK)
            return err_set(err, ERR_USAGE, "--dim %s: axes are 0 to %d", text,
                           SM_MAX_RANK - 1);
        d->axis = (int)axis;
        colon -= colon > 0;
    } else {
        colon = n;
    }
    if (colon > 0)
        d->input = xstrndup(text, colon);
    p->n_dims++;
    return 0;
}

/* What --dim says of an axis; 0: nothing. Names count more than axes alone. */
static int64_t
given_dim(struct probe *p, struct str key, int axis)
{
    int64_t size = 0;

    for (int named = 0; named < 2; named++)
        for (int i = 0; i < p->n_dims; i++) {
            struct dim *d = &p->dims[i];
            /* INPUT=N is not about the batch. */
            const bool fits = d->axis == axis || (d->axis < 0 && axis > 0);

            if (!fits || (d->input != NULL) != (named == 1) ||
                (d->input && !str_is(key, d->input)))
                continue;
            d->is_used = true;
            size = d->size;
        }
    return size;
}

/* ---- one signature -------------------------------------------------------------- */

struct made {
    const struct sm_signature *s;
    char *key;                     /* of the signature */
    int64_t *below;                /* one an input */
    struct val_features *features; /* the same; none: no tf.Examples are wanted */
    unsigned families;
    bool is_batched, has_defaults;
    struct digest seen[64]; /* cases so far: of two that are the same one is made */
    int n_seen;
};

/* The shape of an input in a batch of so many. */
static int
shape_of(struct probe *p, const struct sm_tensor_info *t, int64_t batch, int64_t *dims,
         int *rank, int64_t *n_elems, struct err *err)
{
    const struct sm_shape *s = &t->shape;

    *rank = s->rank;
    if (s->unknown_rank) {
        *rank = 1;
        for (int i = 0; i < p->n_dims; i++)
            if (p->dims[i].axis >= *rank &&
                (!p->dims[i].input || str_is(t->key, p->dims[i].input)))
                *rank = p->dims[i].axis + 1;
    }
    *n_elems = 1;
    for (int d = 0; d < *rank; d++) {
        int64_t given = 0;

        dims[d] = s->unknown_rank ? -1 : s->dims[d];
        if (dims[d] < 0)
            given = given_dim(p, t->key, d);
        if (dims[d] < 0)
            dims[d] = given        ? given
                      : d == 0     ? batch
                      : *rank >= 4 ? IMAGE_DIM
                                   : SMALL_DIM;
        if (dims[d] > 0 && *n_elems > ELEMS_MAX / dims[d])
            return err_set(err, ERR_LIMIT,
                           "input '%.*s' would have more than %" PRId64
                           " elements: give --dim or --batch smaller sizes",
                           STR_ARG(t->key), ELEMS_MAX);
        *n_elems *= dims[d];
    }
    return 0;
}

static int
make_input(struct probe *p, const struct made *m, int i, const char *name,
           enum fill fill, unsigned families, int64_t batch, struct sm_tensor *out,
           struct err *err)
{
    const struct sm_tensor_info *t = &m->s->inputs[i];
    const int dtype = t->dtype % SM_REF;
    int64_t dims[SM_MAX_RANK] = { 0 }, n;
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct digest d;
    uint64_t state;
    int rank;

    if (shape_of(p, t, batch, dims, &rank, &n, err) < 0)
        return -(int)err->code;
    buf_addf(&text, "%" PRIu64 "\n%s\n%s\n%.*s", p->args->seed, m->key, name,
             STR_ARG(t->key));
    sha256_of(text.data, text.len, &d);
    memcpy(&state, d.b, sizeof(state));
    *out = (struct sm_tensor){ .dtype = dtype, .rank = rank, .n_elems = n };
    memcpy(out->dims, dims, sizeof(out->dims));
    if (m->features[i].n)
        return val_examples_fill(out, &m->features[i], fill, families, &state, err);
    return val_fill(out, val_fill_family(dtype) & families ? fill : RANDOM, m->below[i],
                    &state, err);
}

/* 1: a case of the same values was made before. */
static int
is_seen(struct made *m, const struct sm_tensor_list *in)
{
    struct digest d;
    struct sha256 s;

    sha256_init(&s);
    for (int i = 0; i < in->n; i++) {
        const struct sm_tensor *t = &in->v[i].t;

        sha256_add(&s, in->v[i].name, strlen(in->v[i].name) + 1);
        sha256_add(&s, t->dims, (size_t)t->rank * sizeof(t->dims[0]));
        if (t->dtype != SM_STRING)
            sha256_add(&s, t->data, sm_tensor_bytes(t));
        for (int64_t k = 0; t->dtype == SM_STRING && k < t->n_elems; k++) {
            const struct str v = sm_tensor_str(t)[k];

            sha256_add(&s, &v.n, sizeof(v.n));
            sha256_add(&s, v.p, v.n);
        }
    }
    sha256_end(&s, &d);
    for (int i = 0; i < m->n_seen; i++)
        if (digest_eq(&d, &m->seen[i]))
            return 1;
    if (m->n_seen < (int)(sizeof(m->seen) / sizeof(m->seen[0])))
        m->seen[m->n_seen++] = d;
    return 0;
}

static int
make_case(struct probe *p, struct made *m, const char *name, enum fill fill,
          unsigned families, int64_t batch, bool with_defaults, struct err *err)
{
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { .n = 0 };
    char *full AUTO(free_ptr) =
        p->n_signatures == 1 ? xstrdup(name) : xasprintf("%s.%s", m->key, name);

    for (int i = 0; i < m->s->n_inputs; i++) {
        const struct sm_tensor_info *t = &m->s->inputs[i];
        char *key AUTO(free_ptr) = str_dup(t->key);
        struct sm_tensor x;

        if (!with_defaults && t->has_default)
            continue;
        if (make_input(p, m, i, name, fill, families, batch, &x, err) < 0)
            return -(int)err->code;
        sm_tensor_list_add(&in, key, &x);
    }
    return is_seen(m, &in) ? 0 : p->fn(p->arg, full, m->key, &in, err);
}

static int
make_cases(struct probe *p, struct made *m, struct err *err)
{
    /* Edges in a batch of two where there are batches: rows must not mix. */
    const int64_t some = p->batches[p->n_batches > 1];
    int r = 0;

    if (m->s->n_inputs == 0)
        return make_case(p, m, "call", RANDOM, 0, 1, true, err);
    for (int i = 0; i < (m->is_batched ? p->n_batches : 1) && r == 0; i++) {
        char *name AUTO(free_ptr) = m->is_batched
                                        ? xasprintf("random-%" PRId64, p->batches[i])
                                        : xstrdup("random");

        r = make_case(p, m, name, RANDOM, 0, p->batches[i], true, err);
    }
    if (r == 0 && m->has_defaults)
        r = make_case(p, m, "defaults", RANDOM, 0, some, false, err);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]) && r == 0; k++)
        if ((kinds[k].families & m->families) &&
            (!kinds[k].nonfinite || p->args->nonfinite))
            r = make_case(p, m, kinds[k].name, kinds[k].fill, kinds[k].families, some,
                          true, err);
    return r;
}

/* ---- all of them ---------------------------------------------------------------- */

static void
skip(struct probe *p, const struct made *m, const char *why)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddItemToArray(p->skipped, o);
    json_put_str(o, "signature", m->key);
    json_put_str(o, "why", why);
}

/* What no probe can be made for; NULL: each input can. */
static char *
why_not(const struct sm_signature *s)
{
    for (int i = 0; i < s->n_inputs; i++) {
        const struct sm_tensor_info *t = &s->inputs[i];

        if (!t->name.n)
            return xasprintf("input '%.*s' is no plain tensor (sparse or composite): "
                             "record requests instead",
                             STR_ARG(t->key));
        if (!val_fill_family(t->dtype % SM_REF))
            return xasprintf("input '%.*s' is %s, which a golden set cannot hold",
                             STR_ARG(t->key), sm_dtype_name(t->dtype));
    }
    return NULL;
}

static void
describe(struct probe *p, const struct made *m, int i)
{
    const struct sm_tensor_info *t = &m->s->inputs[i];
    struct buf shape AUTO(buf_release) = BUF_INIT;
    cJSON *o = cJSON_CreateObject();
    char *key AUTO(free_ptr) = str_dup(t->key);

    sm_shape_text(&t->shape, &shape);
    cJSON_AddItemToArray(p->inputs, o);
    json_put_str(o, "signature", m->key);
    json_put_str(o, "key", key);
    json_put_str(o, "dtype", sm_dtype_info(t->dtype)->tf_name);
    json_put_str(o, "shape", buf_str(&shape));
    if (m->below[i])
        json_put_int(o, "below", m->below[i]);
    if (m->features[i].n)
        json_put_int(o, "features", m->features[i].n);
}

static int
probe_signature(struct probe *p, const struct sm_signature *s, struct err *err)
{
    struct made m = { .s = s,
                      .key = str_dup(s->key),
                      .below = xcalloc((size_t)s->n_inputs + 1, sizeof(*m.below)),
                      .features =
                          xcalloc((size_t)s->n_inputs + 1, sizeof(*m.features)) };
    char *why AUTO(free_ptr) = why_not(s);
    int r = 0;

    for (int i = 0; i < s->n_inputs && !why; i++) {
        const struct sm_tensor_info *t = &s->inputs[i];
        const unsigned family = val_fill_family(t->dtype % SM_REF);

        if (p->has_graph && (family & (INTS | REALS)))
            m.below[i] = val_ids_below(&p->graph, t);
        if (p->has_graph && family == STRINGS &&
            val_features_find(&p->graph, t, &m.features[i]))
            m.families |= val_features_families(&m.features[i]);
        m.families |= family;
        m.has_defaults |= t->has_default;
        m.is_batched |=
            t->shape.unknown_rank || (t->shape.rank > 0 && t->shape.dims[0] < 0);
        describe(p, &m, i);
    }
    if (why)
        skip(p, &m, why);
    else
        r = make_cases(p, &m, err);
    free(m.key);
    free(m.below);
    for (int i = 0; i < s->n_inputs; i++)
        val_features_release(&m.features[i]);
    free(m.features);
    return r;
}

/* Sizes that nothing takes, and inputs that would be too big, before anything is made.
 */
static int
check_sizes(struct probe *p, const struct sm_signature *only, struct err *err)
{
    for (int i = 0; i < p->meta->n_signatures; i++) {
        const struct sm_signature *s = &p->meta->signatures[i];

        for (int k = 0; (only ? s == only : !sm_signature_hidden(s)) && k < s->n_inputs;
             k++) {
            int64_t dims[SM_MAX_RANK], n;
            int rank;

            for (int b = 0; b < p->n_batches; b++)
                if (shape_of(p, &s->inputs[k], p->batches[b], dims, &rank, &n, err) < 0)
                    return -(int)err->code;
        }
    }
    for (int i = 0; i < p->n_dims; i++)
        if (!p->dims[i].is_used)
            return err_set(err, ERR_USAGE,
                           "--dim %s: no input has an unknown dimension there (sluice "
                           "show lists shapes)",
                           p->dims[i].text);
    return 0;
}

static int
probe_signatures(struct probe *p, struct err *err)
{
    const struct sm_signature *only = NULL;
    int r = 0;

    if (p->args->signature &&
        sm_find_signature(p->meta, p->args->signature, &only, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < p->meta->n_signatures; i++)
        p->n_signatures += !sm_signature_hidden(&p->meta->signatures[i]);
    if (only)
        p->n_signatures = 1;
    r = p->n_signatures ? check_sizes(p, only, err)
                        : err_set(err, ERR_INVALID,
                                  "the model has no signatures: there "
                                  "is nothing that could be fed");
    for (int i = 0; i < p->meta->n_signatures && r == 0; i++) {
        const struct sm_signature *s = &p->meta->signatures[i];

        if (only ? s == only : !sm_signature_hidden(s))
            r = probe_signature(p, s, err);
    }
    return r;
}

int
val_probe(const struct sm_meta *meta, const struct val_probe_args *args,
          val_probe_fn *fn, void *arg, cJSON *about, struct err *err)
{
    struct probe p = { .args = args, .meta = meta, .fn = fn, .arg = arg };
    struct err no_graph = ERR_INIT;
    int r = read_batches(&p, err);

    p.inputs = cJSON_AddArrayToObject(about, "inputs");
    p.skipped = cJSON_AddArrayToObject(about, "skipped");
    for (const cJSON *d = args->dims ? args->dims->child : NULL; d && r == 0;
         d = d->next)
        r = read_dim(&p, cJSON_GetStringValue(d), err);
    p.has_graph = scan_graph_open(&p.graph, meta, &no_graph) == 0;
    if (r == 0)
        r = probe_signatures(&p, err);
    scan_graph_release(&p.graph);
    for (int i = 0; i < p.n_dims; i++)
        free(p.dims[i].input);
    return r;
}
