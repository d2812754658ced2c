/* SPDX-License-Identifier: Apache-2.0 */
/* What run feeds: files, expressions and examples. */
#include "savedmodel/savedmodel.h"
#include "service/svc_int.h"

#include <string.h>

enum { MAX_INPUT_BYTES = 1 << 30 };

/* ---- files ---- */

/* The array `name` of several; without a name the only one. */
static int
pick(const struct sm_tensor_list *arrays, const char *file, const char *name,
     struct sm_tensor *out, struct err *err)
{
    if (!name && arrays->n != 1)
        return err_set(
            err, ERR_INVALID,
            "Input file %s contains %s ndarrays. Please specify the name of ndarray to "
            "use: %s[NAME]",
            file, arrays->n ? "more than one" : "no", file);
    const struct sm_tensor *found =
        name ? sm_tensor_list_find(arrays, name) : &arrays->v[0].t;
    if (!found)
        return err_set(err, ERR_NOTFOUND,
                       "Input file %s does not contain variable with name \"%s\".",
                       file, name);
    return sm_tensor_copy(out, found, err);
}

static int
read_pickle(struct str all, const char *file, const char *name, struct sm_tensor *out,
            struct err *err)
{
    struct sm_tensor_list arrays AUTO(sm_tensor_list_release) = { 0 };
    bool is_dict;
    if (sm_pickle_read(all, file, name, &arrays, &is_dict, err) < 0)
        return -(int)err->code;
    /* The name is ignored for a single array, as saved_model_cli does. */
    return pick(&arrays, file, is_dict ? name : NULL, out, err);
}

static int
read_npz(struct str all, const char *file, const char *name, struct sm_tensor *out,
         struct err *err)
{
    struct sm_tensor_list arrays AUTO(sm_tensor_list_release) = { 0 };
    if (sm_npz_read_one(all, file, name, &arrays, err) < 0)
        return -(int)err->code;
    return pick(&arrays, file, name, out, err);
}

/* The records as strings, or one feature of the tf.Examples that they are. */
static int
read_tfrecord(struct str all, const char *file, const char *name, struct sm_tensor *out,
              struct err *err)
{
    struct sm_records records AUTO(sm_records_release) = { 0 };
    if (sm_tfrecord_read(all, file, &records, err) < 0)
        return -(int)err->code;
    if (name && sm_examples_column(&records, str_of(name), out, err) < 0)
        return err_ctx(err, "%s", file);
    int64_t n = (int64_t)records.n;
    return name ? 0 : sm_tensor_strings(out, 1, &n, records.v, err);
}

/* FILE or FILE[NAME]; the bytes say what the file is. */
static int
read_array(const char *file, const char *name, struct sm_tensor *out, struct err *err)
{
    struct buf bytes AUTO(buf_release) = { .cap_bytes = MAX_INPUT_BYTES };
    if (fs_read(AT_FDCWD, file, &bytes, err) < 0)
        return -(int)err->code;
    struct str all = { buf_str(&bytes), bytes.len };
    if (all.n >= 6 && memcmp(all.p, "\x93NUMPY", 6) == 0) {
        struct sm_tensor t AUTO(sm_tensor_release) = { 0 };
        return sm_npy_read(all, file, &t, err) < 0 ? -(int)err->code
                                                   : sm_tensor_copy(out, &t, err);
    }
    if (all.n >= 4 && (memcmp(all.p, "PK\3\4", 4) == 0 || !memcmp(all.p, "PK\5\6", 4)))
        return read_npz(all, file, name, out, err);
    if (sm_is_tfrecord(all))
        return read_tfrecord(all, file, name, out, err);
    if (sm_is_pickle(all))
        return read_pickle(all, file, name, out, err);
    return err_set(err, ERR_INVALID,
                   "%s: neither an .npy, an .npz, a pickle nor a TFRecord file (or cut "
                   "off)",
                   file);
}

/* ---- the three flags ---- */

/* Adds t under `key`; a key that is there already is replaced (the later flag wins, as
 * in saved_model_cli). Takes t. */
static void
set_input(struct sm_tensor_list *in, const char *key, struct sm_tensor *t)
{
    struct sm_tensor *old = sm_tensor_list_find(in, key);
    if (!old) {
        sm_tensor_list_add(in, key, t);
        return;
    }
    sm_tensor_release(old);
    *old = *t;
    *t = (struct sm_tensor){ 0 };
}

static int
file_input(char *value, const char *item, struct sm_tensor *out, struct err *err)
{
    size_t n = strlen(value);
    char *bracket = strchr(value, '[');
    char *name = NULL;
    if (bracket && n && value[n - 1] == ']' && bracket > value &&
        bracket + 2 < value + n) {
        value[n - 1] = '\0';
        *bracket = '\0';
        name = bracket + 1;
    }
    if (!*value || strpbrk(value, "[]") || (name && strpbrk(name, "[]")))
        return err_set(err, ERR_INVALID,
                       "--inputs \"%s\" format is incorrect. Please follow "
                       "\"<input_key>=<filename>\", or "
                       "\"<input_key>=<filename>[<variable_name>]\"",
                       item);
    return read_array(value, name, out, err);
}

static int
expr_input(char *value, const char *item, struct sm_tensor *out, struct err *err)
{
    (void)item;
    if (sm_expr_read(value, out, err) < 0)
        return err_ctx(err,
                       "--input_exprs: Expression \"%s\" is not a valid python literal",
                       value);
    return 0;
}

static int
examples_input(char *value, const char *item, struct sm_tensor *out, struct err *err)
{
    if (sm_examples_of(value, out, err) < 0)
        return err_ctx(err, "--input_examples \"%s\"", item);
    return 0;
}

typedef int input_fn(char *value, const char *item, struct sm_tensor *out,
                     struct err *err);

/* "key=value;key=value": each item to fn; empty ones are skipped. */
static int
each_item(struct svc_call *c, const char *flag, const char *value_name, input_fn *fn,
          struct sm_tensor_list *in, struct err *err)
{
    for (const char *p = svc_str(c, flag); p && *p;) {
        size_t n = strcspn(p, ";");
        char *item AUTO(free_ptr) = xstrndup(p, n);
        char *copy AUTO(free_ptr) = xstrdup(item);
        struct sm_tensor t AUTO(sm_tensor_release) = { 0 };
        p += n + (p[n] == ';');
        if (!n)
            continue;
        char *equals = strchr(copy, '=');
        if (!equals || equals == copy)
            return err_set(
                err, ERR_INVALID,
                "--%s \"%s\" format is incorrect. Please follow \"<input_key>=<%s>\"",
                flag, item, value_name);
        *equals = '\0';
        if (fn(equals + 1, item, &t, err) < 0)
            return -(int)err->code;
        set_input(in, copy, &t);
    }
    return 0;
}

int
svc_run_inputs(struct svc_call *c, struct sm_tensor_list *in, struct err *err)
{
    static const struct {
        const char *flag, *value_name;
        input_fn *fn;
    } flags[] = { { "inputs", "filename", file_input },
                  { "input_exprs", "python expression", expr_input },
                  { "input_examples", "list of dictionaries", examples_input } };
    int r = 0;
    for (size_t i = 0; r >= 0 && i < sizeof flags / sizeof flags[0]; i++)
        r = each_item(c, flags[i].flag, flags[i].value_name, flags[i].fn, in, err);
    return r;
}

int
svc_run_fit(struct sm_tensor_list *in, const struct backend_signature *sig,
            struct err *err)
{
    for (int i = 0; i < in->n; i++) {
        const struct backend_tensor *want = NULL;
        struct buf keys AUTO(buf_release) = BUF_INIT;
        for (int k = 0; k < sig->n_inputs; k++) {
            buf_addf(&keys, "\"%s\", ", sig->inputs[k].key);
            if (strcmp(sig->inputs[k].key, in->v[i].name) == 0)
                want = &sig->inputs[k];
        }
        if (!want)
            return err_set(
                err, ERR_INVALID,
                "\"%s\" is not a valid input key. Please choose from %sor use show.",
                in->v[i].name, buf_str(&keys));
        struct buf what AUTO(buf_release) = BUF_INIT;
        buf_addf(&what, "input \"%s\"", in->v[i].name);
        if (sm_tensor_cast(&in->v[i].t, want->dtype % SM_REF, buf_str(&what), err) < 0)
            return -(int)err->code;
    }
    return 0;
}
