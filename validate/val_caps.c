/* SPDX-License-Identifier: Apache-2.0 */
/* Caps on the tolerances that a golden set allows itself. */
#include "validate/val_int.h"

#include <math.h>

int
val_caps_parse(const cJSON *caps, struct val_caps *out, struct err *err)
{
    for (int k = 0; k <= VAL_EXACT; k++)
        out->limit[k] = NAN;
    if (!cJSON_IsObject(caps))
        return err_set(err, ERR_INVALID,
                       "caps: wanted an object such as {\"rel_max\": 1e-3}");
    for (const cJSON *j = caps->child; j; j = j->next) {
        const int kind = val_tol_find(j->string);

        if (kind < 0)
            return err_set(err, ERR_INVALID, "caps: there is no tolerance \"%s\"",
                           j->string);
        if (kind == VAL_EXACT)
            return err_set(err, ERR_INVALID,
                           "caps: \"exact\" needs no cap, it is always good enough");
        if (!cJSON_IsNumber(j) || !(j->valuedouble >= 0))
            return err_set(err, ERR_INVALID,
                           "caps: \"%s\": wanted a number, at least 0", j->string);
        out->limit[kind] = j->valuedouble;
    }
    return 0;
}

static bool
within(const struct val_caps *caps, enum val_tol_kind kind, double limit)
{
    if (kind == VAL_EXACT)
        return true;
    return kind == VAL_TOP_K ? limit >= caps->limit[kind] : limit <= caps->limit[kind];
}

static void
add_caps(const struct val_caps *caps, struct buf *out)
{
    const size_t before = out->len;

    for (int k = 0; k < VAL_EXACT; k++)
        if (!isnan(caps->limit[k]))
            buf_addf(out, "%s%s %g", out->len > before ? ", " : "",
                     val_tol_name((enum val_tol_kind)k), caps->limit[k]);
    buf_adds(out, out->len > before ? " or exact" : "exact");
}

/* All tolerances of an output must hold: the tightest says how far it may be off. */
static int
check_output(const struct val_case *c, const char *output, int dtype,
             const struct val_caps *caps, struct err *err)
{
    struct buf saw AUTO(buf_release) = BUF_INIT, want AUTO(buf_release) = BUF_INIT;
    bool any = false, good = false;

    for (int i = 0; i < c->n_tolerances; i++) {
        const struct val_tolerance *t = &c->tolerances[i];

        if (!val_tolerance_counts(c, t, output, dtype))
            continue;
        buf_addf(&saw, "%s%s %g", any ? ", " : "", val_tol_name(t->kind), t->limit);
        any = true;
        good |= within(caps, t->kind, t->limit);
    }
    if (!any && val_is_discrete(dtype)) /* exact */
        return 0;
    if (!any) {
        buf_addf(&saw, "rel_max %g", VAL_REL_MAX_DEFAULT);
        good = within(caps, VAL_REL_MAX, VAL_REL_MAX_DEFAULT);
    }
    if (good)
        return 0;
    add_caps(caps, &want);
    return err_set(
        err, ERR_REFUSED,
        "case '%s': output '%s': the set allows itself %s; the policy wants %s "
        "at most",
        c->name, output, buf_str(&saw), buf_str(&want));
}

int
val_set_check_caps(const struct val_golden *g, const struct val_caps *caps,
                   struct err *err)
{
    for (int i = 0; i < g->n_cases; i++) {
        const struct val_case *c = &g->cases[i];

        for (int k = 0; k < c->expected.n; k++) {
            int r = check_output(c, c->expected.v[k].name, c->expected.v[k].t.dtype,
                                 caps, err);

            if (r < 0)
                return r;
        }
    }
    return 0;
}
