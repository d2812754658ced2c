/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a saved_model.cpb with right checksums: they are cut into records (2
 * bytes length, the bytes), of which the last is the directory. */
#ifndef TESTS_FUZZ_CPB_H
#define TESTS_FUZZ_CPB_H

#include "savedmodel/sm_int.h"

static inline void
cpb_put_chunk(struct buf *file, char type, struct str data, uint64_t n_records)
{
    uint64_t h[5] = { 0, data.n, sm_riegeli_hash(data), (uint8_t)type | n_records << 8,
                      0 };
    h[0] = sm_riegeli_hash((struct str){ (char *)(h + 1), 32 });
    buf_add(file, h, sizeof(h));
    buf_add(file, data.p, data.n);
}

/* Record i is at CPB_AT + i: a directory can guess it. */
#define CPB_AT 64
static inline void
cpb_pack(struct str in, struct buf *file)
{
    struct buf sizes = BUF_INIT, values = BUF_INIT, body = BUF_INIT;
    struct str head, rec;
    uint64_t n = 0;
    while (sm_take(&in, 2, &head) && n < 64) {
        uint64_t len = sm_le16(head.p);
        if (!sm_take(&in, len < in.n ? len : in.n, &rec))
            break;
        sm_pb_add_varint(&sizes, rec.n);
        buf_add(&values, rec.p, rec.n);
        n++;
    }
    buf_addc(&body, 0);
    sm_pb_add_varint(&body, sizes.len);
    buf_add(&body, sizes.data, sizes.len);
    buf_add(&body, values.data, values.len);
    buf_add(file, "\x83\xaf\x70\xd1\x0d\x88\x4a\x3f\0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0",
            24);
    cpb_put_chunk(file, 's', (struct str){ "", 0 }, 0);
    cpb_put_chunk(file, 'r', (struct str){ body.data, body.len }, n);
    buf_release(&sizes);
    buf_release(&values);
    buf_release(&body);
}

#endif
