/* SPDX-License-Identifier: Apache-2.0 */
/* Golden sets beside a model's signatures, without running it: whether they fit, and
 * their inputs as TF Serving's warm-up records. */
#include "validate/val_int.h"

#include <inttypes.h>
#include <string.h>

/* ---- cases ---------------------------------------------------------------------- */

/* fn for each case with its signature and its inputs bound to it. Functions that are no
 * signature ("function:…") and odd signatures are left out, or refused. */
struct bound {
    const struct val_golden *g;
    const struct val_case *c;
    const struct val_signature *s;
    struct sm_tensor_list inputs;
};
typedef int bound_fn(void *arg, const struct bound *b, struct err *err);

static int
with_case(const struct sm_meta *meta, const struct val_golden *g,
          const struct val_case *c, bool must, bound_fn *fn, void *arg, struct err *err)
{
    struct val_signature s AUTO(val_signature_release) = { .tensors = NULL };
    struct bound b = { .g = g, .c = c, .s = &s };
    const struct sm_signature *found = NULL;
    bool is_function = strncmp(c->signature, "function:", 9) == 0;
    int r = is_function ? 0 : sm_find_signature(meta, c->signature, &found, err);

    if (r < 0)
        return r;
    if (found)
        val_signature_make(&s, found);
    if (!found || s.odd)
        return must ? err_set(err, ERR_UNSUPPORTED,
                              "\"%s\" is no signature of plain tensors", c->signature)
                    : 0;
    val_borrow(&b.inputs, &c->inputs);
    r = val_bind(&b.inputs, &s.sig, err);
    if (r == 0)
        r = fn(arg, &b, err);
    sm_tensor_list_release(&b.inputs);
    return r;
}

static int
each_case(const struct val_golden *g, const char *model_dir, bool must, bound_fn *fn,
          void *arg, struct err *err)
{
    struct sm_model *model AUTO(sm_close_p) = NULL;
    const struct sm_meta *meta = NULL;
    int r = sm_open_path(&model, model_dir, err);

    if (r == 0)
        r = sm_find_meta(model, g->tags, &meta, err);
    for (int i = 0; r == 0 && i < g->n_cases; i++) {
        r = with_case(meta, g, &g->cases[i], must, fn, arg, err);
        if (r < 0)
            err_ctx(err, "case '%s'", g->cases[i].name);
    }
    return r;
}

/* ---- does it fit? --------------------------------------------------------------- */

static int
check_shape(const char *what, const struct backend_tensor *want,
            const struct sm_tensor *t, struct err *err)
{
    struct sm_shape have = { .rank = t->rank };
    struct buf a AUTO(buf_release) = BUF_INIT, b AUTO(buf_release) = BUF_INIT;
    bool fits = want->shape.unknown_rank || want->shape.rank == t->rank;

    for (int i = 0; i < t->rank; i++) {
        have.dims[i] = t->dims[i];
        if (fits && !want->shape.unknown_rank && want->shape.dims[i] >= 0)
            fits = want->shape.dims[i] == t->dims[i];
    }
    if (fits)
        return 0;
    sm_shape_text(&have, &a);
    sm_shape_text(&want->shape, &b);
    return err_set(err, ERR_INVALID,
                   "%s '%s' has the shape %s; the signature asks for %s", what,
                   want->key, buf_str(&a), buf_str(&b));
}

static int
check_list(const char *what, const struct sm_tensor_list *list,
           const struct backend_tensor *keys, int n_keys, struct err *err)
{
    int r = 0;

    for (int i = 0; i < n_keys && r == 0; i++) {
        const struct sm_tensor *t = sm_tensor_list_find(list, keys[i].key);

        r = t ? check_shape(what, &keys[i], t, err) : 0;
    }
    return r;
}

static bool
is_batched(const struct backend_tensor *t)
{
    return !t->shape.unknown_rank && t->shape.rank > 0 && t->shape.dims[0] < 0;
}

/* Rows that the inputs agree on; -1: they do not, or there is no such dimension. */
static int64_t
batch_of(const struct bound *b)
{
    int64_t rows = -1;

    for (int i = 0; i < b->s->sig.n_inputs; i++) {
        const struct backend_tensor *key = &b->s->sig.inputs[i];
        const struct sm_tensor *t = sm_tensor_list_find(&b->inputs, key->key);

        if (!t || !is_batched(key) || t->rank == 0)
            continue;
        if (rows >= 0 && rows != t->dims[0])
            return -1;
        rows = t->dims[0];
    }
    return rows;
}

/* Labels that a metric holds against an output: one row for each of its. The output's
 * rows are those of the expected ones, or the batch's where the output grows with it.
 */
static int
check_labels(const struct bound *b, struct err *err)
{
    for (int i = 0; i < b->g->n_metrics; i++) {
        const struct val_metric *m = &b->g->metrics[i];
        const struct sm_tensor *labels = val_metric_labels(m, b->c);
        const struct backend_tensor *out = NULL;
        const struct sm_tensor *expected;
        int64_t rows;

        if (!labels)
            continue;
        for (int k = 0; k < b->s->sig.n_outputs; k++)
            if (strcmp(b->s->sig.outputs[k].key, m->output) == 0)
                out = &b->s->sig.outputs[k];
        if (!out)
            return err_set(err, ERR_INVALID,
                           "%s looks at output '%s', which \"%s\" does not have",
                           m->metric, m->output, b->c->signature);
        expected = sm_tensor_list_find(&b->c->expected, m->output);
        rows = expected && expected->rank > 0 ? expected->dims[0]
               : is_batched(out)              ? batch_of(b)
                                              : -1;
        if (rows >= 0 && labels->rank > 0 && labels->dims[0] != rows)
            return err_set(err, ERR_INVALID,
                           "%" PRId64 " labels '%s' for %" PRId64 " rows of '%s'",
                           labels->dims[0], m->labels, rows, m->output);
    }
    return 0;
}

/* One for an output that nobody expects is a slip of the pen. */
static int
check_tolerances(const struct val_case *c, struct err *err)
{
    for (int i = 0; i < c->n_tolerances; i++) {
        const char *output = c->tolerances[i].output;

        if (output && !sm_tensor_list_find(&c->expected, output))
            return err_set(err, ERR_INVALID,
                           "tolerance: \"outputs\": the case expects no '%s'", output);
    }
    return 0;
}

static int
check_case(void *arg, const struct bound *b, struct err *err)
{
    struct sm_tensor_list expected AUTO(sm_tensor_list_release) = { .n = 0 };
    const struct backend_signature *sig = &b->s->sig;
    int r;

    (void)arg;
    for (int i = 0; i < sig->n_inputs; i++)
        if (!sig->inputs[i].has_default &&
            !sm_tensor_list_find(&b->inputs, sig->inputs[i].key))
            return err_set(err, ERR_INVALID,
                           "input '%s' is missing, and the signature has no default",
                           sig->inputs[i].key);
    val_borrow(&expected, &b->c->expected);
    r = check_list("input", &b->inputs, sig->inputs, sig->n_inputs, err);
    if (r == 0)
        r = val_bind_expected(&expected, sig, err);
    if (r == 0)
        r = check_list("output", &expected, sig->outputs, sig->n_outputs, err);
    if (r == 0)
        r = check_tolerances(b->c, err);
    return r < 0 ? r : check_labels(b, err);
}

int
val_golden_fits(const struct val_golden *g, const char *model_dir, struct err *err)
{
    return each_case(g, model_dir, false, check_case, NULL, err);
}

/* ---- warm-up records ------------------------------------------------------------ */

struct warmup {
    const char *model;
    struct buf *out;
};

static int
add_record(void *arg, const struct bound *b, struct err *err)
{
    struct warmup *w = arg;
    struct buf record AUTO(buf_release) = BUF_INIT;

    sm_warmup_add(w->model, b->c->signature, &b->inputs, &record);
    sm_tfrecord_add((struct str){ buf_str(&record), record.len }, w->out);
    return buf_check(w->out, SM_WARMUP_FILE, err);
}

int
val_golden_warmup(const struct val_golden *g, const char *model_dir, const char *model,
                  struct buf *out, struct err *err)
{
    struct warmup w = { .model = model, .out = out };

    if (g->n_cases > SM_WARMUP_MAX_RECORDS)
        return err_set(err, ERR_LIMIT,
                       "%d cases are %d records; TF Serving refuses a warm-up file of "
                       "more than %d",
                       g->n_cases, g->n_cases, SM_WARMUP_MAX_RECORDS);
    return each_case(g, model_dir, true, add_record, &w, err);
}
