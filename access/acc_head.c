/* SPDX-License-Identifier: Apache-2.0 */
/* audit/head: how far the log went when it was last signed. 512 bytes, two slots of
 * 256, each one line of text padded with blanks before its LF:
 *
 *   "sluice-head 1 " SEQ(20 digits) " " CHAIN(64 hex) " " SIGNATURE(128 hex)
 *
 * The signature is Ed25519 over the line up to the blank before it; "sluice-head 1 "
 * keeps it from meaning anything else. Invariants:
 *  1. both slots are written when the store is made (seq 0, 32 zero bytes), so that an
 *     absent or empty slot is always somebody's doing;
 *  2. a new head goes over the older slot, with one pwrite inside one disk sector;
 *  3. nothing is synced: after a power cut the head may be some events behind the
 * table, never before it, for it is written after the commit. So a table that goes on
 *     from the head is fine; one that ends before it or differs from it is not. */
#include "access/acc_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SLOT_BYTES 256
#define MAGIC "sluice-head 1 "
#define SEQ_AT (sizeof(MAGIC) - 1)
#define CHAIN_AT (SEQ_AT + 21)
#define SIGNED_BYTES (CHAIN_AT + 64)
#define SIG_AT (SIGNED_BYTES + 1)
#define TEXT_BYTES (SIG_AT + 128)

static void
signed_text(const struct acc_head *h, char out[SIGNED_BYTES + 1])
{
    char hex[DIGEST_HEX_BYTES];

    digest_hex(&h->chain, hex);
    snprintf(out, SIGNED_BYTES + 1, MAGIC "%020" PRId64 " %s", h->seq, hex);
}

int
acc_head_sign(struct acc_head *h, struct ed25519_key *key, struct err *err)
{
    char text[SIGNED_BYTES + 1];

    signed_text(h, text);
    return ed25519_sign(key, text, SIGNED_BYTES, h->sig, err);
}

bool
acc_head_verify(const struct acc_head *h, const uint8_t pub[32])
{
    char text[SIGNED_BYTES + 1];

    signed_text(h, text);
    return ed25519_verify(pub, text, SIGNED_BYTES, h->sig);
}

int
acc_head_newest(const struct acc_head slots[ACC_HEAD_SLOTS])
{
    return slots[1].seq > slots[0].seq;
}

static void
format_slot(const struct acc_head *h, char out[SLOT_BYTES])
{
    char hex[DIGEST_HEX_BYTES];

    memset(out, ' ', SLOT_BYTES);
    signed_text(h, out);
    out[SIGNED_BYTES] = ' ';
    /* a signature is two digests long */
    digest_hex((const struct digest *)(const void *)h->sig, hex);
    memcpy(out + SIG_AT, hex, 64);
    digest_hex((const struct digest *)(const void *)(h->sig + 32), hex);
    memcpy(out + SIG_AT + 64, hex, 64);
    out[SLOT_BYTES - 1] = '\n';
}

static bool
parse_slot(const char text[SLOT_BYTES], struct acc_head *out)
{
    char again[SLOT_BYTES];
    struct digest half;

    if (memcmp(text, MAGIC, SEQ_AT) != 0)
        return false;
    out->seq = 0;
    for (size_t i = SEQ_AT; i < SEQ_AT + 20; i++) {
        if (text[i] < '0' || text[i] > '9' || out->seq > (INT64_MAX - 9) / 10)
            return false;
        out->seq = out->seq * 10 + (text[i] - '0');
    }
    if (!digest_parse((struct str){ text + CHAIN_AT, 64 }, &out->chain))
        return false;
    for (size_t i = 0; i < 2; i++) {
        if (!digest_parse((struct str){ text + SIG_AT + 64 * i, 64 }, &half))
            return false;
        memcpy(out->sig + 32 * i, half.b, 32);
    }
    format_slot(out, again); /* there is one way to write a slot */
    return memcmp(text, again, SLOT_BYTES) == 0;
}

int
acc_head_make(int store_dirfd, const uint8_t priv[32], struct err *err)
{
    struct acc_head h = { .seq = 0 };
    struct ed25519_key *key AUTO(ed25519_key_close_p) = NULL;
    char text[ACC_HEAD_SLOTS * SLOT_BYTES];
    int r = ed25519_key_open(&key, priv, err);

    if (r < 0 || (r = acc_head_sign(&h, key, err)) < 0)
        return r;
    for (int i = 0; i < ACC_HEAD_SLOTS; i++)
        format_slot(&h, text + i * SLOT_BYTES);
    return fs_replace(store_dirfd, ACC_HEAD_FILE, text, sizeof(text), 0600, err);
}

int
acc_head_read(int fd, struct acc_head out[ACC_HEAD_SLOTS], struct err *err)
{
    char text[ACC_HEAD_SLOTS * SLOT_BYTES + 1];
    int64_t n = fs_read_at(fd, text, sizeof(text), 0, ACC_HEAD_FILE, err);

    if (n < 0)
        return (int)n;
    if (n != ACC_HEAD_SLOTS * SLOT_BYTES)
        return err_set(err, ERR_CORRUPT, ACC_HEAD_FILE ": %s%" PRId64 " bytes, not %d",
                       n > ACC_HEAD_SLOTS * SLOT_BYTES ? "at least " : "", n,
                       ACC_HEAD_SLOTS * SLOT_BYTES);
    for (int i = 0; i < ACC_HEAD_SLOTS; i++)
        if (!parse_slot(text + i * SLOT_BYTES, &out[i]))
            return err_set(err, ERR_CORRUPT,
                           ACC_HEAD_FILE ": slot %d of %d is not as this program "
                                         "writes it",
                           i + 1, ACC_HEAD_SLOTS);
    return 0;
}

int
acc_head_write(int fd, int slot, const struct acc_head *h, struct err *err)
{
    char text[SLOT_BYTES];
    size_t done = 0;
    int e = fs_fault("write");

    format_slot(h, text);
    while (e == 0 && done < sizeof(text)) {
        ssize_t n = pwrite(fd, text + done, sizeof(text) - done,
                           (off_t)(slot * SLOT_BYTES + (int)done));

        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            e = errno;
    }
    return e == 0 ? 0 : err_sys(err, e, "write " ACC_HEAD_FILE);
}
