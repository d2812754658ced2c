/* SPDX-License-Identifier: Apache-2.0 */
/* StringToHashBucket (Murmur), …Fast (FarmHash), …Strong (keyed SipHash-2-4),
 * Fingerprint. A bucket is the hash, unsigned, modulo num_buckets. */
#include "runtime/ops/string_int.h"

#include "base/farmhash.h"

static uint64_t
load64(const char *p, size_t n) /* n <= 8 bytes, little-endian */
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

/* MurmurHash64A with TensorFlow's seed. */
static uint64_t
murmur(struct str s)
{
    const uint64_t mul = 0xc6a4a7935bd1e995u, seed = 0xdecafcaffeu;
    uint64_t h = seed ^ (s.n * mul);
    for (; s.n >= 8; s.p += 8, s.n -= 8) {
        uint64_t k = load64(s.p, 8) * mul;
        h = (h ^ ((k ^ k >> 47) * mul)) * mul;
    }
    if (s.n > 0)
        h = (h ^ load64(s.p, s.n)) * mul;
    h = (h ^ h >> 47) * mul;
    return h ^ h >> 47;
}

static inline uint64_t
rotl(uint64_t v, int bits)
{
    return v << bits | v >> (64 - bits);
}

static void
sip_rounds(uint64_t v[4], int n)
{
    for (; n > 0; n--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotl(v[1], 13) ^ v[0];
        v[3] = rotl(v[3], 16) ^ v[2];
        v[0] = rotl(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotl(v[1], 17) ^ v[2];
        v[3] = rotl(v[3], 21) ^ v[0];
        v[2] = rotl(v[2], 32);
    }
}

uint64_t
str_siphash(const uint64_t key[2], struct str s)
{
    uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                      key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u };
    uint64_t last = (uint64_t)s.n << 56;
    for (; s.n >= 8; s.p += 8, s.n -= 8) {
        uint64_t m = load64(s.p, 8);
        v[3] ^= m;
        sip_rounds(v, 2);
        v[0] ^= m;
    }
    if (s.n > 0)
        last |= load64(s.p, s.n);
    v[3] ^= last;
    sip_rounds(v, 2);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

enum hash_kind { MURMUR, FARM, SIP };
struct hash_bucket {
    enum hash_kind kind;
    uint64_t n_buckets, key[2];
};

int
rt_prep_hash_bucket(struct rt_prep *p)
{
    struct hash_bucket *h = p->node->state = rt_prep_alloc(p, sizeof(*h));
    int64_t n = rt_attr_int(p, "num_buckets", RT_REQUIRED);
    const char *op = p->node->op;
    h->n_buckets = (uint64_t)n;
    h->kind = strcmp(op, "StringToHashBucket") == 0       ? MURMUR
              : strcmp(op, "StringToHashBucketFast") == 0 ? FARM
                                                          : SIP;
    if (n < 1)
        rt_prep_fail(p, ERR_FAILED, "num_buckets is %lld, it must be at least 1",
                     (long long)n);
    if (h->kind == SIP) {
        int n_key;
        const int64_t *key = rt_attr_ints(p, "key", &n_key);
        if (n_key != 2)
            return rt_prep_fail(p, ERR_FAILED, "Key must have 2 elements");
        h->key[0] = (uint64_t)key[0];
        h->key[1] = (uint64_t)key[1];
    }
    return rt_prep_done(p);
}

int
rt_run_hash_bucket(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    const struct hash_bucket *h = ctx->node->state;
    struct rt_tensor *y;
    if (rt_out(ctx, 0, SM_INT64, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++) {
        struct str s = str_at(x, i);
        uint64_t v = h->kind == MURMUR ? murmur(s)
                     : h->kind == FARM ? farm64(s)
                                       : str_siphash(h->key, s);
        ((int64_t *)y->data)[i] = (int64_t)(v % h->n_buckets);
    }
    return 0;
}

/* y[i, 8] = FarmHash of row i of data, little-endian. A row of strings is hashed by the
 * hashes of its elements (of a single one: by its bytes). */
int
rt_run_fingerprint(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0], *method = ctx->in[1];
    struct rt_tensor *y;
    if (x->rank < 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "`data` should have at least one dimension.");
    if (method->n_elems != 1 || !str_is(str_at(method, 0), "farmhash64"))
        return rt_fail(ctx, err, ERR_FAILED,
                       "`method` should be farmhash64, unsupported method");
    if (rt_out(ctx, 0, SM_UINT8, 2, (int64_t[]){ x->dims[0], 8 }, &y, err) < 0)
        return -(int)err->code;
    int64_t inner = k_count(x->dims, 1, x->rank);
    size_t row = (size_t)inner * rt_dtype_size(x->dtype);
    uint64_t *hashes = rt_scratch(ctx, (size_t)inner * sizeof(*hashes), err);
    if (!hashes)
        return -(int)err->code;
    for (int64_t i = 0; i < x->dims[0]; i++) {
        struct str s = { (const char *)x->data + (size_t)i * row, row };
        if (x->dtype == SM_STRING && inner == 1) {
            s = str_at(x, i);
        } else if (x->dtype == SM_STRING) {
            for (int64_t k = 0; k < inner; k++)
                hashes[k] = farm64(str_at(x, i * inner + k));
            s = (struct str){ (const char *)hashes, (size_t)inner * sizeof(*hashes) };
        }
        uint64_t v = farm64(s);
        memcpy((char *)y->data + i * 8, &v, sizeof(v));
    }
    return 0;
}
