/* SPDX-License-Identifier: Apache-2.0 */
/* A call with --idempotency-key happens once. What makes two calls the same one is a
 * digest: user, verb and fields; of files the bytes, not the paths. */
#include "service/svc_int.h"

#include "deploy/deploy.h"

#include <string.h>

#define FIELD "idempotency_key"
#define DAY_NS (INT64_C(86400) * 1000000000)

static void
add_part(struct sha256 *s, const char *text)
{
    struct buf b AUTO(buf_release) = BUF_INIT;

    buf_addf(&b, "%zu:%s\n", strlen(text), text);
    sha256_add(s, b.data, b.len);
}

static bool
has_apart(const struct svc_verb *verb)
{
    for (int i = 0; i < verb->n_fields; i++)
        if (verb->fields[i].flags & SVC_APART)
            return true;
    return false;
}

static void
request_digest(const struct svc_call *c, const struct digest *bytes, int n,
               struct digest *out)
{
    struct sha256 s;

    sha256_init(&s);
    add_part(&s, "sluice-request 1");
    add_part(&s, acc_actor(c->repo->acc));
    add_part(&s, c->verb->name);
    for (int i = 0; i < c->verb->n_fields; i++) {
        const struct svc_field *f = &c->verb->fields[i];
        struct buf text AUTO(buf_release) = BUF_INIT;

        if ((f->flags & (SVC_APART | SVC_WAITS)) || strcmp(f->name, FIELD) == 0 ||
            !json_has(c->req, f->name))
            continue;
        json_print(cJSON_GetObjectItemCaseSensitive(c->req, f->name), &text, true);
        add_part(&s, f->name);
        add_part(&s, buf_str(&text));
    }
    for (int i = 0; i < n; i++)
        sha256_add(&s, bytes[i].b, sizeof(bytes[i].b));
    sha256_end(&s, out);
}

static int
check_key(const char *key, struct err *err)
{
    const size_t n = strlen(key);
    bool ok = n > 0 && n <= ACC_KEY_MAX;

    for (size_t i = 0; i < n; i++)
        ok = ok && key[i] > ' ' && key[i] < 0x7f;
    return ok ? 0
              : err_set(err, ERR_USAGE,
                        "--idempotency-key: 1 to %d bytes of printable ASCII without "
                        "blanks, such as a pipeline's id",
                        ACC_KEY_MAX);
}

/* 1: the call was carried out; its answer becomes the reply. */
static int
find(struct svc_call *c, const struct digest *request, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *reply = NULL;
    int64_t intent = 0;
    int r = acc_key_find(c->repo->acc, svc_str(c, FIELD), request, &text, &intent, err);

    if (r == 1 && text.len > 0)
        r = json_parse(&reply, (struct str){ text.data, text.len }, "kept answer",
                       err) < 0
                ? -(int)err->code
                : 1;
    else if (r == 1 && intent)
        r = deploy_settle(c->repo, intent, &reply, err);
    if (r != 1) {
        cJSON_Delete(reply);
        return r;
    }
    if (reply) {
        cJSON_Delete(c->reply);
        c->reply = reply;
    }
    json_put_bool(c->reply, "replayed", true);
    c->replayed = true;
    return 1;
}

int
svc_key_find(struct svc_call *c, const struct digest *bytes, int n, struct err *err)
{
    struct digest request;

    if (!svc_str(c, FIELD))
        return 0;
    request_digest(c, bytes, n, &request);
    acc_key_set(c->repo->acc, svc_str(c, FIELD), &request);
    json_put_str(c->body, FIELD, svc_str(c, FIELD));
    c->request = request;
    c->keyed = true;
    return find(c, &request, err);
}

int
svc_key_begin(struct svc_call *c, struct err *err)
{
    const char *key = svc_str(c, FIELD);

    if (!key || check_key(key, err) < 0)
        return key ? -(int)err->code : 0;
    return has_apart(c->verb) ? 0 : svc_key_find(c, NULL, 0, err);
}

void
svc_key_reply(struct svc_call *c)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    if (!c->keyed)
        return;
    json_print(c->reply, &text, true);
    acc_key_reply(c->repo->acc, buf_str(&text));
}

int
svc_key_end(struct svc_call *c, int result, struct err *err)
{
    struct err second = ERR_INIT;
    struct buf text AUTO(buf_release) = BUF_INIT;
    int64_t days;

    if (!c->keyed)
        return result;
    if (result < 0 && !c->recorded &&
        !c->replayed) { /* a twin of this call may have been faster */
        int r = find(c, &c->request, &second);

        if (r == 1)
            err_clear(err);
        result = r == 1 ? 0 : result;
    } else if (result >= 0 && !c->replayed) {
        json_print(c->reply, &text, true);
        /* The act stands: what fails here costs only words of the answer to a call that
         * is made again. */
        if (repo_setting_int(c->repo, "idempotency_days", &days, &second) < 0 ||
            acc_key_answer(c->repo->acc, buf_str(&text), days * DAY_NS, &second) < 0)
            err_clear(&second);
    }
    acc_key_set(c->repo->acc, NULL, NULL);
    return result;
}
