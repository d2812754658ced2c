/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures, and the arrays of a golden set as they want them: inline numbers get
 * their dtype, and what NumPy cannot store gets it back. */
#include "validate/val_int.h"

#include "runtime/rt_half.h"

#include <stdlib.h>
#include <string.h>

void
val_borrow(struct sm_tensor_list *out, const struct sm_tensor_list *from)
{
    *out = (struct sm_tensor_list){ .n = 0 };
    for (int i = 0; i < from->n; i++) {
        struct sm_tensor t = from->v[i].t;

        t.owned = NULL;
        sm_tensor_list_add(out, from->v[i].name, &t);
    }
}

/* ---- signatures ----------------------------------------------------------------- */

void
val_signature_release(struct val_signature *s)
{
    for (int i = 0; s->keys && i <= s->sig.n_inputs + s->sig.n_outputs; i++)
        free(s->keys[i]);
    free(s->keys);
    free(s->tensors);
    *s = (struct val_signature){ .tensors = NULL };
}

static void
put_tensor(struct val_signature *s, int at, const struct sm_tensor_info *info)
{
    s->keys[at] = str_dup(info->key);
    s->tensors[at] = (struct backend_tensor){ .key = s->keys[at],
                                              .dtype = info->dtype,
                                              .shape = info->shape,
                                              .has_default = info->has_default };
    s->odd |= info->name.n == 0;
}

void
val_signature_make(struct val_signature *out, const struct sm_signature *from)
{
    const size_t n = (size_t)from->n_inputs + (size_t)from->n_outputs;

    *out = (struct val_signature){ .tensors = xcalloc(n + 1, sizeof(*out->tensors)),
                                   .keys = xcalloc(n + 1, sizeof(*out->keys)) };
    for (int i = 0; i < from->n_inputs; i++)
        put_tensor(out, i, &from->inputs[i]);
    for (int i = 0; i < from->n_outputs; i++)
        put_tensor(out, from->n_inputs + i, &from->outputs[i]);
    out->keys[n] = str_dup(from->key);
    out->sig = (struct backend_signature){ .key = out->keys[n],
                                           .inputs = out->tensors,
                                           .n_inputs = from->n_inputs,
                                           .outputs = out->tensors + from->n_inputs,
                                           .n_outputs = from->n_outputs };
}

/* ---- arrays --------------------------------------------------------------------- */

static const struct backend_tensor *
find_key(const struct backend_tensor *keys, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(keys[i].key, name) == 0)
            return &keys[i];
    return NULL;
}

/* The key that a tensor stands for. An array without a name (an .npy file, an inline
 * value without an object around it) is the only one there is. */
static int
find_for(struct sm_named_tensor *t, const struct backend_tensor *keys, int n,
         const char *what, const struct backend_tensor **out, struct err *err)
{
    struct buf names AUTO(buf_release) = BUF_INIT;

    if (t->name[0] == '\0' && n == 1) {
        free(t->name);
        t->name = xstrdup(keys[0].key);
    }
    *out = find_key(keys, n, t->name);
    if (*out)
        return 0;
    for (int i = 0; i < n; i++)
        buf_addf(&names, "%s%s", i ? ", " : "", keys[i].key);
    if (t->name[0] == '\0')
        return err_set(err, ERR_INVALID,
                       "an array without a name where the signature has %d %ss (%s)", n,
                       what, buf_str(&names));
    return err_set(err, ERR_INVALID, "there is no %s '%s'; the signature has %s", what,
                   t->name, n ? buf_str(&names) : "none");
}

static int
to_bfloat16(struct sm_tensor *t, struct err *err)
{
    struct sm_tensor out;
    int r = sm_tensor_alloc(&out, SM_BFLOAT16, t->rank, t->dims, err);

    if (r < 0)
        return r;
    for (int64_t i = 0; i < t->n_elems; i++)
        ((uint16_t *)out.data)[i] = rt_f32_to_bf16(((const float *)t->data)[i]);
    sm_tensor_release(t);
    *t = out;
    return 0;
}

/* `is_input`: the dtype must be what the signature asks. */
static int
convert(struct sm_tensor *t, int dtype, bool is_input, struct err *err)
{
    const struct sm_dtype_info *want = sm_dtype_info(dtype);
    const struct sm_dtype_info *have = sm_dtype_info(t->dtype);

    if (t->dtype == VAL_NUMBERS) {
        struct sm_tensor out;
        int r = val_inline_convert(t, dtype, &out, err);

        if (r < 0)
            return r;
        sm_tensor_release(t);
        *t = out;
        return 0;
    }
    if (!is_input || t->dtype == dtype)
        return 0;
    if (dtype == SM_BFLOAT16 && t->dtype == SM_FLOAT)
        return to_bfloat16(t, err);
    if (want && have && want->descr && have->descr &&
        strcmp(want->descr, have->descr) == 0) { /* qint8 is stored as int8 */
        t->dtype = dtype;
        return 0;
    }
    return err_set(err, ERR_INVALID,
                   "is %s in the golden set; the signature asks for %s",
                   have ? have->tf_name : "of an unknown dtype",
                   want ? want->tf_name : "an unknown dtype");
}

static int
bind(struct sm_tensor_list *list, const struct backend_tensor *keys, int n,
     const char *what, bool is_input, struct err *err)
{
    for (int i = 0; i < list->n; i++) {
        const struct backend_tensor *key = NULL;
        int r = find_for(&list->v[i], keys, n, what, &key, err);
        int dtype = key && key->dtype > SM_REF ? key->dtype - SM_REF
                    : key                      ? key->dtype
                                               : 0;

        if (r == 0 && convert(&list->v[i].t, dtype, is_input, err) < 0)
            r = err_ctx(err, "%s '%s'", what, key->key);
        if (r < 0)
            return r;
    }
    return 0;
}

int
val_bind(struct sm_tensor_list *inputs, const struct backend_signature *sig,
         struct err *err)
{
    return bind(inputs, sig->inputs, sig->n_inputs, "input", true, err);
}

int
val_bind_expected(struct sm_tensor_list *expected, const struct backend_signature *sig,
                  struct err *err)
{
    return bind(expected, sig->outputs, sig->n_outputs, "output", false, err);
}
