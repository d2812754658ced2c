/* SPDX-License-Identifier: Apache-2.0 */
/* fingerprint.pb: FingerprintDef { 1 … 5 the hashes, 6 version { 1 producer }, 7 uuid
 * }, and its comparison with the model beside it. */
#include "fingerprint/fp_int.h"

#include "base/farmhash.h"
#include "base/fs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define STORED "fingerprint.pb"
#define INDEX "variables/variables.index"
#define MISSING INDEX " is missing or unreadable"
#define STORED_MAX_BYTES 65536
#define PRODUCER_2_11 0
#define PRODUCER_CHUNKED 2

static int
stored_parse(struct str raw, struct fp_stored *out)
{
    struct sm_field f;
    struct str version = { NULL, 0 }, uuid = { "", 0 };
    int r;
    while ((r = sm_pb_next(&raw, &f)) > 0) {
        if (f.num >= 1 && f.num <= FP_N_HASHES && f.wire == 0)
            out->hash[f.num - 1] = f.v;
        else if (f.num == 6 && f.wire == 2)
            version = f.bytes;
        else if (f.num == 7 && f.wire == 2)
            uuid = f.bytes;
        else
            return -1;
    }
    if (version.p)
        out->producer = (int)(int32_t)sm_pb_int(version, 1, 0);
    for (size_t i = 0; i < uuid.n; i++) {
        if (uuid.p[i] < '0' || uuid.p[i] > '9')
            return -1;
    }
    snprintf(out->uuid, sizeof(out->uuid), "%.*s", STR_ARG(uuid));
    return r;
}

int
fp_stored_read(struct fp_stored *out, int dirfd, const char *dir, struct err *err)
{
    struct buf b AUTO(buf_release) = { .cap_bytes = STORED_MAX_BYTES };
    *out = (struct fp_stored){ .producer = -1 };
    int rc = fs_read(dirfd, STORED, &b, err);
    if (rc < 0 && (err->sys == ENOENT || err->sys == ENOTDIR)) {
        err_clear(err);
        return err_set(err, ERR_NOTFOUND,
                       "%s has no " STORED " (TensorFlow writes one since 2.11)", dir);
    }
    if (rc < 0)
        return err_ctx(err, "%s", dir);
    if (b.len == 0 || stored_parse((struct str){ b.data, b.len }, out) < 0)
        return err_set(err, ERR_CORRUPT,
                       "%s/" STORED ": %zu bytes that are no fingerprint", dir, b.len);
    return 0;
}

/* A uuid that nobody else has, and the same each time. */
static void
add_uuid(struct str old, uint64_t checkpoint, struct buf *out)
{
    struct farm farm;
    char text[24];
    farm_init(&farm);
    farm_add(&farm, old.p, old.n);
    farm_add(&farm, &checkpoint, sizeof(checkpoint));
    int n = snprintf(text, sizeof(text), "%" PRIu64, farm_end(&farm));
    buf_addc(out, 7 << 3 | 2);
    sm_pb_add_varint(out, (uint64_t)n);
    buf_adds(out, text);
}

int
fp_stored_renew(int dirfd, int ckpt_dirfd, const char *dir, struct buf *out,
                struct err *err)
{
    struct buf old AUTO(buf_release) = { .cap_bytes = STORED_MAX_BYTES };
    struct fp_stored stored;
    struct sm_field f;
    int rc = fp_stored_read(&stored, dirfd, dir, err);
    if (rc == 0)
        rc = fs_read(dirfd, STORED, &old, err);
    if (rc < 0)
        return rc;
    uint64_t hash = fp_checkpoint_hash(ckpt_dirfd);
    if (hash == 0)
        return err_set(err, ERR_IO, "the new " INDEX " cannot be read");
    struct str all = { buf_str(&old), old.len }, it = all;
    if (hash == stored.hash[FP_CHECKPOINT]) {
        buf_add(out, all.p, all.n);
        return 0;
    }
    bool is_put = false;
    for (const char *at = it.p; sm_pb_next(&it, &f) > 0; at = it.p) {
        if (f.num > FP_N_HASHES && !is_put) {
            buf_addc(out, FP_N_HASHES << 3);
            sm_pb_add_varint(out, hash);
            is_put = true;
        }
        if (f.num == 7)
            add_uuid(f.bytes, hash, out);
        else if (f.num != FP_N_HASHES)
            buf_add(out, at, (size_t)(it.p - at));
    }
    return is_put ? 0 : err_set(err, ERR_CORRUPT, "%s/" STORED " has no version", dir);
}

/* 0 is 2.11, 1 is 2.12 to 2.20, 4 is 2.21 (same rules, another uuid). */
static const char *
producer_note(int producer)
{
    if (producer == PRODUCER_CHUNKED)
        return "written for a chunked model (saved_model.cpb), which this is not";
    return producer == PRODUCER_2_11 || producer == 1 || producer == 4
               ? NULL
               : "written by rules that this build does not know";
}

/* A hash that differs by the release's own rules may still be one of these. */
static int
tolerate(struct fp_check *c, const struct sm_model *m, int dirfd, enum fp_hash h,
         struct err *err)
{
    c->match[h] = FP_DIFFERS;
    c->note[h] = producer_note(c->stored.producer);
    if (h == FP_CHECKPOINT) {
        if (c->computed.hash[h] == 0)
            c->note[h] = MISSING;
        return 0;
    }
    if (h == FP_CHECKSUM) {
        if (farm64(sm_bytes(m)) != c->stored.hash[h])
            return 0;
        c->match[h] = FP_TOLERATED;
        c->note[h] =
            "the checksum of the file's own bytes, not of their canonical form";
        return 0;
    }
    for (int r = 0; r < FP_N_RULES; r++) {
        uint64_t v;
        int rc = fp_hash_by((enum fp_rules)r, h, m, dirfd, &v, err);
        if (rc < 0)
            return rc;
        if (v == c->stored.hash[h]) {
            c->match[h] = FP_TOLERATED;
            c->note[h] = "by another release's rule than the model's version says";
        }
    }
    return 0;
}

static enum fp_rules
rules_for(const struct fp_stored *stored, struct str tf_version)
{
    enum fp_rules r = fp_rules_of(tf_version);
    if (stored->producer == PRODUCER_2_11)
        return FP_RULES_2_11;
    return stored->producer > PRODUCER_2_11 && r == FP_RULES_2_11 ? FP_RULES_2_12 : r;
}

/* Chunked models have one rule, and no other can be tolerated. */
static void
differs_chunked(struct fp_check *c, enum fp_hash h)
{
    c->match[h] = FP_DIFFERS;
    if (h == FP_CHECKPOINT)
        c->note[h] = c->computed.hash[h] == 0 ? MISSING : NULL;
    else if (c->stored.producer != PRODUCER_CHUNKED)
        c->note[h] = "not written for a chunked model, which this is";
    else if (h == FP_GRAPH || h == FP_OBJECT_GRAPH)
        c->note[h] = "builds of TensorFlow differ in this hash of a chunked model";
}

static int
check_whole(struct fp_check *out, int dirfd, const char *dir, struct err *err)
{
    struct sm_model *m AUTO(sm_close_p) = NULL;
    int rc = sm_open(&m, dirfd, dir, err);
    if (rc < 0)
        return rc;
    enum fp_rules rules = rules_for(&out->stored, sm_meta(m, 0)->tf_version);
    rc = fp_five_by(rules, m, dirfd, &out->computed, err);
    for (int i = 0; rc == 0 && i < FP_N_HASHES; i++) {
        if (out->computed.hash[i] != out->stored.hash[i])
            rc = tolerate(out, m, dirfd, (enum fp_hash)i, err);
    }
    return rc < 0 ? err_ctx(err, "%s", dir) : 0;
}

int
fp_check(struct fp_check *out, int dirfd, const char *dir, struct err *err)
{
    *out = (struct fp_check){ .n_differ = 0 };
    int rc = fp_stored_read(&out->stored, dirfd, dir, err);
    if (rc < 0)
        return rc;
    rc = fp_chunked_five(&out->computed, dirfd, dir, err);
    if (rc == -ERR_NOTFOUND) {
        err_clear(err);
        rc = check_whole(out, dirfd, dir, err);
    } else {
        for (int i = 0; rc == 0 && i < FP_N_HASHES; i++) {
            if (out->computed.hash[i] != out->stored.hash[i])
                differs_chunked(out, (enum fp_hash)i);
        }
    }
    for (int i = 0; i < FP_N_HASHES; i++)
        out->n_differ += out->match[i] == FP_DIFFERS;
    return rc;
}
