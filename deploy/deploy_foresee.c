/* SPDX-License-Identifier: Apache-2.0 */
/* What a change would do to trees, rendered files and servers. Reads only. */
#include "deploy/deploy_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Versions that `a` has loaded and `b` has not. */
static void
put_only(cJSON *o, const char *key, const struct deploy_release *a,
         const struct deploy_release *b)
{
    cJSON *list = cJSON_AddArrayToObject(o, key);
    const struct deploy_member *m;

    for (int i = 0; (m = release_at(a, i)) != NULL; i++)
        if (!release_version(b, m->number))
            cJSON_AddItemToArray(list, cJSON_CreateNumber((double)m->number));
}

static void
put_labels(cJSON *list, const struct deploy_release *was,
           const struct deploy_release *view)
{
    const struct deploy_member *m;

    for (int i = 0; (m = release_at(view, i)) != NULL; i++) {
        const struct deploy_member *before = release_version(was, m->number);
        cJSON *l;

        if (!m->label[0] || (before && strcmp(before->label, m->label) == 0))
            continue;
        l = cJSON_CreateObject();
        json_put_str(l, "label", m->label);
        json_put_int(l, "version", m->number);
        cJSON_AddItemToArray(list, l);
    }
}

/* What servers have loaded of it; of layouts that park it is what leads alone. */
static void
loaded_of(const struct plan *p, const struct deploy_release *rel,
          struct deploy_release *out)
{
    bool all = p->sites.n == 0;

    for (int i = 0; i < p->sites.n; i++)
        all |= !p->sites.s[i].layout->parks;
    *out = *rel;
    if (!all)
        out->n_kept = 0;
}

static int
put_server(struct plan *p, struct err *err)
{
    struct deploy_release next, cur;
    cJSON *o = cJSON_AddObjectToObject(p->report, "server");
    cJSON *labels = cJSON_AddArrayToObject(o, "labels");
    const struct deploy_member *m;
    int64_t bytes = 0;

    loaded_of(p, &p->next, &next);
    loaded_of(p, &p->cur, &cur);
    put_only(o, "load", &next, &cur);
    put_only(o, "unload", &cur, &next);
    for (int i = 0; (m = release_at(&next, i)) != NULL; i++) {
        struct repo_version v;

        if (repo_version_get(p->r, m->version_id, &v, err) < 0)
            return -(int)err->code;
        bytes += v.size_bytes;
    }
    for (int i = 0; i < p->sites.n; i++)
        if (site_is_stepped(&p->sites.s[i])) { /* labels are for those */
            put_labels(labels, &cur, &next);
            break;
        }
    json_put_int(o, "loaded_bytes", bytes);
    for (int i = 0; (m = release_at(&cur, i)) != NULL; i++) {
        struct repo_version v;

        if (release_version(&next, m->number))
            continue;
        if (repo_version_get(p->r, m->version_id, &v, err) < 0)
            return -(int)err->code;
        bytes += v.size_bytes;
    }
    /* old and new at once: a server that is never without an answer needs both */
    json_put_int(o, "widest_bytes", bytes);
    return 0;
}

/* The configs to come, each against the one before. */
static void
put_steps(struct plan *p, struct site *s, cJSON *o)
{
    const struct site_plan *sp = plan_of(p, s);
    cJSON *list = cJSON_AddArrayToObject(o, "steps");
    struct deploy_release was = { .n_members = 0 }, view;
    struct step st = sp->next;

    if (p->has_cur)
        step_view(&sp->now, &was);
    for (; st.stage != STEP_DONE; step_on(&st)) {
        struct layout_files files AUTO(layout_files_release) = { .n = 0 };
        char id[CONFIG_ID_BYTES];
        cJSON *one = cJSON_CreateObject();

        step_view(&st, &view);
        plan_render(p, s, &view, &files, id);
        json_put_str(one, "stage", step_names[st.stage]);
        json_put_str(one, "config", id[0] ? id : NULL);
        put_only(one, "load", &view, &was);
        put_labels(cJSON_AddArrayToObject(one, "labels"), &was, &view);
        put_only(one, "unload", &was, &view);
        cJSON_AddItemToArray(list, one);
        was = view;
    }
}

static int
put_dirs(struct plan *p, struct site *s, cJSON *list, struct err *err)
{
    const struct deploy_member *m;

    for (int i = 0; (m = release_at(&p->next, i)) != NULL; i++) {
        struct buf path AUTO(buf_release) = BUF_INIT;
        int e;

        site_version_path(s, p->c->model, m->number, &path);
        e = fs_exists(s->dirfd, buf_str(&path), err);
        if (e < 0)
            return e;
        if (e == 0)
            cJSON_AddItemToArray(list, cJSON_CreateString(buf_str(&path)));
    }
    return 0;
}

/* `prefix`: of the name that a server reads it by. */
static int
put_file(struct site *s, const char *prefix, const struct layout_file *f, cJSON *list,
         struct err *err)
{
    struct buf now AUTO(buf_release) = BUF_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/%s", prefix, f->name);
    cJSON *o;

    if (f->is_binary)
        return 0;
    if (fs_read(s->dirfd, path, &now, err) < 0) {
        if (err->sys != ENOENT)
            return -(int)err->code;
        err_clear(err);
    }
    if (strcmp(buf_str(&now), buf_str(&f->text)) == 0)
        return 0;
    o = cJSON_CreateObject();
    json_put_str(o, "file", path);
    json_put_str(o, "was", buf_str(&now));
    json_put_str(o, "becomes", buf_str(&f->text));
    cJSON_AddItemToArray(list, o);
    return 0;
}

/* The files are those of plan_flips: a dry run looks none up. */
static int
put_files(struct plan *p, struct site *s, cJSON *list, struct err *err)
{
    const struct site_plan *sp = plan_of(p, s);
    struct layout_files own AUTO(layout_files_release) = { .n = 0 };
    struct buf dir AUTO(buf_release) = BUF_INIT;
    struct deploy_release view;
    char id[CONFIG_ID_BYTES];
    int e = 0;

    for (int i = 0; e == 0 && i < sp->files.n; i++)
        e = put_file(s, LAYOUT_CONFIG_LINK, &sp->files.file[i], list, err);
    site_model_path(s, p->c->model, &dir);
    step_view(&sp->next, &view);
    site_render_model(s, &view, &own, id);
    for (int i = 0; e == 0 && i < own.n; i++)
        e = put_file(s, buf_str(&dir), &own.file[i], list, err);
    return e;
}

static int
put_site(struct plan *p, struct site *s, cJSON *o, struct err *err)
{
    cJSON *links;
    int e;

    json_put_str(o, "name", s->t.name);
    json_put_str(o, "dir", s->t.dir);
    json_put_str(o, "layout", s->t.layout);
    e = put_dirs(p, s, cJSON_AddArrayToObject(o, "new_directories"), err);
    if (e == 0)
        e = put_files(p, s, cJSON_AddArrayToObject(o, "files"), err);
    links = cJSON_AddArrayToObject(o, "links");
    for (int i = 0; e == 0 && i < p->flips.n; i++) {
        const struct flip *f = &p->flips.f[i];
        cJSON *l;

        if (f->s != s || f->kind == LAYOUT_FILE) /* told with the files */
            continue;
        l = cJSON_CreateObject();
        json_put_str(l, "kind", flip_kind_names[f->kind]);
        json_put_str(l, "path", f->path);
        json_put_str(l, "was", f->was);
        json_put_str(l, "becomes", f->becomes);
        cJSON_AddItemToArray(links, l);
    }
    if (e == 0 && site_is_stepped(s))
        put_steps(p, s, o);
    return e < 0 ? err_ctx(err, "target %s (%s)", s->t.name, s->t.dir) : 0;
}

int
plan_foresee(struct plan *p, struct err *err)
{
    cJSON *targets;
    int e = 0;

    for (int i = 0; e == 0 && i < p->sites.n; i++)
        e = site_open(&p->sites.s[i], err);
    if (e == 0)
        e = plan_flips(p, err);
    if (e == 0)
        e = plan_answer(p, true, err);
    if (e < 0)
        return e;
    cJSON_DeleteItemFromObject(p->report, "release"); /* it has no number yet */
    cJSON_DeleteItemFromObject(p->report, "targets");
    e = put_server(p, err);
    targets = cJSON_AddArrayToObject(p->report, "targets");
    for (int i = 0; e == 0 && i < p->sites.n; i++) {
        cJSON *o = cJSON_CreateObject();

        cJSON_AddItemToArray(targets, o);
        e = put_site(p, &p->sites.s[i], o, err);
    }
    return e;
}
