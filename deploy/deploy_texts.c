/* SPDX-License-Identifier: Apache-2.0 */
/* How a target is put into service: texts that a release does not change, printed and
 * never written. What is in them are the flags that the layout needs. */
#include "deploy/deploy_int.h"

#include <string.h>

struct text {
    const struct deploy_target *t;
    const char *root;        /* the tree as the server sees it */
    const char *address;     /* of the server's HTTP port, "127.0.0.1:8501" */
    const struct live *live; /* models, for what names them */
    struct buf *out;
};

/* ---- the server ---- */

/* One argument; the i-th, appended; false after the last. */
typedef bool args_fn(const struct text *x, int i, struct buf *out);

/* Polling is off where each release is told. */
static bool
tfserving_args(const struct text *x, int i, struct buf *out)
{
    const char *reload = x->t->option[DEPLOY_RELOAD];

    switch (i) {
    case 0:
        buf_adds(out, "--port=8500");
        return true;
    case 1:
        buf_adds(out, "--rest_api_port=8501");
        return true;
    case 2:
        buf_addf(out, "--model_config_file=%s/" LAYOUT_CONFIG_LINK "/models.config",
                 x->root);
        return true;
    case 3:
        buf_addf(out, "--model_config_file_poll_wait_seconds=%d",
                 reload && strncmp(reload, "grpc://", 7) == 0 ? 0 : 5);
        return true;
    case 4:
        buf_adds(out, "--allow_version_labels_for_unavailable_models=true");
        return true;
    default:
        return false;
    }
}

/* Without a config file a server has one model. */
static bool
scan_args(const struct text *x, int i, struct buf *out)
{
    const char *model = x->live->n > 0 ? x->live->rel[0].model : "MODEL";

    switch (i) {
    case 0:
        buf_adds(out, "--port=8500");
        return true;
    case 1:
        buf_adds(out, "--rest_api_port=8501");
        return true;
    case 2:
        buf_addf(out, "--model_name=%s", model);
        return true;
    case 3:
        buf_addf(out, "--model_base_path=%s/", x->root);
        repo_name_encode(model, out);
        return true;
    case 4:
        buf_adds(out, "--file_system_poll_wait_seconds=1");
        return true;
    default:
        return false;
    }
}

static bool
triton_args(const struct text *x, int i, struct buf *out)
{
    static const char *const more[] = { "--model-control-mode=explicit",
                                        "--load-model=*" };

    if (i == 0)
        buf_addf(out, "--model-repository=%s/models", x->root);
    else if (i < 3)
        buf_adds(out, more[i - 1]);
    return i < 3;
}

static const struct server {
    const char *layout;
    const char *what, *image, *program;
    const char *grpc, *http; /* ports */
    const char *models;      /* HTTP: what stands before a model */
    const char *call;        /* and after it, as a regular expression */
    args_fn *args;
    bool one_model;
} servers[] = {
    { "tfserving", "TensorFlow Serving", "tensorflow/serving:2.15.1",
      "tensorflow_model_server", "8500", "8501", "/v1/models/", ":.*", tfserving_args,
      false },
    { "tfserving-scan", "TensorFlow Serving", "tensorflow/serving:2.15.1",
      "tensorflow_model_server", "8500", "8501", "/v1/models/", ":.*", scan_args,
      true },
    { "triton", "NVIDIA Triton", "nvcr.io/nvidia/tritonserver:23.12-py3",
      "tritonserver", "8001", "8000", "/v2/models/", "/infer", triton_args, false },
};
#define N_SERVERS (sizeof(servers) / sizeof(servers[0]))

static void
add_head(const struct text *x, const char *what)
{
    buf_addf(x->out, "# %s for target %s, as sluice target render prints it.\n", what,
             x->t->name);
}

static void
add_one_model(const struct text *x, const struct server *s)
{
    if (s->one_model)
        buf_adds(x->out,
                 "# Of this layout a server has one model: one such for each.\n");
}

/* ---- docker compose ---- */

/* "$" begins a variable of compose. */
static void
add_yaml(struct buf *out, const char *s)
{
    struct buf twice AUTO(buf_release) = BUF_INIT;

    for (; *s; s++)
        buf_adds(&twice, *s == '$' ? "$$" : (char[]){ *s, '\0' });
    json_add_quoted(out, (struct str){ buf_str(&twice), twice.len });
}

static void
add_compose(const struct text *x, const struct server *s)
{
    struct buf *out = x->out;
    struct buf arg AUTO(buf_release) = BUF_INIT;

    add_head(x, "docker compose");
    add_one_model(x, s);
    buf_addf(out,
             "services:\n"
             "  %s:\n"
             "    image: %s\n"
             "    entrypoint: [\"%s\"]\n"
             "    command:\n",
             x->t->name, s->image, s->program);
    for (int i = 0; s->args(x, i, &arg); i++, buf_clear(&arg)) {
        buf_adds(out, "    - ");
        add_yaml(out, buf_str(&arg));
        buf_addc(out, '\n');
    }
    buf_addf(
        out,
        "    ports: # nobody is asked who they are: not for other machines as it is\n"
        "    - \"127.0.0.1:%s:%s\"\n"
        "    - \"127.0.0.1:%s:%s\"\n"
        "    volumes:\n"
        "    - type: bind\n"
        "      source: ",
        s->grpc, s->grpc, s->http, s->http);
    add_yaml(out, x->t->dir);
    buf_adds(out, "\n      target: ");
    add_yaml(out, x->root);
    buf_adds(out, "\n"
                  "      read_only: true\n"
                  "      bind:\n"
                  "        create_host_path: false\n"
                  "    cap_drop: [ALL]\n"
                  "    security_opt: [\"no-new-privileges:true\"]\n"
                  "    restart: unless-stopped\n"
                  "    stop_grace_period: 30s\n");
}

/* ---- systemd ---- */

/* A word: "%" begins a specifier, and in a command "$" a variable. */
static void
add_unit_word(struct buf *out, const char *s, bool command)
{
    buf_addc(out, '"');
    for (; *s; s++) {
        if (*s == '%' || (command && *s == '$'))
            buf_addc(out, *s);
        buf_addc(out, *s);
    }
    buf_addc(out, '"');
}

static void
add_systemd(const struct text *x, const struct server *s)
{
    struct buf *out = x->out;
    struct buf arg AUTO(buf_release) = BUF_INIT;

    add_head(x, "A systemd unit");
    add_one_model(x, s);
    buf_addf(out,
             "# Nobody is asked who they are: keep the ports %s and %s from other "
             "machines.\n"
             "[Unit]\n"
             "Description=%s on target %s\n"
             "After=network.target\n"
             "RequiresMountsFor=",
             s->grpc, s->http, s->what, x->t->name);
    add_unit_word(out, x->t->dir, false);
    buf_addf(out, "\n\n[Service]\nExecStart=/usr/bin/%s", s->program);
    for (int i = 0; s->args(x, i, &arg); i++, buf_clear(&arg)) {
        buf_adds(out, " \\\n    ");
        add_unit_word(out, buf_str(&arg), true);
    }
    buf_adds(
        out,
        "\nRestart=on-failure\nRestartSec=1\nTimeoutStopSec=30\nDynamicUser=yes\n");
    if (x->t->option[DEPLOY_GROUP])
        buf_addf(out, "SupplementaryGroups=%s\n", x->t->option[DEPLOY_GROUP]);
    buf_adds(out, "ProtectHome=tmpfs\nBindReadOnlyPaths=");
    add_unit_word(out, x->t->dir, false);
    if (strcmp(x->root, x->t->dir) != 0) {
        buf_addc(out, ':');
        add_unit_word(out, x->root, false);
    }
    buf_adds(out, "\n"
                  "ProtectSystem=strict\n"
                  "PrivateTmp=yes\n"
                  "# without this line for a server that computes on a GPU\n"
                  "PrivateDevices=yes\n"
                  "NoNewPrivileges=yes\n"
                  "CapabilityBoundingSet=\n"
                  "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\n"
                  "RestrictNamespaces=yes\n"
                  "RestrictRealtime=yes\n"
                  "RestrictSUIDSGID=yes\n"
                  "LockPersonality=yes\n"
                  "ProtectClock=yes\n"
                  "ProtectControlGroups=yes\n"
                  "ProtectHostname=yes\n"
                  "ProtectKernelLogs=yes\n"
                  "ProtectKernelModules=yes\n"
                  "ProtectKernelTunables=yes\n"
                  "SystemCallArchitectures=native\n"
                  "SystemCallFilter=@system-service\n"
                  "UMask=0077\n"
                  "\n"
                  "[Install]\n"
                  "WantedBy=multi-user.target\n");
}

/* ---- nginx ---- */

static void
add_location(const struct text *x, const struct server *s, const char *model)
{
    struct buf var AUTO(buf_release) = BUF_INIT, mirror AUTO(buf_release) = BUF_INIT;
    struct buf name AUTO(buf_release) = BUF_INIT;
    struct buf *out = x->out;

    layout_nginx_variable(model, false, &var);
    layout_nginx_variable(model, true, &mirror);
    repo_name_encode(model, &name);
    /* nginx looks at the path with its %XX taken out: the name as it is, each byte that
     * means something to a regular expression escaped */
    buf_addf(out, "\n    location ~ \"^%s", s->models);
    for (const char *p = model; *p; p++) {
        const unsigned char c = (unsigned char)*p;
        const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                           (c >= 'A' && c <= 'Z') || c == '_' || c == '-';

        buf_addf(out, plain ? "%c" : "\\x%02x", c);
    }
    buf_addf(out,
             "(?<sluice_call>%s)$\" {\n"
             "        access_log /var/log/nginx/%s.log %s;\n"
             "        mirror /%s;\n"
             "        proxy_pass http://sluice_%s%s%s/versions/$%s$sluice_call;\n"
             "    }\n"
             "    location = /%s {\n"
             "        internal;\n"
             "        if ($%s = \"\") { return 204; }\n"
             "        proxy_pass http://sluice_%s%s%s/versions/$%s$sluice_call;\n"
             "    }\n",
             s->call, buf_str(&var), buf_str(&var), buf_str(&mirror), x->t->name,
             s->models, buf_str(&name), buf_str(&var), buf_str(&mirror),
             buf_str(&mirror), x->t->name, s->models, buf_str(&name), buf_str(&mirror));
}

static void
add_nginx(const struct text *x, const struct server *s)
{
    struct buf *out = x->out;

    add_head(x, "A site of nginx, for its http { },");
    buf_addf(out,
             "# Print it again for a model that is new here. A unit is what a visitor "
             "keeps:\n"
             "# take the header, cookie or argument that has it.\n"
             "map $http_x_unit $sluice_unit { default $http_x_unit; }\n"
             "include \"%s/" LAYOUT_CONFIG_LINK "/nginx.conf\";\n"
             "upstream sluice_%s {\n"
             "    server %s;\n"
             "    keepalive 16;\n"
             "}\n"
             "server {\n"
             "    listen 127.0.0.1:8080;\n"
             "    proxy_http_version 1.1;\n"
             "    proxy_set_header Connection \"\";\n"
             "    client_max_body_size 64m;\n",
             x->t->dir, x->t->name, x->address);
    for (int i = 0; i < x->live->n; i++)
        add_location(x, s, x->live->rel[i].model);
    buf_adds(out, "}\n");
}

/* ---- Envoy ---- */

static void
add_cluster(struct buf *out, const char *name, const char *address)
{
    const char *colon = strrchr(address, ':');
    const int v6 = address[0] == '['; /* in brackets, which Envoy does not want */
    const int host = (int)(colon - address) - 2 * v6;

    buf_addf(out,
             "  - name: %s\n"
             "    type: STRICT_DNS\n"
             "    load_assignment:\n"
             "      cluster_name: %s\n"
             "      endpoints:\n"
             "      - lb_endpoints:\n"
             "        - endpoint: { address: { socket_address: { address: \"%.*s\", "
             "port_value: %s } } }\n",
             name, name, host, address + v6, colon + 1);
}

static void
add_envoy(const struct text *x, const struct server *s)
{
    struct buf *out = x->out;

    (void)s;
    add_head(x, "A bootstrap of Envoy");
    buf_adds(
        out,
        "# The version is drawn for each request: see the head of config/envoy.yaml.\n"
        "node: { id: sluice, cluster: sluice }\n"
        "static_resources:\n"
        "  listeners:\n"
        "  - name: models\n"
        "    address: { socket_address: { address: 127.0.0.1, port_value: 10000 } }\n"
        "    filter_chains:\n"
        "    - filters:\n"
        "      - name: envoy.filters.network.http_connection_manager\n"
        "        typed_config:\n"
        "          \"@type\": type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager\n"
        "          stat_prefix: models\n"
        "          http_filters:\n"
        "          - name: envoy.filters.http.router\n"
        "            typed_config:\n"
        "              \"@type\": type.googleapis.com/envoy.extensions.filters.http."
        "router.v3.Router\n"
        "          rds:\n"
        "            route_config_name: sluice\n"
        "            config_source:\n"
        "              resource_api_version: V3\n"
        "              path_config_source:\n"
        "                path: ");
    json_add_quoted(out, str_of(x->t->dir));
    out->len--;
    buf_adds(out, "/" LAYOUT_CONFIG_LINK "/envoy.yaml\"\n"
                  "                watched_directory: { path: ");
    json_add_quoted(out, str_of(x->t->dir));
    buf_adds(out, " }\n"
                  "  clusters:\n");
    add_cluster(out, "server", x->address);
    add_cluster(out, "itself", "127.0.0.1:10000");
}

/* ---- choosing ---- */

static const struct {
    const char *name;
    void (*add)(const struct text *x, const struct server *s);
    const char *needs; /* of the target's option `render`; NULL: nothing */
} kinds[] = {
    { "compose", add_compose, NULL },
    { "systemd", add_systemd, NULL },
    { "nginx", add_nginx, "nginx" },
    { "envoy", add_envoy, "envoy" },
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const struct server *
server_of(const struct deploy_target *t)
{
    for (size_t i = 0; i < N_SERVERS; i++)
        if (strcmp(servers[i].layout, t->layout) == 0)
            return &servers[i];
    return NULL;
}

/* "127.0.0.1:8501" of "http://127.0.0.1:8501/…"; without a port the server's own. */
static void
add_address(const struct deploy_target *t, const struct server *s, struct buf *out)
{
    const char *url = t->option[DEPLOY_STATUS_URL];
    const char *at = url ? strstr(url, "://") : NULL;

    if (!at) {
        buf_addf(out, "127.0.0.1:%s", s->http);
        return;
    }
    buf_add(out, at + 3, strcspn(at + 3, "/?#"));
    at = strrchr(buf_str(out), ':');
    if (!at || at[strspn(at + 1, "0123456789") + 1] != '\0')
        buf_addf(out, ":%s", strncmp(url, "https", 5) == 0 ? "443" : "80");
}

static bool
renders(const struct site *s, const char *what)
{
    struct layout_files files AUTO(layout_files_release) = { .n = 0 };
    bool found = false;

    if (s->layout->render)
        s->layout->render(&s->t, NULL, 0, &files);
    for (int i = 0; i < files.n; i++)
        found |= strncmp(files.file[i].name, what, strlen(what)) == 0;
    return found;
}

static bool
is_plain(const char *path)
{
    for (; *path; path++)
        if ((unsigned char)*path < 0x20 || strchr("\"'\\\x7f", *path))
            return false;
    return true;
}

static int
text_of(struct repo *r, const struct site *s, const char *as, struct buf *out,
        struct err *err)
{
    struct live live AUTO(live_release) = { .n = 0 };
    struct buf address AUTO(buf_release) = BUF_INIT, all AUTO(buf_release) = BUF_INIT;
    const struct server *server = server_of(&s->t);
    int e;

    if (!server)
        return err_set(err, ERR_USAGE,
                       "no server reads layout %s: programs open its latest",
                       s->t.layout);
    if (!is_plain(s->t.dir) || !is_plain(layout_root(&s->t)))
        return err_set(err, ERR_UNSUPPORTED,
                       "a quote, a backslash or a control character in %s: units and "
                       "sites cannot be trusted with it; write them by hand",
                       s->t.dir);
    e = live_load(r, s->t.alias, &live, err);
    if (e < 0)
        return e;
    add_address(&s->t, server, &address);
    for (size_t i = 0; i < N_KINDS; i++) {
        const struct text x = { &s->t, layout_root(&s->t), buf_str(&address), &live,
                                out };

        buf_addf(&all, "%s%s", i ? ", " : "", kinds[i].name);
        if (strcmp(kinds[i].name, as) != 0)
            continue;
        if (kinds[i].needs && !renders(s, kinds[i].needs))
            return err_set(err, ERR_USAGE,
                           "target %s renders no file for %s: sluice target set %s "
                           "--render routes,%s",
                           s->t.name, as, s->t.name, kinds[i].needs);
        kinds[i].add(&x, server);
        return 0;
    }
    return err_set(err, ERR_USAGE, "render as \"%s\": there are %s", as, all.data);
}

int
deploy_target_text(struct repo *r, const char *name, const char *as, struct buf *out,
                   struct err *err)
{
    struct sites all AUTO(sites_release) = SITES_INIT;
    int e = sites_load(r, NULL, &all, err);

    for (int i = 0; e == 0 && i < all.n; i++)
        if (strcmp(all.s[i].t.name, name) == 0)
            return text_of(r, &all.s[i], as, out, err);
    return e < 0 ? e
                 : err_set(err, ERR_NOTFOUND,
                           "no target \"%s\": sluice target list shows them", name);
}
