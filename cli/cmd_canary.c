/* SPDX-License-Identifier: Apache-2.0 */
/* canary, ramp: a line for each look while they go on, then the whole. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

/* In ms, percent or as it is, by the metric's name. */
static void
add_value(const cJSON *check, const char *key, struct buf *out)
{
    const cJSON *v = cli_member(check, key);
    const char *metric = cli_str(check, "metric");
    if (!cJSON_IsNumber(v))
        buf_adds(out, "-");
    else if (strncmp(metric, "errors", 6) == 0 ||
             strncmp(metric, "server_errors", 13) == 0 ||
             strncmp(metric, "over_", 5) == 0)
        buf_addf(out, "%.3g%%", v->valuedouble * 100);
    else
        buf_addf(out, "%.4g", v->valuedouble);
}

static void
add_check(const cJSON *check, struct buf *out)
{
    add_value(check, "canary", out);
    if (cli_member(check, "e_value")) {
        buf_adds(out, " beside ");
        add_value(check, "stable", out);
        buf_addf(out, ", e-value %.3g of %.3g", cli_num(check, "e_value"),
                 cli_num(check, "e_value_needed"));
    } else {
        buf_addf(out, ", passed %.0f, failed %.0f", cli_num(check, "successful"),
                 cli_num(check, "failed"));
    }
}

static void
add_remarks(const cJSON *look, struct buf *out)
{
    for (const cJSON *d = cli_list(look, "drift"); d; d = d->next)
        buf_addf(out, "  scores of %.0f: PSI %.3f, KS %.3f (chance %.2g)%s\n",
                 cli_num(d, "version"), cli_num(d, "psi"), cli_num(d, "ks"),
                 cli_num(d, "ks_chance"),
                 cli_bool(d, "alert") ? "  ALERT: they drift" : "");
    if (cli_num(look, "lines_not_understood") > 0)
        buf_addf(out, "  lines not understood: %.0f\n",
                 cli_num(look, "lines_not_understood"));
    if (cli_str(look, "error")[0])
        buf_addf(out, "  ERROR: %s\n", cli_str(look, "error"));
    if (cli_str(look, "note")[0])
        buf_addf(out, "  note: %s\n", cli_str(look, "note"));
}

/* "3: 9012 requests, 4: 988" */
static void
add_versions(const cJSON *look, struct buf *out)
{
    for (const cJSON *v = cli_list(look, "versions"); v; v = v->next)
        buf_addf(out, "%s%.0f had %.0f", v->prev && v->prev->next ? ", " : "",
                 cli_num(v, "version"), cli_num(v, "requests"));
}

static void
add_ramp(const cJSON *p, struct buf *out)
{
    const cJSON *steps = cli_member(p, "steps");
    const int step = (int)cli_num(p, "step");
    buf_addf(out, "%s@%s: ramp of %.0f, %s:", cli_str(p, "model"), cli_str(p, "alias"),
             cli_num(p, "version"), cli_str(p, "state"));
    for (int i = 0; i < cJSON_GetArraySize(steps); i++)
        buf_addf(out, i == step - 1 ? " [%g%%]" : " %g%%",
                 cJSON_GetArrayItem(steps, i)->valuedouble / 100);
    if (cli_str(p, "why")[0])
        buf_addf(out, " (%s)", cli_str(p, "why"));
    if (cli_str(p, "error")[0])
        buf_addf(out, " ERROR: %s", cli_str(p, "error"));
    buf_addc(out, '\n');
}

void
cli_add_ramp(const cJSON *ramp, struct buf *out)
{
    add_ramp(ramp, out);
}

static void
add_moved(const cJSON *change, const char *what, struct buf *out)
{
    buf_addf(out, "%s@%s: %s: ", cli_str(change, "model"), cli_str(change, "alias"),
             what);
    cli_members(cli_member(change, "before"), out);
    buf_adds(out, " -> ");
    cli_members(cli_member(change, "live"), out);
    buf_addf(out, " (release %.0f)\n", cli_num(change, "release"));
}

void
cli_tell_text(const cJSON *what, struct buf *out)
{
    if (cli_member(what, "steps"))
        add_ramp(what, out);
    if (cli_member(what, "checks")) {
        cli_time(cli_str(what, "time"), out);
        buf_adds(out, "  ");
        add_versions(what, out);
        for (const cJSON *k = cli_list(what, "checks"); k; k = k->next) {
            buf_addf(out, "; %s ", cli_str(k, "metric"));
            add_check(k, out);
            if (strcmp(cli_str(k, "state"), "breach") == 0)
                buf_adds(out, " BREACH");
        }
        buf_addc(out, '\n');
        add_remarks(what, out);
    }
    if (cli_member(what, "waits"))
        buf_addf(out, "waits for %s\n", cli_str(what, "waits"));
    if (cli_member(what, "step") && !cli_member(what, "steps"))
        add_moved(cli_member(what, "step"), "next step", out);
    if (cli_member(what, "rollback"))
        add_moved(cli_member(what, "rollback"), "BREACH, rolled back", out);
}

void
cmd_canary(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    static const char *const titles[] = { "VERSION", "METRIC", "STATE", "SAW" };
    struct cli_table t;
    buf_addf(out, "%s@%s: ", cli_str(reply, "model"), cli_str(reply, "alias"));
    add_versions(reply, out);
    buf_adds(out, " requests\n");
    cli_table_start(&t, 4, titles);
    for (const cJSON *k = cli_list(reply, "checks"); k; k = k->next) {
        struct buf cell AUTO(buf_release) = BUF_INIT;
        buf_addf(&cell, "%.0f", cli_num(k, "version"));
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(k, "metric"));
        cli_table_cell(&t, cli_str(k, "state"));
        add_check(k, &cell);
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
    add_remarks(reply, out);
    if (cli_member(reply, "moved")) {
        add_moved(cli_member(reply, "moved"), "moved", out);
        buf_addf(out, "  in %.0f ms\n", cli_num(reply, "moved_in_ms"));
    }
}

void
cmd_ramp(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cli_list(reply, "ramps"))
        buf_adds(out, "no ramp is running\n");
    for (const cJSON *p = cli_list(reply, "ramps"); p; p = p->next)
        add_ramp(p, out);
}
