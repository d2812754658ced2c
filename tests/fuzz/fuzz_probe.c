/* SPDX-License-Identifier: Apache-2.0 */
/* Probes of any model that sm_open lets through: what the graph says of ids and
 * features is followed to the end, twice, with the same bytes. */
#include "base/crypto.h"
#include "tests/fuzz/scratch.h"
#include "validate/record.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int
add_case(void *arg, const char *name, const char *signature,
         const struct sm_tensor_list *inputs, struct err *err)
{
    struct sha256 *s = arg;
    struct buf text AUTO(buf_release) = BUF_INIT;

    (void)err;
    sha256_add(s, name, strlen(name));
    sha256_add(s, signature, strlen(signature));
    for (int i = 0; i < inputs->n; i++)
        sm_tensor_text(&inputs->v[i].t, &text);
    sha256_add(s, buf_str(&text), text.len);
    return 0;
}

static void
probe(const struct sm_meta *meta, struct digest *out)
{
    static const struct val_probe_args args = { .batch = "1,2", .nonfinite = true };
    cJSON *about AUTO(json_free) = cJSON_CreateObject();
    struct err err = ERR_INIT;
    struct sha256 s;

    sha256_init(&s);
    if (val_probe(meta, &args, add_case, &s, about, &err) < 0)
        sha256_add(&s, err.msg, strlen(err.msg));
    sha256_end(&s, out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sm_model *model AUTO(sm_close_p) = NULL;
    struct err err = ERR_INIT;
    struct digest a, b;
    struct scratch dir;

    scratch_open(&dir);
    scratch_put(&dir, "saved_model.pb", data, n);
    if (sm_open(&model, dir.fd, dir.path, &err) == 0) {
        probe(sm_meta(model, 0), &a);
        probe(sm_meta(model, 0), &b);
        if (!digest_eq(&a, &b))
            BUG("the same seed gives other probes");
    }
    scratch_close(&dir);
    return 0;
}
