/* SPDX-License-Identifier: Apache-2.0 */
/* key list, key show, key rotate: the key by which the store signs its log and its
 * verdicts. */
#include "service/svc_int.h"

#include <stdio.h>
#include <string.h>

#define ALGORITHM "ed25519"

static void
put_key(cJSON *o, const struct acc_key *key)
{
    json_put_str(o, "name", ACC_KEY_NAME);
    json_put_str(o, "algorithm", ALGORITHM);
    svc_put_hex(o, "fingerprint", &key->id);
    svc_put_time(o, "since", key->made_ns);
    json_put_int(o, "from_event", key->from_seq > 0 ? key->from_seq : 1);
    if (key->until_seq > 0)
        json_put_int(o, "until_event", key->until_seq);
    else
        cJSON_AddNullToObject(o, "until_event");
    json_put_bool(o, "leaked", key->is_leaked);
}

static int
check_name(const struct svc_call *c, struct err *err)
{
    const char *name = svc_str(c, "name");
    return strcmp(name, ACC_KEY_NAME) == 0
               ? 0
               : err_set(err, ERR_NOTFOUND,
                         "there is no key '%.100s': " ACC_KEY_NAME
                         " signs the log and the verdicts",
                         name);
}

static int
add_key(void *arg, const struct acc_key *key, struct err *err)
{
    (void)err;
    cJSON *o = cJSON_CreateObject();
    put_key(o, key);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

int
svc_do_key_list(struct svc_call *c, struct err *err)
{
    cJSON *list = cJSON_AddArrayToObject(c->reply, "keys");
    int may =
        svc_shows_of_store(c, (struct acc_object){ ACC_KEY, NULL, ACC_KEY_NAME }, err);
    return may <= 0 ? may : acc_keys(c->repo->acc, add_key, list, err);
}

struct sought {
    cJSON *reply;
    const char *fingerprint; /* its first digits; NULL: the one that signs */
    int n;
};

static int
show_key(void *arg, const struct acc_key *key, struct err *err)
{
    struct sought *s = arg;
    struct buf pem AUTO(buf_release) = BUF_INIT;
    char hex[DIGEST_HEX_BYTES];
    (void)err;
    digest_hex(&key->id, hex);
    if (s->fingerprint && strncmp(hex, s->fingerprint, strlen(s->fingerprint)) != 0)
        return 0;
    put_key(s->reply, key);
    acc_key_pem(key->public, &pem);
    json_put_str(s->reply, "pem", buf_str(&pem));
    s->n = 1;
    return 1;
}

int
svc_do_key_show(struct svc_call *c, struct err *err)
{
    struct sought s = { .reply = c->reply, .fingerprint = svc_str(c, "fingerprint") };
    if (check_name(c, err) < 0)
        return -(int)err->code;
    if (s.fingerprint && strlen(s.fingerprint) < 8)
        return err_set(err, ERR_USAGE,
                       "--fingerprint: its first 8 digits at least, as key list --json "
                       "has them");
    int r = acc_keys(c->repo->acc, show_key, &s, err);
    return r < 0 || s.n ? r
                        : err_set(err, ERR_NOTFOUND,
                                  "no key of this store has the fingerprint %.64s…: "
                                  "sluice key list",
                                  s.fingerprint);
}

int
svc_do_key_rotate(struct svc_call *c, struct err *err)
{
    struct acc *acc = c->repo->acc;
    struct digest before, now;
    cJSON *both[] = { c->reply, c->body };
    /* what a killed one left is done first */
    if (check_name(c, err) < 0 || acc_publish(acc, err) < 0 ||
        db_begin(c->repo->db, err) < 0 ||
        acc_key_rotate(acc, svc_flag(c, "leaked"), c->body, &before, &now, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < 2; i++) {
        svc_put_hex(both[i], "before", &before);
        svc_put_hex(both[i], "fingerprint", &now);
        json_put_bool(both[i], "leaked", svc_flag(c, "leaked"));
    }
    json_put_str(c->reply, "name", ACC_KEY_NAME);
    return svc_commit(c, err);
}
