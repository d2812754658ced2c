/* SPDX-License-Identifier: Apache-2.0 */
/* A stored tensor from one end to the other, with little memory: the shard is mapped,
 * and what was read is let go of. */
#include "savedmodel/sm_int.h"

#include "base/crypto.h"

#include <sys/mman.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)64 << 10)    /* stays in the cache while it is worked on */
#define BEHIND_BYTES ((uintptr_t)8 << 20) /* let go of at once */

/* The pages of [from, to) may go; another look at them reads the file again. */
static void
drop_pages(uintptr_t from, uintptr_t to)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    from = (from + page - 1) / page * page;
    to = to / page * page;
    if (from < to)
        (void)!madvise((void *)from, to - from, MADV_DONTNEED);
}

static int
mapped_pieces(const struct sm_entry *e, struct str bytes, sm_piece_fn *fn, void *arg,
              struct err *err)
{
    uint32_t crc = 0;
    uintptr_t dropped = (uintptr_t)bytes.p;
    for (size_t at = 0; at < bytes.n; at += PIECE_BYTES) {
        size_t n = bytes.n - at < PIECE_BYTES ? bytes.n - at : PIECE_BYTES;
        uintptr_t end = (uintptr_t)bytes.p + at + n;
        fn(arg, bytes.p + at, n); /* slower: waits for memory at less cost */
        crc = crc32c(crc, bytes.p + at, n);
        if (end - dropped >= BEHIND_BYTES || (at + n == bytes.n && at > 0)) {
            drop_pages(dropped, end);
            dropped = end;
        }
    }
    if (crc32c_mask(crc) != e->crc32c)
        return err_set(err, ERR_CORRUPT, "tensor '%.*s': checksum is wrong",
                       STR_ARG(e->key));
    return 0;
}

int
sm_bundle_pieces(struct sm_bundle *b, const struct sm_entry *e, sm_piece_fn *fn,
                 void *arg, struct err *err)
{
    const struct sm_dtype_info *info = sm_dtype_info(e->dtype);
    if (!info || e->dtype > SM_REF || info->size_bytes == 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "tensor '%.*s': %s (%d) has no elements of a fixed size",
                       STR_ARG(e->key), sm_dtype_name(e->dtype), e->dtype);
    struct str bytes;
    bool is_as_stored = e->n_slices == 0 && e->dtype != SM_BOOL &&
                        (info->size_bytes == 1 || !sm_bundle_is_big_endian(b));
    if (is_as_stored) {
        if (sm_bundle_entry_bytes(b, e, &bytes, err) < 0)
            return err_ctx(err, "tensor '%.*s'", STR_ARG(e->key));
        return mapped_pieces(e, bytes, fn, arg, err);
    }
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    if (sm_bundle_tensor(b, e->key, (struct str){ "", 0 }, true, &t, err) < 0)
        return -(int)err->code;
    size_t n = sm_tensor_bytes(&t);
    for (size_t at = 0; at < n; at += PIECE_BYTES)
        fn(arg, (const char *)t.data + at, n - at < PIECE_BYTES ? n - at : PIECE_BYTES);
    return 0;
}
