/* SPDX-License-Identifier: Apache-2.0 */
/* diff: two models on one screen, from "same bytes" down to single tensors; of bare
 * checkpoints, and for checkpoint compare, only the tensors. */
#include "fingerprint/fingerprint.h"
#include "service/svc_int.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct side {
    struct svc_dir dir;
    int dirfd;
    struct sm_model *model;     /* NULL: a checkpoint */
    const struct sm_meta *meta; /* the one compared */
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

/* What is no model may be a checkpoint; `err` says that it is no model. */
static int
ckpt_open(struct side *s, struct err *err)
{
    struct svc_ckpt ckpt AUTO(svc_ckpt_close) = { .bundle = NULL };
    struct err no_model = *err;
    err_clear(err);
    int rc = svc_ckpt_open(s->dir.path, &ckpt, err);
    if (rc == -ERR_NOTFOUND) {
        *err = no_model;
        return -(int)err->code;
    }
    s->bundle = ckpt.bundle;
    ckpt.bundle = NULL;
    return rc;
}

/* The model, or the checkpoint, and its weights. */
static int
side_open(struct svc_call *c, const char *field, struct side *s, struct err *err)
{
    if (svc_any_open(c, field, &s->dir, err) < 0)
        return -(int)err->code;
    int rc = fs_open_dir(&s->dirfd, AT_FDCWD, s->dir.path, err);
    if (rc == 0)
        rc = sm_open(&s->model, s->dirfd, s->dir.path, err);
    if (rc == -ERR_NOTFOUND ||
        (rc < 0 && (err->sys == ENOENT || err->sys == ENOTDIR))) {
        rc = ckpt_open(s, err);
    } else if (rc == 0) {
        s->meta = sm_meta(s->model, 0);
        rc = fs_exists(s->dirfd, "variables/variables.index", err);
        if (rc > 0)
            rc = sm_bundle_open(&s->bundle, s->dirfd, "variables/variables", err);
    }
    if (rc < 0)
        return rc;
    if (fp_weights_of(&s->weights, s->bundle, err) < 0)
        return err_ctx(err, "%s", svc_str(c, field));
    return 0;
}

static int
side_meaning(struct svc_call *c, const char *field, struct side *s, struct err *err)
{
    if (fp_meaning_of(&s->meaning, s->model, s->dirfd, s->bundle, &s->weights, err) <
            0 ||
        repo_manifest_of_dir(s->dir.path, &s->files, err) < 0)
        return err_ctx(err, "%s", svc_str(c, field));
    return 0;
}

/* ---- tag sets ---- */

static void
add_tags(const struct sm_meta *m, struct buf *out)
{
    for (int i = 0; i < m->n_tags; i++)
        buf_addf(out, "%s%.*s", i ? "," : "", STR_ARG(m->tags[i]));
}

/* The MetaGraph of `s` with the tags of `m`; NULL: none. */
static const struct sm_meta *
with_tags_of(const struct side *s, const struct sm_meta *m)
{
    struct buf tags AUTO(buf_release) = BUF_INIT;
    struct err none = ERR_INIT;
    const struct sm_meta *found;
    add_tags(m, &tags);
    return sm_find_meta(s->model, buf_str(&tags), &found, &none) < 0 ? NULL : found;
}

/* Returns whether there are any. */
static bool
lone_tags(cJSON *list, const struct side *s, const struct side *other,
          const char *change)
{
    bool any = false;
    for (int i = 0; i < sm_n_metas(s->model); i++) {
        struct buf tags AUTO(buf_release) = BUF_INIT;
        if (with_tags_of(other, sm_meta(s->model, i)))
            continue;
        add_tags(sm_meta(s->model, i), &tags);
        json_put_str(svc_add_named(list, "tags", str_of(buf_str(&tags))), "change",
                     change);
        any = true;
    }
    return any;
}

/* Picks the first MetaGraph whose tags both have; without one, the first of each. */
static void
pair_metas(struct side *a, struct side *b)
{
    for (int i = 0; i < sm_n_metas(a->model); i++) {
        const struct sm_meta *m = sm_meta(a->model, i), *n = with_tags_of(b, m);
        if (n) {
            a->meta = m;
            b->meta = n;
            return;
        }
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
            cJSON *o = svc_add_named(list, key, d <= 0 ? a->v[i] : b->v[k]);
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

/* The largest |a-b|, also as a share of the largest |a|, and the mean |a-b|, of the
 * elements that are finite in both; how many are not finite any more. */
static int
largest_change(const struct side *a, const struct side *b, struct str name,
               struct str name_b, cJSON *o, struct err *err)
{
    struct sm_tensor x AUTO(sm_tensor_release) = { 0 };
    struct sm_tensor y AUTO(sm_tensor_release) = { 0 };
    const struct str whole = { "", 0 };
    if (sm_bundle_find(a->bundle, name)->dtype == SM_VARIANT)
        return 0;
    if (sm_bundle_tensor(a->bundle, name, whole, false, &x, err) < 0 ||
        sm_bundle_tensor(b->bundle, name_b, whole, false, &y, err) < 0)
        return -(int)err->code;
    if (x.dtype == SM_STRING || x.dtype == SM_COMPLEX64 || x.dtype == SM_COMPLEX128)
        return 0;
    if (sm_tensor_cast(&x, SM_DOUBLE, "tensor", err) < 0 ||
        sm_tensor_cast(&y, SM_DOUBLE, "tensor", err) < 0)
        return -(int)err->code;
    double change = 0, scale = 0, sum = 0;
    int64_t moved = 0, not_finite = 0;
    for (int64_t i = 0; i < x.n_elems; i++) {
        double p = ((const double *)x.data)[i], q = ((const double *)y.data)[i];
        if (isfinite(p))
            scale = fmax(scale, fabs(p));
        if (isfinite(p) && isfinite(q)) {
            change = fmax(change, fabs(p - q));
            sum += fabs(p - q);
        }
        not_finite += isfinite(p) && !isfinite(q);
        moved += !(p == q || (isnan(p) && isnan(q)));
    }
    json_put_real(o, "max_change", change);
    if (scale > 0)
        json_put_real(o, "max_relative_change", change / scale);
    json_put_real(o, "mean_change", x.n_elems ? sum / (double)x.n_elems : 0);
    json_put_int(o, "no_longer_finite", not_finite);
    json_put_int(o, "elements_changed", moved);
    json_put_int(o, "elements", x.n_elems);
    return 0;
}

static cJSON *
add_tensor(cJSON *list, const struct fp_tensor *t, const char *change)
{
    struct buf shape AUTO(buf_release) = BUF_INIT;
    cJSON *o = svc_add_named(list, "tensor", t->entry->key);
    sm_shape_text(&t->entry->shape, &shape);
    json_put_str(o, "change", change);
    json_put_str(o, "dtype", sm_dtype_name(t->entry->dtype));
    json_put_str(o, "shape", buf_str(&shape));
    json_put_int(o, "bytes", sm_entry_bytes(t->entry));
    return o;
}

/* Tensor `t` of a, which is `u` of b. Returns 1 when they differ, else 0. */
static int
diff_pair(cJSON *list, const struct side *a, const struct side *b,
          const struct fp_tensor *t, const struct fp_tensor *u, struct err *err)
{
    struct buf was AUTO(buf_release) = BUF_INIT, is AUTO(buf_release) = BUF_INIT;
    sm_shape_text(&t->entry->shape, &was);
    sm_shape_text(&u->entry->shape, &is);
    bool same_dtype = t->entry->dtype == u->entry->dtype;
    bool same_kind = same_dtype && strcmp(buf_str(&was), buf_str(&is)) == 0;
    if (same_kind && digest_eq(&t->digest, &u->digest))
        return 0;
    cJSON *o = add_tensor(list, u,
                          same_kind    ? "changed"
                          : same_dtype ? "reshaped"
                                       : "retyped");
    if (!str_eq(t->entry->key, u->entry->key))
        svc_put_slice(o, "tensor_was", t->entry->key);
    if (!same_kind) {
        json_put_str(o, "dtype_was", sm_dtype_name(t->entry->dtype));
        json_put_str(o, "shape_was", buf_str(&was));
    }
    if (same_kind && largest_change(a, b, t->entry->key, u->entry->key, o, err) < 0)
        return -(int)err->code;
    return 1;
}

/* Returns 1 when any differs but by its name, else 0. */
static int
diff_tensors(cJSON *reply, const struct side *a, const struct side *b, struct err *err)
{
    struct svc_pairs pairs AUTO(svc_pairs_release) = { 0 };
    cJSON *list = cJSON_AddArrayToObject(reply, "tensors");
    int64_t bytes = 0;
    int n_same = 0;
    svc_pair_tensors(&pairs, &(struct svc_weights){ &a->weights, a->bundle, a->meta },
                     &(struct svc_weights){ &b->weights, b->bundle, b->meta });
    for (int i = 0; i < a->weights.n; i++) {
        const struct fp_tensor *t = &a->weights.v[i], *u = pairs.of_a[i];
        int differs = 0;
        if (!u)
            add_tensor(list, t, "removed");
        else if ((differs = diff_pair(list, a, b, t, u, err)) < 0)
            return differs;
        n_same += u && !differs;
        bytes += differs ? sm_entry_bytes(u->entry) : 0;
    }
    for (int i = 0; i < b->weights.n; i++)
        if (!pairs.is_taken[i]) {
            add_tensor(list, &b->weights.v[i], "added");
            bytes += sm_entry_bytes(b->weights.v[i].entry);
        }
    if (pairs.by_objects)
        json_put_str(reply, "paired", "objects");
    json_put_int(reply, "tensor_bytes_changed", bytes);
    json_put_int(reply, "tensors_same", n_same);
    json_put_int(reply, "tensors_a", a->weights.n);
    json_put_int(reply, "tensors_b", b->weights.n);
    return list->child != NULL;
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
            cJSON *o = svc_add_named(list, "file", str_of(f->path));
            json_put_str(o, "change", d < 0 ? "removed" : d > 0 ? "added" : "changed");
        }
        i += d <= 0;
        k += d >= 0;
    }
}

/* ---- in one sentence ---- */

/* "same graph, other weights and assets". */
static void
put_verdict(cJSON *reply, const struct side *a, const struct side *b)
{
    struct buf same AUTO(buf_release) = BUF_INIT, other AUTO(buf_release) = BUF_INIT;
    bool eq[FP_N_PARTS];
    for (int i = 0; i < FP_N_PARTS; i++)
        eq[i] = digest_eq(&a->meaning.part[i], &b->meaning.part[i]);
    const struct {
        const char *name;
        bool same, other; /* worth a word when it is so */
    } parts[] = {
        { "graph", eq[FP_PART_GRAPH], !eq[FP_PART_GRAPH] },
        { "object graph", false, eq[FP_PART_GRAPH] && !eq[FP_PART_OBJECTS] },
        { "weights", eq[FP_PART_WEIGHTS], !eq[FP_PART_WEIGHTS] },
        { "assets", false, !eq[FP_PART_ASSETS] },
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].same)
            buf_addf(&same, "%s%s", same.len ? " and " : "same ", parts[i].name);
        if (parts[i].other)
            buf_addf(&other, "%s%s", other.len ? " and " : "other ", parts[i].name);
    }
    buf_addf(&same, "%s%s", same.len ? ", " : "", buf_str(&other));
    json_put_str(reply, "verdict",
                 digest_eq(&a->files.digest, &b->files.digest) ? "same bytes"
                 : digest_eq(&a->meaning.id, &b->meaning.id)
                     ? "same meaning, other bytes"
                     : buf_str(&same));
}

/* ---- the verbs ---- */

static int
same_or_not(struct svc_call *c, bool is_same, struct err *err)
{
    return is_same ? 0
                   : err_set(err, ERR_FAILED, "%s and %s differ", svc_str(c, "a"),
                             svc_str(c, "b"));
}

static int
compare_weights(struct svc_call *c, const struct side *a, const struct side *b,
                struct err *err)
{
    int differs = diff_tensors(c->reply, a, b, err);
    if (differs < 0)
        return differs;
    json_put_str(c->reply, "verdict",
                 differs ? "other tensors"
                 : digest_eq(&a->weights.id, &b->weights.id)
                     ? "same tensors"
                     : "same tensors, other names");
    return same_or_not(c, !differs, err);
}

int
svc_do_checkpoint_compare(struct svc_call *c, struct err *err)
{
    struct side a AUTO(side_close) = { .dirfd = -1 };
    struct side b AUTO(side_close) = { .dirfd = -1 };
    if (side_open(c, "a", &a, err) < 0 || side_open(c, "b", &b, err) < 0)
        return -(int)err->code;
    return compare_weights(c, &a, &b, err);
}

int
svc_do_diff(struct svc_call *c, struct err *err)
{
    struct side a AUTO(side_close) = { .dirfd = -1 };
    struct side b AUTO(side_close) = { .dirfd = -1 };
    if (side_open(c, "a", &a, err) < 0 || side_open(c, "b", &b, err) < 0)
        return -(int)err->code;
    if (!a.model || !b.model)
        return compare_weights(c, &a, &b, err);
    if (side_meaning(c, "a", &a, err) < 0 || side_meaning(c, "b", &b, err) < 0)
        return -(int)err->code;
    bool bytes = digest_eq(&a.files.digest, &b.files.digest);
    bool meaning = digest_eq(&a.meaning.id, &b.meaning.id);
    bool weights = digest_eq(&a.weights.id, &b.weights.id);
    pair_metas(&a, &b);
    put_verdict(c->reply, &a, &b);
    cJSON *same = cJSON_AddObjectToObject(c->reply, "same");
    json_put_bool(same, "bytes", bytes);
    json_put_bool(same, "meaning", meaning);
    json_put_bool(same, "weights", weights);
    for (int i = 0; i < FP_N_PARTS; i++)
        if (i != FP_PART_WEIGHTS)
            json_put_bool(same, fp_part_name(i),
                          digest_eq(&a.meaning.part[i], &b.meaning.part[i]));
    cJSON *tags = cJSON_AddArrayToObject(c->reply, "tag_sets");
    bool breaks = lone_tags(tags, &a, &b, "removed");
    lone_tags(tags, &b, &a, "added");
    breaks |= val_diff_signatures(cJSON_AddArrayToObject(c->reply, "signatures"),
                                  a.meta, b.meta);
    json_put_bool(c->reply, "breaks_callers", breaks);
    if (diff_graphs(c->reply, &a, &b, err) < 0 ||
        diff_tensors(c->reply, &a, &b, err) < 0)
        return -(int)err->code;
    diff_files(cJSON_AddArrayToObject(c->reply, "files"), &a.files, &b.files);
    return same_or_not(c, meaning, err);
}
