/* SPDX-License-Identifier: Apache-2.0 */
#include "server/srv_reach.h"

#include "repo/tree.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum rule {
    HERE,
    READS,
    WRITES,
    TREE,
    PAIRS,
    MODEL,
    NO_HTTP,
    ADMIN,
    OWN,
    OUTPUT,
    VERB
};

static const struct reach {
    const char *verb, *field; /* field NULL: the verb as a whole */
    enum rule rule;
    const char *text; /* its name; of HERE why */
} reaches[] = {
#define HERE(verb, why) { #verb, NULL, HERE, why },
#define READS(verb) { #verb, NULL, READS, "READS" },
#define WRITES(verb) { #verb, NULL, WRITES, "WRITES" },
#define REACH(verb, field, rule) { #verb, #field, rule, #rule },
#include "server/reach.def"
#undef HERE
#undef READS
#undef WRITES
#undef REACH
};

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static const struct reach *
find(const struct svc_verb *verb, const char *field_or_null)
{
    for (size_t i = 0; i < N_OF(reaches); i++)
        if (strcmp(reaches[i].verb, verb->name) == 0 &&
            !reaches[i].field == !field_or_null &&
            (!field_or_null || strcmp(reaches[i].field, field_or_null) == 0))
            return &reaches[i];
    return NULL;
}

const char *
srv_reach_here(const struct svc_verb *verb)
{
    const struct reach *r = find(verb, NULL);
    return r && r->rule == HERE ? r->text : NULL;
}

int
srv_reach_verb(const struct svc_verb *verb, struct err *err)
{
    const char *why = srv_reach_here(verb);
    return why ? err_set(err, ERR_UNSUPPORTED, "%s is not for a service: %s",
                         verb->name, why)
               : 0;
}

bool
srv_reach_reads(const struct svc_verb *verb)
{
    const struct reach *r = find(verb, NULL);
    return r ? r->rule == READS : verb->right == ACC_READ;
}

const char *
srv_reach_rule(const struct svc_verb *verb, const struct svc_field *field)
{
    const struct reach *r = find(verb, field->name);
    return r ? r->text : NULL;
}

void
srv_reached_end(struct srv_reached *x)
{
    for (int i = 0; i < x->n_views; i++)
        repo_view_close(&x->views[i]);
    free(x->views);
    for (int i = 0; i < x->n_outs; i++)
        free(x->outs[i].path);
    for (int i = 0; i < x->n_names; i++) {
        free(x->names[i].path);
        free(x->names[i].text);
    }
    free(x->names);
    repo_view_close(&x->stage);
    cJSON_Delete(x->request);
    *x = (struct srv_reached)SRV_REACHED_INIT;
}

/* ---- values ---- */

struct one {
    struct srv_reached *x;
    struct repo *r;
    const struct svc_verb *verb;
    const char *field;
};

static bool
is_tree(const char *text)
{
    return strncmp(text, REPO_TREE_PREFIX, sizeof REPO_TREE_PREFIX - 1) == 0;
}

static int
refuse(const struct one *o, const char *text, struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "%s: %s '%.200s' would be a file of the service's machine: send "
                   "yours, and name it as " REPO_TREE_PREFIX "…",
                   o->verb->name, o->field, text);
}

static void
add_name(struct srv_reached *x, const char *path, char *text)
{
    x->names = xreallocarray(x->names, (size_t)x->n_names + 1, sizeof(x->names[0]));
    x->names[x->n_names].path = xstrdup(path);
    x->names[x->n_names++].text = text;
}

void
srv_reach_say(const struct srv_reached *x, cJSON *reply_or_null, struct err *err)
{
    for (int i = 0; i < x->n_names; i++) {
        if (reply_or_null)
            json_replace(reply_or_null, x->names[i].path, x->names[i].text);
        err_replace(err, x->names[i].path, x->names[i].text);
    }
}

/* The path of a tree; the caller frees it. */
static int
bring(const struct one *o, const char *text, char **path, struct err *err)
{
    struct repo_view view = REPO_VIEW_INIT;
    if (!is_tree(text))
        return refuse(o, text, err);
    if (repo_tree_open(o->r, text, &view, path, err) < 0) {
        repo_view_close(&view);
        return err_ctx(err, "%s: %s", o->verb->name, o->field);
    }
    o->x->views =
        xreallocarray(o->x->views, (size_t)o->x->n_views + 1, sizeof(o->x->views[0]));
    o->x->views[o->x->n_views++] = view;
    add_name(o->x, *path, xstrdup(text));
    return 0;
}

/* 'key=FILE;key=FILE[name]' */
static int
bring_pairs(const struct one *o, const char *text, char **out, struct err *err)
{
    struct buf all AUTO(buf_release) = BUF_INIT;
    while (*text) {
        const size_t n = strcspn(text, ";"), key = strcspn(text, "=;");
        if (key < n) {
            const char *file = text + key + 1;
            const size_t left = n - key - 1;
            const char *member = memchr(file, '[', left);
            char *name AUTO(free_ptr) =
                xstrndup(file, member ? (size_t)(member - file) : left);
            char *path AUTO(free_ptr) = NULL;
            if (bring(o, name, &path, err) < 0)
                return -(int)err->code;
            if (strpbrk(path, ";[="))
                return err_set(err, ERR_INVALID,
                               "%s: %s: a file's name here has none of ; [ =",
                               o->verb->name, o->field);
            buf_add(&all, text, key + 1);
            buf_adds(&all, path);
            if (member)
                buf_add(&all, member, left - (size_t)(member - file));
        } else {
            buf_add(&all, text, n);
        }
        text += n;
        if (*text == ';')
            buf_addc(&all, *text++);
    }
    buf_adds(&all, "");
    *out = buf_take(&all);
    return 0;
}

static int
need_admin(const struct one *o, struct err *err)
{
    return acc_check(o->r->acc, ACC_ADMIN, acc_store(), err) < 0
               ? err_ctx(err,
                         "%s: %s is a place that the service's machine reads, writes "
                         "or asks, "
                         "which is for administrators",
                         o->verb->name, o->field)
               : 0;
}

static int
check_backend(const struct one *o, const char *text, struct err *err)
{
    if (strcmp(text, "native") == 0)
        return 0;
    if (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0)
        return need_admin(o, err);
    return err_set(err, ERR_INVALID,
                   "%s: %s '%.200s': no program is run for who is elsewhere; native is "
                   "there",
                   o->verb->name, o->field, text);
}

/* validate --dir takes its baseline for a directory, too. */
static bool
names_dir(const struct one *o)
{
    return strcmp(o->verb->name, "validate") == 0 && json_has(o->x->request, "dir");
}

/* One value under a rule: *out NULL: as it is. */
static int
reach_value(const struct one *o, enum rule rule, const char *text, char **out,
            struct err *err)
{
    *out = NULL;
    switch (rule) {
    case TREE:
        return bring(o, text, out, err);
    case PAIRS:
        return bring_pairs(o, text, out, err);
    case MODEL:
        return is_tree(text)                       ? bring(o, text, out, err)
               : svc_is_path(text) || names_dir(o) ? refuse(o, text, err)
                                                   : 0;
    case NO_HTTP:
        return check_backend(o, text, err);
    case ADMIN:
    case OWN:
        return need_admin(o, err);
    case OUTPUT:
        return strcmp(text, "-") == 0 ? 0
                                      : err_set(err, ERR_INVALID,
                                                "%s: through a service it goes to "
                                                "standard output: end %s with '-', "
                                                "and > FILE",
                                                o->verb->name, o->field);
    case VERB:
        if (is_tree(text))
            add_name(o->x, text, xstrdup(text));
        return strcmp(text, "tree:") == 0 || is_tree(text) ||
                       svc_is_manifest(o->x->request, text)
                   ? 0
                   : refuse(o, text, err);
    case HERE:
    case READS:
    case WRITES:
        break; /* of verbs, not of fields */
    }
    BUG("rule %d", rule);
}

/* Where the verb writes: a name in a stage of its own, that does not exist yet. */
static int
make_out(const struct one *o, const char *text, char **out, struct err *err)
{
    struct srv_reached *x = o->x;
    if (strcmp(text, "tree:") != 0)
        return err_set(err, ERR_INVALID,
                       "%s: %s is 'tree:' over the network: what it writes is fetched "
                       "from there",
                       o->verb->name, o->field);
    if (x->stage.lock_fd < 0 && repo_stage_open(o->r, &x->stage, err) < 0)
        return -(int)err->code;
    if (x->n_outs == (int)N_OF(x->outs))
        BUG("%s has more than %zu fields that are written", o->verb->name,
            N_OF(x->outs));
    *out = xasprintf("%s/%s", x->stage.path, o->field);
    x->outs[x->n_outs].field = o->field;
    x->outs[x->n_outs++].path = xstrdup(*out);
    add_name(x, *out, xasprintf("tree:%s", o->field));
    return 0;
}

static int
reach_text(const struct one *o, const struct svc_field *f, const struct reach *r,
           cJSON *v, struct err *err)
{
    char *path AUTO(free_ptr) = NULL;
    int rc = 0;
    if (!cJSON_IsString(v))
        return 0; /* svc_call says what it must be */
    if (r)
        rc = reach_value(o, r->rule, v->valuestring, &path, err);
    else if (f->flags & SVC_OUT)
        rc = make_out(o, v->valuestring, &path, err);
    else
        rc = bring(o, v->valuestring, &path, err);
    if (rc == 0 && path)
        cJSON_SetValuestring(v, path);
    return rc;
}

static int
reach_field(const struct one *o, const struct svc_field *f, struct err *err)
{
    const struct reach *r = find(o->verb, f->name);
    cJSON *v = cJSON_GetObjectItemCaseSensitive(o->x->request, f->name);
    if (!v || (!r && f->type != SVC_PATH && f->type != SVC_ANY))
        return 0;
    if (!cJSON_IsArray(v))
        return reach_text(o, f, r, v, err);
    for (cJSON *e = v->child; e; e = e->next)
        if ((!r || r->rule != OUTPUT || !e->next) && reach_text(o, f, r, e, err) < 0)
            return -(int)err->code;
    return 0;
}

int
srv_reach_in(struct srv_reached *x, struct repo *r, const struct svc_verb *verb,
             const cJSON *request, struct err *err)
{
    if (srv_reach_verb(verb, err) < 0)
        return -(int)err->code;
    x->request = cJSON_Duplicate(request, true);
    /* without a word it would write where it stands */
    if (strcmp(verb->name, "pull") == 0 && !json_has(request, "dest"))
        json_put_str(x->request, "dest", "tree:");
    for (int i = 0; i < verb->n_fields; i++) {
        struct one o = { x, r, verb, verb->fields[i].name };
        if (reach_field(&o, &verb->fields[i], err) < 0)
            return -(int)err->code;
    }
    return 0;
}

void
srv_reach_done(const struct srv_reached *x, struct repo *r, const struct svc_verb *verb)
{
    struct err err = ERR_INIT;
    struct digest d;
    const char *name;
    const bool makes =
        strcmp(verb->name, "push") == 0 || strcmp(verb->name, "import") == 0;
    int rc = makes && !json_has(x->request, "dry_run") && x->n_names > 0
                 ? db_begin_quick(r->db, &err)
                 : 1;

    for (int i = 0; rc == 0 && i < x->n_names; i++)
        if (repo_tree_parse(x->names[i].text, &d, &name, &err) == 1)
            rc = repo_tree_done(r, &d, &err);
    if (rc == 0)
        rc = db_commit(r->db, &err);
    if (rc < 0) /* they stay for their day, then */
        err_clear(&err);
    db_rollback(r->db);
}

int
srv_reach_out(struct srv_reached *x, struct repo *r, cJSON *reply, struct err *err)
{
    const char *digest = cJSON_GetStringValue(cJSON_GetObjectItem(reply, "digest"));
    const char *dest =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(x->request, "dest"));
    cJSON *trees = NULL;
    /* pull: what it is asked for is a tree already */
    if (dest && strcmp(dest, "tree:") == 0 && digest) {
        char *text AUTO(free_ptr) = xasprintf("tree:%s", digest);
        json_put_str(cJSON_AddObjectToObject(reply, "trees"), "dest", text);
        return 0;
    }
    for (int i = 0; i < x->n_outs; i++) {
        struct buf text AUTO(buf_release) = BUF_INIT;
        if (access(x->outs[i].path, F_OK) < 0)
            continue; /* nothing was to be written */
        int made = repo_tree_make(r, x->outs[i].path, &text, err);
        if (made < 0)
            return err_ctx(err, "keep what was written to %s", x->outs[i].field);
        if (!trees)
            trees = cJSON_AddObjectToObject(reply, "trees");
        json_put_str(trees, x->outs[i].field, made ? buf_str(&text) : NULL);
    }
    return 0;
}
