/* SPDX-License-Identifier: Apache-2.0 */
/* A record of assets.extra/tf_serving_warmup_requests: what TF Serving sends to a model
 * before it takes traffic.
 *
 *   PredictionLog = one of 2 classify, 3 regress, 4 multi inference, 5 session run,
 *                   6 predict (7: streamed predict, not read); each has 1 request
 *   predict        = 1 ModelSpec, 2 map<input, TensorProto>
 *   classify, regress = 1 ModelSpec, 2 Input
 *   multi inference   = 1 repeated { 1 ModelSpec }, 2 Input
 *   session run    = 1 ModelSpec, 2 repeated { 1 name, 2 TensorProto }, 3 fetches
 *   Input     = 1 { 1 repeated Example }, or 2 { 1 repeated Example, 2 context Example
 * } ModelSpec = 1 name, 2 { 1 version }, 4 label, 3 signature TF Serving feeds Examples
 * serialized to the signature's input "inputs", the context's bytes in front of each:
 * protobuf merges them. */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

#define PARTS_MAX 4096

static int
malformed(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "malformed %s", what);
}

static void
add_str(struct str **v, int *n, struct str s)
{
    *v = xreallocarray(*v, (size_t)*n + 1, sizeof(**v));
    (*v)[(*n)++] = s;
}

static void
spec_read(struct str spec, struct sm_warmup *out)
{
    struct str signature = sm_pb_bytes(spec, 3);
    struct sm_field f;
    out->model = sm_pb_bytes(spec, 1);
    out->label = sm_pb_bytes(spec, 4);
    out->version =
        sm_pb_get(spec, 2, &f) && f.wire == 2 ? sm_pb_int(f.bytes, 1, 0) : -1;
    add_str(&out->signatures, &out->n_signatures,
            signature.n ? signature : STR_LIT("serving_default"));
}

static int
tensor_add(struct str name, struct str proto, struct sm_warmup *out, struct err *err)
{
    struct sm_tensor t;
    if (name.n && memchr(name.p, '\0', name.n))
        return malformed(err, "name of a tensor");
    char *key AUTO(free_ptr) = str_dup(name);
    if (sm_tensor_proto(proto, &t, err) < 0)
        return err_ctx(err, "input \"%s\"", key);
    sm_tensor_list_add(&out->inputs, key, &t);
    return 0;
}

static int
input_read(struct str input, struct sm_warmup *out, struct err *err)
{
    struct str plain = sm_pb_bytes(input, 1), list = sm_pb_bytes(input, 2), context;
    struct buf bytes AUTO(buf_release) = BUF_INIT, ends AUTO(buf_release) = BUF_INIT;
    struct sm_tensor t;
    struct str example;
    int64_t n = 0;
    int r;
    context = sm_pb_bytes(list, 2);
    if (plain.n)
        list = plain;
    while ((r = sm_pb_next_msg(&list, 1, &example)) > 0) {
        if (!plain.n)
            buf_add(&bytes, context.p, context.n);
        buf_add(&bytes, example.p, example.n);
        buf_add(&ends, &bytes.len, sizeof(bytes.len));
        n++;
    }
    if (r < 0)
        return malformed(err, "Input");
    if (buf_check(&bytes, "examples", err) < 0)
        return -(int)err->code;
    struct str *v AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*v));
    size_t from = 0, to;
    for (int64_t i = 0; i < n; i++, from = to) {
        memcpy(&to, ends.data + (size_t)i * sizeof(to), sizeof(to));
        v[i] = (struct str){ buf_str(&bytes) + from, to - from };
    }
    int rc = sm_tensor_strings(&t, 1, &n, v, err);
    if (rc == 0)
        sm_tensor_list_add(&out->inputs, "inputs", &t);
    return rc;
}

static int
predict_read(struct str request, struct sm_warmup *out, struct err *err)
{
    struct sm_map map AUTO(sm_map_release) = { .v = NULL };
    int rc = 0;
    sm_map_read(request, 2, &map);
    if (map.n > PARTS_MAX)
        return err_set(err, ERR_LIMIT, "%d inputs (limit %d)", map.n, PARTS_MAX);
    for (int i = 0; rc == 0 && i < map.n; i++)
        rc = tensor_add(map.v[i].key, map.v[i].value, out, err);
    return rc;
}

static int
session_run_read(struct str request, struct sm_warmup *out, struct err *err)
{
    struct sm_field f;
    int r, rc = 0;
    while (rc == 0 && (r = sm_pb_next(&request, &f)) > 0) {
        if (out->n_fetches + out->inputs.n > PARTS_MAX)
            rc = err_set(err, ERR_LIMIT, "more than %d feeds and fetches", PARTS_MAX);
        else if (f.num == 2 && f.wire == 2)
            rc = tensor_add(sm_pb_bytes(f.bytes, 1), sm_pb_bytes(f.bytes, 2), out, err);
        else if (f.num == 3 && f.wire == 2)
            add_str(&out->fetches, &out->n_fetches, f.bytes);
    }
    return rc < 0 ? rc : r < 0 ? malformed(err, "SessionRunRequest") : 0;
}

static int
multi_read(struct str request, struct sm_warmup *out, struct err *err)
{
    struct str it = request, task;
    int r;
    while ((r = sm_pb_next_msg(&it, 1, &task)) > 0) {
        if (out->n_signatures == PARTS_MAX)
            return err_set(err, ERR_LIMIT, "more than %d tasks", PARTS_MAX);
        spec_read(sm_pb_bytes(task, 1), out);
    }
    return r < 0 ? malformed(err, "MultiInferenceRequest")
                 : input_read(sm_pb_bytes(request, 2), out, err);
}

/* Every field down to the request's own ones is well-formed. */
static bool
well_formed(struct str msg, int depth)
{
    struct sm_field f;
    int r;
    while ((r = sm_pb_next(&msg, &f)) > 0) {
        if (depth > 0 && f.wire == 2 && !well_formed(f.bytes, depth - 1))
            return false;
    }
    return r == 0;
}

static int
record_parse(struct str record, struct sm_warmup *out, struct err *err)
{
    static const struct {
        uint32_t num;
        enum sm_warmup_kind kind;
    } kinds[] = { { 2, SM_WARMUP_CLASSIFY },
                  { 3, SM_WARMUP_REGRESS },
                  { 4, SM_WARMUP_MULTI },
                  { 5, SM_WARMUP_SESSION_RUN },
                  { 6, SM_WARMUP_PREDICT } };
    struct sm_field f = { .num = 0 }, log = { .num = 0 };
    struct str it = record;
    int r, k = 0;
    while ((r = sm_pb_next(&it, &f)) > 0) {
        if (f.num >= 2 && f.wire == 2)
            log = f;
    }
    if (r < 0 || !well_formed(log.bytes, 1))
        return malformed(err, "PredictionLog");
    for (; k < 5 && kinds[k].num != log.num; k++)
        ;
    if (k == 5)
        return err_set(err, ERR_UNSUPPORTED, "%s",
                       log.num == 7   ? "a streamed predict request is not read"
                       : log.num == 0 ? "a PredictionLog without a request"
                                      : "a kind of request that is not known");
    struct str request = sm_pb_bytes(log.bytes, 1);
    out->kind = kinds[k].kind;
    if (out->kind == SM_WARMUP_MULTI)
        return multi_read(request, out, err);
    spec_read(sm_pb_bytes(request, 1), out);
    return out->kind == SM_WARMUP_PREDICT ? predict_read(request, out, err)
           : out->kind == SM_WARMUP_SESSION_RUN
               ? session_run_read(request, out, err)
               : input_read(sm_pb_bytes(request, 2), out, err);
}

int
sm_warmup_parse(struct str record, struct sm_warmup *out, struct err *err)
{
    *out = (struct sm_warmup){ .version = -1 };
    int rc = record_parse(record, out, err);
    if (rc < 0)
        sm_warmup_release(out);
    return rc;
}

/* The key under which a signature has the tensor name; NULL: it does not. */
static const struct sm_tensor_info *
by_tensor(const struct sm_tensor_info *v, int n, struct str name)
{
    for (int i = 0; i < n; i++)
        if (str_eq(v[i].name, name))
            return &v[i];
    return NULL;
}

int
sm_warmup_session(struct sm_warmup *w, const struct sm_meta *meta, struct err *err)
{
    for (int i = 0; i < meta->n_signatures; i++) {
        const struct sm_signature *s = &meta->signatures[i];
        bool fits = true;
        for (int k = 0; fits && k < w->inputs.n; k++)
            fits = by_tensor(s->inputs, s->n_inputs, str_of(w->inputs.v[k].name));
        for (int k = 0; fits && k < w->n_fetches; k++)
            fits = by_tensor(s->outputs, s->n_outputs, w->fetches[k]);
        if (!fits)
            continue;
        for (int k = 0; k < w->inputs.n; k++) {
            struct str name = str_of(w->inputs.v[k].name);
            struct str key = by_tensor(s->inputs, s->n_inputs, name)->key;
            char *text = str_dup(key);
            free(w->inputs.v[k].name);
            w->inputs.v[k].name = text;
        }
        w->signatures[0] = s->key;
        return 0;
    }
    return err_set(
        err, ERR_UNSUPPORTED,
        "a session run whose feeds and fetches are no signature's inputs and "
        "outputs");
}

void
sm_warmup_release(struct sm_warmup *w)
{
    sm_tensor_list_release(&w->inputs);
    free(w->signatures);
    free(w->fetches);
    *w = (struct sm_warmup){ .version = -1 };
}

const char *
sm_warmup_kind_name(enum sm_warmup_kind kind)
{
    static const char *const names[] = { "predict", "classify", "regress",
                                         "multi_inference", "session_run" };
    return names[kind];
}
