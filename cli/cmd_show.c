/* SPDX-License-Identifier: Apache-2.0 */
/* show: saved_model_cli's text, line for line. */
#include "cli/cli.h"
#include "savedmodel/savedmodel.h"

#include <stdlib.h>
#include <string.h>

static int
by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Strings of a list, joined; quote_each: as Python's repr writes them. */
static void
add_joined(const cJSON *list, bool quote_each, bool sorted, struct buf *out)
{
    int n = cJSON_GetArraySize(list), i = 0;
    const char **v = xcalloc((size_t)n + 1, sizeof *v);
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        v[i++] = e->valuestring;
    if (sorted)
        qsort(v, (size_t)n, sizeof *v, by_bytes);
    for (i = 0; i < n; i++) {
        buf_adds(out, i ? ", " : "");
        if (quote_each)
            sm_python_repr(str_of(v[i]), out);
        else
            buf_adds(out, v[i]);
    }
    free(v);
}

static void
add_dim(const cJSON *dim, bool is_first, struct buf *out)
{
    buf_adds(out, is_first ? "" : ", ");
    if (cJSON_IsRaw(dim)) /* more digits than a double has */
        buf_adds(out, dim->valuestring);
    else
        buf_addf(out, "%.0f", dim->valuedouble);
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
                add_dim(d, d == shape->child, out);
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

/* ---- a graph as DOT ---- */

static void
add_quoted(const char *s, struct buf *out)
{
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_addc(out, '\\');
        buf_addc(out, (unsigned char)*s < 0x20 ? ' ' : *s);
    }
}

static void
add_dot_node(const cJSON *node, struct buf *out)
{
    const char *role = cli_str(node, "role"), *function = cli_str(node, "function");
    buf_addf(out, "  n%.0f [label=\"", cli_num(node, "id"));
    add_quoted(cli_str(node, "op"), out);
    buf_adds(out, "\\n");
    add_quoted(cli_str(node, "name"), out);
    if (function[0]) {
        buf_adds(out, "\\n");
        add_quoted(function, out);
        buf_addf(out, " (%.0f nodes)", cli_num(node, "function_nodes"));
    }
    buf_adds(out, "\"");
    if (function[0])
        buf_adds(out, ", shape=box3d");
    if (role[0])
        buf_addf(out, ", style=filled, fillcolor=%s",
                 strcmp(role, "input") == 0 ? "lightblue" : "lightgreen");
    buf_adds(out, "];\n");
}

static void
add_dot(const cJSON *reply, struct buf *out)
{
    buf_adds(out, "digraph \"");
    add_quoted(
        json_has(reply, "signature") ? cli_str(reply, "signature") : "signatures", out);
    buf_adds(out, "\" {\n  rankdir=BT;\n  node [shape=box, fontname=sans];\n");
    for (const cJSON *n = cli_list(reply, "nodes"); n; n = n->next)
        add_dot_node(n, out);
    for (const cJSON *e = cli_list(reply, "edges"); e; e = e->next) {
        buf_addf(out, "  n%.0f -> n%.0f", cli_num(e, "from"), cli_num(e, "to"));
        if (cli_bool(e, "control"))
            buf_adds(out, " [style=dashed]");
        else if (cli_num(e, "output") > 0)
            buf_addf(out, " [taillabel=\"%.0f\"]", cli_num(e, "output"));
        buf_adds(out, ";\n");
    }
    buf_adds(out, "}\n");
}

/* ---- functions of the root object ---- */

/* The two backspaces are what saved_model_cli takes its last comma back with. */
static void
add_items(const cJSON *items, bool is_dict, struct buf *out)
{
    buf_addf(out, "          Value: %c", is_dict ? '{' : '[');
    for (const cJSON *i = items->child; i; i = i->next) {
        const char *quote = cli_bool(i, "is_str") ? "'" : "";
        if (is_dict)
            buf_addf(out, "'%s': ", cli_str(i, "key"));
        buf_addf(out, "%s%s%s, ", quote, cli_str(i, "text"), quote);
    }
    buf_addf(out, "\b\b%c\n", is_dict ? '}' : ']');
}

static void
add_argument(const cJSON *arg, struct buf *out)
{
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(arg, "items");
    const char *type = cli_str(arg, "type"), *text = cli_str(arg, "text");
    if (json_has(arg, "dtype")) {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(arg, "name");
        buf_addf(out, "          %s: %s\n",
                 cJSON_IsNull(name) ? "None" : name->valuestring, text);
    } else if (items) {
        buf_addf(out, "          DType: %s\n", type);
        add_items(items, strcmp(type, "dict") == 0, out);
    } else if (strcmp(type, "str") == 0) {
        buf_addf(out, "          %s\n", text);
    } else {
        buf_addf(out, "          DType: %s\n          Value: %s\n", type, text);
    }
}

static void
add_option(const cJSON *option, int number, struct buf *out)
{
    int n = 0;
    for (const cJSON *a = cli_list(option, "arguments"); a; a = a->next) {
        if (n++ == 0)
            buf_addf(out, "    Option #%d\n      Callable with:\n", number);
        buf_addf(out, "        Argument #%d\n", n);
        add_argument(a, out);
    }
    n = 0;
    for (const cJSON *a = cli_list(option, "named_arguments"); a; a = a->next)
        buf_addf(out, "        Named Argument #%d\n          %s\n", ++n,
                 cli_str(a, "key"));
}

static void
add_functions(const cJSON *functions, struct buf *out)
{
    buf_adds(out, "\nConcrete Functions:");
    for (const cJSON *f = functions->child; f; f = f->next) {
        int n = 0;
        buf_addf(out, "\n  Function Name: '%s'\n", cli_str(f, "name"));
        for (const cJSON *o = cli_list(f, "options"); o; o = o->next)
            add_option(o, ++n, out);
    }
}

/* ---- the views ---- */

static void
add_tag_set(const cJSON *meta, struct buf *out)
{
    struct buf tags AUTO(buf_release) = BUF_INIT;
    add_joined(cJSON_GetObjectItemCaseSensitive(meta, "tags"), false, true, &tags);
    sm_python_repr(str_of(buf_str(&tags)), out);
    buf_addc(out, '\n');
}

static void
add_all(const cJSON *meta, struct buf *out)
{
    buf_adds(out, "\nMetaGraphDef with tag-set: '");
    add_joined(cJSON_GetObjectItemCaseSensitive(meta, "tags"), false, false, out);
    buf_adds(out, "' contains the following SignatureDefs:\n");
    for (const cJSON *s = cli_list(meta, "signatures"); s; s = s->next) {
        buf_addf(out, "\nsignature_def['%s']:\n", cli_str(s, "key"));
        add_signature(s, 1, out);
    }
    add_ops(meta, out);
}

static void
add_keys(const cJSON *meta, struct buf *out)
{
    buf_adds(out, "The given SavedModel MetaGraphDef contains SignatureDefs with the "
                  "following keys:\n");
    for (const cJSON *s = cli_list(meta, "signatures"); s; s = s->next)
        buf_addf(out, "SignatureDef key: \"%s\"\n", cli_str(s, "key"));
}

void
cmd_show(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    const char *view = cli_str(reply, "view");
    if (strcmp(view, "graph") == 0) {
        add_dot(reply, out);
        return;
    }
    if (strcmp(view, "plan") == 0) {
        cli_plan(reply, out);
        return;
    }
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(reply, "meta_graphs");
    int n = cJSON_GetArraySize(list), i = 0;
    const cJSON **metas AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof *metas);
    for (const cJSON *m = list->child; m; m = m->next)
        metas[i++] = m;
    qsort(metas, (size_t)n, sizeof *metas, by_tags);
    bool tag_sets = strcmp(view, "tag_sets") == 0, all = strcmp(view, "all") == 0;
    if (tag_sets && cli_bool(reply, "list_ops"))
        buf_adds(out, "--list_ops must be paired with a tag-set or with --all.\n");
    if (tag_sets)
        buf_adds(out, "The given SavedModel contains the following tag-sets:\n");
    const cJSON *functions = NULL;
    for (i = 0; i < n; i++) {
        if (!functions)
            functions = cJSON_GetObjectItemCaseSensitive(metas[i], "functions");
        if (tag_sets) {
            add_tag_set(metas[i], out);
        } else if (all) {
            add_all(metas[i], out);
        } else {
            add_ops(metas[i], out);
            if (strcmp(view, "signature") == 0)
                add_signature(cli_list(metas[i], "signatures"), 0, out);
            else
                add_keys(metas[i], out);
        }
    }
    if (functions)
        add_functions(functions, out);
}
