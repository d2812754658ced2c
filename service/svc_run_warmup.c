/* SPDX-License-Identifier: Apache-2.0 */
/* run --warmup: what TF Serving sends to a model before traffic, sent to it here. */
#include "savedmodel/savedmodel.h"
#include "service/svc_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct warmup {
    struct backend *b;
    const struct sm_meta *meta;
    cJSON *list;
    int n_failed;
    char first[512]; /* the first failure */
};

static int
run_signature(struct warmup *run, struct sm_warmup *w, struct str signature,
              struct err *err)
{
    struct sm_tensor_list outs AUTO(sm_tensor_list_release) = { 0 };
    char *key AUTO(free_ptr) = str_dup(signature);
    const struct backend_signature *sig;
    if (runner_backend.signature(run->b, key, &sig, err) < 0)
        return -(int)err->code;
    /* TF Serving takes no other dtype than the signature's; neither does the runtime.
     */
    return runner_backend.run(run->b, key, &w->inputs, &outs, err);
}

static int
run_record(struct warmup *run, struct str record, cJSON *o, struct err *err)
{
    struct sm_warmup w AUTO(sm_warmup_release) = { 0 };
    struct buf names AUTO(buf_release) = BUF_INIT;
    int r = sm_warmup_parse(record, &w, err);
    if (r < 0)
        return r;
    json_put_str(o, "kind", sm_warmup_kind_name(w.kind));
    svc_put_slice(o, "model", w.model);
    if (w.version >= 0)
        json_put_int(o, "version", w.version);
    if (w.label.n)
        svc_put_slice(o, "label", w.label);
    if (w.kind == SM_WARMUP_SESSION_RUN)
        r = sm_warmup_session(&w, run->meta, err);
    for (int i = 0; i < w.n_signatures; i++)
        buf_addf(&names, "%s%.*s", i ? "," : "", STR_ARG(w.signatures[i]));
    json_put_str(o, "signature", buf_str(&names));
    double ms = 0;
    for (int i = 0; r >= 0 && i < w.n_signatures; i++) {
        r = run_signature(run, &w, w.signatures[i], err);
        ms += r < 0 ? 0 : runner_backend.run_ms(run->b);
    }
    json_put_real(o, "run_ms", ms);
    return r;
}

static void
one_record(struct warmup *run, struct str record, size_t i)
{
    struct err err = ERR_INIT;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(run->list, o);
    json_put_int(o, "record", (int64_t)i);
    int r = run_record(run, record, o, &err);
    json_put_bool(o, "ok", r >= 0);
    if (r >= 0)
        return;
    json_put_str(o, "error", err.msg);
    if (run->n_failed++ == 0)
        snprintf(run->first, sizeof run->first, "record %zu: %.400s", i, err.msg);
}

static int
open_records(int dirfd, struct buf *bytes, struct sm_records *out, struct err *err)
{
    int there = fs_exists(dirfd, SM_WARMUP_FILE, err);
    if (there < 0)
        return there;
    if (!there)
        return err_set(err, ERR_NOTFOUND,
                       "run: the model has no %s: TF Serving does not warm it up, and "
                       "its first requests are slow",
                       SM_WARMUP_FILE);
    if (fs_read(dirfd, SM_WARMUP_FILE, bytes, err) < 0)
        return -(int)err->code;
    struct str all = { buf_str(bytes), bytes->len };
    if (sm_tfrecord_read(all, SM_WARMUP_FILE, out, err) < 0)
        return -(int)err->code;
    if (out->unpacked)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s is packed, which TF Serving does not "
                       "read: write it without compression",
                       SM_WARMUP_FILE);
    if (out->n > SM_WARMUP_MAX_RECORDS)
        return err_set(err, ERR_LIMIT,
                       "%s has %zu records; TF Serving refuses more "
                       "than %d",
                       SM_WARMUP_FILE, out->n, SM_WARMUP_MAX_RECORDS);
    return 0;
}

int
svc_run_warmup(struct svc_call *c, const struct backend_args *args, struct err *err)
{
    struct warmup run = { 0 };
    struct buf bytes AUTO(buf_release) = BUF_INIT;
    struct sm_records records AUTO(sm_records_release) = { 0 };
    struct sm_model *model AUTO(sm_close_p) = NULL;
    int dirfd AUTO(fs_close) = -1;
    if (fs_open_dir(&dirfd, AT_FDCWD, args->model_dir, err) < 0 ||
        sm_open(&model, dirfd, args->model_dir, err) < 0 ||
        sm_find_meta(model, args->tags ? args->tags : "serve", &run.meta, err) < 0 ||
        open_records(dirfd, &bytes, &records, err) < 0 ||
        runner_backend.load(&run.b, args, err) < 0)
        return -(int)err->code;
    run.list = cJSON_AddArrayToObject(c->reply, "records");
    json_put_real(c->reply, "load_ms", runner_backend.load_ms(run.b));
    for (size_t i = 0; i < records.n; i++)
        one_record(&run, records.v[i], i);
    runner_backend.close(run.b);
    if (run.n_failed)
        return err_set(err, ERR_FAILED, "run: %d of %zu warm-up records failed; %s",
                       run.n_failed, records.n, run.first);
    return 0;
}
