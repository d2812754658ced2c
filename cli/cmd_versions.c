/* SPDX-License-Identifier: Apache-2.0 */
/* push, pull, list, log, inspect */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

/* "not in the checkpoint, kept: a, b, c and 9 more" */
static void
add_some(const cJSON *list, const char *title, struct buf *out)
{
    enum { SHOWN = 6 };
    int n = 0;
    for (const cJSON *o = list; o; o = o->next, n++) {
        const char *key = cli_str(o, "tensor");
        const char *end = strstr(key, "/.ATTRIBUTES/VARIABLE_VALUE");
        if (n < SHOWN)
            buf_addf(out, "%s%.*s", n ? ", " : title,
                     (int)(end ? (size_t)(end - key) : strlen(key)), key);
    }
    if (n > SHOWN)
        buf_addf(out, " and %d more", n - SHOWN);
    buf_adds(out, n ? "\n" : "");
}

/* What a checkpoint gave, or everything that did not fit. */
static void
add_onto(const cJSON *onto, struct buf *out)
{
    static const char *const titles[] = { "TENSOR", "PROBLEM", "MODEL", "CHECKPOINT",
                                          "" };
    struct cli_table t;
    if (cli_list(onto, "mismatches")) {
        cli_table_start(&t, 5, titles);
        for (const cJSON *o = cli_list(onto, "mismatches"); o; o = o->next) {
            cli_table_cell(&t, cli_str(o, "tensor"));
            cli_table_cell(&t, cli_str(o, "problem"));
            cli_table_cell(&t, cli_str(o, "model"));
            cli_table_cell(&t, cli_str(o, "checkpoint"));
            cli_table_cell(&t, cli_str(o, "checkpoint_tensor"));
        }
        cli_table_end(&t, out);
    } else {
        buf_addf(out, "weights of %s on %s: %.0f tensors", cli_str(onto, "checkpoint"),
                 cli_str(onto, "version"), cli_num(onto, "taken"));
        if (cli_num(onto, "taken_by_name") > 0)
            buf_addf(out, ", %.0f of them by name", cli_num(onto, "taken_by_name"));
        buf_addc(out, '\n');
    }
    add_some(cli_list(onto, "kept"), "not in the checkpoint, kept: ", out);
    add_some(cli_list(onto, "unused"), "not used: ", out);
}

/* How much of it is new. */
static void
add_part(const cJSON *o, struct buf *out)
{
    cli_size(cli_num(o, "new_bytes"), out);
    buf_adds(out, " of ");
    cli_size(cli_num(o, "bytes"), out);
    buf_addc(out, '\n');
}

/* push --dry-run: each file, then what it comes to. */
static void
add_dry_run(const cJSON *reply, struct buf *out)
{
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;
    cli_table_start(&t, 3, NULL);
    for (const cJSON *f = cli_list(reply, "manifest"); f; f = f->next) {
        cli_table_cell(&t, cli_bool(f, "new") ? "new" : "there");
        cli_size(cli_num(f, "bytes"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(f, "path"));
    }
    cli_table_end(&t, out);
    buf_addf(out, "%s@%.0f %s ", cli_str(reply, "model"), cli_num(reply, "number"),
             cli_str(reply, "digest"));
    if (!cli_bool(reply, "new")) {
        buf_adds(out, "is these bytes already: a push would store no files\n");
    } else {
        buf_addf(out, "would be stored: %.0f of %.0f files new, ",
                 cli_num(reply, "new_files"), cli_num(reply, "files"));
        add_part(reply, out);
    }
    const cJSON *golden = cJSON_GetObjectItemCaseSensitive(reply, "golden");
    if (!golden)
        return;
    buf_addf(out, "golden set export %s: new of it ", cli_str(golden, "digest"));
    add_part(golden, out);
}

void
cmd_push(const cJSON *reply, bool failed, struct buf *out)
{
    const cJSON *onto = cJSON_GetObjectItemCaseSensitive(reply, "onto");
    if (onto)
        add_onto(onto, out);
    if (failed)
        return;
    if (cli_bool(reply, "dry_run")) {
        add_dry_run(reply, out);
        return;
    }
    bool held = strcmp(cli_str(reply, "state"), "quarantined") == 0;
    buf_addf(out, "%s@%.0f %s", cli_str(reply, "model"), cli_num(reply, "number"),
             cli_str(reply, "digest"));
    if (cli_bool(reply, "replayed")) {
        buf_adds(out, " (as this idempotency key was answered before)\n");
    } else if (!cli_bool(reply, "new")) {
        buf_adds(out, " (unchanged: these bytes are this version already)\n");
    } else {
        buf_addf(out, " (%.0f files, ", cli_num(reply, "files"));
        cli_size(cli_num(reply, "bytes"), out);
        buf_adds(out, "; new in the store: ");
        cli_size(cli_num(reply, "new_bytes"), out);
        buf_adds(out, ")\n");
    }
    if (held)
        buf_addf(out, "quarantined until it is accepted: sluice accept %s@%.0f\n",
                 cli_str(reply, "model"), cli_num(reply, "number"));
    const cJSON *golden = cJSON_GetObjectItemCaseSensitive(reply, "golden");
    if (golden)
        buf_addf(out, "golden set %s %s\n", cli_str(golden, "name"),
                 cli_str(golden, "digest"));
}

void
cmd_pull(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "%s@%.0f %s -> %s\n", cli_str(reply, "model"),
             cli_num(reply, "number"), cli_str(reply, "digest"),
             cli_str(reply, "path"));
}

static void
add_names(const cJSON *first, struct buf *out)
{
    for (const cJSON *a = first; a; a = a->next)
        buf_addf(out, "%s%s", a == first ? "" : " ", a->valuestring);
}

void
cmd_list(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    static const char *const titles[] = { "VERSION", "DIGEST", "STATE",   "SIZE",
                                          "PUSHED",  "BY",     "ALIASES", "TAGS" };
    struct cli_table t;
    bool tagged = false;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    if (!cli_list(reply, "versions")) {
        buf_adds(out, cli_list(reply, "tag")
                          ? "no version has these tags\n"
                          : "no versions yet: sluice push DIR MODEL\n");
        return;
    }
    if (cli_list(reply, "models")) {
        cli_sizes(reply, out);
        return;
    }
    for (const cJSON *v = cli_list(reply, "versions"); v; v = v->next)
        tagged = tagged || cli_list(v, "tags");
    cli_table_start(&t, tagged ? 8 : 7, titles);
    for (const cJSON *v = cli_list(reply, "versions"); v; v = v->next) {
        buf_addf(&cell, "%s@%.0f", cli_str(v, "model"), cli_num(v, "number"));
        cli_table_cell_buf(&t, &cell);
        cli_short_digest(cli_str(v, "digest"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(v, "state"));
        cli_size(cli_num(v, "bytes"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_time(cli_str(v, "pushed"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(v, "by"));
        add_names(cli_list(v, "aliases"), &cell);
        cli_table_cell_buf(&t, &cell);
        if (tagged) {
            cli_tags(cli_list(v, "tags"), &cell);
            cli_table_cell_buf(&t, &cell);
        }
    }
    cli_table_end(&t, out);
}

/* "; note: so and so", on one line. */
static void
add_line(const char *sep, const char *key, const char *text, struct buf *out)
{
    buf_addf(out, "%s%s: ", sep, key);
    for (; *text; text++)
        buf_addc(out, *text == '\n' || *text == '\t' ? ' ' : *text);
}

/* "4,211 look-ups", of an event that stands for several. */
static void
add_lookups(const cJSON *detail, const char *sep, struct buf *out)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%.0f", cli_num(detail, "lookups"));
    buf_adds(out, sep);
    for (int i = 0; i < n; i++)
        buf_addf(out, "%s%c", i > 0 && (n - i) % 3 == 0 ? "," : "", digits[i]);
    buf_adds(out, n == 1 && digits[0] == '1' ? " look-up" : " look-ups");
}

/* What an event did, in a few words; used by `log` and `audit log`. */
static void
add_detail(const cJSON *detail, struct buf *out)
{
    static const char *const keys[] = {
        "verdict", "alias",   "release", "from",       "to",     "user", "right",
        "dir",     "state",   "type",    "name",       "note",   "key",  "value",
        "tags",    "removed", "onto",    "checkpoint", "reason", "why",  "error"
    };
    const char *sep = "";
    if (json_has(detail, "lookups")) {
        add_lookups(detail, sep, out);
        sep = "; ";
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(detail, keys[i]);
        bool plain = strcmp(keys[i], "state") == 0 && cJSON_IsString(v) &&
                     strcmp(v->valuestring, "ready") == 0 && !json_has(detail, "from");
        if (cJSON_IsString(v) && v->valuestring[0] && !plain)
            add_line(sep, keys[i], v->valuestring, out);
        else if (cJSON_IsNumber(v))
            buf_addf(out, "%s%s: %.0f", sep, keys[i], v->valuedouble);
        else if (cJSON_IsArray(v) && cJSON_IsObject(v->child)) {
            buf_addf(out, "%s%s: ", sep, keys[i]);
            cli_members(v, out);
        } else if (cJSON_IsObject(v) && v->child) {
            buf_addf(out, "%s%s: ", sep, keys[i]);
            cli_tags(v->child, out);
        } else if (cJSON_IsArray(v) && cJSON_IsString(v->child)) {
            buf_addf(out, "%s%s: ", sep, keys[i]);
            add_names(v->child, out);
        } else
            continue;
        sep = "; ";
    }
    const cJSON *is_new = cJSON_GetObjectItemCaseSensitive(detail, "new");
    if (cJSON_IsFalse(is_new))
        buf_addf(out, "%sunchanged", sep);
}

/* Events as a table. `audit log` has two columns more than `log`, where all went well.
 */
static void
add_events(const cJSON *first, const char *verb_key, bool audit, struct buf *out)
{
    static const char *const all[] = { "SEQ",    "TIME",   "BY",      "WHAT",
                                       "OBJECT", "DIGEST", "OUTCOME", "DETAIL" };
    static const char *const few[] = { "TIME",   "BY",     "WHAT",
                                       "OBJECT", "DIGEST", "DETAIL" };
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    if (!first) {
        buf_adds(out, "nothing yet\n");
        return;
    }
    cli_table_start(&t, audit ? 8 : 6, audit ? all : few);
    for (const cJSON *e = first; e; e = e->next) {
        if (audit) {
            buf_addf(&cell, "%.0f", cli_num(e, "seq"));
            cli_table_cell_buf(&t, &cell);
        }
        cli_time(cli_str(e, "time"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(e, "by"));
        cli_verb_words(cli_str(e, verb_key), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(e, "object"));
        cli_short_digest(cli_str(e, "digest"), &cell);
        cli_table_cell_buf(&t, &cell);
        if (audit)
            cli_table_cell(&t, cli_str(e, "outcome"));
        add_detail(cJSON_GetObjectItemCaseSensitive(e, "detail"), &cell);
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
}

void
cmd_log(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_events(cli_list(reply, "history"), "what", false, out);
}

void
cmd_audit_log(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    add_events(cli_list(reply, "events"), "verb", true, out);
}

void
cmd_inspect(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;
    buf_addf(out, "%s@%.0f  %s\n", cli_str(reply, "model"), cli_num(reply, "number"),
             cli_str(reply, "digest"));
    cli_time(cli_str(reply, "pushed"), &cell);
    buf_addf(out, "%s, pushed %s by %s\n", cli_str(reply, "state"), buf_str(&cell),
             cli_str(reply, "by"));
    if (cli_str(reply, "state_reason")[0])
        buf_addf(out, "because: %s\n", cli_str(reply, "state_reason"));
    const cJSON *origin = cJSON_GetObjectItemCaseSensitive(reply, "provenance");
    if (cli_str(origin, "onto")[0])
        buf_addf(out, "weights of %s on %s\n", cli_str(origin, "checkpoint"),
                 cli_str(origin, "onto"));
    buf_adds(out, "aliases: ");
    add_names(cli_list(reply, "aliases"), out);
    buf_adds(out, cli_list(reply, "aliases") ? "\n" : "none\n");

    cli_said(reply, out);
    buf_addf(out, "\nfiles:\n");
    cli_table_start(&t, 3, NULL);
    for (const cJSON *f = cli_list(reply, "manifest"); f; f = f->next) {
        buf_clear(&cell);
        buf_addf(&cell, "  %s", cli_str(f, "path"));
        cli_table_cell_buf(&t, &cell);
        cli_size(cli_num(f, "bytes"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(f, "digest"));
    }
    cli_table_end(&t, out);

    buf_adds(out, "\nverdicts:\n");
    cli_table_start(&t, 5, NULL);
    for (const cJSON *v = cli_list(reply, "verdicts"); v; v = v->next) {
        buf_clear(&cell);
        buf_addf(&cell, "  %s", cli_str(v, "set"));
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(v, "kind"));
        cli_table_cell(&t, cli_str(v, "verdict"));
        cli_time(cli_str(v, "time"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_short_digest(cli_str(v, "set_digest"), &cell);
        cli_table_cell_buf(&t, &cell);
    }
    if (t.n_cells == 0)
        buf_addf(out, "  none: sluice validate %s@%.0f\n", cli_str(reply, "model"),
                 cli_num(reply, "number"));
    cli_table_end(&t, out);
}
