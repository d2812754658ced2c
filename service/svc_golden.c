/* SPDX-License-Identifier: Apache-2.0 */
/* golden add, list, show, export, delete */
#include "service/svc_int.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- checks before anything is stored ---- */

/* A model that cannot be read is for push to tell. */
static int
check_fits(const struct val_golden *g, const char *model_dir, struct err *err)
{
    struct stat st;
    if (!model_dir || stat(model_dir, &st) < 0 || !S_ISDIR(st.st_mode))
        return 0;
    int r = val_golden_fits(g, model_dir, err);
    if (r == 0 || err->code == ERR_INVALID || err->code == ERR_NOTFOUND)
        return r;
    err_clear(err);
    return 0;
}

int
svc_golden_check(const char *dir, bool acceptance, const char *model_dir,
                 const char *beside, struct err *err)
{
    struct val_golden g AUTO(val_golden_release) = { 0 };
    if (val_golden_load(&g, dir, err) < 0)
        return -(int)err->code;
    if (g.acceptance == acceptance)
        return check_fits(&g, model_dir, err) < 0 ? err_ctx(err, "%s%s", beside, dir)
                                                  : 0;
    if (acceptance)
        return err_set(
            err, ERR_INVALID,
            "%s is an export set; it travels with a version: sluice push DIR "
            "MODEL --golden %s",
            dir, dir);
    return err_set(err, ERR_INVALID,
                   "%s is an acceptance set, and who pushes a model does not write its "
                   "exam; its owner adds it: sluice golden add MODEL %s --name NAME",
                   dir, dir);
}

/* 1: the newest ready version of field `model`, 0: it has none yet. */
static int
newest(struct svc_call *c, struct repo_version *out, struct err *err)
{
    int r = repo_resolve(c->repo, svc_str(c, "model"), out, err);
    if (r == 0)
        return 1;
    if (err->code != ERR_NOTFOUND)
        return r;
    err_clear(err);
    return 0;
}

/* *checked: there was a version to hold it against. */
static int
check_exam(struct svc_call *c, bool *checked, struct err *err)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct repo_version v;
    int r = svc_flag(c, "unchecked") ? 0 : newest(c, &v, err);
    if (r == 1)
        r = repo_view_open(c->repo, &v.digest, &view, err) < 0 ? -(int)err->code : 1;
    if (r < 0)
        return r;
    char *beside AUTO(free_ptr) =
        r ? xasprintf("beside %s@%lld (--unchecked: for a version to come): ", v.model,
                      (long long)v.number)
          : xstrdup("");
    *checked = r;
    return svc_golden_check(svc_str(c, "dir"), true, r ? view.path : NULL, beside, err);
}

/* ---- replies ---- */

void
svc_put_set(cJSON *obj, const struct val_set *set)
{
    char digest[REPO_DIGEST_BYTES];
    repo_digest_text(&set->digest, digest);
    json_put_str(obj, "name", set->name);
    json_put_str(obj, "kind", set->acceptance ? "acceptance" : "export");
    json_put_str(obj, "digest", digest);
    json_put_int(obj, "number", set->number);
    json_put_str(obj, "owner", set->owner);
    if (set->recorded[0])
        json_put_str(obj, "recorded", set->recorded);
}

static int
put_row(struct svc_call *c, cJSON *o, const struct val_set *s, struct err *err)
{
    struct repo_version v;
    svc_put_set(o, s);
    if (s->version_id && repo_version_get(c->repo, s->version_id, &v, err) < 0)
        return -(int)err->code;
    if (s->version_id)
        json_put_int(o, "version", v.number);
    svc_put_time(o, "added", s->created_ns);
    json_put_str(o, "by", s->added_by);
    json_put_bool(o, "counts", s->replaced_ns == 0);
    if (s->replaced_ns)
        svc_put_time(o, "until", s->replaced_ns);
    return 0;
}

/* ---- add, delete ---- */

int
svc_do_golden_add(struct svc_call *c, struct err *err)
{
    const char *dir = svc_str(c, "dir"), *model = svc_str(c, "model");
    const char *owner = svc_str(c, "owner");
    struct svc_taken files AUTO(svc_taken_end) = { 0 };
    struct val_set set;
    bool checked = false;
    if (repo_check_alias_name(svc_str(c, "name"), err) < 0)
        return err_ctx(err, "golden add: --name");
    if ((owner && acc_check_subject(c->repo->acc, owner, err) < 0) ||
        check_exam(c, &checked, err) < 0 ||
        svc_take_dir(c, dir, false, &files, err) < 0)
        return err_ctx(err, "golden add");
    int known = svc_key_find(c, &files.in.manifest.digest, 1, err);
    if (known != 0)
        return known < 0 ? known : 0;
    if (db_begin(c->repo->db, err) < 0 ||
        val_set_add(c->repo, model, NULL, svc_str(c, "name"), &files.in, true, owner,
                    &set, err) < 0)
        return err_ctx(err, "golden add %s", dir);
    json_put_str(c->reply, "model", model);
    json_put_bool(c->reply, "checked", checked);
    svc_put_set(c->reply, &set);
    svc_put_set(c->body, &set);
    repo_digest_text(&set.digest, c->digest);
    if (svc_commit(c, err) < 0)
        return -(int)err->code;
    files.kept = true;
    return 0;
}

int
svc_do_golden_delete(struct svc_call *c, struct err *err)
{
    const char *model = svc_str(c, "model");
    struct val_set set;
    if (db_begin(c->repo->db, err) < 0 ||
        val_set_delete(c->repo, model, svc_str(c, "set"), &set, err) < 0)
        return err_ctx(err, "golden delete");
    json_put_str(c->reply, "model", model);
    svc_put_set(c->reply, &set);
    svc_put_set(c->body, &set);
    repo_digest_text(&set.digest, c->digest);
    return svc_commit(c, err);
}

/* ---- list, show ---- */

struct listing {
    struct svc_call *c;
    cJSON *into;
};

static int
add_set(void *arg, const struct val_set *s, struct err *err)
{
    const struct listing *l = arg;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(l->into, o);
    return put_row(l->c, o, s, err);
}

int
svc_put_sets(struct svc_call *c, const char *model, int64_t version_id, struct err *err)
{
    struct listing l = { c, cJSON_AddArrayToObject(c->reply, "sets") };
    return val_sets(c->repo, model, version_id, add_set, &l, err);
}

int
svc_do_golden_list(struct svc_call *c, struct err *err)
{
    const char *model = svc_str(c, "model");
    int64_t id;
    int found = repo_model_id(c->repo, model, &id, err);
    if (found < 0)
        return found;
    struct listing l = { c, cJSON_AddArrayToObject(c->reply, "sets") };
    int r = svc_flag(c, "all") ? val_sets_all(c->repo, model, add_set, &l, err)
                               : val_sets(c->repo, model, 0, add_set, &l, err);
    /* A model may have its exam before its first version. */
    if (r < 0 || found > 0 || l.into->child)
        return r;
    svc_no_reply(c);
    return err_set(err, ERR_NOTFOUND, "there is no model %s: sluice list shows all",
                   model);
}

int
svc_do_golden_show(struct svc_call *c, struct err *err)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct val_golden g AUTO(val_golden_release) = { 0 };
    struct val_set set;
    if (val_set_find(c->repo, svc_str(c, "model"), svc_str(c, "set"), &set, err) < 0 ||
        val_set_open(c->repo, &set, &view, &g, err) < 0)
        return -(int)err->code;
    repo_digest_text(&set.digest, c->digest);
    json_put_str(c->reply, "model", set.model);
    val_golden_describe(&g, c->reply);
    return put_row(c, c->reply, &set, err);
}

/* ---- export ---- */

/* The version whose signatures say what a set's numbers are. */
static int
signatures_of(struct svc_call *c, const struct val_set *set, struct repo_version *out,
              struct err *err)
{
    int64_t number = svc_int(c, "version", 0);
    if (set->version_id && !number)
        return repo_version_get(c->repo, set->version_id, out, err);
    struct buf ref AUTO(buf_release) = BUF_INIT;
    buf_adds(&ref, set->model);
    if (json_has(c->req, "version"))
        buf_addf(&ref, "@%lld", (long long)number);
    return repo_resolve(c->repo, buf_str(&ref), out, err);
}

/* What is in c->made. */
static void
put_exported(struct svc_call *c, const struct val_set *set)
{
    json_put_str(c->reply, "model", set->model);
    svc_put_set(c->reply, set);
    json_put_str(c->reply, "path", c->made);
}

static int
export_warmup(struct svc_call *c, const struct val_set *set, const char *dest,
              struct err *err)
{
    struct repo_view files AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct repo_view model AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct val_golden g AUTO(val_golden_release) = { 0 };
    struct buf out AUTO(buf_release) = BUF_INIT, dir AUTO(buf_release) = BUF_INIT;
    struct repo_version v;
    int dirfd AUTO(fs_close) = -1;
    if (signatures_of(c, set, &v, err) < 0 ||
        repo_view_open(c->repo, &v.digest, &model, err) < 0 ||
        val_set_open(c->repo, set, &files, &g, err) < 0 ||
        val_golden_warmup(&g, model.path, set->model, &out, err) < 0)
        return -(int)err->code;
    buf_addf(&dir, "%s/assets.extra", dest);
    if (fs_mkdirs(AT_FDCWD, buf_str(&dir), 0777, err) < 0 ||
        fs_open_dir(&dirfd, AT_FDCWD, dest, err) < 0)
        return -(int)err->code;
    if (fs_create(dirfd, SM_WARMUP_FILE, out.data, out.len, 0644, err) < 0)
        return err_ctx(err, "%s: nothing was written over what is there", dest);
    c->made = xasprintf("%s/%s", dest, SM_WARMUP_FILE);
    put_exported(c, set);
    json_put_int(c->reply, "records", g.n_cases);
    return 0;
}

int
svc_do_golden_export(struct svc_call *c, struct err *err)
{
    const char *dest = svc_str(c, "dest");
    struct val_set set;
    if (val_set_find(c->repo, svc_str(c, "model"), svc_str(c, "set"), &set, err) < 0)
        return -(int)err->code;
    repo_digest_text(&set.digest, c->digest);
    if (svc_flag(c, "warmup"))
        return export_warmup(c, &set, dest, err) < 0 ? err_ctx(err, "golden export")
                                                     : 0;
    if (json_has(c->req, "version"))
        return err_set(err, ERR_USAGE, "golden export: --version goes with --warmup");
    if (repo_checkout(c->repo, &set.digest, AT_FDCWD, dest, REPO_COPY, err) < 0)
        return err_ctx(err, "golden export %s", dest);
    c->made = xstrdup(dest);
    put_exported(c, &set);
    return 0;
}
