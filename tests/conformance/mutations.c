/* SPDX-License-Identifier: Apache-2.0 */
/* Breaks real models in ways that happen (a bit of a weight, swapped labels, a shuffled
 * vocabulary, …) and asks the judge. What a broken version really answers is found
 * beside him, by running it and holding each output against the expected one in the
 * plainest way: he must name these outputs and no others. Rewrites that keep the
 * meaning must pass.
 *
 *   mutations MODELS SCRATCH     MODELS/<name>/{golden.json, model/} */
#include "base/fs.h"
#include "savedmodel/savedmodel.h"
#include "validate/validate.h"

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

/* ---- weights -------------------------------------------------------------------- */

typedef void break_fn(struct sm_tensor *t, unsigned seed);

static void
one_bit(struct sm_tensor *t, unsigned seed)
{
    uint32_t *bits = t->data;

    bits[(seed * 2654435761u) % (uint64_t)t->n_elems] ^= 1u << (28 + seed % 3);
}

static void
one_nan(struct sm_tensor *t, unsigned seed)
{
    ((float *)t->data)[(seed * 2654435761u) % (uint64_t)t->n_elems] = NAN;
}

/* As if what it is multiplied with were scaled. */
static void
scaled(struct sm_tensor *t, unsigned seed)
{
    for (int64_t i = 0; i < t->n_elems; i++)
        ((float *)t->data)[i] *= seed % 2 ? 1.25f : 1 / 255.0f;
}

static int64_t
n_columns(const struct sm_tensor *t)
{
    return t->rank > 0 ? t->dims[t->rank - 1] : 1;
}

static void
shifted_class(struct sm_tensor *t, unsigned seed)
{
    const int64_t n = n_columns(t);
    float *v = t->data;

    (void)seed;
    for (int64_t row = 0; n > 1 && row < t->n_elems; row += n) {
        const float last = v[row + n - 1];

        memmove(&v[row + 1], &v[row], (size_t)(n - 1) * sizeof(v[0]));
        v[row] = last;
    }
}

static void
swapped_labels(struct sm_tensor *t, unsigned seed)
{
    const int64_t n = n_columns(t), other = n > 1 ? 1 + seed % (n - 1) : 0;
    float *v = t->data;

    for (int64_t row = 0; row < t->n_elems; row += n) {
        const float first = v[row];

        v[row] = v[row + other];
        v[row + other] = first;
    }
}

/* The values in the order of the transposed array, with the shape as it was. */
static void
transposed(struct sm_tensor *t, unsigned seed)
{
    const int64_t n = n_columns(t), n_rows = n ? t->n_elems / n : 0;
    float *v = t->data, *copy = xcalloc((size_t)t->n_elems + 1, sizeof(v[0]));

    (void)seed;
    memcpy(copy, v, (size_t)t->n_elems * sizeof(v[0]));
    for (int64_t i = 0; i < t->n_elems; i++)
        v[(i % n) * n_rows + i / n] = copy[i];
    free(copy);
}

static void
as_float16(struct sm_tensor *t, unsigned seed)
{
    (void)seed;
    for (int64_t i = 0; i < t->n_elems; i++)
        ((float *)t->data)[i] = (float)(_Float16)((float *)t->data)[i];
}

static bool
is_weight(const struct sm_entry *e)
{
    return e->dtype == SM_FLOAT && e->n_slices == 0 && e->size_bytes >= 4;
}

/* The seed-th float tensor, or all of them. 1 done, 0 there is none. */
static int
break_weights(const char *dir, break_fn *fn, bool all, unsigned seed, struct err *err)
{
    char *vars AUTO(free_ptr) = xasprintf("%s/variables", dir);
    struct sm_bundle *in AUTO(sm_bundle_close_p) = NULL;
    struct sm_bundle_writer *out AUTO(sm_bundle_write_close_p) = NULL;
    int dirfd AUTO(fs_close) = -1, n = 0, pick, r = 0;

    if (access(vars, F_OK) != 0)
        return 0;
    if (fs_open_dir(&dirfd, AT_FDCWD, vars, err) < 0)
        return -1;
    if (sm_bundle_open(&in, dirfd, "variables", err) < 0) {
        r = err->code == ERR_NOTFOUND ? 0 : -1;
        err_clear(err);
        return r;
    }
    for (int i = 0; i < sm_bundle_n_entries(in); i++)
        n += is_weight(sm_bundle_entry(in, i));
    if (n == 0 && fn)
        return 0;
    pick = n ? (int)(seed % (unsigned)n) : 0;
    n = 0;
    r = sm_bundle_write_open(&out, dirfd, "new", err);
    for (int i = 0; r == 0 && i < sm_bundle_n_entries(in); i++) {
        const struct sm_entry *e = sm_bundle_entry(in, i);
        struct sm_tensor t, copy AUTO(sm_tensor_release) = { 0 };

        if (!fn || !is_weight(e) || (n++ != pick && !all)) {
            r = sm_bundle_write_copy(out, e->key, in, e->key, err);
            continue;
        }
        r = sm_bundle_tensor(in, e->key, (struct str){ "", 0 }, true, &t, err);
        if (r == 0)
            r = sm_tensor_copy(&copy, &t, err);
        sm_tensor_release(&t);
        if (r == 0) {
            fn(&copy, seed);
            r = sm_bundle_write_tensor(out, e->key, &copy, err);
        }
    }
    if (r == 0)
        r = sm_bundle_write_end(out, err);
    if (r == 0 && (renameat(dirfd, "new.index", dirfd, "variables.index") < 0 ||
                   renameat(dirfd, "new.data-00000-of-00001", dirfd,
                            "variables.data-00000-of-00001") < 0))
        r = err_sys(err, errno, "rename in %s", vars);
    return r < 0 ? -1 : 1;
}

/* ---- graph and files ------------------------------------------------------------ */

/* Another name for the seed-th key of signatures' maps: "\n", its length, the key, then
 * the TensorInfo. */
static int
rename_key(const char *dir, unsigned seed, const struct val_golden *g, struct err *err)
{
    const struct sm_tensor_list *l =
        seed % 2 ? &g->cases[0].inputs : &g->cases[0].expected;
    struct buf pb AUTO(buf_release) = BUF_INIT, key AUTO(buf_release) = BUF_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/saved_model.pb", dir);
    int n = 0;

    if (l->n == 0)
        return 0;
    buf_addf(&key, "\n%c%s\x12", (int)strlen(l->v[seed / 2 % (unsigned)l->n].name),
             l->v[seed / 2 % (unsigned)l->n].name);
    if (fs_read(AT_FDCWD, path, &pb, err) < 0)
        return -1;
    for (char *p = pb.data;
         (p = memmem(p, pb.len - (size_t)(p - pb.data), key.data, key.len)) != NULL;
         n++, p++)
        p[key.len - 2] = p[key.len - 2] == '~' ? '!' : '~';
    if (n == 0)
        return 0;
    return fs_replace(AT_FDCWD, path, pb.data, pb.len, 0644, err) < 0 ? -1 : 1;
}

/* A message again, field `num` within those of `path` in reverse order. */
static void
reverse_fields(struct str msg, const uint32_t *path, struct buf *out)
{
    struct str it = msg, raw[65536];
    struct sm_field f;
    int n = 0, at;

    for (const char *p = it.p; n < 65536 && sm_pb_next(&it, &f) == 1; p = it.p)
        if (path[1] == 0 && f.num == path[0])
            raw[n++] = (struct str){ p, (size_t)(it.p - p) };
    at = n;
    it = msg;
    for (const char *p = it.p; sm_pb_next(&it, &f) == 1; p = it.p) {
        struct buf inner AUTO(buf_release) = BUF_INIT;

        if (f.num != path[0] || f.wire != 2) {
            buf_add(out, p, (size_t)(it.p - p));
        } else if (path[1] == 0) {
            at--;
            buf_add(out, raw[at].p, raw[at].n);
        } else {
            reverse_fields(f.bytes, path + 1, &inner);
            buf_addc(out, (char)(f.num << 3 | 2));
            for (size_t left = inner.len; left > 0 || inner.len == 0; left >>= 7) {
                buf_addc(out, (char)((left & 0x7f) | (left > 0x7f ? 0x80 : 0)));
                if (left <= 0x7f)
                    break;
            }
            buf_add(out, inner.data, inner.len);
        }
    }
}

static int
reorder_nodes(const char *dir, struct err *err)
{
    static const uint32_t node_path[] = { 2, 2, 1, 0 }; /* meta_graphs.graph_def.node */
    struct buf pb AUTO(buf_release) = BUF_INIT, out AUTO(buf_release) = BUF_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/saved_model.pb", dir);

    if (fs_read(AT_FDCWD, path, &pb, err) < 0)
        return -1;
    reverse_fields((struct str){ pb.data, pb.len }, node_path, &out);
    return fs_replace(AT_FDCWD, path, out.data, out.len, 0644, err) < 0 ? -1 : 1;
}

/* The lines of the first vocabulary without its seed-th line, or that line moved to the
 * end. */
static int
break_asset(const char *dir, unsigned seed, bool drop, struct err *err)
{
    char *assets AUTO(free_ptr) = xasprintf("%s/assets", dir),
                 *path AUTO(free_ptr) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT, out AUTO(buf_release) = BUF_INIT;
    DIR *d = opendir(assets);
    unsigned n = 0, at = 0;
    struct str line = { NULL, 0 };

    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && !path)
            path = xasprintf("%s/%s", assets, e->d_name);
    if (d)
        closedir(d);
    if (!path)
        return 0;
    if (fs_read(AT_FDCWD, path, &text, err) < 0)
        return -1;
    for (size_t i = 0; i < text.len; i++)
        n += text.data[i] == '\n';
    if (n < 2)
        return 0;
    for (const char *p = text.data, *end = p + text.len; p < end; at++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const size_t len = nl ? (size_t)(nl - p) + 1 : (size_t)(end - p);

        if (at == seed % n)
            line = (struct str){ p, len };
        else
            buf_add(&out, p, len);
        p += len;
    }
    if (!drop) {
        if (out.len && out.data[out.len - 1] != '\n')
            buf_addc(&out, '\n');
        buf_add(&out, line.p, line.n);
    }
    return fs_replace(AT_FDCWD, path, out.data, out.len, 0644, err) < 0 ? -1 : 1;
}

/* ---- what is done to a model ---------------------------------------------------- */

enum how {
    WEIGHT,
    WEIGHTS,
    KEY,
    ASSET_DROP,
    ASSET_MOVE,
    REORDER,
    EXTRA,
    BARE,
    NO_PASS
};
static const struct mutation {
    const char *name;
    enum how how;
    break_fn *fn;
    unsigned n; /* versions of it */
    bool keeps; /* the meaning */
} mutations[] = {
    { "one high bit of a weight", WEIGHT, one_bit, 6, false },
    { "NaN in a weight", WEIGHT, one_nan, 3, false },
    { "scaled input of a weight", WEIGHT, scaled, 3, false },
    { "shifted class", WEIGHT, shifted_class, 3, false },
    { "swapped labels", WEIGHT, swapped_labels, 3, false },
    { "transposed output of a weight", WEIGHT, transposed, 3, false },
    { "weights through float16", WEIGHTS, as_float16, 1, false },
    { "changed signature", KEY, NULL, 4, false },
    { "dropped line of an asset", ASSET_DROP, NULL, 3, false },
    { "shuffled vocabulary", ASSET_MOVE, NULL, 3, false },
    { "as it was", EXTRA, NULL, 1, true },
    { "weights written anew", WEIGHTS, NULL, 1, true },
    { "nodes in another order", REORDER, NULL, 1, true },
    { "without what is not needed to run", BARE, NULL, 1, true },
    { "planned without passes", NO_PASS, NULL, 1, true },
};

static int
mutate(const struct mutation *m, const char *dir, unsigned seed,
       const struct val_golden *g, struct err *err)
{
    static const char *const not_needed[] = { "fingerprint.pb", "keras_metadata.pb" };

    switch (m->how) {
    case WEIGHT:
    case WEIGHTS:
        return break_weights(dir, m->fn, m->how == WEIGHTS, seed, err);
    case KEY:
        return rename_key(dir, seed, g, err);
    case ASSET_DROP:
    case ASSET_MOVE:
        return break_asset(dir, seed, m->how == ASSET_DROP, err);
    case REORDER:
        return reorder_nodes(dir, err);
    case BARE:
        for (int i = 0; i < 2; i++) {
            char *path AUTO(free_ptr) = xasprintf("%s/%s", dir, not_needed[i]);
            unlink(path);
        }
        return 1;
    case NO_PASS:
        setenv("SLUICE_PLAN", "-fold,-fuse,-pattern,-rnn", 1);
        return 1;
    default:
        return 1;
    }
}

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
    int n, n_changed, n_caught, n_false, n_bad, n_kept;
};

static int
try_one(const char *model, const struct mutation *m, const char *dir, unsigned seed,
        const struct val_golden *g, struct count *n, struct err *err)
{
    struct truth t = { .g = g, .wrong = BUF_INIT };
    struct buf said AUTO(buf_release) = BUF_INIT;
    enum val_outcome outcome = VAL_FAILED;
    cJSON *report AUTO(json_free) = NULL;
    int r = mutate(m, dir, seed, g, err);

    if (r <= 0)
        return r;
    r = find_truth(dir, &t, err);
    if (r == 0)
        r = val_judge_dir(dir, g, &runner_backend, &outcome, &report, err);
    unsetenv("SLUICE_PLAN");
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
    for (size_t i = 0; i < sizeof(mutations) / sizeof(mutations[0]); i++)
        for (unsigned seed = 0; r >= 0 && seed < mutations[i].n; seed++) {
            char *dir AUTO(free_ptr) =
                xasprintf("%s/%s-%zu-%u", scratch, model, i, seed);

            r = copy_tree(from, dir, err);
            if (r >= 0)
                r = try_one(model, &mutations[i], dir, seed, &g, &n[i], err);
            if (r >= 0 && fs_remove_tree(AT_FDCWD, dir, err) < 0)
                r = -1;
        }
    val_golden_release(&g);
    return r;
}

int
main(int argc, char **argv)
{
    enum { N = sizeof(mutations) / sizeof(mutations[0]) };
    struct count n[N] = { { 0 } }, all = { 0 };
    struct err err = ERR_INIT;

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
        printf("# %-36s %3d versions, %3d answer otherwise, %3d caught\n",
               mutations[i].name, n[i].n + n[i].n_kept, n[i].n_changed, n[i].n_caught);
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
    printf("%s 1 - every change is caught and named, no false alarm\n",
           all.n_bad == 0 && all.n >= 200 ? "ok" : "not ok");
    return !(all.n_bad == 0 && all.n >= 200);
}
