/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/canary_int.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char forms[] =
    "errors<=+1%, server_errors<=2%, p99_ms<=+20%, p99_ms<=120, mean_ms<=+10%, "
    "over_100ms<=+1%, or NAME<=0.2 of a --query NAME=…";

static bool
is_name(struct str s)
{
    if (s.n == 0 || !isalpha((unsigned char)s.p[0]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '_')
            return false;
    return true;
}

/* "p99_ms": 0.99, "p999_ms": 0.999; 0: it is none. */
static double
quantile_of(const char *name)
{
    double q = 0, unit = 0.1;
    int n = 0;

    if (name[0] != 'p')
        return 0;
    for (name++; *name >= '0' && *name <= '9' && n < 5; name++, n++, unit /= 10)
        q += (*name - '0') * unit;
    return n >= 2 && strcmp(name, "_ms") == 0 && q > 0 ? q : 0;
}

/* "over_100ms": 0.1; 0: it is none. */
static double
over_of(const char *name)
{
    char *end;
    double ms;

    if (strncmp(name, "over_", 5) != 0 || !isdigit((unsigned char)name[5]))
        return 0;
    ms = strtod(name + 5, &end);
    return strcmp(end, "ms") == 0 && ms > 0 && ms <= 1e7 ? ms / 1000 : 0;
}

static void
find_kind(struct canary_metric *m)
{
    m->quantile = quantile_of(m->name);
    m->over_s = over_of(m->name);
    if (strcmp(m->name, "errors") == 0)
        m->kind = CANARY_ERRORS;
    else if (strcmp(m->name, "server_errors") == 0)
        m->kind = CANARY_SERVER_ERRORS;
    else if (strcmp(m->name, "mean_ms") == 0)
        m->kind = CANARY_MEAN;
    else if (m->quantile > 0)
        m->kind = CANARY_QUANTILE;
    else if (m->over_s > 0)
        m->kind = CANARY_OVER;
    else
        m->kind = CANARY_QUERY;
}

static bool
is_share(const struct canary_metric *m)
{
    return m->kind == CANARY_ERRORS || m->kind == CANARY_SERVER_ERRORS ||
           m->kind == CANARY_OVER;
}

int
canary_metric_parse(const char *text, struct canary_metric *out, struct err *err)
{
    const char *op = strpbrk(text, "<>"), *from;
    struct str name = { text, op ? (size_t)(op - text) : 0 };
    bool percent;
    char *end;

    *out = (struct canary_metric){ .kind = CANARY_QUERY };
    if (!op || op[1] != '=' || !is_name(name) || name.n >= sizeof(out->name) ||
        strlen(text) >= sizeof(out->text))
        return err_set(err, ERR_INVALID, "metric '%.80s' is not understood: %s", text,
                       forms);
    snprintf(out->text, sizeof(out->text), "%s", text);
    memcpy(out->name, name.p, name.n);
    find_kind(out);
    from = op + 2;
    out->at_least = *op == '>';
    out->relative = *from == '+';
    from += out->relative;
    out->bound = isdigit((unsigned char)*from) || (*from == '-' && !out->relative)
                     ? strtod(from, &end)
                     : NAN;
    if (!isfinite(out->bound))
        return err_set(err, ERR_INVALID, "metric '%s': no number after '%.2s'", text,
                       op);
    percent = *end == '%';
    if (end[percent])
        return err_set(err, ERR_INVALID, "metric '%s': '%s' after the number", text,
                       end);
    if (percent)
        out->bound /= 100;
    if (out->kind == CANARY_QUERY)
        return out->relative
                   ? err_set(err, ERR_INVALID,
                             "metric '%s': a query's number has a limit, as %s<=0.2; "
                             "beside the stable version stand %s",
                             text, out->name, forms)
                   : 0;
    if (out->at_least)
        return err_set(err, ERR_INVALID, "metric '%s': less is better: %s<=…", text,
                       out->name);
    if (is_share(out) && (out->bound < 0 || out->bound >= 1))
        return err_set(err, ERR_INVALID,
                       "metric '%s': a share of requests, from 0%% to below 100%%",
                       text);
    if (!is_share(out) && percent != out->relative)
        return err_set(err, ERR_INVALID,
                       "metric '%s': times have a limit in ms (%s<=120), or percent "
                       "above the stable version's (%s<=+20%%)",
                       text, out->name, out->name);
    if (!is_share(out) && out->bound < 0)
        return err_set(err, ERR_INVALID, "metric '%s': below zero", text);
    if (!is_share(out) && !out->relative)
        out->bound /= 1000;
    return 0;
}

void
canary_metric_value(const struct canary_metric *m, double v, struct buf *out)
{
    if (isnan(v))
        buf_adds(out, "-");
    else if (is_share(m))
        buf_addf(out, "%.3g%%", v * 100);
    else if (m->kind == CANARY_QUERY)
        buf_addf(out, "%.6g", v);
    else
        buf_addf(out, "%.4g ms", v * 1000);
}
