/* SPDX-License-Identifier: Apache-2.0 */
/* Writes what sm_warmup.c reads: PredictionLogs of predict requests, framed as records
 * of a TFRecord file. */
#include "savedmodel/sm_int.h"

#include "base/crypto.h"

static void
shape_add(const struct sm_tensor *t, struct buf *out)
{
    struct buf shape AUTO(buf_release) = BUF_INIT;

    for (int i = 0; i < t->rank; i++) {
        struct buf dim AUTO(buf_release) = BUF_INIT;

        sm_pb_put_int(&dim, 1, (uint64_t)t->dims[i]);
        sm_pb_put_bytes(&shape, 2, (struct str){ buf_str(&dim), dim.len });
    }
    sm_pb_put_bytes(out, 2, (struct str){ buf_str(&shape), shape.len });
}

void
sm_tensor_proto_add(const struct sm_tensor *t, struct buf *out)
{
    sm_pb_put_int(out, 1, (uint64_t)t->dtype);
    shape_add(t, out);
    if (t->dtype != SM_STRING)
        sm_pb_put_bytes(out, 4, (struct str){ t->data, sm_tensor_bytes(t) });
    else
        for (int64_t i = 0; i < t->n_elems; i++)
            sm_pb_put_bytes(out, 8, sm_tensor_str(t)[i]);
}

void
sm_warmup_add(const char *model, const char *signature, const struct sm_tensor_list *in,
              struct buf *out)
{
    struct buf spec AUTO(buf_release) = BUF_INIT, request AUTO(buf_release) = BUF_INIT,
                    log AUTO(buf_release) = BUF_INIT;

    sm_pb_put_bytes(&spec, 1, str_of(model));
    sm_pb_put_bytes(&spec, 3, str_of(signature));
    sm_pb_put_bytes(&request, 1, (struct str){ buf_str(&spec), spec.len });
    for (int i = 0; i < in->n; i++) {
        struct buf entry AUTO(buf_release) = BUF_INIT, t AUTO(buf_release) = BUF_INIT;

        sm_tensor_proto_add(&in->v[i].t, &t);
        sm_pb_put_bytes(&entry, 1, str_of(in->v[i].name));
        sm_pb_put_bytes(&entry, 2, (struct str){ buf_str(&t), t.len });
        sm_pb_put_bytes(&request, 2, (struct str){ buf_str(&entry), entry.len });
    }
    sm_pb_put_bytes(&log, 1, (struct str){ buf_str(&request), request.len });
    sm_pb_put_bytes(out, 6, (struct str){ buf_str(&log), log.len });
}

static void
le_add(uint64_t v, int n_bytes, struct buf *out)
{
    for (int i = 0; i < n_bytes; i++)
        buf_addc(out, (char)(v >> 8 * i & 0xff));
}

void
sm_tfrecord_add(struct str record, struct buf *out)
{
    const size_t at = out->len;

    le_add(record.n, 8, out);
    if (out->over)
        return;
    le_add(crc32c_mask(crc32c(0, out->data + at, 8)), 4, out);
    buf_add(out, record.p, record.n);
    le_add(crc32c_mask(crc32c(0, record.p, record.n)), 4, out);
}
