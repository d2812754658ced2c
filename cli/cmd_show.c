/* SPDX-License-Identifier: Apache-2.0 */
/* show: saved_model_cli's text, line for line. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

static int
by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Strings of a list, joined; quote: each as Python's repr writes it. */
static void
add_joined(const cJSON *list, bool quote_each, bool sorted, struct buf *out)
{
    int n = cJSON_GetArraySize(list), i = 0;
    const char **v = xcalloc((size_t)n + 1, sizeof *v);
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        v[i++] = e->valuestring;
    if (sorted)
        qsort(v, (size_t)n, sizeof *v, by_bytes);
    for (i = 0; i < n; i++)
        buf_addf(out, quote_each ? "%s'%s'" : "%s%s", i ? ", " : "", v[i]);
    free(v);
}

static void
add_tensors(const cJSON *list, const char *what, int indent, struct buf *out)
{
    int pad = 2 * (indent + 1);
    for (const cJSON *t = list ? list->child : NULL; t; t = t->next) {
        buf_addf(out, "%*s%s['%s'] tensor_info:\n", pad, "", what, cli_str(t, "key"));
        buf_addf(out, "%*sdtype: %s\n", pad + 4, "", cli_str(t, "dtype"));
        buf_addf(out, "%*sshape: ", pad + 4, "");
        const cJSON *shape = cJSON_GetObjectItemCaseSensitive(t, "shape");
        if (cJSON_IsNull(shape)) {
            buf_adds(out, "unknown_rank\n");
        } else {
            buf_addc(out, '(');
            for (const cJSON *d = shape->child; d; d = d->next)
                buf_addf(out, "%s%.0f", d == shape->child ? "" : ", ", d->valuedouble);
            buf_adds(out, ")\n");
        }
        buf_addf(out, "%*sname: %s\n", pad + 4, "", cli_str(t, "name"));
    }
}

static void
add_signature(const cJSON *s, int indent, struct buf *out)
{
    int pad = 2 * indent;
    buf_addf(out,
             "%*sThe given SavedModel SignatureDef contains the following input(s):\n",
             pad, "");
    add_tensors(cJSON_GetObjectItemCaseSensitive(s, "inputs"), "inputs", indent, out);
    buf_addf(out,
             "%*sThe given SavedModel SignatureDef contains the following output(s):\n",
             pad, "");
    add_tensors(cJSON_GetObjectItemCaseSensitive(s, "outputs"), "outputs", indent, out);
    buf_addf(out, "%*sMethod name is: %s\n", pad, "", cli_str(s, "method"));
}

static void
add_ops(const cJSON *meta, struct buf *out)
{
    const cJSON *ops = cJSON_GetObjectItemCaseSensitive(meta, "ops");
    if (!ops)
        return;
    buf_adds(out, "The MetaGraph with tag set [");
    add_joined(cJSON_GetObjectItemCaseSensitive(meta, "tags"), true, false, out);
    buf_adds(out, "] contains the following ops: ");
    if (!ops->child) {
        buf_adds(out, "set()\n");
        return;
    }
    buf_addc(out, '{');
    add_joined(ops, true, true, out);
    buf_adds(out, "}\n");
}

static int
by_tags(const void *a, const void *b)
{
    const cJSON *x = cli_list(*(const cJSON *const *)a, "tags");
    const cJSON *y = cli_list(*(const cJSON *const *)b, "tags");
    for (; x && y; x = x->next, y = y->next) {
        int d = strcmp(x->valuestring, y->valuestring);
        if (d)
            return d;
    }
    return (x != NULL) - (y != NULL);
}

void
cmd_show(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    const char *view = cli_str(reply, "view");
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(reply, "meta_graphs");
    int n = cJSON_GetArraySize(list), i = 0;
    const cJSON **metas = xcalloc((size_t)n + 1, sizeof *metas);
    for (const cJSON *m = list->child; m; m = m->next)
        metas[i++] = m;
    qsort(metas, (size_t)n, sizeof *metas, by_tags);
    bool tag_sets = strcmp(view, "tag_sets") == 0;
    if (tag_sets && cli_bool(reply, "list_ops"))
        buf_adds(out, "--list_ops must be paired with a tag-set or with --all.\n");
    if (tag_sets)
        buf_adds(out, "The given SavedModel contains the following tag-sets:\n");
    for (i = 0; i < n; i++) {
        const cJSON *tags = cJSON_GetObjectItemCaseSensitive(metas[i], "tags");
        const cJSON *first = cli_list(metas[i], "signatures");
        if (tag_sets) {
            buf_addc(out, '\'');
            add_joined(tags, false, true, out);
            buf_adds(out, "'\n");
        } else if (strcmp(view, "all") == 0) {
            buf_adds(out, "\nMetaGraphDef with tag-set: '");
            add_joined(tags, false, false, out);
            buf_adds(out, "' contains the following SignatureDefs:\n");
            for (const cJSON *s = first; s; s = s->next) {
                buf_addf(out, "\nsignature_def['%s']:\n", cli_str(s, "key"));
                add_signature(s, 1, out);
            }
            add_ops(metas[i], out);
        } else {
            add_ops(metas[i], out);
            if (strcmp(view, "signature") == 0) {
                add_signature(first, 0, out);
                continue;
            }
            buf_adds(
                out,
                "The given SavedModel MetaGraphDef contains SignatureDefs with the "
                "following keys:\n");
            for (const cJSON *s = first; s; s = s->next)
                buf_addf(out, "SignatureDef key: \"%s\"\n", cli_str(s, "key"));
        }
    }
    free(metas);
}
