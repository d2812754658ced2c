/* SPDX-License-Identifier: Apache-2.0 */
/* show: a SavedModel's tag sets, signatures and functions. The reply's `view` says how
 * much was asked for: tag_sets, keys, signature or all (as saved_model_cli's flags do),
 * or graph. */
#include "savedmodel/savedmodel.h"
#include "service/svc_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A small file can name one big signature many times. */
#define FUNCTIONS_MAX_BYTES ((size_t)64 << 20)

static void
put_tensors(cJSON *signature, const char *key, const struct sm_tensor_info *v, int n)
{
    cJSON *list = cJSON_AddArrayToObject(signature, key);
    for (int i = 0; i < n; i++) {
        cJSON *o = cJSON_CreateObject();
        svc_put_slice(o, "key", v[i].key);
        json_put_str(o, "dtype", sm_dtype_name(v[i].dtype));
        if (v[i].shape.unknown_rank) {
            cJSON_AddNullToObject(o, "shape");
        } else {
            cJSON *shape = cJSON_AddArrayToObject(o, "shape");
            for (int d = 0; d < v[i].shape.rank; d++)
                json_put_int(shape, NULL, v[i].shape.dims[d]);
        }
        svc_put_slice(o, "name", v[i].name);
        if (v[i].has_default)
            json_put_bool(o, "has_default", true);
        cJSON_AddItemToArray(list, o);
    }
}

static void
put_signature(cJSON *list, const struct sm_signature *s)
{
    cJSON *o = cJSON_CreateObject();
    svc_put_slice(o, "key", s->key);
    svc_put_slice(o, "method", s->method);
    put_tensors(o, "inputs", s->inputs, s->n_inputs);
    put_tensors(o, "outputs", s->outputs, s->n_outputs);
    cJSON_AddItemToArray(list, o);
}

/* ---- functions of the root object ---- */

/* What sm_value_str (or _class) says, as a member. */
static void
put_said(cJSON *o, const char *key, struct str value,
         void (*say)(struct str value, struct buf *out))
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    say(value, &text);
    json_put_str(o, key, buf_str(&text));
}

static void
put_spec(cJSON *o, struct str spec)
{
    struct str shape = sm_pb_bytes(spec, 2), dim, name = sm_pb_bytes(spec, 1);
    if (name.n)
        svc_put_slice(o, "name", name);
    else
        cJSON_AddNullToObject(o, "name");
    json_put_str(o, "dtype", sm_dtype_name((int)(int32_t)sm_pb_int(spec, 3, 0)));
    if (sm_pb_int(shape, 3, 0)) {
        cJSON_AddNullToObject(o, "shape");
        return;
    }
    cJSON *dims = cJSON_AddArrayToObject(o, "shape");
    while (sm_pb_next_msg(&shape, 2, &dim) > 0)
        json_put_int(dims, NULL, sm_pb_int(dim, 1, 0));
}

/* { "type", "text" }, of a tensor also "name", "dtype", "shape"; of what has elements
 * "items": [{ "key", "is_str", "text" }] instead of a text. */
static cJSON *
argument(struct str value)
{
    cJSON *o = cJSON_CreateObject();
    enum sm_value_form form = sm_value_form(value);
    put_said(o, "type", value, sm_value_class);
    if (form == SM_VALUE_TENSOR)
        put_spec(o, sm_value_tensor(value));
    if (form != SM_VALUE_LIST && form != SM_VALUE_DICT) {
        put_said(o, "text", value, sm_value_str);
        return o;
    }
    int n;
    struct sm_kv *v AUTO(free_ptr) = sm_value_items(value, &n);
    cJSON *items = cJSON_AddArrayToObject(o, "items");
    for (int i = 0; i < n; i++) {
        cJSON *item = cJSON_CreateObject();
        if (form == SM_VALUE_DICT || v[i].key.n)
            svc_put_slice(item, "key", v[i].key);
        if (sm_value_form(v[i].value) == SM_VALUE_STR)
            json_put_bool(item, "is_str", true);
        put_said(item, "text", v[i].value, sm_value_str);
        cJSON_AddItemToArray(items, item);
    }
    return o;
}

static cJSON *
concrete(const struct sm_concrete *c)
{
    cJSON *o = cJSON_CreateObject();
    svc_put_slice(o, "function", c->name);
    cJSON *args = cJSON_AddArrayToObject(o, "arguments");
    cJSON *named = cJSON_AddArrayToObject(o, "named_arguments");
    int n = 0;
    struct sm_kv *v AUTO(free_ptr) = sm_value_items(c->args, &n);
    for (int i = 0; i < n; i++)
        cJSON_AddItemToArray(args, argument(v[i].value));
    struct str keywords = c->keywords, word;
    while (sm_pb_next_msg(&keywords, 2, &word) > 0) {
        cJSON *arg = cJSON_CreateObject();
        json_put_str(arg, "type", "str");
        svc_put_slice(arg, "text", word);
        cJSON_AddItemToArray(args, arg);
    }
    struct sm_kv *kw AUTO(free_ptr) = sm_value_items(c->kwargs, &n);
    for (int i = 0; i < n; i++) {
        cJSON *arg = argument(kw[i].value);
        svc_put_slice(arg, "key", kw[i].key);
        cJSON_AddItemToArray(named, arg);
    }
    return o;
}

/* TensorFlow prints options in an order that its process's counter makes; here they
 * are sorted by what they take. */
struct option {
    struct buf text;
    cJSON *json;
};

static int
by_text(const void *pa, const void *pb)
{
    const struct option *a = pa, *b = pb;
    return strcmp(buf_str(&a->text), buf_str(&b->text));
}

static void
put_options(cJSON *function, const struct sm_callable *c)
{
    struct option *v AUTO(free_ptr) = xcalloc((size_t)c->n_concrete + 1, sizeof *v);
    cJSON *list = cJSON_AddArrayToObject(function, "options");
    for (int i = 0; i < c->n_concrete; i++) {
        v[i].json = concrete(&c->concrete[i]);
        json_print(cJSON_GetObjectItemCaseSensitive(v[i].json, "arguments"), &v[i].text,
                   true);
        json_print(cJSON_GetObjectItemCaseSensitive(v[i].json, "named_arguments"),
                   &v[i].text, true);
    }
    qsort(v, (size_t)c->n_concrete, sizeof *v, by_text);
    for (int i = 0; i < c->n_concrete; i++) {
        buf_release(&v[i].text);
        cJSON_AddItemToArray(list, v[i].json);
    }
}

static int
put_functions(cJSON *meta_json, const struct sm_meta *meta, struct err *err)
{
    struct sm_callables all AUTO(sm_callables_release) = { .v = NULL };
    size_t n_bytes = 0;
    if (sm_meta_callables(meta, &all, err) < 0)
        return -(int)err->code;
    cJSON *list = cJSON_AddArrayToObject(meta_json, "functions");
    for (int i = 0; i < all.n; i++) {
        const struct sm_callable *c = &all.v[i];
        for (int k = 0; k < c->n_concrete; k++)
            n_bytes += c->concrete[k].args.n + c->concrete[k].kwargs.n +
                       c->concrete[k].keywords.n;
        if (n_bytes > FUNCTIONS_MAX_BYTES)
            return err_set(err, ERR_LIMIT,
                           "function '%.*s': the signatures of the functions have more "
                           "than %zu bytes; show without --all leaves them out",
                           STR_ARG(c->name), FUNCTIONS_MAX_BYTES);
        cJSON *o = cJSON_CreateObject();
        svc_put_slice(o, "name", c->name);
        put_options(o, c);
        cJSON_AddItemToArray(list, o);
    }
    return 0;
}

/* ---- a MetaGraph ---- */

static int
put_ops(cJSON *o, const struct sm_meta *meta, struct err *err)
{
    struct str *names AUTO(free_ptr) = NULL;
    int n = 0;
    if (sm_meta_ops(meta, &names, &n, err) < 0)
        return -(int)err->code;
    cJSON *list = cJSON_AddArrayToObject(o, "ops");
    for (int i = 0; i < n; i++)
        svc_put_slice(list, NULL, names[i]);
    return 0;
}

/* How much of a MetaGraph is asked for. */
struct parts {
    const char *only_signature; /* NULL: all of them */
    bool ops, functions;
};

static int
find_signature(const struct sm_meta *meta, const char *key,
               const struct sm_signature **out, struct err *err)
{
    if (sm_find_signature(meta, key, out, err) == 0)
        return 0;
    err_clear(err);
    struct buf keys AUTO(buf_release) = BUF_INIT;
    int n;
    struct sm_kv *v AUTO(free_ptr) = sm_python_map(meta->raw, 5, &n);
    for (int i = 0; i < n; i++)
        buf_addf(&keys, "%s%.*s", i ? ", " : "", STR_ARG(v[i].key));
    return err_set(err, ERR_NOTFOUND,
                   "Could not find signature \"%s\". Please choose from: %s", key,
                   buf_str(&keys));
}

static int
find_meta(const struct sm_model *model, const char *tags, const struct sm_meta **out,
          struct err *err)
{
    if (sm_find_meta(model, tags, out, err) == 0)
        return 0;
    err_clear(err);
    struct buf sets AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < sm_n_metas(model); i++) {
        struct buf one AUTO(buf_release) = BUF_INIT;
        const struct sm_meta *meta = sm_meta(model, i);
        for (int k = 0; k < meta->n_tags; k++)
            buf_addf(&one, "%s%.*s", k ? "," : "", STR_ARG(meta->tags[k]));
        buf_adds(&sets, i ? ", " : "");
        sm_python_repr(str_of(buf_str(&one)), &sets);
    }
    return err_set(err, ERR_NOTFOUND,
                   "MetaGraphDef associated with tag-set %s could not be found in the "
                   "SavedModel. Please use one of the following tag-sets: [%s]",
                   tags, buf_str(&sets));
}

static int
put_meta(cJSON *list, const struct sm_meta *meta, struct parts want, struct err *err)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(list, o);
    cJSON *tags = cJSON_AddArrayToObject(o, "tags");
    for (int i = 0; i < meta->n_tags; i++)
        svc_put_slice(tags, NULL, meta->tags[i]);
    svc_put_slice(o, "tensorflow", meta->tf_version);
    cJSON *signatures = cJSON_AddArrayToObject(o, "signatures");
    const struct sm_signature *one;
    if (want.only_signature) {
        if (find_signature(meta, want.only_signature, &one, err) < 0)
            return -(int)err->code;
        put_signature(signatures, one);
    }
    for (int i = 0; i < meta->n_signatures && !want.only_signature; i++)
        put_signature(signatures, &meta->signatures[i]);
    if ((want.ops && put_ops(o, meta, err) < 0) ||
        (want.functions && sm_meta_has_objects(meta) &&
         put_functions(o, meta, err) < 0))
        return -(int)err->code;
    return 0;
}

static int
open_model(struct sm_model **out, const char *path, struct err *err)
{
    int dirfd AUTO(fs_close) = -1;
    if (fs_open_dir(&dirfd, AT_FDCWD, path, err) < 0) {
        if (err->sys != ENOENT)
            return -(int)err->code;
        err_clear(err);
        return err_set(err, ERR_NOTFOUND, "SavedModel file does not exist at: %s",
                       path);
    }
    return sm_open(out, dirfd, path, err);
}

int
svc_do_show(struct svc_call *c, struct err *err)
{
    const char *tags = svc_str(c, "tag_set"), *signature = svc_str(c, "signature_def");
    bool all = svc_flag(c, "all"), list_ops = svc_flag(c, "list_ops");
    bool graph = svc_flag(c, "graph");
    struct svc_dir dir AUTO(svc_dir_close) = { 0 };
    struct sm_model *model AUTO(sm_close_p) = NULL;
    const struct sm_meta *meta = NULL;
    if (svc_dir_open(c, &dir, err) < 0)
        return -(int)err->code;
    if (svc_flag(c, "plan"))
        return svc_show_plan(c, dir.path, err);
    if (open_model(&model, dir.path, err) < 0 ||
        (tags && !all && find_meta(model, tags, &meta, err) < 0))
        return -(int)err->code;
    json_put_str(c->reply, "view",
                 graph       ? "graph"
                 : all       ? "all"
                 : !tags     ? "tag_sets"
                 : signature ? "signature"
                             : "keys");
    if (graph) {
        const struct sm_signature *one = NULL;
        meta = meta ? meta : sm_meta(model, 0);
        if (signature && find_signature(meta, signature, &one, err) < 0)
            return -(int)err->code;
        return svc_show_graph(c->reply, meta, one, err);
    }
    if ((all || !tags) && svc_show_files(c->reply, dir.path, err) < 0)
        return -(int)err->code;
    json_put_bool(c->reply, "list_ops", list_ops);
    cJSON *metas = cJSON_AddArrayToObject(c->reply, "meta_graphs");
    if (meta)
        return put_meta(metas, meta, (struct parts){ signature, list_ops, false }, err);
    for (int i = 0; i < sm_n_metas(model); i++)
        if (put_meta(metas, sm_meta(model, i),
                     (struct parts){ NULL, all || list_ops, all }, err) < 0)
            return -(int)err->code;
    return 0;
}
