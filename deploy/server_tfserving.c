/* SPDX-License-Identifier: Apache-2.0 */
/* TensorFlow Serving. Its REST status has every version it ever had:
 *
 *     GET /v1/models/M
 *     {"model_version_status": [{"version": "3", "state": "AVAILABLE",
 *                                "status": {"error_code": "OK", "error_message": ""}}]}
 *
 * or 404 and {"error": "Could not find any versions of model M"}. It does not look at a
 * label there, so labels are asked of the metadata, which have the version they are of:
 *
 *     GET /v1/models/M/labels/L/metadata
 *     {"model_spec": {"name": "M", "version": "3"}, "metadata": {…}}
 *
 * or 400 and "Unrecognized servable version label", or 404 while what it means is not
 * loaded. It is told to reload by gRPC: the config that layout_tfserving.c rendered is
 * the request, behind five bytes (0, and its length in big-endian order). */
#include "deploy/server_int.h"

#include "base/fs.h"
#include "base/json.h"
#include "deploy/layout.h"
#include "savedmodel/savedmodel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCHEME "grpc://"
#define RELOAD_PATH "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
#define CONFIG_MAX_BYTES ((size_t)16 << 20)

/* ---- what it has loaded -------------------------------------------------------------
 */

static int
read_state(const char *name, enum server_state *out, struct err *err)
{
    struct buf said AUTO(buf_release) = BUF_INIT;

    for (int i = 0; i < SERVER_N_STATES; i++)
        if (strcmp(name, server_state_names[i]) == 0) {
            *out = (enum server_state)i;
            return 0;
        }
    server_quote(&said, str_of(name));
    return err_set(err, ERR_CORRUPT, "\"%s\" is no state of a version", buf_str(&said));
}

static int
read_version(const cJSON *j, struct server_seen *out, struct err *err)
{
    static const char what[] = "a version's status";
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(j, "status");
    const char *number, *name, *code, *message;
    enum server_state state = SERVER_UNKNOWN;
    struct buf error AUTO(buf_release) = BUF_INIT;

    if (!cJSON_IsObject(j) || (status && !cJSON_IsObject(status)))
        return err_set(err, ERR_CORRUPT, "%s is no object", what);
    if (json_str(j, "version", NULL, &number, what, err) < 0 ||
        json_str(j, "state", NULL, &name, what, err) < 0 ||
        json_str(status, "error_code", "OK", &code, what, err) < 0 ||
        json_str(status, "error_message", "", &message, what, err) < 0 ||
        read_state(name, &state, err) < 0)
        return -(int)err->code;
    if (strcmp(code, "OK") != 0)
        buf_addf(&error, "%s%s%s", code, *message ? ": " : "", message);
    return server_add(out, number, state, buf_str(&error), err);
}

int
server_tfserving_read(struct str body, struct server_seen *out, struct err *err)
{
    cJSON *j AUTO(json_free) = NULL;
    const cJSON *list, *v;

    out->n = 0;
    if (json_parse(&j, body, "the answer", err) < 0)
        return -(int)err->code;
    list = cJSON_GetObjectItemCaseSensitive(j, "model_version_status");
    if (!cJSON_IsArray(list))
        return err_set(err, ERR_CORRUPT,
                       "the answer has no list \"model_version_status\"");
    cJSON_ArrayForEach(v, list)
    {
        if (read_version(v, out, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

int
server_tfserving_read_label(struct str body, int64_t *number, struct err *err)
{
    cJSON *j AUTO(json_free) = NULL;
    const cJSON *spec;
    const char *text;

    if (json_parse(&j, body, "the answer", err) < 0)
        return -(int)err->code;
    spec = cJSON_GetObjectItemCaseSensitive(j, "model_spec");
    if (!cJSON_IsObject(spec))
        return err_set(err, ERR_CORRUPT, "the answer has no object \"model_spec\"");
    if (json_str(spec, "version", NULL, &text, "model_spec", err) < 0)
        return -(int)err->code;
    return server_number(text, number, err);
}

/* Whether {"error": …} begins with these words. */
static bool
says(const struct http_answer *a, const char *words)
{
    struct err none = ERR_INIT;
    cJSON *j AUTO(json_free) = NULL;
    const char *text;

    return json_parse(&j, (struct str){ buf_str(&a->body), a->body.len }, "the answer",
                      &none) == 0 &&
           json_str(j, "error", NULL, &text, "the answer", &none) == 0 &&
           strncmp(text, words, strlen(words)) == 0;
}

static int
observe(const struct deploy_target *t, const char *model, int wall_ms,
        struct server_seen *out, struct err *err)
{
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct buf path AUTO(buf_release) = BUF_INIT;
    int e;

    buf_adds(&path, "/v1/models/");
    repo_name_encode(model, &path);
    e = server_ask(t->option[DEPLOY_STATUS_URL], buf_str(&path), NULL, wall_ms, &a,
                   err);
    if (e < 0)
        return e;
    if (a.status == 404 && says(&a, "Could not find any versions of model"))
        return 0;
    if (a.status != 200)
        return server_strange(&a, err);
    if (server_tfserving_read((struct str){ buf_str(&a.body), a.body.len }, out, err) <
        0)
        return server_corrupt(&a, err);
    return out->n > 0;
}

static int
label(const struct deploy_target *t, const char *model, const char *name, int wall_ms,
      int64_t *number, struct err *err)
{
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct buf path AUTO(buf_release) = BUF_INIT;
    int e;

    buf_adds(&path, "/v1/models/");
    repo_name_encode(model, &path);
    buf_adds(&path, "/labels/");
    repo_name_encode(name, &path);
    buf_adds(&path, "/metadata");
    e = server_ask(t->option[DEPLOY_STATUS_URL], buf_str(&path), NULL, wall_ms, &a,
                   err);
    if (e < 0)
        return e;
    if ((a.status == 400 && says(&a, "Unrecognized servable version label")) ||
        (a.status == 404 && says(&a, "Servable not found for request")))
        return 0;
    if (a.status != 200)
        return server_strange(&a, err);
    if (server_tfserving_read_label((struct str){ buf_str(&a.body), a.body.len },
                                    number, err) < 0)
        return server_corrupt(&a, err);
    return 1;
}

/* ---- reload -------------------------------------------------------------------------
 */

static int
read_request(const struct deploy_target *t, struct buf *out, struct err *err)
{
    char *path AUTO(free_ptr) =
        xasprintf("%s/" LAYOUT_CONFIG_LINK "/" LAYOUT_CONFIG_WIRE, t->dir);
    struct buf config AUTO(buf_release) = { .cap_bytes = CONFIG_MAX_BYTES };

    if (fs_read(AT_FDCWD, path, &config, err) < 0) {
        if (err->sys != ENOENT)
            return -(int)err->code;
        err_clear(err);
        return err_set(err, ERR_NOTFOUND,
                       "there is no %s: sluice target check %s --repair", path,
                       t->name);
    }
    buf_addc(out, 0);
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_addc(out, (char)(config.len >> shift));
    buf_add(out, config.data, config.len);
    return 0;
}

/* grpc-message has what is not plain as %XX. */
static void
add_decoded(struct buf *out, const char *s)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    for (; *s; s++) {
        const int high = *s == '%' ? hex_value(s[1]) : -1;
        const int low = high >= 0 ? hex_value(s[2]) : -1;

        if (low < 0) {
            buf_addc(&text, *s);
            continue;
        }
        buf_addc(&text, (char)(high << 4 | low));
        s += 2;
    }
    server_quote(out, (struct str){ buf_str(&text), text.len });
}

/* The answer is a message with the status in it as well. */
static int
read_reply(const struct http_answer *a, struct err *err)
{
    enum { OK = 0, DEADLINE = 4, UNAVAILABLE = 14 };
    const struct str body = { buf_str(&a->body), a->body.len };
    struct buf said AUTO(buf_release) = BUF_INIT;
    struct str status = { NULL, 0 };

    if (a->status != 200 || a->grpc_status < 0)
        return server_strange(a, err);
    add_decoded(&said, a->grpc_message);
    if (a->grpc_status != OK)
        return err_set(err,
                       a->grpc_status == DEADLINE || a->grpc_status == UNAVAILABLE
                           ? ERR_BUSY
                           : ERR_REFUSED,
                       "it says no (status %d)%s%s", a->grpc_status,
                       said.len ? ": " : "", buf_str(&said));
    if (body.n > 5)
        status = sm_pb_bytes((struct str){ body.p + 5, body.n - 5 }, 1);
    if (sm_pb_int(status, 1, OK) == OK)
        return 0;
    server_quote(&said, sm_pb_bytes(status, 2));
    return err_set(err, ERR_REFUSED, "it says no (status %lld): %s",
                   (long long)sm_pb_int(status, 1, OK), buf_str(&said));
}

static int
reload(const struct deploy_target *t, const struct deploy_release *rel, int wall_ms,
       struct err *err)
{
    static const char *const headers[] = { "Content-Type: application/grpc",
                                           "TE: trailers", NULL };
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct buf request AUTO(buf_release) = BUF_INIT;
    char *url AUTO(free_ptr) = xasprintf("http://%s" RELOAD_PATH,
                                         t->option[DEPLOY_RELOAD] + sizeof(SCHEME) - 1);
    int e = read_request(t, &request, err);

    (void)rel;
    if (e == 0)
        e = http_ask(&(struct http_ask){ .url = url,
                                         .headers = headers,
                                         .body = request.data,
                                         .body_bytes = request.len,
                                         .http2 = true,
                                         .connect_ms = wall_ms,
                                         .wall_ms = wall_ms,
                                         .max_bytes = SERVER_ANSWER_BYTES },
                     &a, err);
    if (e < 0) {
        if (err->code == ERR_IO || err->code == ERR_LIMIT)
            err->code = ERR_BUSY;
        return -(int)err->code;
    }
    return read_reply(&a, err);
}

const struct server_kind server_tfserving = {
    .name = "TF Serving",
    .observe = observe,
    .label = label,
    .schemes = { SCHEME },
    .reload = reload,
};
/* It has no config: what it sees in the directories is what it loads. */
const struct server_kind server_tfserving_scan = {
    .name = "TF Serving",
    .observe = observe,
};
