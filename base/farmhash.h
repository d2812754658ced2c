/* SPDX-License-Identifier: Apache-2.0 */
/* FarmHash's Fingerprint64, which TensorFlow hashes strings and graphs with. */
#ifndef BASE_FARMHASH_H
#define BASE_FARMHASH_H

#include "base/buf.h"

/* Fingerprint64 of a byte string that comes in pieces of any length. */
struct farm {
    uint64_t x, y, z;
    uint64_t v[2], w[2];
    uint64_t n_bytes;
    char buf[128]; /* the last block that was mixed in, then what is not mixed yet */
    size_t n_buf;  /* bytes of the second half in use */
};
void farm_init(struct farm *f);
void farm_add(struct farm *f, const void *p, size_t n);
uint64_t farm_end(const struct farm *f); /* may be asked in between */
uint64_t farm64(struct str s);
uint64_t farm_cat(uint64_t a, uint64_t b); /* FingerprintCat64 */

#endif
