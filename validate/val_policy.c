/* SPDX-License-Identifier: Apache-2.0 */
/* Policies: which acceptance sets a version must have passed to get an alias's traffic.
 */
#include "validate/val_int.h"

#include "base/clock.h"

#include <string.h>

/* {"require": [{"acceptance": NAME or "*"}, …]}; a rule nobody knows is refused,
 * because it would guard nothing. */
static int
check_policy(const cJSON *doc, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc, "require"), *rule;
    const char *name = NULL;

    if (!cJSON_IsArray(list) || cJSON_GetArraySize(doc) != 1)
        return err_set(
            err, ERR_INVALID,
            "policy: wanted {\"require\": [{\"acceptance\": NAME}]} and nothing else");
    cJSON_ArrayForEach(rule, list)
    {
        const cJSON *gate = cJSON_IsObject(rule) ? rule->child : NULL;

        while (gate && strcmp(gate->string, "acceptance") == 0)
            gate = gate->next;
        if (gate)
            return err_set(err, ERR_INVALID,
                           "policy: there is no gate \"%s\"; there is \"acceptance\"",
                           gate->string);
        if (json_str(rule, "acceptance", NULL, &name, "policy", err) < 0)
            return -(int)err->code;
        if (strcmp(name, "*") != 0 && repo_check_alias_name(name, err) < 0)
            return err_ctx(err, "policy: acceptance set");
    }
    return 0;
}

int
val_policy_set(struct repo *r, const char *alias, const char *model,
               const char *policy_json, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT;

    if (repo_check_alias_name(alias, err) < 0 ||
        (model && repo_check_model_name(model, err) < 0) ||
        json_parse(&doc, str_of(policy_json), "policy", err) < 0 ||
        check_policy(doc, err) < 0)
        return -(int)err->code;
    json_print(doc, &text, true);
    return db_run(r->db, err,
                  "INSERT INTO policy(alias, model, rules, created_ns, set_by) "
                  "VALUES(?, ?, ?, ?, ?)",
                  "tttit", alias, model ? model : "*", buf_str(&text), clock_now_ns(),
                  acc_actor(r->acc));
}

int
val_policy_get(struct repo *r, const char *alias, const char *model, struct buf *out,
               struct err *err)
{
    const char *const models[] = { model, "*" };

    for (int i = 0; i < 2; i++) {
        int e = db_get_text(r->db, out, err,
                            "SELECT rules FROM policy WHERE alias = ? AND model = ? "
                            "ORDER BY id DESC LIMIT 1",
                            "tt", alias, models[i]);

        if (e != 0)
            return e;
    }
    return 0;
}
