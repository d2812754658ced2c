/* SPDX-License-Identifier: Apache-2.0 */
/* What a pushed directory must be. TF Serving has loaded models that were copied by
 * half; here a push looks first. */
#include "repo/repo_int.h"

#include "savedmodel/savedmodel.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLES "variables/variables"
#define SAVER_RESTORE_OP 3 /* SaverDef.restore_op_name */
#define STRINGS_MAX_BYTES ((int64_t)8 << 20)

/* Variables of the graph itself: those the loader fills by the saver's restore op. */
static int64_t
count_variables(struct str graph, struct sm_node *first, struct err *err)
{
    static const char *const ops[] = { "VarHandleOp", "VariableV2", "Variable" };
    struct str raw;
    int64_t n = 0;
    int r;

    while ((r = sm_pb_next_msg(&graph, SM_GRAPH_NODE, &raw)) == 1) {
        struct sm_node node;

        if (sm_node_parse(raw, &node, err) < 0)
            return -(int)err->code;
        for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
            if (str_is(node.op, ops[i]) && n++ == 0)
                *first = node;
    }
    return r < 0 ? err_set(err, ERR_CORRUPT, "saved_model.pb: its graph is cut off")
                 : n;
}

/* Without an index a loader restores nothing: fine for a graph without variables only.
 */
static int
check_no_variables(const struct sm_model *model, struct err *err)
{
    for (int i = 0; i < sm_n_metas(model); i++) {
        const struct sm_meta *meta = sm_meta(model, i);
        struct sm_node first = { .name = { NULL, 0 } };
        int64_t n;

        if (sm_pb_bytes(meta->saver, SAVER_RESTORE_OP).n == 0)
            continue;
        n = count_variables(meta->graph, &first, err);
        if (n < 0)
            return (int)n;
        if (n > 0)
            return err_set(
                err, ERR_CORRUPT,
                VARIABLES ".index is missing, and the graph restores %" PRId64
                          " variable%s from it ('%.*s'%s): the copy is "
                          "incomplete",
                n, n == 1 ? "" : "s", STR_ARG(first.name), n == 1 ? "" : ", …");
    }
    return 0;
}

static int
check_variables(int dirfd, const struct sm_model *model, struct sm_bundle **out,
                struct err *err)
{
    struct sm_bundle *bundle AUTO(sm_bundle_close_p) = NULL;
    int r = fs_exists(dirfd, "variables", err);

    if (r == 1)
        r = fs_exists(dirfd, REPO_MODEL_INDEX, err);
    if (r <= 0)
        return r < 0 ? r : check_no_variables(model, err);
    r = sm_bundle_open(&bundle, dirfd, VARIABLES, err);
    if (r == 0 && (r = sm_bundle_check_sizes(bundle, err)) < 0)
        return err_ctx(err, REPO_MODEL_INDEX);
    if (r == 0) {
        *out = bundle;
        bundle = NULL;
    }
    return r;
}

int
repo_model_check(int dirfd, const char *dir, struct sm_bundle **out_bundle,
                 struct err *err)
{
    struct sm_model *model AUTO(sm_close_p) = NULL;
    int r = sm_open(&model, dirfd, dir, err);

    *out_bundle = NULL;
    if (r == 0)
        r = check_variables(dirfd, model, out_bundle, err);
    if (r == -ERR_CORRUPT) {
        const struct err found = *err; /* who reads it wants to know where he stands */

        err_clear(err);
        return err_set(err, found.code, "%s; nothing was stored", found.msg);
    }
    return r;
}

int
repo_check_saved_model(const char *dir, struct err *err)
{
    struct sm_bundle *bundle AUTO(sm_bundle_close_p) = NULL;
    int dirfd AUTO(fs_close) = -1;
    int r = fs_open_dir(&dirfd, AT_FDCWD, dir, err);

    return r < 0 ? r : repo_model_check(dirfd, dir, &bundle, err);
}

/* ---- checksums of tensors ---- */

bool
repo_model_is_shard(const char *path)
{
    return strncmp(path, VARIABLES ".data-", sizeof(VARIABLES ".data-") - 1) == 0;
}

static int
compare_crcs(const void *a, const void *b)
{
    const struct objects_crc *x = a, *y = b;

    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Of the file `path`; -1: it is none. */
static int
shard_of(struct sm_bundle *bundle, const char *path)
{
    const int n_shards = bundle ? sm_bundle_n_shards(bundle) : 0;

    for (int shard = 0; shard < n_shards; shard++) {
        char *name AUTO(free_ptr) =
            xasprintf(VARIABLES ".data-%05d-of-%05d", shard, n_shards);

        if (strcmp(name, path) == 0)
            return shard;
    }
    return -1;
}

/* Left out: strings and variants, whose checksum is not that of their bytes, and what
 * overlaps the tensor before it, which nobody writes. */
int
repo_model_crcs(struct sm_bundle *bundle, const char *path, struct objects_crc **out)
{
    const int shard = shard_of(bundle, path);
    int n = 0, n_kept = 0;

    *out = NULL;
    if (shard < 0)
        return 0;
    *out = xcalloc((size_t)sm_bundle_n_entries(bundle) + 1, sizeof(**out));
    for (int i = 0; i < sm_bundle_n_entries(bundle); i++) {
        const struct sm_entry *e = sm_bundle_entry(bundle, i);
        const struct sm_dtype_info *info = sm_dtype_info(e->dtype);

        if (e->shard_id == shard && e->n_slices == 0 && e->size_bytes > 0 && info &&
            info->size_bytes > 0)
            (*out)[n++] = (struct objects_crc){ .offset = e->offset,
                                                .size_bytes = e->size_bytes,
                                                .crc32c = e->crc32c,
                                                .name = e->key };
    }
    qsort(*out, (size_t)n, sizeof(**out), compare_crcs);
    for (int i = 0; i < n; i++)
        if (n_kept == 0 || (*out)[i].offset >= (*out)[n_kept - 1].offset +
                                                   (*out)[n_kept - 1].size_bytes)
            (*out)[n_kept++] = (*out)[i];
    return n_kept;
}

int
repo_model_check_strings(struct sm_bundle *bundle, const char *path, struct err *err)
{
    const int shard = shard_of(bundle, path);
    int r = 0;

    for (int i = 0; shard >= 0 && r == 0 && i < sm_bundle_n_entries(bundle); i++) {
        const struct sm_entry *e = sm_bundle_entry(bundle, i);
        struct sm_tensor t AUTO(sm_tensor_release) = { 0 };
        struct str *elements AUTO(free_ptr) = NULL;
        int64_t n;

        if (e->shard_id != shard || e->n_slices > 0 ||
            e->size_bytes > STRINGS_MAX_BYTES)
            continue;
        if (e->dtype == SM_STRING)
            r = sm_bundle_tensor(bundle, e->key, STR_LIT(""), true, &t, err);
        else if (e->dtype == SM_VARIANT)
            r = sm_bundle_variants(bundle, e->key, &elements, &n, err);
    }
    return r == -ERR_CORRUPT ? err_ctx(err,
                                       "%s: these are not the bytes that were saved; "
                                       "copy the model again from where it was made",
                                       path)
                             : r;
}
