/* SPDX-License-Identifier: Apache-2.0 */
/* fingerprint: what a model is, by TensorFlow's hashes and by ours. */
#include "fingerprint/fingerprint.h"
#include "service/svc_int.h"

#include <inttypes.h>
#include <stdio.h>

/* 64-bit hashes are text: JSON numbers lose them. */
static void
put_hash(cJSON *obj, const char *key, uint64_t hash)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, hash);
    json_put_str(obj, key, text);
}

static void
put_digest(cJSON *obj, const char *key, const struct digest *d)
{
    char text[REPO_DIGEST_BYTES];
    repo_digest_text(d, text);
    json_put_str(obj, key, text);
}

static int
check(struct svc_call *c, int dirfd, const char *dir, struct err *err)
{
    static const char *const verdicts[] = { [FP_SAME] = "same",
                                            [FP_TOLERATED] = "same by another rule",
                                            [FP_DIFFERS] = "differs" };
    struct fp_check k;
    struct buf named AUTO(buf_release) = BUF_INIT;
    if (fp_check(&k, dirfd, dir, err) < 0)
        return -(int)err->code;
    cJSON *list = cJSON_AddArrayToObject(c->reply, "check");
    for (int i = 0; i < FP_N_HASHES; i++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(list, o);
        json_put_str(o, "field", fp_hash_name(i));
        put_hash(o, "shipped", k.stored.hash[i]);
        put_hash(o, "computed", k.computed.hash[i]);
        json_put_str(o, "verdict", verdicts[k.match[i]]);
        json_put_str(o, "note", k.note[i]);
        if (k.match[i] == FP_DIFFERS)
            buf_addf(&named, "%s%s", named.len ? ", " : "", fp_hash_name(i));
    }
    if (k.n_differ)
        return err_set(err, ERR_FAILED, "fingerprint.pb differs from the model in %s",
                       buf_str(&named));
    return 0;
}

/* Ours; a model that is not whole has none, and says why. */
static int
put_identity(struct svc_call *c, int dirfd, const char *dir, struct err *err)
{
    struct fp_identity id;
    struct repo_manifest m;
    struct err why = ERR_INIT;
    if (repo_manifest_of_dir(dir, &m, err) < 0)
        return -(int)err->code;
    put_digest(c->reply, "manifest", &m.digest);
    repo_manifest_release(&m);
    if (fp_identity_of(&id, dirfd, dir, &why) < 0) {
        json_put_str(c->reply, "incomplete", why.msg);
        return 0;
    }
    put_digest(c->reply, "semantic", &id.meaning.id);
    put_digest(c->reply, "weights", &id.weights);
    cJSON *parts = cJSON_AddObjectToObject(c->reply, "parts");
    for (int i = 0; i < FP_N_PARTS; i++)
        put_digest(parts, fp_part_name(i), &id.meaning.part[i]);
    json_put_int(c->reply, "tensors", id.n_tensors);
    json_put_int(c->reply, "weights_bytes", (int64_t)id.weights_bytes);
    return 0;
}

int
svc_do_fingerprint(struct svc_call *c, struct err *err)
{
    struct svc_dir dir AUTO(svc_dir_close) = { 0 };
    int dirfd AUTO(fs_close) = -1;
    struct fp_five five;
    char single[FP_SINGLEPRINT_BYTES];
    if (svc_dir_open(c, &dir, err) < 0 ||
        fs_open_dir(&dirfd, AT_FDCWD, dir.path, err) < 0)
        return -(int)err->code;
    if (svc_flag(c, "check"))
        return check(c, dirfd, dir.path, err);
    int rc = fp_five_of(&five, dirfd, dir.path, err);
    if (rc == -ERR_UNSUPPORTED && !svc_flag(c, "singleprint")) {
        json_put_str(c->reply, "tensorflow_unknown", err->msg);
        err_clear(err);
        return put_identity(c, dirfd, dir.path, err);
    }
    if (rc < 0)
        return rc;
    fp_singleprint(&five, single);
    json_put_str(c->reply, "singleprint", single);
    if (svc_flag(c, "singleprint"))
        return 0;
    cJSON *hashes = cJSON_AddObjectToObject(c->reply, "tensorflow");
    for (int i = 0; i < FP_N_HASHES; i++)
        put_hash(hashes, fp_hash_name(i), five.hash[i]);
    json_put_str(c->reply, "rules", fp_rules_name(five.rules));
    return put_identity(c, dirfd, dir.path, err);
}
