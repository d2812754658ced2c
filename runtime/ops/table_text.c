/* SPDX-License-Identifier: Apache-2.0 */
/* Tables from vocabulary files of the model. */
#include "runtime/ops/table_int.h"

#include <stdlib.h>

enum { WHOLE_LINE = -2, LINE_NUMBER = -1 };
#define FILE_MAX_BYTES ((size_t)1 << 30)

struct text_init {
    int64_t key_index, value_index, vocab_size, offset;
    char delimiter;
};

int
rt_prep_table_text(struct rt_prep *p)
{
    struct text_init *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->key_index = rt_attr_int(p, "key_index", RT_REQUIRED);
    s->value_index = rt_attr_int(p, "value_index", RT_REQUIRED);
    s->vocab_size = rt_attr_int(p, "vocab_size", -1);
    s->offset = rt_attr_int(p, "offset", 0);
    s->delimiter = rt_attr_str(p, "delimiter", "\t")[0];
    return rt_prep_done(p);
}

/* The next line, without "\n" and with every "\r" dropped (they are rare: `clean` is
 * the place for such a line). False: end. */
static bool
next_line(struct str *it, struct str *line, struct buf *clean)
{
    if (it->n == 0)
        return false;
    const char *nl = memchr(it->p, '\n', it->n);
    size_t n = nl ? (size_t)(nl - it->p) : it->n;
    *line = (struct str){ it->p, n };
    it->p += n + (nl != NULL);
    it->n -= n + (nl != NULL);
    if (!memchr(line->p, '\r', line->n))
        return true;
    buf_clear(clean);
    for (size_t i = 0; i < line->n; i++)
        if (line->p[i] != '\r')
            buf_addc(clean, line->p[i]);
    *line = (struct str){ buf_str(clean), clean->len };
    return true;
}

/* One cell as an element of `dtype` at `out`. */
static int
parse_cell(struct rt_ctx *ctx, int64_t index, int dtype, struct str line,
           int64_t number, void *out, struct err *err)
{
    const struct text_init *s = ctx->node->state;
    char text[64], *end = text;
    if (index == LINE_NUMBER && dtype == SM_INT64) {
        *(int64_t *)out = number + s->offset;
        return 0;
    }
    for (int64_t i = 0; index >= 0 && i <= index; i++) {
        const char *d = line.n ? memchr(line.p, s->delimiter, line.n) : NULL;
        if (i < index && !d)
            return rt_fail(ctx, err, ERR_FAILED,
                           "Invalid number of columns in line %lld "
                           "(%.*s): column %lld is wanted",
                           (long long)number, STR_ARG(line), (long long)index);
        if (i < index)
            line = (struct str){ d + 1, line.n - (size_t)(d + 1 - line.p) };
        else if (d)
            line.n = (size_t)(d - line.p);
    }
    if (dtype == SM_STRING) {
        *(struct str *)out = line;
        return 0;
    }
    size_t n = line.n < sizeof(text) ? line.n : sizeof(text) - 1;
    memcpy(text, line.p, n);
    text[n] = '\0';
    if (dtype == SM_INT32)
        *(int32_t *)out = (int32_t)strtol(text, &end, 10);
    else if (dtype == SM_INT64)
        *(int64_t *)out = strtoll(text, &end, 10);
    else if (dtype == SM_FLOAT)
        *(float *)out = strtof(text, &end);
    else if (dtype == SM_DOUBLE)
        *(double *)out = strtod(text, &end);
    if (end == text || *end)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Field %.*s in line %lld is not a valid %s.", STR_ARG(line),
                       (long long)number, rt_dtype_text(dtype));
    return 0;
}

static int
put_lines(struct rt_ctx *ctx, const struct rt_table *t, struct table_content *c,
          struct str text, struct err *err)
{
    const struct text_init *s = ctx->node->state;
    struct buf clean AUTO(buf_release) = BUF_INIT;
    struct str line;
    int64_t number = 0;
    for (; (s->vocab_size < 0 || number < s->vocab_size) &&
           next_line(&text, &line, &clean);
         number++) {
        union {
            struct str s;
            int64_t i;
            double d;
        } k, v;
        if (parse_cell(ctx, s->key_index, t->key_dtype, line, number, &k, err) < 0 ||
            parse_cell(ctx, s->value_index, t->value_dtype, line, number, &v, err) < 0)
            return -(int)err->code;
        struct rt_tensor key = { .dtype = t->key_dtype, .n_elems = 1, .data = &k };
        if (table_put_once(ctx, t, c, table_key_at(t, &key, 0), (const char *)&v, err) <
            0)
            return -(int)err->code;
    }
    if (s->vocab_size >= 0 && number < s->vocab_size)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Invalid vocab_size in the file: expected %lld "
                       "but got %lld",
                       (long long)s->vocab_size, (long long)number);
    return 0;
}

/* table, filename: a line is an entry; key and value are columns of it, the whole line
 * (-2) or its number (-1). Only files of the model may be read. */
int
rt_run_table_text(struct rt_ctx *ctx, struct err *err)
{
    struct rt_table *t = table_in(ctx, err);
    struct buf text AUTO(buf_release) = { .cap_bytes = FILE_MAX_BYTES };
    if (!t)
        return -(int)err->code;
    if (ctx->in[1]->n_elems != 1)
        return rt_fail(ctx, err, ERR_FAILED, "filename should be a single string");
    if (t->value_elems != 1 || t->key_elems != 1)
        return rt_fail(ctx, err, ERR_FAILED,
                       "the table's keys and values are no scalars");
    if (rt_session_read(ctx->session, *(const struct str *)ctx->in[1]->data, &text,
                        err) < 0)
        return err_ctx(err, "node '%s' (%s)", ctx->node->name, ctx->node->op);
    struct table_content *c = table_content_new();
    int rc = put_lines(ctx, t, c, (struct str){ buf_str(&text), text.len }, err);
    return table_install(t, c, rc);
}
