/* SPDX-License-Identifier: Apache-2.0 */
/* hook list, hook show, hook set, hook remove. The file first, then the event: a hook
 * that is in the log is in place, and who was killed in between says it again. */
#include "hooks/hooks.h"
#include "service/svc_int.h"

#include <stdio.h>
#include <string.h>

static void
put_hook(cJSON *o, const struct hook_file *f)
{
    char mode[8];
    snprintf(mode, sizeof mode, "%04o", f->mode);
    json_put_str(o, "name", f->name);
    json_put_int(o, "bytes", f->size_bytes);
    json_put_str(o, "mode", mode);
    svc_put_hex(o, "sha256", &f->digest);
    json_put_bool(o, "link", f->is_link);
    json_put_str(o, "called", hook_called(f->name));
}

static int
add_hook(void *arg, const struct hook_file *f, struct err *err)
{
    struct svc_call *c = arg;
    int may =
        svc_shows_of_store(c, (struct acc_object){ ACC_HOOK, NULL, f->name }, err);
    if (may <= 0)
        return may;
    cJSON *o = cJSON_CreateObject();
    put_hook(o, f);
    json_put_str(o, "error", f->broken);
    cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(c->reply, "hooks"), o);
    return 0;
}

int
svc_do_hook_list(struct svc_call *c, struct err *err)
{
    cJSON_AddArrayToObject(c->reply, "hooks");
    return hook_list(c->repo, add_hook, c, err);
}

int
svc_do_hook_show(struct svc_call *c, struct err *err)
{
    const char *name = svc_str(c, "name");
    struct buf bytes AUTO(buf_release) = BUF_INIT, text AUTO(buf_release) = BUF_INIT;
    struct hook_file f;
    int there = hook_read(c->repo, name, &f, &bytes, err);
    if (there <= 0)
        return there < 0 ? there
                         : err_set(err, ERR_NOTFOUND,
                                   "there is no hook %s: sluice hook list", name);
    put_hook(c->reply, &f);
    base64_add(&text, bytes.data, bytes.len);
    json_put_str(c->reply, "base64", buf_str(&text));
    return 0;
}

/* The digest of what is there now becomes the event's `before`; null: nothing that can
 * be read. */
static void
put_before(struct svc_call *c, const char *name)
{
    struct hook_file f;
    struct err why = ERR_INIT;
    if (hook_read(c->repo, name, &f, NULL, &why) == 1)
        svc_put_hex(c->body, "before", &f.digest);
    else
        json_put_str(c->body, "before", NULL);
}

static int
commit(struct svc_call *c, const char *done, struct err *err)
{
    return svc_commit(c, err) == 0
               ? 0
               : err_ctx(err, "hook %s is %s, and that is not in the log",
                         svc_str(c, "name"), done);
}

int
svc_do_hook_set(struct svc_call *c, struct err *err)
{
    const char *name = svc_str(c, "name");
    struct buf bytes AUTO(buf_release) = BUF_INIT;
    struct digest now;
    if (hook_take(svc_str(c, "file"), &bytes, err) < 0)
        return -(int)err->code;
    sha256_of(bytes.data, bytes.len, &now);
    int r = svc_key_find(c, &now, 1, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    put_before(c, name);
    if (hook_put(c->repo, name, &bytes, err) < 0)
        return -(int)err->code;
    svc_put_hex(c->body, "sha256", &now);
    json_put_str(c->reply, "name", name);
    svc_put_hex(c->reply, "sha256", &now);
    json_put_int(c->reply, "bytes", (int64_t)bytes.len);
    json_put_str(c->reply, "called", hook_called(name));
    return commit(c, "in place", err);
}

int
svc_do_hook_remove(struct svc_call *c, struct err *err)
{
    const char *name = svc_str(c, "name");
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    put_before(c, name);
    if (hook_remove(c->repo, name, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "name", name);
    return commit(c, "gone", err);
}
