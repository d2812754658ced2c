/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <string.h>

static void
add_shape(const cJSON *tensor, struct buf *out)
{
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(tensor, "shape");
    buf_addf(out, "%s", cli_str(tensor, "dtype"));
    if (!cJSON_IsArray(shape)) {
        buf_adds(out, " of unknown rank");
        return;
    }
    buf_addc(out, '[');
    for (const cJSON *d = shape->child; d; d = d->next)
        buf_addf(out, "%s%.0f", d == shape->child ? "" : ",", d->valuedouble);
    buf_addc(out, ']');
}

static void
add_bound(const cJSON *bind, const char *key, const char *arrow, struct buf *out)
{
    for (const cJSON *t = cli_list(bind, key); t; t = t->next) {
        buf_addf(out, "          %s: ", cli_str(t, "key"));
        add_shape(t, out);
        buf_addf(out, " %s %s:%.0f\n", arrow, cli_str(t, "node"), cli_num(t, "index"));
    }
}

/* Which input is written in place: "s3*". */
static bool
is_in_place(const cJSON *step, int input)
{
    for (const cJSON *i = cli_list(step, "in_place"); i; i = i->next)
        if (i->valuedouble == (double)input)
            return true;
    return false;
}

static void
add_slots(struct cli_table *t, const cJSON *step, const char *key, bool mark)
{
    struct buf cell AUTO(buf_release) = BUF_INIT;
    int n = 0;
    for (const cJSON *s = cli_list(step, key); s; s = s->next, n++)
        buf_addf(&cell, "%s%s%s", n ? " " : "",
                 cJSON_IsString(s) ? s->valuestring : "-",
                 mark && is_in_place(step, n) ? "*" : "");
    cli_table_cell_buf(t, &cell);
}

/* Where the outputs lie in the arena, in KiB; "-": not there. */
static void
add_places(struct cli_table *t, const cJSON *step)
{
    struct buf cell AUTO(buf_release) = BUF_INIT;
    for (const cJSON *at = cli_list(step, "at"); at; at = at->next) {
        buf_adds(&cell, cell.len ? " " : "");
        if (at->valuedouble < 0)
            buf_addc(&cell, '-');
        else
            buf_addf(&cell, "%.1f", at->valuedouble / 1024);
    }
    if (!json_has(step, "at"))
        buf_addc(&cell, '?');
    cli_table_cell_buf(t, &cell);
}

static void
add_memory(const cJSON *m, struct buf *out)
{
    buf_adds(out, "memory    an arena of ");
    cli_size(cli_num(m, "arena_bytes"), out);
    buf_adds(out, " for values of ");
    cli_size(cli_num(m, "value_bytes"), out);
    buf_adds(out, "; most in use at once ");
    cli_size(cli_num(m, "peak_bytes"), out);
    buf_addc(out, '\n');
}

static void
add_number(struct cli_table *t, const cJSON *step, const char *key, double unit)
{
    struct buf cell AUTO(buf_release) = BUF_INIT;
    if (json_has(step, key))
        buf_addf(&cell, "%.3f", cli_num(step, key) / unit);
    else
        buf_adds(&cell, "?");
    cli_table_cell_buf(t, &cell);
}

static void
add_steps(const cJSON *plan, struct buf *out)
{
    static const char *const titles[] = { "  #", "step",  "from",  "to", "frees",
                                          "KiB", "gives", "MFLOP", "MB", "node" };
    struct cli_table t;
    int n = 0;
    cli_table_start(&t, 10, titles);
    for (const cJSON *s = cli_list(plan, "steps"); s; s = s->next) {
        struct buf cell AUTO(buf_release) = BUF_INIT;
        buf_addf(&cell, "  %d", n++);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(s, json_has(s, "group") ? "group" : "op"));
        add_slots(&t, s, "from", true);
        add_slots(&t, s, "to", false);
        add_slots(&t, s, "frees", false);
        add_places(&t, s);
        for (const cJSON *o = cli_list(s, "out"); o; o = o->next) {
            buf_adds(&cell, cell.len ? " " : "");
            add_shape(o, &cell);
        }
        if (!json_has(s, "out"))
            buf_addc(&cell, '?');
        cli_table_cell_buf(&t, &cell);
        add_number(&t, s, "flops", 1e6);
        add_number(&t, s, "bytes", 1e6);
        cli_table_cell(&t, cli_str(s, "node"));
    }
    cli_table_end(&t, out);
}

static void
add_plan(const cJSON *p, const char *what, struct buf *out)
{
    double flops = 0, bytes = 0, reorders = 0;
    int n = 0, n_library = 0;
    for (const cJSON *s = cli_list(p, "steps"); s; s = s->next, n++) {
        if (json_has(s, "kernel") && strncmp(cli_str(s, "kernel"), "own:", 4) != 0) {
            n_library++;
            reorders += cli_num(s, "reorders");
        }
        flops += cli_num(s, "flops");
        bytes += cli_num(s, "bytes");
    }
    buf_addf(out, "%s%d steps of %.0f, %.0f slots, %.0f constants of ", what, n,
             cli_num(p, "drafts"), cli_num(p, "slots"), cli_num(p, "constants"));
    cli_size(cli_num(p, "constant_bytes"), out);
    for (const cJSON *f = cli_list(p, "passes"); f; f = f->next)
        buf_addf(out, ", %s %.0f", f->string, f->valuedouble);
    if (n_library > 0)
        buf_addf(out, ", %d by oneDNN with %.0f reorders of values", n_library,
                 reorders);
    buf_addf(out, ", %.1f MFLOP, %.1f MB%s\n", flops / 1e6, bytes / 1e6,
             cli_bool(p, "tokens") ? "; run by tokens (TF1 control flow)" : "");
    add_steps(p, out);
}

void
cli_plan(const cJSON *reply, struct buf *out)
{
    const cJSON *read = cJSON_GetObjectItemCaseSensitive(reply, "read"),
                *bind = cJSON_GetObjectItemCaseSensitive(reply, "bind"),
                *restore = cJSON_GetObjectItemCaseSensitive(reply, "restore");
    buf_addf(out, "read      %.0f nodes, %.0f functions, ", cli_num(read, "nodes"),
             cli_num(read, "functions"));
    cli_size(cli_num(read, "bytes"), out);
    buf_addf(out, " (%.1f ms)\nbind      signature '%s'", cli_num(read, "ms"),
             cli_str(bind, "signature"));
    if (cJSON_GetObjectItemCaseSensitive(bind, "nodes_needed"))
        buf_addf(out, ": %.0f nodes needed, %.0f pruned", cli_num(bind, "nodes_needed"),
                 cli_num(bind, "nodes_pruned"));
    buf_addc(out, '\n');
    add_bound(bind, "inputs", "to", out);
    add_bound(bind, "outputs", "from", out);
    buf_addf(
        out, "restore   %d variables, ",
        cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(restore, "variables")));
    cli_size(cli_num(restore, "mapped_bytes"), out);
    buf_adds(out, " of them mapped, ");
    cli_size(cli_num(restore, "copied_bytes"), out);
    buf_addf(out, " copied; %.0f other objects (%.1f ms)\n", cli_num(restore, "others"),
             cli_num(restore, "ms"));
    const cJSON *ran = cli_list(restore, "ran");
    for (const cJSON *r = ran; r; r = r->next)
        buf_addf(out, "%s%s%s", r == ran ? "          ran " : ", ", r->valuestring,
                 r->next ? "" : "\n");
    add_memory(cJSON_GetObjectItemCaseSensitive(reply, "memory"), out);
    add_plan(cJSON_GetObjectItemCaseSensitive(reply, "plan"), "plan      ", out);
    for (const cJSON *f = cli_list(reply, "functions"); f; f = f->next) {
        struct buf what AUTO(buf_release) = BUF_INIT;
        buf_addf(&what, "function '%s': ", cli_str(f, "of"));
        add_plan(f, buf_str(&what), out);
    }
}
