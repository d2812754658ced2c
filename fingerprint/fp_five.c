/* SPDX-License-Identifier: Apache-2.0 */
/* The five hashes of fingerprint.pb. FP is Fingerprint64, DET the deterministic form
 * (fp_det.c), all of the first MetaGraph only:
 *
 *   checksum      FP(DET(SavedModel));                        2.11: FP(DET(GraphDef))
 *   graph         FP(DET(GraphDef as GraphProgram))
 *   signatures    over signature_def by key: h = Cat(Cat(h, FP(key)), FP(DET(value)));
 *                 before 2.14: h = Cat(h, FP(DET(value)))
 *   object graph  over concrete_functions by the number at the end of their names:
 *                 h = Cat(Cat(h, FP(name without number)), FP(DET(value)))
 *   checkpoint    FP(bytes of variables/variables.index), 0 when it cannot be read
 *
 * A chunked model has its own: fp_chunked.c. */
#include "fingerprint/fp_int.h"

#include "base/farmhash.h"
#include "base/fs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INDEX "variables/variables.index"

const char *
fp_hash_name(enum fp_hash h)
{
    static const char *const names[FP_N_HASHES] = {
        [FP_CHECKSUM] = "saved_model_checksum",
        [FP_GRAPH] = "graph_def_program_hash",
        [FP_SIGNATURES] = "signature_def_hash",
        [FP_OBJECT_GRAPH] = "saved_object_graph_hash",
        [FP_CHECKPOINT] = "checkpoint_hash",
    };
    return names[h];
}

const char *
fp_rules_name(enum fp_rules r)
{
    static const char *const names[] = {
        [FP_RULES_2_11] = "2.11",
        [FP_RULES_2_12] = "2.12-2.13",
        [FP_RULES_2_14] = "2.14 and later",
        [FP_RULES_CHUNKED] = "chunked models (producer 2)",
    };
    return names[r];
}

enum fp_rules
fp_rules_of(struct str v)
{
    int part[2] = { 0, 0 };
    size_t at = 0;
    for (int i = 0; i < 2; i++) {
        size_t start = at;
        while (at < v.n && at - start < 4 && v.p[at] >= '0' && v.p[at] <= '9')
            part[i] = 10 * part[i] + (v.p[at++] - '0');
        if (at == start || (i == 0 && (at == v.n || v.p[at++] != '.')))
            return FP_RULES_2_14;
    }
    if (part[0] != 2 || part[1] < 11 || part[1] > 13)
        return FP_RULES_2_14;
    return part[1] == 11 ? FP_RULES_2_11 : FP_RULES_2_12;
}

void
fp_singleprint(const struct fp_five *f, char out[FP_SINGLEPRINT_BYTES])
{
    snprintf(out, FP_SINGLEPRINT_BYTES, "%" PRIu64 "/%" PRIu64 "/%" PRIu64 "/%" PRIu64,
             f->hash[FP_GRAPH], f->hash[FP_SIGNATURES], f->hash[FP_OBJECT_GRAPH],
             f->hash[FP_CHECKPOINT]);
}

/* ---- the hashes ---- */

static int
graph_hash(struct fp_msg graph, enum fp_rules rules, uint64_t *out, struct err *err)
{
    struct str none = { "", 0 };
    if (graph.n == 0)
        graph = FP_MSG(none);
    return fp_det_farm(FP_M_GraphProgram, graph,
                       rules == FP_RULES_2_14 ? FP_DET_WIDE : 0, out, err);
}

static int
checksum(struct str bytes, struct fp_msg graph, enum fp_rules rules, uint64_t *out,
         struct err *err)
{
    struct str none = { "", 0 };
    if (rules != FP_RULES_2_11)
        return fp_det_farm(FP_M_SavedModel, FP_MSG(bytes), 0, out, err);
    return fp_det_farm(FP_M_GraphDef, graph.n ? graph : FP_MSG(none), 0, out, err);
}

int
fp_cat_value(enum fp_type type, struct str entry, uint64_t *h, struct err *err)
{
    struct str one, *own AUTO(free_ptr) = NULL;
    struct fp_msg value;
    uint64_t fp = 0;
    int rc = fp_sub(FP_MSG(entry), 2, &one, &own, &value, err);
    if (rc == 0)
        rc = fp_det_farm(type, value.n ? value : FP_MSG(one), 0, &fp, err);
    *h = farm_cat(*h, fp);
    return rc;
}

static int
signature_hash(struct fp_msg meta, enum fp_rules rules, uint64_t *out, struct err *err)
{
    static const struct fp_field signature_def = { .num = 5, .key = FP_K_STR };
    struct fp_kv *kv AUTO(free_ptr) = NULL;
    size_t n;
    int rc = fp_map(meta, &signature_def, &kv, &n, err);
    *out = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (rules == FP_RULES_2_14)
            *out = farm_cat(*out, farm64(kv[i].key));
        rc = fp_cat_value(FP_M_SignatureDef, kv[i].entry, out, err);
    }
    return rc;
}

struct concrete {
    int64_t number;
    struct str stem;
    struct str entry;
};

static int
concrete_cmp(const void *pa, const void *pb)
{
    const struct concrete *a = pa, *b = pb;
    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    return str_cmp(a->stem, b->stem);
}

static int
object_graph_hash(struct fp_msg objects, enum fp_rules rules, uint64_t *out,
                  struct err *err)
{
    static const struct fp_field concrete_functions = { .num = 2, .key = FP_K_STR };
    struct fp_kv *kv AUTO(free_ptr) = NULL;
    size_t n, n_valid = 0;
    int rc = fp_map(objects, &concrete_functions, &kv, &n, err);
    *out = 0;
    if (rc < 0 || n == 0)
        return rc;
    struct concrete *v AUTO(free_ptr) = xreallocarray(NULL, n, sizeof(*v));
    for (size_t i = 0; i < n; i++) {
        struct concrete *c = &v[n_valid];
        c->entry = kv[i].entry;
        if (fp_suffix(kv[i].key, rules == FP_RULES_2_14, &c->number, &c->stem))
            n_valid++;
        else if (rules != FP_RULES_2_11)
            return err_set(err, ERR_UNSUPPORTED,
                           "concrete function '%.*s' has no number at its end: "
                           "TensorFlow makes no fingerprint of such a model",
                           STR_ARG(kv[i].key));
    }
    if (n_valid > 1)
        qsort(v, n_valid, sizeof(*v), concrete_cmp);
    for (size_t i = 0; rc == 0 && i < n_valid; i++) {
        /* Of two with one number TensorFlow takes whichever its hash map has first. */
        if (i > 0 && v[i].number == v[i - 1].number)
            continue;
        *out = farm_cat(*out, farm64(v[i].stem));
        rc = fp_cat_value(FP_M_SavedConcreteFunction, v[i].entry, out, err);
    }
    return rc;
}

uint64_t
fp_checkpoint_hash(int dirfd)
{
    struct err ignored = ERR_INIT;
    int fd AUTO(fs_close) = -1;
    char b[65536];
    struct farm farm;
    struct stat st;
    if (fs_open(&fd, dirfd, INDEX, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0, &ignored) <
            0 ||
        fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    farm_init(&farm);
    for (;;) {
        ssize_t n = read(fd, b, sizeof(b));
        if (n == 0)
            return farm_end(&farm);
        if (n < 0 && errno != EINTR)
            return 0;
        if (n > 0)
            farm_add(&farm, b, (size_t)n);
    }
}

int
fp_hash_by(enum fp_rules rules, enum fp_hash which, const struct sm_model *m, int dirfd,
           uint64_t *out, struct err *err)
{
    struct str one, *own AUTO(free_ptr) = NULL;
    struct fp_msg meta = FP_MSG(sm_meta(m, 0)->raw), part;
    int rc = fp_sub(meta, which == FP_OBJECT_GRAPH ? 7 : 2, &one, &own, &part, err);
    if (rc == 0 && which == FP_CHECKSUM)
        rc = checksum(sm_bytes(m), part, rules, out, err);
    else if (rc == 0 && which == FP_GRAPH)
        rc = graph_hash(part, rules, out, err);
    else if (rc == 0 && which == FP_SIGNATURES)
        rc = signature_hash(meta, rules, out, err);
    else if (rc == 0 && which == FP_OBJECT_GRAPH)
        rc = object_graph_hash(part, rules, out, err);
    else if (rc == 0)
        *out = fp_checkpoint_hash(dirfd);
    return rc < 0 ? err_ctx(err, "%s", fp_hash_name(which)) : 0;
}

int
fp_five_by(enum fp_rules rules, const struct sm_model *m, int dirfd,
           struct fp_five *out, struct err *err)
{
    int rc = 0;
    *out = (struct fp_five){ .rules = rules };
    for (int i = 0; rc == 0 && i < FP_N_HASHES; i++)
        rc = fp_hash_by(rules, (enum fp_hash)i, m, dirfd, &out->hash[i], err);
    return rc;
}

/* ---- the model ---- */

int
fp_five_of(struct fp_five *out, int dirfd, const char *dir, struct err *err)
{
    struct sm_model *m AUTO(sm_close_p) = NULL;
    int rc = fp_chunked_five(out, dirfd, dir, err);
    if (rc != -ERR_NOTFOUND)
        return rc;
    err_clear(err);
    rc = sm_open(&m, dirfd, dir, err);
    if (rc < 0)
        return rc;
    if (fp_five_by(fp_rules_of(sm_meta(m, 0)->tf_version), m, dirfd, out, err) < 0)
        return err_ctx(err, "%s", dir);
    return 0;
}
