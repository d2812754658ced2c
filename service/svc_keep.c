/* SPDX-License-Identifier: Apache-2.0 */
/* fsck backup restore */
#include "deploy/deploy.h"
#include "repo/keep.h"
#include "service/svc_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- fsck: what a finding concerns ----------------------------------------------- */

struct fsck {
    struct svc_call *c;
    cJSON *problems, *findings;
    int64_t n_bad, n_repaired;
};

enum { USES_SHOWN = 8 };
struct uses {
    struct svc_call *c;
    cJSON *list; /* of the finding */
    struct buf text;
    int n;
};

static int
add_target_name(void *arg, const struct deploy_target *t, struct err *err)
{
    (void)err;
    struct buf *out = arg;
    buf_addf(out, ", target %s", t->name);
    return 0;
}

struct alias_names {
    struct svc_call *c;
    struct buf *out;
};

static int
add_alias_name(void *arg, const char *alias, struct err *err)
{
    struct alias_names *a = arg;
    buf_addf(a->out, "%salias %s", a->out->len ? ", " : "", alias);
    return deploy_targets(a->c->repo, alias, add_target_name, a->out, err);
}

static int
add_use(void *arg, const struct repo_version *v, const char *path, struct err *err)
{
    struct uses *u = arg;
    struct buf where AUTO(buf_release) = BUF_INIT;
    struct alias_names names = { u->c, &where };
    if (u->n++ >= USES_SHOWN)
        return 0;
    if (repo_aliases(u->c->repo, v->id, add_alias_name, &names, err) < 0)
        return -(int)err->code;
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "model", v->model);
    json_put_int(o, "number", v->number);
    json_put_str(o, "path", path);
    json_put_str(o, "shown_by", buf_str(&where));
    cJSON_AddItemToArray(u->list, o);
    buf_addf(&u->text, "%s%s of %s@%" PRId64 "%s", u->n > 1 ? "; " : "",
             path[0] ? path : "the manifest", v->model, v->number,
             where.len ? " (" : "");
    buf_adds(&u->text, buf_str(&where));
    buf_adds(&u->text, where.len ? ")" : "");
    return 0;
}

static int
add_finding(void *arg, const struct repo_finding *f, struct err *err)
{
    struct fsck *k = arg;
    struct uses uses = { .c = k->c, .text = BUF_INIT };
    struct buf line AUTO(buf_release) = BUF_INIT;
    cJSON *o = cJSON_CreateObject();
    char digest[REPO_DIGEST_BYTES];
    int r = 0;
    json_put_str(o, "kind", f->kind);
    json_put_str(o, "what", f->text);
    buf_adds(&line, f->text);
    if (f->object) {
        repo_digest_text(f->object, digest);
        json_put_str(o, "object", digest);
        uses.list = cJSON_AddArrayToObject(o, "part_of");
        r = repo_object_uses(k->c->repo, f->object, add_use, &uses, err);
        if (uses.n > USES_SHOWN)
            buf_addf(&uses.text, " and %d more", uses.n - USES_SHOWN);
        buf_addf(&line, "; it is %s",
                 uses.n ? buf_str(&uses.text)
                        : "no version's (a golden set's, or unused)");
    }
    if (!f->repaired)
        buf_addf(&line, "; way out: %s", f->way_out);
    json_put_str(o, "way_out", f->repaired ? NULL : f->way_out);
    json_put_bool(o, "repaired", f->repaired);
    k->n_bad += !f->repaired;
    k->n_repaired += f->repaired;
    cJSON_AddItemToArray(k->problems, cJSON_CreateString(buf_str(&line)));
    cJSON_AddItemToArray(k->findings, o);
    buf_release(&uses.text);
    return r;
}

static int add_plain(struct fsck *k, const char *kind, const char *way_out,
                     bool repaired, struct err *err, const char *fmt, ...) PRINTF(6, 7);

static int
add_plain(struct fsck *k, const char *kind, const char *way_out, bool repaired,
          struct err *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct repo_finding f = {
        .kind = kind, .text = text, .way_out = way_out, .repaired = repaired
    };
    return add_finding(k, &f, err);
}

static int
add_target_fault(void *arg, const char *target, const char *what, bool repaired,
                 struct err *err)
{
    return add_plain(arg, "target",
                     "sluice fsck --repair puts the file that was pushed in its place",
                     repaired, err, "target %s: %s", target, what);
}

/* A release that was interrupted, or is under way: the next command on its alias ends
 * it, and until then its links are nobody's fault. */
static bool
is_unfinished(const cJSON *status, const cJSON *alias)
{
    const cJSON *o;
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(status, "unfinished"))
    {
        if (cJSON_Compare(cJSON_GetObjectItem(o, "alias"),
                          cJSON_GetObjectItem(alias, "alias"), true))
            return true;
    }
    return false;
}

/* Links and directories of the targets, as `status` sees them; then their files. */
static int
check_targets(struct fsck *k, bool repair, struct err *err)
{
    cJSON *status AUTO(json_free) = NULL;
    const cJSON *alias, *target, *drift;
    if (deploy_status(k->c->repo, NULL, &status, err) < 0)
        return -(int)err->code;
    cJSON_ArrayForEach(alias, cJSON_GetObjectItem(status, "aliases"))
    {
        if (is_unfinished(status, alias))
            continue;
        cJSON_ArrayForEach(target, cJSON_GetObjectItem(alias, "targets"))
        {
            cJSON_ArrayForEach(drift, cJSON_GetObjectItem(target, "drift"))
            {
                const char *name =
                    cJSON_GetStringValue(cJSON_GetObjectItem(target, "name"));
                if (add_plain(
                        k, "target",
                        "sluice target check --repair, which says what it cannot mend",
                        false, err, "target %s: %s", name, drift->valuestring) < 0)
                    return -(int)err->code;
            }
        }
    }
    return deploy_check_files(k->c->repo, repair, add_target_fault, k, err);
}

static int
check_log(struct fsck *k, struct err *err)
{
    struct acc_verify v;
    struct err found = ERR_INIT;
    int r = acc_verify(k->c->repo->acc, &v, &found);
    if (r == -ERR_FAILED)
        return add_plain(k, "log",
                         "nothing mends a log: keep the store as it is, and compare it "
                         "with a backup's",
                         false, err, "%s", found.msg);
    return r < 0 ? err_set(err, found.code, "%s", found.msg) : 0;
}

#define RATE_MIN_BYTES 10e3 /* less would not end */

/* "50M" a second: bytes. */
static int
parse_rate(const char *text, int64_t *out, struct err *err)
{
    static const char units[] = "kMG";
    char *end;
    double v = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    for (int i = 0; unit && i <= unit - units; i++)
        v *= 1000;
    if (end == text || (*end && (!unit || end[1])) ||
        !(v >= RATE_MIN_BYTES && v < 1e15))
        return err_set(err, ERR_USAGE,
                       "--rate '%s': bytes a second, such as 50M (k, M, G); at least "
                       "10k",
                       text);
    *out = (int64_t)v;
    return 0;
}

struct places {
    char **v;
    int n;
};

static void
places_release(struct places *p)
{
    for (int i = 0; i < p->n; i++)
        free(p->v[i]);
    free(p->v);
}

static int
add_place(void *arg, const struct deploy_target *t, struct err *err)
{
    (void)err;
    struct places *p = arg;
    if (access(t->dir, R_OK) != 0)
        return 0;
    p->v = xreallocarray(p->v, (size_t)p->n + 1, sizeof *p->v);
    p->v[p->n++] = xstrdup(t->dir);
    return 0;
}

/* What --from names, then every target. */
static int
find_places(struct svc_call *c, struct places *out, struct err *err)
{
    const char *from = svc_str(c, "from");
    struct stat st;
    if (from && (access(from, R_OK) != 0 || stat(from, &st) < 0))
        return err_sys(err, errno, "--from %s", from);
    if (from && !S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID,
                       "--from %s is no directory: unpack a tar first, or sluice "
                       "restore it --to DIR",
                       from);
    if (from) {
        out->v = xcalloc(1, sizeof *out->v);
        out->v[out->n++] = xstrdup(from);
    }
    return deploy_targets(c->repo, NULL, add_place, out, err);
}

static int
add_lost(void *arg, const char *what, struct err *err)
{
    (void)err;
    cJSON_AddItemToArray(arg, cJSON_CreateString(what));
    return 0;
}

/* The store has no catalogue that could be opened before this. */
static int
rebuild(struct svc_call *c, struct err *err)
{
    struct buf path AUTO(buf_release) = BUF_INIT;
    struct db_schema schemas[SVC_N_SCHEMAS];
    struct repo_rebuild out = { .set_aside = NULL };
    int n = svc_schemas(schemas);
    cJSON *lost = cJSON_CreateArray();
    if (repo_default_path(c->s->store_path, &path, err) < 0 ||
        repo_rebuild(buf_str(&path), schemas, n, &out, add_lost, lost, err) < 0) {
        cJSON_Delete(lost);
        free(out.set_aside);
        return -(int)err->code;
    }
    cJSON *both[] = { cJSON_AddObjectToObject(c->reply, "rebuilt"), c->body };
    for (int i = 0; i < 2; i++) {
        json_put_int(both[i], "events", out.n_events);
        json_put_int(both[i], "changes", out.n_rows);
        json_put_int(both[i], "versions", out.n_versions);
        json_put_str(both[i], "old_catalogue", out.set_aside);
        cJSON_AddItemToObject(both[i], "lost", i ? cJSON_Duplicate(lost, true) : lost);
    }
    free(out.set_aside);
    return 0;
}

int
svc_do_fsck(struct svc_call *c, struct err *err)
{
    struct places places AUTO(places_release) = { 0 };
    struct repo_check check = { 0 };
    struct repo_fsck how = { .n_threads = (int)svc_int(c, "threads", 0),
                             .repair = svc_flag(c, "repair") };
    bool scrub = svc_flag(c, "scrub");
    int64_t minutes = svc_int(c, "minutes", 7 * 24 * 60);
    if ((json_has(c->req, "minutes") && !scrub) || minutes < 1)
        return err_set(err, ERR_USAGE,
                       "--minutes goes with --scrub, and is at least 1");
    if (svc_str(c, "from") && !how.repair)
        return err_set(err, ERR_USAGE, "--from goes with --repair");
    if (svc_int(c, "threads", 1) < 1)
        return err_set(err, ERR_USAGE, "--threads is at least 1");
    if (svc_str(c, "rate") && parse_rate(svc_str(c, "rate"), &how.rate_bytes, err) < 0)
        return -(int)err->code;
    /* then no catalogue says who may: who owns the files does */
    if (svc_flag(c, "rebuild") && c->s->who)
        return err_set(err, ERR_DENIED,
                       "%s may not rebuild the catalogue through a service: sluice "
                       "fsck --rebuild is for who owns the store, where it lies",
                       c->s->who->subject);
    if (svc_flag(c, "rebuild") && rebuild(c, err) < 0)
        return -(int)err->code;
    if (svc_need_store(c->s, err) < 0)
        return -(int)err->code;
    c->repo = c->s->repo;
    if (svc_allow(c, ACC_ADMIN, acc_store(), err) < 0 ||
        (how.repair && find_places(c, &places, err) < 0))
        return -(int)err->code;
    how.from = (const char *const *)places.v;
    how.n_from = places.n;
    struct db_schema schemas[SVC_N_SCHEMAS];
    how.n_schemas = svc_schemas(schemas);
    how.schemas = schemas;
    how.scrub_ns = scrub ? minutes * 60 * INT64_C(1000000000) : 0;
    struct fsck k = { .c = c,
                      .problems = cJSON_AddArrayToObject(c->reply, "problems"),
                      .findings = cJSON_AddArrayToObject(c->reply, "findings") };
    int r = repo_fsck(c->repo, &how, &check, add_finding, &k, err);
    if (r == -ERR_FAILED) { /* go on: it is said again at the end */
        err_clear(err);
        r = 0;
    }
    if (r >= 0 && !scrub)
        r = check_log(&k, err);
    if (r >= 0 && !scrub)
        r = check_targets(&k, how.repair, err);
    json_put_int(c->reply, "versions", check.n_versions);
    cJSON *both[] = { c->reply, c->body };
    for (int i = 0; i < 2; i++) {
        json_put_int(both[i], "objects", check.n_objects);
        json_put_int(both[i], "bytes", check.n_bytes);
        json_put_int(both[i], "bad", k.n_bad);
        json_put_int(both[i], "repaired", k.n_repaired);
    }
    json_put_int(c->reply, "orphans", check.n_orphans);
    json_put_int(c->reply, "in_stage", check.n_stage);
    json_put_int(c->reply, "in_trash", check.n_trash);
    json_put_int(c->reply, "in_quarantine", check.n_quarantine);
    if (r < 0 || k.n_bad == 0)
        return r;
    return err_set(err, ERR_FAILED, "%s: %" PRId64 " problem%s, the first: %s",
                   c->repo->path, k.n_bad, k.n_bad == 1 ? "" : "s",
                   k.problems->child->valuestring);
}

/* ---- backup, restore ------------------------------------------------------------- */

static void
put_backup(cJSON *o, const struct repo_backup *b)
{
    json_put_str(o, "generation", b->generation);
    json_put_int(o, "versions", b->n_versions);
    json_put_int(o, "objects", b->n_objects);
    json_put_int(o, "new_objects", b->n_new_objects);
    json_put_int(o, "new_bytes", b->new_bytes);
    json_put_bool(o, "has_key", b->has_key);
}

static int
add_problem(void *arg, const char *problem, struct err *err)
{
    (void)err;
    cJSON_AddItemToArray(arg, cJSON_CreateString(problem));
    return 0;
}

int
svc_do_backup(struct svc_call *c, struct err *err)
{
    const char *dest = svc_str(c, "dest");
    struct repo_backup b;
    json_put_str(c->body, "dest", dest);
    json_put_str(c->reply, "dest", dest);
    if (svc_flag(c, "verify")) {
        struct db_schema schemas[SVC_N_SCHEMAS];
        int n_generations, n = svc_schemas(schemas);
        int r = repo_backup_verify(dest, schemas, n, &b, &n_generations, add_problem,
                                   cJSON_AddArrayToObject(c->reply, "problems"), err);
        json_put_bool(c->body, "verify", true);
        json_put_int(c->reply, "generations", n_generations);
        json_put_int(c->reply, "objects", b.n_objects);
        json_put_str(c->reply, "newest", b.generation);
        return r;
    }
    if (repo_backup(c->repo, dest, svc_flag(c, "with_key"), &b, err) < 0)
        return -(int)err->code;
    put_backup(c->reply, &b);
    put_backup(c->body, &b);
    return 0;
}

int
svc_do_restore(struct svc_call *c, struct err *err)
{
    struct db_schema schemas[SVC_N_SCHEMAS];
    struct repo_backup b;
    bool new_key;
    int n = svc_schemas(schemas);
    const char *from = svc_str(c, "backup"), *to = svc_str(c, "to");
    if (repo_restore(from, svc_str(c, "generation"), to, svc_str(c, "key"), schemas, n,
                     &b, &new_key, err) < 0 ||
        repo_open(&c->s->repo, to, schemas, n, err) < 0)
        return -(int)err->code;
    c->repo = c->s->repo; /* the restored log goes on with this event */
    cJSON *both[] = { c->reply, c->body };
    for (int i = 0; i < 2; i++) {
        json_put_str(both[i], "backup", from);
        json_put_str(both[i], "store", to);
        json_put_str(both[i], "generation", b.generation);
        json_put_int(both[i], "versions", b.n_versions);
        json_put_int(both[i], "objects", b.n_objects);
        json_put_bool(both[i], "new_key", new_key);
    }
    return 0;
}
