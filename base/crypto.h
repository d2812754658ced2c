/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

#include "base/buf.h"

/* SHA-256 (FIPS 180-4) through OpenSSL. */
struct sha256 {
    uint64_t state[16]; /* room for OpenSSL's SHA256_CTX, checked in base/crypto.c */
};
/* For main, before anything else here: out of memory, libcrypto ends the program as
 * xmalloc does. Version 3.0 goes on with locks it could not make, and dies of them. */
void crypto_setup(void);

struct digest {
    uint8_t b[32];
};
#define DIGEST_HEX_BYTES 65
void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t n);
void sha256_end(struct sha256 *s, struct digest *out);
void sha256_of(const void *p, size_t n, struct digest *out);
/* Lower-case hex with a final NUL. */
void digest_hex(const struct digest *d, char out[DIGEST_HEX_BYTES]);
int hex_value(char c); /* of a hex digit; -1: it is none */
/* 64 hex digits, either case; false: something else. */
bool digest_parse(struct str hex, struct digest *out);
bool digest_eq(const struct digest *a, const struct digest *b);

/* CRC-32C (Castagnoli), continued from a finished value; start with 0. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* TensorFlow's masked form. */
uint32_t crc32c_mask(uint32_t crc);

/* Ed25519 (RFC 8032). Keys are the raw 32 bytes. libsodium signs (0.02
 * ms), libcrypto verifies (0.5 ms for the first one of a process). */
int ed25519_new_key(uint8_t priv[32], uint8_t pub[32], struct err *err) MUST_CHECK;
int ed25519_public(const uint8_t priv[32], uint8_t pub[32], struct err *err) MUST_CHECK;
/* A private key made ready: its public half is computed once, not at each signature. */
struct ed25519_key;
int ed25519_key_open(struct ed25519_key **out, const uint8_t priv[32],
                     struct err *err) MUST_CHECK;
void ed25519_key_close_p(struct ed25519_key **key); /* for AUTO; NULL allowed */
int ed25519_sign(struct ed25519_key *key, const void *p, size_t n, uint8_t sig[64],
                 struct err *err) MUST_CHECK;
bool ed25519_verify(const uint8_t pub[32], const void *p, size_t n,
                    const uint8_t sig[64]);
/* Random bytes of the kernel. */
int random_bytes(void *p, size_t n, struct err *err) MUST_CHECK;
/* RFC 4648, no line breaks. ERR_INVALID: not base64; ERR_LIMIT: past out's cap. */
void base64_add(struct buf *out, const void *p, size_t n);
int base64_decode(struct buf *out, struct str text, struct err *err) MUST_CHECK;
/* The URL's alphabet, without padding. */
int base64url_decode(struct buf *out, struct str text, struct err *err) MUST_CHECK;

#endif
