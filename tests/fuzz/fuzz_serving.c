/* SPDX-License-Identifier: Apache-2.0 */
/* What a server answers: one output (first byte even) or four. What is taken can be
 * asked with, and is read as it was. */
#include "validate/record.h"
#include "validate/val_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
ask_with(const struct sm_tensor_list *taken)
{
    struct val_request q AUTO(val_request_release) = { .name = NULL };
    struct buf body AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;

    if (val_serving_request("f", taken, &body, &err) < 0 ||
        val_body_read((struct str){ buf_str(&body), body.len }, false, &q, &err) < 0)
        BUG("%s", err.msg);
    for (int i = 0; i < taken->n; i++) {
        const struct sm_tensor *t = sm_tensor_list_find(&q.inputs, taken->v[i].name);

        if (!t || t->n_elems != taken->v[i].t.n_elems)
            BUG("'%s' is read otherwise", taken->v[i].name);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sm_tensor_info outputs[] = { { .key = STR_LIT("y"), .dtype = SM_FLOAT },
                                        { .key = STR_LIT("i"), .dtype = SM_UINT64 },
                                        { .key = STR_LIT("b"), .dtype = SM_BOOL },
                                        { .key = STR_LIT("s"), .dtype = SM_STRING } };
    struct sm_signature sig = { .outputs = outputs };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { .n = 0 };
    cJSON *answer AUTO(json_free) = NULL;
    struct err err = ERR_INIT;

    if (n == 0)
        return 0;
    sig.n_outputs = data[0] & 1 ? 4 : 1;
    if (val_json_parse(&answer, (struct str){ (const char *)data + 1, n - 1 }, "answer",
                       &err) == 0 &&
        val_serving_answer(&sig, answer, &out, &err) == 0)
        ask_with(&out);
    return 0;
}
