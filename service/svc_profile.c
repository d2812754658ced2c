/* SPDX-License-Identifier: Apache-2.0 */
/* What the runner tells of plans and runs, made into replies: show --plan, and run
 * --profile with its Chrome trace. The runner's process had a stranger's model in it,
 * so its words are looked at before they are used. */
#include "runtime/backend.h"
#include "service/svc_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- show --plan ----------------------------------------------------------------- */

int
svc_show_plan(struct svc_call *c, const char *dir, struct err *err)
{
    struct backend_args args = { .model_dir = dir, .tags = svc_str(c, "tag_set") };
    char *key AUTO(free_ptr) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *plan AUTO(json_free) = NULL;
    struct backend *b = NULL;
    if (svc_signature_key(c, &key, err) < 0 || runner_backend.load(&b, &args, err) < 0)
        return -(int)err->code;
    int rc = runner_backend.plan(b, key, &text, err);
    runner_backend.close(b);
    if (rc < 0 || json_parse(&plan, (struct str){ buf_str(&text), text.len },
                             "the model's process", err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "view", "plan");
    while (plan->child) {
        cJSON *member = cJSON_DetachItemViaPointer(plan, plan->child);
        char *name AUTO(free_ptr) = xstrdup(member->string ? member->string : "");
        cJSON_AddItemToObject(c->reply, name, member);
    }
    return 0;
}

/* ---- run --profile --------------------------------------------------------------- */

/* Of a step, or of all steps with the same op. Times without those of steps within. */
struct part {
    const char *op, *node, *function; /* lent */
    const cJSON *out;
    int n_steps;
    double calls, first_us, mean_us, bytes, flops;
};

struct profile {
    const cJSON *json;
    struct part *steps, *ops;
    int n_steps, n_ops, n_runs;
    double first_us, mean_us; /* of all steps together */
};

static void
profile_release(struct profile *p)
{
    free(p->steps);
    free(p->ops);
}

static int
read_times(const cJSON *step, const char *key, double *calls, double *self_us,
           struct err *err)
{
    const cJSON *t = cJSON_GetObjectItemCaseSensitive(step, key);
    if (json_num(t, "calls", NAN, calls, "profile", err) < 0 ||
        json_num(t, "self_us", NAN, self_us, "profile", err) < 0)
        return -(int)err->code;
    return 0;
}

/* Means are of the runs behind the first, in which kernels make what they keep. */
static int
read_step(const cJSON *step, int n_runs, struct part *out, struct err *err)
{
    double first_calls, later_calls, later_us, n = n_runs > 1 ? n_runs - 1 : 1;
    *out = (struct part){ .n_steps = 1,
                          .out = cJSON_GetObjectItemCaseSensitive(step, "out") };
    if (json_str(step, "op", NULL, &out->op, "profile", err) < 0 ||
        json_str(step, "node", NULL, &out->node, "profile", err) < 0 ||
        json_str(step, "function", "", &out->function, "profile", err) < 0 ||
        json_num(step, "bytes", NAN, &out->bytes, "profile", err) < 0 ||
        json_num(step, "flops", NAN, &out->flops, "profile", err) < 0 ||
        read_times(step, "first", &first_calls, &out->first_us, err) < 0 ||
        read_times(step, "later", &later_calls, &later_us, err) < 0)
        return -(int)err->code;
    out->calls = n_runs > 1 ? later_calls / n : first_calls;
    out->mean_us = n_runs > 1 ? later_us / n : out->first_us;
    return 0;
}

static int
by_time(const void *pa, const void *pb)
{
    const struct part *a = pa, *b = pb;
    return (a->mean_us < b->mean_us) - (a->mean_us > b->mean_us);
}

static int
by_op(const void *pa, const void *pb)
{
    const struct part *a = pa, *b = pb;
    return strcmp(a->op, b->op);
}

/* Bytes and operations of an op are those of all its calls in a run. */
static void
sum_ops(struct profile *p)
{
    qsort(p->steps, (size_t)p->n_steps, sizeof(p->steps[0]), by_op);
    for (int i = 0; i < p->n_steps; i++) {
        const struct part *s = &p->steps[i];
        if (i == 0 || strcmp(s->op, s[-1].op) != 0)
            p->ops[p->n_ops++] = (struct part){ .op = s->op };
        struct part *o = &p->ops[p->n_ops - 1];
        o->n_steps++;
        o->calls += s->calls;
        o->first_us += s->first_us;
        o->mean_us += s->mean_us;
        o->bytes += s->bytes * s->calls;
        o->flops += s->flops * s->calls;
        p->first_us += s->first_us;
        p->mean_us += s->mean_us;
    }
    qsort(p->steps, (size_t)p->n_steps, sizeof(p->steps[0]), by_time);
    qsort(p->ops, (size_t)p->n_ops, sizeof(p->ops[0]), by_time);
}

static int
read_profile(const cJSON *json, struct profile *p, struct err *err)
{
    double runs;
    const cJSON *steps = cJSON_GetObjectItemCaseSensitive(json, "steps");
    p->json = json;
    if (json_num(json, "runs", NAN, &runs, "profile", err) < 0)
        return -(int)err->code;
    p->n_runs = runs >= 1 && runs < 1e9 ? (int)runs : 1;
    size_t n = (size_t)cJSON_GetArraySize(steps);
    p->steps = xcalloc(n + 1, sizeof(p->steps[0]));
    p->ops = xcalloc(n + 1, sizeof(p->ops[0]));
    for (const cJSON *s = steps ? steps->child : NULL; s; s = s->next)
        if (read_step(s, p->n_runs, &p->steps[p->n_steps++], err) < 0)
            return -(int)err->code;
    return 0;
}

static cJSON *
part_json(const struct profile *p, const struct part *s)
{
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "op", s->op);
    if (s->node) {
        json_put_str(o, "node", s->node);
        if (s->function[0])
            json_put_str(o, "function", s->function);
        cJSON_AddItemToObject(o, "out", cJSON_Duplicate(s->out, true));
    } else {
        json_put_int(o, "steps", s->n_steps);
    }
    json_put_real(o, "calls", s->calls);
    json_put_real(o, "first_us", s->first_us);
    json_put_real(o, "mean_us", s->mean_us);
    json_put_real(o, "percent", p->mean_us > 0 ? 100 * s->mean_us / p->mean_us : 0);
    json_put_real(o, "bytes", s->bytes);
    json_put_real(o, "flops", s->flops);
    return o;
}

static void
put_parts(cJSON *o, const char *key, const struct profile *p, const struct part *v,
          int n)
{
    cJSON *list = cJSON_AddArrayToObject(o, key);
    for (int i = 0; i < n; i++)
        cJSON_AddItemToArray(list, part_json(p, &v[i]));
}

/* ---- Chrome trace ---------------------------------------------------------------- */

static void
add_shapes(const cJSON *out, struct buf *json)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    json_print(out, &text, true);
    json_add_quoted(json,
                    (struct str){ buf_str(&text), strcspn(buf_str(&text), "\n") });
}

/* A "complete" event; steps within lie within its time on the same track, and so are
 * drawn below it. */
static int
add_event(const cJSON *event, const cJSON *const *steps, int n_steps, struct buf *json,
          struct err *err)
{
    double v[3] = { -1, 0, 0 };
    int n = 0;
    for (const cJSON *e = event->child; e && n < 3; e = e->next)
        v[n++] = cJSON_IsNumber(e) ? e->valuedouble : -1;
    if (n < 3 || !(v[0] >= 0 && v[0] < n_steps))
        return err_set(err, ERR_CORRUPT, "profile: a malformed event");
    const cJSON *s = steps[(int)v[0]];
    const char *op, *node, *function;
    if (json_str(s, "op", NULL, &op, "profile", err) < 0 ||
        json_str(s, "node", NULL, &node, "profile", err) < 0 ||
        json_str(s, "function", "", &function, "profile", err) < 0)
        return -(int)err->code;
    buf_adds(json, ",\n{\"name\":");
    json_add_quoted(json, str_of(op));
    buf_addf(json,
             ",\"cat\":\"step\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,\"pid\":1,"
             "\"tid\":1,\"args\":{\"node\":",
             v[1], v[2]);
    json_add_quoted(json, str_of(node));
    buf_adds(json, ",\"function\":");
    json_add_quoted(json, str_of(function));
    buf_adds(json, ",\"out\":");
    add_shapes(cJSON_GetObjectItemCaseSensitive(s, "out"), json);
    buf_adds(json, "}}");
    return 0;
}

static int
write_trace(const cJSON *profile, const char *path, struct err *err)
{
    struct buf json AUTO(buf_release) = BUF_INIT;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(profile, "steps");
    int n = 0;
    const cJSON **steps AUTO(free_ptr) =
        xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(steps[0]));
    for (const cJSON *s = list ? list->child : NULL; s; s = s->next)
        steps[n++] = s;
    buf_adds(&json, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
                    "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,"
                    "\"args\":{\"name\":\"sluice run\"}}");
    list = cJSON_GetObjectItemCaseSensitive(profile, "events");
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        if (add_event(e, steps, n, &json, err) < 0)
            return -(int)err->code;
    buf_adds(&json, "\n]}\n");
    return fs_replace(AT_FDCWD, path, json.data, json.len, 0644, err);
}

int
svc_put_profile(struct svc_call *c, const struct buf *json, struct err *err)
{
    cJSON *said AUTO(json_free) = NULL;
    struct profile p AUTO(profile_release) = { .n_runs = 0 };
    const char *path = svc_str(c, "profile_out");
    double lost;
    if (json_parse(&said, (struct str){ buf_str(json), json->len }, "profile", err) <
            0 ||
        read_profile(said, &p, err) < 0 ||
        json_num(said, "events_lost", 0, &lost, "profile", err) < 0)
        return -(int)err->code;
    sum_ops(&p);
    cJSON *o = cJSON_AddObjectToObject(c->reply, "profile");
    json_put_int(o, "runs", p.n_runs);
    json_put_real(o, "first_us", p.first_us);
    json_put_real(o, "mean_us", p.mean_us);
    put_parts(o, "ops", &p, p.ops, p.n_ops);
    put_parts(o, "steps", &p, p.steps, p.n_steps);
    if (!path)
        return 0;
    json_put_str(o, "trace", path);
    json_put_real(o, "events_lost", lost);
    return write_trace(said, path, err);
}
