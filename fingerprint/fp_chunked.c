/* SPDX-License-Identifier: Apache-2.0 */
/* The five hashes of a chunked model (saved_model.cpb; the format:
 * savedmodel/sm_cpb.c). Chunks are hashed as they are stored, and the graph keeps what
 * fp_program.c takes out of a model in one file, so the two fingerprints of one model
 * have nothing in common but the checkpoint. A target is a path: none (everything), or
 * [2, index 0, part] with the graph (2), the signatures (5) or the object graph (7) of
 * the first MetaGraph.
 *
 *   fields(message, T)  over the chunked fields as stored, h = Cat(h, …) of
 *                         what is T or in it     FP(chunk), else fields(its message, T)
 *                         what T is in           fields(the message of each field in
 * it) the message itself     fields(its message, T) and of others nothing checksum
 * Cat(fields(root, none), FP("")) graph               Cat(FP(DET(GraphDef)),
 * fields(root, T)) signatures          by key: h = Cat(h, Cat(FP(key),
 * FP(DET(value)))), then h = Cat(h, fields(root, T)) object graph
 * Cat(FP(DET(SavedObjectGraph)), fields(root, T)) checkpoint          as in fp_five.c
 *
 * DET is of the model that is merged from the fields whose whole path begins a
 * target's: what a longer path took out stays out. A field is merged once for each such
 * target.
 *
 * Best effort: TensorFlow's own test takes two values for the graph and the object
 * graph, as chunks are not serialised alike in all its builds. */
#include "fingerprint/fp_int.h"

#include "base/farmhash.h"

#include <stdlib.h>

#define MAX_DEPTH 100
#define PRUNED_MAX_BYTES ((size_t)4 << 20) /* a field is some 30 bytes */

enum { STEP_FIELD = 1, STEP_INDEX = 3 }; /* fields of FieldIndex */
struct step {
    uint32_t kind;
    uint64_t n;
};
#define TARGET_STEPS 3
struct target {
    struct step step[TARGET_STEPS];
    size_t n;
};
#define TARGET(part)                                                                   \
    {                                                                                  \
        { { STEP_FIELD, 2 }, { STEP_INDEX, 0 }, { STEP_FIELD, part } }, TARGET_STEPS   \
    }
static const struct target everything = { .n = 0 };
static const struct target targets[] = { TARGET(2), TARGET(5), TARGET(7) };
#define GRAPH (&targets[0])
#define SIGNATURES (&targets[1])
#define OBJECTS (&targets[2])
#define N_TARGETS (sizeof(targets) / sizeof(targets[0]))

/* A chunk is hashed once, however many fields name it. */
struct known {
    uint64_t fp;
    bool is_known;
};
struct chunked {
    struct sm_chunks c;
    struct known *known;
};

static void
chunked_release(struct chunked *x)
{
    free(x->known);
    sm_chunks_release(&x->c);
}

/* ---- fields ---- */

static bool
step_is(struct str field_index, const struct step *want)
{
    struct sm_field f, last = { .num = 0 };
    while (sm_pb_next(&field_index, &f) > 0) {
        if (f.num >= STEP_FIELD && f.num <= STEP_INDEX)
            last = f;
    }
    return last.num == want->kind && last.wire == 0 && last.v == want->n;
}

/* How many steps from the start the path of a chunked field shares with the target. */
static size_t
path_match(struct str field, const struct target *t, size_t *n_path)
{
    struct str step;
    size_t n = 0;
    for (*n_path = 0; sm_pb_next_msg(&field, 1, &step) > 0; ++*n_path) {
        if (n == *n_path && n < t->n && step_is(step, &t->step[n]))
            n++;
    }
    return n;
}

/* false: the message has no chunk of its own */
static bool
chunk_of(struct str message, uint64_t *at)
{
    struct sm_field f;
    bool has = sm_pb_get(message, 1, &f) && f.wire == 0;
    *at = has ? f.v : 0;
    return has;
}

static int
chunk_hash(struct chunked *x, uint64_t at, uint64_t *out, struct err *err)
{
    if (at >= x->c.n)
        return err_set(err, ERR_CORRUPT, "no chunk %llu", (unsigned long long)at);
    struct known *k = &x->known[at];
    if (!k->is_known)
        *k = (struct known){ farm64(x->c.v[at]), true };
    *out = k->fp;
    return 0;
}

static int
check_depth(int depth, struct err *err)
{
    return depth <= MAX_DEPTH
               ? 0
               : err_set(err, ERR_LIMIT, "chunked messages nested more than %d deep",
                         MAX_DEPTH);
}

/* ---- hashes of chunks ---- */

static int hash_fields(struct chunked *x, struct str message, const struct target *t,
                       int depth, uint64_t *out, struct err *err);

/* What the target is in, without a chunk of its own. */
static int
hash_inside(struct chunked *x, struct str message, const struct target *t, int depth,
            uint64_t *h, struct err *err)
{
    struct str raw;
    int rc = 0;
    while (rc == 0 && sm_pb_next_msg(&message, 2, &raw) > 0) {
        uint64_t fp = 0;
        rc = hash_fields(x, sm_pb_bytes(raw, 3), t, depth, &fp, err);
        *h = farm_cat(*h, fp);
    }
    return rc;
}

static int
hash_fields(struct chunked *x, struct str message, const struct target *t, int depth,
            uint64_t *out, struct err *err)
{
    struct str raw;
    int rc = check_depth(depth, err);
    *out = 0;
    while (rc == 0 && sm_pb_next_msg(&message, 2, &raw) > 0) {
        struct str sub = sm_pb_bytes(raw, 3);
        uint64_t at, fp = 0;
        size_t n_path, n = path_match(raw, t, &n_path);
        bool has_chunk = chunk_of(sub, &at);
        if (n != t->n && n != n_path)
            continue;
        if (n != t->n && !has_chunk) {
            rc = hash_inside(x, sub, t, depth + 1, out, err);
            continue;
        }
        if (n != t->n && n_path > 0)
            return err_set(err, ERR_UNSUPPORTED,
                           "a chunk is a whole MetaGraph: TensorFlow makes no "
                           "fingerprint of such a model");
        if (n == t->n && has_chunk)
            rc = chunk_hash(x, at, &fp, err);
        else
            rc = hash_fields(x, sub, t, depth + 1, &fp, err);
        *out = farm_cat(*out, fp);
    }
    return rc;
}

static int
cat_fields(struct chunked *x, const struct target *t, uint64_t *h, struct err *err)
{
    uint64_t fp = 0;
    int rc = hash_fields(x, x->c.message, t, 0, &fp, err);
    *h = farm_cat(*h, fp);
    return rc;
}

/* ---- what is left of the model without its chunks ---- */

/* For how many targets a field is merged. */
static int
n_copies(struct str field, bool *is_self)
{
    int n = 0;
    for (size_t i = 0; i < N_TARGETS; i++) {
        size_t n_path;
        n += path_match(field, &targets[i], &n_path) == n_path;
        *is_self = n_path == 0;
    }
    return n;
}

/* Appends the ChunkedMessage that has only fields which begin a target. */
static int
prune(struct str message, int depth, struct buf *out, struct err *err)
{
    struct str raw, step;
    uint64_t at;
    int rc = check_depth(depth, err);
    if (chunk_of(message, &at))
        sm_pb_put_int(out, 1, at);
    while (rc == 0 && sm_pb_next_msg(&message, 2, &raw) > 0) {
        struct buf field AUTO(buf_release) = { .cap_bytes = PRUNED_MAX_BYTES };
        struct buf sub AUTO(buf_release) = { .cap_bytes = PRUNED_MAX_BYTES };
        struct str sub_message = sm_pb_bytes(raw, 3);
        bool is_self;
        int n = n_copies(raw, &is_self);
        if (n == 0)
            continue;
        if (is_self) { /* without the fields inside; no chunk means the first */
            (void)chunk_of(sub_message, &at);
            sm_pb_put_int(&sub, 1, at);
        } else {
            rc = prune(sub_message, depth + 1, &sub, err);
        }
        for (struct str it = raw; sm_pb_next_msg(&it, 1, &step) > 0;)
            sm_pb_put_bytes(&field, 1, step);
        sm_pb_put_bytes(&field, 3, (struct str){ buf_str(&sub), sub.len });
        for (; n > 0; n--)
            sm_pb_put_bytes(out, 2, (struct str){ buf_str(&field), field.len });
        if (rc == 0 && (sub.over || field.over || out->over))
            rc = err_set(err, ERR_LIMIT, "too many chunked fields");
    }
    return rc;
}

/* ---- the hashes ---- */

static int
part_hash(struct chunked *x, struct str meta, const struct target *t, enum fp_type type,
          uint64_t *out, struct err *err)
{
    struct str one, *own AUTO(free_ptr) = NULL;
    struct fp_msg part;
    int rc = fp_sub(FP_MSG(meta), (uint32_t)t->step[2].n, &one, &own, &part, err);
    if (rc == 0)
        rc = fp_det_farm(type, part.n ? part : FP_MSG(one), 0, out, err);
    return rc < 0 ? rc : cat_fields(x, t, out, err);
}

static int
signatures_hash(struct chunked *x, struct str meta, uint64_t *out, struct err *err)
{
    static const struct fp_field signature_def = { .num = 5, .key = FP_K_STR };
    struct fp_kv *kv AUTO(free_ptr) = NULL;
    uint64_t fields = 0;
    size_t n;
    int rc = fp_map(FP_MSG(meta), &signature_def, &kv, &n, err);
    if (rc == 0 && n > 0)
        rc = hash_fields(x, x->c.message, SIGNATURES, 0, &fields, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        uint64_t pair = farm64(kv[i].key);
        rc = fp_cat_value(FP_M_SignatureDef, kv[i].entry, &pair, err);
        *out = farm_cat(farm_cat(*out, pair), fields);
    }
    return rc;
}

/* Those that need the model without its chunks. */
static int
meta_hashes(struct chunked *x, uint64_t *hash, struct err *err)
{
    struct buf pruned AUTO(buf_release) = { .cap_bytes = PRUNED_MAX_BYTES };
    struct buf model AUTO(buf_release) = BUF_INIT;
    struct str meta;
    int rc = prune(x->c.message, 0, &pruned, err);
    if (rc == 0)
        rc = sm_chunks_merge(&x->c, (struct str){ buf_str(&pruned), pruned.len },
                             &model, err);
    if (rc < 0)
        return rc;
    struct str it = { buf_str(&model), model.len };
    if (sm_pb_next_msg(&it, 2, &meta) <= 0)
        return err_set(err, ERR_CORRUPT, "no MetaGraph");
    rc = part_hash(x, meta, GRAPH, FP_M_GraphDef, &hash[FP_GRAPH], err);
    if (rc < 0)
        return err_ctx(err, "%s", fp_hash_name(FP_GRAPH));
    rc = signatures_hash(x, meta, &hash[FP_SIGNATURES], err);
    if (rc < 0)
        return err_ctx(err, "%s", fp_hash_name(FP_SIGNATURES));
    rc =
        part_hash(x, meta, OBJECTS, FP_M_SavedObjectGraph, &hash[FP_OBJECT_GRAPH], err);
    return rc < 0 ? err_ctx(err, "%s", fp_hash_name(FP_OBJECT_GRAPH)) : 0;
}

int
fp_chunked_five(struct fp_five *out, int dirfd, const char *dir, struct err *err)
{
    struct chunked x AUTO(chunked_release) = { .known = NULL };
    int rc = sm_chunks_open(&x.c, dirfd, dir, err);
    if (rc < 0)
        return rc;
    *out = (struct fp_five){ .rules = FP_RULES_CHUNKED };
    x.known = xcalloc(x.c.n + 1, sizeof(*x.known));
    rc = hash_fields(&x, x.c.message, &everything, 0, &out->hash[FP_CHECKSUM], err);
    out->hash[FP_CHECKSUM] =
        farm_cat(out->hash[FP_CHECKSUM], farm64((struct str){ "", 0 }));
    if (rc == 0)
        rc = meta_hashes(&x, out->hash, err);
    out->hash[FP_CHECKPOINT] = fp_checkpoint_hash(dirfd);
    return rc < 0 ? err_ctx(err, "%s/%s", dir, sm_form_file(SM_FORM_CPB)) : 0;
}
