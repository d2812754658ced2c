/* SPDX-License-Identifier: Apache-2.0 */
/* routes.def: which handler a path belongs to. */
#include "server/server_int.h"

#include <stdlib.h>
#include <string.h>

#define ROUTE(name, method, path, access, slow, help)                                  \
    { method, path, SRV_##access,  slow, false, NULL,                                  \
      NULL,   NULL, srv_do_##name, NULL, #name, help },
#define ROUTE_STATE(name, method, path, access, slow, help)                            \
    { method, path,          SRV_##access,    slow,  false, NULL, NULL,                \
      NULL,   srv_do_##name, srv_gone_##name, #name, help },
#define ROUTE_BODY(name, method, path, access, slow, help)                             \
    { method,                                                                          \
      path,                                                                            \
      SRV_##access,                                                                    \
      slow,                                                                            \
      true,                                                                            \
      srv_begin_##name,                                                                \
      srv_data_##name,                                                                 \
      srv_work_##name,                                                                 \
      srv_do_##name,                                                                   \
      srv_gone_##name,                                                                 \
      #name,                                                                           \
      help },
static const struct srv_route routes[] = {
#include "server/routes.def"
};
#undef ROUTE
#undef ROUTE_STATE
#undef ROUTE_BODY

enum { N_ROUTES = sizeof routes / sizeof routes[0] };

int
srv_n_routes(void)
{
    return N_ROUTES;
}

const struct srv_route *
srv_route_at(int i)
{
    return &routes[i];
}

static bool
has_method(const struct srv_route *r, const char *method)
{
    return strcmp(r->method, method) == 0 ||
           (strcmp(r->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* Whether `path` has the pattern's form; where its {…} lie. */
static int
fit(const char *pattern, const char *path, struct str args[4])
{
    int n = 0;
    for (;;) {
        if (*pattern == '{') {
            const char *end = strchr(pattern, '}');
            const bool rest = end[-1] == '.';
            size_t len = rest ? strlen(path) : strcspn(path, "/");
            if (len == 0)
                return -1;
            args[n++] = (struct str){ path, len };
            path += len;
            pattern = end + 1;
        } else if (*pattern != *path) {
            return -1;
        } else if (!*path) {
            return n;
        } else {
            pattern++;
            path++;
        }
    }
}

int
srv_route_find(struct srv_req *q, struct buf *allow, struct err *err)
{
    struct str args[4];
    for (int i = 0; i < N_ROUTES; i++) {
        int n = fit(routes[i].path, q->path, args);
        if (n < 0)
            continue;
        if (!has_method(&routes[i], q->method)) {
            bool is_get = strcmp(routes[i].method, "GET") == 0;
            if (!strstr(buf_str(allow), routes[i].method))
                buf_addf(allow, "%s%s%s", allow->len ? ", " : "", routes[i].method,
                         is_get ? ", HEAD" : "");
            continue;
        }
        q->route = &routes[i];
        struct buf text = BUF_INIT;
        for (int k = 0; k < n; k++) {
            buf_add(&text, args[k].p, args[k].n);
            buf_addc(&text, '\0');
        }
        q->args_text = buf_take(&text);
        const char *at = q->args_text;
        for (int k = 0; k < n; k++) {
            q->args[k] = at;
            at += strlen(at) + 1;
        }
        return 0;
    }
    if (allow->len)
        return err_set(err, ERR_UNSUPPORTED, "%s is not for %s, only for %s", q->path,
                       q->method, buf_str(allow));
    return err_set(
        err, ERR_NOTFOUND,
        "there is nothing at %s; /api/v1/openapi.json describes what there is",
        q->path);
}
