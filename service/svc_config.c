/* SPDX-License-Identifier: Apache-2.0 */
/* config list, config get, config set */
#include "service/svc_int.h"

#include <stdio.h>
#include <string.h>

static int
put_setting(struct svc_call *c, cJSON *to, const struct repo_setting *s,
            struct err *err)
{
    struct buf value AUTO(buf_release) = BUF_INIT;
    int is_set = repo_setting_get(c->repo, s->key, &value, err);
    if (is_set < 0)
        return is_set;
    json_put_str(to, "key", s->key);
    json_put_str(to, "value", buf_str(&value));
    json_put_bool(to, "set", is_set);
    json_put_str(to, "default", s->standard);
    json_put_str(to, "values", s->values);
    json_put_str(to, "help", s->help);
    return 0;
}

int
svc_do_config_list(struct svc_call *c, struct err *err)
{
    cJSON *list = cJSON_AddArrayToObject(c->reply, "settings");
    for (int i = 0; i < repo_n_settings(); i++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(list, o);
        if (put_setting(c, o, repo_setting_at(i), err) < 0)
            return -(int)err->code;
    }
    return 0;
}

int
svc_do_config_get(struct svc_call *c, struct err *err)
{
    const struct repo_setting *s;
    if (repo_setting_find(svc_str(c, "key"), &s, err) < 0)
        return -(int)err->code;
    return put_setting(c, c->reply, s, err);
}

int
svc_do_config_set(struct svc_call *c, struct err *err)
{
    const struct repo_setting *s;
    const char *key = svc_str(c, "key"), *value = svc_str(c, "value");
    struct buf before AUTO(buf_release) = BUF_INIT;
    if (repo_setting_find(key, &s, err) < 0 || db_begin(c->repo->db, err) < 0 ||
        repo_setting_get(c->repo, key, &before, err) < 0 ||
        repo_setting_set(c->repo, key, strcmp(value, "default") == 0 ? NULL : value,
                         err) < 0 ||
        put_setting(c, c->reply, s, err) < 0)
        return -(int)err->code;
    json_put_str(c->body, "key", key);
    json_put_str(c->body, "value", value);
    json_put_str(c->body, "before", buf_str(&before));
    return svc_commit(c, err);
}
