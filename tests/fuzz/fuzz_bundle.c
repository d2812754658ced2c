/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint: 4 bytes little-endian length of the index, the index, the data shard.
 * Checksums of the index's blocks are put right first, so that the fuzzer gets past
 * them; those of the tensors are checked only for every other input. */
#include "base/crypto.h"
#include "savedmodel/savedmodel.h"
#include "tests/fuzz/scratch.h"

#include <string.h>

static bool
varint(const uint8_t **p, const uint8_t *end, uint64_t *v)
{
    *v = 0;
    for (int i = 0; i < 10 && *p < end; i++) {
        uint8_t c = *(*p)++;
        *v |= (uint64_t)(c & 0x7f) << (7 * i);
        if (!(c & 0x80))
            return true;
    }
    return false;
}

/* Gives the block at offset a right checksum when it lies inside the file. */
static void
mend(uint8_t *file, size_t n, uint64_t offset, uint64_t size)
{
    if (offset > n || size > n - offset || n - offset - size < 5)
        return;
    uint32_t crc = crc32c_mask(crc32c(0, file + offset, size + 1));
    memcpy(file + offset + size + 1, &crc, 4);
}

/* The blocks that the footer and an index block without shared keys name. */
static void
mend_all(uint8_t *file, size_t n)
{
    uint64_t v[4], shared, unshared, len;
    if (n < 48)
        return;
    memcpy(file + n - 8, "\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8);
    const uint8_t *p = file + n - 48, *end = file + n - 8;
    for (int i = 0; i < 4; i++) {
        if (!varint(&p, end, &v[i]))
            return;
    }
    if (v[2] > n || v[3] > n - v[2])
        return;
    p = file + v[2];
    end = p + v[3];
    while (varint(&p, end, &shared) && varint(&p, end, &unshared) &&
           varint(&p, end, &len) && unshared < (uint64_t)(end - p)) {
        uint64_t offset, size;
        p += unshared;
        if (!varint(&p, end, &offset) || !varint(&p, end, &size))
            break;
        mend(file, n, offset, size);
    }
    mend(file, n, v[2], v[3]);
}

static void
see(struct sm_bundle *b, bool check_crc)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    if (sm_bundle_check_sizes(b, &err) < 0)
        err_clear(&err);
    for (int i = 0; i < sm_bundle_n_entries(b); i++) {
        struct str key = sm_bundle_entry(b, i)->key;
        static const char *const specs[] = { "", "4 1,2", "2 2 -:0,1" };
        for (size_t k = 0; k < 3; k++) {
            if (sm_bundle_tensor(b, key, str_of(specs[k]), check_crc, &t, &err) == 0) {
                struct buf text = BUF_INIT;
                sm_tensor_text(&t, &text);
                buf_release(&text);
                sm_tensor_release(&t);
            }
            err_clear(&err);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct sm_bundle *b;
    struct scratch dir;
    uint32_t n_index;
    if (n < 4)
        return 0;
    memcpy(&n_index, data, 4);
    if (n_index > n - 4)
        return 0;
    uint8_t *index AUTO(free_ptr) = xmalloc(n_index + 1u);
    memcpy(index, data + 4, n_index);
    mend_all(index, n_index);
    scratch_open(&dir);
    scratch_put(&dir, "v.index", index, n_index);
    scratch_put(&dir, "v.data-00000-of-00001", data + 4 + n_index, n - 4 - n_index);
    if (sm_bundle_open(&b, dir.fd, "v", &err) == 0) {
        see(b, n % 2 == 0);
        sm_bundle_close(b);
    }
    scratch_close(&dir);
    return 0;
}
