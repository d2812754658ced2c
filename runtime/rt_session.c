/* SPDX-License-Identifier: Apache-2.0 */
/* A loaded model: its state, and how it gets its first values. Variables and tables are
 * filled by the model's own restore and init ops, run as any other plan. */
#include "runtime/rt_int.h"

#include "base/fs.h"

#include <stdlib.h>

/* ---- state ----------------------------------------------------------------------- */

struct rt_obj *
rt_session_state(struct rt_session *s, const char *kind, const char *container,
                 const char *name, struct rt_obj *(*make)(void *arg), void *arg)
{
    char *key = xasprintf("%s/%s/%s", kind, container, name);
    pthread_mutex_lock(&s->lock);
    int i = rt_names_find(&s->state_names, str_of(key));
    if (i < 0) {
        i = s->n_state++;
        s->state = xreallocarray(s->state, (size_t)s->n_state, sizeof(s->state[0]));
        s->state[i] = (struct rt_state){ .key = key, .obj = make(arg) };
        rt_names_add(&s->state_names, str_of(key), i);
        key = NULL;
    }
    struct rt_obj *o = rt_obj_ref(s->state[i].obj);
    pthread_mutex_unlock(&s->lock);
    free(key);
    return o;
}

static const struct rt_state_type *
state_type(const struct rt_state *st)
{
    return (const struct rt_state_type *)st->obj->type;
}

void
rt_session_snapshot(struct rt_session *s)
{
    for (int i = 0; i < s->n_state; i++)
        s->state[i].saved = state_type(&s->state[i])->save(s->state[i].obj);
}

/* What was made after the snapshot has nothing saved and is as new. */
void
rt_session_reset(struct rt_session *s)
{
    for (int i = 0; i < s->n_state; i++)
        state_type(&s->state[i])->load(s->state[i].obj, s->state[i].saved);
}

/* ---- open and close -------------------------------------------------------------- */

void
rt_session_init(struct rt_session *s, int dirfd, const char *dir)
{
    *s = (struct rt_session){ .dirfd = dirfd, .dir = dir, .n_threads = 1 };
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->plan_lock, NULL);
    buf_addf(&s->checkpoint, "%s/variables/variables", dir);
}

void
rt_session_release(struct rt_session *s)
{
    for (int i = 0; i < s->n_plans; i++)
        rt_plan_free(s->plans[i]);
    free(s->plans);
    for (int i = 0; i < s->n_state; i++) {
        struct rt_state *st = &s->state[i];
        if (st->saved)
            state_type(st)->drop(st->saved);
        rt_obj_unref(st->obj);
        free(st->key);
    }
    free(s->state);
    rt_names_release(&s->state_names);
    for (int i = 0; i < RT_SLOT_END; i++)
        if (s->slot[i])
            s->slot_drop[i](s->slot[i]);
    rt_model_release(&s->model);
    rt_pool_free(s->pool);
    sm_bundle_close(s->bundle);
    buf_release(&s->checkpoint);
    rt_mem_release(&s->mem);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->plan_lock);
}

int
rt_session_bundle(struct rt_session *s, struct sm_bundle **out, struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    if (!s->bundle)
        rc = sm_bundle_open(&s->bundle, s->dirfd, "variables/variables", err);
    *out = s->bundle;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int
rt_session_read(struct rt_session *s, struct str path, struct buf *out, struct err *err)
{
    size_t n = strlen(s->dir);
    char *p = str_dup(path);
    int rc;
    if (path.n <= n || memcmp(p, s->dir, n) != 0 || p[n] != '/' || strstr(p + n, "/.."))
        rc = err_set(err, ERR_UNSUPPORTED,
                     "refused: it reads '%s', which is no file of the "
                     "model",
                     p);
    else
        rc = fs_read(s->dirfd, p + n + 1, out, err);
    free(p);
    return rc;
}

/* ---- restore and init ------------------------------------------------------------ */

enum { SAVER_FILENAME_TENSOR = 1, SAVER_RESTORE_OP = 3 };

/* Feeds of a restore or init op: the checkpoint's prefix, the assets' paths. */
struct feeds {
    struct rt_session *s;
    struct rt_gref *refs;
    struct sm_tensor *values;
    int n;
};

static void
feeds_release(struct feeds *f)
{
    for (int i = 0; i < f->n; i++)
        sm_tensor_release(&f->values[i]);
    free(f->refs);
    free(f->values);
}

/* A tensor that is not in the graph is not needed either. */
static int
add_feed(struct feeds *f, struct str tensor, const char *value, struct err *err)
{
    struct rt_gref ref;
    struct err none = ERR_INIT;
    bool control;
    struct str v = str_of(value);
    if (rt_graph_ref(&f->s->model.main, tensor, &ref, &control, &none) < 0)
        return 0;
    size_t n = (size_t)f->n + 1;
    f->refs = xreallocarray(f->refs, n, sizeof(f->refs[0]));
    f->values = xreallocarray(f->values, n, sizeof(f->values[0]));
    f->refs[f->n] = ref;
    f->values[f->n] = (struct sm_tensor){ 0 };
    if (sm_tensor_strings(&f->values[f->n], 0, NULL, &v, err) < 0)
        return -(int)err->code;
    f->n++;
    return 0;
}

static int
add_asset(void *arg, struct str tensor, struct str file, struct err *err)
{
    struct feeds *f = arg;
    char *path = xasprintf("%s/assets/%.*s", f->s->dir, STR_ARG(file));
    int rc = add_feed(f, tensor, path, err);
    free(path);
    return rc;
}

static int
run_target(struct rt_session *s, const struct feeds *f, struct str op, const char *what,
           struct err *err)
{
    struct rt_gref ref;
    bool control;
    struct rt_missing missing AUTO(rt_missing_release) = { .n = 0 };
    struct rt_plan *plan;
    if (rt_graph_ref(&s->model.main, op, &ref, &control, err) < 0)
        return err_ctx(err, "%s", what);
    struct rt_plan_args a = { .what = what,
                              .feeds = f->refs,
                              .n_feeds = f->n,
                              .targets = &ref.node,
                              .n_targets = 1 };
    pthread_mutex_lock(&s->plan_lock);
    int rc = rt_plan_make(&plan, s, &a, &missing, err);
    pthread_mutex_unlock(&s->plan_lock);
    if (rc < 0)
        return err_ctx(err, "%s", what);
    if (missing.n > 0)
        return rt_missing_error(&missing, what, err);
    struct rt_run run;
    rt_run_init(&run, s);
    struct rt_tensor *args = xcalloc((size_t)f->n + 1, sizeof(args[0]));
    for (int i = 0; i < f->n; i++) {
        struct sm_tensor lent = f->values[i];
        lent.owned = NULL;
        rt_tensor_from_sm(&args[i], &lent, 0);
    }
    rc = rt_plan_run(&run, plan, args, NULL, err);
    s->ran[s->n_ran++] = op;
    free(args);
    rt_run_release(&run);
    return rc < 0 ? err_ctx(err, "%s", what) : 0;
}

static struct str
attr_str(const struct sm_node *n, const char *name)
{
    struct sm_attr a;
    bool has = sm_node_attr(n, name, &a) && a.kind == SM_ATTR_S;
    return has ? a.bytes : (struct str){ "", 0 };
}

static int
restore_variable(struct rt_session *s, const struct sm_node *n, struct err *err)
{
    struct sm_attr a;
    struct sm_tensor value = { 0 };
    struct rt_tensor t;
    if (!sm_node_attr(n, "dtype", &a) || a.kind != SM_ATTR_TYPE)
        return err_set(err, ERR_CORRUPT, "node '%.*s': attribute 'dtype' is missing",
                       STR_ARG(n->name));
    if (sm_bundle_tensor(s->bundle, n->name, (struct str){ "", 0 }, true, &value, err) <
        0)
        return err_ctx(err, "variable '%.*s'", STR_ARG(n->name));
    struct str shared = attr_str(n, "shared_name"),
               container = attr_str(n, "container");
    struct str named = shared.n > 0 ? shared : n->name;
    char *name AUTO(free_ptr) = str_dup(named);
    char *in AUTO(free_ptr) = str_dup(container);
    struct rt_var *v = rt_var_find(s, in, name, (int)a.i);
    rt_tensor_from_sm(&t, &value, RT_BUF_WEIGHT | (value.owned ? 0 : RT_BUF_MAPPED));
    int rc = t.dtype == v->dtype
                 ? rt_var_assign(v, &t, err)
                 : err_set(err, ERR_CORRUPT,
                           "variable '%s' is %s, its value "
                           "in the checkpoint %s",
                           name, rt_dtype_text(v->dtype), rt_dtype_text(t.dtype));
    rt_tensor_unref(&t);
    rt_obj_unref(&v->obj);
    return rc;
}

/* TF1's hub modules bring a checkpoint and no restore op: whoever loads them makes a
 * saver for all variables, by their nodes' names. */
static int
restore_by_name(struct rt_session *s, struct err *err)
{
    struct sm_bundle *b;
    if (rt_session_bundle(s, &b, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < s->model.main.n_nodes; i++) {
        const struct sm_node *n = &s->model.main.nodes[i].sm;
        bool is_var = str_is(n->op, "VarHandleOp") || str_is(n->op, "VariableV2") ||
                      str_is(n->op, "Variable");
        if (is_var && sm_bundle_find(b, n->name) && restore_variable(s, n, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

int
rt_session_restore(struct rt_session *s, struct err *err)
{
    const struct sm_meta *meta = s->model.meta;
    struct feeds f AUTO(feeds_release) = { .s = s };
    struct str restore = sm_pb_bytes(meta->saver, SAVER_RESTORE_OP),
               filename = sm_pb_bytes(meta->saver, SAVER_FILENAME_TENSOR),
               init = sm_meta_init_op(meta);
    int has = fs_exists(s->dirfd, "variables/variables.index", err);
    if (has < 0 || sm_meta_assets(meta, add_asset, &f, err) < 0)
        return -(int)err->code;
    s->lacks_checkpoint = restore.n > 0 && !has;
    s->loading = true;
    if (restore.n > 0 && has) {
        if (add_feed(&f, filename, buf_str(&s->checkpoint), err) < 0 ||
            run_target(s, &f, restore, "restoring the variables", err) < 0)
            return -(int)err->code;
    }
    if (restore.n == 0 && has && restore_by_name(s, err) < 0)
        return -(int)err->code;
    if (init.n > 0 && run_target(s, &f, init, "initialising", err) < 0)
        return -(int)err->code;
    s->loading = false;
    return 0;
}
