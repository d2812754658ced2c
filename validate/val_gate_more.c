/* SPDX-License-Identifier: Apache-2.0 */
/* Gates of a policy that look at something else than verdicts. */
#include "base/clock.h"
#include "base/fs.h"
#include "base/http.h"
#include "base/proc.h"
#include "repo/gc.h"
#include "validate/lint.h"
#include "validate/scan.h"
#include "validate/val_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HTTP_SAID_BYTES = 16384 };

struct ask {
    struct repo *r;
    const struct val_gate_args *args;
    const cJSON *rule;
    const struct val_policy_now *policy;
    const char *value; /* of the gate's own key; "" when it is no text */
    struct val_answer *out;
};

void
val_answer_release(struct val_answer *a)
{
    buf_release(&a->wanted);
    buf_release(&a->saw);
    buf_release(&a->fix);
    buf_release(&a->said);
}

int
val_since(struct repo *r, int64_t then_age_ns, int64_t *out_ns, struct err *err)
{
    int64_t now_ns;
    int e = repo_age(r, &now_ns, err);

    *out_ns = then_age_ns < 0 || now_ns < then_age_ns ? -1 : now_ns - then_age_ns;
    return e;
}

static void
add_span(struct buf *out, int64_t ns)
{
    const int64_t s = ns / 1000000000;

    if (s < 120)
        buf_addf(out, "%" PRId64 " s", s);
    else if (s < 7200)
        buf_addf(out, "%" PRId64 " min", s / 60);
    else if (s < 172800)
        buf_addf(out, "%" PRId64 " h", s / 3600);
    else
        buf_addf(out, "%" PRId64 " days", s / 86400);
}

/* ---- what the files say --------------------------------------------------------- */

static int
ask_scan(struct ask *a, struct err *err)
{
    const struct repo_version *v = a->args->version;
    const char *allow = val_text(a->rule, "allow");
    const struct val_scan_options options = { .allow = *allow ? allow : NULL };
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    cJSON *report AUTO(json_free) = NULL;
    double n = 0;

    if (repo_view_open(a->r, &v->digest, &view, err) < 0 ||
        val_scan(&report, view.path, &options, err) < 0 ||
        json_num(report, "n_findings", 0, &n, "scan", err) < 0)
        return -(int)err->code;
    buf_adds(&a->out->wanted, "no finding of scan");
    if (*allow)
        buf_addf(&a->out->wanted, " but %s", allow);
    buf_addf(&a->out->saw, "%.0f finding%s", n, n == 1 ? "" : "s");
    buf_addf(&a->out->fix, "sluice scan %s@%" PRId64 " names them", v->model,
             v->number);
    a->out->ok = n == 0;
    return 0;
}

static int
open_model(const struct repo_view *view, struct sm_model **out,
           const struct sm_meta **meta, struct err *err)
{
    int e = sm_open_path(out, view->path, err);

    return e < 0 ? e : val_lint_meta(*out, NULL, meta, err);
}

static int
ask_signature(struct ask *a, struct err *err)
{
    struct repo_view one AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct repo_view two AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct sm_model *was AUTO(sm_close_p) = NULL, *is AUTO(sm_close_p) = NULL;
    const struct sm_meta *before, *now;
    cJSON *changes AUTO(json_free) = cJSON_CreateArray();
    const struct repo_version *v = a->args->version;
    struct repo_version live;

    buf_adds(&a->out->wanted, "callers of what is live do not break");
    a->out->ok = true;
    if (!a->args->live_version_id) {
        buf_adds(&a->out->saw, "nothing is live");
        return 0;
    }
    if (repo_version_get(a->r, a->args->live_version_id, &live, err) < 0 ||
        repo_view_open(a->r, &live.digest, &one, err) < 0 ||
        repo_view_open(a->r, &v->digest, &two, err) < 0 ||
        open_model(&one, &was, &before, err) < 0 ||
        open_model(&two, &is, &now, err) < 0)
        return -(int)err->code;
    a->out->ok = !val_diff_signatures(changes, before, now);
    buf_addf(&a->out->saw, "%s with %s@%" PRId64,
             a->out->ok ? "compatible" : "they break", v->model, live.number);
    buf_addf(&a->out->fix, "sluice diff %s@%" PRId64 " %s@%" PRId64 " says where",
             v->model, live.number, v->model, v->number);
    return 0;
}

/* ---- what is attached ----------------------------------------------------------- */

struct attached {
    struct ask *a;
    bool yes, no;
    uint8_t key[32];
    char text[REPO_DIGEST_BYTES];
};

/* TFX's evaluators leave an empty file BLESSED or NOT_BLESSED (INFRA_… too). */
static int
look_blessing(void *arg, const struct repo_said *s, struct err *err)
{
    struct attached *t = arg;

    (void)err;
    t->yes |= strcmp(s->text, "BLESSED") == 0;
    t->no |= strcmp(s->text, "NOT_BLESSED") == 0 ||
             strcmp(s->text, "INFRA_NOT_BLESSED") == 0;
    return 0;
}

static int
ask_blessed(struct ask *a, struct err *err)
{
    const struct repo_version *v = a->args->version;
    struct attached t = { .a = a };
    int e = repo_attachments(a->r, v->id, "tfx", look_blessing, &t, err);

    a->out->ok = t.yes && !t.no;
    buf_adds(&a->out->wanted, "TFX's BLESSED attached, and no NOT_BLESSED");
    buf_adds(&a->out->saw, t.no ? "NOT_BLESSED" : t.yes ? "BLESSED" : "neither");
    buf_addf(&a->out->fix,
             t.no ? "push a better version"
                  : "sluice attach %s@%" PRId64 " tfx DIR/BLESSED",
             v->model, v->number);
    return e;
}

/* A signature is 64 bytes over the text "sha256:…" of the version's digest. */
static int
look_signature(void *arg, const struct repo_said *s, struct err *err)
{
    struct attached *t = arg;
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct buf sig AUTO(buf_release) = { .cap_bytes = 65 };
    int dirfd AUTO(fs_close) = -1;

    if (t->yes || s->size_bytes != 64)
        return 0;
    if (repo_stage_open(t->a->r, &view, err) < 0 ||
        fs_open_dir(&dirfd, AT_FDCWD, view.path, err) < 0 ||
        repo_blob_copy(t->a->r, &s->digest, dirfd, "sig", err) < 0 ||
        fs_read(dirfd, "sig", &sig, err) < 0)
        return -(int)err->code;
    t->yes = sig.len == 64 && ed25519_verify(t->key, t->text, strlen(t->text),
                                             (const uint8_t *)sig.data);
    return 0;
}

static int
ask_signed(struct ask *a, struct err *err)
{
    const struct repo_version *v = a->args->version;
    struct attached t = { .a = a };
    struct digest key;
    int e;

    if (!digest_parse(str_of(a->value), &key))
        return err_set(err, ERR_CORRUPT, "policy: signed_by is no key");
    memcpy(t.key, key.b, sizeof(t.key));
    repo_digest_text(&v->digest, t.text);
    e = repo_attachments(a->r, v->id, "signature", look_signature, &t, err);
    a->out->ok = t.yes;
    buf_addf(&a->out->wanted, "the signature of key %.16s", a->value);
    buf_adds(&a->out->saw, t.yes ? "signed" : "no such signature");
    buf_addf(&a->out->fix,
             "sign the text %s with it (Ed25519), then sluice attach %s@%" PRId64
             " signature FILE",
             t.text, v->model, v->number);
    return e;
}

/* ---- time ----------------------------------------------------------------------- */

static int
ask_earlier(struct ask *a, struct err *err)
{
    const struct repo_version *v = a->args->version;
    const char *span = val_text(a->rule, "for");
    int64_t wanted_ns = 0, served_ns = -1;

    if ((*span && clock_parse_span(span, &wanted_ns, err) < 0) ||
        (a->args->outside.served &&
         a->args->outside.served(a->r, v, a->value, &served_ns, err) < 0))
        return -(int)err->code;
    a->out->ok = served_ns >= 0 && served_ns >= wanted_ns;
    buf_addf(&a->out->wanted, "these bytes had traffic of %s", a->value);
    if (*span)
        buf_addf(&a->out->wanted, " for %s", span);
    if (served_ns < 0) {
        buf_adds(&a->out->saw, "never");
        buf_addf(&a->out->fix, "sluice promote %s@%" PRId64 " --to %s", v->model,
                 v->number, a->value);
    } else {
        add_span(&a->out->saw, served_ns);
        buf_adds(&a->out->fix, "wait");
    }
    return 0;
}

static int
ask_drill(struct ask *a, struct err *err)
{
    const char *model = a->args->version->model, *alias = a->args->alias;
    int64_t within_ns, ago_ns = 0;
    int known = 0;

    if (clock_parse_span(a->value, &within_ns, err) < 0)
        return -(int)err->code;
    if (a->args->outside.drilled)
        known = a->args->outside.drilled(a->r, model, alias, &ago_ns, err);
    if (known < 0)
        return known;
    a->out->ok = known == 2 || (known == 1 && ago_ns <= within_ns);
    buf_addf(&a->out->wanted, "a rollback of %s was rehearsed in the last %s", alias,
             a->value);
    if (known == 1)
        add_span(&a->out->saw, ago_ns);
    buf_adds(&a->out->saw, known == 2   ? "nothing to go back to yet"
                           : known == 1 ? " ago"
                                        : "never");
    buf_addf(&a->out->fix, "sluice drill %s@%s --yes", model, alias);
    return 0;
}

/* The wall clock, and what it would be had it gone on evenly since the policy was set:
 * a window that either is in is in force. */
static int
ask_freeze(struct ask *a, struct err *err)
{
    const char *from = val_text(a->rule, "from"), *until = val_text(a->rule, "until");
    const int64_t wall_ns = clock_now_ns();
    int64_t from_ns, until_ns, since_ns, even_ns = wall_ns;

    if (clock_parse(from, &from_ns, err) < 0 ||
        clock_parse(until, &until_ns, err) < 0 ||
        val_since(a->r, a->policy->age_ns, &since_ns, err) < 0)
        return -(int)err->code;
    if (since_ns >= 0)
        even_ns = a->policy->created_ns + since_ns;
    const bool wall = wall_ns >= from_ns && wall_ns < until_ns;
    const bool even = even_ns >= from_ns && even_ns < until_ns;
    a->out->ok = !wall && !even;
    buf_addf(&a->out->wanted, "not between %s and %s (%s)", from, until, a->value);
    buf_adds(&a->out->saw, wall   ? "within"
                           : even ? "outside by the clock, within by the store's age"
                                  : "outside");
    buf_adds(&a->out->fix, even && !wall
                               ? "the clock was set, or the machine was off for days: "
                                 "who may judge sets the policy again"
                               : "wait, or --break-glass REASON");
    return 0;
}

/* ---- others --------------------------------------------------------------------- */

static int
ask_program(struct ask *a, struct err *err)
{
    struct buf said AUTO(buf_release) = BUF_INIT;
    int e = 0;

    if (a->args->outside.program)
        e = a->args->outside.program(a->r, a->args, a->value, &said, err);
    if (e < 0)
        return e;
    a->out->ok = e == 1;
    buf_addf(&a->out->wanted, "hooks/gate-%s says yes", a->value);
    buf_addf(&a->out->saw, "%s%s", a->out->ok ? "yes" : "no", said.len ? ": " : "");
    val_add_short(&a->out->saw, buf_str(&said));
    buf_add(&a->out->said, said.data, said.len);
    buf_adds(&a->out->fix, "see what it says");
    return 0;
}

/* What the address is told: all of the question that it could decide by. */
static void
put_question(const struct ask *a, struct buf *out)
{
    const struct val_gate_args *args = a->args;
    cJSON *o AUTO(json_free) = cJSON_CreateObject();

    json_put_str(o, "model", args->version->model);
    val_put_version(o, args->version);
    json_put_str(o, "alias", args->alias);
    json_put_int(o, "replaces_release", args->live_release);
    json_put_str(o, "actor", acc_actor(a->r->acc));
    json_put_str(o, "reason", args->reason);
    json_print(o, out, true);
}

/* Any answer is an answer; no answer is no yes. */
static int
ask_http(struct ask *a, struct err *err)
{
    static const char *const headers[] = { "Content-Type: application/json", NULL };
    struct http_answer answer AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct buf body AUTO(buf_release) = BUF_INIT;

    put_question(a, &body);
    const struct http_ask ask = { .url = a->value,
                                  .headers = headers,
                                  .body = body.data,
                                  .body_bytes = body.len,
                                  .max_bytes = HTTP_SAID_BYTES };
    buf_addf(&a->out->wanted, "%s answers with 2xx", a->value);
    buf_adds(&a->out->fix, "see what it says");
    if (http_ask(&ask, &answer, err) < 0) {
        if (err->code != ERR_LIMIT && err->code != ERR_IO)
            return -(int)err->code;
        buf_adds(&a->out->saw,
                 err->code == ERR_LIMIT ? "no answer in time" : "no answer: ");
        if (err->code == ERR_IO)
            val_add_short(&a->out->saw, err->msg);
        err_clear(err);
        return 0;
    }
    a->out->ok = answer.status >= 200 && answer.status <= 299;
    buf_add(&a->out->said, answer.body.data, answer.body.len);
    buf_addf(&a->out->saw, "HTTP %d%s", answer.status, answer.body.len ? ": " : "");
    val_add_short(&a->out->saw, buf_str(&answer.body));
    return 0;
}

static int
ask_approvals(struct ask *a, struct err *err)
{
    return val_ask_approvals(a->r, a->args, a->rule, a->out, err);
}

static const struct {
    const char *name;
    int (*ask)(struct ask *a, struct err *err);
} gates[] = {
    { "scan", ask_scan },        { "signature", ask_signature },
    { "earlier", ask_earlier },  { "approvals", ask_approvals },
    { "freeze", ask_freeze },    { "program", ask_program },
    { "http", ask_http },        { "blessed", ask_blessed },
    { "signed_by", ask_signed }, { "drill", ask_drill },
};

int
val_gate_more(struct repo *r, const struct val_gate_args *args, const cJSON *rule,
              const struct val_policy_now *policy, const char **name,
              struct val_answer *out, struct err *err)
{
    for (size_t i = 0; i < sizeof(gates) / sizeof(gates[0]); i++) {
        struct ask a = { r, args, rule, policy, val_text(rule, gates[i].name), out };

        if (!json_has(rule, gates[i].name))
            continue;
        *name = strcmp(gates[i].name, "freeze") == 0 ? "freeze window" : gates[i].name;
        return gates[i].ask(&a, err);
    }
    return err_set(err, ERR_INVALID,
                   "policy: a gate that this program does not know: %s",
                   rule->child ? rule->child->string : "none");
}
