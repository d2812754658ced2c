/* SPDX-License-Identifier: Apache-2.0 */
#include "server/server_int.h"
#include "server/srv_openapi.h"
#include "server/srv_verb.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

static int
find(struct srv_req *q, const char *method, const char *path, struct buf *allow,
     struct err *err)
{
    *q = (struct srv_req){ .method = method };
    q->path = (char *)(uintptr_t)path;
    buf_clear(allow);
    return srv_route_find(q, allow, err);
}

TEST(test_srv_route__finds_a_handler_and_its_arguments)
{
    struct srv_req q;
    struct buf allow AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    CHECK_OK(find(&q, "GET", "/healthz", &allow, &err));
    CHECK_STR(q.route->name, "healthz");
    free(q.args_text);
    CHECK_OK(find(&q, "HEAD", "/healthz", &allow, &err));
    CHECK_STR(q.route->name, "healthz");
    free(q.args_text);
    CHECK_OK(find(&q, "POST", "/api/v1/target/add", &allow, &err));
    CHECK_STR(q.route->name, "verb");
    CHECK_STR(q.args[0], "target/add");
    free(q.args_text);
}

TEST(test_srv_route__what_is_not_there)
{
    struct srv_req q;
    struct buf allow AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    CHECK_ERR(find(&q, "GET", "/", &allow, &err), ERR_NOTFOUND);
    CHECK_ERR(find(&q, "GET", "/healthz/", &allow, &err), ERR_NOTFOUND);
    CHECK_ERR(find(&q, "GET", "/api/v1/", &allow, &err), ERR_NOTFOUND);
    CHECK_ERR(find(&q, "PUT", "/healthz", &allow, &err), ERR_UNSUPPORTED);
    CHECK_STR(buf_str(&allow), "GET, HEAD");
    CHECK_ERR(find(&q, "get", "/healthz", &allow, &err), ERR_UNSUPPORTED);
}

TEST(test_srv_route__a_verb_has_one_address)
{
    CHECK(srv_verb_find("target/add") == svc_find("target_add"));
    CHECK(!srv_verb_find("target_add"));
    CHECK(!srv_verb_find("target/add/"));
    CHECK(!srv_verb_find("nothing"));
}

/* Each route and each verb is described, under an address that leads to it. */
TEST(test_srv_route__description_and_routes_agree)
{
    cJSON *doc AUTO(json_free) = srv_openapi();
    const cJSON *paths = cJSON_GetObjectItem(doc, "paths");
    int n = 0;
    for (const cJSON *item = paths->child; item; item = item->next) {
        char *path AUTO(free_ptr) = xstrdup(item->string);
        for (char *p = path; *p; p++)
            if (*p == '{' || *p == '}')
                *p = 'x';
        for (const cJSON *op = item->child; op; op = op->next, n++) {
            struct srv_req q;
            struct buf allow AUTO(buf_release) = BUF_INIT;
            struct err err = ERR_INIT;
            char method[8] = "";
            for (int i = 0; op->string[i] && i < 7; i++)
                method[i] = (char)(op->string[i] & ~0x20);
            CHECK_OK(find(&q, method, path, &allow, &err));
            if (strncmp(q.route->name, "verb", 4) == 0)
                CHECK(srv_verb_find(q.args[0]) != NULL);
            free(q.args_text);
        }
    }
    CHECK(n > svc_n_verbs());
}
