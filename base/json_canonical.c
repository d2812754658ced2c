/* SPDX-License-Identifier: Apache-2.0 */
/* One text for one value: what is signed, hashed and compared. */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The fewest digits that read back as the same double. */
static void
add_number(struct buf *out, double v)
{
    char text[32] = "";

    if (v == 0) /* -0, too */
        v = 0;
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    if (fabs(v) < 1e15 && strchr(text, 'e') && v == trunc(v))
        snprintf(text, sizeof(text), "%.0f", v);
    buf_adds(out, text);
}

static int
by_name(const void *a, const void *b)
{
    const cJSON *const *x = a, *const *y = b;

    return strcmp((*x)->string, (*y)->string);
}

static void
add_object(struct buf *out, const cJSON *j)
{
    const cJSON *m;
    size_t n = 0, i = 0;
    const cJSON **v = xcalloc((size_t)cJSON_GetArraySize(j) + 1, sizeof(const cJSON *));

    cJSON_ArrayForEach(m, j) v[n++] = m;
    qsort(v, n, sizeof(v[0]), by_name);
    buf_addc(out, '{');
    for (i = 0; i < n; i++) {
        buf_adds(out, i > 0 ? "," : "");
        json_add_quoted(out, str_of(v[i]->string));
        buf_addc(out, ':');
        json_canonical(v[i], out);
    }
    buf_addc(out, '}');
    free(v);
}

void
json_canonical(const cJSON *j, struct buf *out)
{
    const cJSON *m;

    if (cJSON_IsObject(j)) {
        add_object(out, j);
    } else if (cJSON_IsArray(j)) {
        buf_addc(out, '[');
        cJSON_ArrayForEach(m, j)
        {
            buf_adds(out, m != j->child ? "," : "");
            json_canonical(m, out);
        }
        buf_addc(out, ']');
    } else if (cJSON_IsString(j)) {
        json_add_quoted(out, str_of(j->valuestring));
    } else if (cJSON_IsNumber(j)) {
        add_number(out, j->valuedouble);
    } else if (cJSON_IsRaw(j)) {
        buf_adds(out, j->valuestring);
    } else {
        buf_adds(out, cJSON_IsTrue(j) ? "true" : cJSON_IsFalse(j) ? "false" : "null");
    }
}
