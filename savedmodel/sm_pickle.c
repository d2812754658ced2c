/* SPDX-License-Identifier: Apache-2.0 */
/* Pickles of NumPy arrays, protocols 0 to 5, read as data.
 *
 * A pickle is a program for a stack machine, one byte an opcode, arguments behind it.
 * Unpickling may import any module and call anything in it; here nothing is imported
 * and nothing is called. The opcodes below that make plain values are carried out; a
 * global is a name of the list in sm_pickle_np.c; REDUCE and BUILD know what these
 * names mean. Every other opcode or name ends the reading, with its place.
 *
 * Bounds: each opcode makes at most one value, a memo holds no more entries than there
 * were opcodes, strings lie in the file or, decoded, share one limit with it, and
 * values nest as deep as pk_arrays goes. */
#include "savedmodel/sm_pickle_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define VALUES_MAX ((size_t)1 << 21)
#define HEAP_MIN_BYTES ((size_t)1 << 16)

struct machine {
    struct pk p;
    struct str it;
    const char *start, *op_at;
    pk_ref *stack;
    size_t n_stack, cap_stack;
    pk_ref *memo;
    size_t n_memo, n_put; /* places, entries */
    size_t n_ops;
};

/* ---- the machine -------------------------------------------------------------------
 */

static int fail(struct machine *m, enum err_code code, const char *fmt, ...)
    PRINTF(3, 4);

static int
fail(struct machine *m, enum err_code code, const char *fmt, ...)
{
    char msg[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    return err_set(m->p.err, code, "offset %zu: %s", (size_t)(m->op_at - m->start),
                   msg);
}

static int
short_of(struct machine *m)
{
    return fail(m, ERR_CORRUPT, "cut off");
}

static void
push(struct machine *m, pk_ref v)
{
    if (m->n_stack == m->cap_stack) {
        m->cap_stack = m->cap_stack ? 2 * m->cap_stack : 64;
        m->stack = xreallocarray(m->stack, m->cap_stack, sizeof(*m->stack));
    }
    m->stack[m->n_stack++] = v;
}

/* n values that are no marks on top of the stack. */
static int
need(struct machine *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i >= m->n_stack || m->p.v[m->stack[m->n_stack - 1 - i]].kind == PK_MARK)
            return fail(m, ERR_CORRUPT, "the stack has too few values");
    }
    return 0;
}

static pk_ref
pop(struct machine *m)
{
    return m->stack[--m->n_stack];
}

/* The place above the topmost mark. */
static int
find_mark(struct machine *m, size_t *above)
{
    for (size_t i = m->n_stack; i > 0; i--) {
        if (m->p.v[m->stack[i - 1]].kind == PK_MARK) {
            *above = i;
            return 0;
        }
    }
    return fail(m, ERR_CORRUPT, "there is no mark on the stack");
}

static int
push_int(struct machine *m, enum pk_kind kind, int64_t i)
{
    pk_ref v = pk_new(&m->p, kind);
    m->p.v[v].i = i;
    push(m, v);
    return 0;
}

static int
push_str(struct machine *m, enum pk_kind kind, struct str s)
{
    pk_ref v = pk_new(&m->p, kind);
    m->p.v[v].s = s;
    push(m, v);
    return 0;
}

/* Replaces what stands above `from` by one value that has it as items. */
static int
push_items(struct machine *m, enum pk_kind kind, size_t from)
{
    pk_ref v = pk_new(&m->p, kind);
    for (size_t i = from; i < m->n_stack; i++)
        pk_append(&m->p, v, m->stack[i]);
    m->n_stack = from;
    push(m, v);
    return 0;
}

/* ---- arguments ---------------------------------------------------------------------
 */

/* A little-endian number of `n` bytes, without sign. */
static bool
take_le(struct machine *m, size_t n, uint64_t *v)
{
    struct str b;
    *v = 0;
    if (!sm_take(&m->it, n, &b))
        return false;
    memcpy(v, b.p, n);
    return true;
}

/* A length of `n` bytes and what it counts. */
static bool
take_counted(struct machine *m, size_t n, struct str *out)
{
    uint64_t len;
    return take_le(m, n, &len) && sm_take(&m->it, len, out);
}

static bool
take_line(struct machine *m, struct str *out)
{
    const char *end = m->it.n ? memchr(m->it.p, '\n', m->it.n) : NULL;
    struct str newline;
    return end && sm_take(&m->it, (size_t)(end - m->it.p), out) &&
           sm_take(&m->it, 1, &newline);
}

/* A decimal line: "12", "12L", and the bools "00" and "01" of opcode I. */
static int
op_int_line(struct machine *m, char op)
{
    struct str line;
    char text[32], *end;
    if (!take_line(m, &line))
        return short_of(m);
    if (op == 'I' && (str_is(line, "00") || str_is(line, "01")))
        return push_int(m, PK_BOOL, line.p[1] == '1');
    if (op == 'L' && line.n > 0 && line.p[line.n - 1] == 'L')
        line.n--;
    if (line.n == 0 || line.n >= sizeof(text))
        return fail(m, ERR_UNSUPPORTED, "an integer beyond 64 bits, or none");
    memcpy(text, line.p, line.n);
    text[line.n] = '\0';
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || *end)
        return fail(m, ERR_UNSUPPORTED, "an integer beyond 64 bits, or none");
    return push_int(m, PK_INT, v);
}

static int
op_float_line(struct machine *m)
{
    struct str line;
    char *end;
    if (!take_line(m, &line))
        return short_of(m);
    char *text AUTO(free_ptr) = str_dup(line);
    pk_ref v = pk_new(&m->p, PK_FLOAT);
    m->p.v[v].d = strtod(text, &end);
    if (line.n == 0 || *end)
        return fail(m, ERR_CORRUPT, "no number");
    push(m, v);
    return 0;
}

/* LONG1, LONG4: two's complement of so many bytes. */
static int
op_long(struct machine *m, size_t n)
{
    struct str b;
    if (!take_counted(m, n, &b))
        return short_of(m);
    if (b.n > 8)
        return fail(m, ERR_UNSUPPORTED, "an integer beyond 64 bits");
    int64_t v = b.n > 0 && (b.p[b.n - 1] & 0x80) ? -1 : 0;
    memcpy(&v, b.p, b.n);
    return push_int(m, PK_INT, v);
}

static int
op_float(struct machine *m)
{
    uint64_t bits;
    if (!take_le(m, 8, &bits))
        return short_of(m);
    bits = __builtin_bswap64(bits);
    pk_ref v = pk_new(&m->p, PK_FLOAT);
    memcpy(&m->p.v[v].d, &bits, 8);
    push(m, v);
    return 0;
}

/* V, S: a line of text. */
static int
op_text_line(struct machine *m, bool is_unicode)
{
    struct str line, text;
    if (!take_line(m, &line))
        return short_of(m);
    if (!pk_text(&m->p, line, is_unicode, &text))
        return fail(m, ERR_CORRUPT, "a malformed string, or too many bytes of them");
    return push_str(m, is_unicode ? PK_STR : PK_BYTES, text);
}

/* ---- memo --------------------------------------------------------------------------
 */

static int
memo_put(struct machine *m, uint64_t at)
{
    if (at > m->n_ops)
        return fail(m, ERR_LIMIT, "memo entry %llu after %zu opcodes",
                    (unsigned long long)at, m->n_ops);
    if (need(m, 1) < 0)
        return -(int)m->p.err->code;
    if (at >= m->n_memo) {
        size_t n = at + 1 > 2 * m->n_memo ? at + 1 : 2 * m->n_memo;
        m->memo = xreallocarray(m->memo, n, sizeof(*m->memo));
        memset(m->memo + m->n_memo, 0, (n - m->n_memo) * sizeof(*m->memo));
        m->n_memo = n;
    }
    m->n_put += m->memo[at] == 0;
    m->memo[at] = m->stack[m->n_stack - 1];
    return 0;
}

static int
memo_get(struct machine *m, uint64_t at)
{
    if (at >= m->n_memo || !m->memo[at])
        return fail(m, ERR_CORRUPT, "memo entry %llu was never put",
                    (unsigned long long)at);
    push(m, m->memo[at]);
    return 0;
}

static int
op_memo_line(struct machine *m, char op)
{
    if (op_int_line(m, op) < 0)
        return -(int)m->p.err->code;
    int64_t at = m->p.v[pop(m)].i;
    if (at < 0)
        return fail(m, ERR_CORRUPT, "a negative memo entry");
    return op == 'p' ? memo_put(m, (uint64_t)at) : memo_get(m, (uint64_t)at);
}

static int
op_memo(struct machine *m, size_t n, bool is_put)
{
    uint64_t at;
    if (!take_le(m, n, &at))
        return short_of(m);
    return is_put ? memo_put(m, at) : memo_get(m, at);
}

/* ---- containers --------------------------------------------------------------------
 */

/* Moves what stands above `from` into the container below (and below the mark). */
static int
extend(struct machine *m, enum pk_kind kind, size_t from, size_t below)
{
    size_t n = m->n_stack - from;
    if (below == 0 || m->p.v[m->stack[below - 1]].kind != kind ||
        (kind == PK_DICT && n % 2 != 0))
        return fail(m, ERR_CORRUPT, "items for what is no %s",
                    kind == PK_DICT ? "dict" : "list");
    for (size_t i = from; i < m->n_stack; i++)
        pk_append(&m->p, m->stack[below - 1], m->stack[i]);
    m->n_stack = below;
    return 0;
}

static int
op_mark(struct machine *m, uint8_t op)
{
    size_t above = 0;
    if (find_mark(m, &above) < 0)
        return -(int)m->p.err->code;
    if (op == 'e' || op == 'u')
        return extend(m, op == 'u' ? PK_DICT : PK_LIST, above, above - 1);
    if (op == '1') {
        m->n_stack = above - 1;
        return 0;
    }
    enum pk_kind kind = op == 't' ? PK_TUPLE : op == 'l' ? PK_LIST : PK_DICT;
    if (kind == PK_DICT && (m->n_stack - above) % 2 != 0)
        return fail(m, ERR_CORRUPT, "a dict with half an item");
    push_items(m, kind, above);
    m->stack[m->n_stack - 2] = m->stack[m->n_stack - 1]; /* over the mark */
    m->n_stack--;
    return 0;
}

static int
op_top(struct machine *m, uint8_t op)
{
    size_t n = op == 'a' || op == '0' ? 1 : op == 's' ? 2 : (size_t)(op - 0x84);
    if (need(m, n) < 0)
        return -(int)m->p.err->code;
    if (op == '0') {
        m->n_stack--;
        return 0;
    }
    if (op == 'a' || op == 's')
        return extend(m, op == 's' ? PK_DICT : PK_LIST, m->n_stack - n, m->n_stack - n);
    return push_items(m, PK_TUPLE, m->n_stack - n);
}

/* ---- globals -----------------------------------------------------------------------
 */

static int
push_global(struct machine *m, struct str module, struct str name)
{
    int id = pk_global_named(module, name);
    if (id < 0)
        return fail(m, ERR_UNSUPPORTED,
                    "it wants %.*s.%.*s: only NumPy arrays, and dicts and lists of "
                    "them, are read, and nothing is imported. Save with numpy.save or "
                    "numpy.savez instead",
                    (int)(module.n < 100 ? module.n : 100), module.p,
                    (int)(name.n < 100 ? name.n : 100), name.p);
    return push_int(m, PK_GLOBAL, id);
}

static int
op_global(struct machine *m, bool is_stack)
{
    struct str module, name;
    if (!is_stack) {
        if (!take_line(m, &module) || !take_line(m, &name))
            return short_of(m);
        return push_global(m, module, name);
    }
    if (need(m, 2) < 0)
        return -(int)m->p.err->code;
    const struct pk_value *b = &m->p.v[pop(m)], *a = &m->p.v[pop(m)];
    if (a->kind != PK_STR || b->kind != PK_STR)
        return fail(m, ERR_CORRUPT, "the names of a global are no strings");
    return push_global(m, a->s, b->s);
}

static int
op_call(struct machine *m, bool is_build)
{
    pk_ref result = 0;
    int rc = need(m, 2);
    if (rc < 0)
        return rc;
    pk_ref arg = pop(m), target = pop(m);
    rc = is_build ? pk_build(&m->p, target, arg) : pk_call(&m->p, target, arg, &result);
    if (rc < 0)
        return err_ctx(m->p.err, "offset %zu", (size_t)(m->op_at - m->start));
    push(m, is_build ? target : result);
    return 0;
}

/* ---- opcodes -----------------------------------------------------------------------
 */

/* How an opcode is read: by a length of so many bytes … */
static const struct counted {
    uint8_t op, n_bytes;
    enum pk_kind kind;
} counted[] = {
    { 'U', 1, PK_BYTES }, { 'T', 4, PK_BYTES },  { 'C', 1, PK_BYTES },
    { 'B', 4, PK_BYTES }, { 0x8e, 8, PK_BYTES }, { 0x96, 8, PK_BYTES },
    { 'X', 4, PK_STR },   { 0x8c, 1, PK_STR },   { 0x8d, 8, PK_STR },
};
/* … and what the refused ones are called. */
static const struct refused {
    uint8_t op;
    const char *name;
} refused[] = {
    { 'i', "INST" },
    { 'o', "OBJ" },
    { 0x81, "NEWOBJ" },
    { 0x92, "NEWOBJ_EX" },
    { 'P', "PERSID" },
    { 'Q', "BINPERSID" },
    { 0x82, "EXT1" },
    { 0x83, "EXT2" },
    { 0x84, "EXT4" },
    { 0x97, "NEXT_BUFFER" },
    { 0x98, "READONLY_BUFFER" },
    { 0x8f, "EMPTY_SET" },
    { 0x90, "ADDITEMS" },
    { 0x91, "FROZENSET" },
    { '2', "DUP" },
};

static int
op_unknown(struct machine *m, uint8_t op)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (refused[i].op == op)
            return fail(m, ERR_UNSUPPORTED,
                        "opcode %s is not read: NumPy arrays, and dicts and lists of "
                        "them, do not need it. Save with numpy.save or numpy.savez "
                        "instead",
                        refused[i].name);
    }
    return fail(m, ERR_CORRUPT, "0x%02x is no opcode of a pickle", op);
}

static int
op_integer(struct machine *m, uint8_t op)
{
    uint64_t v;
    if (!take_le(m, op == 'J' ? 4 : op == 'M' ? 2 : 1, &v))
        return short_of(m);
    return push_int(m, PK_INT, op == 'J' ? (int64_t)(int32_t)(uint32_t)v : (int64_t)v);
}

static int
step(struct machine *m, uint8_t op)
{
    uint64_t v;
    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        struct str s;
        if (counted[i].op == op)
            return take_counted(m, counted[i].n_bytes, &s)
                       ? push_str(m, counted[i].kind, s)
                       : short_of(m);
    }
    switch (op) {
    case 0x80:
        if (!take_le(m, 1, &v))
            return short_of(m);
        return v <= 5 ? 0 : fail(m, ERR_UNSUPPORTED, "pickle protocol %d", (int)v);
    case 0x95: /* FRAME: its length tells nothing that is needed */
        return take_le(m, 8, &v) ? 0 : short_of(m);
    case '(':
        return push_int(m, PK_MARK, 0);
    case 'N':
        return push_int(m, PK_NONE, 0);
    case 0x88:
    case 0x89:
        return push_int(m, PK_BOOL, op == 0x88);
    case 'I':
    case 'L':
        return op_int_line(m, (char)op);
    case 'J':
    case 'K':
    case 'M':
        return op_integer(m, op);
    case 0x8a:
    case 0x8b:
        return op_long(m, op == 0x8a ? 1 : 4);
    case 'F':
        return op_float_line(m);
    case 'G':
        return op_float(m);
    case 'V':
    case 'S':
        return op_text_line(m, op == 'V');
    case ')':
    case ']':
    case '}':
        return push_items(m,
                          op == ')'   ? PK_TUPLE
                          : op == ']' ? PK_LIST
                                      : PK_DICT,
                          m->n_stack);
    case 't':
    case 'l':
    case 'd':
    case 'e':
    case 'u':
    case '1':
        return op_mark(m, op);
    case 'a':
    case 's':
    case '0':
    case 0x85:
    case 0x86:
    case 0x87:
        return op_top(m, op);
    case 'c':
    case 0x93:
        return op_global(m, op == 0x93);
    case 'R':
    case 'b':
        return op_call(m, op == 'b');
    case 'p':
    case 'g':
        return op_memo_line(m, (char)op);
    case 'q':
    case 'r':
        return op_memo(m, op == 'q' ? 1 : 4, true);
    case 'h':
    case 'j':
        return op_memo(m, op == 'h' ? 1 : 4, false);
    case 0x94:
        return memo_put(m, m->n_put);
    default:
        return op_unknown(m, op);
    }
}

static int
run(struct machine *m, pk_ref *top)
{
    struct str op;
    for (;; m->n_ops++) {
        m->op_at = m->it.p;
        if (!sm_take(&m->it, 1, &op))
            return fail(m, ERR_CORRUPT, "cut off: there is no STOP");
        if (m->p.n > VALUES_MAX)
            return fail(m, ERR_LIMIT, "more than %zu values", VALUES_MAX);
        if (op.p[0] == '.')
            break;
        int rc = step(m, (uint8_t)op.p[0]);
        if (rc < 0)
            return rc;
    }
    if (need(m, 1) < 0)
        return -(int)m->p.err->code;
    *top = pop(m);
    return 0;
}

bool
sm_is_pickle(struct str file)
{
    if (file.n < 2 || file.p[file.n - 1] != '.')
        return false;
    return ((uint8_t)file.p[0] == 0x80 && (uint8_t)file.p[1] <= 5) ||
           (file.p[0] && strchr("(c]}", file.p[0]));
}

int
sm_pickle_read(struct str file, const char *what, const char *only,
               struct sm_tensor_list *out, bool *is_dict, struct err *err)
{
    struct machine m = {
        .p = { .err = err }, .it = file, .start = file.p, .op_at = file.p
    };
    pk_ref top = 0;
    *out = (struct sm_tensor_list){ .v = NULL };
    pk_init(&m.p, 2 * file.n + HEAP_MIN_BYTES);
    int rc = run(&m, &top);
    if (rc == 0)
        rc = pk_arrays(&m.p, top, only, out);
    *is_dict = rc == 0 && m.p.v[top].kind == PK_DICT;
    pk_release(&m.p);
    free(m.stack);
    free(m.memo);
    if (rc < 0) {
        sm_tensor_list_release(out);
        return err_ctx(err, "%s", what);
    }
    return 0;
}
