/* SPDX-License-Identifier: Apache-2.0 */
#include "service/service.h"

#include "base/clock.h"
#include "deploy/deploy.h"
#include "repo/gc.h"
#include "service/svc_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static svc_do_fn *const handlers[] = {
#define VERB(name, right, needs, help, ...) svc_do_##name,
#include "service/verbs.def"
#undef VERB
};

int
svc_schemas(struct db_schema out[SVC_N_SCHEMAS])
{
    const struct db_schema *all[SVC_N_SCHEMAS] = { &acc_schema, &repo_schema,
                                                   &val_schema, &deploy_schema };
    for (int i = 0; i < SVC_N_SCHEMAS; i++)
        out[i] = *all[i];
    return SVC_N_SCHEMAS;
}

int
svc_open(struct svc **out, const char *store_path_or_null, struct err *err)
{
    (void)err;
    struct svc *s = xcalloc(1, sizeof *s);
    s->store_path = store_path_or_null ? xstrdup(store_path_or_null) : NULL;
    s->view = (struct repo_view)REPO_VIEW_INIT;
    *out = s;
    return 0;
}

int
svc_store(struct svc *s, struct repo **out, struct err *err)
{
    if (svc_need_store(s, err) < 0)
        return -(int)err->code;
    *out = s->repo;
    return 0;
}

bool
svc_is_current(const struct svc *s)
{
    return !s->repo || db_in_place(s->repo->db);
}

void
svc_close(struct svc *s)
{
    if (!s)
        return;
    repo_view_close(&s->view);
    repo_close(s->repo);
    free(s->store_path);
    free(s);
}

void
svc_leave(struct svc *s)
{
    if (s)
        repo_leave(s->repo);
}

void
svc_on_progress(struct svc *s, svc_progress_fn *fn, void *arg)
{
    s->progress = fn;
    s->progress_arg = arg;
}

void
svc_on_stop(struct svc *s, bool (*stop)(void *arg))
{
    s->stop = stop;
}

void
svc_on_tell(struct svc *s, svc_tell_fn *fn, void *arg)
{
    s->tell = fn;
    s->tell_arg = arg;
}

void
svc_take_view(struct svc *s, struct repo_view *out)
{
    *out = s->view;
    out->r = NULL; /* which may be closed before it */
    s->view = (struct repo_view)REPO_VIEW_INIT;
}

void
svc_close_p(struct svc **s)
{
    svc_close(*s);
    *s = NULL;
}

char *
svc_upgraded(const struct svc *s)
{
    return s->repo && db_was_upgraded(s->repo->db)
               ? xasprintf("%s" DB_BEFORE_UPGRADE, s->repo->db_path)
               : NULL;
}

/* ---- fields ---- */

const char *
svc_str(const struct svc_call *c, const char *field)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(c->req, field));
}

int64_t
svc_int(const struct svc_call *c, const char *field, int64_t fallback)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(c->req, field);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : fallback;
}

bool
svc_flag(const struct svc_call *c, const char *field)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c->req, field));
}

bool
svc_is_stopped(const struct svc_call *c)
{
    return c->s->stop && c->s->stop(c->s->progress_arg);
}

enum { WORDS_BYTES = 64 };

/* "checkpoint show" */
static const char *
words_of(const struct svc_verb *verb, char out[WORDS_BYTES])
{
    snprintf(out, WORDS_BYTES, "%s", verb->name);
    for (char *p = out; *p; p++)
        if (*p == '_')
            *p = ' ';
    return out;
}

static int
check_field(const struct svc_verb *verb, const struct svc_field *f, const cJSON *v,
            struct err *err)
{
    static const char *const wanted[] = { [SVC_STR] = "a string",
                                          [SVC_PATH] = "a path",
                                          [SVC_ANY] = "a directory or a version",
                                          [SVC_INT] = "a whole number",
                                          [SVC_BOOL] = "true or false",
                                          [SVC_LIST] = "a list of strings" };
    char words[WORDS_BYTES];
    bool ok = true;
    switch (f->type) {
    case SVC_STR:
    case SVC_PATH:
    case SVC_ANY:
        ok = cJSON_IsString(v);
        break;
    case SVC_INT:
        ok = cJSON_IsNumber(v) && v->valuedouble >= -9e15 && v->valuedouble <= 9e15 &&
             (double)(int64_t)v->valuedouble == v->valuedouble;
        break;
    case SVC_BOOL:
        ok = cJSON_IsBool(v);
        break;
    case SVC_LIST:
        ok = cJSON_IsArray(v) && cJSON_GetArraySize(v) > 0;
        for (const cJSON *e = ok ? v->child : NULL; e; e = e->next)
            ok = ok && cJSON_IsString(e);
        break;
    }
    if (!ok)
        return err_set(err, ERR_USAGE, "%s: %s must be %s", words_of(verb, words),
                       f->name, wanted[f->type]);
    return 0;
}

int
svc_check_request(const struct svc_verb *verb, const cJSON *req, struct err *err)
{
    char words[WORDS_BYTES];
    for (const cJSON *v = req ? req->child : NULL; v; v = v->next) {
        const struct svc_field *f = NULL;
        for (int i = 0; i < verb->n_fields && !f; i++)
            if (strcmp(verb->fields[i].name, v->string) == 0)
                f = &verb->fields[i];
        if (!f)
            return err_set(err, ERR_USAGE, "%s takes no %s", words_of(verb, words),
                           v->string);
        if (check_field(verb, f, v, err) < 0)
            return -(int)err->code;
    }
    for (int i = 0; i < verb->n_fields; i++)
        if ((verb->fields[i].flags & SVC_REQUIRED) &&
            !json_has(req, verb->fields[i].name))
            return err_set(err, ERR_USAGE, "%s needs %s%s: %s", words_of(verb, words),
                           verb->fields[i].flags & (SVC_POSITIONAL | SVC_REST) ? ""
                                                                               : "--",
                           verb->fields[i].name, verb->fields[i].help);
    return 0;
}

/* ---- one call ---- */

void
svc_about(struct svc_call *c, const struct repo_version *v)
{
    snprintf(c->object, sizeof c->object, "%s@%lld", v->model, (long long)v->number);
    repo_digest_text(&v->digest, c->digest);
}

int
svc_version(struct svc_call *c, struct repo_version *out, struct err *err)
{
    if (repo_resolve(c->repo, svc_str(c, "ref"), out, err) < 0)
        return -(int)err->code;
    svc_about(c, out);
    return 0;
}

int
svc_alias(struct svc_call *c, struct repo_ref *out, struct err *err)
{
    if (repo_ref_parse(svc_str(c, "ref"), out, err) < 0)
        return -(int)err->code;
    if (!out->model[0] || !out->alias[0])
        return err_set(err, ERR_USAGE,
                       "'%s' must name an alias of a model: MODEL@ALIAS, such as "
                       "fraud@production",
                       svc_str(c, "ref"));
    snprintf(c->object, sizeof c->object, "%s@%s", out->model, out->alias);
    return 0;
}

/* Asks the gate, of what the request is about. */
static int
check_access(struct svc_call *c, struct err *err)
{
    struct svc_object what;
    const char *ref = svc_str(c, svc_str(c, "onto") ? "onto" : "ref");
    if (svc_about_what(c, &what, err) < 0)
        return -(int)err->code;
    snprintf(c->object, sizeof c->object, "%s",
             ref && strncmp(ref, "sha256:", 7) != 0 ? ref : what.model);
    if (what.on.kind == ACC_HOOK || what.on.kind == ACC_KEY)
        snprintf(c->object, sizeof c->object, "%s:%s",
                 what.on.kind == ACC_HOOK ? "hook" : "key", what.name);
    return what.any ? acc_check_any(c->repo->acc, c->verb->name, c->verb->right, err)
                    : svc_allow(c, c->verb->right, what.on, err);
}

int
svc_need_store(struct svc *s, struct err *err)
{
    if (s->repo)
        return 0;
    struct buf path AUTO(buf_release) = BUF_INIT;
    struct db_schema schemas[SVC_N_SCHEMAS];
    int n = svc_schemas(schemas);
    if (repo_default_path(s->store_path, &path, err) < 0)
        return -(int)err->code;
    if (repo_open(&s->repo, buf_str(&path), schemas, n, err) < 0)
        return -(int)err->code;
    return s->who ? acc_act_as(s->repo->acc, s->who, err) : 0;
}

int
svc_act_as(struct svc *s, const struct acc_who *who_or_null, struct err *err)
{
    s->who = who_or_null;
    return s->repo ? acc_act_as(s->repo->acc, who_or_null, err) : 0;
}

static int
do_call(struct svc_call *c, svc_do_fn *fn, struct err *err)
{
    if (c->repo && (svc_check_read_only(c, err) < 0 || check_access(c, err) < 0))
        return -(int)err->code;
    int r = c->repo ? svc_key_begin(c, err) : 0;
    if (r == 0)
        r = fn(c, err);
    else if (r == 1 && json_has(c->req, "wait")) /* as before, but for the waiting */
        r = svc_after_change(c, err);
    if (!c->recorded && fs_maps_check(c->n_cut, err) < 0) {
        svc_no_reply(c); /* whatever was read of it */
        return -(int)err->code;
    }
    return r;
}

/* What is no version may be meant as the path that it also is; of whom a service speaks
 * for, the paths are elsewhere. Returns -code. */
static int
hint_path(const struct svc *s, const char *text, bool is_ref, struct err *err)
{
    if (s->who)
        return -(int)err->code;
    char *index AUTO(free_ptr) = xasprintf("%s.index", text);
    size_t n = strlen(err->msg);
    if (access(text, F_OK) == 0 || access(index, F_OK) == 0)
        snprintf(err->msg + n, sizeof err->msg - n,
                 is_ref ? "; for what lies here: --dir %s" : "; what lies here is ./%s",
                 text);
    return -(int)err->code;
}

/* These must work when nothing is free any more. */
static bool
ends_full_disk(const char *verb)
{
    static const char *const all[] = { "rollback", "target_step", "delete", "gc",
                                       "freeze" };
    bool found = false;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        found |= strcmp(verb, all[i]) == 0;
    return found;
}

int
svc_call(struct svc *s, const char *name, const cJSON *request, cJSON **reply,
         struct err *err)
{
    *reply = NULL;
    const struct svc_verb *verb = svc_find(name);
    if (!verb)
        return err_set(err, ERR_USAGE, "there is no verb '%s'", name);
    if (svc_check_request(verb, request, err) < 0)
        return -(int)err->code;
    struct svc_call c = {
        .s = s, .verb = verb, .req = request, .n_cut = fs_maps_n_cut()
    };
    const char *ref = svc_str(&c, "ref");
    const char *version =
        verb->needs == SVC_MAYBE ? svc_names_version(verb, request) : NULL;
    if (verb->needs == SVC_STORE || version) {
        if (svc_need_store(s, err) < 0)
            return version ? hint_path(s, version, version == ref, err)
                           : -(int)err->code;
        c.repo = s->repo;
    }
    c.reply = cJSON_CreateObject();
    c.body = cJSON_CreateObject();
    if (c.repo && (verb->right == ACC_READ || ends_full_disk(name)))
        repo_reserve_spend(c.repo, ends_full_disk(name));
    int r = do_call(&c, handlers[verb->index], err);
    if (c.keyed) {
        db_rollback(c.repo->db); /* what a failing handler left open */
        r = svc_key_end(&c, r, err);
    }
    /* What is missing in the store is ERR_CORRUPT; this is a path that the caller gave.
     */
    if (err->code == ERR_IO && err->sys == ENOENT)
        r = -(int)(err->code = ERR_NOTFOUND);
    if (r < 0 && version && version == ref && !c.digest[0])
        hint_path(s, ref, true, err);
    if (c.repo) {
        db_rollback(c.repo->db); /* what a failing handler left open */
        repo_lease_end(c.repo);
        r = svc_log_call(&c, r, err);
        if (r < 0 && verb->right != ACC_READ && db_is_unsure(c.repo->db))
            r = err_ctx(err, "whether it took effect is not known, look before you "
                             "repeat it");
    }
    if (c.once && c.recorded)
        svc_move_members(c.once, c.reply);
    cJSON_Delete(c.once);
    free(c.made);
    cJSON_Delete(c.body);
    if (!c.reply->child && r < 0) {
        cJSON_Delete(c.reply);
        c.reply = NULL;
    }
    *reply = c.reply;
    return r < 0 ? r : 0;
}

int
svc_look_up(struct svc *s, const char *ref, cJSON **reply, struct svc_look *about,
            struct err *err)
{
    cJSON *request AUTO(json_free) = cJSON_CreateObject();
    struct svc_call c = {
        .s = s, .verb = svc_find("resolve"), .req = request, .n_cut = fs_maps_n_cut()
    };
    json_put_str(request, "ref", ref);
    *reply = NULL;
    if (svc_need_store(s, err) < 0)
        return -(int)err->code;
    c.repo = s->repo;
    c.reply = cJSON_CreateObject();
    c.body = cJSON_CreateObject();
    int r = do_call(&c, handlers[c.verb->index], err);
    memcpy(about->object, c.object, sizeof c.object);
    memcpy(about->digest, c.digest, sizeof c.digest);
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(c.reply, "number");
    about->number = number ? (int64_t)number->valuedouble : 0;
    cJSON_Delete(c.body);
    if (r < 0)
        json_free(&c.reply);
    *reply = c.reply;
    return r;
}

/* ---- common pieces ---- */

void
svc_put_hex(cJSON *obj, const char *key, const struct digest *d)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(d, hex);
    json_put_str(obj, key, hex);
}

void
svc_put_time(cJSON *obj, const char *key, int64_t time_ns)
{
    char text[CLOCK_TEXT_BYTES];
    json_put_str(obj, key, time_ns ? clock_text(time_ns, text) : NULL);
}

cJSON *
svc_version_json(const struct repo_version *v)
{
    char digest[REPO_DIGEST_BYTES];
    repo_digest_text(&v->digest, digest);
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "model", v->model);
    json_put_int(o, "number", v->number);
    json_put_str(o, "digest", digest);
    json_put_str(o, "state", v->state);
    svc_put_time(o, "pushed", v->created_ns);
    json_put_str(o, "by", v->pushed_by);
    json_put_int(o, "files", v->n_files);
    json_put_int(o, "bytes", v->size_bytes);
    return o;
}

void
svc_put_slice(cJSON *o, const char *key_or_null, struct str s)
{
    char *text AUTO(free_ptr) = str_dup(s);
    json_put_str(o, key_or_null, text);
}

cJSON *
svc_add_named(cJSON *list, const char *key, struct str name)
{
    cJSON *o = cJSON_CreateObject();
    svc_put_slice(o, key, name);
    cJSON_AddItemToArray(list, o);
    return o;
}

int
svc_dir_open(struct svc_call *c, struct svc_dir *out, struct err *err)
{
    *out = (struct svc_dir){ .path = svc_str(c, "dir") };
    const char *ref = svc_str(c, "ref");
    bool is_frozen = svc_str(c, "graph_def") != NULL;
    out->name = is_frozen ? svc_str(c, "graph_def") : ref ? c->object : out->path;
    if (!!ref + !!out->path + is_frozen != 1)
        return err_set(err, ERR_USAGE, "%s needs either --dir DIR or a version",
                       c->verb->name);
    if (!is_frozen && svc_str(c, "outputs"))
        return err_set(err, ERR_USAGE, "--outputs goes with --graph_def");
    if (is_frozen)
        return svc_frozen_open(c, out, err);
    struct repo_version v;
    struct stat st;
    if (!ref && stat(out->path, &st) == 0 && S_ISREG(st.st_mode))
        return err_set(err, ERR_USAGE,
                       "%s is a file: --dir takes the directory that it is in",
                       out->path);
    if (!ref)
        return 0;
    if (svc_version(c, &v, err) < 0 ||
        repo_view_open(c->repo, &v.digest, &out->view, err) < 0)
        return -(int)err->code;
    out->path = out->view.path;
    return 0;
}

int
svc_any_open(struct svc_call *c, const char *field, struct svc_dir *out,
             struct err *err)
{
    struct repo_version v;
    const char *text = svc_str(c, field);
    *out = (struct svc_dir){ .path = text };
    if (svc_is_path(text))
        return 0;
    if (svc_resolve(c, text, ACC_READ, &v, err) < 0)
        return hint_path(c->s, text, false, err);
    if (repo_view_open(c->repo, &v.digest, &out->view, err) < 0)
        return -(int)err->code;
    out->path = out->view.path;
    svc_about(c, &v);
    return 0;
}

void
svc_dir_close(struct svc_dir *d)
{
    if (d->view.path)
        repo_view_close(&d->view);
    struct err err = ERR_INIT;
    if (d->scratch && fs_remove_tree(AT_FDCWD, d->scratch, &err) < 0)
        err_clear(&err); /* it is in the system's place for such things */
    free(d->scratch);
    d->scratch = NULL;
}
