/* SPDX-License-Identifier: Apache-2.0 */
/* run: one signature on given inputs, every case of a golden set, or the model's own
 * warm-up records. */
#include "savedmodel/savedmodel.h"
#include "service/svc_int.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- outputs ---- */

static int
save(int dirfd, const char *outdir, const char *name, const struct buf *bytes,
     bool overwrite, struct err *err)
{
    int there = fs_exists(dirfd, name, err);
    if (there < 0)
        return there;
    if (there && !overwrite)
        return err_set(
            err, ERR_CONFLICT,
            "Output file %s/%s already exists. Add \"--overwrite\" to overwrite the "
            "existing output files.",
            outdir, name);
    return fs_replace(dirfd, name, bytes->data, bytes->len, 0644, err);
}

static int
show_outputs(struct svc_call *c, const struct sm_tensor_list *outs, struct err *err)
{
    const char *outdir = svc_str(c, "outdir");
    int dirfd AUTO(fs_close) = -1;
    if (outdir && (fs_mkdirs(AT_FDCWD, outdir, 0777, err) < 0 ||
                   fs_open_dir(&dirfd, AT_FDCWD, outdir, err) < 0))
        return -(int)err->code;
    cJSON *list = cJSON_AddArrayToObject(c->reply, "outputs");
    for (int i = 0; i < outs->n; i++) {
        const struct sm_tensor *t = &outs->v[i].t;
        struct buf text AUTO(buf_release) = BUF_INIT;
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(list, o);
        json_put_str(o, "key", outs->v[i].name);
        json_put_str(o, "dtype", sm_dtype_name(t->dtype));
        cJSON *shape = cJSON_AddArrayToObject(o, "shape");
        for (int d = 0; d < t->rank; d++)
            cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->dims[d]));
        sm_tensor_text(t, &text);
        json_put_str(o, "text", buf_str(&text));
        if (!outdir)
            continue;
        struct buf file AUTO(buf_release) = BUF_INIT, npy AUTO(buf_release) = BUF_INIT;
        buf_addf(&file, "%s.npy", outs->v[i].name);
        for (char *p = file.data; (p = strchr(p, '/')) != NULL;)
            *p = '_'; /* tensors of frozen graphs have them */
        if (sm_npy_write(t, &npy, err) < 0 || save(dirfd, outdir, buf_str(&file), &npy,
                                                   svc_flag(c, "overwrite"), err) < 0)
            return -(int)err->code;
        buf_clear(&text);
        buf_addf(&text, "%s/%s", outdir, buf_str(&file));
        json_put_str(o, "saved", buf_str(&text));
    }
    return 0;
}

/* ---- golden set ---- */

struct golden_run {
    struct svc_call *c;
    const char *outdir;
    int dirfd; /* -1: nothing is written */
    cJSON *list;
    struct buf report;
    int n_failed;
    char first[512];
};

static int
one_case(void *arg, const struct val_result *res, struct err *err)
{
    struct golden_run *run = arg;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(run->list, o);
    json_put_str(o, "name", res->c->name);
    json_put_bool(o, "ok", !res->error);
    if (res->error) {
        json_put_str(o, "error", res->error->msg);
        if (run->n_failed++ == 0)
            snprintf(run->first, sizeof run->first, "%s: %.400s", res->c->name,
                     res->error->msg);
    }
    json_put_real(o, "load_ms", res->load_ms);
    json_put_real(o, "run_ms", res->run_ms);
    json_print(o, &run->report, true);
    if (run->report.len && run->report.data[run->report.len - 1] != '\n')
        buf_addc(&run->report, '\n');
    if (res->error || run->dirfd < 0)
        return 0;
    struct buf file AUTO(buf_release) = BUF_INIT, npz AUTO(buf_release) = BUF_INIT;
    buf_addf(&file, "%s.npz", res->c->name);
    if (strchr(res->c->name, '/') || res->c->name[0] == '.')
        return err_set(err, ERR_INVALID, "case \"%s\": this name cannot be a file's",
                       res->c->name);
    if (sm_npz_write(res->outputs, &npz, err) < 0)
        return err_ctx(err, "case %s", res->c->name);
    return save(run->dirfd, run->outdir, buf_str(&file), &npz, true, err);
}

static int
run_golden(struct svc_call *c, const struct backend_args *args, struct err *err)
{
    struct val_golden g = { 0 };
    struct golden_run run = {
        .c = c, .outdir = svc_str(c, "outdir"), .dirfd = -1, .report = BUF_INIT
    };
    struct backend *b = NULL;
    struct backend_args load = *args;
    int r = val_golden_load(&g, svc_str(c, "golden"), err);
    if (r < 0)
        return r;
    load.tags = svc_str(c, "tag_set") ? svc_str(c, "tag_set") : g.tags;
    run.list = cJSON_AddArrayToObject(c->reply, "cases");
    if (run.outdir)
        r = fs_mkdirs(AT_FDCWD, run.outdir, 0777, err) < 0
                ? -1
                : fs_open_dir(&run.dirfd, AT_FDCWD, run.outdir, err);
    if (r >= 0)
        r = runner_backend.load(&b, &load, err);
    if (r >= 0)
        r = val_run_cases(&g, &runner_backend, b, one_case, &run, err);
    if (b)
        runner_backend.close(b);
    if (r >= 0 && run.outdir)
        r = save(run.dirfd, run.outdir, "report.jsonl", &run.report, true, err);
    if (r >= 0 && run.n_failed)
        r = err_set(err, ERR_FAILED, "run: %d of %d cases failed; %s", run.n_failed,
                    g.n_cases, run.first);
    fs_close(&run.dirfd);
    buf_release(&run.report);
    val_golden_release(&g);
    return r < 0 ? -(int)err->code : 0;
}

/* ---- run ---- */

int
svc_signature_key(struct svc_call *c, char **out, struct err *err)
{
    const char *key = svc_str(c, "signature_def"), *function = svc_str(c, "function");
    if (key && function)
        return err_set(err, ERR_USAGE,
                       "--signature_def and --function: only one of them can be run");
    *out = function ? xasprintf("function:%s", function)
                    : xstrdup(key ? key : "serving_default");
    return 0;
}

static int
run_once(struct svc_call *c, const struct backend_args *args, struct err *err)
{
    char *key AUTO(free_ptr) = NULL;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list outs AUTO(sm_tensor_list_release) = { 0 };
    const struct backend_signature *sig;
    struct backend *b = NULL;
    if (svc_signature_key(c, &key, err) < 0 || svc_run_inputs(c, &in, err) < 0)
        return -(int)err->code;
    int r = runner_backend.load(&b, args, err);
    if (r >= 0)
        r = runner_backend.signature(b, key, &sig, err);
    if (r >= 0)
        r = svc_run_fit(&in, sig, err);
    bool profile = svc_flag(c, "profile") || json_has(c->req, "profile_out");
    struct buf json AUTO(buf_release) = BUF_INIT;
    if (r >= 0)
        r = profile ? runner_backend.profile(b, key, &in,
                                             (int)svc_int(c, "profile_runs", 10), &outs,
                                             &json, err)
                    : runner_backend.run(b, key, &in, &outs, err);
    if (b)
        runner_backend.close(b);
    if (r < 0 || show_outputs(c, &outs, err) < 0)
        return -(int)err->code;
    return profile ? svc_put_profile(c, &json, err) : 0;
}

/* A limit of the request, in its unit; 0: the backend's default. */
static int
limit(const struct svc_call *c, const char *field, int64_t unit, int64_t *out,
      struct err *err)
{
    *out = 0;
    if (!json_has(c->req, field))
        return 0;
    int64_t v = svc_int(c, field, 0);
    const int64_t max =
        INT64_MAX / 2000000 / unit; /* milliseconds become nanoseconds */
    if (v < 1 || v > max)
        return err_set(err, ERR_USAGE, "run: --%s must be 1 to %lld, not %lld", field,
                       (long long)max, (long long)v);
    *out = v * unit;
    return 0;
}

int
svc_do_run(struct svc_call *c, struct err *err)
{
    struct svc_dir dir AUTO(svc_dir_close) = { 0 };
    bool golden = json_has(c->req, "golden"), warmup = svc_flag(c, "warmup");
    if (!golden && !warmup && !json_has(c->req, "inputs") &&
        !json_has(c->req, "input_exprs") && !json_has(c->req, "input_examples") &&
        !json_has(c->req, "function"))
        return err_set(err, ERR_USAGE,
                       "run: at least one of --inputs, --input_exprs, "
                       "--input_examples, --golden or --warmup is required");
    if (svc_dir_open(c, &dir, err) < 0)
        return -(int)err->code;
    struct backend_args args = { .model_dir = dir.path,
                                 .tags = svc_str(c, "tag_set"),
                                 .n_threads = (int)svc_int(c, "threads", 1),
                                 .stop = c->s->stop,
                                 .stop_arg = c->s->progress_arg };
    int64_t memory_bytes;
    if (limit(c, "timeout", 1000, &args.max_wall_ms, err) < 0 ||
        limit(c, "memory", 1000000, &memory_bytes, err) < 0 ||
        limit(c, "steps", 1, &args.max_loop_steps, err) < 0)
        return -(int)err->code;
    args.max_memory_bytes = (size_t)memory_bytes;
    return golden   ? run_golden(c, &args, err)
           : warmup ? svc_run_warmup(c, &args, err)
                    : run_once(c, &args, err);
}
