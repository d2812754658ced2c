/* SPDX-License-Identifier: Apache-2.0 */
/* Finds a pattern of ops, written as an expression, at a value of a plan's drafts.
 * - Op(p, ...): an output of this op with these inputs. Op:2(...): its output 2.
 *   A|B(...): either op. Inputs of AddV2, Add, Mul, Maximum and Minimum in any order.
 * - $a: any value; a letter that was met before: the same value. $a=Op(...): that, and
 *   what the value is called from then on.
 * - #0.5: a constant of one element, up to rounding. #a: whatever it is (match.f).
 * - %a: any constant.
 * There is no way back across a pair of inputs that fitted: patterns put what is
 * special first. */
#include "runtime/rt_pass_int.h"

#include <math.h>
#include <stdlib.h>

struct cursor {
    const struct rt_builder *b;
    const char *at;
    struct rt_match *m;
};

static bool match_here(struct cursor *c, int value);

/* Past one pattern, without looking at any value. */
static void
skip(struct cursor *c)
{
    int depth = 0;
    for (; *c->at; c->at++) {
        if (depth == 0 && (*c->at == ',' || *c->at == ')'))
            return;
        depth += *c->at == '(';
        depth -= *c->at == ')';
    }
}

static bool
commutes(const char *op)
{
    return strcmp(op, "AddV2") == 0 || strcmp(op, "Mul") == 0 ||
           strcmp(op, "Add") == 0 || strcmp(op, "Maximum") == 0 ||
           strcmp(op, "Minimum") == 0;
}

/* The inputs of d in order, or the first two swapped; leaves the cursor behind ')'. */
static bool
match_inputs(struct cursor *c, const struct rt_draft *d, bool swap)
{
    int i = 0, n = d->s.node.n_in;
    for (; *c->at != ')'; i++) {
        if (i >= n || !match_here(c, d->in[swap && i < 2 ? !i : i]))
            return false;
        c->at += *c->at == ',';
    }
    c->at++;
    return i == n;
}

static bool
match_op(struct cursor *c, int value)
{
    const struct rt_builder *b = c->b;
    const struct rt_value *v = &b->values[value];
    const struct rt_draft *d = v->konst < 0 && v->step >= 0 ? &b->steps[v->step] : NULL;
    bool is = false;
    do {
        size_t n = strcspn(c->at, "|:(");
        is |= d && strlen(d->s.node.op) == n && memcmp(d->s.node.op, c->at, n) == 0;
        c->at += n;
    } while (*c->at == '|' && c->at++);
    int out = *c->at == ':' ? (int)strtol(c->at + 1, NULL, 10) : 0;
    c->at += strcspn(c->at, "(") + 1;
    if (!is || value - d->first_value != out || d->s.reads_ref)
        return false;
    struct rt_match before = *c->m;
    const char *from = c->at;
    if (match_inputs(c, d, false))
        return true;
    if (!commutes(d->s.node.op) || d->s.node.n_in != 2)
        return false;
    *c->m = before;
    c->at = from;
    return match_inputs(c, d, true);
}

static bool
match_number(struct cursor *c, int value)
{
    float got, want;
    char *end;
    c->at++;
    if (!rt_value_scalar(c->b, value, &got))
        return false;
    if (*c->at >= 'a' && *c->at <= 'z') {
        c->m->f[*c->at++ - 'a'] = got;
        return true;
    }
    want = strtof(c->at, &end);
    c->at = end;
    return fabsf(got - want) <= 1e-6f * fabsf(want);
}

static bool
match_here(struct cursor *c, int value)
{
    if (*c->at == '#')
        return match_number(c, value);
    if (*c->at != '$' && *c->at != '%')
        return match_op(c, value);
    if (*c->at == '%' && !rt_value_const(c->b, value))
        return false;
    int letter = c->at[1] - 'a';
    c->at += 2;
    if (c->m->has[letter]) {
        if (*c->at == '=') /* met before: what it is was looked at then */
            skip(c);
        return c->m->v[letter] == value;
    }
    if (*c->at == '=') {
        c->at++;
        if (!match_here(c, value))
            return false;
    }
    c->m->has[letter] = true;
    c->m->v[letter] = value;
    return true;
}

bool
rt_match(const struct rt_builder *b, int value, const char *pattern, struct rt_match *m)
{
    struct cursor c = { b, pattern, m };
    *m = (struct rt_match){ .v = { 0 } };
    return match_here(&c, value) && *c.at == 0;
}
