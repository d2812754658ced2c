/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a version, and what state it is in:
 * tag untag note attach detach attachments accept reject */
#include "deploy/deploy.h"
#include "service/svc_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- as JSON ---- */

static int
add_tag(void *arg, const struct repo_said *s, struct err *err)
{
    (void)err;
    json_put_str(arg, s->key, s->text);
    return 0;
}

int
svc_put_tags(struct svc_call *c, cJSON *to, int64_t version_id, struct err *err)
{
    return repo_tags(c->repo, version_id, add_tag, cJSON_AddObjectToObject(to, "tags"),
                     err);
}

/* {"time", "by"}, which all of them have. */
static cJSON *
add_said(cJSON *list, const struct repo_said *s)
{
    cJSON *o = cJSON_CreateObject();
    svc_put_time(o, "time", s->time_ns);
    json_put_str(o, "by", s->actor);
    cJSON_AddItemToArray(list, o);
    return o;
}

static int
add_note(void *arg, const struct repo_said *s, struct err *err)
{
    (void)err;
    json_put_str(add_said(arg, s), "text", s->text);
    return 0;
}

static int
add_push(void *arg, const struct repo_said *s, struct err *err)
{
    cJSON *provenance;
    if (json_parse(&provenance, str_of(s->text), "provenance", err) < 0)
        return -(int)err->code;
    cJSON_AddItemToObject(add_said(arg, s), "provenance", provenance);
    return 0;
}

static int
add_attachment(void *arg, const struct repo_said *s, struct err *err)
{
    (void)err;
    char digest[REPO_DIGEST_BYTES];
    repo_digest_text(&s->digest, digest);
    cJSON *o = add_said(arg, s);
    json_put_str(o, "type", s->key);
    json_put_str(o, "name", s->text);
    json_put_int(o, "bytes", s->size_bytes);
    json_put_str(o, "digest", digest);
    return 0;
}

int
svc_put_said(struct svc_call *c, cJSON *to, const struct repo_version *v,
             struct err *err)
{
    struct buf why AUTO(buf_release) = BUF_INIT;
    if (repo_version_why(c->repo, v->id, &why, err) < 0)
        return -(int)err->code;
    if (why.len)
        json_put_str(to, "state_reason", buf_str(&why));
    if (svc_put_tags(c, to, v->id, err) < 0 ||
        repo_notes(c->repo, v->id, add_note, cJSON_AddArrayToObject(to, "notes"), err) <
            0 ||
        repo_pushes(c->repo, v->id, add_push,
                    cJSON_AddArrayToObject(to, "pushed_again"), err) < 0)
        return -(int)err->code;
    return repo_attachments(c->repo, v->id, NULL, add_attachment,
                            cJSON_AddArrayToObject(to, "attachments"), err);
}

/* The version that is meant, looked at under the write lock. */
static int
begin(struct svc_call *c, struct repo_version *v, struct err *err)
{
    if (db_begin(c->repo->db, err) < 0 || svc_version(c, v, err) < 0)
        return -(int)err->code;
    return 0;
}

/* The reply of who changed something: the version as it is now. */
static void
reply_version(struct svc_call *c, const struct repo_version *v)
{
    cJSON_Delete(c->reply);
    c->reply = svc_version_json(v);
}

static int
commit_tags(struct svc_call *c, const struct repo_version *v, struct err *err)
{
    reply_version(c, v);
    return svc_put_tags(c, c->reply, v->id, err) < 0 ? -(int)err->code
                                                     : svc_commit(c, err);
}

/* ---- tags and notes ---- */

int
svc_do_tag(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, "tags");
    cJSON *tags = cJSON_AddObjectToObject(c->body, "tags");
    if (begin(c, &v, err) < 0)
        return -(int)err->code;
    for (const cJSON *e = list->child; e; e = e->next) {
        char key[REPO_TAG_KEY_MAX + 1];
        const char *value;
        if (repo_tag_parse(e->valuestring, key, &value, err) < 0)
            return -(int)err->code;
        if (json_has(tags, key))
            return err_set(err, ERR_USAGE, "tag: '%s' is named twice", key);
        if (repo_tag_set(c->repo, v.id, key, value, err) < 0)
            return -(int)err->code;
        json_put_str(tags, key, value);
    }
    return commit_tags(c, &v, err);
}

int
svc_do_untag(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, "keys");
    cJSON *removed = cJSON_AddArrayToObject(c->body, "removed");
    if (begin(c, &v, err) < 0)
        return -(int)err->code;
    for (const cJSON *e = list->child; e; e = e->next) {
        int was = repo_tag_remove(c->repo, v.id, e->valuestring, err);
        if (was < 0)
            return was;
        if (!was)
            return err_set(err, ERR_NOTFOUND, "%s has no tag '%s'; nothing was removed",
                           c->object, e->valuestring);
        cJSON_AddItemToArray(removed, cJSON_CreateString(e->valuestring));
    }
    return commit_tags(c, &v, err);
}

int
svc_do_note(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    const char *text = svc_str(c, "text");
    if (begin(c, &v, err) < 0 || repo_note_add(c->repo, v.id, text, err) < 0)
        return -(int)err->code;
    json_put_str(c->body, "note", text);
    reply_version(c, &v);
    json_put_str(c->reply, "note", text);
    return svc_commit(c, err);
}

/* ---- attachments ---- */

static void
put_attachment(cJSON *to, const char *type, const char *name, const struct repo_blob *b)
{
    char digest[REPO_DIGEST_BYTES];
    repo_digest_text(&b->digest, digest);
    json_put_str(to, "type", type);
    json_put_str(to, "name", name);
    json_put_int(to, "attached_bytes", b->size_bytes);
    json_put_str(to, "attachment", digest);
}

static int
attach(struct svc_call *c, const struct repo_blob *b, const char *name, struct err *err)
{
    const char *type = svc_str(c, "type");
    struct repo_version v;
    int r = svc_key_find(c, &b->digest, 1, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (begin(c, &v, err) < 0)
        return -(int)err->code;
    int is_new = repo_attach(c->repo, v.id, type, name, b, svc_flag(c, "replace"), err);
    if (is_new < 0)
        return err_ctx(err, "attach to %s", c->object);
    put_attachment(c->body, type, name, b);
    json_put_bool(c->body, "new", is_new);
    reply_version(c, &v);
    put_attachment(c->reply, type, name, b);
    json_put_bool(c->reply, "new", is_new);
    return svc_commit(c, err);
}

int
svc_do_attach(struct svc_call *c, struct err *err)
{
    const char *file = svc_str(c, "file"), *slash = strrchr(file, '/');
    const char *name = svc_str(c, "name") ? svc_str(c, "name")
                       : slash            ? slash + 1
                                          : file;
    struct repo_version v;
    struct repo_blob b;
    int64_t mib;
    /* before the file is read: a wrong name should not cost a copy */
    if (repo_check_attachment_name(name, err) < 0 || svc_version(c, &v, err) < 0 ||
        repo_check_attachment_type(svc_str(c, "type"), err) < 0 ||
        repo_setting_int(c->repo, "attachment_mib", &mib, err) < 0 ||
        repo_blob_put(c->repo, file, mib << 20, &b, err) < 0)
        return -(int)err->code;
    int r = attach(c, &b, name, err);
    if (r < 0) {
        db_rollback(c->repo->db);
        repo_blob_drop(c->repo, &b);
    }
    return r;
}

/* Finds the one that is meant by a type and perhaps a name. */
struct pick {
    const char *name; /* NULL: the only one */
    char *found;
    struct buf all;
    int n;
};

static int
pick(void *arg, const struct repo_said *s, struct err *err)
{
    (void)err;
    struct pick *p = arg;
    buf_addf(&p->all, "%s%s/%s", p->all.len ? ", " : "", s->key, s->text);
    if (p->name && strcmp(p->name, s->text) != 0)
        return 0;
    free(p->found);
    p->found = xstrdup(s->text);
    p->n++;
    return 0;
}

static void
pick_release(struct pick *p)
{
    free(p->found);
    buf_release(&p->all);
}

int
svc_do_detach(struct svc_call *c, struct err *err)
{
    struct pick p AUTO(pick_release) = { .name = svc_str(c, "name") };
    const char *type = svc_str(c, "type");
    struct repo_version v;
    if (begin(c, &v, err) < 0 ||
        repo_attachments(c->repo, v.id, type, pick, &p, err) < 0)
        return -(int)err->code;
    if (p.n == 0)
        return err_set(err, ERR_NOTFOUND, "%s has no attachment %s%s%s; it has %s",
                       c->object, type, p.name ? "/" : "", p.name ? p.name : "",
                       p.all.len ? buf_str(&p.all) : "none of that type");
    if (p.n > 1)
        return err_set(err, ERR_CONFLICT, "%s has several: %s; name one", c->object,
                       buf_str(&p.all));
    if (repo_detach(c->repo, v.id, type, p.found, err) < 0)
        return -(int)err->code;
    json_put_str(c->body, "type", type);
    json_put_str(c->body, "name", p.found);
    reply_version(c, &v);
    json_put_str(c->reply, "type", type);
    json_put_str(c->reply, "name", p.found);
    return svc_commit(c, err);
}

/* Writes those of the list into a directory. */
static int
write_out(struct svc_call *c, const cJSON *list, const char *dir, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    int there = fs_exists(AT_FDCWD, dir, err);
    if (there < 0)
        return there;
    if (!there)
        c->made = xstrdup(dir);
    if (fs_mkdirs(AT_FDCWD, dir, 0755, err) < 0 ||
        fs_open_dir(&fd, AT_FDCWD, dir, err) < 0)
        return -(int)err->code;
    for (cJSON *e = list->child; e; e = e->next) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(e, "name"));
        const char *hex = cJSON_GetStringValue(cJSON_GetObjectItem(e, "digest"));
        struct buf path AUTO(buf_release) = BUF_INIT;
        struct digest d;
        buf_addf(&path, "%s/%s", dir, name);
        if (!digest_parse(str_of(hex + strlen("sha256:")), &d))
            BUG("%s is no digest", hex);
        if (repo_blob_copy(c->repo, &d, fd, name, err) < 0)
            return err_ctx(err, "%s", dir);
        json_put_str(e, "path", buf_str(&path));
    }
    return fs_fsync_dir(fd, ".", err);
}

int
svc_do_attachments(struct svc_call *c, struct err *err)
{
    const char *type = svc_str(c, "type"), *out = svc_str(c, "out");
    struct repo_version v;
    if (svc_version(c, &v, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "version", c->object);
    cJSON *list = cJSON_AddArrayToObject(c->reply, "attachments");
    if (repo_attachments(c->repo, v.id, type, add_attachment, list, err) < 0)
        return -(int)err->code;
    if (!list->child && (type || out))
        return err_set(err, ERR_NOTFOUND, "%s has no attachment%s%s", c->object,
                       type ? " of type " : "", type ? type : "");
    return out ? write_out(c, list, out, err) : 0;
}

/* ---- states ---- */

static int
set_state(struct svc_call *c, struct repo_version *v, const char *state,
          struct err *err)
{
    json_put_str(c->body, "from", v->state);
    if (repo_version_set_state(c->repo, v, state, svc_str(c, "reason"), err) < 0)
        return -(int)err->code;
    json_put_str(c->body, "state", state);
    reply_version(c, v);
    json_put_bool(c->reply, "changed", true);
    return svc_commit(c, err);
}

/* What is so already is done: the call may be one that is made again. */
static int
as_before(struct svc_call *c, const struct repo_version *v, struct err *err)
{
    json_put_str(c->body, "state", v->state);
    json_put_bool(c->body, "changed", false);
    reply_version(c, v);
    json_put_bool(c->reply, "changed", false);
    return svc_commit(c, err);
}

int
svc_do_accept(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    cJSON *checks = NULL;
    bool unchecked = svc_flag(c, "unchecked");
    if (begin(c, &v, err) < 0)
        return -(int)err->code;
    if (strcmp(v.state, "ready") == 0)
        return as_before(c, &v, err);
    if (strcmp(v.state, "quarantined") != 0)
        return err_set(err, ERR_REFUSED,
                       "%s is %s, and only what is quarantined can be accepted%s",
                       c->object, v.state,
                       strcmp(v.state, "rejected") == 0
                           ? ": sluice push --again makes a new version of its bytes"
                           : "");
    /* Who pushes may let out what passes; to waive the exam is its owner's. */
    if (unchecked && !svc_str(c, "reason"))
        return err_set(err, ERR_USAGE, "accept --unchecked needs --reason TEXT");
    int r = unchecked ? acc_check(c->repo->acc, ACC_JUDGE, acc_model(v.model), err)
                      : val_checks(c->repo, &v, &checks, err);
    if (checks)
        cJSON_AddItemToObject(c->body, "checks", checks);
    if (r < 0) {
        if (checks)
            cJSON_AddItemToObject(c->reply, "checks", cJSON_Duplicate(checks, true));
        return r;
    }
    json_put_bool(c->body, "unchecked", unchecked);
    r = set_state(c, &v, "ready", err);
    if (r >= 0 && checks)
        cJSON_AddItemToObject(c->reply, "checks", cJSON_Duplicate(checks, true));
    return r;
}

int
svc_do_reject(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    struct buf alias AUTO(buf_release) = BUF_INIT;
    if (begin(c, &v, err) < 0)
        return -(int)err->code;
    if (strcmp(v.state, "rejected") == 0)
        return as_before(c, &v, err);
    if (strcmp(v.state, "deleted") == 0)
        return err_set(err, ERR_NOTFOUND, "%s is deleted", c->object);
    if (!svc_str(c, "reason")[0])
        return err_set(err, ERR_USAGE, "reject: say why (--reason TEXT)");
    int live = deploy_has_traffic(c->repo, v.id, &alias, err);
    if (live < 0)
        return live;
    if (live)
        return err_set(err, ERR_CONFLICT,
                       "%s has traffic on %s: take that first (sluice rollback %s@%s, "
                       "or promote another)",
                       c->object, buf_str(&alias), v.model, buf_str(&alias));
    return set_state(c, &v, "rejected", err);
}
