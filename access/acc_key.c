/* SPDX-License-Identifier: Apache-2.0 */
/* The store's key pair as PEM, so that a witness can check a head without this program:
 * keys/store.key is PKCS #8, keys/store.pub SubjectPublicKeyInfo (RFC 8410). For
 * Ed25519 both are a fixed DER prefix and the 32 bytes. */
#include "access/acc_int.h"

#include "base/clock.h"

#include <string.h>

static const struct pem {
    const char *path, *label;
    mode_t mode;
    size_t prefix_bytes;
    uint8_t prefix[16];
} private_pem = { .path = ACC_KEY_FILE,
                  .label = "PRIVATE KEY",
                  .mode = 0600,
                  .prefix_bytes = 16,
                  .prefix = { 0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03,
                              0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20 } },
  public_pem = { .path = ACC_PUB_FILE,
                 .label = "PUBLIC KEY",
                 .mode = 0444,
                 .prefix_bytes = 12,
                 .prefix = { 0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03,
                             0x21, 0x00 } };

static void
add_pem(const struct pem *pem, const uint8_t key[32], struct buf *out)
{
    uint8_t der[16 + 32];

    memcpy(der, pem->prefix, pem->prefix_bytes);
    memcpy(der + pem->prefix_bytes, key, 32);
    buf_addf(out, "-----BEGIN %s-----\n", pem->label);
    base64_add(out, der, pem->prefix_bytes + 32);
    buf_addf(out, "\n-----END %s-----\n", pem->label);
}

static int
write_pem(int dirfd, const struct pem *pem, const uint8_t key[32], struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    add_pem(pem, key, &text);
    return fs_replace(dirfd, pem->path, text.data, text.len, pem->mode, err);
}

static int
read_pem(int dirfd, const struct pem *pem, uint8_t key[32], struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = 4096 };
    struct buf der AUTO(buf_release) = BUF_INIT;
    const char *begin, *end;
    int r = fs_read(dirfd, pem->path, &text, err);

    if (r < 0)
        return r;
    begin = strchr(buf_str(&text), '\n');
    end = begin ? strchr(begin + 1, '\n') : NULL;
    if (end) {
        struct str base64 = { begin + 1, (size_t)(end - begin - 1) };
        if (base64_decode(&der, base64, err) < 0)
            err_clear(err); /* told below, with the file's name */
    }
    if (der.len != pem->prefix_bytes + 32 ||
        memcmp(der.data, pem->prefix, pem->prefix_bytes) != 0)
        return err_set(err, ERR_CORRUPT, "%s: not an Ed25519 key in PEM: restore it",
                       pem->path);
    memcpy(key, der.data + pem->prefix_bytes, 32);
    return 0;
}

int
acc_key_make(int store_dirfd, uint8_t priv[32], uint8_t pub[32], struct err *err)
{
    int r = ed25519_new_key(priv, pub, err);

    if (r == 0)
        r = fs_mkdirs(store_dirfd, "keys", 0700, err);
    if (r == 0)
        r = write_pem(store_dirfd, &private_pem, priv, err);
    if (r == 0)
        r = write_pem(store_dirfd, &public_pem, pub, err);
    return r;
}

int
acc_key_private(int store_dirfd, uint8_t priv[32], struct err *err)
{
    return read_pem(store_dirfd, &private_pem, priv, err);
}

int
acc_key_public(int store_dirfd, uint8_t pub[32], struct err *err)
{
    return read_pem(store_dirfd, &public_pem, pub, err);
}

/* ---- the next one (acc_handover.c) ---------------------------------------------- */

static struct pem
next_pem(void)
{
    struct pem pem = private_pem;

    pem.path = ACC_NEXT_FILE;
    return pem;
}

int
acc_next_key_make(int store_dirfd, uint8_t priv[32], uint8_t pub[32], struct err *err)
{
    const struct pem pem = next_pem();

    fs_tmp_sweep(store_dirfd, "keys");
    return ed25519_new_key(priv, pub, err) < 0
               ? -(int)err->code
               : write_pem(store_dirfd, &pem, priv, err);
}

int
acc_next_key(int store_dirfd, uint8_t pub[32], struct err *err)
{
    const struct pem pem = next_pem();
    uint8_t priv[32];
    int r = fs_exists(store_dirfd, pem.path, err);

    if (r == 1 && (read_pem(store_dirfd, &pem, priv, err) < 0 ||
                   ed25519_public(priv, pub, err) < 0))
        r = -(int)err->code;
    return r;
}

int
acc_next_key_install(int store_dirfd, const uint8_t pub[32], struct err *err)
{
    fs_tmp_sweep(store_dirfd, "keys");
    if (write_pem(store_dirfd, &public_pem, pub, err) < 0 ||
        fs_rename(store_dirfd, ACC_NEXT_FILE, store_dirfd, ACC_KEY_FILE, err) < 0)
        return -(int)err->code;
    return fs_fsync_dir(store_dirfd, "keys", err);
}

int
acc_key_adopt(int store_dirfd, const char *path, struct err *err)
{
    struct pem given = private_pem;
    uint8_t priv[32], pub[32], want[32];
    int r;

    given.path = path;
    r = read_pem(AT_FDCWD, &given, priv, err);
    if (r == 0)
        r = ed25519_public(priv, pub, err);
    if (r == 0)
        r = acc_key_public(store_dirfd, want, err);
    if (r == 0 && memcmp(pub, want, sizeof(pub)) != 0)
        r = err_set(err, ERR_INVALID, "%s is not the key of this store", path);
    return r < 0 ? r : write_pem(store_dirfd, &private_pem, priv, err);
}

int
acc_key_renew(int store_dirfd, struct db *db, struct err *err)
{
    uint8_t priv[32], pub[32];
    int r = acc_key_make(store_dirfd, priv, pub, err);

    if (r == 0)
        r = acc_head_make(store_dirfd, priv, err);
    if (r == 0)
        r = db_begin(db, err);
    if (r < 0)
        return r;
    r = db_run(db, err, "UPDATE key SET public = ?, time_ns = ? WHERE id = 1", "bi",
               pub, sizeof(pub), clock_now_ns());
    if (r == 0)
        return db_commit(db, err);
    db_rollback(db);
    return r;
}

int
acc_head_renew(int store_dirfd, const char *aside, struct err *err)
{
    uint8_t priv[32];
    int r = acc_key_private(store_dirfd, priv, err);

    if (r == 0)
        r = fs_mkdirs(store_dirfd, "audit", 0700, err);
    if (r == 0)
        r = fs_exists(store_dirfd, ACC_HEAD_FILE, err);
    if (r == 1)
        r = fs_rename(store_dirfd, ACC_HEAD_FILE, store_dirfd, aside, err);
    return r < 0 ? r : acc_head_make(store_dirfd, priv, err);
}

/* ---- what the store vouches for ------------------------------------------------- */

int
acc_sign(struct acc *a, const void *p, size_t n, uint8_t sig[64], struct err *err)
{
    struct ed25519_key *key AUTO(ed25519_key_close_p) = NULL;
    uint8_t priv[32];

    if (acc_key_private(a->dirfd, priv, err) < 0 ||
        ed25519_key_open(&key, priv, err) < 0)
        return err_ctx(err, "sign with the store's key");
    return ed25519_sign(key, p, n, sig, err);
}

void
acc_key_digest(const uint8_t pub[32], struct digest *out)
{
    uint8_t der[16 + 32];

    memcpy(der, public_pem.prefix, public_pem.prefix_bytes);
    memcpy(der + public_pem.prefix_bytes, pub, 32);
    sha256_of(der, public_pem.prefix_bytes + 32, out);
}

void
acc_key_pem(const uint8_t pub[32], struct buf *out)
{
    add_pem(&public_pem, pub, out);
}

int
acc_key_id(struct acc *a, struct digest *out, struct err *err)
{
    uint8_t pub[32];

    if (acc_key_public(a->dirfd, pub, err) < 0)
        return -(int)err->code;
    acc_key_digest(pub, out);
    return 0;
}
