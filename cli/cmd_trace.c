/* SPDX-License-Identifier: Apache-2.0 */
/* The trace in a verdict, for people. */
#include "cli/cli.h"

#include <string.h>

static void
add_shape(const cJSON *o, const char *key, struct buf *out)
{
    const char *sep = "[";

    for (const cJSON *d = cli_list(o, key); d; d = d->next, sep = ", ")
        buf_addf(out, "%s%.0f", sep, d->valuedouble);
    buf_adds(out, sep[0] == '[' ? "[]" : "]");
}

/* "dense/MatMul (MatMul), iteration 3 in while" */
static void
add_where(const cJSON *o, struct buf *out)
{
    buf_addf(out, "%s (%s)", cli_str(o, "node"), cli_str(o, "op"));
    if (cJSON_HasObjectItem(o, "iteration"))
        buf_addf(out, ", iteration %.0f", cli_num(o, "iteration"));
    if (cli_str(o, "within")[0])
        buf_addf(out, " within %s", cli_str(o, "within"));
}

/* "0.3 at [0, 7]: 1.2, not 0.9" */
static void
add_difference(const cJSON *o, struct buf *out)
{
    if (cJSON_HasObjectItem(o, "other_dtype") ||
        cJSON_HasObjectItem(o, "other_shape")) {
        buf_adds(out, ", not ");
        buf_adds(out, cli_str(o, "other_dtype"));
        if (cJSON_HasObjectItem(o, "other_shape"))
            add_shape(o, "other_shape", out);
        return;
    }
    if (cJSON_HasObjectItem(o, "differ"))
        buf_addf(out, ": %.0f of %.0f values differ", cli_num(o, "differ"),
                 cli_num(o, "of"));
    if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(o, "worst")))
        buf_adds(out, ": finite on one side only");
    else if (cJSON_HasObjectItem(o, "worst"))
        buf_addf(out, ": differs by %.3g", cli_num(o, "worst"));
    if (cJSON_HasObjectItem(o, "at")) {
        if (cli_list(o, "at")) {
            buf_adds(out, " at ");
            add_shape(o, "at", out);
        }
        buf_addf(out, ": %s, not %s", cli_str(o, "got"), cli_str(o, "want"));
    }
}

static void
add_inputs(const cJSON *o, struct buf *out)
{
    static const struct {
        const char *state, *text;
    } texts[] = { { "same", "agrees" },
                  { "within", "agrees within the tolerance" },
                  { "part", "parts" },
                  { "unseen", "differs, too large to look at" },
                  { "alone", "has no counterpart" } };

    for (const cJSON *i = cli_list(o, "inputs"); i; i = i->next) {
        if (strcmp(cli_str(i, "kind"), "constant") == 0 &&
            strcmp(cli_str(i, "state"), "same") == 0)
            continue; /* axes and the like */
        buf_addf(out, "      its %s %s", cli_str(i, "kind"), cli_str(i, "name"));
        for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
            if (strcmp(cli_str(i, "state"), texts[k].state) == 0)
                buf_addf(out, " %s", texts[k].text);
        if (!cli_str(i, "state")[0])
            buf_adds(out, " is not compared");
        buf_addc(out, '\n');
    }
}

static void
add_tensor(const char *what, const cJSON *o, struct buf *out)
{
    buf_addf(out, "    %s: ", what);
    add_where(o, out);
    buf_addf(out, ", output %.0f, %s", cli_num(o, "output"), cli_str(o, "dtype"));
    add_shape(o, "shape", out);
    add_difference(o, out);
    if (cli_str(o, "twin")[0])
        buf_addf(out, " (there: %s)", cli_str(o, "twin"));
    buf_addc(out, '\n');
    add_inputs(o, out);
}

static void
add_causes(const cJSON *t, struct buf *out)
{
    for (const cJSON *c = cli_list(t, "causes"); c; c = c->next) {
        buf_addf(out, "    cause: %s %s", cli_str(c, "kind"), cli_str(c, "name"));
        if (cli_str(c, "object")[0]) {
            buf_addf(out, ": a %s that holds something else", cli_str(c, "object"));
        } else {
            buf_addc(out, ' ');
            add_shape(c, "shape", out);
            add_difference(c, out);
        }
        buf_addf(out, " (read by %s)\n", cli_str(c, "node"));
    }
    if (cli_num(t, "causes_left_out") > 0)
        buf_addf(out, "    and %.0f more weights or constants\n",
                 cli_num(t, "causes_left_out"));
}

static void
add_extent(const cJSON *t, struct buf *out)
{
    const cJSON *b = cJSON_GetObjectItemCaseSensitive(t, "behind");
    const cJSON *all = cJSON_GetObjectItemCaseSensitive(t, "tensors");
    const char *sep = "    outputs that part: ";

    if (b)
        buf_addf(out,
                 "    %.0f tensors agree before it; of %.0f made from it %.0f part, "
                 "%.0f differ within the tolerance, %.0f are the same, %.0f have no "
                 "counterpart\n",
                 cli_num(t, "before"), cli_num(b, "n"), cli_num(b, "part"),
                 cli_num(b, "within"), cli_num(b, "same"), cli_num(b, "alone"));
    for (const cJSON *o = cli_list(t, "outputs"); o; o = o->next)
        if (strcmp(cli_str(o, "state"), "part") == 0) {
            buf_addf(out, "%s%s", sep, cli_str(o, "name"));
            sep = ", ";
        }
    buf_adds(out, sep[0] == ',' ? "\n" : "");
    if (all)
        buf_addf(out, "    %.0f of %.0f tensors were compared",
                 cli_num(all, "n") - cli_num(all, "alone") - cli_num(all, "unseen"),
                 cli_num(all, "n"));
    if (cli_num(all, "by_place") > 0)
        buf_addf(out, ", %.0f by their place in the graph", cli_num(all, "by_place"));
    if (cli_num(all, "unseen") > 0)
        buf_addf(out, "; %.0f differ, but are more than %.0f MiB at a time",
                 cli_num(all, "unseen"), cli_num(t, "cap_bytes") / (1 << 20));
    if (cli_num(t, "lost") > 0)
        buf_addf(out, "; %.0f steps were too many", cli_num(t, "lost"));
    buf_adds(out, all ? "\n" : "");
}

void
cli_add_trace(const cJSON *t, struct buf *out)
{
    const cJSON *o;
    const bool plans = strcmp(cli_str(t, "how"), "passes") == 0;

    buf_adds(out, "  trace");
    if (cli_str(t, "case")[0])
        buf_addf(out, " of %s beside %s (rel_max %g; %s)", cli_str(t, "case"),
                 plans ? "the same, planned without passes" : cli_str(t, "against"),
                 cli_num(t, "limit"),
                 plans ? "fused steps by the node they end with"
                       : "both planned without passes, so that no step is fused");
    buf_addf(out, "%s%s\n", cli_str(t, "note")[0] ? ": " : "", cli_str(t, "note"));
    if (cli_str(t, "backend_note")[0])
        buf_addf(out, "    %s\n", cli_str(t, "backend_note"));
    if ((o = cJSON_GetObjectItemCaseSensitive(t, "first")))
        add_tensor("first that parts", o, out);
    if ((o = cJSON_GetObjectItemCaseSensitive(t, "begins")))
        add_tensor(strcmp(cli_str(o, "state"), "within") == 0
                       ? "begins, within the tolerance, at"
                       : "begins, too large to look at, at",
                   o, out);
    add_causes(t, out);
    if ((o = cJSON_GetObjectItemCaseSensitive(t, "nan"))) {
        buf_adds(out, "    NaN comes up at ");
        add_where(o, out);
        buf_addf(out, ": %.0f of %.0f values\n", cli_num(o, "n"), cli_num(o, "of"));
    }
    if (cli_str(t, "error")[0])
        buf_addf(out, "    it ends with: %s\n", cli_str(t, "error"));
    if (cli_str(t, "other_error")[0])
        buf_addf(out, "    the other side ends with: %s\n", cli_str(t, "other_error"));
    add_extent(t, out);
}
