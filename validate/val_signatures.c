/* SPDX-License-Identifier: Apache-2.0 */
/* What changed in the signatures of a model, and whether its callers break. */
#include "validate/val_int.h"

#include <stdio.h>
#include <string.h>

struct change {
    cJSON *why;  /* list of sentences */
    bool breaks; /* a caller of A fails on B */
};

static void note(struct change *ch, bool breaks, const char *fmt, ...) PRINTF(3, 4);

static void
note(struct change *ch, bool breaks, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    cJSON_AddItemToArray(ch->why, cJSON_CreateString(text));
    ch->breaks |= breaks;
}

static cJSON *
add_signature(cJSON *list, struct str name)
{
    cJSON *o = cJSON_CreateObject();
    char *text AUTO(free_ptr) = str_dup(name);

    json_put_str(o, "signature", text);
    cJSON_AddItemToArray(list, o);
    return o;
}

static const struct sm_tensor_info *
find_tensor(const struct sm_tensor_info *v, int n, struct str key)
{
    for (int i = 0; i < n; i++)
        if (str_eq(v[i].key, key))
            return &v[i];
    return NULL;
}

static void
compare_defaults(struct change *ch, const struct sm_tensor_info *was,
                 const struct sm_tensor_info *is)
{
    if (was->has_default && !is->has_default)
        note(ch, true, "input '%.*s' has no default value any more", STR_ARG(is->key));
    else if (!was->has_default && is->has_default)
        note(ch, false, "input '%.*s' has a default value now", STR_ARG(is->key));
    else if (is->has_default && !str_eq(was->default_value, is->default_value))
        note(ch, false, "input '%.*s' has another default value", STR_ARG(is->key));
}

/* Every value that fits `from` fits `to`. */
static bool
widens(const struct sm_shape *from, const struct sm_shape *to)
{
    if (to->unknown_rank)
        return true;
    if (from->unknown_rank || from->rank != to->rank)
        return false;
    for (int i = 0; i < to->rank; i++)
        if (to->dims[i] >= 0 && to->dims[i] != from->dims[i])
            return false;
    return true;
}

static void
compare_tensors(struct change *ch, const char *what, bool inputs,
                const struct sm_tensor_info *a, int n_a, const struct sm_tensor_info *b,
                int n_b)
{
    for (int i = 0; i < n_a; i++) {
        const struct sm_tensor_info *t = find_tensor(b, n_b, a[i].key);
        struct buf was AUTO(buf_release) = BUF_INIT, is AUTO(buf_release) = BUF_INIT;
        if (!t) {
            note(ch, true, "%s '%.*s' is gone", what, STR_ARG(a[i].key));
            continue;
        }
        if (t->dtype != a[i].dtype)
            note(ch, true, "%s '%.*s' was %s, is %s", what, STR_ARG(t->key),
                 sm_dtype_name(a[i].dtype), sm_dtype_name(t->dtype));
        sm_shape_text(&a[i].shape, &was);
        sm_shape_text(&t->shape, &is);
        if (inputs)
            compare_defaults(ch, &a[i], t);
        if (strcmp(buf_str(&was), buf_str(&is)) != 0)
            note(ch,
                 inputs ? !widens(&a[i].shape, &t->shape)
                        : !widens(&t->shape, &a[i].shape),
                 "%s '%.*s' was %s, is %s", what, STR_ARG(t->key), buf_str(&was),
                 buf_str(&is));
    }
    for (int i = 0; i < n_b; i++)
        if (!find_tensor(a, n_a, b[i].key))
            note(ch, inputs && !b[i].has_default, "%s '%.*s' is new", what,
                 STR_ARG(b[i].key));
}

static const struct sm_signature *
find_signature(const struct sm_meta *m, struct str key)
{
    for (int i = 0; i < m->n_signatures; i++)
        if (str_eq(m->signatures[i].key, key))
            return &m->signatures[i];
    return NULL;
}

/* Returns whether a caller of A fails on B. */
bool
val_diff_signatures(cJSON *list, const struct sm_meta *a, const struct sm_meta *b)
{
    bool breaks = false;
    for (int i = 0; i < a->n_signatures; i++) {
        const struct sm_signature *s = &a->signatures[i];
        const struct sm_signature *t = find_signature(b, s->key);
        struct change ch = { .why = cJSON_CreateArray() };
        if (sm_signature_hidden(s)) {
            cJSON_Delete(ch.why);
            continue;
        }
        if (!t) {
            note(&ch, true, "is gone");
        } else {
            compare_tensors(&ch, "input", true, s->inputs, s->n_inputs, t->inputs,
                            t->n_inputs);
            compare_tensors(&ch, "output", false, s->outputs, s->n_outputs, t->outputs,
                            t->n_outputs);
            if (!str_eq(s->method, t->method))
                note(&ch, false, "its method was %.*s, is %.*s", STR_ARG(s->method),
                     STR_ARG(t->method));
        }
        if (!ch.why->child) {
            cJSON_Delete(ch.why);
            continue;
        }
        cJSON *o = add_signature(list, s->key);
        json_put_str(o, "change", t ? "changed" : "removed");
        json_put_bool(o, "breaks_callers", ch.breaks);
        cJSON_AddItemToObject(o, "why", ch.why);
        breaks |= ch.breaks;
    }
    for (int i = 0; i < b->n_signatures; i++)
        if (!sm_signature_hidden(&b->signatures[i]) &&
            !find_signature(a, b->signatures[i].key)) {
            cJSON *o = add_signature(list, b->signatures[i].key);
            json_put_str(o, "change", "added");
            json_put_bool(o, "breaks_callers", false);
        }
    return breaks;
}
