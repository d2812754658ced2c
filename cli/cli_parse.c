/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
cli_verb_words(const char *verb, struct buf *out)
{
    for (; *verb; verb++)
        buf_addc(out, *verb == '_' ? ' ' : *verb);
}

static int
no_such_command(const char *word, const char *second, struct err *err)
{
    struct buf near AUTO(buf_release) = BUF_INIT;
    size_t n = strlen(word);
    for (int i = 0; i < svc_n_verbs(); i++) {
        const char *name = svc_verb_at(i)->name;
        bool group = strncmp(name, word, n) == 0 && name[n] == '_';
        if (group || (n > 2 && str_distance(str_of(word), str_of(name), 2) <= 2)) {
            buf_adds(&near, near.len ? ", sluice " : "sluice ");
            cli_verb_words(name, &near);
        }
    }
    return err_set(err, ERR_USAGE, "there is no command '%s%s%s'; %s%s", word,
                   second ? " " : "", second ? second : "",
                   near.len ? "near it: " : "sluice --help lists them", buf_str(&near));
}

static bool
is_group(const char *word)
{
    const size_t n = strlen(word);
    for (int i = 0; i < svc_n_verbs(); i++)
        if (strncmp(svc_verb_at(i)->name, word, n) == 0 &&
            svc_verb_at(i)->name[n] == '_')
            return true;
    return false;
}

static const struct svc_verb *
find_two_words(const char *first, const char *second)
{
    struct buf name AUTO(buf_release) = BUF_INIT;
    buf_addf(&name, "%s_%s", first, second);
    return svc_find(buf_str(&name));
}

/* A flag's name as a field's: dashes and underscores are alike. */
static const struct svc_field *
find_flag(const struct svc_verb *verb, const char *flag, size_t n)
{
    for (int i = 0; i < verb->n_fields; i++) {
        const char *name = verb->fields[i].name;
        size_t k = 0;
        while (k < n && name[k] &&
               (name[k] == flag[k] || (name[k] == '_' && flag[k] == '-')))
            k++;
        if (k == n && !name[k] &&
            !(verb->fields[i].flags & (SVC_POSITIONAL | SVC_REST)))
            return &verb->fields[i];
    }
    return NULL;
}

void
cli_add_to_list(cJSON *request, const char *field, const char *value)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(request, field);
    if (!list)
        list = cJSON_AddArrayToObject(request, field);
    cJSON_AddItemToArray(list, cJSON_CreateString(value));
}

static int
put_value(cJSON *request, const struct svc_field *f, const char *value, struct err *err)
{
    if (f->type == SVC_LIST) {
        cli_add_to_list(request, f->name, value);
        return 0;
    }
    if (json_has(request, f->name))
        return err_set(err, ERR_USAGE, "--%s is given twice", f->name);
    if (f->type == SVC_INT) {
        char *end;
        errno = 0;
        long long v = strtoll(value, &end, 10);
        if (end == value || *end || errno)
            return err_set(err, ERR_USAGE, "%s must be a whole number, not '%s'",
                           f->name, value);
        json_put_int(request, f->name, v);
    } else {
        json_put_str(request, f->name, value);
    }
    return 0;
}

static int
put_positional(const struct svc_verb *verb, cJSON *request, const char *word,
               struct err *err)
{
    for (int i = 0; i < verb->n_fields; i++) {
        const struct svc_field *f = &verb->fields[i];
        if ((f->flags & SVC_POSITIONAL) && !json_has(request, f->name))
            return put_value(request, f, word, err);
        if (f->flags & SVC_REST) {
            cli_add_to_list(request, f->name, word);
            return 0;
        }
    }
    struct buf words AUTO(buf_release) = BUF_INIT;
    cli_verb_words(verb->name, &words);
    return err_set(err, ERR_USAGE,
                   "%s: '%s' is one argument too many; sluice %s --help",
                   buf_str(&words), word, buf_str(&words));
}

/* Global flags stand before or after the verb: 1 taken, 0 not one. */
static int
global_flag(char **argv, int argc, int *i, struct cli_call *out, struct err *err)
{
    const char *word = argv[*i];
    if (strcmp(word, "--json") == 0) {
        out->json = true;
    } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        out->help = true;
    } else if (strncmp(word, "--store=", 8) == 0) {
        out->store = word + 8;
    } else if (strcmp(word, "--store") == 0) {
        if (*i + 1 >= argc)
            return err_set(err, ERR_USAGE, "--store needs a directory");
        out->store = argv[++*i];
    } else if (strncmp(word, "--server=", 9) == 0) {
        out->server = word + 9;
    } else if (strcmp(word, "--server") == 0) {
        if (*i + 1 >= argc)
            return err_set(err, ERR_USAGE,
                           "--server needs unix:PATH, ssh://HOST or https://HOST");
        out->server = argv[++*i];
    } else {
        return 0;
    }
    return 1;
}

static int
no_such_flag(const struct svc_verb *verb, const char *word, struct err *err)
{
    const struct str flag = { word, strcspn(word, "=") };
    struct buf words AUTO(buf_release) = BUF_INIT, near AUTO(buf_release) = BUF_INIT;
    cli_verb_words(verb->name, &words);
    for (int i = 0; i < verb->n_fields && flag.n > 4; i++) {
        const struct svc_field *f = &verb->fields[i];
        char *name AUTO(free_ptr) = xasprintf("--%s", f->name);
        if (!(f->flags & (SVC_POSITIONAL | SVC_REST)) &&
            str_distance(flag, str_of(name), 2) <= 2)
            buf_addf(&near, "; near it: %s", name);
    }
    return err_set(err, ERR_USAGE, "%s has no flag %.*s%s; sluice %s --help",
                   buf_str(&words), (int)flag.n, word, buf_str(&near), buf_str(&words));
}

static int
verb_flag(const struct svc_verb *verb, char **argv, int argc, int *i, cJSON *request,
          struct err *err)
{
    const char *flag = argv[*i] + 2;
    size_t n = strcspn(flag, "=");
    const struct svc_field *f = find_flag(verb, flag, n);
    if (!f)
        return no_such_flag(verb, argv[*i], err);
    if (f->type == SVC_BOOL) {
        if (flag[n])
            return err_set(err, ERR_USAGE, "--%s takes no value", f->name);
        json_put_bool(request, f->name, true);
        return 0;
    }
    if (flag[n])
        return put_value(request, f, flag + n + 1, err);
    if (*i + 1 >= argc)
        return err_set(err, ERR_USAGE, "--%s needs a value", f->name);
    return put_value(request, f, argv[++*i], err);
}

bool
cli_is_only_local(const struct svc_verb *verb)
{
    static const char *const all[] = { "init", "restore", "agent", "serve" };
    bool found = false;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        found |= strcmp(verb->name, all[i]) == 0;
    return found;
}

bool
cli_is_local(const struct cli_call *call)
{
    bool may_name = false;
    if (cli_is_only_local(call->verb) || call->verb->needs == SVC_NONE)
        return true;
    for (int i = 0; i < call->verb->n_fields; i++)
        may_name |= strcmp(call->verb->fields[i].name, "ref") == 0 ||
                    call->verb->fields[i].type == SVC_ANY;
    return call->verb->needs == SVC_MAYBE && may_name &&
           !svc_names_version(call->verb, call->request);
}

int
cli_parse(int argc, char **argv, struct cli_call *out, struct err *err)
{
    const char *server = getenv("SLUICE_SERVER");
    *out = (struct cli_call){ .request = cJSON_CreateObject() };
    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        int taken = only_words ? 0 : global_flag(argv, argc, &i, out, err);
        if (taken < 0)
            return taken;
        if (taken)
            continue;
        if (!only_words && strcmp(word, "--") == 0) {
            only_words = true;
        } else if (!out->verb && strcmp(word, "--version") == 0) {
            out->verb = svc_find("version"); /* what people type first */
        } else if (!only_words && word[0] == '-' && word[1] == '-') {
            if (!out->verb)
                return err_set(err, ERR_USAGE,
                               "there is no global flag '%s'; sluice --help", word);
            if (verb_flag(out->verb, argv, argc, &i, out->request, err) < 0)
                return -(int)err->code;
        } else if (!out->verb) {
            if (strcmp(word, "help") == 0) {
                out->help = true;
                continue;
            }
            const char *next = i + 1 < argc ? argv[i + 1] : NULL;
            out->verb = next ? find_two_words(word, next) : NULL;
            if (out->verb)
                i++;
            else
                out->verb = svc_find(word);
            if (!out->verb && !out->group && (!next || next[0] == '-') &&
                is_group(word))
                out->group = word;
            else if (!out->verb)
                return no_such_command(word, next && next[0] != '-' ? next : NULL, err);
        } else if (!only_words && word[0] == '-' && word[1] && !word[2] &&
                   (word[1] < '0' || word[1] > '9')) {
            return no_such_flag(out->verb, word, err); /* -q; a text goes after -- */
        } else if (put_positional(out->verb, out->request, word, err) < 0) {
            return -(int)err->code;
        }
    }
    if (out->store && out->server)
        return err_set(
            err, ERR_USAGE,
            "--store is a directory of this machine, --server a store that is "
            "elsewhere: one of them");
    if (out->server && out->verb && cli_is_only_local(out->verb))
        return err_set(err, ERR_USAGE, "%s works on a store of this machine: --store",
                       out->verb->name);
    if (!out->server && !out->store && server && *server)
        out->server = server;
    return 0;
}
