/* SPDX-License-Identifier: Apache-2.0 */
/* A frozen graph: up to a newline what --outputs says, up to the next what is fed, then
 * the GraphDef. What stands for it is a SavedModel. */
#include "savedmodel/savedmodel.h"
#include "tests/fuzz/scratch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
open_again(struct scratch *s, const struct sm_frozen *f)
{
    struct err err = ERR_INIT;
    struct buf all AUTO(buf_release) = BUF_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    const struct sm_signature *sig;
    buf_add(&all, f->head.data, f->head.len);
    buf_add(&all, f->graph.p, f->graph.n);
    buf_add(&all, f->tail.data, f->tail.len);
    scratch_put(s, "saved_model.pb", all.data, all.len);
    /* It lies two deeper now, and a shape may be one that only TensorFlow refuses. */
    if (sm_open(&m, s->fd, "model", &err) < 0) {
        if (err.code != ERR_LIMIT)
            BUG("%s", err.msg);
    } else if (sm_find_signature(sm_meta(m, 0), "serving_default", &sig, &err) < 0 ||
               sig->n_outputs == 0) {
        BUG("no signature");
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct err err = ERR_INIT;
    char *line[2] = { NULL };
    for (int i = 0; i < 2; i++) {
        const uint8_t *end = n ? memchr(p, '\n', n) : NULL;
        size_t len = end ? (size_t)(end - p) : n;
        line[i] = xstrndup((const char *)p, len);
        p += len + (end != NULL);
        n -= len + (end != NULL);
    }
    struct scratch s;
    struct sm_frozen f AUTO(sm_frozen_release) = { .file = NULL };
    scratch_open(&s);
    scratch_put(&s, "graph.pb", p, n);
    char *path = xasprintf("%s/graph.pb", s.path);
    if (sm_frozen_open(&f, path, line[0], line[1], &err) == 0)
        open_again(&s, &f);
    free(path);
    free(line[0]);
    free(line[1]);
    scratch_close(&s);
    return 0;
}
