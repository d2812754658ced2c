/* SPDX-License-Identifier: Apache-2.0 */
/* What a request is about, for the gate: the one object that its verb is asked for.
 * Verbs that list are asked for nothing in particular, and leave out what the caller
 * may not read; verbs with a second object ask again (svc_allow, svc_resolve). */
#include "hooks/hooks.h"
#include "service/svc_int.h"

#include <stdio.h>
#include <string.h>

enum about {
    BY_FIELDS, /* `onto`, `model` or `ref`; else the store */
    ALIAS,     /* of the model of `ref`: the alias that `field` names */
    EVERY,     /* the alias that `field` names, of every model */
    TARGET,    /* that `field` names; else the store */
    GOLDEN,    /* the set that `field` names, or `fallback` */
    POLICY,    /* of `alias` or `target`, maybe for `model` only */
    HOOK,      /* that `field` names */
    THE_KEY,   /* that `field` names */
    LIST       /* any, where neither `model` nor `ref` says which */
};
static const struct {
    const char *verb;
    enum about about;
    const char *field, *fallback;
} verbs[] = {
    { "promote", ALIAS, "to", NULL },
    { "approve_request", ALIAS, "for", NULL },
    { "approve_show", ALIAS, "for", NULL },
    { "approve_approve", ALIAS, "for", NULL },
    { "approve_reject", ALIAS, "for", NULL },
    { "approve_withdraw", ALIAS, "for", NULL },
    { "approve_comment", ALIAS, "for", NULL },
    { "host_rollout", EVERY, "alias", NULL },
    { "target_add", TARGET, "name", NULL },
    { "target_set", TARGET, "name", NULL },
    { "target_remove", TARGET, "name", NULL },
    { "target_adopt", TARGET, "name", NULL },
    { "target_check", TARGET, "name", NULL },
    { "target_step", TARGET, "name", NULL },
    { "target_render", TARGET, "name", NULL },
    { "golden_add", GOLDEN, "name", NULL },
    { "golden_show", GOLDEN, "set", NULL },
    { "golden_export", GOLDEN, "set", NULL },
    { "golden_delete", GOLDEN, "set", NULL },
    { "golden_record", GOLDEN, "name", "recorded" },
    { "golden_probe", GOLDEN, "name", "probe" },
    { "policy_set", POLICY, NULL, NULL },
    { "policy_show", POLICY, NULL, NULL },
    { "policy_history", POLICY, NULL, NULL },
    { "hook_show", HOOK, "name", NULL },
    { "hook_set", HOOK, "name", NULL },
    { "hook_remove", HOOK, "name", NULL },
    { "hook_list", LIST, NULL, NULL },
    { "key_show", THE_KEY, "name", NULL },
    { "key_rotate", THE_KEY, "name", NULL },
    { "key_list", LIST, NULL, NULL },
    { "list", LIST, NULL, NULL },
    { "status", LIST, NULL, NULL },
    { "quota_show", LIST, NULL, NULL },
    { "policy_list", LIST, NULL, NULL },
    { "approve_list", LIST, NULL, NULL },
    { "target_list", LIST, NULL, NULL },
    { "host_list", LIST, NULL, NULL },
    { "host_want", LIST, NULL, NULL },
    { "ramp", LIST, NULL, NULL },
    { "grant_list", LIST, NULL, NULL },
    { "role_list", LIST, NULL, NULL },
    { "audit_log", LIST, NULL, NULL },
};

/* The model that a reference names; a digest's is looked for, among those that the
 * caller may read. */
static int
model_of(struct svc_call *c, const char *ref, struct svc_object *out, struct err *err)
{
    struct repo_ref parsed;
    struct repo_version v;
    if (repo_ref_parse(ref, &parsed, err) < 0)
        return -(int)err->code;
    if (!parsed.model[0] && repo_resolve(c->repo, ref, &v, err) < 0)
        return -(int)err->code;
    snprintf(out->model, sizeof out->model, "%s",
             parsed.model[0] ? parsed.model : v.model);
    snprintf(out->name, sizeof out->name, "%s", parsed.alias);
    out->on = acc_model(out->model);
    return 0;
}

/* By `onto`, `model` or `ref`: 1, or 0: the request names no model. What is done to an
 * alias is asked of it; what is done to the version behind it, of its model. */
static int
by_fields(struct svc_call *c, struct svc_object *out, struct err *err)
{
    const char *model = svc_str(c, "model"), *ref = svc_str(c, "onto");
    const bool of_alias =
        !ref && (c->verb->right == ACC_READ || c->verb->right == ACC_PROMOTE);
    if (model && !ref) {
        if (repo_check_model_name(model, err) < 0)
            return -(int)err->code;
        snprintf(out->model, sizeof out->model, "%s", model);
        out->on = strcmp(model, "*") == 0 ? acc_store() : acc_model(out->model);
        return 1;
    }
    ref = ref ? ref : svc_str(c, "ref");
    if (!ref)
        return 0;
    if (model_of(c, ref, out, err) < 0)
        return -(int)err->code;
    if (of_alias && out->name[0])
        out->on = acc_alias(out->model, out->name);
    return 1;
}

static int
about_policy(struct svc_call *c, struct svc_object *out, struct err *err)
{
    const char *alias = svc_str(c, "alias"), *target = svc_str(c, "target");
    if (by_fields(c, out, err) < 0)
        return -(int)err->code;
    if (!alias == !target)
        return 0; /* the verb says what it needs */
    snprintf(out->name, sizeof out->name, "%s%s", target ? "target:" : "",
             target ? target : alias);
    out->on =
        (struct acc_object){ ACC_POLICY, out->model[0] ? out->model : NULL, out->name };
    return 0;
}

/* NAME of NAME, NAME@2 and export@3. */
static int
about_set(struct svc_call *c, const char *set, struct svc_object *out, struct err *err)
{
    if (by_fields(c, out, err) < 0)
        return -(int)err->code;
    snprintf(out->name, sizeof out->name, "%.*s", (int)strcspn(set, "@"), set);
    out->on = (struct acc_object){ ACC_GOLDEN, out->model, out->name };
    return 0;
}

int
svc_about_what(struct svc_call *c, struct svc_object *out, struct err *err)
{
    enum about about = BY_FIELDS;
    const char *name = NULL;
    int r = 0;
    *out = (struct svc_object){ .on = acc_store() };
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].verb, c->verb->name) == 0) {
            about = verbs[i].about;
            name = verbs[i].field ? svc_str(c, verbs[i].field) : NULL;
            name = name ? name : verbs[i].fallback;
        }
    switch (about) {
    case BY_FIELDS:
        r = by_fields(c, out, err);
        break;
    case LIST:
        r = by_fields(c, out, err);
        out->any = r == 0;
        break;
    case ALIAS:
        r = repo_check_alias_name(name, err) < 0 ? -(int)err->code
                                                 : by_fields(c, out, err);
        snprintf(out->name, sizeof out->name, "%s", name);
        out->on = acc_alias(out->model, out->name);
        break;
    case EVERY:
        if (repo_check_alias_name(name, err) < 0)
            return -(int)err->code;
        snprintf(out->name, sizeof out->name, "%s", name);
        out->on = acc_alias("*", out->name);
        break;
    case TARGET:
        snprintf(out->name, sizeof out->name, "%s", name ? name : "");
        out->on = name ? acc_target(out->name) : acc_store();
        break;
    case GOLDEN:
        r = about_set(c, name, out, err);
        break;
    case POLICY:
        r = about_policy(c, out, err);
        break;
    case HOOK:
        r = hook_check_name(name, err);
        snprintf(out->name, sizeof out->name, "%s", name);
        out->on = (struct acc_object){ ACC_HOOK, NULL, out->name };
        break;
    case THE_KEY:
        r = repo_check_alias_name(name, err);
        snprintf(out->name, sizeof out->name, "%s", name);
        out->on = (struct acc_object){ ACC_KEY, NULL, out->name };
        break;
    }
    return r < 0 ? r : 0;
}

/* ---- second objects -------------------------------------------------------------- */

int
svc_allow(struct svc_call *c, enum acc_right right, struct acc_object on,
          struct err *err)
{
    return acc_check_verb(c->repo->acc, c->verb->name, right, on, err);
}

int
svc_shows(struct svc_call *c, struct acc_object on, struct err *err)
{
    return acc_may(c->repo->acc, c->verb->name, ACC_READ, on, err);
}

int
svc_shows_of_store(struct svc_call *c, struct acc_object on, struct err *err)
{
    int may = svc_shows(c, acc_store(), err);
    return may == 0 ? svc_shows(c, on, err) : may;
}

int
svc_hide(struct svc_call *c, cJSON *list, struct err *err)
{
    cJSON *next;
    for (cJSON *o = list ? list->child : NULL; o; o = next) {
        const char *model = cJSON_GetStringValue(cJSON_GetObjectItem(o, "model"));
        const char *alias = cJSON_GetStringValue(cJSON_GetObjectItem(o, "alias"));
        int may = svc_shows(c,
                            !model  ? acc_store()
                            : alias ? acc_alias(model, alias)
                                    : acc_model(model),
                            err);
        next = o->next;
        if (may < 0)
            return may;
        if (!may)
            cJSON_Delete(cJSON_DetachItemViaPointer(list, o));
    }
    return 0;
}

int
svc_resolve(struct svc_call *c, const char *text, enum acc_right right,
            struct repo_version *out, struct err *err)
{
    struct svc_object what;
    if (model_of(c, text, &what, err) < 0)
        return -(int)err->code;
    if (right == ACC_READ && what.name[0])
        what.on = acc_alias(what.model, what.name);
    if (svc_allow(c, right, what.on, err) < 0)
        return -(int)err->code;
    return repo_resolve(c->repo, text, out, err);
}
