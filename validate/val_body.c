/* SPDX-License-Identifier: Apache-2.0 */
/* Predict requests of TF Serving's REST API.
 *
 *   {"signature_name": S, "instances": [V, …]}         row form, of one input
 *   {"signature_name": S, "instances": [{K: V, …}, …]} row form, of named inputs
 *   {"signature_name": S, "inputs": V}                 column form, of one input
 *   {"signature_name": S, "inputs": {K: V, …}}         column form, of named inputs
 *
 * where V is a number, bool, string, {"b64": …} or a list of such, however deep. Rows
 * become one tensor a key, stacked along a new first axis. */
#include "validate/record.h"
#include "validate/val_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 1024

static int
add_value(struct val_request *out, const char *key, const cJSON *v, struct err *err)
{
    struct sm_tensor t;

    if (out->inputs.n == KEYS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d inputs", KEYS_MAX);
    if (sm_tensor_list_find(&out->inputs, key))
        return err_set(err, ERR_INVALID, "input '%s' is given twice", key);
    if (val_inline(v, &t, err) < 0)
        return key[0] ? err_ctx(err, "input '%s'", key) : -(int)err->code;
    sm_tensor_list_add(&out->inputs, key, &t);
    return 0;
}

static bool
is_named(const cJSON *j)
{
    return cJSON_IsObject(j) && !val_inline_is_b64(j);
}

/* ---- column form ---- */

static int
read_columns(const cJSON *inputs, struct val_request *out, struct err *err)
{
    int r = 0;

    if (!is_named(inputs))
        return add_value(out, "", inputs, err);
    for (const cJSON *j = inputs->child; j && r == 0; j = j->next)
        r = add_value(out, j->string, j, err);
    return r;
}

/* ---- row form ---- */

/* Every row's member `key` as one list. Rows are looked through once: members mostly
 * stand at the same place in each. */
static int
stack(const cJSON *rows, const cJSON *first, int at, struct val_request *out,
      struct err *err)
{
    cJSON *column AUTO(json_free) = cJSON_CreateArray();
    int64_t i = 0;

    for (const cJSON *row = rows->child; row; row = row->next, i++) {
        const cJSON *v = is_named(row) ? row->child : NULL;

        for (int k = 0; v && k < at; k++)
            v = v->next;
        if (!v || strcmp(v->string, first->string) != 0)
            v = is_named(row) ? cJSON_GetObjectItemCaseSensitive(row, first->string)
                              : NULL;
        if (!v)
            return err_set(err, ERR_INVALID,
                           "\"instances\": row %" PRId64
                           " has no '%s', which row 0 has",
                           i, first->string);
        cJSON_AddItemReferenceToArray(column, (cJSON *)(uintptr_t)v);
    }
    return add_value(out, first->string, column, err);
}

static int
read_rows(const cJSON *rows, struct val_request *out, struct err *err)
{
    int n_keys = 0, at = 0, r = 0;
    int64_t i = 0;

    if (!cJSON_IsArray(rows) || !rows->child)
        return err_set(err, ERR_INVALID, "\"instances\": wanted a list of rows");
    if (!is_named(rows->child))
        return add_value(out, "", rows, err);
    n_keys = cJSON_GetArraySize(rows->child);
    for (const cJSON *row = rows->child; row; row = row->next, i++)
        if (!is_named(row) || cJSON_GetArraySize(row) != n_keys)
            return err_set(err, ERR_INVALID,
                           "\"instances\": row %" PRId64 " has other inputs than row 0",
                           i);
    if (n_keys > KEYS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d inputs", KEYS_MAX);
    for (const cJSON *j = rows->child->child; j && r == 0; j = j->next)
        r = stack(rows, j, at++, out, err);
    return r;
}

/* ---- body ---- */

static int
read_body(const cJSON *doc, struct val_request *out, struct err *err)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(doc, "signature_name");
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(doc, "instances");
    const cJSON *columns = cJSON_GetObjectItemCaseSensitive(doc, "inputs");

    if (json_has(doc, "examples"))
        return err_set(err, ERR_UNSUPPORTED,
                       "a classify or regress request (\"examples\"): only predict "
                       "requests are read from JSON; a TF Serving log has them too");
    if (!rows == !columns)
        return err_set(err, ERR_INVALID,
                       "wanted a TF Serving predict request: \"instances\" or "
                       "\"inputs\", one of the two");
    if (name && !cJSON_IsNull(name)) {
        if (!cJSON_IsString(name) || name->valuestring[0] == VAL_NUMBER_MARK)
            return err_set(err, ERR_INVALID, "\"signature_name\": wanted a string");
    }
    if (cJSON_IsString(name) && name->valuestring[0]) { /* "" is the default one */
        out->signatures = xcalloc(1, sizeof(*out->signatures));
        out->signatures[out->n_signatures++] = xstrdup(name->valuestring);
    }
    return rows ? read_rows(rows, out, err) : read_columns(columns, out, err);
}

int
val_body_read(struct str text, bool is_line, struct val_request *out, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    bool is_body;
    int r = val_json_parse(&doc, text, "JSON", err);

    if (r < 0)
        return r;
    is_body = json_has(doc, "instances") || json_has(doc, "inputs") ||
              json_has(doc, "examples");
    if (is_line && !is_body) { /* one row of a batch job's file */
        cJSON *rows AUTO(json_free) = cJSON_CreateArray();

        cJSON_AddItemReferenceToArray(rows, doc);
        return read_rows(rows, out, err);
    }
    return read_body(doc, out, err);
}
