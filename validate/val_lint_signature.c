/* SPDX-License-Identifier: Apache-2.0 */
/* What the signatures say by themselves: that there are some, their batch dimension,
 * their rank, and whether callers of the version before can go on. */
#include "validate/val_lint_int.h"

/* ---- which signatures ---- */

static void
names(struct lint *l)
{
    struct buf keys AUTO(buf_release) = BUF_INIT;
    const struct lint_place none = { .bytes = 0 };
    bool has_default = false;
    for (int i = 0; i < l->meta->n_signatures; i++) {
        const struct sm_signature *s = &l->meta->signatures[i];
        if (sm_signature_hidden(s))
            continue;
        has_default |= str_is(s->key, "serving_default");
        char *text AUTO(free_ptr) = scan_text(s->key);
        buf_addf(&keys, "%s%s", keys.len ? ", " : "", text);
    }
    if (!keys.len)
        lint_add(l, LINT_no_signature, &none, "there is no signature");
    else if (!has_default)
        lint_add(l, LINT_no_serving_default, &none,
                 "there is no signature 'serving_default', only: %s", buf_str(&keys));
}

/* TensorFlow Serving asks for the tags {serve} and nothing beside them. */
static void
tags(struct lint *l)
{
    const struct sm_meta *meta;
    const struct lint_place none = { .bytes = 0 };
    struct err err = ERR_INIT;
    if (sm_find_meta(l->model, "serve", &meta, &err) >= 0)
        return;
    cJSON *o AUTO(json_free) = cJSON_CreateObject();
    scan_put_tags(o, "tags", l->meta);
    lint_add(l, LINT_no_serve_tag, &none,
             "no MetaGraph has the tag set 'serve'; this one has '%s'",
             cJSON_GetStringValue(cJSON_GetObjectItem(o, "tags")));
}

/* ---- shapes ---- */

/* One picture without a batch: (height, width, colours). */
static bool
is_image(const struct sm_tensor_info *t)
{
    const int64_t *d = t->shape.dims;
    return t->shape.rank == 3 && (d[2] == 1 || d[2] == 3 || d[2] == 4) && d[0] != 1 &&
           (d[0] < 0 || d[0] >= 8) && (d[1] < 0 || d[1] >= 8);
}

static bool
is_open(const struct sm_tensor_info *t)
{
    return t->shape.unknown_rank || (t->shape.rank > 0 && t->shape.dims[0] < 0);
}

static void
batch(struct lint *l, const struct sm_signature *s, const struct sm_tensor_info *t,
      bool other_is_open)
{
    struct buf shape AUTO(buf_release) = BUF_INIT;
    struct lint_place at = { .signature = s->key, .input = t->key };
    /* Beside an input with a batch, a vector of fixed size is a parameter; so are two
     * to four integers: a size, a seed, a box. */
    bool is_integer = t->dtype == SM_INT32 || t->dtype == SM_INT64;
    if (!t->shape.rank || is_open(t) || is_image(t) ||
        (t->shape.rank == 1 && (other_is_open || (is_integer && t->shape.dims[0] > 1 &&
                                                  t->shape.dims[0] <= 4))))
        return;
    sm_shape_text(&t->shape, &shape);
    lint_add(l, LINT_no_batch, &at, "the first dimension of %s is fixed to %lld",
             buf_str(&shape), (long long)t->shape.dims[0]);
}

/* Serialised tf.Example, as classify and regress take them. */
static bool
is_example(const struct sm_signature *s, const struct sm_tensor_info *t)
{
    return t->dtype == SM_STRING && (str_is(s->method, "tensorflow/serving/classify") ||
                                     str_is(s->method, "tensorflow/serving/regress"));
}

static void
one_signature(struct lint *l, const struct sm_signature *s)
{
    bool has_open = false;
    for (int i = 0; i < s->n_inputs; i++)
        has_open |= s->inputs[i].name.n && is_open(&s->inputs[i]);
    for (int i = 0; i < s->n_inputs; i++) {
        const struct sm_tensor_info *t = &s->inputs[i];
        struct lint_place at = { .signature = s->key, .input = t->key };
        if (!t->name.n) /* sparse or ragged: its shape is not in its parts */
            continue;
        if (t->shape.unknown_rank && is_example(s, t))
            continue;
        if (t->shape.unknown_rank)
            lint_add(l, LINT_unknown_rank, &at, "its shape is not known at all (%s)",
                     sm_dtype_name(t->dtype));
        else
            batch(l, s, t, has_open);
    }
}

/* ---- callers of the version before ---- */

static void
callers(struct lint *l)
{
    for (const cJSON *c = l->options->changes ? l->options->changes->child : NULL; c;
         c = c->next) {
        const char *key =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(c, "signature"));
        const cJSON *why, *list = cJSON_GetObjectItemCaseSensitive(c, "why");
        struct buf text AUTO(buf_release) = BUF_INIT;
        struct lint_place at = { .signature = str_of(key ? key : "") };
        if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c, "breaks_callers")))
            continue;
        cJSON_ArrayForEach(why, list)
            buf_addf(&text, "%s%s", text.len ? "; " : "", why->valuestring);
        lint_add(l, LINT_breaks_callers, &at, "against %s: %s", l->options->against,
                 buf_str(&text));
    }
}

void
lint_signatures(struct lint *l)
{
    names(l);
    tags(l);
    callers(l);
    for (int i = 0; i < l->meta->n_signatures; i++)
        if (!sm_signature_hidden(&l->meta->signatures[i]))
            one_signature(l, &l->meta->signatures[i]);
}
