/* SPDX-License-Identifier: Apache-2.0 */
/* target add/set/remove/list/check/render, promote, weights, rollback, freeze,
 * unfreeze, status, route */
#include "base/clock.h"
#include "deploy/deploy.h"
#include "deploy/host.h"
#include "service/svc_int.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
svc_target_options(const struct svc_call *c, struct deploy_options *out)
{
    for (int i = 0; i < DEPLOY_N_OPTIONS; i++)
        out->v[i] = svc_str(c, deploy_option_names[i]);
}

int
svc_do_target_add(struct svc_call *c, struct err *err)
{
    const char *layout = svc_str(c, "layout") ? svc_str(c, "layout") : "plain";
    const char *name = svc_str(c, "name"), *alias = svc_str(c, "alias");
    struct deploy_options options;
    svc_target_options(c, &options);
    snprintf(c->object, sizeof c->object, "target %s", name);
    json_put_str(c->body, "dir", svc_str(c, "dir"));
    json_put_str(c->body, "alias", alias);
    json_put_str(c->body, "layout", layout);
    json_put_str(c->reply, "target", name); /* what a key keeps when this dies */
    json_put_str(c->reply, "dir", svc_str(c, "dir"));
    json_put_str(c->reply, "alias", alias);
    json_put_str(c->reply, "layout", layout);
    svc_key_reply(c);
    if (deploy_target_add(c->repo, name, svc_str(c, "dir"), alias, layout, &options,
                          err) < 0) {
        svc_no_reply(c);
        return err_ctx(err, "target add %s", name);
    }
    c->recorded = true; /* by deploy/ */
    return 0;
}

int
svc_do_target_set(struct svc_call *c, struct err *err)
{
    const char *name = svc_str(c, "name");
    struct deploy_options options;
    bool any = false;
    svc_target_options(c, &options);
    snprintf(c->object, sizeof c->object, "target %s", name);
    for (int i = 0; i < DEPLOY_N_OPTIONS; i++)
        any |= options.v[i] != NULL;
    if (!any)
        return err_set(err, ERR_USAGE, "target set %s: say what: --status-url, …",
                       name);
    if (deploy_target_set(c->repo, name, &options, err) < 0)
        return err_ctx(err, "target set %s", name);
    json_put_str(c->reply, "target", name);
    c->recorded = true; /* by deploy/ */
    return 0;
}

int
svc_do_target_remove(struct svc_call *c, struct err *err)
{
    const char *name = svc_str(c, "name");
    snprintf(c->object, sizeof c->object, "target %s", name);
    json_put_str(c->reply, "target", name); /* what a key keeps when this dies */
    svc_key_reply(c);
    if (deploy_target_remove(c->repo, name, err) < 0) {
        svc_no_reply(c);
        return err_ctx(err, "target remove %s", name);
    }
    c->recorded = true; /* by deploy/ */
    return 0;
}

static int
add_target(void *arg, const struct deploy_target *t, struct err *err)
{
    struct svc_call *c = arg;
    int may = svc_shows(c, acc_target(t->name), err);
    if (may <= 0)
        return may;
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "target", t->name);
    json_put_str(o, "dir", t->dir);
    json_put_str(o, "alias", t->alias);
    json_put_str(o, "layout", t->layout);
    for (int i = 0; i < DEPLOY_N_OPTIONS; i++)
        json_put_str(o, deploy_option_names[i], t->option[i]);
    cJSON_AddItemToArray(cJSON_GetObjectItem(c->reply, "targets"), o);
    return 0;
}

int
svc_do_target_list(struct svc_call *c, struct err *err)
{
    cJSON_AddArrayToObject(c->reply, "targets");
    return deploy_targets(c->repo, svc_str(c, "alias"), add_target, c, err);
}

int
svc_do_target_check(struct svc_call *c, struct err *err)
{
    const bool repair = svc_flag(c, "repair");
    const char *name = svc_str(c, "name");
    cJSON *report = NULL;
    if (name)
        snprintf(c->object, sizeof c->object, "target %s", name);
    if (repair && acc_check(c->repo->acc, ACC_ADMIN,
                            name ? acc_target(name) : acc_store(), err) < 0)
        return -(int)err->code;
    json_put_bool(c->body, "repair", repair);
    if (deploy_drift(c->repo, name, repair, &report, err) < 0)
        return err_ctx(err, "target check");
    cJSON_Delete(c->reply);
    c->reply = report;
    json_put_bool(report, "repair", repair);
    const double left =
        cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(report, "left"));
    json_put_int(c->body, "left", (int64_t)left);
    if (left > 0)
        return err_set(err, ERR_FAILED, "%.0f difference%s %s; see above", left,
                       left == 1 ? "" : "s",
                       repair ? "could not be mended by the store"
                              : "from what the targets should hold");
    return 0;
}

int
svc_do_target_render(struct svc_call *c, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    if (deploy_target_text(c->repo, svc_str(c, "name"), svc_str(c, "as"), &text, err) <
        0)
        return err_ctx(err, "target render");
    json_put_str(c->reply, "target", svc_str(c, "name"));
    json_put_str(c->reply, "as", svc_str(c, "as"));
    json_put_str(c->reply, "text", buf_str(&text));
    return 0;
}

/* ---- changes of traffic ---- */

/* deploy/ records the event with the release; of a refusal the wrapper does. */
static int
change(struct svc_call *c, const struct deploy_change *change_, struct err *err)
{
    cJSON *report = NULL;
    if (svc_check_wait(c, err) < 0)
        return -(int)err->code;
    int r = deploy_change(c->repo, change_, &report, err);
    c->recorded = r >= 0;
    if (report) {
        cJSON_Delete(c->reply);
        c->reply = report;
        const cJSON *gates = cJSON_GetObjectItem(report, "gates");
        if (r < 0 && gates)
            cJSON_AddItemToObject(c->body, "gates", cJSON_Duplicate(gates, true));
    }
    return r < 0 || change_->dry_run ? r : svc_after_change(c, err);
}

/* Only approvals are missing; *asked: of people who are asked already. */
static bool
waits_only(const cJSON *report, bool *asked)
{
    const cJSON *version, *gate;
    bool waits = false;
    *asked = true;
    cJSON_ArrayForEach(version, cJSON_GetObjectItem(report, "gates"))
    {
        cJSON_ArrayForEach(gate, cJSON_GetObjectItem(version, "gates"))
        {
            if (!cJSON_IsFalse(cJSON_GetObjectItem(gate, "ok")))
                continue;
            const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(gate, "gate"));
            if (!name || strcmp(name, "approvals") != 0)
                return false;
            waits = true;
            *asked &= cJSON_IsTrue(cJSON_GetObjectItem(gate, "waits"));
        }
    }
    return waits;
}

/* promote --when-approved: asks, and the store does it when enough have said yes. */
static int
wait_for_approval(struct svc_call *c, const char *alias, bool asked, struct err *err)
{
    err_clear(err);
    svc_no_reply(c);
    cJSON_DeleteItemFromObject(c->body, "gates");
    json_put_bool(c->body, "pending", true);
    if (svc_ask_approval(c, alias, true, asked, err) < 0)
        return -(int)err->code;
    return err_set(
        err, ERR_PENDING,
        "%s waits for approval; the store promotes it to %s when enough have "
        "said: sluice approve approve %s --for %s",
        c->object, alias, c->object, alias);
}

/* --keep-loaded: 0 is said as -1, for what is not said is 0. */
static int
check_keep(const struct svc_call *c, int *out, struct err *err)
{
    const int64_t keep = svc_int(c, "keep_loaded", 1);
    if (keep < 0 || keep > DEPLOY_KEEP_LOADED_MAX)
        return err_set(err, ERR_USAGE, "--keep-loaded takes 0 to %d releases",
                       DEPLOY_KEEP_LOADED_MAX);
    *out = keep == 0 ? -1 : (int)keep;
    return 0;
}

/* A reason to overrule the policy, and the right to. */
static int
check_glass(struct svc_call *c, const char *model, const char *alias, const char **out,
            struct err *err)
{
    *out = svc_str(c, "break_glass");
    if (!*out)
        return 0;
    if (!**out || strlen(*out) > 200)
        return err_set(err, ERR_USAGE,
                       "--break_glass needs a reason of 1 to 200 bytes");
    json_put_str(c->body, "break_glass", *out);
    return acc_check(c->repo->acc, ACC_BREAK_GLASS, acc_alias(model, alias), err);
}

int
svc_do_promote(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    const char *alias = svc_str(c, "to");
    if (repo_check_alias_name(alias, err) < 0 || svc_version(c, &v, err) < 0)
        return -(int)err->code;
    json_put_str(c->body, "alias", alias);
    struct deploy_change d = { .verb = DEPLOY_PROMOTE,
                               .model = v.model,
                               .alias = alias,
                               .version = &v,
                               .expect_release = svc_int(c, "expect", 0),
                               .again = svc_flag(c, "again"),
                               .dry_run = svc_flag(c, "dry_run"),
                               .reason = svc_str(c, "reason") };
    if (d.dry_run && (c->keyed || svc_flag(c, "when_approved")))
        return err_set(
            err, ERR_USAGE,
            "promote --dry-run does nothing that could be done once, or later");
    if (check_keep(c, &d.keep_loaded, err) < 0 ||
        check_glass(c, v.model, alias, &d.break_glass, err) < 0)
        return -(int)err->code;
    bool asked = false;
    int e = change(c, &d, err);
    c->recorded |= d.dry_run; /* nothing happens that could be */
    if (e == -(int)ERR_REFUSED && svc_flag(c, "when_approved") &&
        waits_only(c->reply, &asked))
        return wait_for_approval(c, alias, asked, err);
    return e;
}

/* "1=90%" or "1=9": number and share. Percentages are shares too; they must not be
 * mixed with bare ones, and must sum to 100. Shares are kept to a hundredth of a
 * percent. */
static int
parse_parts(const cJSON *list, struct deploy_member *out, int cap, int *n,
            struct err *err)
{
    double percent_sum = 0;
    int n_percent = 0;
    *n = 0;
    for (const cJSON *e = list->child; e; e = e->next) {
        char *end;
        errno = 0;
        long long number = strtoll(e->valuestring, &end, 10);
        double share = -1;
        bool percent = false;
        if (isdigit((unsigned char)e->valuestring[0]) && e->valuestring[0] != '0' &&
            *end == '=' && !errno) {
            char *from = end + 1;
            share = strtod(from, &end);
            percent = *end == '%';
            if (end == from || end[percent] || !(share >= 0 && share <= 1e6))
                share = -1;
        }
        if (share < 0)
            return err_set(err, ERR_USAGE,
                           "weights: '%s' is not NUMBER=SHARE, such as 2=10%% or 2=1",
                           e->valuestring);
        if (share > 0 && share < 0.005)
            return err_set(err, ERR_USAGE,
                           "weights: '%s' would be rounded to nothing: the least is "
                           "0.01%s; 0 takes it away",
                           e->valuestring, percent ? "%" : "");
        if (*n == cap)
            return err_set(err, ERR_LIMIT, "weights: more than %d versions", cap);
        for (int i = 0; i < *n; i++)
            if (out[i].number == number)
                return err_set(err, ERR_USAGE, "weights: version %lld is named twice",
                               number);
        percent_sum += percent ? share : 0;
        n_percent += percent;
        out[(*n)++] = (struct deploy_member){ .number = number,
                                              .weight = (int)(share * 100 + 0.5) };
    }
    if (n_percent && n_percent != *n)
        return err_set(err, ERR_USAGE, "weights: give every share in percent, or none");
    if (n_percent && (percent_sum < 99.995 || percent_sum > 100.005))
        return err_set(err, ERR_USAGE, "weights: the percentages sum to %g, not 100",
                       percent_sum);
    return 0;
}

/* "4=10%": a share of all requests, so it is no part of 100. */
static int
parse_mirror(const char *text, struct deploy_member *out, struct err *err)
{
    char *end;
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    const char *from = *end == '=' ? end + 1 : end;
    const double percent = strtod(from, &end);
    if (number <= 0 || errno || from == text || end == from ||
        (strcmp(end, "%") != 0 && (percent != 0 || *end)) || !(percent >= 0) ||
        percent > 100 || (percent > 0 && percent < 0.005))
        return err_set(
            err, ERR_USAGE,
            "weights: --mirror '%s' is not NUMBER=SHARE%%, such as 4=10%% (or "
            "4=0, which ends it); the least is 0.01%%",
            text);
    *out = (struct deploy_member){ .number = number,
                                   .mirror = (int)(percent * 100 + 0.5) };
    return 0;
}

int
svc_do_weights(struct svc_call *c, struct err *err)
{
    const char *mirror_text = svc_str(c, "mirror");
    struct repo_ref ref;
    struct deploy_member parts[16], mirror;
    int n = 0;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, "parts");
    if (svc_alias(c, &ref, err) < 0)
        return -(int)err->code;
    if (svc_str(c, "ramp"))
        return svc_ramp_start(c, &ref, err);
    if (json_has(c->req, "every") || json_has(c->req, "while") ||
        json_has(c->req, "source"))
        return err_set(err, ERR_USAGE,
                       "weights: --every, --while and --source go with --ramp "
                       "1%%,5%%,25%%,100%%");
    if ((list && parse_parts(list, parts, 16, &n, err) < 0) ||
        (mirror_text && parse_mirror(mirror_text, &mirror, err) < 0))
        return -(int)err->code;
    if (n == 0 && !mirror_text)
        return err_set(err, ERR_USAGE,
                       "weights needs shares, such as 1=90%% 2=10%%, or --mirror");
    struct deploy_change d = { .verb = DEPLOY_WEIGHTS,
                               .model = ref.model,
                               .alias = ref.alias,
                               .parts = parts,
                               .n_parts = n,
                               .mirror = mirror_text ? &mirror : NULL,
                               .expect_release = svc_int(c, "expect", 0),
                               .again = svc_flag(c, "again"),
                               .reason = svc_str(c, "reason") };
    if (check_keep(c, &d.keep_loaded, err) < 0 ||
        check_glass(c, ref.model, ref.alias, &d.break_glass, err) < 0)
        return -(int)err->code;
    return change(c, &d, err);
}

int
svc_do_rollback(struct svc_call *c, struct err *err)
{
    struct repo_ref ref;
    if (svc_alias(c, &ref, err) < 0)
        return -(int)err->code;
    struct deploy_change d = { .verb = DEPLOY_ROLLBACK,
                               .model = ref.model,
                               .alias = ref.alias,
                               .to_number = svc_int(c, "to", 0),
                               .expect_release = svc_int(c, "expect", 0),
                               .reason = svc_str(c, "reason") };
    return change(c, &d, err);
}

/* A typo would freeze what nobody has, and leave open what was meant. What aliases
 * there are is told to who may read the model. */
static int
check_alias(struct svc_call *c, const struct repo_ref *ref, struct err *err)
{
    struct repo_version live;
    struct err second = ERR_INIT;
    int may = repo_resolve(c->repo, c->object, &live, err) == 0
                  ? 1
                  : acc_may(c->repo->acc, c->verb->name, ACC_READ,
                            acc_model(ref->model), &second);
    if (err->code == ERR_NOTFOUND && may < 1) {
        err_clear(err);
        return err_set(err, ERR_NOTFOUND, "there is no %s", c->object);
    }
    return -(int)err->code;
}

static int
freeze(struct svc_call *c, const char *reason, struct err *err)
{
    struct repo_ref ref;
    if (svc_alias(c, &ref, err) < 0 || (reason && check_alias(c, &ref, err) < 0))
        return -(int)err->code;
    json_put_str(c->reply, "alias", c->object);
    json_put_bool(c->reply, "frozen", reason != NULL);
    svc_key_reply(c);
    if (deploy_freeze_at(c->repo, ref.model, ref.alias, svc_int(c, "expect", 0), reason,
                         err) < 0) {
        svc_no_reply(c);
        return -(int)err->code;
    }
    c->recorded = true; /* by deploy/ */
    return 0;
}

int
svc_do_freeze(struct svc_call *c, struct err *err)
{
    return freeze(c, svc_str(c, "reason"), err);
}

int
svc_do_unfreeze(struct svc_call *c, struct err *err)
{
    return freeze(c, NULL, err);
}

int
svc_do_status(struct svc_call *c, struct err *err)
{
    cJSON *out = NULL;
    if (deploy_status(c->repo, svc_str(c, "model"), &out, err) < 0)
        return -(int)err->code;
    cJSON_Delete(c->reply);
    c->reply = out;
    if (svc_hide(c, cJSON_GetObjectItem(out, "aliases"), err) < 0 ||
        svc_hide(c, cJSON_GetObjectItem(out, "unfinished"), err) < 0)
        return -(int)err->code;
    return deploy_hosts_status(c->repo, out, err);
}

int
svc_do_route(struct svc_call *c, struct err *err)
{
    struct repo_ref ref;
    cJSON *out = NULL;
    if (svc_alias(c, &ref, err) < 0)
        return -(int)err->code;
    struct deploy_unit u = { .model = ref.model,
                             .alias = ref.alias,
                             .unit = svc_str(c, "unit") };
    if (svc_str(c, "at") && clock_parse(svc_str(c, "at"), &u.at_ns, err) < 0)
        return err_ctx(err, "route --at");
    if (deploy_route(c->repo, &u, &out, err) < 0)
        return -(int)err->code;
    cJSON_Delete(c->reply);
    c->reply = out;
    return 0;
}
