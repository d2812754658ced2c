/* SPDX-License-Identifier: Apache-2.0 */
/* What config/ has besides the server's own files, for whoever splits traffic: chosen
 * by the target's option `render`, "routes,nginx" when it says nothing. */
#include "deploy/layout.h"

#include <string.h>

static void
routes(const struct deploy_target *t, const struct deploy_release *const *live, int n,
       const char *value, struct buf *out)
{
    (void)value;
    layout_routes_json(t, live, n, out);
}

static void
nginx(const struct deploy_target *t, const struct deploy_release *const *live, int n,
      const char *value, struct buf *out)
{
    (void)t;
    (void)value;
    layout_routes_nginx(live, n, out);
}

static void
envoy(const struct deploy_target *t, const struct deploy_release *const *live, int n,
      const char *value, struct buf *out)
{
    (void)value;
    layout_envoy(t, live, n, out);
}

static const struct extra {
    const char *name, *file;
    const char *value; /* what may stand after "name="; NULL: nothing */
    bool is_tfserving; /* has paths of TF Serving's API */
    void (*render)(const struct deploy_target *t,
                   const struct deploy_release *const *live, int n, const char *value,
                   struct buf *out);
} extras[] = {
    { "routes", "routes.json", NULL, false, routes },
    { "nginx", "nginx.conf", NULL, false, nginx },
    { "envoy", "envoy.yaml", NULL, true, envoy },
    { "kserve", "kserve.yaml", "the tree as the cluster sees it, like pvc://models",
      true, layout_kserve },
};
#define N_EXTRAS ((int)(sizeof(extras) / sizeof(extras[0])))

/* The next word of a list: its extra (-1: none has the name), and what stands after
 * "="; false at the end. */
static bool
next(const char **list, int *extra, struct str *word, struct str *value)
{
    const size_t n = strcspn(*list, ","), name = strcspn(*list, ",=");

    if (!**list)
        return false;
    *word = (struct str){ *list, n };
    *value = (struct str){ *list + name + (name < n), n - name - (name < n) };
    *extra = -1;
    for (int i = 0; i < N_EXTRAS; i++)
        if (strlen(extras[i].name) == name &&
            strncmp(extras[i].name, *list, name) == 0 && (name == n || extras[i].value))
            *extra = i;
    *list += n + ((*list)[n] == ',');
    return true;
}

/* Of a URI that stands in a text as it is. */
static bool
is_plain_uri(struct str v)
{
    bool has_scheme = false;

    for (size_t i = 0; i < v.n; i++) {
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                    "-._~%:/@+",
                    v.p[i]))
            return false;
        has_scheme |= i > 0 && i + 2 < v.n && memcmp(v.p + i, "://", 3) == 0;
    }
    return has_scheme;
}

int
layout_extras_check(const struct layout_ops *layout, const char *list, struct err *err)
{
    struct buf all AUTO(buf_release) = BUF_INIT;
    bool seen[N_EXTRAS] = { false };
    struct str word, value;
    int extra;

    for (int i = 0; i < N_EXTRAS; i++)
        buf_addf(&all, "%s%s%s", i ? ", " : "", extras[i].name,
                 extras[i].value ? "[=URI]" : "");
    while (next(&list, &extra, &word, &value)) {
        if (extra < 0)
            return err_set(err, ERR_USAGE, "render \"%.*s\": there are %s", (int)word.n,
                           word.p, all.data);
        if (extras[extra].is_tfserving && layout != &layout_tfserving)
            return err_set(err, ERR_USAGE,
                           "render %s: only for layout tfserving, not for %s",
                           extras[extra].name, layout->name);
        if (seen[extra])
            return err_set(err, ERR_USAGE, "render: %s is named twice",
                           extras[extra].name);
        seen[extra] = true;
        if (memchr(word.p, '=', word.n) && !is_plain_uri(value))
            return err_set(err, ERR_USAGE,
                           "render \"%.*s\": after \"=\" comes the URI of %s",
                           (int)word.n, word.p, extras[extra].value);
    }
    return 0;
}

void
layout_extras(const struct deploy_target *t, const struct deploy_release *const *live,
              int n, struct layout_files *out)
{
    const char *list =
        t->option[DEPLOY_RENDER] ? t->option[DEPLOY_RENDER] : "routes,nginx";
    struct str word, value;
    int extra;

    while (out->n < LAYOUT_FILES_MAX && next(&list, &extra, &word, &value)) {
        struct layout_file *f = &out->file[out->n];
        char *uri AUTO(free_ptr) = xstrndup(value.p, value.n);

        if (extra < 0)
            continue;
        *f = (struct layout_file){ .name = extras[extra].file };
        extras[extra].render(t, live, n, uri, &f->text);
        out->n++;
    }
}

const char *
layout_root(const struct deploy_target *t)
{
    return t->option[DEPLOY_SERVING_ROOT] ? t->option[DEPLOY_SERVING_ROOT] : t->dir;
}
