/* SPDX-License-Identifier: Apache-2.0 */
/* VARIANT tensors of a checkpoint (lists, maps, optionals), which have no plain values:
 * their elements come as VariantTensorDataProto { 1 type_name, 2 metadata, 3 repeated
 * TensorProto }.
 *
 * Stored an element after the other: varint length, the message, masked checksum (4
 * bytes). One checksum runs through the whole tensor: over each length as 8 bytes, the
 * message, and, once it was written, the checksum itself; the entry's is its end. */
#include "savedmodel/sm_int.h"

#include "base/crypto.h"

#include <inttypes.h>
#include <stdlib.h>

static int
element(struct str *it, uint32_t *crc, struct str *out, struct err *err)
{
    uint64_t n;
    struct str stored;
    if (!sm_varint(it, &n) || !sm_take(it, n, out) || !sm_take(it, 4, &stored))
        return err_set(err, ERR_CORRUPT, "it does not lie inside its tensor");
    *crc = crc32c(crc32c(*crc, &n, sizeof(n)), out->p, out->n);
    if (crc32c_mask(*crc) != sm_le32(stored.p))
        return err_set(err, ERR_CORRUPT, "checksum is wrong");
    *crc = crc32c(*crc, stored.p, 4);
    return sm_check_msg(*out, SM_M_VariantTensorDataProto, "its value", err);
}

static int
elements(const struct sm_entry *e, struct str bytes, struct str *v, int64_t n,
         struct err *err)
{
    uint32_t crc = 0;
    for (int64_t i = 0; i < n; i++) {
        if (element(&bytes, &crc, &v[i], err) < 0)
            return err_ctx(err, "element %" PRId64, i);
    }
    if (bytes.n > 0 || crc32c_mask(crc) != e->crc32c)
        return err_set(err, ERR_CORRUPT, "checksum is wrong");
    return 0;
}

int
sm_bundle_variants(struct sm_bundle *b, struct str key, struct str **out, int64_t *n,
                   struct err *err)
{
    struct str bytes, *v = NULL;
    *out = NULL;
    const struct sm_entry *e = sm_bundle_find(b, key);
    int rc;
    if (!e)
        rc = err_set(err, ERR_NOTFOUND, "no such tensor");
    else if (e->dtype != SM_VARIANT || e->n_slices > 0)
        rc = err_set(err, ERR_INVALID, "%s is no variant", sm_dtype_name(e->dtype));
    else if (sm_bundle_is_big_endian(b))
        rc = err_set(err, ERR_UNSUPPORTED, "variants of a big-endian machine");
    else
        rc = sm_shape_count(&e->shape, n, err);
    if (rc == 0)
        rc = sm_bundle_entry_bytes(b, e, &bytes, err);
    if (rc == 0 && (uint64_t)*n > bytes.n)
        rc = err_set(err, ERR_CORRUPT, "%zu bytes cannot hold %" PRId64 " elements",
                     bytes.n, *n);
    if (rc == 0) {
        v = xcalloc((size_t)*n + 1, sizeof(*v));
        rc = elements(e, bytes, v, *n, err);
    }
    if (rc < 0) {
        free(v);
        return err_ctx(err, "tensor '%.*s'", STR_ARG(key));
    }
    *out = v;
    return 0;
}
