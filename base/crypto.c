/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 uses OpenSSL's own functions, not EVP: EVP looks its algorithm up in a
 * provider, which costs a short-lived process about a millisecond. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/crypto.h"

#include <dlfcn.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#if defined(__x86_64__) && __has_include(<sys/platform/x86.h>)
#include <sys/platform/x86.h>
#endif

_Static_assert(sizeof(SHA256_CTX) <= sizeof(((struct sha256 *)0)->state),
               "struct sha256 has no room for SHA256_CTX");

void
sha256_init(struct sha256 *s)
{
    SHA256_Init((SHA256_CTX *)(void *)s->state);
}

void
sha256_add(struct sha256 *s, const void *p, size_t n)
{
    SHA256_Update((SHA256_CTX *)(void *)s->state, p, n);
}

void
sha256_end(struct sha256 *s, struct digest *out)
{
    SHA256_Final(out->b, (SHA256_CTX *)(void *)s->state);
}

void
sha256_of(const void *p, size_t n, struct digest *out)
{
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, p, n);
    sha256_end(&s, out);
}

void
digest_hex(const struct digest *d, char out[DIGEST_HEX_BYTES])
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < sizeof(d->b); i++) {
        out[2 * i] = hex[d->b[i] >> 4];
        out[2 * i + 1] = hex[d->b[i] & 15];
    }
    out[2 * sizeof(d->b)] = '\0';
}

int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool
digest_parse(struct str hex, struct digest *out)
{
    if (hex.n != 2 * sizeof(out->b))
        return false;
    for (size_t i = 0; i < sizeof(out->b); i++) {
        int hi = hex_value(hex.p[2 * i]), lo = hex_value(hex.p[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        out->b[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

bool
digest_eq(const struct digest *a, const struct digest *b)
{
    return CRYPTO_memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

/* ISA-L's crc32_iscsi leaves both inversions to its caller. */
typedef unsigned int crc_fn(unsigned char *p, int n, unsigned int raw);

/* The polynomial bit by bit, for a machine where ISA-L is not installed. */
static unsigned int
crc_plain(unsigned char *p, int n, unsigned int raw)
{
    for (; n > 0; n--) {
        raw ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            raw = raw >> 1 ^ (0x82f63b78u & -(raw & 1u));
    }
    return raw;
}

/* ISA-L is mapped when a checksum is first asked for: most commands never do, and a
 * library mapped at start costs each of them a tenth of a process. Written once. */
static crc_fn *crc_best = crc_plain;
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void
find_crc(void)
{
    void *isal = dlopen("libisal.so.2", RTLD_NOW | RTLD_LOCAL);
    crc_fn *found = isal ? (crc_fn *)dlsym(isal, "crc32_iscsi") : NULL;

    if (found)
        crc_best = found;
}

/* ISA-L may leave the upper halves of vector registers in use, which slows all SSE code
 * that follows, SHA-256 by a sixth. */
static void
clean_vectors(void)
{
#ifdef CPU_FEATURE_ACTIVE
    if (CPU_FEATURE_ACTIVE(AVX))
        __asm__ volatile("vzeroupper" ::: "memory");
#endif
}

uint32_t
crc32c(uint32_t crc, const void *p, size_t n)
{
    unsigned char *next = (unsigned char *)(uintptr_t)p; /* only read */
    unsigned int raw = ~crc;

    pthread_once(&crc_once, find_crc);
    while (n > 0) {
        int step = n > 1 << 30 ? 1 << 30 : (int)n;

        raw = crc_best(next, step, raw);
        next += step;
        n -= (size_t)step;
    }
    clean_vectors();
    return ~raw;
}

uint32_t
crc32c_mask(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void
free_pkey(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void
free_md_ctx(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}

/* openssl.cnf has no say in how an audit head is signed, and reading it takes time. So
 * does the list of all messages, which nobody is shown. */
static void
init_evp(void)
{
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ADD_ALL_CIPHERS |
                            OPENSSL_INIT_NO_ADD_ALL_DIGESTS | OPENSSL_INIT_NO_ATEXIT |
                            OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS,
                        NULL);
}

/* libsodium signs: libcrypto looks for its own in a provider, which takes a process
 * half a millisecond, and its arithmetic three times as long. Signatures are the same:
 * RFC 8032 leaves no choice. sodium_init seeds random numbers and picks among
 * implementations of other algorithms: what is used here has one, which needs neither.
 */
struct ed25519_key {
    uint8_t secret[crypto_sign_SECRETKEYBYTES]; /* the private half, then the public */
};

int
ed25519_key_open(struct ed25519_key **out, const uint8_t priv[32], struct err *err)
{
    uint8_t pub[32];

    *out = xcalloc(1, sizeof(**out));
    if (crypto_sign_seed_keypair(pub, (*out)->secret, priv) == 0)
        return 0;
    ed25519_key_close_p(out);
    return err_set(err, ERR_FAILED, "libsodium makes no Ed25519 key");
}

void
ed25519_key_close_p(struct ed25519_key **key)
{
    if (*key)
        sodium_memzero((*key)->secret, sizeof((*key)->secret));
    free(*key);
    *key = NULL;
}

int
ed25519_public(const uint8_t priv[32], uint8_t pub[32], struct err *err)
{
    struct ed25519_key *key AUTO(ed25519_key_close_p) = NULL;
    int r = ed25519_key_open(&key, priv, err);

    if (r == 0)
        memcpy(pub, key->secret + 32, 32);
    return r;
}

int
ed25519_new_key(uint8_t priv[32], uint8_t pub[32], struct err *err)
{
    int r = random_bytes(priv, 32, err);

    return r < 0 ? r : ed25519_public(priv, pub, err);
}

int
ed25519_sign(struct ed25519_key *key, const void *p, size_t n, uint8_t sig[64],
             struct err *err)
{
    return crypto_sign_detached(sig, NULL, p, n, key->secret) == 0
               ? 0
               : err_set(err, ERR_FAILED, "libsodium refused to sign %zu bytes", n);
}

bool
ed25519_verify(const uint8_t pub[32], const void *p, size_t n, const uint8_t sig[64])
{
    EVP_PKEY *key AUTO(free_pkey) = NULL;
    EVP_MD_CTX *ctx AUTO(free_md_ctx) = NULL;

    init_evp();
    key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pub, 32);
    ctx = EVP_MD_CTX_new();
    return key && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
           EVP_DigestVerify(ctx, sig, 64, p, n) == 1;
}

int
random_bytes(void *p, size_t n, struct err *err)
{
    uint8_t *next = p;

    while (n > 0) {
        ssize_t got = getrandom(next, n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys(err, errno, "getrandom");
        next += got;
        n -= (size_t)got;
    }
    return 0;
}

void
base64_add(struct buf *out, const void *p, size_t n)
{
    const uint8_t *next = p;

    while (n > 0) {
        unsigned char text[4 * 256 + 1];
        int step = n > 3 * 256 ? 3 * 256 : (int)n; /* whole groups until the last */

        buf_add(out, text, (size_t)EVP_EncodeBlock(text, next, step));
        next += step;
        n -= (size_t)step;
    }
}

static bool
is_base64(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '+' || c == '/';
}

int
base64_decode(struct buf *out, struct str text, struct err *err)
{
    size_t n_pad = 0, old_len = out->len;

    /* EVP_DecodeBlock forgives blanks and counts padding as bytes: look first. */
    while (n_pad < 2 && n_pad < text.n && text.p[text.n - 1 - n_pad] == '=')
        n_pad++;
    if (text.n % 4 != 0)
        return err_set(err, ERR_INVALID,
                       "base64 text of %zu characters: not whole groups", text.n);
    for (size_t i = 0; i < text.n - n_pad; i++)
        if (!is_base64(text.p[i]))
            return err_set(err, ERR_INVALID, "base64 text: byte 0x%02x at %zu",
                           (uint8_t)text.p[i], i);
    for (size_t at = 0; at < text.n;) {
        unsigned char bytes[3 * 256];
        int step = text.n - at > 4 * 256 ? 4 * 256 : (int)(text.n - at), got;

        got = EVP_DecodeBlock(bytes, (const unsigned char *)text.p + at, step);
        if (got < 0) {
            out->len = old_len;
            return err_set(err, ERR_INVALID, "base64 text: bad group after %zu", at);
        }
        at += (size_t)step;
        buf_add(out, bytes, (size_t)got - (at == text.n ? n_pad : 0));
    }
    return buf_check(out, "base64 text", err);
}

int
base64url_decode(struct buf *out, struct str url, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    for (size_t i = 0; i < url.n; i++) {
        if (url.p[i] == '+' || url.p[i] == '/' || url.p[i] == '=')
            return err_set(err, ERR_INVALID, "not in base64url");
        buf_addc(&text, url.p[i] == '-' ? '+' : url.p[i] == '_' ? '/' : url.p[i]);
    }
    while (text.len % 4)
        buf_addc(&text, '=');
    return base64_decode(out, (struct str){ text.data, text.len }, err);
}

static void *
ssl_malloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return n ? xmalloc(n) : NULL;
}

static void *
ssl_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    if (n > 0)
        return xrealloc(p, n);
    free(p);
    return NULL;
}

static void
ssl_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    free(p);
}

void
crypto_setup(void)
{
    /* refused once libcrypto has allocated anything: then it stays as it is */
    (void)CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free);
}
