/* SPDX-License-Identifier: Apache-2.0 */
/* tag, untag, note, attach, detach, attachments, accept, reject; config list, get, set
 */
#include "cli/cli.h"

#include <string.h>

void
cli_tags(const cJSON *first, struct buf *out)
{
    for (const cJSON *t = first; t; t = t->next) {
        const char *value = cJSON_GetStringValue(t);
        buf_addf(out, "%s%s", t == first ? "" : " ", t->string);
        if (value && value[0])
            buf_addf(out, "=%s", value);
    }
}

void
cli_pairs(const cJSON *object, struct buf *out)
{
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    cli_table_start(&t, 2, NULL);
    for (const cJSON *p = object ? object->child : NULL; p; p = p->next) {
        /* of what an import tells: "imported_from.store" */
        const bool is_group = cJSON_IsObject(p);
        for (const cJSON *v = is_group ? p->child : p; v;
             v = is_group ? v->next : NULL) {
            buf_addf(&cell, "  %s%s%s", p->string, is_group ? "." : "",
                     is_group ? v->string : "");
            cli_table_cell_buf(&t, &cell);
            if (cJSON_IsString(v))
                buf_adds(&cell, v->valuestring);
            else
                json_print(v, &cell, true);
            while (cell.len && cell.data[cell.len - 1] == '\n')
                cell.data[--cell.len] = '\0';
            cli_table_cell_buf(&t, &cell);
        }
    }
    cli_table_end(&t, out);
}

/* Lines after the first are indented like it. */
static void
add_note(const cJSON *note, struct buf *out)
{
    buf_adds(out, "  ");
    cli_time(cli_str(note, "time"), out);
    buf_addf(out, " %s: ", cli_str(note, "by"));
    for (const char *s = cli_str(note, "text"); *s; s++) {
        buf_addc(out, *s);
        if (*s == '\n')
            buf_adds(out, "    ");
    }
    buf_addc(out, '\n');
}

static void
add_attachments(const cJSON *first, struct buf *out)
{
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    cli_table_start(&t, 6, NULL);
    for (const cJSON *a = first; a; a = a->next) {
        buf_addf(&cell, "  %s", cli_str(a, "type"));
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t,
                       cli_str(a, "path")[0] ? cli_str(a, "path") : cli_str(a, "name"));
        cli_size(cli_num(a, "bytes"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_time(cli_str(a, "time"), &cell);
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(a, "by"));
        cli_short_digest(cli_str(a, "digest"), &cell);
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
}

void
cli_said(const cJSON *reply, struct buf *out)
{
    const cJSON *origin = cJSON_GetObjectItemCaseSensitive(reply, "provenance");
    if (cli_list(reply, "tags")) {
        buf_adds(out, "tags: ");
        cli_tags(cli_list(reply, "tags"), out);
        buf_addc(out, '\n');
    }
    if (origin) {
        buf_adds(out, "\nprovenance:\n");
        cli_pairs(origin, out);
    }
    for (const cJSON *p = cli_list(reply, "pushed_again"); p; p = p->next) {
        buf_adds(out, "pushed again ");
        cli_time(cli_str(p, "time"), out);
        buf_addf(out, " by %s:\n", cli_str(p, "by"));
        cli_pairs(cJSON_GetObjectItemCaseSensitive(p, "provenance"), out);
    }
    if (cli_list(reply, "notes"))
        buf_adds(out, "\nnotes:\n");
    for (const cJSON *n = cli_list(reply, "notes"); n; n = n->next)
        add_note(n, out);
    if (cli_list(reply, "attachments")) {
        buf_adds(out, "\nattachments:\n");
        add_attachments(cli_list(reply, "attachments"), out);
    }
}

/* "fraud@3" */
static void
add_version(const cJSON *reply, struct buf *out)
{
    buf_addf(out, "%s@%.0f", cli_str(reply, "model"), cli_num(reply, "number"));
}

void
cmd_tag(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    add_version(reply, out);
    buf_adds(out, cli_list(reply, "tags") ? " has the tags " : " has no tags");
    cli_tags(cli_list(reply, "tags"), out);
    buf_addc(out, '\n');
}

void
cmd_untag(const cJSON *reply, bool failed, struct buf *out)
{
    cmd_tag(reply, failed, out);
}

void
cmd_note(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    buf_adds(out, "noted on ");
    add_version(reply, out);
    buf_addc(out, '\n');
}

void
cmd_attach(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    add_version(reply, out);
    buf_addf(out, ": %s %s %s%s\n", cli_str(reply, "type"), cli_str(reply, "name"),
             cli_str(reply, "attachment"),
             cli_bool(reply, "new") ? "" : " (attached so already)");
}

void
cmd_detach(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    add_version(reply, out);
    buf_addf(out, ": %s %s is not attached any more\n", cli_str(reply, "type"),
             cli_str(reply, "name"));
}

void
cmd_attachments(const cJSON *reply, bool failed, struct buf *out)
{
    if (!cli_list(reply, "attachments") && !failed)
        buf_addf(out, "%s has no attachments: sluice attach %s TYPE FILE\n",
                 cli_str(reply, "version"), cli_str(reply, "version"));
    if (!failed)
        add_attachments(cli_list(reply, "attachments"), out);
}

/* accept, reject. What accept asked is in the error when it said no. */
static void
add_state(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    add_version(reply, out);
    buf_addf(out, " is %s%s\n", cli_str(reply, "state"),
             cli_bool(reply, "changed") ? "" : ", as before");
    for (const cJSON *g = cli_list(reply, "checks"); g; g = g->next)
        buf_addf(out, "  %s: %s\n", cli_str(g, "gate"), cli_str(g, "saw"));
}

void
cmd_accept(const cJSON *reply, bool failed, struct buf *out)
{
    add_state(reply, failed, out);
}

void
cmd_reject(const cJSON *reply, bool failed, struct buf *out)
{
    add_state(reply, failed, out);
}

void
cmd_config_list(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "SETTING", "VALUE", "DEFAULT", "VALUES",
                                          "WHAT IT IS" };
    struct cli_table t;
    (void)failed;
    cli_table_start(&t, 5, titles);
    for (const cJSON *s = cli_list(reply, "settings"); s; s = s->next) {
        cli_table_cell(&t, cli_str(s, "key"));
        cli_table_cell(&t, cli_str(s, "value"));
        cli_table_cell(&t, cli_str(s, "default"));
        cli_table_cell(&t, cli_str(s, "values"));
        cli_table_cell(&t, cli_str(s, "help"));
    }
    cli_table_end(&t, out);
}

void
cmd_config_get(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        buf_addf(out, "%s\n", cli_str(reply, "value"));
}

void
cmd_config_set(const cJSON *reply, bool failed, struct buf *out)
{
    if (!failed)
        buf_addf(out, "%s is %s\n", cli_str(reply, "key"), cli_str(reply, "value"));
}
