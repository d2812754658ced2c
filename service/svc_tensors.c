/* SPDX-License-Identifier: Apache-2.0 */
/* tensors: what is in a model's variables, in a bare checkpoint, and in the big
 * constants of a graph. What cannot be read is named; the others are shown all the
 * same. */
#include "fingerprint/fingerprint.h"
#include "service/svc_int.h"

#include <ctype.h>
#include <fnmatch.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONSTANT_MIN_BYTES = 1024, MOST_NEAR = 8, MOST_THREADS = 256 };

struct item {
    char *name;
    int dtype;
    struct sm_shape shape;
    uint64_t n_bytes;
    int64_t n_elems;
    bool is_constant, is_training;
    const struct sm_entry *entry; /* NULL: a constant */
    struct fp_look look;
};

struct job {
    struct svc_dir dir;
    int dirfd;
    char *prefix;             /* of the checkpoint below dirfd */
    struct sm_bundle *bundle; /* NULL: no variables */
    struct sm_model *model;   /* open when constants are asked for */
    unsigned want;
    bool constants;
    size_t min_constant_bytes;
    const char *pattern; /* NULL: all names */
    struct item *v;
    int n;
};

static void
job_close(struct job *j)
{
    for (int i = 0; i < j->n; i++) {
        free(j->v[i].name);
        free(j->v[i].look.why);
    }
    free(j->v);
    sm_bundle_close_p(&j->bundle);
    sm_close_p(&j->model);
    free(j->prefix);
    fs_close(&j->dirfd);
    svc_dir_close(&j->dir);
}

/* ---- what to look at ---- */

static int
job_open(struct svc_call *c, struct job *j, struct err *err)
{
    const char *checkpoint = svc_str(c, "checkpoint");
    bool is_frozen = svc_str(c, "graph_def") != NULL;
    /* A frozen graph has nothing else. */
    j->constants = is_frozen || svc_flag(c, "constants");
    j->min_constant_bytes = is_frozen ? 0 : CONSTANT_MIN_BYTES;
    if (checkpoint) {
        struct buf prefix AUTO(buf_release) = BUF_INIT;
        if (svc_str(c, "dir") || svc_str(c, "ref") || j->constants)
            return err_set(
                err, ERR_USAGE,
                "tensors: --checkpoint stands alone: no model, no --constants");
        if (sm_ckpt_find(AT_FDCWD, checkpoint, &prefix, err) < 0 ||
            fs_open_dir(&j->dirfd, AT_FDCWD, ".", err) < 0)
            return -(int)err->code;
        j->prefix = buf_take(&prefix);
        return sm_bundle_open(&j->bundle, j->dirfd, j->prefix, err);
    }
    if (svc_dir_open(c, &j->dir, err) < 0 ||
        fs_open_dir(&j->dirfd, AT_FDCWD, j->dir.path, err) < 0)
        return -(int)err->code;
    j->prefix = xstrdup("variables/variables");
    int has_index = fs_exists(j->dirfd, "variables/variables.index", err);
    if (has_index < 0 ||
        (has_index && sm_bundle_open(&j->bundle, j->dirfd, j->prefix, err) < 0))
        return -(int)err->code;
    if (j->constants || !has_index)
        return sm_open(&j->model, j->dirfd, j->dir.path, err);
    return 0;
}

static struct item *
add_item(struct job *j, char *name_taken, int dtype, const struct sm_shape *shape)
{
    const struct sm_dtype_info *info = sm_dtype_info(dtype);
    if ((j->n & (j->n - 1)) == 0)
        j->v = xreallocarray(j->v, j->n ? 2 * (size_t)j->n : 1, sizeof *j->v);
    struct item *x = &j->v[j->n++];
    *x = (struct item){
        .name = name_taken, .dtype = dtype, .shape = *shape, .n_elems = 1
    };
    bool over = false;
    for (int i = 0; i < shape->rank; i++)
        over |= __builtin_mul_overflow(x->n_elems, shape->dims[i], &x->n_elems);
    if (over) /* in a shape that has a 0 */
        x->n_elems = 0;
    x->n_bytes = (uint64_t)x->n_elems * (info ? info->size_bytes : 0);
    return x;
}

static bool
is_wanted(const struct job *j, const char *name)
{
    return !j->pattern || fnmatch(j->pattern, name, 0) == 0;
}

static void
add_entries(struct job *j)
{
    for (int i = 0; j->bundle && i < sm_bundle_n_entries(j->bundle); i++) {
        const struct sm_entry *e = sm_bundle_entry(j->bundle, i);
        char *name = str_dup(e->key);
        enum sm_role role = sm_entry_role(j->bundle, e);
        if (role == SM_ROLE_OBJECT_GRAPH || !is_wanted(j, name)) {
            free(name);
            continue;
        }
        struct item *x = add_item(j, name, e->dtype, &e->shape);
        x->entry = x->look.entry = e;
        x->is_training = role != SM_ROLE_WEIGHT;
        x->n_bytes = (uint64_t)sm_entry_bytes(e);
    }
}

/* The Const nodes of a graph, or of a function when it has a name. */
static int
add_constants(struct job *j, struct str nodes, uint32_t field, struct str function,
              struct err *err)
{
    struct str raw;
    while (sm_pb_next_msg(&nodes, field, &raw) > 0) {
        struct sm_node node;
        struct sm_attr value;
        struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
        if (sm_node_parse(raw, &node, err) < 0)
            return -(int)err->code;
        if (!str_is(node.op, "Const") || !sm_node_attr(&node, "value", &value) ||
            value.kind != SM_ATTR_TENSOR || value.bytes.n < j->min_constant_bytes)
            continue;
        char *name = xasprintf("%.*s%s%.*s", STR_ARG(function), function.n ? ":" : "",
                               STR_ARG(node.name));
        if (!is_wanted(j, name)) {
            free(name);
            continue;
        }
        struct sm_shape shape = { .rank = 0 };
        int dtype = (int)sm_pb_int(value.bytes, 1, 0);
        int rc = sm_tensor_proto(value.bytes, &t, err);
        shape.rank = t.rank;
        memcpy(shape.dims, t.dims, sizeof shape.dims);
        struct item *x = add_item(j, name, dtype, &shape);
        x->is_constant = true;
        if (rc < 0) {
            x->look.code = err->code;
            x->look.why = xstrdup(err->msg);
            err_clear(err);
            continue;
        }
        fp_look_tensor(&x->look, &t, j->want, NULL);
        x->n_bytes = x->look.n_bytes;
    }
    return 0;
}

static int
add_all_constants(struct job *j, struct err *err)
{
    const struct str main_graph = { "", 0 };
    const struct sm_meta *meta = sm_meta(j->model, 0);
    struct str library = meta->library, raw;
    if (add_constants(j, meta->graph, SM_GRAPH_NODE, main_graph, err) < 0)
        return -(int)err->code;
    while (sm_pb_next_msg(&library, SM_LIBRARY_FUNCTION, &raw) > 0) {
        struct sm_function f;
        if (sm_function_parse(raw, &f, err) < 0 ||
            add_constants(j, f.raw, SM_FUNCTION_NODE, f.name, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* ---- one name ---- */

#define OBJECT_SUFFIX "/.ATTRIBUTES/VARIABLE_VALUE"

/* A tensor by its name; what TensorFlow 2 appends to each may be left out. */
static const struct sm_entry *
find_name(const struct job *j, const char *name)
{
    char *whole AUTO(free_ptr) = xasprintf("%s" OBJECT_SUFFIX, name);
    const struct sm_entry *e = NULL;
    if (j->bundle && !(e = sm_bundle_find(j->bundle, str_of(name))))
        e = sm_bundle_find(j->bundle, str_of(whole));
    return e;
}

static bool
is_near(const char *name, const char *text)
{
    enum { MOST_EDITS = 3 };
    size_t n = strlen(name), suffix = strlen(OBJECT_SUFFIX);
    struct str key = { name, n };
    if (n > suffix && strcmp(name + n - suffix, OBJECT_SUFFIX) == 0)
        key.n -= suffix;
    return strcasestr(name, text) ||
           str_distance(key, str_of(text), MOST_EDITS) <= MOST_EDITS;
}

/* ERR_NOTFOUND with names that look alike, else with the first ones. */
static int
no_such_name(struct job *j, const char *text, const char *what, struct err *err)
{
    struct buf list AUTO(buf_release) = BUF_INIT;
    bool is_any = false;
    j->pattern = NULL;
    add_entries(j);
    if (j->n == 0)
        return err_set(err, ERR_NOTFOUND, "there are no tensors");
    for (int i = 0; i < j->n; i++)
        is_any = is_any || is_near(j->v[i].name, text);
    for (int i = 0, n = 0; i < j->n && n < MOST_NEAR; i++)
        if (!is_any || is_near(j->v[i].name, text)) {
            buf_addf(&list, "\n  %s", j->v[i].name);
            n++;
        }
    return err_set(err, ERR_NOTFOUND, "%s '%s'; of %d tensors %s:%s", what, text, j->n,
                   is_any ? "near it" : "the first are", buf_str(&list));
}

/* ---- the look ---- */

static int
n_threads(struct svc_call *c, struct err *err)
{
    cpu_set_t set;
    int64_t n = svc_int(c, "threads", 0);
    if (json_has(c->req, "threads") && (n < 1 || n > MOST_THREADS))
        return err_set(err, ERR_USAGE, "tensors: --threads must be 1 to %d",
                       MOST_THREADS);
    if (n == 0)
        n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return (int)n;
}

static void
look_at_entries(struct job *j, int threads)
{
    struct fp_look *v = xcalloc((size_t)j->n + 1, sizeof *v);
    int n = 0;
    for (int i = 0; i < j->n; i++)
        if (j->v[i].entry)
            v[n++] = j->v[i].look;
    fp_look_all(v, n, j->bundle, j->dirfd, j->prefix, j->want, threads);
    n = 0;
    for (int i = 0; i < j->n; i++)
        if (j->v[i].entry) {
            struct item *x = &j->v[i];
            x->look = v[n++];
            if (x->look.code == ERR_OK)
                x->n_bytes = x->look.n_bytes;
        }
    free(v);
}

static int
by_name(const void *pa, const void *pb)
{
    return strcmp(((const struct item *)pa)->name, ((const struct item *)pb)->name);
}

static int
by_bytes(const void *pa, const void *pb)
{
    const struct item *a = pa, *b = pb;
    int order = (a->n_bytes < b->n_bytes) - (a->n_bytes > b->n_bytes);
    return order ? order : by_name(pa, pb);
}

/* ---- the reply ---- */

static void
put_number(cJSON *o, const char *key, const struct fp_stats *s, union fp_number_value v)
{
    char text[24];
    if (s->n_finite == 0) {
        cJSON_AddNullToObject(o, key);
    } else if (s->number == FP_REAL) {
        json_put_real(o, key, v.real);
    } else if (s->number == FP_UINT && v.u > INT64_MAX) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)v.u);
        cJSON_AddRawToObject(o, key, text);
    } else {
        json_put_int(o, key, v.i);
    }
}

static void
put_real_or_null(cJSON *o, const char *key, double v)
{
    if (isnan(v))
        cJSON_AddNullToObject(o, key);
    else
        json_put_real(o, key, v);
}

static void
put_stats(cJSON *o, const struct fp_stats *s)
{
    static const char *const of[] = { [FP_OF_NOTHING] = "nothing",
                                      [FP_OF_VALUE] = "value",
                                      [FP_OF_MAGNITUDE] = "magnitude",
                                      [FP_OF_LENGTH] = "length" };
    json_put_str(o, "of", of[s->of]);
    put_number(o, "min", s, s->min);
    put_number(o, "max", s, s->max);
    put_real_or_null(o, "mean", s->mean);
    put_real_or_null(o, "std", s->std);
    json_put_int(o, "zeros", s->n_zero);
    put_real_or_null(o, "sparsity", (double)s->n_zero / (double)s->n_elems);
    json_put_int(o, "nan", s->n_nan);
    json_put_int(o, "pos_inf", s->n_pos_inf);
    json_put_int(o, "neg_inf", s->n_neg_inf);
}

static void
put_item(cJSON *list, const struct item *x)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(list, o);
    json_put_str(o, "name", x->name);
    json_put_str(o, "dtype", sm_dtype_name(x->dtype));
    cJSON *shape = cJSON_AddArrayToObject(o, "shape");
    for (int d = 0; d < x->shape.rank; d++)
        json_put_int(shape, NULL, x->shape.dims[d]);
    json_put_int(o, "elements", x->n_elems);
    json_put_int(o, "bytes", (int64_t)x->n_bytes);
    if (x->is_constant)
        json_put_bool(o, "constant", true);
    if (x->is_training)
        json_put_bool(o, "training_state", true);
    if (x->entry && x->entry->n_slices)
        json_put_int(o, "slices", x->entry->n_slices);
    if (x->look.code != ERR_OK) {
        json_put_str(o, "error", x->look.why);
        return;
    }
    if (x->look.has_digest)
        svc_put_hex(o, "sha256", &x->look.digest);
    if (x->look.has_stats)
        put_stats(o, &x->look.stats);
}

static void
put_totals(cJSON *reply, const struct job *j)
{
    int64_t parameters = 0, bytes = 0, training = 0, training_bytes = 0;
    int n_bad = 0;
    for (int i = 0; i < j->n; i++) {
        const struct item *x = &j->v[i];
        enum fp_of of = fp_stats_of(x->dtype);
        if (of == FP_OF_VALUE || of == FP_OF_MAGNITUDE)
            parameters += x->n_elems;
        bytes += (int64_t)x->n_bytes;
        training += x->is_training;
        training_bytes += x->is_training ? (int64_t)x->n_bytes : 0;
        n_bad += x->look.code != ERR_OK;
    }
    cJSON *o = cJSON_AddObjectToObject(reply, "totals");
    json_put_int(o, "tensors", j->n);
    json_put_int(o, "bytes", bytes);
    json_put_int(o, "parameters", parameters);
    json_put_int(o, "training_state_tensors", training);
    json_put_int(o, "training_state_bytes", training_bytes);
    json_put_int(o, "unreadable", n_bad);
}

static void
put_histogram(cJSON *reply, const struct fp_histogram *h)
{
    cJSON *o = cJSON_AddObjectToObject(reply, "histogram");
    json_put_bool(o, "by_value", h->is_by_value);
    cJSON *edges = cJSON_AddArrayToObject(o, "edges");
    cJSON *counts = cJSON_AddArrayToObject(o, "counts");
    for (int i = 0; i < h->n_bins; i++) {
        json_put_real(edges, NULL, fp_histogram_edge(h, i));
        json_put_int(counts, NULL, h->bin[i]);
    }
    if (h->n_bins && !h->is_by_value)
        json_put_real(edges, NULL, fp_histogram_edge(h, h->n_bins));
}

static int
draw(struct svc_call *c, struct job *j, const char *name, struct err *err)
{
    const struct sm_entry *e = find_name(j, name);
    struct fp_histogram h;
    struct fp_look again;
    if (!e && j->bundle)
        return no_such_name(j, name, "no tensor is called", err);
    if (!e)
        return err_set(err, ERR_NOTFOUND,
                       "there are no variables, and only those are drawn");
    if (fp_stats_of(e->dtype) == FP_OF_NOTHING)
        return err_set(err, ERR_UNSUPPORTED,
                       "'%s' is a %s, which has no numbers to draw", name,
                       sm_dtype_name(e->dtype));
    struct item *x = add_item(j, str_dup(e->key), e->dtype, &e->shape);
    x->entry = e;
    x->is_training = sm_entry_role(j->bundle, e) != SM_ROLE_WEIGHT;
    if (fp_look_entry(&x->look, j->bundle, e, FP_LOOK_DIGEST | FP_LOOK_STATS, NULL,
                      err) < 0)
        return -(int)err->code;
    x->n_bytes = x->look.n_bytes;
    fp_histogram_init(&h, e->dtype, &x->look.stats);
    if (fp_look_entry(&again, j->bundle, e, 0, &h, err) < 0)
        return -(int)err->code;
    put_item(cJSON_AddArrayToObject(c->reply, "tensors"), x);
    put_histogram(c->reply, &h);
    return 0;
}

int
svc_do_tensors(struct svc_call *c, struct err *err)
{
    struct job j AUTO(job_close) = { .dirfd = -1, .pattern = svc_str(c, "name") };
    const char *sort = svc_str(c, "sort"), *histogram = svc_str(c, "histogram");
    int threads = n_threads(c, err);
    if (threads < 0)
        return threads;
    if (sort && strcmp(sort, "name") != 0 && strcmp(sort, "bytes") != 0)
        return err_set(err, ERR_USAGE, "tensors: --sort is name or bytes, not '%s'",
                       sort);
    j.want = (svc_flag(c, "no_digest") ? 0u : FP_LOOK_DIGEST) |
             (svc_flag(c, "no_stats") ? 0u : FP_LOOK_STATS);
    if (job_open(c, &j, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "model", svc_str(c, "checkpoint") ? j.prefix : j.dir.name);
    if (histogram)
        return draw(c, &j, histogram, err);
    add_entries(&j);
    if (j.constants && add_all_constants(&j, err) < 0)
        return -(int)err->code;
    if (j.n == 0 && j.pattern)
        return no_such_name(&j, j.pattern, "no tensor's name matches", err);
    if (j.want)
        look_at_entries(&j, threads);
    qsort(j.v, (size_t)j.n, sizeof *j.v, sort && sort[0] == 'b' ? by_bytes : by_name);
    cJSON *list = cJSON_AddArrayToObject(c->reply, "tensors");
    const struct item *bad = NULL;
    int n_bad = 0;
    for (int i = 0; i < j.n; i++) {
        put_item(list, &j.v[i]);
        n_bad += j.v[i].look.code != ERR_OK;
        if (!bad && j.v[i].look.code != ERR_OK)
            bad = &j.v[i];
    }
    put_totals(c->reply, &j);
    if (bad)
        return err_set(err, bad->look.code,
                       "%d of %d tensors cannot be read; the first: %s", n_bad, j.n,
                       bad->look.why);
    return 0;
}
