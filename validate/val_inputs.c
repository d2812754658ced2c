/* SPDX-License-Identifier: Apache-2.0 */
/* Files of inputs: what a file is, where its inputs lie in it, and one of them read. A
 * log may hold far more than is wanted, so that only those which are picked are parsed.
 */
#include "validate/record.h"
#include "validate/val_int.h"

#include "base/fs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)1 << 30)
#define BODY_MAX_BYTES ((size_t)64 << 20) /* of one request in JSON */
#define STEM_MAX_BYTES 150                /* of a file's name in a case's name */

enum form { FORM_NPZ, FORM_NPY, FORM_RECORDS, FORM_JSON, FORM_LINES };

struct val_input_file {
    enum form form;
    char *stem; /* the last part of its path, fit for a case's name */
    struct buf bytes;
    struct sm_records records;
    struct digest digest;
};

void
val_request_release(struct val_request *q)
{
    for (int i = 0; i < q->n_signatures; i++)
        free(q->signatures[i]);
    free(q->signatures);
    free(q->name);
    sm_tensor_list_release(&q->inputs);
    *q = (struct val_request){ .name = NULL };
}

void
val_inputs_release(struct val_inputs *in)
{
    for (int i = 0; i < in->n_files; i++) {
        free(in->files[i].stem);
        buf_release(&in->files[i].bytes);
        sm_records_release(&in->files[i].records);
    }
    free(in->files);
    free(in->v);
    *in = (struct val_inputs){ .files = NULL };
}

/* ---- what a file is ---- */

static void
add_input(struct val_inputs *in, int64_t place, struct str bytes)
{
    /* Doubles now and then: a log has millions. */
    if ((in->n & (in->n - 1)) == 0)
        in->v = xreallocarray(in->v, in->n ? 2 * (size_t)in->n : 1, sizeof(*in->v));
    in->v[in->n++] = (struct val_input){ in->n_files - 1, place, bytes };
}

static struct str
next_line(struct str *it)
{
    const char *end = memchr(it->p, '\n', it->n);
    struct str line = { it->p, end ? (size_t)(end - it->p) : it->n };
    const size_t used = line.n + (end != NULL);

    it->p += used;
    it->n -= used;
    while (line.n && strchr(" \t\r", line.p[line.n - 1]))
        line.n--;
    while (line.n && strchr(" \t\r", line.p[0])) {
        line.p++;
        line.n--;
    }
    return line;
}

static void
add_lines(struct val_inputs *in, struct str text)
{
    for (int64_t n = 1; text.n; n++) {
        struct str line = next_line(&text);

        if (line.n)
            add_input(in, n, line);
    }
}

static bool
ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);

    return n >= k && strcmp(s + n - k, end) == 0;
}

/* Lines, or one document. Without a name that tells, lines are more than one, the first
 * of which is a document of its own. */
static bool
is_lines(const char *path, struct str text)
{
    cJSON *first AUTO(json_free) = NULL;
    struct err err = ERR_INIT;
    struct str line;

    if (ends_with(path, ".jsonl") || ends_with(path, ".ndjson"))
        return true;
    do
        line = next_line(&text);
    while (line.n == 0 && text.n);
    while (text.n && strchr(" \t\r\n", text.p[0])) {
        text.p++;
        text.n--;
    }
    return text.n && val_json_parse(&first, line, "line", &err) == 0;
}

static bool
begins_with(struct str s, const char *p, size_t n)
{
    return s.n >= n && memcmp(s.p, p, n) == 0;
}

/* The file's form and where its inputs lie. */
static int
look_at(struct val_inputs *in, struct val_input_file *f, const char *path,
        struct err *err)
{
    const struct str all = { buf_str(&f->bytes), f->bytes.len };
    size_t blank = 0;

    while (blank < all.n && strchr(" \t\r\n", all.p[blank]))
        blank++;
    if (blank == all.n)
        return err_set(err, ERR_INVALID, "%s: the file is empty", path);
    if (sm_is_tfrecord(all)) {
        f->form = FORM_RECORDS;
        if (sm_tfrecord_read(all, path, &f->records, err) < 0)
            return -(int)err->code;
        for (size_t i = 0; i < f->records.n; i++)
            add_input(in, (int64_t)i, f->records.v[i]);
        return 0;
    }
    if (begins_with(all, "PK\3\4", 4) || begins_with(all, "PK\5\6", 4))
        f->form = FORM_NPZ;
    else if (begins_with(all, "\x93NUMPY", 6))
        f->form = FORM_NPY;
    else if (!strchr("{[\"-0123456789ntf", all.p[blank]))
        return err_set(err, ERR_INVALID,
                       "%s: neither .npz, .npy, a TFRecord file, nor JSON (a TF "
                       "Serving predict request, or lines of them)",
                       path);
    else if (is_lines(path, all))
        f->form = FORM_LINES;
    else
        f->form = FORM_JSON;
    if (f->form == FORM_LINES)
        add_lines(in, all);
    else
        add_input(in, 0, all);
    return 0;
}

/* The name of a file as part of the names of cases, which become names of files. */
static char *
stem_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *last = slash ? slash + 1 : path;
    char *stem = xasprintf("%s%s", last[0] == '.' || !last[0] ? "file" : "", last);
    size_t n = strlen(stem);

    if (n > STEM_MAX_BYTES) {
        for (n = STEM_MAX_BYTES; n && (stem[n] & 0xc0) == 0x80; n--)
            ;
        stem[n] = '\0';
    }
    for (char *p = stem; *p; p++)
        if ((uint8_t)*p < 0x20 || *p == 0x7f)
            *p = '_';
    return stem;
}

int
val_inputs_add(struct val_inputs *in, const char *path, struct err *err)
{
    struct val_input_file *f;
    struct stat st;
    int r;

    if (stat(path, &st) < 0)
        return err_set(err, ERR_NOTFOUND, "%s: no such file of inputs", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID,
                       "%s: wanted a file of inputs (--inputs can be given again)",
                       path);
    in->files = xreallocarray(in->files, (size_t)in->n_files + 1, sizeof(*in->files));
    f = &in->files[in->n_files++];
    *f = (struct val_input_file){ .stem = stem_of(path),
                                  .bytes = { .cap_bytes = FILE_MAX_BYTES } };
    r = fs_read(AT_FDCWD, path, &f->bytes, err);
    if (r < 0)
        return r;
    sha256_of(f->bytes.data, f->bytes.len, &f->digest);
    return look_at(in, f, path, err);
}

const struct digest *
val_inputs_digest(const struct val_inputs *in, int file)
{
    return &in->files[file].digest;
}

void
val_inputs_describe(const struct val_inputs *in, cJSON *list)
{
    for (int i = 0; i < in->n_files; i++) {
        cJSON *o = cJSON_CreateObject();
        char hex[DIGEST_HEX_BYTES];

        cJSON_AddItemToArray(list, o);
        digest_hex(&in->files[i].digest, hex);
        json_put_str(o, "file", in->files[i].stem);
        json_put_str(o, "sha256", hex);
    }
}

/* ---- fewer of them ---- */

void
val_inputs_first(struct val_inputs *in, int64_t n)
{
    if (n < in->n)
        in->n = n;
}

/* Each stays with the probability (still wanted) / (still to come): every sample of n
 * is as likely, and the order is kept. */
void
val_inputs_sample(struct val_inputs *in, int64_t n, uint64_t seed)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < in->n && kept < n; i++)
        if (val_random_below(&seed, (uint64_t)(in->n - i)) < (uint64_t)(n - kept))
            in->v[kept++] = in->v[i];
    if (n < in->n)
        in->n = kept;
}

/* ---- one of them ---- */

static void
add_signature(struct val_request *out, struct str key)
{
    out->signatures = xreallocarray(out->signatures, (size_t)out->n_signatures + 1,
                                    sizeof(*out->signatures));
    out->signatures[out->n_signatures++] = str_dup(key);
}

static int
read_npy(struct str bytes, const char *what, struct val_request *out, struct err *err)
{
    struct sm_tensor t;
    int r = sm_npy_read(bytes, what, &t, err);

    if (r == 0)
        sm_tensor_list_add(&out->inputs, "", &t);
    return r;
}

/* A PredictionLog has its request in the fields 2 to 7, an Example its features in 1.
 */
static bool
is_example(struct str record)
{
    struct sm_field f;
    bool has_features = false;

    while (sm_pb_next(&record, &f) > 0) {
        if (f.num >= 2)
            return false;
        has_features |= f.num == 1 && f.wire == 2;
    }
    return has_features;
}

static int
read_record(struct str record, const struct sm_meta *meta, struct val_request *out,
            struct err *err)
{
    struct sm_warmup w AUTO(sm_warmup_release) = { .version = -1 };
    const int64_t one = 1;
    struct sm_tensor t;
    int r;

    if (is_example(record)) {
        r = sm_tensor_strings(&t, 1, &one, &record, err);
        if (r == 0)
            sm_tensor_list_add(&out->inputs, "", &t);
        return r;
    }
    r = sm_warmup_parse(record, &w, err);
    if (r == 0 && w.kind == SM_WARMUP_SESSION_RUN)
        r = sm_warmup_session(&w, meta, err);
    if (r < 0)
        return r;
    for (int i = 0; i < w.n_signatures; i++)
        add_signature(out, w.signatures[i]);
    out->inputs = w.inputs;
    w.inputs = (struct sm_tensor_list){ .n = 0 };
    return 0;
}

int
val_inputs_read(const struct val_inputs *in, int64_t i, const struct sm_meta *meta,
                struct val_request *out, struct err *err)
{
    const struct val_input *x = &in->v[i];
    const struct val_input_file *f = &in->files[x->file];
    const bool is_json = f->form == FORM_JSON || f->form == FORM_LINES;

    *out =
        (struct val_request){ .is_numpy = f->form == FORM_NPZ || f->form == FORM_NPY };
    out->name = f->form == FORM_RECORDS || f->form == FORM_LINES
                    ? xasprintf("%s:%" PRId64, f->stem, x->place)
                    : xstrdup(f->stem);
    if (is_json && x->bytes.n > BODY_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "a request of %zu bytes; the limit is %zu",
                       x->bytes.n, BODY_MAX_BYTES);
    switch (f->form) {
    case FORM_NPZ:
        return sm_npz_read(x->bytes, f->stem, &out->inputs, err);
    case FORM_NPY:
        return read_npy(x->bytes, f->stem, out, err);
    case FORM_RECORDS:
        return read_record(x->bytes, meta, out, err);
    case FORM_JSON:
    case FORM_LINES:
        return val_body_read(x->bytes, f->form == FORM_LINES, out, err);
    }
    BUG("form %d", f->form);
}
