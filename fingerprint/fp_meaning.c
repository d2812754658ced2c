/* SPDX-License-Identifier: Apache-2.0 */
/* The semantic digest: what a model answers, and nothing about how it was written.
 *
 * Goes in: tags; signatures with names, dtypes, shapes and defaults; the nodes behind
 * their outputs, the init op and the restore op, with all functions these call;
 * function aliases; the object graph; names and contents of assets; names, dtypes,
 * shapes and values of the checkpoint's tensors.
 *
 * Stays out: names of functions, nodes and arguments; every order that has no meaning;
 * how constants and tensors are stored; nodes and functions that nothing reaches;
 * attributes that are hints; devices; descriptions, debug information, versions;
 * collections (but for the init op and assets); what saves. */
#include "fingerprint/fp_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

const char *
fp_part_name(enum fp_part p)
{
    static const char *const names[FP_N_PARTS] = {
        [FP_PART_GRAPH] = "graph",
        [FP_PART_OBJECTS] = "objects",
        [FP_PART_ASSETS] = "assets",
        [FP_PART_WEIGHTS] = "weights",
    };
    return names[p];
}

/* ---- assets ---- */

struct asset {
    struct str tensor, file;
};
struct assets {
    struct asset *v;
    int n;
};

static int
asset_add(void *arg, struct str tensor, struct str file, struct err *err)
{
    struct assets *a = arg;
    (void)err;
    a->v = xreallocarray(a->v, (size_t)a->n + 1, sizeof(*a->v));
    a->v[a->n++] = (struct asset){ tensor, file };
    return 0;
}

static int
asset_cmp(const void *pa, const void *pb)
{
    const struct asset *a = pa, *b = pb;
    return str_cmp(a->file, b->file);
}

static void
assets_release(struct assets *a)
{
    free(a->v);
}

static int
assets_add(struct assets *a, const struct sm_meta *meta, struct err *err)
{
    int rc = sm_meta_assets(meta, asset_add, a, err);
    if (rc == 0 && a->n > 1)
        qsort(a->v, (size_t)a->n, sizeof(*a->v), asset_cmp);
    return rc;
}

static int
hash_file(struct sha256 *h, int dirfd, const char *path, struct err *err)
{
    struct sha256 inner;
    struct digest d;
    char b[65536];
    int fd AUTO(fs_close) = -1;
    struct stat st;
    int rc = fs_open(&fd, dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0, err);
    if (rc < 0 && (err->sys == ENOENT || err->sys == ENOTDIR)) {
        err_clear(err);
        return err_set(err, ERR_NOTFOUND, "%s is missing (an asset of the model)",
                       path);
    }
    if (rc < 0)
        return rc;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a regular file", path);
    sha256_init(&inner);
    for (;;) {
        ssize_t n = read(fd, b, sizeof(b));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read %s", path);
        if (n == 0)
            break;
        sha256_add(&inner, b, (size_t)n);
    }
    sha256_end(&inner, &d);
    fp_h_digest(h, &d);
    return 0;
}

static int
hash_assets(struct sha256 *h, int dirfd, const struct assets *a, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < a->n; i++) {
        if (i > 0 && str_eq(a->v[i].file, a->v[i - 1].file))
            continue;
        char *path AUTO(free_ptr) = xasprintf("assets/%.*s", STR_ARG(a->v[i].file));
        fp_h_str(h, a->v[i].file);
        rc = hash_file(h, dirfd, path, err);
    }
    return rc;
}

/* ---- signatures ---- */

/* TensorInfo: 1 name | 4 sparse | 5 composite { 1 type, 2 components }, 2 dtype, 3
 * shape. */
static int
hash_info(struct sha256 *h, struct fp_graph *g, struct str info, struct err *err)
{
    struct sm_field f, member = { .num = 0, .bytes = { "", 0 } };
    struct str it = info;
    int rc = 0;
    while (sm_pb_next(&it, &f) > 0) {
        if ((f.num == 1 || f.num == 4 || f.num == 5) && f.wire == 2)
            member = f;
    }
    fp_h_u64(h, (uint64_t)sm_pb_int(info, 2, 0));
    fp_h_shape(h, sm_pb_bytes(info, 3));
    fp_h_u64(h, member.num);
    if (member.num == 1)
        return fp_h_ref(h, g, member.bytes, err);
    for (uint32_t i = 1; member.num == 4 && rc == 0 && i <= 3; i++)
        rc = fp_h_ref(h, g, sm_pb_bytes(member.bytes, i), err);
    if (member.num != 5)
        return rc;
    rc = fp_h_det(h, FP_M_TypeSpecProto, sm_pb_bytes(member.bytes, 1), err);
    for (it = member.bytes; rc == 0 && sm_pb_next_msg(&it, 2, &info) > 0;)
        rc = hash_info(h, g, info, err);
    fp_h_text(h, "end");
    return rc;
}

static int
hash_infos(struct sha256 *h, struct fp_graph *g, const struct sm_tensor_info *v, int n,
           struct err *err)
{
    int rc = 0;
    fp_h_u64(h, (uint64_t)n);
    for (int i = 0; rc == 0 && i < n; i++) {
        fp_h_str(h, v[i].key);
        rc = hash_info(h, g, v[i].raw, err);
        fp_h_u64(h, v[i].has_default);
        if (rc == 0 && v[i].has_default)
            rc = fp_h_const(h, v[i].default_value, err);
    }
    return rc;
}

static int
hash_signatures(struct sha256 *h, struct fp_graph *g, const struct sm_meta *meta,
                struct err *err)
{
    fp_h_u64(h, (uint64_t)meta->n_signatures);
    for (int i = 0; i < meta->n_signatures; i++) {
        const struct sm_signature *s = &meta->signatures[i];
        fp_h_str(h, s->key);
        fp_h_str(h, s->method);
        if (hash_infos(h, g, s->inputs, s->n_inputs, err) < 0 ||
            hash_infos(h, g, s->outputs, s->n_outputs, err) < 0)
            return err_ctx(err, "signature '%.*s'", STR_ARG(s->key));
    }
    return 0;
}

/* ---- one MetaGraph ---- */

/* SaverDef: 1 tensor that takes the checkpoint's path, 3 restore op. */
static int
hash_restore(struct sha256 *h, struct fp_graph *g, const struct sm_meta *meta,
             struct err *err)
{
    int rc = fp_h_ref(h, g, sm_pb_bytes(meta->saver, 1), err);
    return rc < 0 ? rc : fp_h_ref(h, g, sm_pb_bytes(meta->saver, 3), err);
}

struct alias {
    struct str name, function;
    const struct digest *digest; /* of the function */
};

/* A function's name means nothing: where several have one alias, what they do decides
 * which comes first. */
static int
alias_cmp(const void *pa, const void *pb)
{
    const struct alias *a = pa, *b = pb;
    int r = str_cmp(a->name, b->name);
    return r ? r : fp_digest_cmp(a->digest, b->digest);
}

/* MetaInfoDef (1) { 8 map function → alias }. TensorFlow also lists functions that it
 * then leaves out of the library: these say nothing. */
static int
hash_aliases(struct sha256 *h, const struct fp_lib *lib, struct fp_graph *g,
             const struct sm_meta *meta, struct err *err)
{
    static const struct fp_field aliases = { .num = 8, .key = FP_K_STR };
    struct str info = sm_pb_bytes(meta->raw, 1);
    struct fp_kv *kv AUTO(free_ptr) = NULL;
    size_t n, n_known = 0;
    int rc = fp_map(FP_MSG(info), &aliases, &kv, &n, err);
    if (rc < 0)
        return rc;
    struct alias *v AUTO(free_ptr) = xcalloc(n + 1, sizeof(*v));
    for (size_t i = 0; i < n; i++) {
        int at = fp_names_find(&lib->by_name, kv[i].key);
        if (at >= 0)
            v[n_known++] = (struct alias){ sm_pb_bytes(kv[i].entry, 2), kv[i].key,
                                           &lib->fn[at].digest };
    }
    if (n_known > 1)
        qsort(v, n_known, sizeof(*v), alias_cmp);
    for (size_t i = 0; i < n_known; i++) {
        fp_h_str(h, v[i].name);
        fp_h_function(h, lib, v[i].function);
        fp_graph_use(g, v[i].function);
    }
    return 0;
}

static int
hash_graph(struct sha256 *h, const struct fp_lib *lib, struct fp_graph *g,
           const struct sm_meta *meta, bool has_weights, struct err *err)
{
    struct assets assets AUTO(assets_release) = { .v = NULL };
    struct fp_uses uses = { .v = NULL };
    int rc = hash_signatures(h, g, meta, err);
    fp_h_text(h, "init");
    if (rc == 0)
        rc = fp_h_ref(h, g, sm_meta_init_op(meta), err);
    if (rc == 0)
        rc = assets_add(&assets, meta, err);
    for (int i = 0; rc == 0 && i < assets.n; i++) {
        fp_h_text(h, "asset");
        fp_h_str(h, assets.v[i].file);
        rc = fp_h_ref(h, g, assets.v[i].tensor, err);
    }
    fp_h_text(h, has_weights ? "restore" : "no checkpoint");
    if (rc == 0 && has_weights)
        rc = hash_restore(h, g, meta, err);
    if (rc == 0)
        rc = hash_aliases(h, lib, g, meta, err);
    if (rc == 0)
        rc = fp_graph_end(h, g, &uses, err);
    if (rc == 0)
        rc = fp_h_uses(h, &uses, err);
    fp_uses_release(&uses);
    return rc;
}

static int
str_sort_cmp(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* The set of tags, as one string. */
static void
tags_text(const struct sm_meta *meta, struct buf *out)
{
    struct str *v AUTO(free_ptr) = xcalloc((size_t)meta->n_tags + 1, sizeof(*v));
    for (int i = 0; i < meta->n_tags; i++)
        v[i] = meta->tags[i];
    qsort(v, (size_t)meta->n_tags, sizeof(*v), str_sort_cmp);
    for (int i = 0; i < meta->n_tags; i++) {
        if (i > 0 && str_eq(v[i], v[i - 1]))
            continue;
        buf_add(out, v[i].p, v[i].n);
        buf_addc(out, '\0');
    }
}

struct meta_digest {
    struct buf tags;
    int at;
    struct digest graph, objects;
};

static int
meta_hash(struct meta_digest *d, const struct sm_meta *meta, struct sm_bundle *b,
          struct err *err)
{
    struct fp_lib lib AUTO(fp_lib_release) = { .n_fn = 0 };
    struct fp_graph *g AUTO(fp_graph_close) = NULL;
    struct sha256 graph, objects;
    sha256_init(&graph);
    sha256_init(&objects);
    tags_text(meta, &d->tags);
    int rc = fp_lib_init(&lib, meta, err);
    if (rc == 0)
        rc = fp_graph_open(&g, &lib, meta->graph, SM_GRAPH_NODE, err);
    if (rc == 0)
        rc = fp_graph_link(g, err);
    if (rc == 0)
        rc = hash_graph(&graph, &lib, g, meta, b != NULL, err);
    if (rc == 0)
        rc = fp_h_objects(&objects, &lib, g, meta, b, err);
    sha256_end(&graph, &d->graph);
    sha256_end(&objects, &d->objects);
    return rc;
}

/* ---- the model ---- */

/* Of equal tag sets only the first is ever picked: their order means something. */
static int
meta_cmp(const void *pa, const void *pb)
{
    const struct meta_digest *a = pa, *b = pb;
    int r = str_cmp((struct str){ buf_str(&a->tags), a->tags.len },
                    (struct str){ buf_str(&b->tags), b->tags.len });
    return r ? r : (a->at > b->at) - (a->at < b->at);
}

static void
join(struct fp_meaning *out, struct meta_digest *v, int n)
{
    struct sha256 graph, objects;
    qsort(v, (size_t)n, sizeof(*v), meta_cmp);
    sha256_init(&graph);
    sha256_init(&objects);
    fp_h_text(&graph, "sluice-graph 1");
    fp_h_text(&objects, "sluice-objects 1");
    for (int i = 0; i < n; i++) {
        struct str tags = { buf_str(&v[i].tags), v[i].tags.len };
        fp_h_str(&graph, tags);
        fp_h_digest(&graph, &v[i].graph);
        fp_h_str(&objects, tags);
        fp_h_digest(&objects, &v[i].objects);
    }
    sha256_end(&graph, &out->part[FP_PART_GRAPH]);
    sha256_end(&objects, &out->part[FP_PART_OBJECTS]);
}

static int
asset_part(struct fp_meaning *out, const struct sm_model *m, int dirfd, struct err *err)
{
    struct assets assets AUTO(assets_release) = { .v = NULL };
    struct sha256 h;
    int rc = 0;
    sha256_init(&h);
    fp_h_text(&h, "sluice-assets 1");
    for (int i = 0; rc == 0 && i < sm_n_metas(m); i++)
        rc = assets_add(&assets, sm_meta(m, i), err);
    if (rc == 0)
        rc = hash_assets(&h, dirfd, &assets, err);
    sha256_end(&h, &out->part[FP_PART_ASSETS]);
    return rc;
}

int
fp_meaning_of(struct fp_meaning *out, const struct sm_model *m, int dirfd,
              struct sm_bundle *b, const struct fp_weights *w, struct err *err)
{
    int n = sm_n_metas(m), rc = 0;
    struct meta_digest *v = xcalloc((size_t)n + 1, sizeof(*v));
    struct sha256 h;
    *out = (struct fp_meaning){ .id = { { 0 } } };
    for (int i = 0; rc == 0 && i < n; i++) {
        v[i].at = i;
        rc = meta_hash(&v[i], sm_meta(m, i), b, err);
        if (rc < 0)
            rc = err_ctx(err, "MetaGraph %d", i);
    }
    if (rc == 0)
        rc = asset_part(out, m, dirfd, err);
    if (rc == 0) {
        join(out, v, n);
        out->part[FP_PART_WEIGHTS] = w->id;
        sha256_init(&h);
        fp_h_text(&h, "sluice-meaning 1");
        for (int i = 0; i < FP_N_PARTS; i++)
            fp_h_digest(&h, &out->part[i]);
        sha256_end(&h, &out->id);
    }
    for (int i = 0; i < n; i++)
        buf_release(&v[i].tags);
    free(v);
    return rc;
}

int
fp_identity_of(struct fp_identity *out, int dirfd, const char *dir, struct err *err)
{
    struct sm_model *m AUTO(sm_close_p) = NULL;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    struct fp_weights w AUTO(fp_weights_release) = { .v = NULL };
    *out = (struct fp_identity){ .n_tensors = 0 };
    int rc = sm_open(&m, dirfd, dir, err);
    if (rc < 0)
        return rc;
    rc = sm_bundle_open(&b, dirfd, "variables/variables", err);
    if (rc == -ERR_NOTFOUND) {
        err_clear(err);
        rc = 0;
    }
    if (rc == 0)
        rc = fp_weights_of(&w, b, err);
    if (rc == 0)
        rc = fp_meaning_of(&out->meaning, m, dirfd, b, &w, err);
    if (rc < 0)
        return err_ctx(err, "%s", dir);
    out->weights = w.id;
    out->n_tensors = w.n;
    out->weights_bytes = w.n_bytes;
    return 0;
}
