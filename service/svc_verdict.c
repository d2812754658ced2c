/* SPDX-License-Identifier: Apache-2.0 */
/* verdict show, verdict export, replay */
#include "service/svc_int.h"

#include "base/fs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which one ------------------------------------------------------------------ */

static int
take_first(void *arg, const struct val_verdict *v, struct err *err)
{
    int64_t *id = arg;

    (void)err;
    if (*id == 0)
        *id = v->id;
    return 0;
}

/* A number says nothing of whose verdict it is: what the caller may not read is not
 * there. */
static int
may_see(struct svc_call *c, int64_t id, const struct repo_version *v, struct err *err)
{
    int may = svc_shows(c, acc_model(v->model), err);
    return may != 0 ? (may < 0 ? may : 0)
                    : err_set(err, ERR_NOTFOUND, VAL_NO_VERDICT, id);
}

/* Field `verdict` is a verdict's number, or a version: the newest one on it. */
static int
find(struct svc_call *c, struct val_verdict *out, struct repo_version *v,
     struct err *err)
{
    const char *text = svc_str(c, "verdict");
    int64_t id = 0;

    *out = (struct val_verdict){ .id = 0 };
    if (strspn(text, "0123456789") == strlen(text) && strlen(text) < 19) {
        id = strtoll(text, NULL, 10);
    } else {
        if (svc_resolve(c, text, ACC_READ, v, err) < 0 ||
            val_verdicts(c->repo, v->id, take_first, &id, err) < 0)
            return -(int)err->code;
        if (id == 0)
            return err_set(err, ERR_NOTFOUND,
                           "%s@%lld has no verdict: sluice validate %s@%lld", v->model,
                           (long long)v->number, v->model, (long long)v->number);
    }
    if (val_verdict_get(c->repo, id, out, err) < 0 ||
        repo_version_get(c->repo, out->version_id, v, err) < 0 ||
        may_see(c, id, v, err) < 0)
        return -(int)err->code;
    svc_about(c, v);
    return 0;
}

static int
put_head(struct svc_call *c, const struct val_verdict *found, struct err *err)
{
    struct buf pae AUTO(buf_release) = BUF_INIT;
    int good = 0;

    if (found->is_signed) {
        val_statement_pae(found, &pae);
        good = acc_signed(c->repo->acc, pae.data, pae.len, found->signature, NULL, err);
    }
    json_put_int(c->reply, "id", found->id);
    json_put_str(c->reply, "version", c->object);
    json_put_str(c->reply, "signature",
                 good > 0           ? "good"
                 : found->is_signed ? "bad"
                                    : "none");
    svc_put_time(c->reply, "time", found->created_ns);
    return good < 0 ? good : 0;
}

static int
read_doc(const struct val_verdict *v, cJSON **doc, struct err *err)
{
    if (json_parse(doc, str_of(v->report_json), "verdict", err) < 0)
        return -(int)err->code;
    if (!json_has(*doc, "verdict"))
        return err_set(err, ERR_UNSUPPORTED,
                       "verdict %lld is of an older form: sluice validate makes a new "
                       "one",
                       (long long)v->id);
    return 0;
}

/* ---- verbs ---------------------------------------------------------------------- */

int
svc_do_verdict_show(struct svc_call *c, struct err *err)
{
    struct val_verdict found AUTO(val_verdict_release) = { .id = 0 };
    cJSON *doc AUTO(json_free) = NULL;
    struct repo_version v;

    if (find(c, &found, &v, err) < 0 || put_head(c, &found, err) < 0 ||
        read_doc(&found, &doc, err) < 0)
        return -(int)err->code;
    cJSON_AddItemToObject(c->reply, "document", doc);
    doc = NULL;
    if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(c->reply, "signature")),
               "bad") == 0)
        return err_set(err, ERR_FAILED,
                       "verdict %lld: its signature is not this store's: it was "
                       "changed, or the store's key was; sluice audit verify",
                       (long long)found.id);
    return 0;
}

/* The answer of diff, as if it had been asked; NULL when the two are one. */
static int
compare(struct svc_call *c, const char *with, cJSON **out, struct err *err)
{
    cJSON *req AUTO(json_free) = cJSON_CreateObject();
    struct svc_call diff = *c;
    int r;

    json_put_str(req, "a", with);
    json_put_str(req, "b", c->object);
    diff.req = req;
    diff.reply = cJSON_CreateObject();
    r = svc_do_diff(&diff, err);
    if (r < 0 && err->code == ERR_FAILED) { /* they differ: as was to be expected */
        err_clear(err);
        r = 0;
    }
    json_put_str(diff.reply, "with", with);
    *out = diff.reply;
    return r < 0 ? err_ctx(err, "--against %s", with) : 0;
}

int
svc_do_verdict_export(struct svc_call *c, struct err *err)
{
    struct val_verdict found AUTO(val_verdict_release) = { .id = 0 };
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *doc AUTO(json_free) = NULL, *compared AUTO(json_free) = NULL;
    const char *form = svc_str(c, "format"), *out = svc_str(c, "out");
    struct repo_version v;
    int r;

    form = form ? form : "json";
    if (find(c, &found, &v, err) < 0 || put_head(c, &found, err) < 0 ||
        read_doc(&found, &doc, err) < 0 ||
        (svc_str(c, "against") &&
         compare(c, svc_str(c, "against"), &compared, err) < 0))
        return -(int)err->code;
    r = strcmp(form, "dsse") == 0 ? val_envelope(c->repo, &found, &text, err)
                                  : val_export(doc, compared, form, &text, err);
    if (r < 0)
        return r;
    json_put_str(c->reply, "format", form);
    if (!out) {
        json_put_str(c->reply, "text", buf_str(&text));
        return 0;
    }
    json_put_str(c->reply, "out", out);
    return fs_replace(AT_FDCWD, out, text.data, text.len, 0644, err);
}

struct wanted_set {
    const struct val_verdict *verdict;
    struct val_set set;
    bool found;
};

static int
same_set(void *arg, const struct val_set *s, struct err *err)
{
    struct wanted_set *w = arg;

    (void)err;
    if (digest_eq(&s->digest, &w->verdict->set_digest) &&
        strcmp(s->name, w->verdict->set_name) == 0) {
        w->set = *s;
        w->found = true;
    }
    return 0;
}

/* What was asked for then, as the document tells. */
static int
ask_again(struct svc_call *c, const cJSON *doc, const struct repo_version *v,
          struct repo_version *base, struct val_ask *out, struct err *err)
{
    const cJSON *beside = cJSON_GetObjectItemCaseSensitive(doc, "baseline");

    *out =
        (struct val_ask){ .budgets = cJSON_GetObjectItemCaseSensitive(doc, "budgets") };
    if (!beside)
        return 0;
    out->beside.max_flips = val_number(beside, "max_flips");
    out->beside.max_shift = val_number(beside, "max_shift");
    if (json_str(beside, "ref", NULL, &out->baseline_ref, "baseline", err) < 0 ||
        json_bool(beside, "optional", false, &out->beside.optional, "baseline", err) <
            0)
        return -(int)err->code;
    if (json_has(beside, "number")) { /* what the ref named then */
        char *ref AUTO(free_ptr) =
            xasprintf("%s@%.0f", v->model, val_number(beside, "number"));

        if (repo_resolve(c->repo, ref, base, err) < 0)
            return err_ctx(err, "the baseline");
        out->baseline = base;
    }
    return 0;
}

/* The same backend, as it was named. A program of a verdict's maker runs as whoever
 * replays it: only for who may judge. */
static int
backend_again(struct svc_call *c, const cJSON *doc, const struct repo_version *v,
              struct backend_ops *out, struct err *err)
{
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(doc, "backend");
    const char *kind, *where;

    if (json_str(o, "kind", "native", &kind, "backend", err) < 0 ||
        json_str(o, "where", "", &where, "backend", err) < 0)
        return -(int)err->code;
    char *spec AUTO(free_ptr) = xasprintf(
        "%s%s", strcmp(kind, "exec") == 0 ? "exec:" : "", where[0] ? where : "native");
    if (val_backend(spec, out, err) < 0)
        return -(int)err->code;
    if (!where[0])
        return 0;
    out->where = where;
    if (c->s->who && strcmp(kind, "exec") == 0)
        return err_set(err, ERR_DENIED,
                       "replay by '%s': no program is run for who is elsewhere; where "
                       "the store is, it can be",
                       where);
    if (c->s->who && svc_allow(c, ACC_ADMIN, acc_store(), err) < 0)
        return err_ctx(err, "replay: '%s' makes the service's machine ask elsewhere",
                       where);
    return acc_check(c->repo->acc, ACC_JUDGE, acc_model(v->model), err) < 0
               ? err_ctx(err, "replay by %s of '%s'", kind, where)
               : 0;
}

/* Stores nothing: what stands, stands. The set may have been replaced since. */
int
svc_do_replay(struct svc_call *c, struct err *err)
{
    struct val_verdict was AUTO(val_verdict_release) = { .id = 0 };
    struct val_verdict is AUTO(val_verdict_release) = { .id = 0 };
    cJSON *a AUTO(json_free) = NULL, *b AUTO(json_free) = NULL;
    struct wanted_set w = { .verdict = &was };
    struct repo_version v, base;
    struct backend_ops ops;
    struct val_ask ask;
    int n;

    if (find(c, &was, &v, err) < 0 || put_head(c, &was, err) < 0 ||
        read_doc(&was, &a, err) < 0 ||
        val_sets(c->repo, v.model, v.id, same_set, &w, err) < 0)
        return -(int)err->code;
    if (!w.found) { /* replaced: its bytes are kept all the same */
        w.set = (struct val_set){ .acceptance = was.acceptance,
                                  .version_id = was.acceptance ? 0 : v.id,
                                  .digest = was.set_digest };
        snprintf(w.set.model, sizeof(w.set.model), "%s", v.model);
        snprintf(w.set.name, sizeof(w.set.name), "%s", was.set_name);
    }
    if (ask_again(c, a, &v, &base, &ask, err) < 0 ||
        backend_again(c, a, &v, &ops, err) < 0 ||
        val_judge_version(c->repo, &v, &w.set, &ask, &ops, &is, err) < 0 ||
        json_parse(&b, str_of(is.report_json), "verdict", err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "was", val_outcome_text(was.outcome));
    json_put_str(c->reply, "is", val_outcome_text(is.outcome));
    cJSON_DeleteItemFromObject(a, "trace"); /* a note, which is not made again */
    n = val_document_diff(a, b, cJSON_AddArrayToObject(c->reply, "differences"));
    if (n > 0)
        return err_set(err, ERR_FAILED, "verdict %lld: %d difference%s",
                       (long long)was.id, n, n == 1 ? "" : "s");
    return 0;
}

void
svc_put_outcome(cJSON *o, const struct val_verdict *v)
{
    json_put_str(o, "verdict", val_outcome_text(v->outcome));
    json_put_str(o, "backend", v->backend);
    svc_put_time(o, "time", v->created_ns);
    json_put_str(o, "by", v->made_by);
    cJSON *report = v->report_json ? cJSON_Parse(v->report_json) : NULL;
    if (report)
        cJSON_AddItemToObject(o, "report", report);
}
