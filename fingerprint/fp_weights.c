/* SPDX-License-Identifier: Apache-2.0 */
/* The digest of all weights of a checkpoint is the SHA-256 of this text, so that
 * anybody can make it again:
 *
 *   sluice-weights 1
 *   <64 hex: digest of the value> <dtype> [<dim>,<dim>] <name>      one line a tensor
 *
 * sorted by name, which has bytes outside [!-~] and % percent-encoded; dtype is
 * TensorFlow's name ("float32"). A partitioned tensor is one line, put together. */
#include "fingerprint/fp_int.h"

#include <inttypes.h>
#include <stdlib.h>

static void
add_line(struct buf *b, const struct fp_tensor *t)
{
    char hex[DIGEST_HEX_BYTES];
    const struct sm_entry *e = t->entry;
    const struct sm_dtype_info *info = sm_dtype_info(e->dtype);
    digest_hex(&t->digest, hex);
    buf_addf(b, "%s %s [", hex, info ? info->tf_name : "unknown");
    for (int i = 0; i < e->shape.rank; i++)
        buf_addf(b, "%s%" PRId64, i ? "," : "", e->shape.dims[i]);
    buf_adds(b, "] ");
    for (size_t i = 0; i < e->key.n; i++) {
        unsigned char c = (unsigned char)e->key.p[i];
        if (c > ' ' && c <= '~' && c != '%')
            buf_addc(b, (char)c);
        else
            buf_addf(b, "%%%02X", c);
    }
    buf_addc(b, '\n');
}

int
fp_weights_of(struct fp_weights *out, struct sm_bundle *b, struct err *err)
{
    int n = b ? sm_bundle_n_entries(b) : 0;
    struct sha256 h;
    struct buf line AUTO(buf_release) = BUF_INIT;
    sha256_init(&h);
    buf_adds(&line, "sluice-weights 1\n");
    sha256_add(&h, line.data, line.len);
    *out = (struct fp_weights){ .v = xcalloc((size_t)n + 1, sizeof(*out->v)) };
    for (int i = 0; i < n; i++) {
        const struct sm_entry *e = sm_bundle_entry(b, i);
        if (str_is(e->key, SM_OBJECT_GRAPH_KEY))
            continue;
        struct fp_tensor *x = &out->v[out->n++];
        struct fp_look look;
        int rc = fp_look_entry(&look, b, e, FP_LOOK_DIGEST, NULL, err);
        *x = (struct fp_tensor){ e, look.digest };
        out->n_bytes += look.n_bytes;
        if (rc < 0) {
            fp_weights_release(out);
            return rc;
        }
        buf_clear(&line);
        add_line(&line, x);
        sha256_add(&h, line.data, line.len);
    }
    sha256_end(&h, &out->id);
    return 0;
}

void
fp_weights_release(struct fp_weights *w)
{
    free(w->v);
    *w = (struct fp_weights){ .v = NULL };
}

static int
tensor_cmp(const void *key, const void *t)
{
    return str_cmp(*(const struct str *)key, ((const struct fp_tensor *)t)->entry->key);
}

const struct fp_tensor *
fp_weights_find(const struct fp_weights *w, struct str name)
{
    if (w->n == 0)
        return NULL;
    return bsearch(&name, w->v, (size_t)w->n, sizeof(*w->v), tensor_cmp);
}
