/* SPDX-License-Identifier: Apache-2.0 */
/* Protocol buffer text format, turned into the wire form by the schema.
 *
 *   message = field*            field = name [":"] value [";" | ","]
 *   value   = scalar | "{" message "}" | "<" message ">" | "[" [value ("," value)*] "]"
 *   scalar  = number | name | string+
 * "#" begins a comment. ":" may be left out before a message only; lists stand for
 * repeated fields. A map is written as its entries: { key: … value: … }. Inside an Any,
 * "[type.googleapis.com/tensorflow.X] { … }" stands for type_url and the bytes of X.
 * Integers: decimal, 0x…, 0…; floats: also inf, infinity, nan, a final f; enumerations
 * by name or number; bools: true t True 1 false f False 0.
 *
 * As in protobuf's own parser, a singular field or a second member of a oneof may not
 * come twice, and an unknown field is an error. */
#include "savedmodel/sm_int.h"
#include "savedmodel/sm_schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_DEPTH 100
#define OUT_MAX_BYTES ((size_t)INT32_MAX)
#define NUMBER_MAX_BYTES 400

struct parser {
    const char *start, *at, *end;
    struct buf *out;
    struct err *err;
};

/* A message that is being read. */
struct scope {
    const char *name;
    const struct sm_schema_field *fields;
    int n_fields;
    uint64_t seen;                        /* fields that came already, by place */
    const struct sm_schema_field *member; /* of the oneof */
    const struct sm_schema_field *run;    /* repeated numbers, to be packed */
    size_t run_start;
    int depth;
    bool is_entry; /* of a map */
};

#define FAIL(p, ...) fail_at(p, (p)->at, ERR_CORRUPT, __VA_ARGS__)

static int fail_at(struct parser *p, const char *at, enum err_code code,
                   const char *fmt, ...) PRINTF(4, 5);

static int
fail_at(struct parser *p, const char *at, enum err_code code, const char *fmt, ...)
{
    char msg[512];
    size_t line = 1;
    const char *from = p->start;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    for (const char *c = p->start; c < at; c++) {
        if (*c == '\n') {
            line++;
            from = c + 1;
        }
    }
    return err_set(p->err, code, "line %zu, column %zu: %s", line,
                   (size_t)(at - from) + 1, msg);
}

/* ---- characters --------------------------------------------------------------------
 */

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The next character behind blanks and comments; 0 at the end. */
static char
peek(struct parser *p)
{
    for (; p->at < p->end; p->at++) {
        if (*p->at == '#') {
            const char *nl = memchr(p->at, '\n', (size_t)(p->end - p->at));
            p->at = nl ? nl : p->end - 1;
        } else if (*p->at == '\0' || !strchr(" \t\r\n\v\f", *p->at)) {
            return *p->at;
        }
    }
    return 0;
}

static bool
take(struct parser *p, char c)
{
    if (peek(p) != c || p->at == p->end)
        return false;
    p->at++;
    return true;
}

static struct str
take_name(struct parser *p)
{
    struct str s = { p->at, 0 };
    if (p->at == p->end || !is_letter(*p->at))
        return s;
    while (p->at < p->end && (is_letter(*p->at) || is_digit(*p->at)))
        p->at++;
    s.n = (size_t)(p->at - s.p);
    return s;
}

/* ---- wire form ---------------------------------------------------------------------
 */

/* Puts tag and length before what stands behind `start`. */
static void
put_head(struct buf *b, uint32_t num, size_t start)
{
    char c[20];
    size_t n = sm_pb_varint_to(c, num << 3 | 2), body = b->len - start;
    n += sm_pb_varint_to(c + n, body);
    if (b->over || !buf_room(b, n))
        return;
    memmove(b->data + start + n, b->data + start, body);
    memcpy(b->data + start, c, n);
    b->len += n;
}

static void
end_run(struct parser *p, struct scope *s)
{
    if (s->run)
        put_head(p->out, s->run->num, s->run_start);
    s->run = NULL;
}

/* ---- scalars -----------------------------------------------------------------------
 */

/* A number with its letters and dots, without its sign. */
static struct str
take_number(struct parser *p)
{
    struct str s = { p->at, 0 };
    for (; p->at < p->end; p->at++) {
        char c = *p->at;
        bool is_sign = (c == '+' || c == '-') && p->at > s.p &&
                       (p->at[-1] | 32) == 'e' &&
                       (s.p[0] != '0' || p->at == s.p + 1 || (s.p[1] | 32) != 'x');
        if (!is_digit(c) && !is_letter(c) && c != '.' && !is_sign)
            break;
    }
    s.n = (size_t)(p->at - s.p);
    return s;
}

static bool
integer_of(struct str s, uint64_t *v)
{
    uint64_t base = 10;
    size_t i = 0;
    *v = 0;
    if (s.n > 1 && s.p[0] == '0') {
        base = (s.p[1] | 32) == 'x' ? 16 : 8;
        i = base == 16 ? 2 : 1;
    }
    if (i == s.n)
        return false;
    for (; i < s.n; i++) {
        char c = s.p[i];
        uint64_t d = is_digit(c) ? (uint64_t)(c - '0')
                     : (c | 32) >= 'a' && (c | 32) <= 'f'
                         ? (uint64_t)((c | 32) - 'a') + 10
                         : 99;
        if (d >= base || __builtin_mul_overflow(*v, base, v) ||
            __builtin_add_overflow(*v, d, v))
            return false;
    }
    return true;
}

/* The largest magnitude on either side of zero. */
static uint64_t
kind_limit(uint8_t kind, bool is_negative)
{
    switch (kind) {
    case SM_K_I32:
    case SM_K_ENUM:
        return (uint64_t)INT32_MAX + is_negative;
    case SM_K_I64:
    case SM_K_S64:
        return (uint64_t)INT64_MAX + is_negative;
    case SM_K_U32:
        return is_negative ? 0 : UINT32_MAX;
    case SM_K_BOOL:
        return is_negative ? 0 : 1;
    default:
        return is_negative ? 0 : UINT64_MAX;
    }
}

static int
read_integer(struct parser *p, const struct sm_schema_field *f, uint64_t *v)
{
    const char *from = p->at;
    bool is_negative = take(p, '-');
    (void)peek(p);
    struct str s = take_number(p);
    if (!integer_of(s, v))
        return fail_at(p, from, ERR_CORRUPT, "field '%s' wants an integer", f->name);
    if (*v > kind_limit(f->kind, is_negative))
        return fail_at(p, from, ERR_CORRUPT, "%s%.*s does not fit into field '%s'",
                       is_negative ? "-" : "", STR_ARG(s), f->name);
    if (is_negative)
        *v = 0 - *v;
    return 0;
}

static bool
is_one_of(struct str s, const char *const *names)
{
    for (; *names; names++) {
        if (str_is(s, *names))
            return true;
    }
    return false;
}

static int
read_name(struct parser *p, const struct sm_schema_field *f, uint64_t *v)
{
    static const char *const yes[] = { "true", "t", "True", NULL };
    static const char *const no[] = { "false", "f", "False", NULL };
    const char *from = p->at;
    struct str s = take_name(p);
    if (f->kind == SM_K_BOOL) {
        *v = is_one_of(s, yes);
        if (*v || is_one_of(s, no))
            return 0;
        return fail_at(p, from, ERR_CORRUPT, "field '%s' wants true or false", f->name);
    }
    int32_t value;
    if (!sm_enum_value((enum sm_enum)f->type, s, &value))
        return fail_at(p, from, ERR_CORRUPT, "'%.*s' is no value of field '%s'",
                       STR_ARG(s), f->name);
    *v = (uint64_t)(int64_t)value;
    return 0;
}

static int
read_float(struct parser *p, const struct sm_schema_field *f, double *d)
{
    char text[NUMBER_MAX_BYTES], *end;
    const char *from = p->at;
    bool is_negative = take(p, '-');
    (void)peek(p);
    struct str s = take_number(p);
    bool is_word = s.n > 0 && is_letter(s.p[0]);
    if (!is_word && s.n > 1 && (s.p[s.n - 1] | 32) == 'f')
        s.n--;
    bool is_hex = s.n > 1 && s.p[0] == '0' && (s.p[1] | 32) == 'x';
    if (s.n == 0 || s.n >= sizeof(text) || is_hex)
        return fail_at(p, from, ERR_CORRUPT, "field '%s' wants a number", f->name);
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    *d = strtod(text, &end);
    if (*end || end == text)
        return fail_at(p, from, ERR_CORRUPT, "'%s' is no number", text);
    if (is_negative)
        *d = -*d;
    return 0;
}

static bool
take_digits(struct parser *p, int base, int most, uint32_t *v)
{
    int n = 0;
    *v = 0;
    for (; n < most && p->at < p->end; n++, p->at++) {
        char c = *p->at;
        int d = is_digit(c)                          ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : 99;
        if (d >= base)
            break;
        *v = *v * (uint32_t)base + (uint32_t)d;
    }
    return n > 0;
}

/* Behind a backslash. */
static int
read_escape(struct parser *p)
{
    static const char names[] = "abfnrtv?\\'\"", values[] = "\a\b\f\n\r\t\v?\\'\"";
    const char *from = p->at - 1;
    char c = p->at < p->end ? *p->at : '\0';
    const char *known = c ? strchr(names, c) : NULL;
    uint32_t v;
    if (known) {
        p->at++;
        buf_addc(p->out, values[known - names]);
        return 0;
    }
    if (c >= '0' && c <= '7') {
        (void)take_digits(p, 8, 3, &v);
        buf_addc(p->out, (char)v);
        return 0;
    }
    p->at += p->at < p->end;
    if ((c | 32) == 'x' && take_digits(p, 16, 2, &v)) {
        buf_addc(p->out, (char)v);
        return 0;
    }
    const char *digits = p->at;
    int want = c == 'u' ? 4 : 8;
    if ((c | 32) == 'u' && take_digits(p, 16, want, &v) && p->at - digits == want &&
        sm_utf8_add(p->out, v))
        return 0;
    return fail_at(p, from, ERR_CORRUPT, "unknown escape in a string");
}

static int
read_quoted(struct parser *p)
{
    const char *from = p->at;
    char quote = *p->at++;
    for (;;) {
        const char *at = p->at;
        while (p->at < p->end && *p->at != quote && *p->at != '\\' && *p->at != '\n')
            p->at++;
        buf_add(p->out, at, (size_t)(p->at - at));
        if (p->at == p->end || *p->at == '\n')
            return fail_at(p, from, ERR_CORRUPT, "the string has no end");
        if (*p->at++ == quote)
            return 0;
        int rc = read_escape(p);
        if (rc < 0)
            return rc;
    }
}

/* Strings side by side are one. */
static int
read_string(struct parser *p, const struct sm_schema_field *f)
{
    size_t start = p->out->len;
    char c = peek(p);
    if (c != '"' && c != '\'')
        return FAIL(p, "field '%s' wants a string in quotes", f->name);
    for (; c == '"' || c == '\''; c = peek(p)) {
        int rc = read_quoted(p);
        if (rc < 0)
            return rc;
    }
    put_head(p->out, f->num, start);
    return 0;
}

/* One scalar; its tag too unless it stands in a run. */
static int
read_scalar(struct parser *p, const struct sm_schema_field *f, bool has_tag)
{
    uint64_t v = 0;
    double d = 0;
    char c = peek(p);
    if (f->kind == SM_K_STR || f->kind == SM_K_BYTES)
        return read_string(p, f);
    bool is_float = f->kind == SM_K_F32 || f->kind == SM_K_F64;
    bool is_named = is_letter(c) && (f->kind == SM_K_BOOL || f->kind == SM_K_ENUM);
    int rc = is_float   ? read_float(p, f, &d)
             : is_named ? read_name(p, f, &v)
                        : read_integer(p, f, &v);
    if (rc < 0)
        return rc;
    if (has_tag)
        sm_pb_add_varint(p->out, (uint64_t)f->num << 3 | sm_kind_wire(f->kind));
    float narrow = (float)d;
    if (f->kind == SM_K_F32)
        buf_add(p->out, &narrow, 4);
    else if (f->kind == SM_K_F64)
        buf_add(p->out, &d, 8);
    else if (f->kind == SM_K_FX64)
        buf_add(p->out, &v, 8);
    else if (f->kind == SM_K_S64)
        sm_pb_add_varint(p->out, v << 1 ^ (0 - (v >> 63)));
    else
        sm_pb_add_varint(p->out, v);
    return 0;
}

/* ---- messages ----------------------------------------------------------------------
 */

static int read_fields(struct parser *p, struct scope *s, char close);

static void
put_default(struct buf *b, const struct sm_schema_field *f)
{
    static const char zeros[8] = "";
    uint32_t wire = sm_kind_wire(f->kind);
    sm_pb_add_varint(b, (uint64_t)f->num << 3 | wire);
    buf_add(b, zeros, wire == 1 ? 8 : wire == 5 ? 4 : 1);
}

/* Key and value of a map entry always stand there, the key first. */
static void
finish_entry(struct parser *p, const struct scope *s, size_t start)
{
    struct buf rest AUTO(buf_release) = BUF_INIT;
    if (!(s->seen & 1)) {
        buf_add(&rest, p->out->data + start, p->out->len - start);
        p->out->len = start;
        put_default(p->out, &s->fields[0]);
        buf_add(p->out, rest.data, rest.len);
    }
    if (!(s->seen & 2))
        put_default(p->out, &s->fields[1]);
}

/* "{ … }" or "< … >" as the bytes of field `num`. */
static int
read_message(struct parser *p, struct scope *s, uint32_t num)
{
    const char *from = p->at;
    size_t start = p->out->len;
    char close = take(p, '{') ? '}' : take(p, '<') ? '>' : '\0';
    if (!close)
        return FAIL(p, "expected '{'");
    if (s->depth > MAX_DEPTH)
        return fail_at(p, from, ERR_LIMIT, "messages nested more than %d deep",
                       MAX_DEPTH);
    int rc = read_fields(p, s, close);
    if (rc == 0 && s->is_entry)
        finish_entry(p, s, start);
    if (rc == 0)
        put_head(p->out, num, start);
    return rc;
}

static struct scope
scope_of(enum sm_msg type, int depth)
{
    const struct sm_schema *m = &sm_schemas[type];
    return (struct scope){
        .name = m->name, .fields = m->fields, .n_fields = m->n_fields, .depth = depth
    };
}

static int
read_value(struct parser *p, struct scope *s, const struct sm_schema_field *f)
{
    if (f->label == SM_L_MAP) {
        const struct sm_schema_field entry[] = {
            { .name = "key", .num = 1, .kind = f->key },
            { .name = "value", .num = 2, .kind = f->kind, .type = f->type },
        };
        struct scope sub = {
            .name = f->name,
            .fields = entry,
            .n_fields = 2,
            .depth = s->depth + 1,
            .is_entry = true,
        };
        return read_message(p, &sub, f->num);
    }
    if (f->kind == SM_K_MSG) {
        struct scope sub = scope_of((enum sm_msg)f->type, s->depth + 1);
        return read_message(p, &sub, f->num);
    }
    bool is_packed = f->label == SM_L_REP && sm_kind_wire(f->kind) != 2;
    if (is_packed && !s->run) {
        s->run = f;
        s->run_start = p->out->len;
    }
    return read_scalar(p, f, !is_packed);
}

static int
read_list(struct parser *p, struct scope *s, const struct sm_schema_field *f)
{
    if (take(p, ']'))
        return 0;
    for (;;) {
        int rc = read_value(p, s, f);
        if (rc < 0)
            return rc;
        if (take(p, ']'))
            return 0;
        if (!take(p, ','))
            return FAIL(p, "expected ',' or ']'");
    }
}

/* "[type.googleapis.com/tensorflow.X] { … }" behind its bracket. */
static int
read_any(struct parser *p, struct scope *s)
{
    static const char package[] = "tensorflow.";
    struct str url = { p->at, 0 }, type;
    while (p->at < p->end && (is_letter(*p->at) || is_digit(*p->at) || *p->at == '.' ||
                              *p->at == '/' || *p->at == '-'))
        p->at++;
    url.n = (size_t)(p->at - url.p);
    if (!take(p, ']'))
        return FAIL(p, "expected ']'");
    const char *slash = url.n ? memrchr(url.p, '/', url.n) : NULL;
    if (s->fields != sm_schemas[SM_M_Any].fields || !slash)
        return fail_at(p, url.p, ERR_CORRUPT, "%s has no extension '%.*s'", s->name,
                       STR_ARG(url));
    if (s->seen)
        return fail_at(p, url.p, ERR_CORRUPT, "the Any has a value already");
    s->seen = 3;
    type = (struct str){ slash + 1, (size_t)(url.p + url.n - slash) - 1 };
    size_t n = sizeof(package) - 1;
    for (int i = 0; i < SM_N_MSG; i++) {
        if (type.n <= n || memcmp(type.p, package, n) != 0 ||
            !str_is((struct str){ type.p + n, type.n - n }, sm_schemas[i].name))
            continue;
        size_t start = p->out->len;
        buf_add(p->out, url.p, url.n);
        put_head(p->out, 1, start);
        struct scope sub = scope_of((enum sm_msg)i, s->depth + 1);
        (void)take(p, ':');
        return read_message(p, &sub, 2);
    }
    return fail_at(p, url.p, ERR_CORRUPT, "unknown message type '%.*s' in an Any",
                   STR_ARG(type));
}

/* Notes that the field comes; it may come only once. */
static int
note_field(struct parser *p, struct scope *s, int i, const char *from)
{
    const struct sm_schema_field *f = &s->fields[i];
    if (f->label == SM_L_REP || f->label == SM_L_MAP)
        return 0;
    if (s->seen >> i & 1)
        return fail_at(p, from, ERR_CORRUPT, "%s has one '%s' already", s->name,
                       f->name);
    s->seen |= (uint64_t)1 << i;
    if (f->label != SM_L_ONEOF)
        return 0;
    if (s->member)
        return fail_at(p, from, ERR_CORRUPT, "%s has '%s' already, '%s' excludes it",
                       s->name, s->member->name, f->name);
    s->member = f;
    return 0;
}

static int
read_field(struct parser *p, struct scope *s)
{
    const char *from = p->at;
    if (take(p, '[')) {
        end_run(p, s);
        return read_any(p, s);
    }
    struct str name = take_name(p);
    int i = 0;
    while (i < s->n_fields && !str_is(name, s->fields[i].name))
        i++;
    if (name.n == 0)
        return FAIL(p, "expected a field of %s", s->name);
    if (i == s->n_fields)
        return fail_at(p, from, ERR_CORRUPT, "%s has no field '%.*s'", s->name,
                       STR_ARG(name));
    const struct sm_schema_field *f = &s->fields[i];
    int rc = note_field(p, s, i, from);
    if (rc < 0)
        return rc;
    if (s->run && s->run != f)
        end_run(p, s);
    bool is_message = f->kind == SM_K_MSG || f->label == SM_L_MAP;
    if (!take(p, ':') && !is_message)
        return FAIL(p, "expected ':' behind '%s'", f->name);
    if ((f->label == SM_L_REP || f->label == SM_L_MAP) && take(p, '['))
        return read_list(p, s, f);
    return read_value(p, s, f);
}

/* Fields up to `close`, which is taken; 0: up to the end. */
static int
read_fields(struct parser *p, struct scope *s, char close)
{
    const char *from = p->at;
    int rc = 0;
    while (rc == 0) {
        char c = peek(p);
        if (p->at == p->end) {
            if (close)
                return fail_at(p, from, ERR_CORRUPT, "%s has no '%c' at its end",
                               s->name, close);
            break;
        }
        if (close && c == close) {
            p->at++;
            break;
        }
        rc = read_field(p, s);
        if (rc == 0 && !take(p, ';'))
            (void)take(p, ',');
        if (rc == 0 && p->out->over)
            rc = buf_check(p->out, "the binary form", p->err);
    }
    if (rc == 0)
        end_run(p, s);
    return rc;
}

int
sm_pbtxt(struct str text, enum sm_msg root, struct buf *out, struct err *err)
{
    static const char bom[] = "\xef\xbb\xbf";
    struct parser p = { .start = text.p, .at = text.p, .end = text.p + text.n };
    p.out = out;
    p.err = err;
    if (text.n >= 3 && memcmp(text.p, bom, 3) == 0)
        p.at += 3;
    if (out->cap_bytes == 0)
        out->cap_bytes = OUT_MAX_BYTES;
    struct scope s = scope_of(root, 1);
    int rc = read_fields(&p, &s, '\0');
    return rc < 0 ? rc : buf_check(out, "the binary form", err);
}
