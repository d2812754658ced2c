/* SPDX-License-Identifier: Apache-2.0 */
/* golden record, golden probe */
#include "cli/cli.h"

#include <string.h>

enum { LEFT_OUT_SHOWN = 20, WHY_SHOWN = 300 };

static void
add_left_out(const cJSON *reply, struct buf *out)
{
    int n = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(reply, "left_out"));
    int shown = 0;
    if (n)
        buf_addf(out, "%d input%s left out:\n", n, n == 1 ? " is" : "s are");
    for (const cJSON *o = cli_list(reply, "left_out"); o && shown < LEFT_OUT_SHOWN;
         o = o->next, shown++) {
        const char *why = cli_str(o, "why");
        size_t len = strcspn(why, "\n");
        bool is_cut = why[len] || len > WHY_SHOWN;
        if (len > WHY_SHOWN)
            for (len = WHY_SHOWN; len && (why[len] & 0xc0) == 0x80; len--)
                ;
        buf_addf(out, "  %s: %.*s%s\n", cli_str(o, "name"), (int)len, why,
                 is_cut ? " …" : "");
    }
    if (n > shown)
        buf_addf(out, "  and %d more (--json has all)\n", n - shown);
}

static void
add_set(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed) {
        buf_addf(out, "golden set %s of %s %s: %.0f case%s\n", cli_str(reply, "name"),
                 cli_str(reply, "model"), cli_str(reply, "digest"),
                 cli_num(reply, "cases"), cli_num(reply, "cases") == 1 ? "" : "s");
        buf_addf(out, "recorded from %s: what it answers now, not the truth\n",
                 cli_str(reply, "recorded"));
    }
    if (cli_num(reply, "taken") < cli_num(reply, "found")) {
        buf_addf(out, "%.0f of %.0f inputs were taken", cli_num(reply, "taken"),
                 cli_num(reply, "found"));
        if (json_has(reply, "seed"))
            buf_addf(out, ", drawn with seed %.0f", cli_num(reply, "seed"));
        buf_addc(out, '\n');
    }
    add_left_out(reply, out);
}

void
cmd_golden_record(const cJSON *reply, bool failed, struct buf *out)
{
    add_set(reply, failed, out);
}

static void
add_probe(const cJSON *p, struct buf *out)
{
    buf_addf(out, "  %s (%s)\n", cli_str(p, "name"), cli_str(p, "signature"));
    for (const cJSON *in = cli_list(p, "inputs"); in; in = in->next) {
        const char *text = cli_str(in, "text"), *sep = "";
        buf_addf(out, "    %s %s (", cli_str(in, "key"), cli_str(in, "dtype"));
        for (const cJSON *d = cli_list(in, "shape"); d; d = d->next, sep = ", ")
            buf_addf(out, "%s%.0f", sep, d->valuedouble);
        buf_addf(out, ") %.*s%s\n", (int)strcspn(text, "\n"), text,
                 strchr(text, '\n') ? " …" : "");
    }
}

void
cmd_golden_probe(const cJSON *reply, bool failed, struct buf *out)
{
    const bool is_dry = json_has(reply, "probes");
    buf_addf(out, "seed %.0f\n", cli_num(reply, "seed"));
    for (const cJSON *i = cli_list(reply, "inputs"); i; i = i->next) {
        buf_addf(out, "%s: %s %s %s", cli_str(i, "signature"), cli_str(i, "key"),
                 cli_str(i, "dtype"), cli_str(i, "shape"));
        if (json_has(i, "below"))
            buf_addf(out, ", ids below %.0f", cli_num(i, "below"));
        if (json_has(i, "features"))
            buf_addf(out, ", tf.Examples of %.0f features", cli_num(i, "features"));
        buf_addc(out, '\n');
    }
    for (const cJSON *s = cli_list(reply, "skipped"); s; s = s->next)
        buf_addf(out, "%s: no probes: %s\n", cli_str(s, "signature"),
                 cli_str(s, "why"));
    if (is_dry)
        buf_addf(out, "%d cases would be made:\n",
                 cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(reply, "probes")));
    for (const cJSON *p = cli_list(reply, "probes"); p; p = p->next)
        add_probe(p, out);
    if (!is_dry)
        add_set(reply, failed, out);
}
