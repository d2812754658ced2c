/* SPDX-License-Identifier: Apache-2.0 */
/* A Python literal as an array, by the rules of ast.literal_eval and numpy.array.
 *
 *   value  = number | "True" | "False" | string+ | "(" value ")"
 *          | "[" [value ("," value)* [","]] "]"        list
 *          | "(" [value "," [value ("," value)* [","]]] ")"  tuple
 * Numbers: decimal with "_", 0x 0o 0b, floats, one sign. Strings: prefixes
 * u r b, all four quotes, Python's escapes but \N. Lists must be rectangular. Mixtures:
 * bool < int < float; text and bytes mix; strings and numbers do not (TensorFlow takes
 * no such input). */
#include "savedmodel/sm_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NESTING_MAX 100

enum node_kind { NODE_BOOL, NODE_INT, NODE_UINT, NODE_FLOAT, NODE_STRING, NODE_LIST };

/* What was read, as a tree; children and siblings are numbers of nodes, 0: none. */
struct node {
    enum node_kind kind;
    const char *at;
    int64_t i;  /* BOOL, INT; LIST: how many items */
    uint64_t u; /* UINT: beyond int64 */
    double d;
    size_t begin, n; /* STRING: in parser.text */
    size_t child, sibling;
};

struct parser {
    const char *start, *at;
    struct err *err;
    struct node *nodes; /* [0] is not used */
    size_t n_nodes, cap_nodes;
    struct buf text;
};

#define FAIL(p, ...) fail_at(p, (p)->at, __VA_ARGS__)

static int fail_at(struct parser *p, const char *at, const char *fmt, ...) PRINTF(3, 4);

static int
fail_at(struct parser *p, const char *at, const char *fmt, ...)
{
    char msg[256];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    return err_set(p->err, ERR_INVALID, "column %zu: %s", (size_t)(at - p->start) + 1,
                   msg);
}

static void
skip_blanks(struct parser *p)
{
    for (;; p->at++) {
        if (*p->at == '#') {
            while (*p->at && *p->at != '\n')
                p->at++;
        }
        if (*p->at == '\0' || !strchr(" \t\r\n\f", *p->at))
            return;
    }
}

static struct node *
node_add(struct parser *p, enum node_kind kind)
{
    if (p->n_nodes == p->cap_nodes) {
        p->cap_nodes = 2 * p->cap_nodes;
        p->nodes = xreallocarray(p->nodes, p->cap_nodes, sizeof(*p->nodes));
    }
    struct node *l = &p->nodes[p->n_nodes++];
    *l = (struct node){ .kind = kind, .at = p->at };
    return l;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           c == '_' || (uint8_t)c >= 0x80;
}

/* ---- numbers ----------------------------------------------------------------------
 */

/* Digits of the base with "_" between them, appended without. */
static bool
take_digits(struct parser *p, int base, struct buf *out)
{
    size_t before = out->len;
    for (;; p->at++) {
        char c = *p->at;
        int v = is_digit(c)                          ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : 99;
        bool joins =
            c == '_' && out->len > before && p->at[-1] != '_' && is_word(p->at[1]);
        if (v < base)
            buf_addc(out, c);
        else if (!joins)
            return out->len > before;
    }
}

static int
add_integer(struct parser *p, const char *from, const char *digits, int base,
            bool is_negative)
{
    errno = 0;
    uint64_t u = strtoull(digits, NULL, base);
    bool over = errno == ERANGE;
    if (over || (is_negative && u > (uint64_t)INT64_MAX + 1))
        return fail_at(p, from, "the integer does not fit into 64 bits");
    if (!is_negative && u > INT64_MAX) {
        node_add(p, NODE_UINT)->u = u;
    } else {
        node_add(p, NODE_INT)->i = is_negative ? (int64_t)(0 - u) : (int64_t)u;
    }
    return 0;
}

static int
parse_based(struct parser *p, bool is_negative)
{
    struct buf digits AUTO(buf_release) = BUF_INIT;
    const char *from = p->at;
    int base = (p->at[1] | 32) == 'x' ? 16 : (p->at[1] | 32) == 'o' ? 8 : 2;
    p->at += 2;
    if (*p->at == '_')
        p->at++;
    if (!take_digits(p, base, &digits) || is_word(*p->at))
        return fail_at(p, from, "malformed number");
    return add_integer(p, from, buf_str(&digits), base, is_negative);
}

static int
parse_decimal(struct parser *p, bool is_negative)
{
    struct buf digits AUTO(buf_release) = BUF_INIT;
    const char *from = p->at;
    bool is_float = false;
    bool has_digits = take_digits(p, 10, &digits);
    if (*p->at == '.') {
        is_float = true;
        p->at++;
        buf_addc(&digits, '.');
        has_digits |= take_digits(p, 10, &digits);
    }
    if (has_digits && (*p->at | 32) == 'e') {
        is_float = true;
        p->at++;
        buf_addc(&digits, 'e');
        if (*p->at == '+' || *p->at == '-')
            buf_addc(&digits, *p->at++);
        has_digits = take_digits(p, 10, &digits);
    }
    if ((*p->at | 32) == 'j')
        return fail_at(p, from, "complex numbers are not read");
    if (!has_digits || is_word(*p->at))
        return fail_at(p, from, "malformed number");
    const char *text = buf_str(&digits);
    if (is_float) {
        double d = strtod(text, NULL);
        node_add(p, NODE_FLOAT)->d = is_negative ? -d : d;
        return 0;
    }
    if (text[0] == '0' && strspn(text, "0") != strlen(text))
        return fail_at(p, from, "an integer does not begin with 0");
    return add_integer(p, from, text, 10, is_negative);
}

static int
parse_number(struct parser *p)
{
    bool is_negative = *p->at == '-';
    if (*p->at == '-' || *p->at == '+') {
        p->at++;
        skip_blanks(p);
    }
    if (p->at[0] == '0' && p->at[1] && strchr("xXoObB", p->at[1]))
        return parse_based(p, is_negative);
    return parse_decimal(p, is_negative);
}

/* ---- strings ----------------------------------------------------------------------
 */

/* n hexadecimal digits. */
static int
take_hex(struct parser *p, int n, uint32_t *v)
{
    *v = 0;
    for (int i = 0; i < n; i++, p->at++) {
        char c = *p->at;
        int d = is_digit(c)                          ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : -1;
        if (d < 0)
            return FAIL(p, "the escape wants %d hexadecimal digits", n);
        *v = *v << 4 | (uint32_t)d;
    }
    return 0;
}

static int
add_code(struct parser *p, uint32_t c, bool is_bytes)
{
    if (is_bytes) {
        buf_addc(&p->text, (char)(c & 0xff));
        return 0;
    }
    if (!sm_utf8_add(&p->text, c))
        return FAIL(p, "U+%04X is no character", c);
    return 0;
}

/* Behind a backslash. */
static int
parse_escape(struct parser *p, bool is_bytes)
{
    static const char names[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
    uint32_t v = 0;
    char c = *p->at++;
    const char *known = c ? strchr(names, c) : NULL;
    if (known) {
        buf_addc(&p->text, values[known - names]);
        return 0;
    }
    if (c == '\n')
        return 0;
    if (c >= '0' && c <= '7') {
        v = (uint32_t)(c - '0');
        for (int i = 0; i < 2 && *p->at >= '0' && *p->at <= '7'; i++)
            v = v * 8 + (uint32_t)(*p->at++ - '0');
        return add_code(p, v, is_bytes);
    }
    if (c == 'x' || (!is_bytes && (c == 'u' || c == 'U'))) {
        int rc = take_hex(p, c == 'x' ? 2 : c == 'u' ? 4 : 8, &v);
        return rc < 0 ? rc : add_code(p, v, is_bytes);
    }
    if (c == 'N' && !is_bytes)
        return FAIL(p, "\\N{...} is not read: write the character");
    p->at -= c == '\0';
    buf_addc(&p->text, '\\'); /* unknown escapes stay */
    if (c)
        p->at--;
    return 0;
}

/* One quoted part, appended to p->text. */
static int
parse_quoted(struct parser *p, bool is_bytes, bool is_raw)
{
    const char *from = p->at;
    char quote = *p->at;
    bool is_triple = p->at[1] == quote && p->at[2] == quote;
    p->at += is_triple ? 3 : 1;
    for (;;) {
        char c = *p->at;
        if (c == '\0' || (c == '\n' && !is_triple))
            return fail_at(p, from, "the string has no end");
        if (c == quote && (!is_triple || (p->at[1] == quote && p->at[2] == quote))) {
            p->at += is_triple ? 3 : 1;
            return 0;
        }
        if (is_bytes && (uint8_t)c >= 0x80)
            return FAIL(p, "bytes hold only ASCII: write \\xNN");
        p->at++;
        if (c == '\\' && !is_raw) {
            int rc = parse_escape(p, is_bytes);
            if (rc < 0)
                return rc;
            continue;
        }
        buf_addc(&p->text, c);
        if (c == '\\' && *p->at) /* raw: the next one does not end the string */
            buf_addc(&p->text, *p->at++);
    }
}

/* The length of a string prefix at `at` that a quote follows, or -1. */
static int
string_prefix(const char *at, bool *is_bytes, bool *is_raw)
{
    int n = 0;
    *is_bytes = *is_raw = false;
    for (; n < 2 && at[n] && strchr("bBrRuU", at[n]); n++) {
        char c = (char)(at[n] | 32);
        if ((c == 'b' && *is_bytes) || (c == 'r' && *is_raw) ||
            (c == 'u' && at[n + 1] != '\'' && at[n + 1] != '"'))
            return -1;
        *is_bytes |= c == 'b';
        *is_raw |= c == 'r';
    }
    return at[n] == '\'' || at[n] == '"' ? n : -1;
}

/* Adjacent strings are one. */
static int
parse_string(struct parser *p)
{
    size_t start = p->text.len;
    bool is_bytes, is_raw, first_is_bytes = false;
    int n;
    for (int i = 0; (n = string_prefix(p->at, &is_bytes, &is_raw)) >= 0; i++) {
        if (i == 0)
            first_is_bytes = is_bytes;
        if (is_bytes != first_is_bytes)
            return FAIL(p, "bytes and text stand side by side");
        p->at += n;
        int rc = parse_quoted(p, is_bytes, is_raw);
        if (rc < 0)
            return rc;
        skip_blanks(p);
    }
    struct node *l = node_add(p, NODE_STRING);
    l->begin = start;
    l->n = p->text.len - start;
    return 0;
}

/* ---- values -----------------------------------------------------------------------
 */

static bool
take_word(struct parser *p, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(p->at, word, n) != 0 || is_word(p->at[n]))
        return false;
    p->at += n;
    return true;
}

static int
parse_leaf(struct parser *p)
{
    bool is_bytes, is_raw;
    if (string_prefix(p->at, &is_bytes, &is_raw) >= 0)
        return parse_string(p);
    if (is_digit(*p->at) || (*p->at && strchr("+-.", *p->at)))
        return parse_number(p);
    if (take_word(p, "True")) {
        node_add(p, NODE_BOOL)->i = 1;
        return 0;
    }
    if (take_word(p, "False")) {
        node_add(p, NODE_BOOL)->i = 0;
        return 0;
    }
    if (*p->at == '{')
        return FAIL(p, "dicts and sets are no arrays");
    if (*p->at == '\0')
        return FAIL(p, "a value is missing");
    return FAIL(p, "not a Python literal (numbers, True, False, strings, lists)");
}

static int parse_value(struct parser *p, int level);

/* The items behind an opening bracket; *has_comma: there was one, so that round
 * brackets make a tuple. */
static int
parse_items(struct parser *p, int level, char close, size_t list, bool *has_comma)
{
    size_t last = 0;
    *has_comma = false;
    for (;;) {
        skip_blanks(p);
        if (*p->at == close) {
            p->at++;
            return 0;
        }
        if (last && !*has_comma)
            return FAIL(p, "expected ',' or '%c'", close);
        size_t item = p->n_nodes;
        int rc = parse_value(p, level + 1);
        if (rc < 0)
            return rc;
        *(last ? &p->nodes[last].sibling : &p->nodes[list].child) = item;
        p->nodes[list].i++;
        last = item;
        skip_blanks(p);
        if (*p->at == ',') {
            p->at++;
            *has_comma = true;
        } else if (*p->at != close) {
            return FAIL(p, "expected ',' or '%c'", close);
        }
    }
}

/* The value becomes the node whose number is p->n_nodes before the call. */
static int
parse_value(struct parser *p, int level)
{
    skip_blanks(p);
    char open = *p->at;
    if (open != '[' && open != '(') {
        const char *from = p->at;
        size_t leaf = p->n_nodes;
        int rc = parse_leaf(p);
        if (rc == 0)
            p->nodes[leaf].at = from;
        return rc;
    }
    if (level == NESTING_MAX)
        return FAIL(p, "more than %d brackets inside each other", NESTING_MAX);
    size_t list = p->n_nodes;
    bool has_comma;
    (void)node_add(p, NODE_LIST);
    p->at++;
    int rc = parse_items(p, level, open == '[' ? ']' : ')', list, &has_comma);
    if (rc == 0 && open == '(' && !has_comma && p->nodes[list].i == 1)
        p->nodes[list] = p->nodes[p->nodes[list].child]; /* just in parentheses */
    return rc;
}

/* ---- arrays ------------------------------------------------------------------------
 */

struct array {
    struct parser *p;
    int rank; /* -1: not known yet */
    int n_dims;
    int64_t dims[SM_MAX_RANK];
    bool has[NODE_LIST];
    const struct node **leaves;
    size_t n_leaves;
};

static int
set_rank(struct array *a, const struct node *n, int rank)
{
    if (a->rank < 0)
        a->rank = rank;
    if (a->rank == rank)
        return 0;
    return fail_at(a->p, n->at, "the nesting is uneven: %d levels here, %d before",
                   rank, a->rank);
}

/* Collects the leaves below node `at` and checks that the lists are rectangular. */
static int
collect(struct array *a, size_t at, int depth)
{
    const struct node *n = &a->p->nodes[at];
    if (n->kind != NODE_LIST) {
        a->leaves[a->n_leaves++] = n;
        a->has[n->kind] = true;
        return set_rank(a, n, depth);
    }
    if (depth == SM_MAX_RANK)
        return fail_at(a->p, n->at, "more than %d dimensions", SM_MAX_RANK);
    if (depth == a->n_dims)
        a->dims[a->n_dims++] = n->i;
    if (a->dims[depth] != n->i)
        return fail_at(a->p, n->at,
                       "the nesting is uneven: %" PRId64 " items here, %" PRId64
                       " before",
                       n->i, a->dims[depth]);
    int rc = n->i == 0 ? set_rank(a, n, depth + 1) : 0;
    for (size_t c = n->child; rc == 0 && c; c = a->p->nodes[c].sibling)
        rc = collect(a, c, depth + 1);
    return rc;
}

static double
number_of(const struct node *n)
{
    return n->kind == NODE_FLOAT  ? n->d
           : n->kind == NODE_UINT ? (double)n->u
                                  : (double)n->i;
}

static int
strings_of(const struct array *a, struct sm_tensor *out)
{
    struct str *v AUTO(free_ptr) = xcalloc(a->n_leaves + 1, sizeof(*v));
    const char *text = buf_str(&a->p->text);
    for (size_t i = 0; i < a->n_leaves; i++) {
        if (a->leaves[i]->kind != NODE_STRING)
            return fail_at(a->p, a->leaves[i]->at, "strings and numbers are mixed");
        v[i] = (struct str){ text + a->leaves[i]->begin, a->leaves[i]->n };
    }
    return sm_tensor_strings(out, a->rank, a->dims, v, a->p->err);
}

/* NumPy's common dtype; without any value float64. */
static int
common_dtype(const struct array *a)
{
    bool has_int = a->has[NODE_INT] || a->has[NODE_BOOL];
    if (a->has[NODE_FLOAT] || a->n_leaves == 0 || (a->has[NODE_UINT] && has_int))
        return SM_DOUBLE;
    if (a->has[NODE_UINT])
        return SM_UINT64;
    return a->has[NODE_INT] ? SM_INT64 : SM_BOOL;
}

static int
numbers_of(const struct array *a, struct sm_tensor *out)
{
    int rc = sm_tensor_alloc(out, common_dtype(a), a->rank, a->dims, a->p->err);
    for (size_t i = 0; rc == 0 && i < a->n_leaves; i++) {
        const struct node *n = a->leaves[i];
        if (out->dtype == SM_DOUBLE)
            ((double *)out->data)[i] = number_of(n);
        else if (out->dtype == SM_UINT64)
            ((uint64_t *)out->data)[i] = n->u;
        else if (out->dtype == SM_INT64)
            ((int64_t *)out->data)[i] = n->i;
        else
            ((uint8_t *)out->data)[i] = n->i != 0;
    }
    return rc;
}

static int
read_array(struct parser *p, struct sm_tensor *out)
{
    int rc = parse_value(p, 0);
    if (rc < 0)
        return rc;
    skip_blanks(p);
    if (*p->at)
        return FAIL(p, "something stands behind the value");
    rc = buf_check(&p->text, "strings", p->err);
    if (rc < 0)
        return rc;
    struct array a = { .p = p, .rank = -1 };
    a.leaves = xcalloc(p->n_nodes, sizeof(const struct node *));
    rc = collect(&a, 1, 0);
    if (rc == 0)
        rc = a.has[NODE_STRING] ? strings_of(&a, out) : numbers_of(&a, out);
    free(a.leaves);
    return rc;
}

int
sm_literal_read(const char *text, struct sm_tensor *out, struct err *err)
{
    struct parser p = {
        .start = text, .at = text, .err = err, .n_nodes = 1, .cap_nodes = 16
    };
    *out = (struct sm_tensor){ .data = NULL };
    p.nodes = xcalloc(p.cap_nodes, sizeof(*p.nodes));
    int rc = read_array(&p, out);
    free(p.nodes);
    buf_release(&p.text);
    return rc;
}
