/* SPDX-License-Identifier: Apache-2.0 */
/* fsck, backup, restore, export, import */
#include "cli/cli.h"

#include <string.h>

static void
add_lines(const cJSON *first, const char *before, struct buf *out)
{
    for (const cJSON *p = first; p; p = p->next)
        buf_addf(out, "%s%s\n", before, p->valuestring);
}

/* What lies about and is no fault. */
static void
add_leftovers(const cJSON *reply, struct buf *out)
{
    static const struct {
        const char *key, *text;
    } kinds[] = {
        { "orphans",
          "objects without a row: of a push under way, or one that was killed" },
        { "in_stage", "in stage/: work under way; what is dead the next push clears" },
        { "in_trash", "in trash/" },
        { "in_quarantine", "in quarantine/: kept for you to look at, and to remove" },
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (cli_num(reply, kinds[i].key) > 0)
            buf_addf(out, "%.0f %s\n", cli_num(reply, kinds[i].key), kinds[i].text);
}

void
cmd_fsck(const cJSON *reply, bool failed, struct buf *out)
{
    const cJSON *rebuilt = cJSON_GetObjectItemCaseSensitive(reply, "rebuilt");
    if (rebuilt) {
        buf_addf(out, "rebuilt: %.0f versions, %.0f changes from %.0f events",
                 cli_num(rebuilt, "versions"), cli_num(rebuilt, "changes"),
                 cli_num(rebuilt, "events"));
        if (cli_str(rebuilt, "old_catalogue")[0])
            buf_addf(out, "; the old catalogue is %s",
                     cli_str(rebuilt, "old_catalogue"));
        buf_adds(out, cli_list(rebuilt, "lost") ? "\nnot recovered:\n"
                                                : "; nothing is lost\n");
        add_lines(cli_list(rebuilt, "lost"), "  ", out);
    }
    add_lines(cli_list(reply, "problems"), "", out);
    add_leftovers(reply, out);
    buf_addf(out, "%.0f versions, %.0f objects, ", cli_num(reply, "versions"),
             cli_num(reply, "objects"));
    cli_size(cli_num(reply, "bytes"), out);
    buf_adds(out, " read again: ");
    if (cli_num(reply, "repaired") > 0)
        buf_addf(out, "%.0f mended, ", cli_num(reply, "repaired"));
    buf_adds(out, failed ? "something is wrong\n" : "all good\n");
}

void
cmd_backup(const cJSON *reply, bool failed, struct buf *out)
{
    if (strcmp(cli_str(reply, "dest"), "-") == 0)
        return; /* that is where the backup went */
    add_lines(cli_list(reply, "problems"), "", out);
    if (cli_str(reply, "newest")[0])
        buf_addf(out, "%.0f generation%s, the newest %s; %.0f objects read again: %s\n",
                 cli_num(reply, "generations"),
                 cli_num(reply, "generations") == 1 ? "" : "s",
                 cli_str(reply, "newest"), cli_num(reply, "objects"),
                 failed ? "something is wrong" : "all good");
    if (failed || !cli_str(reply, "generation")[0])
        return;
    buf_addf(out, "%s: generation %s, %.0f versions, %.0f objects, %.0f of them new (",
             cli_str(reply, "dest"), cli_str(reply, "generation"),
             cli_num(reply, "versions"), cli_num(reply, "objects"),
             cli_num(reply, "new_objects"));
    cli_size(cli_num(reply, "new_bytes"), out);
    buf_addf(out, ")\n%s",
             cli_bool(reply, "has_key")
                 ? "the private key is in it: keep it as you keep the store\n"
                 : "");
}

void
cmd_restore(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed)
        return;
    buf_addf(out, "%s: %.0f versions and %.0f objects of generation %s, verified\n",
             cli_str(reply, "store"), cli_num(reply, "versions"),
             cli_num(reply, "objects"), cli_str(reply, "generation"));
    if (cli_bool(reply, "new_key"))
        buf_adds(out, "the backup has no private key: the store has a new one, and the "
                      "log says so\n");
}

static void
add_versions(const cJSON *reply, struct buf *out)
{
    for (const cJSON *v = cli_list(reply, "versions"); v; v = v->next) {
        buf_addf(out, "%s@%.0f %s", cli_str(v, "model"), cli_num(v, "number"),
                 cli_str(v, "digest"));
        if (cli_str(v, "was")[0])
            buf_addf(out, " (%s%s@%.0f)",
                     cli_bool(v, "new") ? "" : "unchanged: was here already; ",
                     cli_str(v, "was"), cli_num(v, "was_number"));
        buf_addc(out, '\n');
    }
}

void
cmd_export(const cJSON *reply, bool failed, struct buf *out)
{
    if (failed || strcmp(cli_str(reply, "dest"), "-") == 0)
        return;
    add_versions(reply, out);
    buf_addf(out, "-> %s\n", cli_str(reply, "dest"));
}

void
cmd_import(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed; /* those before the one that could not be taken are here */
    add_versions(reply, out);
}
