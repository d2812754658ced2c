/* SPDX-License-Identifier: Apache-2.0 */
/* Records golden sets: runs inputs through a model and writes down what it answered.
 *
 * Each case is run from the loaded state and written at once. At the end the set is
 * read back as a judge would read it, and all cases are run once more, this time
 * without going back to the loaded state in between: what a model remembers from call
 * to call, or draws at random, shows as another answer, and then there is no set. In a
 * sequential set (one session) what is remembered is part of the answer, and the second
 * session begins from the loaded state as the first did. */
#include "validate/record.h"
#include "validate/val_int.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 190

struct val_recorder {
    struct val_record_args args;
    struct backend *b; /* NULL: it has gone */
    bool has_run;      /* since it was loaded or reset */
    bool has_failed;   /* the last run did: it may have ended the process */
    cJSON *cases, *left_out;
    char **name_texts; /* of cases */
    int n_names, n_cases, n_out;
    enum err_code first_code; /* why the first was left out */
    char *first_why;
};

/* ---- the backend ---------------------------------------------------------------- */

static void
unload(struct val_recorder *r)
{
    if (r->b)
        r->args.ops->close(r->b);
    r->b = NULL;
}

static int
load(struct val_recorder *r, struct err *err)
{
    const struct backend_args args = { .model_dir = r->args.model_dir,
                                       .tags = r->args.tags,
                                       .max_wall_ms = r->args.max_wall_ms,
                                       .max_loop_steps = r->args.max_loop_steps };

    unload(r);
    r->has_run = false;
    return r->args.ops->load(&r->b, &args, err);
}

/* A run may have ended the process that ran it: then it is loaded again. */
static int
fresh(struct val_recorder *r, struct err *err)
{
    struct err gone = ERR_INIT;

    if (r->b && !r->has_run)
        return 0;
    if (r->b && r->args.ops->reset(r->b, &gone) == 0) {
        r->has_run = false;
        return 0;
    }
    return load(r, err);
}

static int
run(struct val_recorder *r, const char *signature, const struct sm_tensor_list *in,
    struct sm_tensor_list *out, struct err *err)
{
    int e;

    r->has_run = true;
    e = r->args.ops->run(r->b, signature, in, out, err);
    r->has_failed = e < 0;
    return e;
}

int
val_record_open(struct val_recorder **out, const struct val_record_args *args,
                struct err *err)
{
    struct val_recorder *r = xcalloc(1, sizeof(*r));

    r->args = *args;
    r->cases = cJSON_CreateArray();
    r->left_out = cJSON_CreateArray();
    if (load(r, err) < 0)
        val_record_close_p(&r);
    *out = r;
    return r ? 0 : -(int)err->code;
}

void
val_record_close_p(struct val_recorder **p)
{
    struct val_recorder *r = *p;

    *p = NULL;
    if (!r)
        return;
    unload(r);
    cJSON_Delete(r->cases);
    cJSON_Delete(r->left_out);
    for (int i = 0; i < r->n_names; i++)
        free(r->name_texts[i]);
    free(r->name_texts);
    free(r->first_why);
    free(r);
}

/* ---- names ---------------------------------------------------------------------- */

static bool
is_taken(const struct val_recorder *r, const char *name)
{
    for (int i = r->n_names - 1; i >= 0; i--) /* twins mostly follow each other */
        if (strcmp(r->name_texts[i], name) == 0)
            return true;
    return false;
}

/* A name that a case may have, and no other has. The recorder keeps it. */
static const char *
take_name(struct val_recorder *r, const char *wanted)
{
    char *base AUTO(free_ptr) = xstrndup(wanted, NAME_MAX_BYTES);
    char *name;

    for (char *p = base; *p; p++)
        if ((uint8_t)*p < 0x20 || *p == 0x7f || *p == '/' || (p == base && *p == '.'))
            *p = '_';
    name = xstrdup(base);
    for (int i = 2; is_taken(r, name); i++) {
        free(name);
        name = xasprintf("%s~%d", base, i);
    }
    r->name_texts =
        xreallocarray(r->name_texts, (size_t)r->n_names + 1, sizeof(*r->name_texts));
    return r->name_texts[r->n_names++] = name;
}

/* ---- what is left out ----------------------------------------------------------- */

void
val_record_leave_out(struct val_recorder *r, const char *name, const char *why,
                     enum err_code code)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddItemToArray(r->left_out, o);
    json_put_str(o, "name", name);
    json_put_str(o, "why", why);
    if (r->n_out++ > 0)
        return;
    r->first_code = code;
    r->first_why = xasprintf("%s: %s", name, why);
}

/* ---- one case ------------------------------------------------------------------- */

/* The outputs that are wanted. */
static int
keep_outputs(const struct val_recorder *r, struct sm_tensor_list *outs, struct err *err)
{
    struct sm_tensor_list kept = { .n = 0 };

    if (r->args.outputs) {
        for (const char *p = r->args.outputs; *p;) {
            const size_t n = strcspn(p, ",");
            char *key AUTO(free_ptr) = xstrndup(p, n);
            struct sm_tensor *t = sm_tensor_list_find(outs, key);

            p += n + (p[n] == ',');
            if (t && !sm_tensor_list_find(&kept, key))
                sm_tensor_list_add(&kept, key, t);
        }
        sm_tensor_list_release(outs);
        *outs = kept;
    }
    return outs->n ? 0
                   : err_set(err, ERR_INVALID, "the signature has no output%s%s",
                             r->args.outputs ? " of " : "",
                             r->args.outputs ? r->args.outputs : "");
}

/* What a person keeps in NumPy's float64 is meant as the signature's float32. */
static int
cast(struct sm_tensor_list *in, const struct backend_signature *sig, struct err *err)
{
    for (int i = 0; i < in->n; i++) {
        struct sm_tensor *t = &in->v[i].t;

        for (int k = 0; k < sig->n_inputs; k++) {
            const struct backend_tensor *want = &sig->inputs[k];
            const int dtype = want->dtype % SM_REF;
            const struct sm_dtype_info *info = sm_dtype_info(dtype);

            if (strcmp(want->key, in->v[i].name) != 0 &&
                !(in->v[i].name[0] == '\0' && sig->n_inputs == 1))
                continue;
            if (t->dtype != dtype && info && info->descr && t->dtype != SM_STRING &&
                sm_tensor_cast(t, dtype, want->key, err) < 0)
                return -(int)err->code;
        }
    }
    return 0;
}

static int
bind(struct val_recorder *r, const char *signature, const struct sm_tensor_list *inputs,
     bool is_numpy, struct sm_tensor_list *in, struct err *err)
{
    const struct backend_signature *sig;
    int e = r->args.ops->signature(r->b, signature, &sig, err);

    if (e < 0)
        return e;
    val_borrow(in, inputs);
    if (is_numpy)
        e = cast(in, sig, err);
    return e < 0 ? e : val_bind(in, sig, err);
}

int
val_record_case(struct val_recorder *r, const char *name, const char *signature,
                const struct sm_tensor_list *inputs, bool is_numpy, struct err *err)
{
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { .n = 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { .n = 0 };
    struct err bad = ERR_INIT;
    int e;

    name = take_name(r, name);
    if (!r->args.sequential && fresh(r, err) < 0)
        return -(int)err->code;
    e = bind(r, signature, inputs, is_numpy, &in, &bad);
    if (e == 0)
        e = run(r, signature, &in, &out, &bad);
    if (e == 0)
        e = keep_outputs(r, &out, &bad);
    if (e == 0)
        e = r->n_cases == VAL_RECORD_CASES_MAX
                ? err_set(err, ERR_LIMIT, "a golden set has at most %d cases",
                          VAL_RECORD_CASES_MAX)
                : val_write_case(&r->args, r->cases, name, signature, &in, &out, &bad);
    if (err->code != ERR_OK)
        return -(int)err->code;
    r->n_cases += e == 0;
    if (e < 0 && val_is_ours(&bad))
        return err_set(err, bad.code, "case '%s': %s", name, bad.msg);
    if (e < 0)
        val_record_leave_out(r, name, bad.msg, bad.code);
    return 0;
}

/* ---- the second run ------------------------------------------------------------- */

static int
compare_again(const struct val_recorder *r, const struct val_case *c,
              const struct sm_tensor_list *out, struct err *err)
{
    for (int i = 0; i < c->expected.n; i++) {
        const char *key = c->expected.v[i].name;
        const struct sm_tensor *got = sm_tensor_list_find(out, key);
        struct val_diff d = { .ok = true };

        if (got)
            val_compare(key, got, &c->expected.v[i].t, VAL_EXACT, 0, &d);
        if (got && d.ok)
            continue;
        return err_set(err, ERR_FAILED,
                       "case '%s': the same input run twice gives two answers: %s. %s",
                       c->name, got ? d.why : key,
                       r->args.sequential && r->n_out > 0
                           ? "An input that was left out may have changed what the "
                             "session keeps: record without it"
                       : r->args.sequential
                           ? "The model is not deterministic: a recording of it would "
                             "judge nothing. --outputs names the outputs that can be "
                             "recorded, when there are others"
                           : "It keeps something from call to call, or draws at "
                             "random. --sequential records all cases as one session; "
                             "--outputs names the outputs that can be recorded, when "
                             "there are others");
    }
    return 0;
}

static int
run_case_again(struct val_recorder *r, const struct val_case *c, struct err *err)
{
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { .n = 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { .n = 0 };
    struct err bad = ERR_INIT;

    if (bind(r, c->signature, &c->inputs, false, &in, &bad) < 0 ||
        run(r, c->signature, &in, &out, &bad) < 0)
        return err_set(err, bad.code, "case '%s' ran once, and not a second time: %s",
                       c->name, bad.msg);
    return compare_again(r, c, &out, err);
}

static int
run_again(struct val_recorder *r, const struct val_golden *g, struct err *err)
{
    const char *last = "";

    if ((r->args.sequential || r->has_failed) && fresh(r, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < g->n_cases; i++) {
        const struct val_case *c = &g->cases[i];

        /* A signature's first case has nothing to remember yet: it comes twice. */
        if (!r->args.sequential && strcmp(last, c->signature) != 0 &&
            run_case_again(r, c, err) < 0)
            return -(int)err->code;
        last = c->signature;
        if (run_case_again(r, c, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

int
val_record_end(struct val_recorder *r, cJSON *recorded, cJSON *report, struct err *err)
{
    struct val_golden g AUTO(val_golden_release) = { .cases = NULL };
    int e;

    json_put_int(report, "cases", r->n_cases);
    cJSON_AddItemToObject(report, "left_out", r->left_out);
    r->left_out = NULL;
    if (r->n_cases == 0) {
        cJSON_Delete(recorded);
        return r->n_out == 0
                   ? err_set(err, ERR_INVALID, "there is nothing to record")
                   : err_set(
                         err, r->first_code,
                         "none of %d inputs can be recorded (%s); the first: %.1000s",
                         r->n_out, r->args.way_out, r->first_why);
    }
    json_put_int(recorded, "left_out", r->n_out);
    e = val_write_set(&r->args, recorded, r->cases, err);
    r->cases = NULL;
    if (e == 0)
        e = val_golden_load(&g, r->args.dir, err);
    return e < 0 ? e : run_again(r, &g, err);
}
