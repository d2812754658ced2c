/* SPDX-License-Identifier: Apache-2.0 */
/* The runner's side of the protocol. Memory of a model's run is the runtime's to count;
 * what is left over is the kernel's (runner_sandbox.c). */
#include "runtime/runner/runner_int.h"

#include "base/fs.h"

#include <stdlib.h>

struct server {
    struct backend *b;
    bool locked;
};

static int
serve_load(struct server *s, struct wire_msg *in, struct wire_msg *out, struct err *err)
{
    struct wire_in r = { { buf_str(&in->payload), in->payload.len }, false };
    char *dir AUTO(free_ptr) = wire_get_cstr(&r);
    char *tags AUTO(free_ptr) = wire_get_cstr(&r);
    struct backend_args a = { .model_dir = dir, .tags = tags };
    int dirfd AUTO(fs_close) = -1;
    a.n_threads = (int)wire_get_u32(&r);
    a.max_memory_bytes = (size_t)wire_get_i64(&r);
    a.max_wall_ms = wire_get_i64(&r);
    a.max_loop_steps = wire_get_i64(&r);
    char *passes AUTO(free_ptr) = wire_get_cstr(&r);
    a.passes = passes && passes[0] ? passes : NULL;
    if (r.bad || s->locked)
        return err_set(err, ERR_CORRUPT, "a malformed request");
    if (a.max_memory_bytes == 0)
        a.max_memory_bytes = BACKEND_MEMORY_BYTES;
    if (fs_open_dir(&dirfd, AT_FDCWD, dir, err) < 0)
        return -(int)err->code;
    struct runner_limits l = { dirfd, a.max_memory_bytes };
    s->locked = true;
    if (runner_lock_down(&l, err) < 0)
        return err_ctx(err, "lock the runner down");
    if (rt_backend.load(&s->b, &a, err) < 0)
        return -(int)err->code;
    wire_put_f64(out, rt_backend.load_ms(s->b));
    return 0;
}

static void
put_tensors(struct wire_msg *out, const struct backend_tensor *t, int n)
{
    wire_put_u32(out, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        wire_put_text(out, str_of(t[i].key));
        wire_put_u32(out, (uint32_t)t[i].dtype);
        wire_put_u32(out, t[i].has_default);
        wire_put_shape(out, &t[i].shape);
    }
}

static int
serve_signature(struct server *s, struct wire_msg *in, struct wire_msg *out,
                struct err *err)
{
    struct wire_in r = { { buf_str(&in->payload), in->payload.len }, false };
    char *key AUTO(free_ptr) = wire_get_cstr(&r);
    const struct backend_signature *sig;
    if (r.bad)
        return err_set(err, ERR_CORRUPT, "a malformed request");
    if (rt_backend.signature(s->b, key, &sig, err) < 0)
        return -(int)err->code;
    put_tensors(out, sig->inputs, sig->n_inputs);
    put_tensors(out, sig->outputs, sig->n_outputs);
    return 0;
}

static int
run_on(struct server *s, struct wire_msg *in, struct sm_tensor_list *args,
       struct wire_msg *out, struct err *err)
{
    struct wire_in r = { { buf_str(&in->payload), in->payload.len }, false };
    char *key AUTO(free_ptr) = wire_get_cstr(&r);
    bool profile = in->kind == WIRE_PROFILE;
    int n_more = profile ? (int)wire_get_u32(&r) : 0;
    struct buf json AUTO(buf_release) = { .cap_bytes = WIRE_PAYLOAD_MAX_BYTES / 2 };
    struct sm_tensor_list outs AUTO(sm_tensor_list_release) = { 0 };
    if (wire_get_tensors(in, &r, false, args, err) < 0)
        return -(int)err->code;
    int rc = profile ? rt_backend.profile(s->b, key, args, n_more, &outs, &json, err)
                     : rt_backend.run(s->b, key, args, &outs, err);
    if (rc < 0 || buf_check(&json, "the profile", err) < 0)
        return -(int)err->code;
    wire_put_f64(out, rt_backend.run_ms(s->b));
    if (wire_put_tensors(out, &outs, err) < 0)
        return -(int)err->code;
    if (profile)
        wire_put_text(out, (struct str){ buf_str(&json), json.len });
    return 0;
}

static int
serve_run(struct server *s, struct wire_msg *in, struct wire_msg *out, struct err *err)
{
    struct sm_tensor_list args AUTO(sm_tensor_list_release) = { 0 };
    return run_on(s, in, &args, out, err);
}

static int
serve_plan(struct server *s, struct wire_msg *in, struct wire_msg *out, struct err *err)
{
    struct wire_in r = { { buf_str(&in->payload), in->payload.len }, false };
    char *key AUTO(free_ptr) = wire_get_cstr(&r);
    struct buf json AUTO(buf_release) = { .cap_bytes = WIRE_PAYLOAD_MAX_BYTES / 2 };
    if (r.bad)
        return err_set(err, ERR_CORRUPT, "a malformed request");
    if (rt_backend.plan(s->b, key, &json, err) < 0 ||
        buf_check(&json, "the plan", err) < 0)
        return -(int)err->code;
    wire_put_text(out, (struct str){ buf_str(&json), json.len });
    return 0;
}

static int
serve_watch(struct server *s, struct wire_msg *in, struct wire_msg *out,
            struct err *err)
{
    enum { PLACE_BYTES = 12 };
    struct wire_in r = { { buf_str(&in->payload), in->payload.len }, false };
    char *key AUTO(free_ptr) = wire_get_cstr(&r);
    uint32_t n = wire_get_u32(&r);
    struct buf json AUTO(buf_release) = { .cap_bytes = WIRE_PAYLOAD_MAX_BYTES / 2 };
    struct sm_tensor_list args AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list values AUTO(sm_tensor_list_release) = { 0 };
    if (r.bad || n > r.left.n / PLACE_BYTES)
        return err_set(err, ERR_CORRUPT, "a malformed request");
    struct backend_place *places AUTO(free_ptr) = xcalloc(n + 1, sizeof(places[0]));
    for (uint32_t i = 0; i < n; i++) {
        places[i].event = (int)wire_get_u32(&r);
        places[i].at = (int)wire_get_i64(&r);
    }
    if (wire_get_tensors(in, &r, false, &args, err) < 0 ||
        rt_backend.watch(s->b, key, &args, places, (int)n, &values, &json, err) < 0 ||
        buf_check(&json, "what was seen", err) < 0 ||
        wire_put_tensors(out, &values, err) < 0)
        return -(int)err->code;
    wire_put_text(out, (struct str){ buf_str(&json), json.len });
    return 0;
}

static int
serve_one(struct server *s, struct wire_msg *in, struct wire_msg *out, struct err *err)
{
    if (in->kind == WIRE_LOAD)
        return serve_load(s, in, out, err);
    if (!s->b)
        return err_set(err, ERR_INVALID, "no model is loaded");
    switch (in->kind) {
    case WIRE_SIGNATURE:
        return serve_signature(s, in, out, err);
    case WIRE_RUN:
    case WIRE_PROFILE:
        return serve_run(s, in, out, err);
    case WIRE_PLAN:
        return serve_plan(s, in, out, err);
    case WIRE_WATCH:
        return serve_watch(s, in, out, err);
    case WIRE_RESET:
        return rt_backend.reset(s->b, err);
    default:
        return err_set(err, ERR_CORRUPT, "an unknown request");
    }
}

int
runner_serve(int sock)
{
    struct server s = { .b = NULL };
    struct wire_msg in AUTO(wire_msg_release) = WIRE_MSG_INIT;
    int rc;
    for (;;) {
        struct err err = ERR_INIT;
        struct wire_msg out AUTO(wire_msg_release) = WIRE_MSG_INIT;
        if ((rc = wire_recv(sock, &in, 0, &err)) <= 0)
            break;
        out.kind = WIRE_OK;
        /* A model whose files were cut once is never right again. */
        if (serve_one(&s, &in, &out, &err) < 0 || fs_maps_n_cut() > 0) {
            (void)fs_maps_check(0, &err);
            wire_msg_release(&out);
            out.kind = WIRE_ERROR;
            wire_put_u32(&out, err.code);
            wire_put_text(&out, str_of(err.msg));
            err_clear(&err);
        }
        if ((rc = wire_send(sock, &out, &err)) < 0)
            break;
    }
    if (s.b)
        rt_backend.close(s.b);
    return rc < 0;
}
