/* SPDX-License-Identifier: Apache-2.0 */
/* The store's key is handed over to a new one. An event (key_rotate) says so, and both
 * keys sign the text
 *
 *   "sluice-handover 1 " SEQ " " FROM(64 hex) " " TO(64 hex) " " ("keeps" | "leaked")
 *
 * of that event's number and the two public keys: who trusts the old key comes to the
 * new one, and the new one vouches for what the old one signed. Nothing but the key of
 * keys/store.pub is believed; rows of the table `key` only say where to look: 1 is the
 * key of now, -SEQ one that was handed over by event SEQ.
 *
 *   1. keys/next.key, the new private key, is durable (acc_key_rotate);
 *   2. rows and event are committed: from here the key is the new one;
 *   3. keys/store.pub is the new one, 4. next.key becomes store.key (acc_key_install,
 *      by whoever publishes the log next, under its lock);
 *   5. the heads are signed again (acc_publish).
 *
 * A next.key that no commit followed is nobody's: the next handover writes over it. One
 * begins (1) only when the one before is over (store.key is the catalogue's), so 1 and
 * 3 are never in each other's way in keys/. Heads of events before SEQ by the old
 * key stay good, so between any two of these steps the log holds. Whoever publishes
 * looks for next.key after he has read the events: no head with SEQ in it is by the old
 * key. */
#include "access/acc_int.h"

#include "base/clock.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct handover {
    int64_t seq;
    struct digest from, to; /* public keys: as long as digests, and written so */
    bool is_leaked;
    uint8_t by_from[64], by_to[64];
};

static void
signed_text(const struct handover *h, struct buf *out)
{
    char from[DIGEST_HEX_BYTES], to[DIGEST_HEX_BYTES];

    digest_hex(&h->from, from);
    digest_hex(&h->to, to);
    buf_addf(out, "sluice-handover 1 %" PRId64 " %s %s %s", h->seq, from, to,
             h->is_leaked ? "leaked" : "keeps");
}

static bool
holds(const struct handover *h)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    signed_text(h, &text);
    return ed25519_verify(h->to.b, text.data, text.len, h->by_to) &&
           ed25519_verify(h->from.b, text.data, text.len, h->by_from);
}

/* ---- as a member of the event's body --------------------------------------------- */

static bool
read_signature(const cJSON *o, const char *key, uint8_t sig[64])
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    struct buf bytes AUTO(buf_release) = { .cap_bytes = 128 };
    struct err none = ERR_INIT;

    if (!text || base64_decode(&bytes, str_of(text), &none) < 0 || bytes.len != 64)
        return false;
    memcpy(sig, bytes.data, 64);
    return true;
}

static bool
read_key(const cJSON *o, const char *key, struct digest *out)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));

    return text && digest_parse(str_of(text), out);
}

/* Whatever is no handover is none: the row comes from a file. */
static bool
read_body(const char *body, int64_t seq, struct handover *out)
{
    cJSON *all AUTO(json_free) = NULL;
    struct err none = ERR_INIT;
    const cJSON *o;

    *out = (struct handover){ .seq = seq };
    if (json_parse(&all, str_of(body), "handover", &none) < 0)
        return false;
    o = cJSON_GetObjectItemCaseSensitive(all, ACC_HANDOVER);
    out->is_leaked = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "leaked"));
    return read_key(o, "from", &out->from) && read_key(o, "to", &out->to) &&
           read_signature(o, "signed_by_from", out->by_from) &&
           read_signature(o, "signed_by_to", out->by_to) && holds(out);
}

static void
put_signature(cJSON *o, const char *key, const uint8_t sig[64])
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    base64_add(&text, sig, 64);
    json_put_str(o, key, buf_str(&text));
}

static void
put_body(const struct handover *h, cJSON *body)
{
    cJSON *o = cJSON_AddObjectToObject(body, ACC_HANDOVER);
    char hex[DIGEST_HEX_BYTES];

    digest_hex(&h->from, hex);
    json_put_str(o, "from", hex);
    digest_hex(&h->to, hex);
    json_put_str(o, "to", hex);
    json_put_bool(o, "leaked", h->is_leaked);
    put_signature(o, "signed_by_from", h->by_from);
    put_signature(o, "signed_by_to", h->by_to);
}

/* ---- the keys, newest first ------------------------------------------------------ */

/* The key of the catalogue; zeros: none. */
static int
key_of_now(struct acc *a, uint8_t pub[32], int64_t *made_ns, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const void *p;
    size_t n;
    int r =
        db_query(a->db, &st, err, "SELECT public, time_ns FROM key WHERE id = 1", "");

    memset(pub, 0, 32);
    *made_ns = 0;
    if (r < 0 || (r = db_step(st, err)) <= 0)
        return r;
    p = db_blob(st, 0, &n);
    if (n == 32)
        memcpy(pub, p, n);
    *made_ns = db_int(st, 1);
    return 0;
}

static void
set_key(struct acc_key *key, const uint8_t pub[32])
{
    memcpy(key->public, pub, 32);
    acc_key_digest(pub, &key->id);
}

int
acc_keys_of(struct acc *a, const uint8_t pub[32],
            int (*fn)(void *arg, const struct acc_key *key, struct err *err), void *arg,
            struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct acc_key key = { .until_seq = 0 };
    uint8_t now[32];
    int r = key_of_now(a, now, &key.made_ns, err);

    set_key(&key, pub);
    if (memcmp(now, pub, 32) != 0)
        key.made_ns = 0;
    if (r == 0)
        r = db_query(a->db, &st, err,
                     "SELECT e.seq, e.body, k.time_ns FROM key k "
                     "JOIN event e ON e.seq = -k.id WHERE k.id < 0 ORDER BY k.id",
                     "");
    while (r == 0 && (r = db_step(st, err)) == 1) {
        struct handover h;

        r = 0;
        if (!read_body(db_text(st, 1), db_int(st, 0), &h) ||
            memcmp(h.to.b, key.public, 32) != 0)
            continue;
        key.from_seq = h.seq;
        r = fn(arg, &key, err);
        key = (struct acc_key){ .made_ns = db_int(st, 2),
                                .until_seq = h.seq,
                                .is_leaked = key.is_leaked || h.is_leaked };
        set_key(&key, h.from.b);
    }
    if (r == 0)
        r = fn(arg, &key, err);
    return r < 0 ? r : 0;
}

int
acc_keys(struct acc *a,
         int (*fn)(void *arg, const struct acc_key *key, struct err *err), void *arg,
         struct err *err)
{
    uint8_t pub[32];

    return acc_key_public(a->dirfd, pub, err) < 0 ? -(int)err->code
                                                  : acc_keys_of(a, pub, fn, arg, err);
}

struct sought {
    const void *p;
    size_t n;
    const uint8_t *sig;
    const struct acc_head *head; /* or this */
    struct acc_key found;
    bool is_found;
};

static int
try_key(void *arg, const struct acc_key *key, struct err *err)
{
    struct sought *s = arg;

    (void)err;
    if (s->head)
        s->is_found = (key->until_seq == 0 || s->head->seq < key->until_seq) &&
                      acc_head_verify(s->head, key->public);
    else
        s->is_found =
            !key->is_leaked && ed25519_verify(key->public, s->p, s->n, s->sig);
    s->found = *key;
    return s->is_found;
}

int
acc_head_is_ours(struct acc *a, const struct acc_head *h, const uint8_t pub[32],
                 struct err *err)
{
    struct sought s = { .head = h };
    int r = acc_keys_of(a, pub, try_key, &s, err);

    return r < 0 ? r : s.is_found;
}

int
acc_signed(struct acc *a, const void *p, size_t n, const uint8_t sig[64],
           struct digest *id_or_null, struct err *err)
{
    struct sought s = { .p = p, .n = n, .sig = sig };
    int r = acc_keys(a, try_key, &s, err);

    if (s.is_found && id_or_null)
        *id_or_null = s.found.id;
    return r < 0 ? r : s.is_found;
}

/* ---- handing over ---------------------------------------------------------------- */

static int
sign(const struct handover *h, const uint8_t priv[32], uint8_t sig[64], struct err *err)
{
    struct ed25519_key *key AUTO(ed25519_key_close_p) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT;

    signed_text(h, &text);
    return ed25519_key_open(&key, priv, err) < 0
               ? -(int)err->code
               : ed25519_sign(key, text.data, text.len, sig, err);
}

int
acc_key_rotate(struct acc *a, bool is_leaked, cJSON *body, struct digest *before,
               struct digest *now_id, struct err *err)
{
    struct handover h = { .is_leaked = is_leaked };
    uint8_t old_priv[32], new_priv[32], now[32];
    int64_t made_ns, last = 0;

    if (!db_in_tx(a->db))
        BUG("a key is handed over outside the transaction of its event");
    if (key_of_now(a, now, &made_ns, err) < 0 ||
        acc_key_private(a->dirfd, old_priv, err) < 0 ||
        ed25519_public(old_priv, h.from.b, err) < 0)
        return -(int)err->code;
    if (memcmp(now, h.from.b, 32) != 0)
        return err_set(err, ERR_BUSY,
                       ACC_KEY_FILE
                       " is not the key of the catalogue: the key is being "
                       "changed by another call, or sluice audit verify "
                       "says more");
    if (db_get_int(a->db, &last, err, "SELECT max(seq) FROM event", "") < 0 ||
        acc_next_key_make(a->dirfd, new_priv, h.to.b, err) < 0)
        return -(int)err->code;
    h.seq = last + 1;
    if (sign(&h, old_priv, h.by_from, err) < 0 ||
        sign(&h, new_priv, h.by_to, err) < 0 ||
        db_run(a->db, err, "INSERT INTO key(id, public, time_ns) VALUES(?, ?, ?)",
               "ibi", -h.seq, h.from.b, (size_t)32, made_ns) < 0 ||
        db_run(a->db, err, "UPDATE key SET public = ?, time_ns = ? WHERE id = 1", "bi",
               h.to.b, (size_t)32, clock_now_ns()) < 0)
        return err_ctx(err, "hand the key over");
    put_body(&h, body);
    acc_key_digest(h.from.b, before);
    acc_key_digest(h.to.b, now_id);
    return 0;
}

int
acc_key_install(struct acc *a, struct err *err)
{
    uint8_t next[32], now[32];
    int64_t made_ns;
    int r = acc_next_key(a->dirfd, next, err);

    if (r <= 0 || (r = key_of_now(a, now, &made_ns, err)) < 0)
        return r;
    return memcmp(next, now, 32) == 0 ? acc_next_key_install(a->dirfd, next, err) : 0;
}

/* ---- is it settled? -------------------------------------------------------------- */

static int
take_second(void *arg, const struct acc_key *key, struct err *err)
{
    uint8_t *pub = arg;

    (void)err;
    if (key->until_seq == 0)
        return 0;
    memcpy(pub, key->public, 32);
    return 1;
}

int
acc_key_now(struct acc *a, uint8_t pub[32], struct err *err)
{
    uint8_t in_file[32], before[32] = { 0 };
    int64_t made_ns;
    int r;

    /* a handover between the two looks is over at the second try */
    for (int i = 0; i < 2; i++) {
        if (key_of_now(a, pub, &made_ns, err) < 0 ||
            acc_key_public(a->dirfd, in_file, err) < 0)
            return -(int)err->code;
        if (memcmp(pub, in_file, 32) == 0)
            return 1;
    }
    r = fs_exists(a->dirfd, ACC_NEXT_FILE, err);
    if (r == 1) /* committed, and the files are still to follow? */
        r = acc_keys_of(a, pub, take_second, before, err);
    if (r < 0 || memcmp(before, in_file, 32) == 0)
        return r;
    return err_set(err, ERR_CONFLICT,
                   ACC_PUB_FILE " is not the key this store was made with");
}
