/* SPDX-License-Identifier: Apache-2.0 */
/* show: a SavedModel's tag sets and signatures. The reply's `view` says how much was
 * asked for: tag_sets, keys, signature or all (as saved_model_cli's flags do). */
#include "savedmodel/savedmodel.h"
#include "service/svc_int.h"

#include <errno.h>
#include <string.h>

static void
put_slice(cJSON *obj, const char *key, struct str s)
{
    char *text = xstrndup(s.p ? s.p : "", s.n);
    json_put_str(obj, key, text);
    free_ptr(&text);
}

static void
put_tensors(cJSON *signature, const char *key, const struct sm_tensor_info *v, int n)
{
    cJSON *list = cJSON_AddArrayToObject(signature, key);
    for (int i = 0; i < n; i++) {
        cJSON *o = cJSON_CreateObject();
        put_slice(o, "key", v[i].key);
        json_put_str(o, "dtype", sm_dtype_name(v[i].dtype));
        if (v[i].shape.unknown_rank) {
            cJSON_AddNullToObject(o, "shape");
        } else {
            cJSON *shape = cJSON_AddArrayToObject(o, "shape");
            for (int d = 0; d < v[i].shape.rank; d++)
                cJSON_AddItemToArray(shape,
                                     cJSON_CreateNumber((double)v[i].shape.dims[d]));
        }
        put_slice(o, "name", v[i].name);
        if (v[i].has_default)
            json_put_bool(o, "has_default", true);
        cJSON_AddItemToArray(list, o);
    }
}

static void
put_signature(cJSON *list, const struct sm_signature *s)
{
    cJSON *o = cJSON_CreateObject();
    put_slice(o, "key", s->key);
    put_slice(o, "method", s->method);
    put_tensors(o, "inputs", s->inputs, s->n_inputs);
    put_tensors(o, "outputs", s->outputs, s->n_outputs);
    cJSON_AddItemToArray(list, o);
}

static int
put_meta(cJSON *list, const struct sm_meta *meta, const char *only_signature, bool ops,
         struct err *err)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(list, o);
    cJSON *tags = cJSON_AddArrayToObject(o, "tags");
    for (int i = 0; i < meta->n_tags; i++) {
        char *tag = xstrndup(meta->tags[i].p, meta->tags[i].n);
        cJSON_AddItemToArray(tags, cJSON_CreateString(tag));
        free_ptr(&tag);
    }
    put_slice(o, "tensorflow", meta->tf_version);
    cJSON *signatures = cJSON_AddArrayToObject(o, "signatures");
    const struct sm_signature *one;
    if (only_signature) {
        if (sm_find_signature(meta, only_signature, &one, err) < 0)
            return -(int)err->code;
        put_signature(signatures, one);
    }
    for (int i = 0; i < meta->n_signatures && !only_signature; i++)
        put_signature(signatures, &meta->signatures[i]);
    if (!ops)
        return 0;
    struct str *names = NULL;
    int n = 0;
    if (sm_meta_ops(meta, &names, &n, err) < 0)
        return -(int)err->code;
    cJSON *op_list = cJSON_AddArrayToObject(o, "ops");
    for (int i = 0; i < n; i++) {
        char *op = xstrndup(names[i].p, names[i].n);
        cJSON_AddItemToArray(op_list, cJSON_CreateString(op));
        free_ptr(&op);
    }
    free_ptr(&names);
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
    struct svc_dir dir AUTO(svc_dir_close) = { 0 };
    struct sm_model *model AUTO(sm_close_p) = NULL;
    if (svc_dir_open(c, &dir, err) < 0 || open_model(&model, dir.path, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "view",
                 all         ? "all"
                 : !tags     ? "tag_sets"
                 : signature ? "signature"
                             : "keys");
    json_put_bool(c->reply, "list_ops", list_ops);
    cJSON *metas = cJSON_AddArrayToObject(c->reply, "meta_graphs");
    const struct sm_meta *meta;
    if (tags && !all) {
        if (sm_find_meta(model, tags, &meta, err) < 0)
            return -(int)err->code;
        return put_meta(metas, meta, signature, list_ops, err);
    }
    for (int i = 0; i < sm_n_metas(model); i++)
        if (put_meta(metas, sm_meta(model, i), NULL, all || list_ops, err) < 0)
            return -(int)err->code;
    return 0;
}
