/* SPDX-License-Identifier: Apache-2.0 */
/* target add, target list, promote, weights, rollback, freeze, unfreeze, status, route
 */
#include "cli/cli.h"

#include <string.h>

void
cmd_target_add(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "target %s: %s shows %s as %s\n", cli_str(reply, "target"),
             cli_str(reply, "dir"), cli_str(reply, "alias"), cli_str(reply, "layout"));
}

void
cmd_target_set(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        buf_addf(out, "target %s: changed\n", cli_str(reply, "target"));
}

void
cmd_target_remove(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        buf_addf(out, "target %s: forgotten; its directory stays as it is\n",
                 cli_str(reply, "target"));
}

void
cmd_target_list(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    static const char *const titles[] = { "TARGET", "ALIAS", "LAYOUT", "DIRECTORY",
                                          "BESIDES" };
    static const char *const options[] = { "serving_root", "status_url", "reload",
                                           "render",       "readers",    "group" };
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;
    if (!cli_list(reply, "targets")) {
        buf_adds(out, "no targets: sluice target add NAME DIR --alias ALIAS\n");
        return;
    }
    cli_table_start(&t, 5, titles);
    for (const cJSON *e = cli_list(reply, "targets"); e; e = e->next) {
        cli_table_cell(&t, cli_str(e, "target"));
        cli_table_cell(&t, cli_str(e, "alias"));
        cli_table_cell(&t, cli_str(e, "layout"));
        cli_table_cell(&t, cli_str(e, "dir"));
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
            if (cli_str(e, options[i])[0])
                buf_addf(&cell, "%s%s=%s", cell.len ? " " : "", options[i],
                         cli_str(e, options[i]));
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
}

void
cmd_target_render(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_adds(out, cli_str(reply, "text"));
}

static void
add_numbers(const cJSON *list, struct buf *out)
{
    for (const cJSON *v = list ? list->child : NULL; v; v = v->next)
        buf_addf(out, "%s%.0f", v == list->child ? "" : ", ", v->valuedouble);
}

/* What promote, weights and rollback did. A refusal's gates are in the error; a change
 * that stands, but is not seen yet, has ended badly too. */
static void
add_change(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed && !json_has(reply, "release"))
        return;
    buf_addf(out, "%s@%s: ", cli_str(reply, "model"), cli_str(reply, "alias"));
    if (cli_member(reply, "before") && cli_bool(reply, "changed")) {
        cli_members(cli_member(reply, "before"), out);
        buf_adds(out, " -> ");
    }
    cli_members(cli_member(reply, "live"), out);
    buf_addf(out, " (release %.0f%s)\n", cli_num(reply, "release"),
             cli_bool(reply, "changed") ? "" : ", as before");
    for (const cJSON *g = cli_list(reply, "gates"); g; g = g->next)
        for (const cJSON *k = cli_list(g, "gates"); k; k = k->next)
            /* state, mark and freeze are asked each time: they speak when they say no.
             */
            if (cli_str(k, "overruled")[0])
                buf_addf(out, "  GATE %s OVERRULED (wanted %s; saw %s): %s\n",
                         cli_str(k, "gate"), cli_str(k, "wanted"), cli_str(k, "saw"),
                         cli_str(k, "overruled"));
            else if (strcmp(cli_str(k, "gate"), "state") != 0 &&
                     strcmp(cli_str(k, "gate"), "mark") != 0 &&
                     strcmp(cli_str(k, "gate"), "freeze") != 0)
                buf_addf(out, "  gate %s: %s\n", cli_str(k, "gate"), cli_str(k, "saw"));
    if (cli_list(reply, "marked_bad")) {
        buf_adds(out, "  marked bad here: ");
        add_numbers(cli_member(reply, "marked_bad"), out);
        buf_addc(out, '\n');
    }
    for (const cJSON *t = cli_list(reply, "targets"); t; t = t->next)
        buf_addf(out, "  target %s: %s%s%s%s\n", cli_str(t, "name"),
                 cli_bool(t, "switched") ? "switched" : "as before",
                 cli_bool(t, "observed") ? "" : "; not observed (",
                 cli_str(t, "not_observed"), cli_bool(t, "observed") ? "" : ")");
    for (const cJSON *t = cli_list(reply, "targets"); t; t = t->next)
        if (cli_str(t, "not_told")[0])
            buf_addf(out, "  target %s: its server WAS NOT TOLD: %s\n",
                     cli_str(t, "name"), cli_str(t, "not_told"));
    if (cli_str(reply, "hook_output")[0])
        buf_addf(out, "  hook: %s\n", cli_str(reply, "hook_output"));
}

/* The lines that differ, between what both texts begin and end with. */
static void
add_lines(char sign, const char *from, const char *to, struct buf *out)
{
    while (from < to) {
        const size_t n = strcspn(from, "\n");
        buf_addf(out, "      %c %.*s\n", sign, (int)n, from);
        from += n + 1;
    }
}

static void
add_difference(const char *was, const char *becomes, struct buf *out)
{
    const char *a = was, *b = becomes, *a_end = a + strlen(a), *b_end = b + strlen(b);
    for (size_t n = strcspn(a, "\n") + 1;
         n <= (size_t)(a_end - a) && strncmp(a, b, n) == 0; n = strcspn(a, "\n") + 1) {
        a += n;
        b += n;
    }
    const char *a_cut = a_end, *b_cut = b_end;
    while (a_end > a && b_end > b && a_end[-1] == b_end[-1]) {
        a_end--, b_end--;
        if ((a_end == a || a_end[-1] == '\n') && (b_end == b || b_end[-1] == '\n'))
            a_cut = a_end, b_cut = b_end;
    }
    add_lines('-', a, a_cut, out);
    add_lines('+', b, b_cut, out);
}

/* One config after the other. */
static void
add_steps(const cJSON *t, struct buf *out)
{
    for (const cJSON *s = cli_list(t, "steps"); s; s = s->next) {
        buf_addf(out, "    step  %s:", cli_str(s, "stage"));
        if (cli_list(s, "load"))
            buf_adds(out, " loads ");
        add_numbers(cli_member(s, "load"), out);
        for (const cJSON *l = cli_list(s, "labels"); l; l = l->next)
            buf_addf(out, " %s -> %.0f", cli_str(l, "label"), cli_num(l, "version"));
        if (cli_list(s, "unload"))
            buf_adds(out, " unloads ");
        add_numbers(cli_member(s, "unload"), out);
        buf_addc(out, '\n');
    }
}

static void
add_dry_target(const cJSON *t, struct buf *out)
{
    buf_addf(out, "  target %s (%s)\n", cli_str(t, "name"), cli_str(t, "dir"));
    add_steps(t, out);
    for (const cJSON *d = cli_list(t, "new_directories"); d; d = d->next)
        buf_addf(out, "    new   %s\n", d->valuestring);
    for (const cJSON *l = cli_list(t, "links"); l; l = l->next)
        buf_addf(out, "    %s  %s: %s -> %s\n",
                 strcmp(cli_str(l, "kind"), "directory") == 0 ? "name" : "link",
                 cli_str(l, "path"),
                 cli_str(l, "was")[0] ? cli_str(l, "was") : "nothing",
                 cli_str(l, "becomes"));
    for (const cJSON *f = cli_list(t, "files"); f; f = f->next) {
        buf_addf(out, "    file  %s\n", cli_str(f, "file"));
        add_difference(cli_str(f, "was"), cli_str(f, "becomes"), out);
    }
}

static void
add_dry_promote(const cJSON *reply, struct buf *out)
{
    const cJSON *server = cli_member(reply, "server");
    buf_addf(out, "%s@%s: ", cli_str(reply, "model"), cli_str(reply, "alias"));
    if (!cli_bool(reply, "changed")) {
        cli_members(cli_member(reply, "live"), out);
        buf_adds(out, ", as before: nothing would be changed\n");
        return;
    }
    if (cli_member(reply, "before")) {
        cli_members(cli_member(reply, "before"), out);
        buf_adds(out, " -> ");
    }
    cli_members(cli_member(reply, "live"), out);
    buf_adds(out, " (nothing was changed)\n  server loads ");
    add_numbers(cli_member(server, "load"), out);
    buf_adds(out, cli_list(server, "load") ? "; unloads " : "nothing; unloads ");
    add_numbers(cli_member(server, "unload"), out);
    buf_adds(out,
             cli_list(server, "unload") ? "; then holds " : "nothing; then holds ");
    cli_size(cli_num(server, "loaded_bytes"), out);
    buf_adds(out, " of model files, and ");
    cli_size(cli_num(server, "widest_bytes"), out);
    buf_adds(out, " while it changes over\n");
    for (const cJSON *l = cli_list(server, "labels"); l; l = l->next)
        buf_addf(out, "  label %s moves to %.0f\n", cli_str(l, "label"),
                 cli_num(l, "version"));
    for (const cJSON *t = cli_list(reply, "targets"); t; t = t->next)
        add_dry_target(t, out);
}

void
cmd_promote(const cJSON *reply, bool failed, struct buf *out)
{
    if (cli_bool(reply, "dry_run") && cli_member(reply, "live")) {
        add_dry_promote(reply, out);
        return;
    }
    add_change(reply, failed, out);
}

void
cmd_weights(const cJSON *reply, bool failed, struct buf *out)
{
    if (cli_list(reply, "ramps"))
        cmd_ramp(reply, failed, out);
    else
        add_change(reply, failed, out);
}

void
cmd_rollback(const cJSON *reply, bool failed, struct buf *out)
{
    add_change(reply, failed, out);
}

void
cmd_freeze(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "%s is %s\n", cli_str(reply, "alias"),
             cli_bool(reply, "frozen") ? "frozen: only rollback is allowed"
                                       : "not frozen any more");
}

void
cmd_unfreeze(const cJSON *reply, bool failed, struct buf *out)
{
    cmd_freeze(reply, failed, out);
}

/* What is intended, and what its server says. */
static void
add_server(const cJSON *t, struct buf *out)
{
    const cJSON *s = cli_member(t, "server");
    if (cJSON_IsFalse(cli_member(t, "told")))
        buf_addf(out,
                 "              its server WAS NOT TOLD: sluice target step %s tells "
                 "it again\n",
                 cli_str(t, "name"));
    if (!cJSON_IsObject(s))
        return;
    buf_addf(out, "              step %s", cli_str(t, "stage"));
    if (cli_member(t, "traffic_with")) {
        buf_adds(out, ", traffic stays with ");
        cli_members(cli_member(t, "traffic_with"), out);
    }
    if (cli_str(t, "observed")[0]) {
        buf_adds(out, ", observed ");
        cli_time(cli_str(t, "observed"), out);
    }
    buf_addf(out, "; its server %s%s", cli_str(s, "error")[0] ? "did not say: " : "has",
             cli_str(s, "error"));
    for (const cJSON *v = cli_list(s, "versions"); v; v = v->next)
        buf_addf(out, "%s %.0f %s%s%s%s", v == cli_list(s, "versions") ? "" : ",",
                 cli_num(v, "version"), cli_str(v, "state"),
                 cli_bool(v, "wanted") ? "" : " (not asked for)",
                 cli_str(v, "error")[0] ? ": " : "", cli_str(v, "error"));
    buf_adds(out, cli_member(s, "versions") && !cli_list(s, "versions")
                      ? " nothing of this model\n"
                      : "\n");
}

static void
add_status(const cJSON *a, struct buf *out)
{
    buf_addf(out, "%s@%s\n  live      ", cli_str(a, "model"), cli_str(a, "alias"));
    cli_members(cli_member(a, "live"), out);
    for (const cJSON *m = cli_list(a, "live"); m; m = m->next) {
        buf_adds(out, m == cli_list(a, "live") ? "  " : " ");
        cli_short_digest(cli_str(m, "digest"), out);
    }
    buf_addf(out, "\n  since     ");
    cli_time(cli_str(a, "since"), out);
    buf_addf(out, " by %s (%s, release %.0f)%s%s\n", cli_str(a, "by"),
             cli_str(a, "verb"), cli_num(a, "release"),
             cli_str(a, "reason")[0] ? ": " : "", cli_str(a, "reason"));
    buf_addf(out, "  state     %s\n", cli_str(a, "state"));
    const cJSON *frozen = cli_member(a, "frozen");
    if (cJSON_IsObject(frozen)) {
        buf_adds(out, "  frozen    since ");
        cli_time(cli_str(frozen, "since"), out);
        buf_addf(out, " by %s: %s\n", cli_str(frozen, "by"), cli_str(frozen, "reason"));
    }
    for (const cJSON *t = cli_list(a, "targets"); t; t = t->next) {
        buf_addf(out, "  target    %s %s (%s) %s\n", cli_str(t, "name"),
                 cli_str(t, "dir"), cli_str(t, "layout"),
                 cli_bool(t, "ok") ? "as it should be" : "HAS DRIFTED");
        for (const cJSON *d = cli_list(t, "drift"); d; d = d->next)
            buf_addf(out, "              %s\n", d->valuestring);
        add_server(t, out);
    }
    const cJSON *drill = cli_member(a, "drill");
    if (cJSON_IsObject(drill)) {
        const double days = cli_num(drill, "days");
        buf_addf(out,
                 "  drill     rollback rehearsed %.0f day%s ago: %.0f ms to switch, ",
                 days, days == 1 ? "" : "s", cli_num(drill, "switch_ms"));
        if (cJSON_IsNumber(cli_member(drill, "observed_ms")))
            buf_addf(out, "%.0f ms until the server answered\n",
                     cli_num(drill, "observed_ms"));
        else
            buf_adds(out, "and nobody said what was served\n");
    }
    const cJSON *hosts = cli_member(a, "hosts");
    if (hosts)
        buf_addf(out, "  hosts     %.0f as wanted\n", cli_num(hosts, "as_wanted"));
    if (cli_str(hosts, "stopped")[0])
        buf_addf(out,
                 "              %s: sluice rollback %s@%s, or sluice host retry HOST\n",
                 cli_str(hosts, "stopped"), cli_str(a, "model"), cli_str(a, "alias"));
    for (const cJSON *h = cli_list(hosts, "differ"); h; h = h->next)
        buf_addf(out, "              %s %s, release %.0f, shows %s%s%s\n",
                 cli_str(h, "host"), cli_str(h, "state"), cli_num(h, "release"),
                 cli_str(h, "shows")[0] ? cli_str(h, "shows") : "nothing",
                 cli_str(h, "detail")[0] ? ": " : "", cli_str(h, "detail"));
    const cJSON *back = cli_member(a, "rollback");
    if (cli_member(a, "ramp")) {
        buf_adds(out, "  ramp      ");
        cli_add_ramp(cli_member(a, "ramp"), out);
    }
    buf_adds(out, "  rollback  ");
    if (!cJSON_IsObject(back)) {
        buf_adds(out, "nothing older was good here\n");
        return;
    }
    buf_adds(out, "to ");
    cli_members(cli_member(back, "to"), out);
    buf_adds(out,
             cli_list(back, "marks_bad") ? "; marks bad: " : "; marks nothing bad");
    add_numbers(cli_member(back, "marks_bad"), out);
    if (cli_str(back, "held")[0])
        buf_addf(out, "; CANNOT BE DONE NOW: %s\n", cli_str(back, "held"));
    else
        buf_adds(out, cli_bool(back, "ready") ? "; everything is in place: one rename\n"
                                              : "; files have to be put back first\n");
    for (const cJSON *l = cli_list(back, "loaded"); l; l = l->next)
        buf_addf(out, "            %s %s\n", cli_str(l, "target"),
                 cli_bool(l, "loaded") ? "has it loaded: as fast as it looks"
                                       : "has to load it first");
}

void
cmd_status(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cli_list(reply, "aliases"))
        buf_adds(out, "nothing is live: sluice promote MODEL@NUMBER --to ALIAS\n");
    for (const cJSON *a = cli_list(reply, "aliases"); a; a = a->next)
        add_status(a, out);
    for (const cJSON *u = cli_list(reply, "unfinished"); u; u = u->next)
        buf_addf(out, "UNFINISHED %s of %s@%s (release %.0f) by %s: %s\n",
                 cli_str(u, "verb"), cli_str(u, "model"), cli_str(u, "alias"),
                 cli_num(u, "release"), cli_str(u, "by"), cli_str(u, "note"));
}

static void
add_evidence(const cJSON *e, struct buf *out)
{
    if (!cJSON_IsObject(e)) {
        buf_adds(out, "  passed    no gate: it came back by a rollback\n");
        return;
    }
    buf_addf(out, "  passed    the gates of release %.0f, ", cli_num(e, "release"));
    cli_time(cli_str(e, "time"), out);
    buf_addf(out, " by %s\n", cli_str(e, "by"));
    if (cli_str(e, "break_glass")[0])
        buf_addf(out, "            OVERRULED: %s\n", cli_str(e, "break_glass"));
    for (const cJSON *g = cli_list(e, "gates"); g; g = g->next)
        buf_addf(out, "            %s: %s\n", cli_str(g, "gate"), cli_str(g, "saw"));
    for (const cJSON *v = cli_list(e, "verdicts"); v; v = v->next) {
        buf_addf(out, "  verdict   %.0f: %s on %s (%s), ", cli_num(v, "verdict"),
                 cli_str(v, "outcome"), cli_str(v, "set"), cli_str(v, "kind"));
        cli_time(cli_str(v, "time"), out);
        buf_addc(out, '\n');
    }
}

void
cmd_route(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    const double version = cli_num(reply, "version");
    buf_addf(out, "%s of %s@%s: version %.0f %s\n", cli_str(reply, "unit"),
             cli_str(reply, "model"), cli_str(reply, "alias"), version,
             cli_str(reply, "digest"));
    buf_addf(out, "  release   %.0f (%s by %s) from ", cli_num(reply, "release"),
             cli_str(reply, "verb"), cli_str(reply, "by"));
    cli_time(cli_str(reply, "since"), out);
    buf_adds(out, cli_str(reply, "until")[0] ? " to " : ", live now");
    cli_time(cli_str(reply, "until"), out);
    buf_addf(out, "\n  hash      %.0f, MurmurHash2 of \"%s%s\"\n",
             cli_num(reply, "hash"), cli_str(reply, "unit"), cli_str(reply, "salt"));
    for (const cJSON *v = cli_list(reply, "versions"); v; v = v->next)
        buf_addf(out, "  share     %.0f=%g%%: from %.0f to below %.0f%s\n",
                 cli_num(v, "version"), cli_num(v, "weight") / 100, cli_num(v, "from"),
                 cli_num(v, "below"),
                 cli_num(v, "version") == version ? ", which has the hash" : "");
    const cJSON *mirror = cli_member(reply, "mirror");
    if (cJSON_IsObject(mirror))
        buf_addf(out,
                 "  mirror    %s to %.0f: hash %.0f, of \"%s%s\", %s %.0f (%g%%)\n",
                 cli_bool(mirror, "mirrored") ? "copied" : "not copied",
                 cli_num(mirror, "version"), cli_num(mirror, "hash"),
                 cli_str(reply, "unit"), cli_str(mirror, "salt"),
                 cli_bool(mirror, "mirrored") ? "is below" : "is not below",
                 cli_num(mirror, "below"), cli_num(mirror, "share") / 100);
    add_evidence(cli_member(reply, "evidence"), out);
}
