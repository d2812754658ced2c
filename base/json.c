/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_INT_MAX 9007199254740992.0 /* 2^53: doubles below hold every integer */

void
json_setup(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){ .malloc_fn = xmalloc, .free_fn = free });
}

void
json_free(cJSON **j)
{
    cJSON_Delete(*j);
    *j = NULL;
}

/* The length of the UTF-8 character at p (RFC 3629: no overlong forms, surrogates or
 * values above 10FFFF); 0: none. n > 0. */
static size_t
utf8_len(const uint8_t *p, size_t n)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint8_t low = 0x80, high = 0xbf;

    if (len == 1)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len > n)
        return 0;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < len; i++) {
        if (p[i] < low || p[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return len;
}

static int
fail_at(struct str text, size_t at, const char *what, const char *why, struct err *err)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < at; i++) {
        column++;
        if (text.p[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return err_set(err, ERR_INVALID, "%s: line %zu, column %zu: %s", what, line, column,
                   why);
}

/* What cJSON lets through and JSON does not: bytes that are no UTF-8, and U+0000,
 * which would cut a C string short. */
static int
check_text(struct str text, const char *what, struct err *err)
{
    for (size_t i = 0, len; i < text.n; i += len) {
        len = utf8_len((const uint8_t *)text.p + i, text.n - i);
        if (len == 0)
            return fail_at(text, i, what, "not UTF-8", err);
        if (text.p[i] == '\0')
            return fail_at(text, i, what, "a zero byte", err);
        if (text.p[i] == '\\' && text.n - i >= 2) {
            if (text.n - i >= 6 && memcmp(text.p + i, "\\u0000", 6) == 0)
                return fail_at(text, i, what, "\\u0000 is not allowed in a string",
                               err);
            if (text.p[i + 1] == '\\')
                len = 2;
        }
    }
    return 0;
}

/* "1e999" would become infinite without a word. The depth is limited by cJSON. */
static bool
all_finite(const cJSON *j)
{
    if (cJSON_IsNumber(j))
        return isfinite(j->valuedouble);
    for (const cJSON *c = j->child; c; c = c->next)
        if (!all_finite(c))
            return false;
    return true;
}

int
json_parse(cJSON **out, struct str text, const char *what, struct err *err)
{
    const char *end = NULL;
    size_t at;
    int r;

    *out = NULL;
    if (text.n == 0)
        return err_set(err, ERR_INVALID, "%s: empty, wanted a JSON document", what);
    r = check_text(text, what, err);
    if (r < 0)
        return r;
    *out = cJSON_ParseWithLengthOpts(text.p, text.n, &end, 0);
    at = end ? (size_t)(end - text.p) : 0;
    if (!*out)
        return fail_at(text, at, what, "not JSON", err);
    while (at < text.n && strchr(" \t\r\n", text.p[at]))
        at++;
    if (at < text.n) {
        json_free(out);
        return fail_at(text, at, what, "text after the document", err);
    }
    if (!all_finite(*out)) {
        json_free(out);
        return err_set(err, ERR_INVALID, "%s: a number beyond the range of a double",
                       what);
    }
    return 0;
}

/* ---- names that come twice ---- */

static int
by_name(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string,
                  (*(const cJSON *const *)b)->string);
}

/* Sorted, as an object may have a great many members. */
static int
check_members(const cJSON *obj, const char *what, struct err *err)
{
    const size_t n = (size_t)cJSON_GetArraySize(obj);
    const cJSON **v = xcalloc(n + 1, sizeof(*v)), *c;
    const char *twice = NULL;
    size_t k = 0;

    cJSON_ArrayForEach(c, obj) v[k++] = c;
    qsort(v, n, sizeof(*v), by_name);
    for (size_t i = 1; i < n && !twice; i++)
        if (by_name(&v[i - 1], &v[i]) == 0)
            twice = v[i]->string;
    free(v);
    return twice ? err_set(err, ERR_INVALID,
                           "%s: \"%.200s\" stands twice in one object", what, twice)
                 : 0;
}

int
json_check_names(const cJSON *j, const char *what, struct err *err)
{
    const cJSON *c;
    int r = cJSON_IsObject(j) ? check_members(j, what, err) : 0;

    for (c = j->child; c && r == 0; c = c->next)
        if (c->child)
            r = json_check_names(c, what, err);
    return r;
}

/* ---- members ---- */

/* The member, or NULL when it is absent or null. */
static const cJSON *
member(const cJSON *obj, const char *key)
{
    const cJSON *j = cJSON_GetObjectItemCaseSensitive(obj, key);

    return j && cJSON_IsNull(j) ? NULL : j;
}

static int
bad_member(const char *what, const char *key, const char *wanted, const cJSON *j,
           struct err *err)
{
    return err_set(err, ERR_INVALID, "%s: \"%s\" %s, wanted %s", what, key,
                   j ? "is something else" : "is missing", wanted);
}

int
json_str(const cJSON *obj, const char *key, const char *fallback, const char **out,
         const char *what, struct err *err)
{
    const cJSON *j = member(obj, key);

    if (j ? !cJSON_IsString(j) : !fallback)
        return bad_member(what, key, "a string", j, err);
    *out = j ? j->valuestring : fallback;
    return 0;
}

int
json_num(const cJSON *obj, const char *key, double fallback, double *out,
         const char *what, struct err *err)
{
    const cJSON *j = member(obj, key);

    if (j ? !cJSON_IsNumber(j) : isnan(fallback))
        return bad_member(what, key, "a number", j, err);
    *out = j ? j->valuedouble : fallback;
    return 0;
}

int
json_bool(const cJSON *obj, const char *key, bool fallback, bool *out, const char *what,
          struct err *err)
{
    const cJSON *j = member(obj, key);

    if (j && !cJSON_IsBool(j))
        return bad_member(what, key, "true or false", j, err);
    *out = j ? cJSON_IsTrue(j) : fallback;
    return 0;
}

bool
json_has(const cJSON *obj, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(obj, key) != NULL;
}

void
json_add_quoted(struct buf *out, struct str s)
{
    buf_addc(out, '"');
    for (size_t i = 0, len; i < s.n; i += len) {
        const char *p = s.p + i;

        len = utf8_len((const uint8_t *)p, s.n - i);
        if (len == 0) {
            buf_adds(out, "\xef\xbf\xbd");
            len = 1;
        } else if (*p == '"' || *p == '\\') {
            buf_addc(out, '\\');
            buf_addc(out, *p);
        } else if (*p == '\n') {
            buf_adds(out, "\\n");
        } else if ((uint8_t)*p < 0x20 || *p == 0x7f) {
            buf_addf(out, "\\u%04x", (unsigned)*p);
        } else {
            buf_add(out, p, len);
        }
    }
    buf_addc(out, '"');
}

/* JSON has no numbers for these. */
static const char *
non_finite(double v)
{
    return isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity";
}

/* The shortest decimal that reads back as the same double. */
static void
add_number(struct buf *out, double v)
{
    char text[32];

    if (!isfinite(v)) {
        json_add_quoted(out, str_of(non_finite(v)));
        return;
    }
    if (v == floor(v) && fabs(v) < EXACT_INT_MAX) {
        buf_addf(out, "%.0f", v == 0 ? 0.0 : v);
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof(text), "%.*g", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_adds(out, text);
}

static void
add_newline(struct buf *out, int depth)
{
    buf_addc(out, '\n');
    for (int i = 0; i < depth; i++)
        buf_adds(out, "  ");
}

/* depth < 0: everything on one line. */
static void
add_value(struct buf *out, const cJSON *j, int depth)
{
    const bool is_object = cJSON_IsObject(j);
    const int inner = depth < 0 ? -1 : depth + 1;

    if (cJSON_IsString(j)) {
        json_add_quoted(out, str_of(j->valuestring));
    } else if (cJSON_IsRaw(j)) {
        buf_adds(out, j->valuestring);
    } else if (cJSON_IsNumber(j)) {
        add_number(out, j->valuedouble);
    } else if (cJSON_IsBool(j)) {
        buf_adds(out, cJSON_IsTrue(j) ? "true" : "false");
    } else if (!is_object && !cJSON_IsArray(j)) {
        buf_adds(out, "null");
    } else {
        buf_addc(out, is_object ? '{' : '[');
        for (const cJSON *c = j->child; c; c = c->next) {
            if (depth >= 0)
                add_newline(out, inner);
            if (is_object) {
                json_add_quoted(out, str_of(c->string));
                buf_adds(out, ": ");
            }
            add_value(out, c, inner);
            if (c->next)
                buf_adds(out, depth < 0 ? ", " : ",");
        }
        if (depth >= 0 && j->child)
            add_newline(out, depth);
        buf_addc(out, is_object ? '}' : ']');
    }
}

void
json_print(const cJSON *j, struct buf *out, bool one_line)
{
    add_value(out, j, one_line ? -1 : 0);
    if (!one_line)
        buf_addc(out, '\n');
}

static void
put(cJSON *obj, const char *key, cJSON *value)
{
    if (!value || !(key ? cJSON_AddItemToObject(obj, key, value)
                        : cJSON_AddItemToArray(obj, value)))
        BUG("out of memory, or no object for \"%s\"", key ? key : "");
}

void
json_put_str(cJSON *obj, const char *key, const char *s)
{
    put(obj, key, s ? cJSON_CreateString(s) : cJSON_CreateNull());
}

void
json_put_int(cJSON *obj, const char *key, int64_t v)
{
    char text[24];

    if (fabs((double)v) < EXACT_INT_MAX) {
        put(obj, key, cJSON_CreateNumber((double)v));
        return;
    }
    snprintf(text, sizeof(text), "%lld", (long long)v);
    put(obj, key, cJSON_CreateRaw(text));
}

void
json_put_real(cJSON *obj, const char *key, double v)
{
    put(obj, key,
        isfinite(v) ? cJSON_CreateNumber(v) : cJSON_CreateString(non_finite(v)));
}

void
json_put_bool(cJSON *obj, const char *key, bool v)
{
    put(obj, key, cJSON_CreateBool(v));
}

void
json_replace(cJSON *j, const char *from, const char *to)
{
    char *now AUTO(free_ptr) =
        cJSON_IsString(j) ? str_replaced(j->valuestring, from, to) : NULL;

    if (now && !cJSON_SetValuestring(j, now))
        BUG("out of memory");
    for (cJSON *e = j->child; e; e = e->next)
        json_replace(e, from, to);
}
