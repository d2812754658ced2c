/* SPDX-License-Identifier: Apache-2.0 */
/* run: saved_model_cli's text for outputs; a line a case for a golden set,
 * and a line a record for warm-up. */
#include "cli/cli.h"

/* ---- --profile ---- */

enum { STEPS_SHOWN = 20 };

static void
add_times(struct cli_table *t, const cJSON *part)
{
    static const struct {
        const char *key;
        int digits;
        double unit;
    } columns[] = { { "mean_us", 3, 1e3 },
                    { "percent", 1, 1 },
                    { "first_us", 3, 1e3 },
                    { "bytes", 3, 1e6 },
                    { "flops", 3, 1e6 } };
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        struct buf cell AUTO(buf_release) = BUF_INIT;
        buf_addf(&cell, "%.*f", columns[i].digits,
                 cli_num(part, columns[i].key) / columns[i].unit);
        cli_table_cell_buf(t, &cell);
    }
}

/* By op, or with `nodes` the slowest steps. */
static void
add_parts(const cJSON *profile, const char *key, bool nodes, struct buf *out)
{
    static const char *const ops[] = { "op",       "calls", "ms",   "%",
                                       "first ms", "MB",    "MFLOP" };
    static const char *const steps[] = { "step",     "calls", "ms",    "%",
                                         "first ms", "MB",    "MFLOP", "node" };
    struct cli_table t;
    int n = 0;
    cli_table_start(&t, nodes ? 8 : 7, nodes ? steps : ops);
    for (const cJSON *p = cli_list(profile, key); p; p = p->next) {
        struct buf calls AUTO(buf_release) = BUF_INIT;
        if (nodes && n++ == STEPS_SHOWN)
            break;
        cli_table_cell(&t, cli_str(p, "op"));
        buf_addf(&calls, "%.6g", cli_num(p, "calls"));
        cli_table_cell_buf(&t, &calls);
        add_times(&t, p);
        if (nodes)
            cli_table_cell(&t, cli_str(p, "node"));
    }
    cli_table_end(&t, out);
}

static void
add_profile(const cJSON *profile, struct buf *out)
{
    int n = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(profile, "steps"));
    buf_addf(out, "Profile: %.0f runs; steps take %.3f ms a run (the first run %.3f)\n",
             cli_num(profile, "runs"), cli_num(profile, "mean_us") / 1e3,
             cli_num(profile, "first_us") / 1e3);
    add_parts(profile, "ops", false, out);
    if (n > STEPS_SHOWN)
        buf_addf(out, "The %d slowest of %d steps (--json has all):\n", STEPS_SHOWN, n);
    add_parts(profile, "steps", true, out);
    if (json_has(profile, "trace"))
        buf_addf(out, "Trace is saved to %s\n", cli_str(profile, "trace"));
    if (cli_num(profile, "events_lost") > 0)
        buf_addf(out, "It lacks the last %.0f events\n",
                 cli_num(profile, "events_lost"));
}

void
cmd_run(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    for (const cJSON *o = cli_list(reply, "outputs"); o; o = o->next) {
        buf_addf(out, "Result for output key %s:\n%s\n", cli_str(o, "key"),
                 cli_str(o, "text"));
        if (cli_str(o, "saved")[0])
            buf_addf(out, "Output %s is saved to %s\n", cli_str(o, "key"),
                     cli_str(o, "saved"));
    }
    for (const cJSON *r = cli_list(reply, "records"); r; r = r->next)
        buf_addf(out, "%-6s record %.0f  %s %s  run %.2f ms%s%s\n",
                 cli_bool(r, "ok") ? "ok" : "failed", cli_num(r, "record"),
                 cli_str(r, "kind"), cli_str(r, "signature"), cli_num(r, "run_ms"),
                 cli_bool(r, "ok") ? "" : ": ", cli_str(r, "error"));
    for (const cJSON *c = cli_list(reply, "cases"); c; c = c->next)
        buf_addf(out, "%-6s %s  load %.1f ms, run %.2f ms%s%s\n",
                 cli_bool(c, "ok") ? "ok" : "failed", cli_str(c, "name"),
                 cli_num(c, "load_ms"), cli_num(c, "run_ms"),
                 cli_bool(c, "ok") ? "" : ": ", cli_str(c, "error"));
    if (json_has(reply, "profile"))
        add_profile(cJSON_GetObjectItemCaseSensitive(reply, "profile"), out);
}
