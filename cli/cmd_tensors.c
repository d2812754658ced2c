/* SPDX-License-Identifier: Apache-2.0 */
/* tensors: a table, or the histogram of one tensor. */
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Integers with all their digits, others with six. */
static void
add_number(const cJSON *obj, const char *key, struct buf *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, key);
    if (cJSON_IsRaw(v) || cJSON_IsString(v)) /* beyond a double's digits, or inf */
        buf_adds(out, v->valuestring);
    else if (cJSON_IsNumber(v) && strstr(cli_str(obj, "dtype"), "INT"))
        buf_addf(out, "%.0f", v->valuedouble);
    else if (cJSON_IsNumber(v))
        buf_addf(out, "%.6g", v->valuedouble);
}

static void
add_shape(const cJSON *t, struct buf *out)
{
    const char *sep = "(";
    for (const cJSON *d = cli_list(t, "shape"); d; d = d->next) {
        buf_addf(out, "%s%.0f", sep, d->valuedouble);
        sep = ", ";
    }
    buf_adds(out, sep[0] == '(' ? "()" : ")");
}

/* What is not ordinary about it. */
static void
add_note(const cJSON *t, struct buf *out)
{
    static const char *const counts[][2] = { { "nan", "NaN" },
                                             { "pos_inf", "+Inf" },
                                             { "neg_inf", "-Inf" },
                                             { "slices", "slices" } };
    if (cli_str(t, "error")[0])
        buf_adds(out, "cannot be read");
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (cli_num(t, counts[i][0]) > 0)
            buf_addf(out, "%s%.0f %s", out->len ? ", " : "", cli_num(t, counts[i][0]),
                     counts[i][1]);
    const char *of = cli_str(t, "of");
    if (of[0] && strcmp(of, "value") != 0)
        buf_addf(out, "%s%ss", out->len ? ", " : "", of);
    if (cli_bool(t, "training_state"))
        buf_addf(out, "%straining state", out->len ? ", " : "");
    if (cli_bool(t, "constant"))
        buf_addf(out, "%sconstant", out->len ? ", " : "");
}

static void
add_zeros(const cJSON *t, struct buf *out)
{
    if (cli_num(t, "zeros") > 0)
        buf_addf(out, "%.3g%%", 100 * cli_num(t, "sparsity"));
}

static bool
any_has(const cJSON *reply, const char *key)
{
    for (const cJSON *t = cli_list(reply, "tensors"); t; t = t->next)
        if (json_has(t, key))
            return true;
    return false;
}

static void
add_table(const cJSON *reply, struct buf *out)
{
    static const char *const numbers[] = { "min", "max", "mean", "std" };
    const char *titles[16] = { "NAME", "DTYPE", "SHAPE", "SIZE" };
    int n = 4;
    bool stats = any_has(reply, "of"), digests = any_has(reply, "sha256");
    struct cli_table t;
    struct buf cell AUTO(buf_release) = BUF_INIT;
    for (int i = 0; stats && i < 5; i++)
        titles[n++] = (const char *[]){ "MIN", "MAX", "MEAN", "STD", "ZEROS" }[i];
    if (digests)
        titles[n++] = "SHA-256";
    titles[n++] = "";
    cli_table_start(&t, n, titles);
    for (const cJSON *x = cli_list(reply, "tensors"); x; x = x->next) {
        cli_table_cell(&t, cli_str(x, "name"));
        cli_table_cell(&t, cli_str(x, "dtype"));
        add_shape(x, &cell);
        cli_table_cell_buf(&t, &cell);
        cli_size(cli_num(x, "bytes"), &cell);
        cli_table_cell_buf(&t, &cell);
        for (int i = 0; stats && i < 4; i++) {
            add_number(x, numbers[i], &cell);
            cli_table_cell_buf(&t, &cell);
        }
        if (stats) {
            add_zeros(x, &cell);
            cli_table_cell_buf(&t, &cell);
        }
        if (digests) {
            buf_addf(&cell, "%.12s", cli_str(x, "sha256"));
            cli_table_cell_buf(&t, &cell);
        }
        add_note(x, &cell);
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
}

static void
add_totals(const cJSON *reply, struct buf *out)
{
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(reply, "totals");
    buf_addf(out, "%.0f tensors, %.0f parameters, ", cli_num(o, "tensors"),
             cli_num(o, "parameters"));
    cli_size(cli_num(o, "bytes"), out);
    if (cli_num(o, "training_state_tensors") > 0) {
        buf_addf(out, "; %.0f of them training state, ",
                 cli_num(o, "training_state_tensors"));
        cli_size(cli_num(o, "training_state_bytes"), out);
    }
    buf_addc(out, '\n');
    enum { MOST_ERRORS = 8 };
    int n = 0;
    for (const cJSON *x = cli_list(reply, "tensors"); x; x = x->next)
        if (cli_str(x, "error")[0] && n++ < MOST_ERRORS)
            buf_addf(out, "cannot be read: %s\n", cli_str(x, "error"));
    if (n > MOST_ERRORS)
        buf_addf(out, "and %d more\n", n - MOST_ERRORS);
}

/* ---- histogram ---- */

static bool
is_utf8(void)
{
    static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    for (int i = 0; i < 3; i++) {
        const char *v = getenv(names[i]);
        if (v && v[0])
            return strcasestr(v, "utf-8") || strcasestr(v, "utf8");
    }
    return false;
}

static int
terminal_columns(void)
{
    struct winsize w;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 40)
        return w.ws_col;
    return 80;
}

/* A bar in eighths of a column; in ASCII of whole ones. What is not nothing shows. */
static void
add_bar(double share, int columns, bool utf8, struct buf *out)
{
    static const char *const parts[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
    int unit = utf8 ? 8 : 1;
    int n = (int)lround(share * columns * unit);
    if (n == 0 && share > 0)
        n = 1;
    for (int i = 0; i < n / unit; i++)
        buf_adds(out, utf8 ? "█" : "#");
    if (utf8)
        buf_adds(out, parts[n % 8]);
}

static void
add_histogram(const cJSON *h, struct buf *out)
{
    const cJSON *count = cli_list(h, "counts");
    struct buf label AUTO(buf_release) = BUF_INIT;
    double most = 0;
    int widest = 0;
    bool utf8 = is_utf8();
    for (const cJSON *c = count; c; c = c->next) {
        char text[32];
        int n = snprintf(text, sizeof text, "%.0f", c->valuedouble);
        most = c->valuedouble > most ? c->valuedouble : most;
        widest = n > widest ? n : widest;
    }
    enum { LABEL = 12 };
    int columns = terminal_columns() - LABEL - widest - 4;
    for (const cJSON *e = cli_list(h, "edges"); count;
         e = e->next, count = count->next) {
        buf_clear(&label);
        buf_addf(&label, "%.6g", e->valuedouble);
        buf_addf(out, "%*s  %*.0f  ", LABEL, buf_str(&label), widest,
                 count->valuedouble);
        add_bar(most > 0 ? count->valuedouble / most : 0, columns, utf8, out);
        while (out->len && out->data[out->len - 1] == ' ')
            out->data[--out->len] = '\0';
        buf_addc(out, '\n');
        if (!count->next && e->next)
            buf_addf(out, "%*.6g\n", LABEL, e->next->valuedouble);
    }
}

static void
add_one(const cJSON *t, const cJSON *histogram, struct buf *out)
{
    static const char *const rows[][2] = {
        { "min", "min" }, { "max", "max" }, { "mean", "mean" }, { "std", "std" }
    };
    buf_addf(out, "%s %s ", cli_str(t, "name"), cli_str(t, "dtype"));
    add_shape(t, out);
    buf_addf(out, ", %.0f elements", cli_num(t, "elements"));
    if (strcmp(cli_str(t, "of"), "value") != 0)
        buf_addf(out, ", by %s", cli_str(t, "of"));
    buf_addc(out, '\n');
    add_histogram(histogram, out);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (json_has(t, rows[i][0])) {
            buf_addf(out, "%s%s ", i ? "  " : "", rows[i][1]);
            add_number(t, rows[i][0], out);
        }
    buf_addf(out, "%szeros %.0f  NaN %.0f  +Inf %.0f  -Inf %.0f\n",
             json_has(t, "min") ? "  " : "", cli_num(t, "zeros"), cli_num(t, "nan"),
             cli_num(t, "pos_inf"), cli_num(t, "neg_inf"));
}

void
cmd_tensors(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    const cJSON *histogram = cJSON_GetObjectItemCaseSensitive(reply, "histogram");
    if (!json_has(reply, "tensors"))
        return;
    if (histogram) {
        add_one(cli_list(reply, "tensors"), histogram, out);
        return;
    }
    if (cli_list(reply, "tensors"))
        add_table(reply, out);
    add_totals(reply, out);
}
