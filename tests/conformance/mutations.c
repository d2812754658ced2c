/* SPDX-License-Identifier: Apache-2.0 */
/* Breaks real models in ways that happen (a bit of a weight, swapped labels, a shuffled
 * vocabulary, …) and asks the judge. What a broken version really answers is found
 * beside him, by running it and holding each output against the expected one in the
 * plainest way: he must name these outputs and no others. Rewrites that keep the
 * meaning must pass.
 *
 *   mutations MODELS SCRATCH     MODELS/<name>/{golden.json, model/} */
#include "tests/conformance/mutate.h"

#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const models[] = { "cnn_lenet",         "k3_mlp_export",
                                      "tr_bert_tiny",      "rec_wide_deep",
                                      "tf1_tables_assets", "real_emotion",
                                      "rnn_gru_both",      "txt_vectorization_int",
                                      "txt_static_tables", "est_linear_classifier" };

/* ---- the truth ------------------------------------------------------------------ */

struct truth {
    const struct val_golden *g;
    struct buf wrong; /* " case/output"; no answer: " case/" */
};

static double
value_at(const struct sm_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case SM_FLOAT:
        return (double)((float *)t->data)[i];
    case SM_DOUBLE:
        return ((double *)t->data)[i];
    case SM_INT64:
        return (double)((int64_t *)t->data)[i];
    case SM_INT32:
        return (double)((int32_t *)t->data)[i];
    default:
        return (double)((uint8_t *)t->data)[i];
    }
}

/* rel_max, the only kind that these sets use; integers and strings are exact. */
static bool
differs(const struct sm_tensor *got, const struct sm_tensor *want, double limit)
{
    double error = 0, scale = 1;
    const bool is_float = want->dtype == SM_FLOAT || want->dtype == SM_DOUBLE;

    if (got->n_elems != want->n_elems || got->rank != want->rank ||
        memcmp(got->dims, want->dims, (size_t)want->rank * sizeof(want->dims[0])) != 0)
        return true;
    for (int64_t i = 0; i < want->n_elems; i++) {
        double a, b;

        if (want->dtype == SM_STRING) {
            const struct str x = sm_tensor_str(got)[i], y = sm_tensor_str(want)[i];

            if (x.n != y.n || memcmp(x.p, y.p, x.n) != 0)
                return true;
            continue;
        }
        a = value_at(got, i);
        b = value_at(want, i);
        if (isfinite(b))
            scale = fmax(scale, fabs(b));
        if (a == b || (isnan(a) && isnan(b)))
            continue;
        if (!is_float || !isfinite(a) || !isfinite(b))
            return true;
        error = fmax(error, fabs(a - b));
    }
    return error / scale > limit;
}

static int
see_case(void *arg, const struct val_result *res, struct err *err)
{
    struct truth *t = arg;
    const struct val_case *c = res->c;

    (void)err;
    if (!res->outputs) {
        buf_addf(&t->wrong, " %s/", c->name);
        return 0;
    }
    for (int i = 0; i < c->expected.n; i++) {
        const struct sm_tensor *got =
            sm_tensor_list_find(res->outputs, c->expected.v[i].name);

        if (!got) { /* the set names what the signature does not have */
            buf_addf(&t->wrong, " %s/", c->name);
            break;
        }
        if (differs(got, &c->expected.v[i].t, c->tolerances[0].limit))
            buf_addf(&t->wrong, " %s/%s", c->name, c->expected.v[i].name);
    }
    return 0;
}

static int
find_truth(const char *dir, struct truth *t, struct err *err)
{
    const struct backend_args args = { .model_dir = dir, .tags = t->g->tags };
    struct backend *b = NULL;
    struct err bad = ERR_INIT;
    int r;

    if (runner_backend.load(&b, &args, &bad) < 0) {
        buf_adds(&t->wrong, " model");
        return 0;
    }
    r = val_run_cases(t->g, &runner_backend, b, see_case, t, err);
    runner_backend.close(b);
    return r;
}

/* ---- the judge's word ----------------------------------------------------------- */

static void
list_wrong(const cJSON *report, struct buf *out)
{
    const cJSON *c, *o;

    if (json_has(report, "error"))
        buf_adds(out, " model");
    cJSON_ArrayForEach(c, cJSON_GetObjectItem(report, "cases"))
    {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(c, "name"));
        bool any = false;

        cJSON_ArrayForEach(o, cJSON_GetObjectItem(c, "outputs"))
        {
            if (!cJSON_IsFalse(cJSON_GetObjectItem(o, "ok")))
                continue;
            buf_addf(out, " %s/%s", name,
                     cJSON_GetStringValue(cJSON_GetObjectItem(o, "name")));
            any = true;
        }
        if (!any && json_has(c, "why"))
            buf_addf(out, " %s/", name);
    }
}

struct count {
    int n, n_changed, n_caught, n_false, n_bad, n_kept, n_traced;
};

/* ---- the trace's word ----------------------------------------------------------- */

static const char *
text_of(const cJSON *o, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItem(o, key));

    return s ? s : "";
}

/* The cause is the weight that was broken, with as many values as were changed, and the
 * node that is named reads it; of a broken vocabulary it is the table. */
static int
check_trace(const char *model, const struct mutation *m, const char *dir,
            const char *from, unsigned seed, const struct val_golden *g,
            const struct broken *broken, cJSON *report, struct count *n,
            struct err *err)
{
    const cJSON *trace, *at, *cause;
    int reads = 0, right;

    if (val_trace_dir(dir, from, "as it was", g, &runner_backend, report, err) < 0)
        return -1;
    trace = cJSON_GetObjectItem(report, "trace");
    at = cJSON_GetObjectItem(trace, json_has(trace, "begins") ? "begins" : "first");
    cause = cJSON_GetArrayItem(cJSON_GetObjectItem(trace, "causes"), 0);
    if (at && cause &&
        (reads = reads_weight(from, g->tags, text_of(at, "function"),
                              text_of(at, "node"), text_of(cause, "name"), err)) < 0)
        return -1;
    if (m->how == WEIGHT)
        right = reads &&
                cJSON_GetArraySize(cJSON_GetObjectItem(trace, "causes")) == 1 &&
                strcmp(text_of(cause, "key"), broken->key) == 0 &&
                cJSON_GetObjectItem(cause, "differ")->valuedouble ==
                    (double)broken->n_changed;
    else
        right = m->how == WEIGHTS
                    ? reads
                    : strcmp(text_of(cause, "object"), "lookup table") == 0;
    n->n_traced += right;
    if (right)
        return 0;
    n->n_bad++;
    printf("# %s, %s (%u) of %s: traced to %s, because of %s%s %s\n", model, m->name,
           seed, broken->key, text_of(at, "node"), text_of(cause, "key"),
           reads ? "" : ", which it does not read", text_of(trace, "note"));
    return 0;
}

static int
try_one(const char *model, const struct mutation *m, const char *dir, const char *from,
        unsigned seed, const struct val_golden *g, struct count *n, struct err *err)
{
    struct truth t = { .g = g, .wrong = BUF_INIT };
    struct buf said AUTO(buf_release) = BUF_INIT;
    enum val_outcome outcome = VAL_FAILED;
    cJSON *report AUTO(json_free) = NULL;
    struct broken broken = { .n_tensors = 0 };
    int r = mutate(m, dir, seed, g, &broken, err);

    if (r <= 0)
        return r;
    r = find_truth(dir, &t, err);
    if (r == 0)
        r = val_judge_dir(dir, g, &runner_backend, &outcome, &report, err);
    unsetenv("SLUICE_PLAN");
    if (r == 0 && m->how != KEY && !m->keeps && t.wrong.len > 0)
        r = check_trace(model, m, dir, from, seed, g, &broken, report, n, err);
    if (r < 0) {
        buf_release(&t.wrong);
        return -1;
    }
    list_wrong(report, &said);
    const bool changed = t.wrong.len > 0;
    const bool right = (outcome == VAL_PASSED) == !changed &&
                       strcmp(buf_str(&said), buf_str(&t.wrong)) == 0 &&
                       (!m->keeps || !changed);
    n->n += !m->keeps;
    n->n_changed += changed && !m->keeps;
    n->n_caught += changed && !m->keeps && right;
    n->n_kept += m->keeps;
    n->n_false += (m->keeps || !changed) && outcome != VAL_PASSED;
    n->n_bad += !right;
    if (!right)
        printf("# %s, %s (%u): %s, said%s; really%s\n", model, m->name, seed,
               val_outcome_text(outcome), buf_str(&said), buf_str(&t.wrong));
    buf_release(&t.wrong);
    return 1;
}

/* ---- all of them ---------------------------------------------------------------- */

static int
copy_tree(const char *from, const char *to, struct err *err)
{
    DIR *d;
    int r = fs_mkdirs(AT_FDCWD, to, 0755, err);

    if (r < 0 || (d = opendir(from)) == NULL)
        return r < 0 ? r : err_sys(err, errno, "open %s", from);
    for (struct dirent *e; r == 0 && (e = readdir(d)) != NULL;) {
        char *a AUTO(free_ptr) = xasprintf("%s/%s", from, e->d_name);
        char *b AUTO(free_ptr) = xasprintf("%s/%s", to, e->d_name);

        if (e->d_name[0] == '.')
            continue;
        r = e->d_type == DT_DIR ? copy_tree(a, b, err)
                                : fs_copy(AT_FDCWD, a, AT_FDCWD, b, 0644, err);
    }
    closedir(d);
    return r;
}

static int
try_model(const char *root, const char *scratch, const char *model, struct count n[],
          struct err *err)
{
    char *set AUTO(free_ptr) = xasprintf("%s/%s", root, model);
    char *from AUTO(free_ptr) = xasprintf("%s/model", set);
    struct val_golden g;
    int r = val_golden_load(&g, set, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < N_MUTATIONS; i++)
        for (unsigned seed = 0; r >= 0 && seed < mutations[i].n; seed++) {
            char *dir AUTO(free_ptr) =
                xasprintf("%s/%s-%zu-%u", scratch, model, i, seed);

            r = copy_tree(from, dir, err);
            if (r >= 0)
                r = try_one(model, &mutations[i], dir, from, seed, &g, &n[i], err);
            if (r >= 0 && fs_remove_tree(AT_FDCWD, dir, err) < 0)
                r = -1;
        }
    val_golden_release(&g);
    return r;
}

int
main(int argc, char **argv)
{
    enum { N = N_MUTATIONS };
    struct count n[N] = { { 0 } }, all = { 0 };
    struct err err = ERR_INIT;
    int n_to_trace = 0;

    json_setup();
    if (argc != 3) {
        fprintf(stderr, "mutations MODELS SCRATCH\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
        if (try_model(argv[1], argv[2], models[i], n, &err) < 0) {
            printf("not ok - %s: %s\n", models[i], err.msg);
            return 1;
        }
    for (int i = 0; i < N; i++) {
        printf("# %-36s %3d versions, %3d answer otherwise, %3d caught, %3d traced\n",
               mutations[i].name, n[i].n + n[i].n_kept, n[i].n_changed, n[i].n_caught,
               n[i].n_traced);
        n_to_trace += mutations[i].how != KEY ? n[i].n_changed : 0;
        all.n_traced += n[i].n_traced;
        all.n += n[i].n;
        all.n_changed += n[i].n_changed;
        all.n_caught += n[i].n_caught;
        all.n_kept += n[i].n_kept;
        all.n_false += n[i].n_false;
        all.n_bad += n[i].n_bad;
    }
    printf("# %d broken versions: %d answer beyond tolerance, %d caught with the right "
           "outputs; %d answer within it\n",
           all.n, all.n_changed, all.n_caught, all.n - all.n_changed);
    printf("# %d rewrites that keep the meaning; %d false alarms in all\n", all.n_kept,
           all.n_false);
    printf("# %d of %d traced to a node that reads what was broken\n", all.n_traced,
           n_to_trace);
    printf("%s 1 - every change is caught and named, no false alarm\n",
           all.n_bad == 0 && all.n >= 200 ? "ok" : "not ok");
    return !(all.n_bad == 0 && all.n >= 200);
}
