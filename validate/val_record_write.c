/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a recorded golden set. */
#include "validate/record.h"
#include "validate/val_int.h"

#include "base/fs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_WASTE_BYTES ((size_t)1 << 20)

/* ---- tolerances ----------------------------------------------------------------- */

int
val_tolerance_read(const char *text, cJSON *tolerance, struct err *err)
{
    const char *colon = strrchr(text, ':'), *kind_at = colon ? colon + 1 : text;
    const size_t n = strcspn(kind_at, "=");
    char *kind AUTO(free_ptr) = xstrndup(kind_at, n), *end = NULL;
    const int k = val_tol_find(kind);
    const double limit = kind_at[n] ? strtod(kind_at + n + 1, &end) : NAN;
    const bool is_number =
        end && *end == '\0' && end != kind_at + n + 1 && limit >= 0 && isfinite(limit);
    cJSON *to = tolerance;

    if (k < 0 || (k == VAL_EXACT ? kind_at[n] != '\0' : !is_number))
        return err_set(
            err, ERR_USAGE,
            "--tolerance %s: wanted KIND=LIMIT or OUTPUT:KIND=LIMIT, such as "
            "rel_max=1e-4, or exact",
            text);
    if (colon) {
        char *output AUTO(free_ptr) = xstrndup(text, (size_t)(colon - text));
        cJSON *outputs = cJSON_GetObjectItemCaseSensitive(tolerance, "outputs");

        if (!outputs)
            outputs = cJSON_AddObjectToObject(tolerance, "outputs");
        to = cJSON_GetObjectItemCaseSensitive(outputs, output);
        if (!to)
            to = cJSON_AddObjectToObject(outputs, output);
    }
    cJSON_DeleteItemFromObjectCaseSensitive(to, kind); /* the later one wins */
    if (k == VAL_EXACT)
        json_put_bool(to, kind, true);
    else
        json_put_real(to, kind, limit);
    return 0;
}

/* ---- writing -------------------------------------------------------------------- */

static int
write_file(const struct val_record_args *args, const char *name, const struct buf *b,
           struct err *err)
{
    int fd AUTO(fs_close) = -1;

    if (fs_open(&fd, args->dirfd, name, O_WRONLY | O_CREAT | O_EXCL, 0644, err) < 0)
        return -(int)err->code;
    return fs_write_all(fd, b->data, b->len, name, err);
}

/* NumPy's strings all take the room of the longest, and lose the NULs at their ends
 * (serialized messages may well have some). */
static bool
is_for_numpy(const struct sm_tensor *t)
{
    const struct str *v = t->dtype == SM_STRING ? sm_tensor_str(t) : NULL;
    size_t longest = 0;

    for (int64_t i = 0; v && i < t->n_elems; i++) {
        if (v[i].n && v[i].p[v[i].n - 1] == '\0')
            return false;
        longest = v[i].n > longest ? v[i].n : longest;
    }
    return !v || longest == 0 ||
           (size_t)t->n_elems <= (ARRAY_WASTE_BYTES + 4 * sm_tensor_bytes(t)) / longest;
}

/* All of a case's inputs are in one file, or all are in golden.json. */
static int
put_inline(cJSON *c, const struct sm_tensor_list *l, struct err *err)
{
    cJSON *o = cJSON_AddObjectToObject(c, "inputs");

    for (int i = 0; i < l->n; i++) {
        struct buf text AUTO(buf_release) = BUF_INIT;
        const struct sm_tensor *t = &l->v[i].t;
        bool is_flat = true; /* "[]" says nothing of the axes behind an empty one */

        for (int d = 0; d < t->rank - 1; d++)
            is_flat &= t->dims[d] > 0;
        if (!is_flat)
            return err_set(err, ERR_UNSUPPORTED,
                           "input '%s' is empty, and golden.json has no form for its "
                           "shape",
                           l->v[i].name);
        if (val_inline_add(&text, t, err) < 0 ||
            buf_check(&text, "inline values", err) < 0)
            return err_ctx(err, "input '%s', beside strings that NumPy cannot keep",
                           l->v[i].name);
        cJSON_AddItemToObject(o, l->v[i].name, cJSON_CreateRaw(buf_str(&text)));
    }
    return 0;
}

static int
put_arrays(const struct val_record_args *args, cJSON *c, const char *key,
           const char *file, const struct sm_tensor_list *l, struct err *err)
{
    struct buf npz AUTO(buf_release) = BUF_INIT;
    bool numpy = true;

    for (int i = 0; i < l->n; i++)
        numpy &= is_for_numpy(&l->v[i].t);
    if (!numpy && strcmp(key, "inputs") == 0) /* of outputs no NUL at an end counts */
        return put_inline(c, l, err);
    if (l->n == 0) {
        cJSON_AddObjectToObject(c, key);
        return 0;
    }
    json_put_str(c, key, file);
    return sm_npz_write(l, &npz, err) < 0 ? -(int)err->code
                                          : write_file(args, file, &npz, err);
}

/* Of the outputs that a tolerance names, those that a case has: signatures differ. */
static cJSON *
tolerance_of(const cJSON *all, const struct sm_tensor_list *out)
{
    cJSON *mine = cJSON_Duplicate(all, true);
    cJSON *outputs = cJSON_GetObjectItemCaseSensitive(mine, "outputs"), *next;

    for (cJSON *o = outputs ? outputs->child : NULL; o; o = next) {
        next = o->next;
        if (!sm_tensor_list_find(out, o->string))
            cJSON_Delete(cJSON_DetachItemViaPointer(outputs, o));
    }
    return mine;
}

/* A slip of the pen would leave an output with the default. */
static int
check_tolerance(const cJSON *all, const cJSON *cases, struct err *err)
{
    const cJSON *outputs = cJSON_GetObjectItemCaseSensitive(all, "outputs"), *o, *c;

    cJSON_ArrayForEach(o, outputs)
    {
        bool found = false;

        cJSON_ArrayForEach(c, cases)
        {
            const cJSON *t = cJSON_GetObjectItemCaseSensitive(c, "tolerance");

            found |=
                json_has(cJSON_GetObjectItemCaseSensitive(t, "outputs"), o->string);
        }
        if (!found)
            return err_set(err, ERR_USAGE, "--tolerance %s:…: no case has this output",
                           o->string);
    }
    return 0;
}

int
val_write_case(const struct val_record_args *args, cJSON *cases, const char *name,
               const char *signature, const struct sm_tensor_list *in,
               const struct sm_tensor_list *out, struct err *err)
{
    const int n = cJSON_GetArraySize(cases);
    char *in_file AUTO(free_ptr) = xasprintf("%04d.in.npz", n);
    char *out_file AUTO(free_ptr) = xasprintf("%04d.out.npz", n);
    cJSON *c = cJSON_CreateObject();

    json_put_str(c, "name", name);
    json_put_str(c, "signature", signature);
    if (put_arrays(args, c, "inputs", in_file, in, err) < 0 ||
        put_arrays(args, c, "expected", out_file, out, err) < 0) {
        cJSON_Delete(c);
        unlinkat(args->dirfd, in_file, 0); /* what is there may be one of the two */
        unlinkat(args->dirfd, out_file, 0);
        return -(int)err->code;
    }
    if (args->tolerance)
        cJSON_AddItemToObject(c, "tolerance", tolerance_of(args->tolerance, out));
    cJSON_AddItemToArray(cases, c);
    return 0;
}

/* ---- the set --------------------------------------------------------------------- */

int
val_write_set(const struct val_record_args *args, cJSON *recorded, cJSON *cases,
              struct err *err)
{
    cJSON *doc AUTO(json_free) = cJSON_CreateObject(), *tags;
    struct buf text AUTO(buf_release) = BUF_INIT;

    json_put_int(doc, "golden", 1);
    json_put_str(doc, "kind", "acceptance");
    tags = cJSON_AddArrayToObject(doc, "tags");
    for (const char *p = args->tags; *p;) {
        const size_t n = strcspn(p, ",");
        char *tag AUTO(free_ptr) = xstrndup(p, n);

        json_put_str(tags, NULL, tag);
        p += n + (p[n] == ',');
    }
    json_put_bool(doc, "sequential", args->sequential);
    cJSON_AddItemToObject(doc, "recorded", recorded);
    cJSON_AddItemToObject(doc, "cases", cases);
    json_print(doc, &text, false);
    if (check_tolerance(args->tolerance, cases, err) < 0)
        return -(int)err->code;
    return buf_check(&text, "golden.json", err) < 0
               ? -(int)err->code
               : write_file(args, "golden.json", &text, err);
}
