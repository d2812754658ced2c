/* SPDX-License-Identifier: Apache-2.0 */
/* The texts of objects, both as rules name them and as they are asked for. */
#include "access/acc_rule_int.h"
#include "access/identity.h"

#include <stdlib.h>
#include <string.h>

/* ---- patterns -------------------------------------------------------------------- */

bool
acc_fits(struct str pattern, struct str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, again = 0; /* after the last * */

    for (;;) {
        const bool escaped =
            p + 1 < pattern.n && pattern.p[p] == '\\'; /* the next is itself */

        if (p < pattern.n && pattern.p[p] == '*') {
            star = ++p;
            again = t;
        } else if (p == pattern.n && t == text.n) {
            return true;
        } else if (p < pattern.n && t < text.n && pattern.p[p + escaped] == text.p[t]) {
            p += 1u + escaped;
            t++;
        } else if (star == SIZE_MAX || again == text.n) {
            return false;
        } else { /* the last * takes one byte more */
            p = star;
            t = ++again;
        }
    }
}

bool
acc_glob(const char *pattern, struct str text)
{
    return acc_fits(str_of(pattern), text);
}

/* ---- rules' objects -------------------------------------------------------------- */

static const struct {
    const char *word;
    enum acc_kind kind;
} kinds[] = {
    { "target", ACC_TARGET }, { "golden", ACC_GOLDEN }, { "policy", ACC_POLICY },
    { "hook", ACC_HOOK },     { "key", ACC_KEY },       { "model", ACC_MODEL },
    { "host", ACC_HOST },
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool
good_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' && ++i == s.n)
            return false;
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f || strchr("/:@", s.p[i]))
            return false;
    }
    return s.n > 0;
}

/* "a:b": the part before the separator; rest: after it. */
static bool
split(struct str s, char separator, struct str *before, struct str *rest)
{
    const char *at = s.n ? memchr(s.p, separator, s.n) : NULL;

    if (!at)
        return false;
    *before = (struct str){ s.p, (size_t)(at - s.p) };
    *rest = (struct str){ at + 1, s.n - before->n - 1 };
    return true;
}

/* What follows "golden:" and the like. */
static bool
parse_kind(struct acc_pattern *out, struct str rest)
{
    struct str before;

    out->name = rest;
    if (out->kind == ACC_GOLDEN && !split(rest, '/', &out->model, &out->name))
        return false;
    if (out->kind == ACC_GOLDEN && !good_name(out->model))
        return false;
    if (out->kind == ACC_MODEL) {
        out->model = rest;
        return good_name(rest);
    }
    if (out->kind == ACC_POLICY && split(rest, ':', &before, &rest))
        return str_is(before, "target") && good_name(rest);
    return good_name(out->name);
}

bool
acc_pattern_parse(struct acc_pattern *out, struct str text)
{
    struct str word, rest;

    *out = (struct acc_pattern){ .kind = ACC_MODEL, .model = text };
    if (str_is(text, "*")) {
        out->all = true;
        return true;
    }
    if (text.n == 0 || text.n > ACC_OBJECT_MAX)
        return false;
    if (str_is(text, "store")) {
        *out = (struct acc_pattern){ .kind = ACC_STORE };
        return true;
    }
    if (split(text, ':', &word, &rest)) {
        for (size_t i = 0; i < N_KINDS; i++)
            if (str_is(word, kinds[i].word)) {
                *out = (struct acc_pattern){ .kind = kinds[i].kind };
                return parse_kind(out, rest);
            }
        return false;
    }
    if (split(text, '@', &word, &rest)) {
        *out = (struct acc_pattern){ .kind = ACC_ALIAS, .model = word, .name = rest };
        return good_name(word) && good_name(rest);
    }
    return good_name(text);
}

int
acc_object_parse(const char *text, struct buf *canonical, struct err *err)
{
    struct acc_pattern p;

    if (!acc_pattern_parse(&p, str_of(text)))
        return err_set(err, ERR_INVALID,
                       "'%.300s' is nothing a grant can be on: there are '*' "
                       "(everything), store, MODEL, MODEL@ALIAS, target:NAME, "
                       "golden:MODEL/SET, policy:ALIAS, policy:target:NAME, hook:NAME, "
                       "key:NAME and host:NAME; a * in a name stands for anything "
                       "(team-*)",
                       text);
    if (p.kind == ACC_MODEL && !p.all && !str_is(p.model, "store"))
        buf_add(canonical, p.model.p, p.model.n);
    else
        buf_adds(canonical, text);
    return 0;
}

/* ---- objects that are asked for -------------------------------------------------- */

/* A name as a pattern that only it fits. */
static void
add_literal(const char *name, struct buf *out)
{
    for (const char *p = name ? name : ""; *p; p++) {
        if (*p == '*' || *p == '\\')
            buf_addc(out, '\\');
        buf_addc(out, *p);
    }
}

void
acc_object_text(const struct acc_object *o, struct buf *out)
{
    switch (o->kind) {
    case ACC_STORE:
        buf_adds(out, "store");
        return;
    case ACC_MODEL:
        buf_adds(out, strcmp(o->model, "store") == 0 ? "model:" : "");
        add_literal(o->model, out);
        return;
    case ACC_ALIAS:
        if (strcmp(o->model, "*") == 0) /* of every model, not of one with that name */
            buf_addc(out, '*');
        else
            add_literal(o->model, out);
        buf_addc(out, '@');
        break;
    case ACC_TARGET:
    case ACC_GOLDEN:
    case ACC_POLICY:
    case ACC_HOOK:
    case ACC_KEY:
    case ACC_HOST:
        for (size_t i = 0; i < N_KINDS; i++)
            if (kinds[i].kind == o->kind)
                buf_addf(out, "%s:", kinds[i].word);
        if (o->kind == ACC_GOLDEN) {
            add_literal(o->model, out);
            buf_addc(out, '/');
        }
        break;
    }
    add_literal(o->name, out);
}

/* Without backslashes; false: it has a * that is one. */
static bool
add_plain(struct str pattern, struct buf *out)
{
    for (size_t i = 0; i < pattern.n; i++) {
        if (pattern.p[i] == '*')
            return false;
        i += pattern.p[i] == '\\' && i + 1 < pattern.n;
        buf_addc(out, pattern.p[i]);
    }
    buf_addc(out, '\0');
    return true;
}

int
acc_asked_parse(const char *text, struct acc_asked *out, struct err *err)
{
    struct acc_pattern p;
    size_t name;
    bool one = acc_pattern_parse(&p, str_of(text)) && !p.all;

    *out = (struct acc_asked){ .text = BUF_INIT };
    if (one && p.kind == ACC_ALIAS && str_is(p.model, "*")) {
        buf_add(&out->text, "*", 2);
    } else {
        one = one && add_plain(p.model, &out->text);
    }
    name = out->text.len;
    one = one && add_plain(p.name, &out->text);
    if (!one)
        return err_set(err, ERR_INVALID,
                       "'%.300s' is not one thing: name a model, an alias, a target, …",
                       text);
    out->on = (struct acc_object){ p.kind, p.model.n ? out->text.data : NULL,
                                   p.name.n ? out->text.data + name : NULL };
    return 0;
}

void
acc_asked_release(struct acc_asked *x)
{
    buf_release(&x->text);
}

/* ---- what may be done with them -------------------------------------------------- */

int
acc_what_parse(const char *text, enum acc_right *right, const char **verb,
               struct err *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    static const char prefix[] = "verb:";
    const bool is_verb = strncmp(text, prefix, sizeof(prefix) - 1) == 0;
    const char *name = is_verb ? text + sizeof(prefix) - 1 : text;

    *verb = NULL;
    *right = is_verb ? ACC_NONE : acc_right_named(text);
    if (*right != ACC_NONE)
        return 0;
    *verb = name;
    if (!*name || strlen(name) > 63 || strspn(name, letters) != strlen(name))
        return err_set(err, ERR_INVALID, "'%.100s' is neither a right nor a verb",
                       text);
    return 0;
}

bool
acc_is_role(const char *subject)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *name = subject + 5;

    return strncmp(subject, "role:", 5) == 0 && *name && strlen(subject) < 64 &&
           strspn(name, letters) == strlen(name);
}
