/* SPDX-License-Identifier: Apache-2.0 */
/* tf.Example and tf.SequenceExample, made from Python's words and read.
 *
 *   Example = 1 Features            SequenceExample = 1 Features, 2 FeatureLists
 *   Features = 1 map<name, Feature>     FeatureLists = 1 map<name, FeatureList>
 *   FeatureList = 1 repeated Feature
 *   Feature = one of 1 BytesList, 2 FloatList, 3 Int64List, each with 1 repeated values
 * The fields of both share their numbers, so every Example is read as a
 * SequenceExample without lists. */
#include "savedmodel/sm_expr_int.h"

#include <stdlib.h>

enum kind { KIND_NONE, KIND_BYTES, KIND_FLOAT, KIND_INT64 };

/* ---- from Python's words -----------------------------------------------------------
 */

static struct str
slice(const struct buf *b)
{
    return (struct str){ buf_str(b), b->len };
}

/* What stands between two brackets that are all of `s`. */
static bool
inside(struct str s, const char *open, const char *close, struct str *out)
{
    return sm_src_take(&s, open) && sm_src_until(&s, close, out) && str_is(s, close);
}

static int
literal(struct str text, struct sm_tensor *out, struct err *err)
{
    char *s AUTO(free_ptr) = str_dup(text);
    return sm_literal_read(s, out, err);
}

/* The kind that the first value of a list asks for. */
static int
kind_of_first(struct str list, enum kind *kind, struct err *err)
{
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    struct str first;
    int r = sm_src_item(&list, &first);
    if (r <= 0)
        return err_set(err, ERR_INVALID,
                       "a feature without values: leave it out instead");
    int rc = literal(first, &t, err);
    if (rc < 0)
        return rc;
    *kind = t.dtype == SM_STRING   ? KIND_BYTES
            : t.dtype == SM_DOUBLE ? KIND_FLOAT
                                   : KIND_INT64;
    return t.rank == 0 ? 0
                       : err_set(err, ERR_INVALID, "the values are lists themselves");
}

/* "[1, 2]" as a Feature. */
static int
feature_of(struct str text, struct buf *out, struct err *err)
{
    static const int dtypes[] = { 0, SM_STRING, SM_FLOAT, SM_INT64 };
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    struct buf values AUTO(buf_release) = BUF_INIT, list AUTO(buf_release) = BUF_INIT;
    struct str inner;
    enum kind kind = KIND_NONE;
    if (!inside(text, "[", "]", &inner))
        return err_set(err, ERR_INVALID, "feature value must be a list, but is %.*s",
                       STR_ARG(text));
    int rc = kind_of_first(inner, &kind, err);
    if (rc == 0)
        rc = literal(text, &t, err);
    if (rc == 0 && (t.dtype == SM_STRING) == (kind == KIND_BYTES) &&
        !(t.dtype == SM_DOUBLE && kind == KIND_INT64))
        rc = sm_tensor_cast(&t, dtypes[kind], "the feature", err);
    else if (rc == 0)
        rc = err_set(err, ERR_INVALID,
                     "the first value says which kind all are, and a later one is of "
                     "another");
    if (rc < 0)
        return rc;
    for (int64_t i = 0; i < t.n_elems; i++) {
        if (kind == KIND_BYTES)
            sm_pb_put_bytes(&list, 1, sm_tensor_str(&t)[i]);
        else if (kind == KIND_FLOAT)
            buf_add(&values, (const float *)t.data + i, 4);
        else
            sm_pb_add_varint(&values, (uint64_t)((const int64_t *)t.data)[i]);
    }
    if (kind != KIND_BYTES)
        sm_pb_put_bytes(&list, 1, slice(&values));
    sm_pb_put_bytes(out, kind, slice(&list));
    return buf_check(out, "feature", err);
}

struct feature {
    char *name;
    struct buf bytes;
    int place; /* in the dict */
};
struct features {
    struct feature *v;
    int n;
};

static void
features_release(struct features *f)
{
    for (int i = 0; i < f->n; i++) {
        free(f->v[i].name);
        buf_release(&f->v[i].bytes);
    }
    free(f->v);
}

/* By name; of equal names the last of the dict first. */
static int
feature_cmp(const void *pa, const void *pb)
{
    const struct feature *a = pa, *b = pb;
    int r = strcmp(a->name, b->name);
    return r ? r : b->place - a->place;
}

/* "'name': [values]" */
static int
entry_of(struct str text, struct feature *out, struct err *err)
{
    struct sm_tensor name AUTO(sm_tensor_release) = { .data = NULL };
    struct str key;
    if (!sm_src_until(&text, ":", &key))
        return err_set(err, ERR_INVALID, "'%.*s' is no \"name\": [values]",
                       STR_ARG(text));
    (void)sm_src_take(&text, ":");
    int rc = literal(key, &name, err);
    if (rc < 0)
        return rc;
    const struct str *s =
        name.rank == 0 && name.dtype == SM_STRING ? sm_tensor_str(&name) : NULL;
    if (!s || (s->n && memchr(s->p, '\0', s->n)))
        return err_set(err, ERR_INVALID, "%.*s is no name of a feature", STR_ARG(key));
    out->name = xstrndup(s->p ? s->p : "", s->n);
    rc = feature_of(sm_src_trim(text), &out->bytes, err);
    return rc < 0 ? err_ctx(err, "\"%s\"", out->name) : 0;
}

/* "{'name': [values], …}" as an Example. */
static int
example_of(struct str text, struct buf *out, struct err *err)
{
    struct features f AUTO(features_release) = { .v = NULL };
    struct buf map AUTO(buf_release) = BUF_INIT;
    struct str inner, item;
    int r, rc = 0;
    if (!inside(text, "{", "}", &inner))
        return err_set(err, ERR_INVALID,
                       "tf.Example input must be a list of dictionaries, but has %.*s",
                       STR_ARG(text));
    while (rc == 0 && (r = sm_src_item(&inner, &item)) != 0) {
        if (r < 0)
            return err_set(err, ERR_INVALID, "a comma with nothing before it");
        f.v = xreallocarray(f.v, (size_t)f.n + 1, sizeof(*f.v));
        f.v[f.n] = (struct feature){ .place = f.n };
        rc = entry_of(item, &f.v[f.n++], err);
    }
    if (rc < 0)
        return rc;
    if (f.n > 0)
        qsort(f.v, (size_t)f.n, sizeof(*f.v), feature_cmp);
    for (int i = 0; i < f.n; i++) {
        struct buf entry AUTO(buf_release) = BUF_INIT;
        if (i > 0 && strcmp(f.v[i].name, f.v[i - 1].name) == 0)
            continue;
        sm_pb_put_bytes(&entry, 1, str_of(f.v[i].name));
        sm_pb_put_bytes(&entry, 2, slice(&f.v[i].bytes));
        sm_pb_put_bytes(&map, 1, slice(&entry));
    }
    sm_pb_put_bytes(out, 1, slice(&map));
    return buf_check(out, "example", err);
}

int
sm_examples_of(const char *text, struct sm_tensor *out, struct err *err)
{
    struct str all = sm_src_trim(str_of(text)), inner, item;
    struct buf bytes AUTO(buf_release) = BUF_INIT, ends AUTO(buf_release) = BUF_INIT;
    int64_t n = 0;
    int r, rc = 0;
    *out = (struct sm_tensor){ .data = NULL };
    if (!inside(all, "[", "]", &inner))
        return err_set(err, ERR_INVALID,
                       "tf.Example input must be a list of dictionaries, but is %.*s",
                       STR_ARG(all));
    for (; rc == 0 && (r = sm_src_item(&inner, &item)) != 0; n++) {
        rc = r < 0 ? err_set(err, ERR_INVALID, "a comma with nothing before it")
                   : example_of(item, &bytes, err);
        if (rc < 0)
            return err_ctx(err, "example %lld", (long long)n);
        buf_add(&ends, &bytes.len, sizeof(bytes.len));
    }
    struct str *v AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*v));
    size_t from = 0, to;
    for (int64_t i = 0; i < n; i++, from = to) {
        memcpy(&to, ends.data + (size_t)i * sizeof(to), sizeof(to));
        v[i] = (struct str){ bytes.data + from, to - from };
    }
    return sm_tensor_strings(out, 1, &n, v, err);
}

/* ---- reading -----------------------------------------------------------------------
 */

/* The values of one Feature. */
struct values {
    enum kind kind;
    struct buf v; /* float, int64_t or struct str */
    int64_t n;
};

static size_t
unit_of(enum kind kind)
{
    return kind == KIND_BYTES ? sizeof(struct str) : kind == KIND_FLOAT ? 4 : 8;
}

/* Adds the values of a list message; false: malformed. */
static bool
list_add(struct str list, struct values *out)
{
    struct sm_field f;
    uint32_t wire = out->kind == KIND_FLOAT ? 5 : 0;
    int r;
    while ((r = sm_pb_next(&list, &f)) > 0) {
        if (f.num != 1)
            continue;
        if (out->kind == KIND_BYTES) {
            if (f.wire != 2)
                return false;
            buf_add(&out->v, &f.bytes, sizeof(f.bytes));
            out->n++;
        } else if (f.wire == wire) {
            buf_add(&out->v, &f.v, unit_of(out->kind));
            out->n++;
        } else if (f.wire != 2) {
            return false;
        }
        uint64_t v;
        while (out->kind != KIND_BYTES && f.wire == 2 && f.bytes.n > 0) {
            if (!sm_pb_packed_next(&f.bytes, wire, &v))
                return false;
            buf_add(&out->v, &v, unit_of(out->kind));
            out->n++;
        }
    }
    return r == 0;
}

/* Adds the values of a Feature; false: malformed, or of another kind than those that
 * are there. */
static bool
feature_add(struct str feature, struct values *out)
{
    struct sm_field f, last = { .num = 0 };
    struct str it = feature;
    int r;
    while ((r = sm_pb_next(&it, &f)) > 0)
        last = f.num >= KIND_BYTES && f.num <= KIND_INT64 && f.wire == 2 ? f : last;
    if (r < 0)
        return false;
    if (last.num == KIND_NONE) /* "no values" has no kind */
        return true;
    if (out->kind != KIND_NONE && out->kind != last.num)
        return false;
    out->kind = (enum kind)last.num;
    while (sm_pb_next(&feature, &f) > 0) {
        if (f.num == last.num && f.wire == 2 && !list_add(f.bytes, out))
            return false;
    }
    return true;
}

static int
no_feature(struct str example, struct str name, struct err *err)
{
    struct buf names AUTO(buf_release) = { .cap_bytes = 2048 };
    struct str parts[] = { sm_pb_bytes(example, 1), sm_pb_bytes(example, 2) };
    for (int i = 0; i < 2; i++) {
        struct sm_map map AUTO(sm_map_release) = { .v = NULL };
        sm_map_read(parts[i], 1, &map);
        for (int k = 0; k < map.n; k++)
            buf_addf(&names, " \"%.*s\"", STR_ARG(map.v[k].key));
    }
    return err_set(err, ERR_NOTFOUND, "has no feature \"%.*s\"; there are:%s",
                   STR_ARG(name), names.len ? buf_str(&names) : " none");
}

/* What the feature has in one example; *n_steps: -1 a plain feature, else how many
 * there are in its list, which must be of one length. */
static int
column_add(struct str example, struct str name, struct values *out, int64_t *n_steps,
           struct err *err)
{
    struct str feature, it = sm_pb_bytes(example, 2);
    int64_t before = out->n, width = -1;
    bool ok = true;
    *n_steps = -1;
    if (sm_pb_map_get(sm_pb_bytes(example, 1), 1, name, &feature)) {
        ok = feature_add(feature, out);
    } else if (sm_pb_map_get(it, 1, name, &it)) {
        for (*n_steps = 0; ok && sm_pb_next_msg(&it, 1, &feature) > 0; ++*n_steps) {
            int64_t from = out->n;
            ok = feature_add(feature, out);
            if (ok && width >= 0 && out->n - from != width)
                return err_set(err, ERR_INVALID,
                               "step %lld of feature \"%.*s\" has %lld values, the "
                               "first %lld",
                               (long long)*n_steps, STR_ARG(name),
                               (long long)(out->n - from), (long long)width);
            width = out->n - from;
        }
    } else {
        return no_feature(example, name, err);
    }
    if (!ok)
        return err_set(err, ERR_CORRUPT,
                       "feature \"%.*s\" is malformed, or of two kinds", STR_ARG(name));
    return out->n - before > SM_FILL_MAX_BYTES / 16
               ? err_set(err, ERR_LIMIT, "too many values")
               : 0;
}

static int
column_of(const struct sm_records *r, struct str name, struct values *all,
          struct sm_shape *s, struct err *err)
{
    int64_t n_first = 0, steps_first = -1;
    for (size_t i = 0; i < r->n; i++) {
        int64_t steps = -1, before = all->n;
        struct sm_field f;
        struct str it = r->v[i];
        int rc, k;
        while ((k = sm_pb_next(&it, &f)) > 0)
            ;
        rc = k < 0 ? err_set(err, ERR_CORRUPT, "is no tf.Example")
                   : column_add(r->v[i], name, all, &steps, err);
        if (rc == 0 && i == 0) {
            n_first = all->n;
            steps_first = steps;
        }
        if (rc == 0 && (all->n - before != n_first || steps != steps_first))
            rc = err_set(err, ERR_INVALID,
                         "has %lld values of feature \"%.*s\", record 0 has %lld: "
                         "arrays have one length",
                         (long long)(all->n - before), STR_ARG(name),
                         (long long)n_first);
        if (rc < 0)
            return err_ctx(err, "record %zu", i);
    }
    *s = (struct sm_shape){ .rank = 2, .dims = { (int64_t)r->n, n_first } };
    if (steps_first >= 0)
        *s = (struct sm_shape){ .rank = 3,
                                .dims = { (int64_t)r->n, steps_first,
                                          steps_first ? n_first / steps_first : 0 } };
    return buf_check(&all->v, "values", err);
}

int
sm_examples_column(const struct sm_records *r, struct str name, struct sm_tensor *out,
                   struct err *err)
{
    struct values all = { .kind = KIND_NONE };
    struct sm_shape s;
    *out = (struct sm_tensor){ .data = NULL };
    int rc = column_of(r, name, &all, &s, err);
    if (rc == 0 && all.kind == KIND_BYTES) {
        rc = sm_tensor_strings(out, s.rank, s.dims, (const void *)buf_str(&all.v), err);
    } else if (rc == 0) {
        rc = sm_tensor_alloc(out, all.kind == KIND_INT64 ? SM_INT64 : SM_FLOAT, s.rank,
                             s.dims, err);
        if (rc == 0 && all.n > 0)
            memcpy(out->data, all.v.data, all.v.len);
    }
    buf_release(&all.v);
    return rc;
}
