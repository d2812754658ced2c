/* SPDX-License-Identifier: Apache-2.0 */
/* A backend whose model is a file `fake` with a word and a number, so that versions
 * with other bytes behave otherwise: scale S        y = S x + 2; probabilities [n, 2] =
 * {S x, 1}; digit = 1 where x > 0; count = runs since load or reset; text, half =
 * inputs, unchanged unsupported 0  load says that an op is missing broken 0       load
 * says that the model is corrupt gone 0         load says that the system is in the way
 *   many 0         load says that 107 ops are missing, and names 100
 *   limits S       run of signature "other" is unsupported, else as scale
 *   asserts 0      run fails where x[0] < 0, else as scale 1 */
#ifndef TESTS_UNIT_VALIDATE_FAKE_BACKEND_H
#define TESTS_UNIT_VALIDATE_FAKE_BACKEND_H

#include "base/fs.h"
#include "tests/unit/unit.h"
#include "validate/validate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct backend {
    char word[32];
    double scale;
    int64_t n_runs;
};

static const struct backend_tensor fake_inputs[] = {
    { .key = "half", .dtype = SM_BFLOAT16, .has_default = true },
    { .key = "text", .dtype = SM_STRING, .has_default = true },
    { .key = "x", .dtype = SM_FLOAT, .shape = { .rank = 1, .dims = { -1 } } },
};
static const struct backend_tensor fake_outputs[] = {
    { .key = "count", .dtype = SM_INT64 },
    { .key = "digit", .dtype = SM_INT64 },
    { .key = "half", .dtype = SM_BFLOAT16 },
    { .key = "probabilities", .dtype = SM_FLOAT },
    { .key = "text", .dtype = SM_STRING },
    { .key = "y", .dtype = SM_FLOAT },
};
static const struct backend_signature fake_signature = {
    .key = "serving_default",
    .inputs = fake_inputs,
    .n_inputs = 3,
    .outputs = fake_outputs,
    .n_outputs = 6,
};

static int
fake_load(struct backend **out, const struct backend_args *args, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/fake", args->model_dir);
    struct backend b = { .scale = 1 };

    if (fs_read(AT_FDCWD, path, &text, err) < 0)
        return -(int)err->code;
    if (sscanf(buf_str(&text), "%31s %lf", b.word, &b.scale) != 2)
        return err_set(err, ERR_CORRUPT, "fake: no word and number");
    if (strcmp(b.word, "unsupported") == 0)
        return err_set(err, ERR_UNSUPPORTED, "op DecodeWav (node a, function f)");
    if (strcmp(b.word, "many") == 0) {
        struct buf ops AUTO(buf_release) = BUF_INIT;
        for (int i = 0; i < 100; i++)
            buf_addf(&ops, "%sDecodeOp%03d (node n%03d)", i ? ", " : "", i, i);
        return err_set(err, ERR_UNSUPPORTED, "needs: %s, and 7 other ops",
                       buf_str(&ops));
    }
    if (strcmp(b.word, "broken") == 0)
        return err_set(err, ERR_CORRUPT, "variables.index: block 3: wrong checksum");
    if (strcmp(b.word, "gone") == 0)
        return err_set(err, ERR_IO,
                       "start sluice-runner: Resource temporarily unavailable");
    *out = xmalloc(sizeof(b));
    **out = b;
    return 0;
}

static int
fake_signature_of(struct backend *b, const char *key,
                  const struct backend_signature **out, struct err *err)
{
    (void)b;
    *out = &fake_signature;
    if (strcmp(key, "serving_default") == 0 || strcmp(key, "other") == 0)
        return 0;
    return err_set(err, ERR_NOTFOUND, "no signature '%s'; there is serving_default",
                   key);
}

static int
fake_run(struct backend *b, const char *signature, const struct sm_tensor_list *in,
         struct sm_tensor_list *out, struct err *err)
{
    const struct sm_tensor *x = sm_tensor_list_find(in, "x");
    const char *const copied[] = { "half", "text" };
    struct sm_tensor count, digit, p, y;
    const int64_t dims[] = { x ? x->n_elems : 0, 2 };

    if (!x || x->dtype != SM_FLOAT)
        return err_set(err, ERR_INVALID, "input 'x' is missing or no float32");
    if (strcmp(b->word, "limits") == 0 && strcmp(signature, "other") == 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "unsupported ops:\n  DecodeGif (node g)\n  DecodeWav (node w)");
    if (strcmp(b->word, "asserts") == 0 && x->n_elems && ((float *)x->data)[0] < 0)
        return err_set(err, ERR_FAILED, "assertion failed: x must not be negative");
    if (sm_tensor_alloc(&count, SM_INT64, 0, NULL, err) < 0 ||
        sm_tensor_alloc(&digit, SM_INT64, 1, dims, err) < 0 ||
        sm_tensor_alloc(&p, SM_FLOAT, 2, dims, err) < 0 ||
        sm_tensor_alloc(&y, SM_FLOAT, 1, dims, err) < 0)
        return -(int)err->code;
    *(int64_t *)count.data = ++b->n_runs;
    for (int64_t i = 0; i < x->n_elems; i++) {
        double v = (double)((float *)x->data)[i];

        ((int64_t *)digit.data)[i] = v > 0;
        ((float *)p.data)[2 * i] = (float)(b->scale * v);
        ((float *)p.data)[2 * i + 1] = 1;
        ((float *)y.data)[i] = (float)(b->scale * v + 2);
    }
    sm_tensor_list_add(out, "count", &count);
    sm_tensor_list_add(out, "digit", &digit);
    sm_tensor_list_add(out, "probabilities", &p);
    sm_tensor_list_add(out, "y", &y);
    for (int i = 0; i < 2; i++) {
        struct sm_tensor *t = sm_tensor_list_find(in, copied[i]), copy;

        if (t && sm_tensor_copy(&copy, t, err) < 0)
            return -(int)err->code;
        if (t)
            sm_tensor_list_add(out, copied[i], &copy);
    }
    return 0;
}

static int
fake_reset(struct backend *b, struct err *err)
{
    (void)err;
    b->n_runs = 0;
    return 0;
}

static double
fake_ms(const struct backend *b)
{
    (void)b;
    return 1.5;
}

static void
fake_close(struct backend *b)
{
    free(b);
}

static const struct backend_ops fake_backend = {
    .name = "fake",
    .load = fake_load,
    .signature = fake_signature_of,
    .run = fake_run,
    .reset = fake_reset,
    .load_ms = fake_ms,
    .run_ms = fake_ms,
    .close = fake_close,
};

/* Writes DIR/name below unit_dir(); returns DIR, which lives until the next call. */
static inline const char *
fake_write(const char *dir, const char *name, const void *p, size_t n)
{
    static char path[4096];
    char file[4300];
    struct err err = ERR_INIT;

    snprintf(path, sizeof(path), "%s/%s", unit_dir(), dir);
    snprintf(file, sizeof(file), "%s/%s", path, name);
    CHECK_OK(fs_mkdirs(AT_FDCWD, path, 0755, &err));
    CHECK_OK(fs_replace(AT_FDCWD, file, p, n, 0644, &err));
    return path;
}

static inline const char *
fake_text(const char *dir, const char *name, const char *text)
{
    return fake_write(dir, name, text, strlen(text));
}

#endif
