/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <string.h>

enum { HELP_COLUMNS = 78 };

/* Adds text, broken at blanks so that no line passes HELP_COLUMNS; further lines begin
 * with `indent` blanks. *column is where the line stands. */
static void
wrap(struct buf *out, int *column, int indent, const char *text)
{
    for (int blank = 0; *text; blank = 1) {
        int n = (int)strcspn(text, " ");
        if (*column + blank + n > HELP_COLUMNS && *column > indent) {
            buf_addf(out, "\n%*s", indent, "");
            *column = indent;
            blank = 0;
        }
        buf_addf(out, "%s%.*s", blank ? " " : "", n, text);
        *column += blank + n;
        text += n + (text[n] == ' ');
    }
    buf_addc(out, '\n');
    *column = 0;
}

static void
entry(struct buf *out, const char *head, int width, const char *text)
{
    int column = width + 2;
    buf_addf(out, "  %-*s", width, head);
    if ((int)strlen(head) >= width)
        buf_addf(out, "\n  %*s", width, "");
    wrap(out, &column, width + 2, text);
}

/* Those of a group, or all with "". */
static void
add_verbs(const char *group, struct buf *out)
{
    const size_t n = strlen(group);
    for (int i = 0; i < svc_n_verbs(); i++) {
        const struct svc_verb *verb = svc_verb_at(i);
        struct buf words AUTO(buf_release) = BUF_INIT;
        if (n > 0 && (strncmp(verb->name, group, n) != 0 || verb->name[n] != '_'))
            continue;
        cli_verb_words(verb->name, &words);
        entry(out, buf_str(&words), 14, verb->help);
    }
}

void
cli_help_group(const char *group, struct buf *out)
{
    buf_addf(out, "usage: sluice %s COMMAND [ARGUMENT]...\n\ncommands:\n", group);
    add_verbs(group, out);
    buf_addf(out, "\nsluice %s COMMAND --help tells more\n", group);
}

void
cli_help(struct buf *out)
{
    buf_adds(
        out,
        "sluice: model repository and deployment manager for TensorFlow SavedModels\n\n"
        "usage: sluice [--store DIR | --server X] [--json] COMMAND [ARGUMENT]...\n\n"
        "commands:\n");
    add_verbs("", out);
    buf_adds(out, "\nglobal flags:\n");
    entry(out, "--store DIR", 14,
          "the store; else $SLUICE_STORE, ./.sluice, ~/.local/share/sluice");
    entry(out, "--server X", 14,
          "the service that has it (unix:PATH, https://HOST, ssh://HOST); else "
          "$SLUICE_SERVER. $SLUICE_TOKEN says who asks");
    entry(out, "--json", 14, "one JSON document on stdout");
    entry(out, "--help", 14, "of a command: sluice COMMAND --help");
    buf_adds(out, "\nexit status: 0 done, 1 failed, 2 usage, 3 conflict, 4 corrupt, 5 "
                  "refused by a\n"
                  "gate, 6 not permitted, 7 not found, 8 pending, 75 try again\n");
}

static void
upper(const char *name, struct buf *out)
{
    for (; *name; name++)
        buf_addc(out, *name >= 'a' && *name <= 'z' ? (char)(*name - 32) : *name);
}

static void
flag_name(const struct svc_field *f, struct buf *out)
{
    static const char *const values[] = {
        [SVC_STR] = " TEXT", [SVC_PATH] = " PATH", [SVC_ANY] = " DIR|VERSION",
        [SVC_INT] = " N",    [SVC_BOOL] = "",      [SVC_LIST] = " TEXT"
    };
    if (f->flags & (SVC_POSITIONAL | SVC_REST))
        upper(f->name, out);
    else
        buf_addf(out, "--%s%s", f->name, values[f->type]);
}

void
cli_help_verb(const struct svc_verb *verb, struct buf *out)
{
    struct buf line AUTO(buf_release) = BUF_INIT;
    int column = 0;
    buf_adds(&line, "sluice ");
    cli_verb_words(verb->name, &line);
    buf_addf(out, "%s: ", buf_str(&line));
    column = (int)line.len + 2;
    wrap(out, &column, 2, verb->help);

    buf_addf(out, "\nusage: %s", buf_str(&line));
    column = 7 + (int)line.len;
    for (int i = 0; i < verb->n_fields; i++) {
        const struct svc_field *f = &verb->fields[i];
        struct buf word AUTO(buf_release) = BUF_INIT;
        bool optional = !(f->flags & SVC_REQUIRED);
        buf_adds(&word, optional ? "[" : "");
        flag_name(f, &word);
        buf_adds(&word, f->type == SVC_LIST ? "..." : "");
        buf_adds(&word, optional ? "]" : "");
        if (column + 1 + (int)word.len > HELP_COLUMNS) {
            buf_adds(out, "\n          ");
            column = 10;
        }
        buf_addf(out, " %s", buf_str(&word));
        column += 1 + (int)word.len;
    }
    buf_addc(out, '\n');
    if (verb->n_fields)
        buf_addc(out, '\n');
    for (int i = 0; i < verb->n_fields; i++) {
        struct buf word AUTO(buf_release) = BUF_INIT;
        flag_name(&verb->fields[i], &word);
        entry(out, buf_str(&word), 22, verb->fields[i].help);
    }
    const struct cli_command *command = cli_command(verb->name);
    buf_adds(out, "\nexamples:\n");
    for (int i = 0; command && i < 2; i++)
        buf_addf(out, "  %s\n", command->examples[i]);
    buf_adds(out, cli_is_only_local(verb)
                      ? "\nalso: --store DIR, --json; sluice --help\n"
                      : "\nalso: --store DIR or --server X, --json; sluice --help\n");
}
