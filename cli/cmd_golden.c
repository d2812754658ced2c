/* SPDX-License-Identifier: Apache-2.0 */
/* golden … */
#include "cli/cli.h"

#include <string.h>

static void
add_head(const cJSON *reply, const char *what, struct buf *out)
{
    buf_addf(out, "%s golden set %s", cli_str(reply, "kind"), cli_str(reply, "name"));
    if (cJSON_HasObjectItem(reply, "version"))
        buf_addf(out, "@%.0f", cli_num(reply, "version"));
    buf_addf(out, " of %s %s%s\n", cli_str(reply, "model"), cli_str(reply, "digest"),
             what);
}

void
cmd_golden_add(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_head(reply, "", out);
    if (cJSON_IsFalse(cJSON_GetObjectItem(reply, "checked")))
        buf_addf(out,
                 "not held against a model: %s has no ready version yet, or "
                 "--unchecked was given\n",
                 cli_str(reply, "model"));
}

void
cmd_golden_delete(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_head(reply, " counts no more", out);
}

void
cmd_golden_export(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    if (cJSON_HasObjectItem(reply, "records"))
        buf_addf(out, "%.0f warm-up records in %s\n", cli_num(reply, "records"),
                 cli_str(reply, "path"));
    else
        buf_addf(out, "golden set %s in %s\n", cli_str(reply, "name"),
                 cli_str(reply, "path"));
}

void
cmd_golden_list(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    static const char *const titles[] = { "SET",   "KIND",  "DIGEST", "NO",
                                          "ADDED", "OWNER", "BY",     "UNTIL" };
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    if (!cli_list(reply, "sets")) {
        buf_adds(out, "no acceptance sets: sluice golden add MODEL DIR --name NAME\n");
        return;
    }
    cli_table_start(&t, 8, titles);
    for (const cJSON *s = cli_list(reply, "sets"); s; s = s->next) {
        buf_adds(&cell, cli_str(s, "name"));
        if (cJSON_HasObjectItem(s, "version"))
            buf_addf(&cell, "@%.0f", cli_num(s, "version"));
        cli_table_cell_buf(&t, &cell);
        buf_addf(&cell, "%s%s", cli_str(s, "kind"),
                 cli_str(s, "recorded")[0] ? ", recorded" : "");
        cli_table_cell_buf(&t, &cell);
        cli_short_digest(cli_str(s, "digest"), &cell);
        cli_table_cell_buf(&t, &cell);
        buf_addf(&cell, "%.0f", cli_num(s, "number"));
        cli_table_cell_buf(&t, &cell);
        cli_time(cli_str(s, "added"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(s, "owner"));
        cli_table_cell(&t, cli_str(s, "by"));
        if (cJSON_HasObjectItem(s, "until"))
            cli_time(cli_str(s, "until"), &cell);
        else
            buf_adds(&cell, "counts");
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
}

static void
add_arrays(const cJSON *c, const char *key, struct buf *out)
{
    const char *sep = "";

    if (!cli_list(c, key))
        return;
    buf_addf(out, "    %s: ", key);
    for (const cJSON *a = cli_list(c, key); a; a = a->next, sep = ", ") {
        const char *comma = "";

        buf_addf(out, "%s%s %s (", sep, cli_str(a, "key"), cli_str(a, "dtype"));
        for (const cJSON *d = cli_list(a, "shape"); d; d = d->next, comma = ", ")
            buf_addf(out, "%s%.0f", comma, d->valuedouble);
        buf_addc(out, ')');
    }
    buf_addc(out, '\n');
}

static void
add_case(const cJSON *c, struct buf *out)
{
    buf_addf(out, "  %s (%s)", cli_str(c, "name"), cli_str(c, "signature"));
    for (const cJSON *t = cli_list(c, "tags"); t; t = t->next)
        buf_addf(out, " #%s", t->valuestring);
    buf_addc(out, '\n');
    add_arrays(c, "inputs", out);
    add_arrays(c, "expected", out);
    add_arrays(c, "labels", out);
    for (const cJSON *t = cli_list(c, "tolerances"); t; t = t->next)
        buf_addf(out, "    %s%s%s %g\n", cli_str(t, "output"),
                 cli_str(t, "output")[0] ? ": " : "", cli_str(t, "kind"),
                 cli_num(t, "limit"));
}

/* Whose answers they are, and how they came about. */
static void
add_recording(const cJSON *reply, struct buf *out)
{
    const cJSON *r = cJSON_GetObjectItemCaseSensitive(reply, "recording");
    const cJSON *probe = cJSON_GetObjectItemCaseSensitive(r, "probe");

    buf_addf(out, "recorded from %s", cli_str(reply, "recorded"));
    if (cli_str(r, "runtime")[0])
        buf_addf(out, ", runtime %s %s,", cli_str(r, "runtime"),
                 cli_str(r, "runtime_version"));
    buf_adds(out, " on ");
    cli_time(cli_str(reply, "added"), out);
    buf_addf(out, " by %s: what it answered, not the truth\n", cli_str(reply, "by"));
    if (probe)
        buf_addf(out, "probes of seed %.0f, batches of %s\n", cli_num(probe, "seed"),
                 cli_str(probe, "batch"));
    for (const cJSON *f = cli_list(r, "inputs"); f; f = f->next)
        buf_addf(out, "inputs of %s, SHA-256 %s\n", cli_str(f, "file"),
                 cli_str(f, "sha256"));
    if (json_has(r, "taken"))
        buf_addf(out, "%.0f of %.0f inputs taken", cli_num(r, "taken"),
                 cli_num(r, "found"));
    if (json_has(r, "seed"))
        buf_addf(out, ", drawn with seed %.0f", cli_num(r, "seed"));
    buf_addf(out, "%s%.0f left out\n", json_has(r, "taken") ? "; " : "",
             cli_num(r, "left_out"));
}

void
cmd_golden_show(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    static const char *const limits[] = { "min", "max", "max_drop",
                                          "max_drop_relative" };
    add_head(reply, cJSON_HasObjectItem(reply, "until") ? " (counts no more)" : "",
             out);
    buf_addf(out, "owner %s; added by %s; tags %s%s\n", cli_str(reply, "owner"),
             cli_str(reply, "by"), cli_str(reply, "tags"),
             cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reply, "sequential"))
                 ? "; one session for all cases"
                 : "");
    if (cli_str(reply, "recorded")[0])
        add_recording(reply, out);
    for (const cJSON *c = cli_list(reply, "cases"); c; c = c->next)
        add_case(c, out);
    for (const cJSON *m = cli_list(reply, "metrics"); m; m = m->next) {
        buf_addf(out, "  %s of %s against %s", cli_str(m, "title"),
                 cli_str(m, "output"), cli_str(m, "labels"));
        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
            if (cJSON_HasObjectItem(m, limits[i]))
                buf_addf(out, ", %s %g", limits[i], cli_num(m, limits[i]));
        buf_addc(out, '\n');
    }
    for (const cJSON *s = cli_list(reply, "slices"); s; s = s->next)
        buf_addf(out, "  slice #%s: %.0f cases%s\n", cli_str(s, "tag"),
                 cli_num(s, "cases"), cli_bool(s, "optional") ? ", optional" : "");
    for (const cJSON *b = cli_list(reply, "budgets"); b; b = b->next)
        buf_addf(out, "  budget %s\n", b->valuestring);
    for (const cJSON *l = cli_list(reply, "limits"); l; l = l->next)
        buf_addf(out, "  limit %s %g\n", l->string, l->valuedouble);
}
