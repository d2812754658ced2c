/* SPDX-License-Identifier: Apache-2.0 */
/* diff: two models on one screen, from "same bytes" down to single tensors. */
#include "fingerprint/fingerprint.h"
#include "service/svc_int.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct side {
    struct svc_dir dir;
    int dirfd;
    struct sm_model *model;
    const struct sm_meta *meta; /* the first one */
    struct sm_bundle *bundle;   /* NULL: no variables */
    struct fp_weights weights;
    struct fp_meaning meaning;
    struct repo_manifest files;
};

static void
side_close(struct side *s)
{
    fp_weights_release(&s->weights);
    repo_manifest_release(&s->files);
    sm_bundle_close_p(&s->bundle);
    sm_close_p(&s->model);
    fs_close(&s->dirfd);
    svc_dir_close(&s->dir);
}

static int
side_open(struct svc_call *c, const char *field, struct side *s, struct err *err)
{
    if (svc_any_open(c, field, &s->dir, err) < 0 ||
        fs_open_dir(&s->dirfd, AT_FDCWD, s->dir.path, err) < 0 ||
        sm_open(&s->model, s->dirfd, s->dir.path, err) < 0)
        return -(int)err->code;
    if (sm_n_metas(s->model) == 0)
        return err_set(err, ERR_INVALID, "%s has no MetaGraph", s->dir.path);
    s->meta = sm_meta(s->model, 0);
    int has_index = fs_exists(s->dirfd, "variables/variables.index", err);
    if (has_index < 0 ||
        (has_index &&
         sm_bundle_open(&s->bundle, s->dirfd, "variables/variables", err) < 0) ||
        fp_weights_of(&s->weights, s->bundle, err) < 0 ||
        fp_meaning_of(&s->meaning, s->model, s->dirfd, s->bundle, &s->weights, err) <
            0 ||
        repo_manifest_of_dir(s->dir.path, &s->files, err) < 0)
        return err_ctx(err, "%s", svc_str(c, field));
    return 0;
}

static cJSON *
add_object(cJSON *list, const char *key, struct str name)
{
    cJSON *o = cJSON_CreateObject();
    char *text AUTO(free_ptr) = xstrndup(name.p ? name.p : "", name.n);
    json_put_str(o, key, text);
    cJSON_AddItemToArray(list, o);
    return o;
}

/* ---- signatures ---- */

struct change {
    cJSON *why;  /* list of sentences */
    bool breaks; /* a caller of A fails on B */
};

static void note(struct change *ch, bool breaks, const char *fmt, ...) PRINTF(3, 4);

static void
note(struct change *ch, bool breaks, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    cJSON_AddItemToArray(ch->why, cJSON_CreateString(text));
    ch->breaks |= breaks;
}

static const struct sm_tensor_info *
find_tensor(const struct sm_tensor_info *v, int n, struct str key)
{
    for (int i = 0; i < n; i++)
        if (str_eq(v[i].key, key))
            return &v[i];
    return NULL;
}

/* Every value that fits `from` fits `to`. */
static bool
widens(const struct sm_shape *from, const struct sm_shape *to)
{
    if (to->unknown_rank)
        return true;
    if (from->unknown_rank || from->rank != to->rank)
        return false;
    for (int i = 0; i < to->rank; i++)
        if (to->dims[i] >= 0 && to->dims[i] != from->dims[i])
            return false;
    return true;
}

static void
compare_tensors(struct change *ch, const char *what, bool inputs,
                const struct sm_tensor_info *a, int n_a, const struct sm_tensor_info *b,
                int n_b)
{
    for (int i = 0; i < n_a; i++) {
        const struct sm_tensor_info *t = find_tensor(b, n_b, a[i].key);
        struct buf was AUTO(buf_release) = BUF_INIT, is AUTO(buf_release) = BUF_INIT;
        if (!t) {
            note(ch, true, "%s '%.*s' is gone", what, STR_ARG(a[i].key));
            continue;
        }
        if (t->dtype != a[i].dtype)
            note(ch, true, "%s '%.*s' was %s, is %s", what, STR_ARG(t->key),
                 sm_dtype_name(a[i].dtype), sm_dtype_name(t->dtype));
        sm_shape_text(&a[i].shape, &was);
        sm_shape_text(&t->shape, &is);
        if (strcmp(buf_str(&was), buf_str(&is)) != 0)
            note(ch,
                 inputs ? !widens(&a[i].shape, &t->shape)
                        : !widens(&t->shape, &a[i].shape),
                 "%s '%.*s' was %s, is %s", what, STR_ARG(t->key), buf_str(&was),
                 buf_str(&is));
    }
    for (int i = 0; i < n_b; i++)
        if (!find_tensor(a, n_a, b[i].key))
            note(ch, inputs && !b[i].has_default, "%s '%.*s' is new", what,
                 STR_ARG(b[i].key));
}

static const struct sm_signature *
find_signature(const struct sm_meta *m, struct str key)
{
    for (int i = 0; i < m->n_signatures; i++)
        if (str_eq(m->signatures[i].key, key))
            return &m->signatures[i];
    return NULL;
}

void
svc_diff_signatures(cJSON *list, const struct sm_meta *a, const struct sm_meta *b)
{
    for (int i = 0; i < a->n_signatures; i++) {
        const struct sm_signature *s = &a->signatures[i];
        const struct sm_signature *t = find_signature(b, s->key);
        struct change ch = { .why = cJSON_CreateArray() };
        if (sm_signature_hidden(s)) {
            cJSON_Delete(ch.why);
            continue;
        }
        if (!t) {
            note(&ch, true, "is gone");
        } else {
            compare_tensors(&ch, "input", true, s->inputs, s->n_inputs, t->inputs,
                            t->n_inputs);
            compare_tensors(&ch, "output", false, s->outputs, s->n_outputs, t->outputs,
                            t->n_outputs);
            if (!str_eq(s->method, t->method))
                note(&ch, false, "its method was %.*s, is %.*s", STR_ARG(s->method),
                     STR_ARG(t->method));
        }
        if (!ch.why->child) {
            cJSON_Delete(ch.why);
            continue;
        }
        cJSON *o = add_object(list, "signature", s->key);
        json_put_str(o, "change", t ? "changed" : "removed");
        json_put_bool(o, "breaks_callers", ch.breaks);
        cJSON_AddItemToObject(o, "why", ch.why);
    }
    for (int i = 0; i < b->n_signatures; i++)
        if (!sm_signature_hidden(&b->signatures[i]) &&
            !find_signature(a, b->signatures[i].key)) {
            cJSON *o = add_object(list, "signature", b->signatures[i].key);
            json_put_str(o, "change", "added");
            json_put_bool(o, "breaks_callers", false);
        }
}

/* ---- ops and functions: names with counts ---- */

struct names {
    struct str *v;
    int n;
};

static void
add_name(struct names *l, struct str s)
{
    if ((l->n & (l->n - 1)) == 0) /* full at each power of two */
        l->v = xreallocarray(l->v, l->n ? 2 * (size_t)l->n : 1, sizeof *l->v);
    l->v[l->n++] = s;
}

/* A function's number differs from export to export: "__inference_f_123" is "f". */
static struct str
plain_function(struct str s)
{
    while (s.n && isdigit((unsigned char)s.p[s.n - 1]))
        s.n--;
    if (s.n && s.p[s.n - 1] == '_')
        s.n--;
    if (s.n > 12 && memcmp(s.p, "__inference_", 12) == 0)
        s = (struct str){ s.p + 12, s.n - 12 };
    return s;
}

static int
collect(const struct sm_meta *m, struct names *ops, struct names *functions,
        struct err *err)
{
    struct str graph = m->graph, library = m->library, raw;
    struct sm_node node;
    struct sm_function f;
    while (sm_pb_next_msg(&graph, SM_GRAPH_NODE, &raw) == 1) {
        if (sm_node_parse(raw, &node, err) < 0)
            return -(int)err->code;
        add_name(ops, node.op);
    }
    while (sm_pb_next_msg(&library, SM_LIBRARY_FUNCTION, &raw) == 1) {
        if (sm_function_parse(raw, &f, err) < 0)
            return -(int)err->code;
        add_name(functions, plain_function(f.name));
        struct str body = f.raw;
        while (sm_pb_next_msg(&body, SM_FUNCTION_NODE, &raw) == 1) {
            if (sm_node_parse(raw, &node, err) < 0)
                return -(int)err->code;
            add_name(ops, node.op);
        }
    }
    return 0;
}

static int
by_name(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static int
run_of(const struct names *l, int i)
{
    int n = 1;
    while (i + n < l->n && str_eq(l->v[i], l->v[i + n]))
        n++;
    return n;
}

/* Two sorted lists: names whose counts differ. */
static void
diff_names(cJSON *list, const char *key, struct names *a, struct names *b)
{
    if (a->n)
        qsort(a->v, (size_t)a->n, sizeof *a->v, by_name);
    if (b->n)
        qsort(b->v, (size_t)b->n, sizeof *b->v, by_name);
    for (int i = 0, k = 0; i < a->n || k < b->n;) {
        int d = i == a->n ? 1 : k == b->n ? -1 : str_cmp(a->v[i], b->v[k]);
        int n_a = d <= 0 ? run_of(a, i) : 0, n_b = d >= 0 ? run_of(b, k) : 0;
        if (n_a != n_b) {
            cJSON *o = add_object(list, key, d <= 0 ? a->v[i] : b->v[k]);
            json_put_int(o, "a", n_a);
            json_put_int(o, "b", n_b);
        }
        i += n_a;
        k += n_b;
    }
}

static int
diff_graphs(cJSON *reply, const struct side *a, const struct side *b, struct err *err)
{
    struct names ops[2] = { { 0 } }, functions[2] = { { 0 } };
    int r = collect(a->meta, &ops[0], &functions[0], err);
    if (r >= 0)
        r = collect(b->meta, &ops[1], &functions[1], err);
    if (r >= 0) {
        diff_names(cJSON_AddArrayToObject(reply, "ops"), "op", &ops[0], &ops[1]);
        diff_names(cJSON_AddArrayToObject(reply, "functions"), "function",
                   &functions[0], &functions[1]);
    }
    for (int i = 0; i < 2; i++) {
        free(ops[i].v);
        free(functions[i].v);
    }
    return r;
}

/* ---- tensors ---- */

/* The largest |a-b| and |b| of two float tensors of one shape. */
static int
largest_change(const struct side *a, const struct side *b, struct str name, cJSON *o,
               struct err *err)
{
    struct sm_tensor x AUTO(sm_tensor_release) = { 0 };
    struct sm_tensor y AUTO(sm_tensor_release) = { 0 };
    const struct str whole = { "", 0 };
    if (sm_bundle_tensor(a->bundle, name, whole, false, &x, err) < 0 ||
        sm_bundle_tensor(b->bundle, name, whole, false, &y, err) < 0)
        return -(int)err->code;
    if (x.dtype == SM_STRING || x.dtype == SM_COMPLEX64 || x.dtype == SM_COMPLEX128)
        return 0;
    if (sm_tensor_cast(&x, SM_DOUBLE, "tensor", err) < 0 ||
        sm_tensor_cast(&y, SM_DOUBLE, "tensor", err) < 0)
        return -(int)err->code;
    double change = 0, scale = 0;
    int64_t moved = 0;
    for (int64_t i = 0; i < x.n_elems; i++) {
        double p = ((const double *)x.data)[i], q = ((const double *)y.data)[i];
        change = fmax(change, fabs(p - q));
        scale = fmax(scale, fabs(p));
        moved += !(p == q || (isnan(p) && isnan(q)));
    }
    json_put_real(o, "max_change", change);
    json_put_real(o, "max_relative_change", scale > 0 ? change / scale : NAN);
    json_put_int(o, "elements_changed", moved);
    json_put_int(o, "elements", x.n_elems);
    return 0;
}

static cJSON *
add_tensor(cJSON *list, const struct fp_tensor *t, const char *change)
{
    struct buf shape AUTO(buf_release) = BUF_INIT;
    cJSON *o = add_object(list, "tensor", t->entry->key);
    sm_shape_text(&t->entry->shape, &shape);
    json_put_str(o, "change", change);
    json_put_str(o, "dtype", sm_dtype_name(t->entry->dtype));
    json_put_str(o, "shape", buf_str(&shape));
    json_put_int(o, "bytes", t->entry->size_bytes);
    return o;
}

static int
diff_tensors(cJSON *reply, const struct side *a, const struct side *b, struct err *err)
{
    cJSON *list = cJSON_AddArrayToObject(reply, "tensors");
    int64_t bytes = 0;
    for (int i = 0; i < a->weights.n; i++) {
        const struct fp_tensor *t = &a->weights.v[i];
        const struct fp_tensor *u = fp_weights_find(&b->weights, t->entry->key);
        if (!u) {
            add_tensor(list, t, "removed");
            continue;
        }
        struct buf was AUTO(buf_release) = BUF_INIT, is AUTO(buf_release) = BUF_INIT;
        sm_shape_text(&t->entry->shape, &was);
        sm_shape_text(&u->entry->shape, &is);
        bool same_kind = t->entry->dtype == u->entry->dtype &&
                         strcmp(buf_str(&was), buf_str(&is)) == 0;
        if (same_kind && digest_eq(&t->digest, &u->digest))
            continue;
        cJSON *o = add_tensor(list, u, same_kind ? "changed" : "other dtype or shape");
        bytes += u->entry->size_bytes;
        if (same_kind && largest_change(a, b, t->entry->key, o, err) < 0)
            return -(int)err->code;
    }
    for (int i = 0; i < b->weights.n; i++)
        if (!fp_weights_find(&a->weights, b->weights.v[i].entry->key)) {
            add_tensor(list, &b->weights.v[i], "added");
            bytes += b->weights.v[i].entry->size_bytes;
        }
    json_put_int(reply, "tensor_bytes_changed", bytes);
    json_put_int(reply, "tensors_a", a->weights.n);
    json_put_int(reply, "tensors_b", b->weights.n);
    return 0;
}

/* ---- files ---- */

static void
diff_files(cJSON *list, const struct repo_manifest *a, const struct repo_manifest *b)
{
    for (int i = 0, k = 0; i < a->n_files || k < b->n_files;) {
        int d = i == a->n_files   ? 1
                : k == b->n_files ? -1
                                  : strcmp(a->files[i].path, b->files[k].path);
        const struct repo_file *f = d <= 0 ? &a->files[i] : &b->files[k];
        if (d != 0 || !digest_eq(&a->files[i].digest, &b->files[k].digest)) {
            cJSON *o = add_object(list, "file", str_of(f->path));
            json_put_str(o, "change", d < 0 ? "removed" : d > 0 ? "added" : "changed");
        }
        i += d <= 0;
        k += d >= 0;
    }
}

int
svc_do_diff(struct svc_call *c, struct err *err)
{
    struct side a AUTO(side_close) = { .dirfd = -1 };
    struct side b AUTO(side_close) = { .dirfd = -1 };
    if (side_open(c, "a", &a, err) < 0 || side_open(c, "b", &b, err) < 0)
        return -(int)err->code;
    bool bytes = digest_eq(&a.files.digest, &b.files.digest);
    bool meaning = digest_eq(&a.meaning.id, &b.meaning.id);
    bool weights = digest_eq(&a.weights.id, &b.weights.id);
    bool graph =
        digest_eq(&a.meaning.part[FP_PART_GRAPH], &b.meaning.part[FP_PART_GRAPH]);
    json_put_str(c->reply, "verdict",
                 bytes     ? "same bytes"
                 : meaning ? "same meaning, other bytes"
                 : weights ? "same weights, other graph"
                 : graph   ? "same graph, other weights"
                           : "other graph and weights");
    cJSON *same = cJSON_AddObjectToObject(c->reply, "same");
    json_put_bool(same, "bytes", bytes);
    json_put_bool(same, "meaning", meaning);
    json_put_bool(same, "weights", weights);
    for (int i = 0; i < FP_N_PARTS; i++)
        if (i != FP_PART_WEIGHTS)
            json_put_bool(same, fp_part_name(i),
                          digest_eq(&a.meaning.part[i], &b.meaning.part[i]));
    svc_diff_signatures(cJSON_AddArrayToObject(c->reply, "signatures"), a.meta, b.meta);
    if (diff_graphs(c->reply, &a, &b, err) < 0 ||
        diff_tensors(c->reply, &a, &b, err) < 0)
        return -(int)err->code;
    diff_files(cJSON_AddArrayToObject(c->reply, "files"), &a.files, &b.files);
    if (!meaning)
        return err_set(err, ERR_FAILED, "%s and %s differ", svc_str(c, "a"),
                       svc_str(c, "b"));
    return 0;
}
