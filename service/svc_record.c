/* SPDX-License-Identifier: Apache-2.0 */
/* golden record, golden probe: acceptance sets of what a version answers now. The files
 * of a set follow from the version and the command alone, so that who doubts one can
 * make it again and compare digests; when and by whom stands in the set's row and in
 * the log. */
#include "service/svc_int.h"
#include "validate/record.h"

#include <stdlib.h>
#include <string.h>

#define SEED_MAX INT64_C(999999999999999) /* JSON keeps its digits */
#define TIMEOUT_S_MAX 86400

struct recording {
    struct svc_call *c;
    const char *name; /* of the set */
    struct repo_version v;
    struct repo_view view, stage;
    struct sm_model *model;
    const struct sm_meta *meta;
    struct val_recorder *recorder;
    cJSON *tolerance; /* NULL: none given */
    cJSON *recorded;  /* of golden.json; taken by val_record_end */
    uint64_t seed;
    /* golden record */
    struct val_inputs inputs;
    const char *signature; /* of inputs that name none */
};

static void
recording_close(struct recording *x)
{
    val_record_close_p(&x->recorder);
    val_inputs_release(&x->inputs);
    sm_close_p(&x->model);
    repo_view_close(&x->stage);
    repo_view_close(&x->view);
    cJSON_Delete(x->tolerance);
    cJSON_Delete(x->recorded);
}

/* ---- before anything is run ---- */

/* Nobody's exam is replaced by a recording unawares. `made`: the set as it became;
 * NULL: not yet, and what was recorded before may turn out to be the same bytes. */
static int
check_name(struct recording *x, const struct digest *made, struct err *err)
{
    struct val_set old;
    int found = val_set_may_add(x->c->repo, x->v.model, x->name, &old, err);
    if (found <= 0 || svc_flag(x->c, "replace"))
        return found < 0 ? found : 0;
    if (made ? digest_eq(made, &old.digest) : old.recorded[0] != '\0')
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "%s has a set '%s' already (%s%s): another --name, or --replace",
                   x->v.model, x->name,
                   old.recorded[0] ? "recorded from " : "not recorded", old.recorded);
}

static int
read_flags(struct recording *x, struct err *err)
{
    struct svc_call *c = x->c;
    int64_t seed = svc_int(c, "seed", 0);
    if (seed < 0 || seed > SEED_MAX)
        return err_set(err, ERR_USAGE, "--seed: 0 to %lld", (long long)SEED_MAX);
    x->seed = (uint64_t)seed;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, "tolerance"), *t;
    if (list)
        x->tolerance = cJSON_CreateObject();
    cJSON_ArrayForEach(t, list)
    {
        if (val_tolerance_read(cJSON_GetStringValue(t), x->tolerance, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* The version's files and signatures. */
static int
recording_open(struct recording *x, struct err *err)
{
    struct svc_call *c = x->c;
    const char *tags = svc_str(c, "tag_set");
    if (read_flags(x, err) < 0 || svc_version(c, &x->v, err) < 0 ||
        check_name(x, NULL, err) < 0 ||
        repo_view_open(c->repo, &x->v.digest, &x->view, err) < 0)
        return -(int)err->code;
    int dirfd AUTO(fs_close) = -1;
    if (fs_open_dir(&dirfd, AT_FDCWD, x->view.path, err) < 0 ||
        sm_open(&x->model, dirfd, c->object, err) < 0 ||
        sm_find_meta(x->model, tags ? tags : "serve", &x->meta, err) < 0)
        return -(int)err->code;
    x->recorded = cJSON_CreateObject();
    json_put_str(x->recorded, "ref", c->object);
    json_put_str(x->recorded, "digest", c->digest);
    json_put_str(x->recorded, "runtime", runner_backend.name);
    json_put_str(x->recorded, "runtime_version", SLUICE_VERSION);
    json_put_str(c->reply, "version", c->object);
    json_put_str(c->reply, "version_digest", c->digest);
    return 0;
}

static int
start(struct recording *x, int64_t timeout_s, int64_t max_loop_steps,
      const char *way_out, struct err *err)
{
    struct svc_call *c = x->c;
    int64_t seconds = svc_int(c, "timeout", timeout_s);
    if (seconds < 1 || seconds > TIMEOUT_S_MAX)
        return err_set(err, ERR_USAGE, "--timeout: 1 to %d seconds", TIMEOUT_S_MAX);
    if (repo_stage_open(c->repo, &x->stage, err) < 0)
        return -(int)err->code;
    const struct val_record_args args = { .ops = &runner_backend,
                                          .model_dir = x->view.path,
                                          .tags = svc_str(c, "tag_set")
                                                      ? svc_str(c, "tag_set")
                                                      : "serve",
                                          .max_wall_ms = seconds * 1000,
                                          .max_loop_steps = max_loop_steps,
                                          .sequential = svc_flag(c, "sequential"),
                                          .outputs = svc_str(c, "outputs"),
                                          .tolerance = x->tolerance,
                                          .way_out = way_out,
                                          .dirfd = x->stage.lock_fd,
                                          .dir = x->stage.path };
    return val_record_open(&x->recorder, &args, err);
}

/* ---- after all was run ---- */

static int
store_set(struct recording *x, struct svc_taken *files, struct err *err)
{
    struct svc_call *c = x->c;
    const struct repo_ingest_opts opts = { .is_ours = true, .name = x->name };
    struct val_set set;
    files->r = c->repo;
    if (repo_ingest(c->repo, x->stage.path, &opts, &files->in, err) < 0 ||
        db_begin(c->repo->db, err) < 0 ||
        check_name(x, &files->in.manifest.digest, err) < 0 ||
        val_set_add(c->repo, x->v.model, NULL, x->name, &files->in, true, NULL, &set,
                    err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "model", x->v.model);
    svc_put_set(c->reply, &set);
    svc_put_set(c->body, &set);
    return svc_commit(c, err);
}

static int
finish(struct recording *x, struct err *err)
{
    struct svc_call *c = x->c;
    struct svc_taken files AUTO(svc_taken_end) = { 0 };
    cJSON *recorded = x->recorded;
    x->recorded = NULL;
    int r = val_record_end(x->recorder, recorded, c->reply, err);
    json_put_int(c->body, "cases",
                 (int64_t)cJSON_GetNumberValue(cJSON_GetObjectItem(c->reply, "cases")));
    json_put_int(c->body, "left_out",
                 cJSON_GetArraySize(cJSON_GetObjectItem(c->reply, "left_out")));
    if (r < 0)
        return r;
    val_record_close_p(&x->recorder);
    if (store_set(x, &files, err) < 0)
        return -(int)err->code;
    files.kept = true;
    return 0;
}

/* ---- record ---- */

static int
open_inputs(struct recording *x, struct err *err)
{
    struct svc_call *c = x->c;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, "inputs"), *file;
    cJSON_ArrayForEach(file, list)
    {
        if (val_inputs_add(&x->inputs, cJSON_GetStringValue(file), err) < 0)
            return -(int)err->code;
    }
    return x->inputs.n ? 0
                       : err_set(err, ERR_INVALID, "there is no input in these files");
}

/* --sample, --max-cases */
static int
pick(struct recording *x, struct err *err)
{
    struct svc_call *c = x->c;
    int64_t sample = svc_int(c, "sample", INT64_MAX);
    int64_t max = svc_int(c, "max_cases", INT64_MAX);
    if (sample < 1 || max < 1)
        return err_set(err, ERR_USAGE, "--sample and --max-cases: 1 or more");
    if (json_has(c->req, "sample") && json_has(c->req, "max_cases"))
        return err_set(err, ERR_USAGE,
                       "--sample draws from all inputs, --max-cases takes the first: "
                       "one of the two");
    if (json_has(c->req, "seed") && !json_has(c->req, "sample"))
        return err_set(err, ERR_USAGE, "--seed goes with --sample");
    json_put_int(c->reply, "found", x->inputs.n);
    json_put_int(x->recorded, "found", x->inputs.n);
    val_inputs_sample(&x->inputs, sample, x->seed);
    val_inputs_first(&x->inputs, max);
    json_put_int(c->reply, "taken", x->inputs.n);
    json_put_int(x->recorded, "taken", x->inputs.n);
    if (json_has(c->req, "sample")) {
        json_put_int(c->reply, "seed", (int64_t)x->seed);
        json_put_int(x->recorded, "seed", (int64_t)x->seed);
    }
    return x->inputs.n <= VAL_RECORD_CASES_MAX
               ? 0
               : err_set(err, ERR_LIMIT,
                         "%lld inputs; a golden set has at most %d cases: --sample 500 "
                         "draws some, --max-cases 500 takes the first",
                         (long long)x->inputs.n, VAL_RECORD_CASES_MAX);
}

static int
record_input(struct recording *x, int64_t i, struct err *err)
{
    struct val_request q AUTO(val_request_release) = { 0 };
    struct err bad = ERR_INIT;
    int r = 0;
    if (val_inputs_read(&x->inputs, i, x->meta, &q, &bad) < 0) {
        val_record_leave_out(x->recorder, q.name, bad.msg, bad.code);
        return 0;
    }
    if (q.n_signatures == 0)
        return val_record_case(x->recorder, q.name, x->signature, &q.inputs, q.is_numpy,
                               err);
    for (int k = 0; k < q.n_signatures && r == 0; k++) {
        char *name AUTO(free_ptr) = q.n_signatures > 1
                                        ? xasprintf("%s.%s", q.name, q.signatures[k])
                                        : xstrdup(q.name);
        r = val_record_case(x->recorder, name, q.signatures[k], &q.inputs, q.is_numpy,
                            err);
    }
    return r;
}

/* 1: an earlier call with this key did it. */
static int
known_by_key(struct recording *x, struct err *err)
{
    int n = x->inputs.n_files;
    struct digest *bytes AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*bytes));
    for (int i = 0; i < n; i++)
        bytes[i] = *val_inputs_digest(&x->inputs, i);
    return svc_key_find(x->c, bytes, n, err);
}

static int
check_signature(struct recording *x, struct err *err)
{
    const struct sm_signature *s;
    const char *given = svc_str(x->c, "signature_def");
    x->signature = given ? given : "serving_default";
    return given ? sm_find_signature(x->meta, given, &s, err) : 0;
}

int
svc_do_golden_record(struct svc_call *c, struct err *err)
{
    struct recording x AUTO(
        recording_close) = { .c = c, .view = REPO_VIEW_INIT, .stage = REPO_VIEW_INIT };
    x.name = svc_str(c, "name") ? svc_str(c, "name") : "recorded";
    if (open_inputs(&x, err) < 0)
        return err_ctx(err, "golden record");
    int known = known_by_key(&x, err);
    if (known != 0)
        return known < 0 ? known : 0;
    if (recording_open(&x, err) < 0 || check_signature(&x, err) < 0 ||
        pick(&x, err) < 0)
        return err_ctx(err, "golden record");
    val_inputs_describe(&x.inputs, cJSON_AddArrayToObject(x.recorded, "inputs"));
    cJSON_AddItemToObject(
        c->body, "inputs",
        cJSON_Duplicate(cJSON_GetObjectItem(x.recorded, "inputs"), true));
    int r = start(&x, 600, 0, "sluice show says what a signature takes", err);
    for (int64_t i = 0; i < x.inputs.n && r == 0; i++)
        r = record_input(&x, i, err);
    if (r == 0)
        r = finish(&x, err);
    return r < 0 ? err_ctx(err, "golden record %s", c->object) : 0;
}

/* ---- probe ---- */

static void
put_shape(cJSON *o, const struct sm_tensor *t)
{
    cJSON *shape = cJSON_AddArrayToObject(o, "shape");
    for (int d = 0; d < t->rank; d++)
        json_put_int(shape, NULL, t->dims[d]);
}

static int
show_probe(void *arg, const char *name, const char *signature,
           const struct sm_tensor_list *inputs, struct err *err)
{
    struct recording *x = arg;
    cJSON *o = cJSON_CreateObject();
    (void)err;
    cJSON_AddItemToArray(cJSON_GetObjectItem(x->c->reply, "probes"), o);
    json_put_str(o, "name", name);
    json_put_str(o, "signature", signature);
    cJSON *list = cJSON_AddArrayToObject(o, "inputs");
    for (int i = 0; i < inputs->n; i++) {
        const struct sm_tensor *t = &inputs->v[i].t;
        struct buf text AUTO(buf_release) = BUF_INIT;
        cJSON *in = cJSON_CreateObject();
        cJSON_AddItemToArray(list, in);
        json_put_str(in, "key", inputs->v[i].name);
        json_put_str(in, "dtype", sm_dtype_info(t->dtype)->tf_name);
        put_shape(in, t);
        sm_tensor_text(t, &text);
        json_put_str(in, "text", buf_str(&text));
    }
    return 0;
}

static int
run_probe(void *arg, const char *name, const char *signature,
          const struct sm_tensor_list *inputs, struct err *err)
{
    struct recording *x = arg;
    return val_record_case(x->recorder, name, signature, inputs, false, err);
}

/* What was asked for, so that it can be asked for again. */
static void
put_question(struct recording *x, const struct val_probe_args *args)
{
    cJSON *o = cJSON_AddObjectToObject(x->recorded, "probe");
    json_put_int(o, "seed", (int64_t)args->seed);
    json_put_str(o, "batch", args->batch ? args->batch : VAL_PROBE_BATCH);
    json_put_str(o, "signature", args->signature);
    if (args->dims)
        cJSON_AddItemToObject(o, "dim", cJSON_Duplicate(args->dims, true));
    json_put_bool(o, "nonfinite", args->nonfinite);
    json_put_int(x->c->reply, "seed", (int64_t)args->seed);
}

int
svc_do_golden_probe(struct svc_call *c, struct err *err)
{
    enum { TIMEOUT_S = 20, LOOP_STEPS = 1000000 };
    const char *way_out = "--dim says how long what is open is, --signature_def which; "
                          "golden record takes requests of your own";
    struct recording x AUTO(
        recording_close) = { .c = c, .view = REPO_VIEW_INIT, .stage = REPO_VIEW_INIT };
    x.name = svc_str(c, "name") ? svc_str(c, "name") : "probe";
    if (recording_open(&x, err) < 0)
        return err_ctx(err, "golden probe");
    const struct val_probe_args args = { .signature = svc_str(c, "signature_def"),
                                         .batch = svc_str(c, "batch"),
                                         .dims = cJSON_GetObjectItemCaseSensitive(
                                             c->req, "dim"),
                                         .seed = x.seed,
                                         .nonfinite = svc_flag(c, "nonfinite") };
    bool dry = svc_flag(c, "dry_run");
    put_question(&x, &args);
    if (dry)
        cJSON_AddArrayToObject(c->reply, "probes");
    int r = dry ? 0 : start(&x, TIMEOUT_S, LOOP_STEPS, way_out, err);
    if (r == 0)
        r = val_probe(x.meta, &args, dry ? show_probe : run_probe, &x, c->reply, err);
    if (r == 0 && !dry)
        r = finish(&x, err);
    return r < 0 ? err_ctx(err, "golden probe %s", c->object) : 0;
}
