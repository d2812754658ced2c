/* SPDX-License-Identifier: Apache-2.0 */
/* What a plan lacks: lines "Op (node 'n' in function 'f')[: why]". */
#include "runtime/rt_int.h"

void
rt_missing_add(struct rt_missing *m, const char *lines)
{
    if (!lines || strstr(buf_str(&m->lines), lines))
        return;
    buf_adds(&m->lines, lines);
    m->n++;
}

/* The line behind `line`. */
static const char *
next_line(const char *line)
{
    line += strcspn(line, "\n");
    return line + (*line == '\n');
}

static bool
same_op(const char *a, const char *b)
{
    size_t n = strcspn(a, " ");
    return strcspn(b, " ") == n && memcmp(a, b, n) == 0;
}

/* Each op with the first node that has it and the number of others; ops that do not fit
 * in an error are counted. */
int
rt_missing_error(const struct rt_missing *m, const char *what, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    const char *first = buf_str(&m->lines);
    int hidden = 0;
    for (const char *line = first, *l; *line; line = next_line(line)) {
        bool seen = false;
        int more = 0;
        for (l = first; l != line && !seen; l = next_line(l))
            seen = same_op(l, line);
        if (seen)
            continue;
        for (l = next_line(line); *l; l = next_line(l))
            more += same_op(l, line);
        size_t len = strcspn(line, "\n");
        if (text.len + len > ERR_MSG_BYTES - 512) {
            hidden++;
            continue;
        }
        buf_addf(&text, "%s%.*s", text.len ? ", " : "", (int)len, line);
        if (more > 0)
            buf_addf(&text, " and %d more", more);
    }
    if (hidden > 0)
        buf_addf(&text, ", and %d other ops", hidden);
    return err_set(err, ERR_UNSUPPORTED, "%s needs ops this runtime does not have: %s",
                   what, buf_str(&text));
}

void
rt_missing_release(struct rt_missing *m)
{
    buf_release(&m->lines);
    m->n = 0;
}
