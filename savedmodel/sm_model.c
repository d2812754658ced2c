/* SPDX-License-Identifier: Apache-2.0 */
/* saved_model.pb: the SavedModel message and what lies at its top.
 *
 * SavedModel: 1 schema version, 2 repeated MetaGraphDef.
 * MetaGraphDef: 1 MetaInfoDef, 2 GraphDef, 3 SaverDef, 4 map collection,
 *   5 map signature, 6 repeated AssetFileDef, 7 SavedObjectGraph.
 * MetaInfoDef: 2 OpList, 4 repeated tag, 5 version, 6 git version, 7 stripped.
 * SignatureDef: 1 map inputs, 2 map outputs, 3 method, 4 map defaults.
 * TensorInfo: 1 name | 4 sparse | 5 composite, 2 dtype, 3 shape. */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

#define INIT_OP_KEY "__saved_model_init_op"
#define TRAIN_OP_KEY "__saved_model_train_op"

/* Views are bigger than what they show: a bound on all of them together. */
#define VIEWS_MAX (1 << 20)

struct sm_model {
    struct sm_file file;
    enum sm_form form;
    int n_views; /* made so far */
    struct sm_meta *metas;
    int n_metas;
    char **owned; /* messages that came in several parts, joined */
    int n_owned;
};

/* A singular message field: the slice of the file, or, seen several times, all its
 * parts joined (which is what merging them means on the wire). */
static struct str
merged(struct sm_model *m, struct str msg, uint32_t num)
{
    struct str it = msg, first = { "", 0 }, part;
    const char *passed = msg.p;
    size_t total = 0;
    int n = 0;
    struct sm_field f;
    while (sm_pb_next(&it, &f) > 0) {
        sm_file_passed(&m->file, &passed, it.p);
        if (f.num != num || f.wire != 2)
            continue;
        part = f.bytes;
        if (n++ == 0)
            first = part;
        total += part.n;
    }
    if (n < 2)
        return first;
    char *p = xmalloc(total ? total : 1);
    m->owned = xreallocarray(m->owned, (size_t)m->n_owned + 1, sizeof(*m->owned));
    m->owned[m->n_owned++] = p;
    struct str r = { p, total };
    for (it = msg; sm_pb_next_msg(&it, num, &part) > 0; p += part.n) {
        if (part.n)
            memcpy(p, part.p, part.n);
    }
    return r;
}

static int
tensor_info(struct str key, struct str raw, struct sm_tensor_info *out, struct err *err)
{
    struct sm_field f;
    struct str it = raw;
    int r;
    *out = (struct sm_tensor_info){
        .key = key, .name = { "", 0 }, .raw = raw, .default_value = { "", 0 }
    };
    while ((r = sm_pb_next(&it, &f)) > 0) {
        if (f.num == 1 && f.wire == 2)
            out->name = f.bytes;
        else if (f.num == 2 && f.wire == 0)
            out->dtype = (int)(int32_t)(uint32_t)f.v;
        else if ((f.num == 4 || f.num == 5) && f.wire == 2)
            out->name.n = 0; /* the other members of the oneof */
        else if (f.num == 3 && f.wire == 2 &&
                 sm_shape_parse(f.bytes, &out->shape, err) < 0)
            return err_ctx(err, "'%.*s'", STR_ARG(key));
    }
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "'%.*s': malformed TensorInfo", STR_ARG(key));
    return 0;
}

static int
count_msgs(struct str msg, uint32_t num)
{
    struct str part;
    int n = 0;
    while (sm_pb_next_msg(&msg, num, &part) > 0)
        n++;
    return n;
}

/* How many views field `num` will need, counted against the bound; -code. */
static int
count_views(struct sm_model *m, struct str msg, uint32_t num, struct err *err)
{
    int n = count_msgs(msg, num);
    if (n > VIEWS_MAX - m->n_views)
        return err_set(err, ERR_LIMIT,
                       "more than %d MetaGraphs, tags, signatures and tensors in them",
                       VIEWS_MAX);
    m->n_views += n;
    return n;
}

static int
infos(struct sm_model *m, struct str sig, uint32_t num, struct sm_tensor_info **out,
      int *n, struct err *err)
{
    struct sm_map map AUTO(sm_map_release) = { .v = NULL };
    struct sm_map defaults AUTO(sm_map_release) = { .v = NULL };
    int rc = count_views(m, sig, num, err);
    if (rc >= 0 && num == 1)
        rc = count_views(m, sig, 4, err);
    if (rc < 0)
        return rc;
    sm_map_read(sig, num, &map);
    if (num == 1)
        sm_map_read(sig, 4, &defaults);
    *out = xcalloc((size_t)map.n + 1, sizeof(**out));
    *n = map.n;
    for (int i = 0; i < map.n; i++) {
        struct sm_tensor_info *info = &(*out)[i];
        rc = tensor_info(map.v[i].key, map.v[i].value, info, err);
        if (rc < 0)
            return rc;
        const struct sm_kv *kv = sm_map_find(&defaults, info->key);
        info->has_default = kv != NULL;
        if (kv)
            info->default_value = kv->value;
    }
    return 0;
}

static int
signatures(struct sm_model *m, struct str meta_graph, struct sm_meta *meta,
           struct err *err)
{
    struct sm_map map AUTO(sm_map_release) = { .v = NULL };
    int rc = count_views(m, meta_graph, 5, err);
    if (rc < 0)
        return rc;
    sm_map_read(meta_graph, 5, &map);
    meta->signatures = xcalloc((size_t)map.n + 1, sizeof(*meta->signatures));
    meta->n_signatures = map.n;
    for (int i = 0; i < map.n; i++) {
        struct sm_signature *s = &meta->signatures[i];
        s->key = map.v[i].key;
        s->raw = map.v[i].value;
        s->method = sm_pb_bytes(s->raw, 3);
        if (infos(m, s->raw, 1, &s->inputs, &s->n_inputs, err) < 0 ||
            infos(m, s->raw, 2, &s->outputs, &s->n_outputs, err) < 0)
            return err_ctx(err, "signature '%.*s'", STR_ARG(s->key));
    }
    return 0;
}

static int
meta_parse(struct sm_model *m, struct str raw, struct sm_meta *meta, struct err *err)
{
    struct str info = merged(m, raw, 1), it = info;
    meta->raw = raw;
    meta->graph = merged(m, raw, 2);
    meta->library = merged(m, meta->graph, 2);
    meta->saver = merged(m, raw, 3);
    meta->object_graph = merged(m, raw, 7);
    meta->op_list = merged(m, info, 2);
    meta->tf_version = sm_pb_bytes(info, 5);
    meta->tf_git_version = sm_pb_bytes(info, 6);
    meta->stripped_default_attrs = sm_pb_int(info, 7, 0) != 0;
    int n = count_views(m, info, 4, err);
    if (n < 0)
        return n;
    meta->tags = xcalloc((size_t)n + 1, sizeof(*meta->tags));
    while (sm_pb_next_msg(&it, 4, &meta->tags[meta->n_tags]) > 0)
        meta->n_tags++;
    return signatures(m, raw, meta, err);
}

static int
model_parse(struct sm_model *m, struct err *err)
{
    struct str all = m->file.bytes, it, raw;
    int n = count_views(m, all, 2, err);
    if (n < 0)
        return n;
    if (n == 0)
        return err_set(err, ERR_CORRUPT, "no MetaGraph in %zu bytes", all.n);
    m->metas = xcalloc((size_t)n, sizeof(*m->metas));
    for (it = all; sm_pb_next_msg(&it, 2, &raw) > 0;) {
        if (meta_parse(m, raw, &m->metas[m->n_metas++], err) < 0)
            return err_ctx(err, "MetaGraph %d", m->n_metas - 1);
    }
    return 0;
}

int
sm_open(struct sm_model **out, int dirfd, const char *dir, struct err *err)
{
    struct sm_model *m = xcalloc(1, sizeof(*m));
    unsigned n_cut = fs_maps_n_cut();
    *out = NULL;
    int rc = sm_form_open(&m->file, &m->form, dirfd, dir, err);
    if (rc == 0 && model_parse(m, err) < 0)
        rc = err_ctx(err, "%s/%s", dir, sm_form_file(m->form));
    if (fs_maps_check(n_cut, err) < 0)
        rc = err_ctx(err, "%s", dir);
    if (rc < 0) {
        sm_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

int
sm_open_path(struct sm_model **out, const char *dir, struct err *err)
{
    int dirfd AUTO(fs_close) = -1;
    int rc = fs_open_dir(&dirfd, AT_FDCWD, dir, err);
    *out = NULL;
    return rc < 0 ? rc : sm_open(out, dirfd, dir, err);
}

enum sm_form
sm_form(const struct sm_model *m)
{
    return m->form;
}

struct str
sm_bytes(const struct sm_model *m)
{
    return m->file.bytes;
}

void
sm_close(struct sm_model *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->n_metas; i++) {
        struct sm_meta *meta = &m->metas[i];
        for (int j = 0; j < meta->n_signatures; j++) {
            free(meta->signatures[j].inputs);
            free(meta->signatures[j].outputs);
        }
        free(meta->signatures);
        free(meta->tags);
    }
    for (int i = 0; i < m->n_owned; i++)
        free(m->owned[i]);
    free(m->owned);
    free(m->metas);
    sm_file_release(&m->file);
    free(m);
}

void
sm_close_p(struct sm_model **m)
{
    sm_close(*m);
    *m = NULL;
}

int
sm_n_metas(const struct sm_model *m)
{
    return m->n_metas;
}

const struct sm_meta *
sm_meta(const struct sm_model *m, int i)
{
    return &m->metas[i];
}

/* The next non-empty item of a comma list; false at the end. */
static bool
next_tag(const char **at, struct str *tag)
{
    do {
        const char *end = strchrnul(*at, ',');
        *tag = (struct str){ *at, (size_t)(end - *at) };
        *at = *end ? end + 1 : end;
    } while (tag->n == 0 && **at);
    return tag->n > 0;
}

static bool
is_in_tags(const struct sm_meta *meta, struct str tag)
{
    for (int i = 0; i < meta->n_tags; i++) {
        if (str_eq(meta->tags[i], tag))
            return true;
    }
    return false;
}

static bool
is_in_list(const char *tags, struct str tag)
{
    struct str t;
    while (next_tag(&tags, &t)) {
        if (str_eq(t, tag))
            return true;
    }
    return false;
}

static bool
same_tags(const struct sm_meta *meta, const char *tags)
{
    struct str t;
    for (int i = 0; i < meta->n_tags; i++) {
        if (meta->tags[i].n > 0 && !is_in_list(tags, meta->tags[i]))
            return false;
    }
    while (next_tag(&tags, &t)) {
        if (!is_in_tags(meta, t))
            return false;
    }
    return true;
}

int
sm_find_meta(const struct sm_model *m, const char *tags, const struct sm_meta **out,
             struct err *err)
{
    for (int i = 0; i < m->n_metas; i++) {
        if (same_tags(&m->metas[i], tags)) {
            *out = &m->metas[i];
            return 0;
        }
    }
    struct buf list AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < m->n_metas; i++) {
        const struct sm_meta *meta = &m->metas[i];
        buf_adds(&list, i ? ", '" : "'");
        for (int j = 0; j < meta->n_tags; j++)
            buf_addf(&list, "%s%.*s", j ? "," : "", STR_ARG(meta->tags[j]));
        buf_addc(&list, '\'');
    }
    return err_set(err, ERR_NOTFOUND,
                   "no MetaGraph with the tag set '%s'; there are: %s", tags,
                   buf_str(&list));
}

int
sm_find_signature(const struct sm_meta *meta, const char *key,
                  const struct sm_signature **out, struct err *err)
{
    struct buf list AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < meta->n_signatures; i++) {
        const struct sm_signature *s = &meta->signatures[i];
        if (str_is(s->key, key)) {
            *out = s;
            return 0;
        }
        if (!sm_signature_hidden(s))
            buf_addf(&list, "%s'%.*s'", list.len ? ", " : "", STR_ARG(s->key));
    }
    if (list.len == 0)
        return err_set(err, ERR_NOTFOUND,
                       "no signature '%s': the model has no signatures", key);
    return err_set(err, ERR_NOTFOUND, "no signature '%s'; there are: %s", key,
                   buf_str(&list));
}

bool
sm_signature_hidden(const struct sm_signature *s)
{
    return str_is(s->key, INIT_OP_KEY) || str_is(s->key, TRAIN_OP_KEY);
}

/* "name:0" → "name" */
static struct str
op_name(struct str tensor)
{
    const char *colon = tensor.n ? memchr(tensor.p, ':', tensor.n) : NULL;
    if (colon)
        tensor.n = (size_t)(colon - tensor.p);
    return tensor;
}

/* The only node name of a collection (field 1 node_list, 1 value). */
static bool
collection_node(const struct sm_meta *meta, const char *name, struct str *out)
{
    struct str value;
    if (!sm_pb_map_get(meta->raw, 4, str_of(name), &value))
        return false;
    struct str nodes = sm_pb_bytes(value, 1);
    *out = count_msgs(nodes, 1) == 1 ? op_name(sm_pb_bytes(nodes, 1))
                                     : (struct str){ "", 0 };
    return true;
}

struct str
sm_meta_init_op(const struct sm_meta *meta)
{
    struct str name = { "", 0 };
    for (int i = 0; i < meta->n_signatures; i++) {
        const struct sm_signature *s = &meta->signatures[i];
        if (!str_is(s->key, INIT_OP_KEY))
            continue;
        for (int j = 0; j < s->n_outputs; j++) {
            if (str_is(s->outputs[j].key, INIT_OP_KEY))
                return op_name(s->outputs[j].name);
        }
        return name;
    }
    if (!collection_node(meta, "saved_model_main_op", &name))
        (void)collection_node(meta, "legacy_init_op", &name);
    return name;
}

/* A relative path that stays below the assets folder. */
static bool
is_safe_path(struct str path)
{
    if (path.n == 0 || path.p[0] == '/' || memchr(path.p, '\0', path.n))
        return false;
    for (size_t at = 0; at <= path.n;) {
        const char *slash = memchr(path.p + at, '/', path.n - at);
        size_t end = slash ? (size_t)(slash - path.p) : path.n;
        if (end - at == 2 && memcmp(path.p + at, "..", 2) == 0)
            return false;
        at = end + 1;
    }
    return true;
}

typedef int asset_fn(void *arg, struct str tensor, struct str file, struct err *err);

static int
asset(struct str def, asset_fn *fn, void *arg, struct err *err)
{
    struct str file = sm_pb_bytes(def, 2);
    if (!is_safe_path(file))
        return err_set(err, ERR_INVALID, "asset '%.*s' lies outside the assets folder",
                       STR_ARG(file));
    return fn(arg, sm_pb_bytes(sm_pb_bytes(def, 1), 1), file, err);
}

int
sm_meta_assets(const struct sm_meta *meta, asset_fn *fn, void *arg, struct err *err)
{
    struct str it = meta->raw, def, value;
    int rc = 0, n = 0;
    for (; rc >= 0 && sm_pb_next_msg(&it, 6, &def) > 0; n++)
        rc = asset(def, fn, arg, err);
    if (rc < 0 || n > 0 ||
        !sm_pb_map_get(meta->raw, 4, STR_LIT("saved_model_assets"), &value))
        return rc < 0 ? rc : 0;
    /* TF1: any_list (5) of Any { 2 value = AssetFileDef }. */
    for (it = sm_pb_bytes(value, 5); rc >= 0 && sm_pb_next_msg(&it, 1, &def) > 0;)
        rc = asset(sm_pb_bytes(def, 2), fn, arg, err);
    return rc < 0 ? rc : 0;
}
