/* SPDX-License-Identifier: Apache-2.0 */
/* What a pushed directory must be. TF Serving has loaded models that were copied by
 * half; here a push looks first. */
#include "repo/repo_int.h"

#include "savedmodel/savedmodel.h"

#include <inttypes.h>
#include <string.h>

#define VARIABLES "variables/variables"
#define SAVER_RESTORE_OP 3 /* SaverDef.restore_op_name */

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
check_variables(int dirfd, const struct sm_model *model, struct err *err)
{
    struct sm_bundle *bundle AUTO(sm_bundle_close_p) = NULL;
    int r = fs_exists(dirfd, "variables", err);

    if (r == 1)
        r = fs_exists(dirfd, VARIABLES ".index", err);
    if (r <= 0)
        return r < 0 ? r : check_no_variables(model, err);
    r = sm_bundle_open(&bundle, dirfd, VARIABLES, err);
    if (r == 0 && (r = sm_bundle_check_sizes(bundle, err)) < 0)
        return err_ctx(err, VARIABLES ".index");
    return r;
}

int
repo_check_saved_model(const char *dir, struct err *err)
{
    struct sm_model *model AUTO(sm_close_p) = NULL;
    int dirfd AUTO(fs_close) = -1;
    int r = fs_open_dir(&dirfd, AT_FDCWD, dir, err);

    if (r == 0)
        r = sm_open(&model, dirfd, dir, err);
    if (r == 0)
        r = check_variables(dirfd, model, err);
    if (r == -ERR_CORRUPT) {
        const struct err found = *err; /* who reads it wants to know where he stands */

        err_clear(err);
        return err_set(err, found.code, "%s; nothing was stored", found.msg);
    }
    return r;
}
