/* SPDX-License-Identifier: Apache-2.0 */
/* A reader of protobuf's text format: first any text into a tree of fields, then the
 * tree against the messages of ModelServerConfig. As strict as protobuf's: an unknown
 * field, a field twice, two members of a oneof, or a value of another type refuse the
 * whole. */
#include "tests/tools/tfs_model.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- text to tree
 * -------------------------------------------------------------------- */

enum kind { K_WORD, K_NUMBER, K_STRING, K_MESSAGE };
struct node {
    char *name, *text; /* text: NULL for a message */
    size_t len;
    enum kind kind;
    int line, n_kids;
    struct node *kids;
};
struct reader {
    const char *p, *end;
    int line, depth;
    char *why;
};

static bool
bad(struct reader *r, const char *fmt, ...)
{
    char what[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    snprintf(r->why, TFS_WHY_BYTES, "line %d: %s", r->line, what);
    return false;
}

static void
node_release(struct node *n)
{
    for (int i = 0; i < n->n_kids; i++)
        node_release(&n->kids[i]);
    free(n->kids);
    free(n->name);
    free(n->text);
}

static struct node *
add_kid(struct node *parent, const char *name, int line)
{
    struct node *kid;

    parent->kids =
        realloc(parent->kids, ((size_t)parent->n_kids + 1) * sizeof(*parent->kids));
    if (!parent->kids)
        abort();
    kid = &parent->kids[parent->n_kids++];
    *kid = (struct node){ .name = strdup(name), .line = line };
    return kid;
}

static int
peek(struct reader *r)
{
    while (r->p < r->end && (isspace((unsigned char)*r->p) || *r->p == '#')) {
        if (*r->p == '#')
            while (r->p < r->end && *r->p != '\n')
                r->p++;
        else if (*r->p++ == '\n')
            r->line++;
    }
    return r->p < r->end ? (unsigned char)*r->p : EOF;
}

static bool
take(struct reader *r, int c)
{
    if (peek(r) != c)
        return false;
    r->p++;
    return true;
}

/* Letters, digits and what numbers have; into a new string. */
static char *
take_run(struct reader *r, const char *also)
{
    const char *from = r->p;

    while (r->p < r->end &&
           (isalnum((unsigned char)*r->p) || (*r->p && strchr(also, *r->p))))
        r->p++;
    return strndup(from, (size_t)(r->p - from));
}

static int
escape(struct reader *r)
{
    static const char from[] = "abfnrtv?", to[] = "\a\b\f\n\r\t\v?";
    const char *at;
    int c = r->p < r->end ? (unsigned char)*r->p++ : 0, value = 0, n = 0;

    if (c == 'x' || c == 'X') {
        for (; n < 2 && r->p < r->end && isxdigit((unsigned char)*r->p); n++, r->p++)
            value = value * 16 + (isdigit((unsigned char)*r->p)
                                      ? *r->p - '0'
                                      : tolower((unsigned char)*r->p) - 'a' + 10);
        return n > 0 ? value : -1;
    }
    if (c >= '0' && c <= '7') {
        for (value = c - '0', n = 1;
             n < 3 && r->p < r->end && *r->p >= '0' && *r->p <= '7'; n++, r->p++)
            value = value * 8 + (*r->p - '0');
        return value < 256 ? value : -1;
    }
    if (c == '\\' || c == '\'' || c == '"')
        return c;
    at = c ? strchr(from, c) : NULL;
    return at ? to[at - from] : -1;
}

/* One quoted string, appended to the node. */
static bool
take_string(struct reader *r, struct node *n)
{
    const char quote = *r->p++;

    while (r->p < r->end && *r->p != quote) {
        int c = (unsigned char)*r->p++;

        if (c == '\n')
            return bad(r, "a string does not end on its line");
        if (c == '\\' && (c = escape(r)) < 0)
            return bad(r, "an escape in a string that there is not");
        n->text = realloc(n->text, n->len + 2);
        if (!n->text)
            abort();
        n->text[n->len++] = (char)c;
        n->text[n->len] = '\0';
    }
    if (r->p == r->end)
        return bad(r, "a string does not end");
    r->p++;
    return true;
}

static bool take_fields(struct reader *r, struct node *into, int close);

static bool
take_value(struct reader *r, struct node *n, bool only_message)
{
    int c = peek(r);

    n->line = r->line;
    if (c == '{' || c == '<') {
        r->p++;
        n->kind = K_MESSAGE;
        return take_fields(r, n, c == '{' ? '}' : '>');
    }
    if (only_message)
        return bad(r, "%s: a : is missing", n->name);
    if (c == '"' || c == '\'') {
        n->kind = K_STRING;
        n->text = strdup("");
        while (c == '"' || c == '\'') { /* neighbours are one string */
            if (!take_string(r, n))
                return false;
            c = peek(r);
        }
        return true;
    }
    if (c == '-' || c == '.' || isdigit(c)) {
        char *digits;
        bool minus = take(r, '-');

        peek(r);
        digits = take_run(r, ".+-");
        n->kind = K_NUMBER;
        if (asprintf(&n->text, "%s%s", minus ? "-" : "", digits) < 0)
            abort();
        free(digits);
        return true;
    }
    if (isalpha(c) || c == '_') {
        n->kind = K_WORD;
        n->text = take_run(r, "_");
        return true;
    }
    return bad(r, "%s has no value", n->name);
}

static bool
take_field(struct reader *r, struct node *into)
{
    char *name;
    bool colon, good = true;

    if (peek(r) != '_' && !isalpha(peek(r)))
        return bad(r, "a field's name expected");
    name = take_run(r, "_");
    colon = take(r, ':');
    if (colon && take(r, '[')) {
        if (!take(r, ']')) {
            do
                good = take_value(r, add_kid(into, name, r->line), false);
            while (good && take(r, ','));
            if (good && !take(r, ']'))
                good = bad(r, "%s: a list does not end", name);
        }
    } else {
        good = take_value(r, add_kid(into, name, r->line), !colon);
    }
    free(name);
    if (good && !take(r, ','))
        take(r, ';');
    return good;
}

static bool
take_fields(struct reader *r, struct node *into, int close)
{
    if (++r->depth > 32)
        return bad(r, "nested too deeply");
    while (peek(r) != close) {
        if (peek(r) == EOF)
            return bad(r, "a message does not end");
        if (!take_field(r, into))
            return false;
    }
    if (close != EOF)
        r->p++;
    r->depth--;
    return true;
}

/* ---- the messages
 * --------------------------------------------------------------------- */

enum type { T_STRING, T_INT64, T_INT32, T_UINT32, T_DOUBLE, T_MODEL_TYPE, T_MESSAGE };
struct message;
struct field {
    const char *name;
    enum type type;
    bool repeated;
    int oneof; /* members of one have the same number; 0: none */
    const struct message *message;
};
struct message {
    const struct field *fields;
    int n;
};
#define MESSAGE(name, ...)                                                             \
    static const struct field name##_fields[] = { __VA_ARGS__ };                       \
    static const struct message name = {                                               \
        name##_fields, (int)(sizeof(name##_fields) / sizeof(name##_fields[0]))         \
    }

static const struct message empty = { NULL, 0 };
MESSAGE(collector, { .name = "type", .type = T_STRING },
        { .name = "filename_prefix", .type = T_STRING });
MESSAGE(per_task, { .name = "dc", .type = T_STRING },
        { .name = "task_index", .type = T_INT32 },
        { .name = "sampling_rate", .type = T_DOUBLE });
MESSAGE(sampling, { .name = "sampling_rate", .type = T_DOUBLE },
        { .name = "per_task_sampling_configs",
          .type = T_MESSAGE,
          .repeated = true,
          .message = &per_task },
        { .name = "attributes", .type = T_INT32 });
MESSAGE(logging,
        { .name = "log_collector_config", .type = T_MESSAGE, .message = &collector },
        { .name = "sampling_config", .type = T_MESSAGE, .message = &sampling });
MESSAGE(latest, { .name = "num_versions", .type = T_UINT32 });
MESSAGE(specific, { .name = "versions", .type = T_INT64, .repeated = true });
MESSAGE(policy, { .name = "latest", .type = T_MESSAGE, .oneof = 1, .message = &latest },
        { .name = "all", .type = T_MESSAGE, .oneof = 1, .message = &empty },
        { .name = "specific", .type = T_MESSAGE, .oneof = 1, .message = &specific });
MESSAGE(label, { .name = "key", .type = T_STRING },
        { .name = "value", .type = T_INT64 });
MESSAGE(model, { .name = "name", .type = T_STRING },
        { .name = "base_path", .type = T_STRING },
        { .name = "model_type", .type = T_MODEL_TYPE },
        { .name = "model_platform", .type = T_STRING },
        { .name = "model_version_policy", .type = T_MESSAGE, .message = &policy },
        { .name = "version_labels",
          .type = T_MESSAGE,
          .repeated = true,
          .message = &label },
        { .name = "logging_config", .type = T_MESSAGE, .message = &logging });
MESSAGE(model_list,
        { .name = "config", .type = T_MESSAGE, .repeated = true, .message = &model });
/* custom_model_config is read by no server that is built from the public sources. */
MESSAGE(server, { .name = "model_config_list",
                  .type = T_MESSAGE,
                  .oneof = 1,
                  .message = &model_list });

/* Decimal, 0x… or 0…, as protobuf writes integers. */
static bool
integer(const struct node *n, int64_t min, int64_t max, int64_t *out)
{
    const char *s = n->text;
    char *end;

    if (n->kind != K_NUMBER || !isdigit((unsigned char)s[*s == '-']))
        return false;
    errno = 0;
    *out = strtoll(s, &end, 0);
    return errno == 0 && !*end && *out >= min && *out <= max;
}

static bool
fits(const struct node *n, const struct field *f)
{
    int64_t i;
    char *end;

    switch (f->type) {
    case T_STRING:
        return n->kind == K_STRING;
    case T_INT64:
        return integer(n, INT64_MIN, INT64_MAX, &i);
    case T_INT32:
        return integer(n, INT32_MIN, INT32_MAX, &i);
    case T_UINT32:
        return integer(n, 0, UINT32_MAX, &i);
    case T_DOUBLE:
        if (n->kind == K_WORD)
            return strcasecmp(n->text, "inf") == 0 || strcasecmp(n->text, "nan") == 0;
        return n->kind == K_NUMBER && (strtod(n->text, &end), !*end);
    case T_MODEL_TYPE:
        return n->kind == K_WORD ? strcmp(n->text, "MODEL_TYPE_UNSPECIFIED") == 0 ||
                                       strcmp(n->text, "TENSORFLOW") == 0 ||
                                       strcmp(n->text, "OTHER") == 0
                                 : integer(n, 0, 2, &i);
    case T_MESSAGE:
        return n->kind == K_MESSAGE;
    }
    return false;
}

static bool
obeys(struct reader *r, const struct node *n, const struct message *m)
{
    for (int i = 0; i < n->n_kids; i++) {
        const struct node *kid = &n->kids[i];
        const struct field *f = NULL;

        r->line = kid->line;
        for (int k = 0; k < m->n; k++)
            if (strcmp(m->fields[k].name, kid->name) == 0)
                f = &m->fields[k];
        if (!f)
            return bad(r, "there is no field %s here", kid->name);
        if (!fits(kid, f))
            return bad(r, "%s has a value of another type", kid->name);
        for (int k = 0; k < i; k++) {
            const char *before = n->kids[k].name;

            if (!f->repeated && strcmp(before, kid->name) == 0)
                return bad(r, "%s is there twice", kid->name);
            if (f->oneof)
                return bad(r, "%s beside %s: only one of them", kid->name, before);
        }
        if (f->message && !obeys(r, kid, f->message))
            return false;
    }
    return true;
}

/* ---- the tree as a config
 * ---------------------------------------------------------------
 */

static const struct node *
find(const struct node *n, const char *name)
{
    for (int i = 0; n && i < n->n_kids; i++)
        if (strcmp(n->kids[i].name, name) == 0)
            return &n->kids[i];
    return NULL;
}

static char *
string_of(const struct node *n, const char *name)
{
    const struct node *at = find(n, name);

    return strdup(at ? at->text : "");
}

static int64_t
int_of(const struct node *n)
{
    return n ? strtoll(n->text, NULL, 0) : 0;
}

static void
take_labels(const struct node *n, struct tfs_model *m)
{
    m->labels = calloc((size_t)n->n_kids + 1, sizeof(*m->labels));
    for (int i = 0; i < n->n_kids; i++) {
        char *key;
        int k = 0;

        if (strcmp(n->kids[i].name, "version_labels") != 0)
            continue;
        key = string_of(&n->kids[i], "key");
        while (k < m->n_labels && strcmp(m->labels[k].key, key) != 0)
            k++;
        if (k == m->n_labels) /* of a key that is there twice the last one counts */
            m->labels[m->n_labels++].key = key;
        else
            free(key);
        m->labels[k].version = int_of(find(&n->kids[i], "value"));
    }
}

static void
take_model(const struct node *n, struct tfs_model *m)
{
    const struct node *p = find(n, "model_version_policy"), *s = find(p, "specific");
    const struct node *type = find(n, "model_type");

    *m = (struct tfs_model){ .name = string_of(n, "name"),
                             .base_path = string_of(n, "base_path"),
                             .platform = string_of(n, "model_platform"),
                             .n_latest = 1 };
    if (type && (strcmp(type->text, "TENSORFLOW") == 0 || strcmp(type->text, "1") == 0))
        m->old_type = true;
    if (find(p, "latest"))
        m->n_latest = (uint32_t)int_of(find(find(p, "latest"), "num_versions"));
    if (m->n_latest == 0)
        m->n_latest = 1;
    if (find(p, "all"))
        m->policy = TFS_ALL;
    if (s) {
        m->policy = TFS_SPECIFIC;
        m->versions = calloc((size_t)s->n_kids + 1, sizeof(*m->versions));
        for (int i = 0; i < s->n_kids; i++)
            m->versions[m->n_versions++] = int_of(&s->kids[i]);
    }
    take_labels(n, m);
}

bool
tfs_config_parse(const char *text, size_t len, struct tfs_config *out,
                 char why[TFS_WHY_BYTES])
{
    struct reader r = { .p = text, .end = text + len, .line = 1, .why = why };
    struct node root = { .kind = K_MESSAGE };
    bool good = take_fields(&r, &root, EOF) && obeys(&r, &root, &server);
    const struct node *list = good ? find(&root, "model_config_list") : NULL;

    *out = (struct tfs_config){ .is_set = list != NULL };
    if (list) {
        out->models = calloc((size_t)list->n_kids + 1, sizeof(*out->models));
        for (int i = 0; i < list->n_kids; i++)
            take_model(&list->kids[i], &out->models[out->n_models++]);
    }
    node_release(&root);
    return good;
}

void
tfs_config_release(struct tfs_config *c)
{
    for (int i = 0; i < c->n_models; i++) {
        struct tfs_model *m = &c->models[i];

        for (int k = 0; k < m->n_labels; k++)
            free(m->labels[k].key);
        free(m->labels);
        free(m->versions);
        free(m->name);
        free(m->base_path);
        free(m->platform);
    }
    free(c->models);
    *c = (struct tfs_config){ .models = NULL };
}

bool
tfs_number(const char *text, int64_t *out)
{
    const char *end = text + strlen(text);
    char digits[40];
    char *rest;

    while (isspace((unsigned char)*text))
        text++;
    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    while (text + 1 < end && text[0] == '0' && isdigit((unsigned char)text[1]))
        text++; /* however many there are */
    if (end == text || (size_t)(end - text) >= sizeof(digits))
        return false;
    snprintf(digits, sizeof(digits), "%.*s", (int)(end - text), text);
    if (!isdigit((unsigned char)digits[digits[0] == '-' || digits[0] == '+']))
        return false;
    errno = 0;
    *out = strtoll(digits, &rest, 10);
    return errno == 0 && !*rest;
}
