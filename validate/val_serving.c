/* SPDX-License-Identifier: Apache-2.0 */
/* What TF Serving's REST API is asked and answers, in the column form:
 *
 *   {"signature_name": S, "inputs": {K: V, …}}
 *   {"outputs": {K: V, …}}, or {"outputs": V} of the only one
 *
 * where V is as val_inline takes it. (val_body.c reads what others asked.) */
#include "validate/val_int.h"

int
val_serving_request(const char *signature, const struct sm_tensor_list *in,
                    struct buf *out, struct err *err)
{
    buf_adds(out, "{\"signature_name\":");
    json_add_quoted(out, str_of(signature));
    buf_adds(out, ",\"inputs\":{");
    for (int i = 0; i < in->n; i++) {
        buf_adds(out, i ? "," : "");
        json_add_quoted(out, str_of(in->v[i].name));
        buf_addc(out, ':');
        if (val_inline_add(out, &in->v[i].t, err) < 0)
            return err_ctx(err, "input '%s'", in->v[i].name);
    }
    buf_adds(out, "}}");
    return buf_check(out, "the request", err);
}

static int
take_output(const struct sm_tensor_info *info, const cJSON *j,
            struct sm_tensor_list *out, struct err *err)
{
    char *key AUTO(free_ptr) = str_dup(info->key);
    struct sm_tensor raw AUTO(sm_tensor_release) = { .rank = 0 };
    struct sm_tensor t = { .rank = 0 };

    if (!j)
        return 0; /* the judge misses it */
    if (val_inline(j, &raw, err) < 0)
        return err_ctx(err, "output '%s' of the server's answer", key);
    if (raw.dtype != VAL_NUMBERS) {
        t = raw;
        raw = (struct sm_tensor){ .rank = 0 };
    } else if (val_inline_convert(&raw, info->dtype, &t, err) < 0) {
        return err_ctx(err, "output '%s' of the server's answer", key);
    }
    sm_tensor_list_add(out, key, &t);
    return 0;
}

int
val_serving_answer(const struct sm_signature *sig, const cJSON *answer,
                   struct sm_tensor_list *out, struct err *err)
{
    const cJSON *outputs = cJSON_GetObjectItemCaseSensitive(answer, "outputs");

    if (!outputs)
        return err_set(err, ERR_FAILED, "the server's answer has no \"outputs\"");
    for (int i = 0; i < sig->n_outputs; i++) {
        char *key AUTO(free_ptr) = str_dup(sig->outputs[i].key);
        const cJSON *one = sig->n_outputs == 1 /* alone it has no name */
                               ? outputs
                               : cJSON_GetObjectItemCaseSensitive(outputs, key);

        if (take_output(&sig->outputs[i], one, out, err) < 0)
            return -(int)err->code;
    }
    return 0;
}
