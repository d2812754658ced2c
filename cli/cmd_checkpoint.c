/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint show, checkpoint list */
#include "cli/cli.h"

#include <string.h>

static void
add_counters(const cJSON *reply, struct buf *out)
{
    const cJSON *first = cli_list(reply, "counters");
    for (const cJSON *o = first; o; o = o->next)
        buf_addf(out, "%s%s %.0f%s", o == first ? "counters: " : ", ",
                 cli_str(o, "counter"), cli_num(o, "value"), o->next ? "" : "\n");
}

static void
add_tensors(const cJSON *reply, struct buf *out)
{
    static const char *const titles[] = { "TENSOR", "DTYPE", "SHAPE", "BYTES", "" };
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    cli_table_start(&t, 5, titles);
    for (const cJSON *o = cli_list(reply, "tensors"); o; o = o->next) {
        cli_table_cell(&t, cli_str(o, "tensor"));
        cli_table_cell(&t, cli_str(o, "dtype"));
        cli_table_cell(&t, cli_str(o, "shape"));
        buf_addf(&cell, "%.0f", cli_num(o, "bytes"));
        cli_table_cell_buf(&t, &cell);
        if (cli_num(o, "slices") > 0)
            buf_addf(&cell, "%.0f slices", cli_num(o, "slices"));
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
}

static void
add_objects(const cJSON *reply, struct buf *out)
{
    enum { MOST_INDENT = 60 };
    if (cli_list(reply, "objects"))
        buf_adds(out, "\nobjects:\n");
    for (const cJSON *o = cli_list(reply, "objects"); o; o = o->next) {
        double depth = cli_num(o, "depth");
        int indent = depth < MOST_INDENT / 2 ? 2 * (int)depth : MOST_INDENT;
        const char *name = cli_str(o, "name"), *same = cli_str(o, "same_as");
        buf_addf(out, "%*s%s", indent, "", name[0] ? name : "(root)");
        if (same[0])
            buf_addf(out, " = %s", same);
        else
            buf_addf(out, " (%s)", cli_str(o, "kind"));
        for (const cJSON *s = cli_list(o, "saved"); s; s = s->next)
            buf_addf(out, " %s%s", cli_str(s, "tensor"),
                     cli_bool(s, "missing") ? " (not in the checkpoint)" : "");
        buf_addc(out, '\n');
    }
}

static void
add_slots(const cJSON *reply, struct buf *out)
{
    static const char *const titles[] = { "VARIABLE", "SLOT", "TENSOR" };
    struct cli_table t;
    if (!cli_list(reply, "slots"))
        return;
    buf_adds(out, "\noptimizer slots:\n");
    cli_table_start(&t, 3, titles);
    for (const cJSON *o = cli_list(reply, "slots"); o; o = o->next) {
        cli_table_cell(&t, cli_str(o, "variable"));
        cli_table_cell(&t, cli_str(o, "slot"));
        cli_table_cell(&t, cli_str(o, "tensor"));
    }
    cli_table_end(&t, out);
}

void
cmd_checkpoint_show(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    int n = 0;
    for (const cJSON *o = cli_list(reply, "tensors"); o; o = o->next)
        n++;
    buf_addf(out, "%s: %d tensors, ", cli_str(reply, "prefix"), n);
    cli_size(cli_num(reply, "bytes"), out);
    buf_addf(out, ", %.0f data shard%s, by %s\n", cli_num(reply, "shards"),
             cli_num(reply, "shards") > 1 ? "s" : "", cli_str(reply, "form"));
    add_counters(reply, out);
    add_tensors(reply, out);
    add_objects(reply, out);
    add_slots(reply, out);
}

void
cmd_checkpoint_list(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    static const char *const titles[] = { "CHECKPOINT", "TIME",  "TENSORS",
                                          "SIZE",       "VALUE", "" };
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    cli_table_start(&t, 6, titles);
    for (const cJSON *o = cli_list(reply, "checkpoints"); o; o = o->next) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(o, "value");
        cli_table_cell(&t, cli_str(o, "checkpoint"));
        cli_time(cli_str(o, "time"), &cell);
        cli_table_cell_buf(&t, &cell);
        buf_addf(&cell, "%.0f", cli_num(o, "tensors"));
        cli_table_cell_buf(&t, &cell);
        cli_size(cli_num(o, "bytes"), &cell);
        cli_table_cell_buf(&t, &cell);
        if (cJSON_IsNumber(value))
            buf_addf(&cell, "%.6g", value->valuedouble);
        else if (value)
            buf_adds(&cell, cli_str(o, "value"));
        cli_table_cell_buf(&t, &cell);
        buf_adds(&cell, cli_bool(o, "newest") ? "newest " : "");
        buf_adds(&cell, cli_bool(o, "best") ? "best " : "");
        buf_adds(&cell, cli_bool(o, "in_state_file") ? "" : "(not in the state file) ");
        buf_adds(&cell, cli_str(o, "problem"));
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
}
