/* SPDX-License-Identifier: Apache-2.0 */
/* scan: the driver and its report. */
#include "base/fs.h"
#include "validate/val_scan_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

const struct scan_rule scan_classes[SCAN_N_CLASSES] = {
#define SCAN_CLASS(id, title, fix) { #id, title, fix },
#include "validate/scan_ops.def"
};

static const struct scan_op ops[] = {
#define SCAN_OP(op, class_, severity, how, input, why)                                 \
    { #op, SCAN_##class_, SCAN_##severity, SCAN_##how, input, why },
#include "validate/scan_ops.def"
};

/* Sorted bytewise. */
static const char *const tf_ops[] = {
#define TF_OP(name) #name,
#include "validate/tf_ops.def"
#undef TF_OP
};

const struct scan_op *
scan_op_find(struct str name)
{
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (str_is(name, ops[i].name))
            return &ops[i];
    return NULL;
}

bool
scan_is_tf_op(struct str name)
{
    size_t low = 0, high = sizeof tf_ops / sizeof tf_ops[0];
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = str_cmp(str_of(tf_ops[mid]), name);
        if (d == 0)
            return true;
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

/* ---- findings ---- */

char *
scan_text(struct str s)
{
    enum { MAX_BYTES = 200 };
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < s.n && i < MAX_BYTES; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f)
            buf_addf(&b, "\\x%02x", c);
        else
            buf_addc(&b, (char)c);
    }
    if (s.n > MAX_BYTES)
        buf_addf(&b, "… (%zu bytes)", s.n);
    buf_adds(&b, "");
    char *text = xstrdup(buf_str(&b));
    buf_release(&b);
    return text;
}

/* `name` is an item of "A,B,C". */
static bool
is_listed(const char *list, struct str name)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, ",");
        if (str_eq((struct str){ p, n }, name))
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

bool
scan_is_allowed(const char *list, cJSON *allowed, struct str name)
{
    if (!name.n || !is_listed(list, name))
        return false;
    char *key AUTO(free_ptr) = str_dup(name);
    cJSON *count = cJSON_GetObjectItemCaseSensitive(allowed, key);
    if (count)
        cJSON_SetNumberValue(count, count->valuedouble + 1);
    else
        json_put_int(allowed, key, 1);
    return true;
}

static bool
is_allowed(struct scan *s, struct str name)
{
    return scan_is_allowed(s->options->allow, s->allowed, name);
}

static void add(struct scan *s, struct scan_finding f, const char *fmt, va_list ap)
    PRINTF(3, 0);

static void
add(struct scan *s, struct scan_finding f, const char *fmt, va_list ap)
{
    if (s->n == SCAN_MAX_FINDINGS) {
        s->n_more++;
        return;
    }
    char *text = NULL;
    if (vasprintf(&text, fmt, ap) < 0)
        BUG("out of memory");
    f.message = text;
    s->v = xreallocarray(s->v, (size_t)s->n + 1, sizeof *s->v);
    s->v[s->n++] = f;
}

void
scan_add(struct scan *s, enum scan_class class_, enum scan_severity severity,
         const struct sm_node *op, int body, int node, const char *fmt, ...)
{
    if ((op && is_allowed(s, op->op)) || is_allowed(s, str_of(scan_classes[class_].id)))
        return;
    va_list ap;
    va_start(ap, fmt);
    add(s,
        (struct scan_finding){
            .class_ = class_, .severity = severity, .body = body, .node = node },
        fmt, ap);
    va_end(ap);
}

void
scan_add_file(struct scan *s, enum scan_class class_, enum scan_severity severity,
              const char *file, const char *fmt, ...)
{
    if (is_allowed(s, str_of(scan_classes[class_].id)))
        return;
    va_list ap;
    va_start(ap, fmt);
    add(s,
        (struct scan_finding){ .class_ = class_,
                               .severity = severity,
                               .body = -1,
                               .node = -1,
                               .file = xstrdup(file) },
        fmt, ap);
    va_end(ap);
}

static void
scan_release(struct scan *s)
{
    for (int i = 0; i < s->n; i++) {
        free(s->v[i].file);
        free(s->v[i].message);
    }
    free(s->v);
    cJSON_Delete(s->allowed);
}

/* ---- ops ---- */

/* What the graph says of the file name or address of an op. */
static void
describe(const struct scan_op *op, struct scan_origin from, struct buf *out)
{
    char *text AUTO(free_ptr) = scan_text(from.text);
    buf_adds(out, op->why);
    if (op->file_input < 0)
        return;
    if (from.kind == SCAN_FROM_CONST)
        buf_addf(out, ": '%s'", text);
    else if (from.kind == SCAN_FROM_FEED)
        buf_addf(out, ": whoever feeds '%s' names it", text);
    else if (from.kind == SCAN_FROM_ASSET)
        buf_adds(out, ": an asset");
    else
        buf_adds(out, ": the name is computed in the graph");
}

static void
table_op(struct scan *s, struct scan_graph *g, const struct scan_op *op,
         const struct sm_node *n, int body, int node)
{
    struct scan_origin from = { SCAN_FROM_OTHER, { "", 0 } };
    struct str input;
    if (op->file_input >= 0 && scan_data_input(n, op->file_input, &input))
        from = scan_origin(g, body, input);
    if (op->how == SCAN_UNLESS_ASSET && from.kind == SCAN_FROM_ASSET)
        return;
    if (op->how == SCAN_UNLESS_EMPTY && from.kind == SCAN_FROM_CONST && !from.text.n)
        return;
    struct buf why AUTO(buf_release) = BUF_INIT;
    bool is_fixed = op->how == SCAN_UNLESS_SAVER &&
                    scan_fixed_path(g, body, node, op->file_input, &input);
    if (is_fixed)
        from = (struct scan_origin){ SCAN_FROM_CONST, input };
    describe(op, from, &why);
    int n_before = s->n;
    scan_add(s, op->class_, op->severity, n, body, node, "%s", buf_str(&why));
    /* Whether it belongs to the saver is known when it is known who reaches it. */
    if (s->n > n_before && op->how == SCAN_UNLESS_SAVER && !is_fixed)
        s->v[n_before].def = op;
}

static void
one_op(struct scan *s, struct scan_graph *g, int body, int node)
{
    struct sm_node n = scan_node(g, node);
    const char *deny = s->options->deny;
    if (deny && deny[0]) {
        if (is_listed(deny, n.op))
            scan_add(s, SCAN_denied, SCAN_ERROR, &n, body, node, "on the deny list");
        return;
    }
    const struct scan_op *op = scan_op_find(n.op);
    if (op) {
        table_op(s, g, op, &n, body, node);
    } else if (!scan_is_tf_op(n.op) && scan_index_find(&g->functions, n.op) < 0) {
        char *version AUTO(free_ptr) = scan_text(g->meta->tf_version);
        scan_add(s, SCAN_custom, SCAN_WARNING, &n, body, node,
                 "not an op of TensorFlow 2.15, nor a function of this model%s%s",
                 version[0] ? "; the model was written by TensorFlow " : "", version);
    }
}

/* ---- the report ---- */

void
scan_put_text(cJSON *o, const char *key, struct str s)
{
    char *text AUTO(free_ptr) = scan_text(s);
    json_put_str(o, key, text);
}

void
scan_put_tags(cJSON *o, const char *key, const struct sm_meta *meta)
{
    struct buf b AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < meta->n_tags; i++)
        buf_addf(&b, "%s%.*s", i ? "," : "", STR_ARG(meta->tags[i]));
    scan_put_text(o, key, (struct str){ buf_str(&b), b.len });
}

static cJSON *
finding_json(const struct scan_finding *f, const struct scan_graph *g)
{
    static const char *const severities[] = { "note", "warning", "error" };
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "class", scan_classes[f->class_].id);
    json_put_str(o, "severity", severities[f->severity]);
    if (f->node >= 0) {
        struct sm_node n = scan_node(g, f->node);
        scan_put_text(o, "op", n.op);
        scan_put_text(o, "node", n.name);
    }
    if (f->body > 0)
        scan_put_text(o, "function", g->bodies[f->body].name);
    if (f->body >= 0)
        scan_put_tags(o, "tag_set", g->meta);
    if (f->file)
        scan_put_text(o, "file", str_of(f->file));
    scan_put_text(o, "message", str_of(f->message));
    json_put_str(o, "fix", scan_classes[f->class_].fix);
    return o;
}

/* The ways to findings first … n-1 of this graph, and with them whether a checkpoint op
 * is only the loader's own: reached by save or restore alone, or by nobody. */
static void
put_reach(struct scan *s, struct scan_graph *g, int first, cJSON *report, cJSON **v)
{
    enum { MAX_WAYS = 100 }; /* that the report keeps of one finding */
    struct scan_reach r AUTO(scan_reach_release) = { 0 };
    if (first == s->n)
        return;
    scan_reach_open(&r, g);
    int *n_ways = xcalloc((size_t)(s->n - first), sizeof *n_ways);
    for (int i = first; i < s->n; i++)
        s->v[i].is_dropped = s->v[i].def != NULL;
    for (int k = 0; k < r.n_roots && scan_reach_follow(&r, g, k); k++) {
        r.work += s->n - first;
        for (int i = first; i < s->n; i++) {
            struct scan_finding *f = &s->v[i];
            enum scan_root_kind kind = r.roots[k].kind;
            if (f->body < 0 || (f->body == 0 && f->node < 0) ||
                !scan_reached(&r, g, f->body, f->node))
                continue;
            if (kind != SCAN_ROOT_SAVE && kind != SCAN_ROOT_RESTORE)
                f->is_dropped = false;
            cJSON *list = cJSON_GetObjectItemCaseSensitive(v[i - first], "reached_by");
            if (!list)
                list = cJSON_AddArrayToObject(v[i - first], "reached_by");
            if (n_ways[i - first]++ >= MAX_WAYS)
                continue;
            cJSON *way = cJSON_CreateObject();
            json_put_str(way, "from", scan_root_text(kind));
            scan_put_text(way, "name", r.roots[k].name);
            cJSON_AddItemToObject(way, "path",
                                  scan_reach_path(&r, g, f->body, f->node));
            cJSON_AddItemToArray(list, way);
        }
    }
    free(n_ways);
    if (r.is_cut)
        cJSON_ReplaceItemInObjectCaseSensitive(report, "reach_complete",
                                               cJSON_CreateFalse());
    /* What was not followed to the end is not called harmless. */
    for (int i = first; i < s->n && r.is_cut; i++)
        s->v[i].is_dropped = false;
}

static int
scan_meta(struct scan *s, const struct sm_meta *meta, cJSON *report, cJSON *findings,
          struct err *err)
{
    struct scan_graph g AUTO(scan_graph_release) = { 0 };
    int first = s->n;
    bool is_all = !s->options->deny || !s->options->deny[0];
    if (scan_graph_open(&g, meta, err) < 0)
        return -(int)err->code;
    cJSON *o = cJSON_CreateObject();
    scan_put_tags(o, "tags", meta);
    scan_put_text(o, "tensorflow", meta->tf_version);
    json_put_int(o, "nodes", g.n_nodes);
    json_put_int(o, "functions", g.n_bodies - 1);
    cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(report, "meta_graphs"), o);
    for (int b = 0; b < g.n_bodies; b++)
        for (int i = 0; i < g.bodies[b].n_nodes; i++)
            one_op(s, &g, b, g.bodies[b].first_node + i);
    if (is_all) {
        scan_shape(s, &g);
        scan_assets(s, meta);
        scan_keras_metadata(s, meta->object_graph);
    }
    cJSON **v = xcalloc((size_t)(s->n - first) + 1, sizeof *v);
    for (int i = first; i < s->n; i++)
        v[i - first] = finding_json(&s->v[i], &g);
    put_reach(s, &g, first, report, v);
    for (int i = first; i < s->n; i++) {
        if (s->v[i].is_dropped)
            cJSON_Delete(v[i - first]);
        else
            cJSON_AddItemToArray(findings, v[i - first]);
    }
    free(v);
    return 0;
}

/* Two MetaGraphs with the same tags: which one is loaded is the reader's choice. */
static void
same_tags(struct scan *s, const struct sm_model *model)
{
    int n = sm_n_metas(model);
    if (n > 1000) {
        scan_add_file(s, SCAN_oversize, SCAN_ERROR, s->model_file, "%d MetaGraphs", n);
        return;
    }
    for (int i = 1; i < n; i++) {
        const struct sm_meta *meta = sm_meta(model, i), *first;
        struct err err = ERR_INIT;
        struct buf tags AUTO(buf_release) = BUF_INIT;
        for (int k = 0; k < meta->n_tags; k++)
            buf_addf(&tags, "%s%.*s", k ? "," : "", STR_ARG(meta->tags[k]));
        if (sm_find_meta(model, buf_str(&tags), &first, &err) >= 0 && first != meta)
            scan_add_file(s, SCAN_structure, SCAN_ERROR, s->model_file,
                          "two MetaGraphs have the tag set '%s': readers differ in "
                          "which they take",
                          buf_str(&tags));
    }
}

static int
scan_model(struct scan *s, const struct sm_model *model, cJSON *report, cJSON *findings,
           struct err *err)
{
    const struct sm_meta *meta;
    if (s->options->tag_set) {
        if (sm_find_meta(model, s->options->tag_set, &meta, err) < 0)
            return -(int)err->code;
        return scan_meta(s, meta, report, findings, err);
    }
    for (int i = 0; i < sm_n_metas(model); i++)
        if (scan_meta(s, sm_meta(model, i), report, findings, err) < 0)
            return -(int)err->code;
    return 0;
}

int
scan_open_dir(int *dirfd, const char *dir, struct err *err)
{
    if (fs_open_dir(dirfd, AT_FDCWD, dir, err) >= 0)
        return 0;
    if (err->sys != ENOENT)
        return -(int)err->code;
    err_clear(err);
    return err_set(err, ERR_NOTFOUND, "SavedModel file does not exist at: %s", dir);
}

/* A model that cannot be read because of its shape is a finding; any other reason is
 * an error of its own. */
static int
open_model(struct scan *s, struct sm_model **model, int dirfd, const char *dir,
           struct err *err)
{
    int r = sm_open(model, dirfd, dir, err);
    if (r >= 0 || err->code == ERR_NOTFOUND || err->code == ERR_CORRUPT)
        return r;
    struct err why = *err;
    err_clear(err);
    if (why.code != ERR_LIMIT)
        return err_set(err, ERR_PENDING, "%s", why.msg);
    scan_add_file(s, SCAN_oversize, SCAN_ERROR, s->model_file, "%s", why.msg);
    return 0;
}

int
val_scan(cJSON **report, const char *dir, const struct val_scan_options *options,
         struct err *err)
{
    struct scan s AUTO(scan_release) = { .options = options,
                                         .model_file = "saved_model.pb",
                                         .allowed = cJSON_CreateObject() };
    struct sm_model *model AUTO(sm_close_p) = NULL;
    int dirfd AUTO(fs_close) = -1;
    cJSON *j AUTO(json_free) = cJSON_CreateObject();
    if (scan_open_dir(&dirfd, dir, err) < 0 ||
        open_model(&s, &model, dirfd, dir, err) < 0)
        return -(int)err->code;
    if (model)
        s.model_file = sm_form_file(sm_form(model));
    json_put_str(j, "model_file", s.model_file);
    cJSON_AddArrayToObject(j, "meta_graphs");
    json_put_bool(j, "reach_complete", true);
    cJSON *findings = cJSON_AddArrayToObject(j, "findings");
    if (model && scan_model(&s, model, j, findings, err) < 0)
        return -(int)err->code;
    int first = s.n;
    if (!options->deny || !options->deny[0]) {
        if (model)
            same_tags(&s, model);
        else
            first = 0;
        if (scan_files(&s, dirfd, err) < 0)
            return -(int)err->code;
    }
    for (int i = first; i < s.n; i++)
        cJSON_AddItemToArray(findings, finding_json(&s.v[i], NULL));
    json_put_int(j, "n_findings", cJSON_GetArraySize(findings) + s.n_more);
    cJSON_AddItemToObject(j, "allowed", s.allowed);
    s.allowed = NULL;
    *report = j;
    j = NULL;
    return 0;
}
