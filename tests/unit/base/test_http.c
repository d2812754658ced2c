/* SPDX-License-Identifier: Apache-2.0 */
#include "base/http.h"

#include "tests/unit/once.h"

#include <string.h>

TEST(test_http__any_answer_is_an_answer)
{
    static const char *const headers[] = { "Authorization: Bearer x", NULL };
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct err err = ERR_INIT;
    struct once o;
    char asked[4096];

    once_start(&o, "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\na\nb\n\n");
    CHECK_OK(http_ask(
        &(struct http_ask){
            .url = o.url, .headers = headers, .body = "{\n}", .body_bytes = 3 },
        &a, &err));
    once_end(&o, asked, sizeof(asked));
    CHECK_INT(a.status, 403);
    CHECK_INT(a.grpc_status, -1);
    CHECK(!a.cut);
    CHECK_STR(buf_str(&a.body), "a\nb\n\n");
    CHECK(strncmp(asked, "POST /x HTTP/1.1\r\n", 18) == 0);
    CHECK(strstr(asked, "Authorization: Bearer x\r\n") != NULL);
    CHECK_STR(strstr(asked, "\r\n\r\n"), "\r\n\r\n{\n}");
}

TEST(test_http__what_is_too_long_is_cut)
{
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct err err = ERR_INIT;
    struct once o;
    char asked[4096];

    once_start(&o, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n12345678");
    CHECK_OK(http_ask(&(struct http_ask){ .url = o.url, .max_bytes = 3 }, &a, &err));
    once_end(&o, asked, sizeof(asked));
    CHECK_INT(a.status, 200);
    CHECK(a.cut);
    CHECK_STR(buf_str(&a.body), "123");
}

TEST(test_http__no_answer)
{
    struct http_answer a AUTO(http_answer_release) = HTTP_ANSWER_INIT;
    struct err err = ERR_INIT;
    struct once o;
    char asked[4096];

    once_start(&o, NULL);
    CHECK_ERR(http_ask(&(struct http_ask){ .url = o.url, .wall_ms = 100 }, &a, &err),
              ERR_LIMIT);
    once_end(&o, asked, sizeof(asked));
    err_clear(&err);
    CHECK_ERR(http_ask(&(struct http_ask){ .url = o.url }, &a, &err), ERR_IO);
    err_clear(&err);
    CHECK_ERR(http_ask(&(struct http_ask){ .url = "file:///etc/passwd" }, &a, &err),
              ERR_INVALID);
    err_clear(&err);
    CHECK_ERR(http_ask(&(struct http_ask){ .url = "http://x/\nHost: y" }, &a, &err),
              ERR_INVALID);
}
