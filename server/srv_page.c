/* SPDX-License-Identifier: Apache-2.0 */
/* A token is "o" and the offset in a list, or "s" and the number of an event. */
#include "server/srv_page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_MAX = 1000 };

/* The log grows for ever: these verbs read no more of it than a page. */
static bool
goes_back(const struct svc_verb *verb)
{
    return strcmp(verb->name, "audit_log") == 0 || strcmp(verb->name, "log") == 0;
}

static int
number(const char *text, int64_t max, const char *what, int64_t *out, struct err *err)
{
    const size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 15 || text[n] || (*out = strtoll(text, NULL, 10)) > max)
        return err_set(err, ERR_INVALID, "%s '%.40s' is none", what, text);
    return 0;
}

int
srv_page_begin(struct srv_page *p, const struct srv_req *q, const struct svc_verb *verb,
               cJSON *request, struct err *err)
{
    const char *size = srv_query(q, "page_size"), *token = srv_query(q, "page_token");
    int64_t n = 0, at = 0;
    *p = (struct srv_page){ .size = 0 };
    if (token && !size)
        return err_set(err, ERR_INVALID, "page_token goes with page_size");
    if (!size)
        return 0;
    if (number(size, PAGE_MAX, "page_size (1 to 1000)", &n, err) < 0)
        return -(int)err->code;
    if (n == 0)
        return err_set(err, ERR_INVALID, "page_size (1 to %d) '0' is none", PAGE_MAX);
    if (token && (token[0] != (goes_back(verb) ? 's' : 'o') ||
                  number(token + 1, INT64_MAX, "page_token", &at, err) < 0)) {
        err_clear(err);
        return err_set(err, ERR_INVALID, "page_token '%.40s' is none of %s", token,
                       verb->name);
    }
    p->size = (int)n;
    if (goes_back(verb)) {
        if (json_has(request, "limit") || (token && json_has(request, "before")))
            return err_set(err, ERR_INVALID,
                           "page_size stands for limit, and page_token for before");
        json_put_int(request, "limit", n);
        if (token)
            json_put_int(request, "before", at);
    }
    p->offset = goes_back(verb) ? 0 : at;
    return 0;
}

static void
link_next(const struct srv_page *p, struct srv_req *q)
{
    struct buf url AUTO(buf_release) = BUF_INIT;
    const char *raw = q->raw;
    const size_t path = strcspn(raw, "?");
    buf_addc(&url, '<');
    buf_add(&url, raw, path);
    buf_addf(&url, "?page_token=%s", p->next);
    for (const char *at = raw + path; *at;) {
        at++;
        const size_t n = strcspn(at, "&");
        if (n > 0 && strncmp(at, "page_token=", 11) != 0) {
            buf_addc(&url, '&');
            buf_add(&url, at, n);
        }
        at += n;
    }
    buf_adds(&url, ">; rel=\"next\"");
    srv_reply_header(q, "Link", buf_str(&url));
}

void
srv_page_end(struct srv_page *p, struct srv_req *q, const struct svc_verb *verb,
             cJSON *reply)
{
    cJSON *list = reply ? reply->child : NULL;
    while (list && !cJSON_IsArray(list))
        list = list->next;
    if (!p->size || !list)
        return;
    const int n = cJSON_GetArraySize(list);
    if (goes_back(verb)) {
        /* log: newest first; audit log: oldest first */
        const cJSON *last = strcmp(verb->name, "log") == 0
                                ? cJSON_GetArrayItem(list, n - 1)
                                : list->child;
        const cJSON *seq = cJSON_GetObjectItemCaseSensitive(last, "seq");
        if (n == p->size && seq && seq->valuedouble > 1)
            snprintf(p->next, sizeof p->next, "s%.0f", seq->valuedouble);
    } else {
        cJSON *page = cJSON_CreateArray();
        for (int64_t i = 0; list->child && i < p->offset; i++)
            cJSON_DeleteItemFromArray(list, 0);
        for (int i = 0; list->child && i < p->size; i++)
            cJSON_AddItemToArray(page, cJSON_DetachItemFromArray(list, 0));
        if (list->child)
            snprintf(p->next, sizeof p->next, "o%lld",
                     (long long)(p->offset + p->size));
        cJSON_ReplaceItemInObjectCaseSensitive(reply, list->string, page);
    }
    if (!p->next[0])
        return;
    json_put_str(reply, "next_page_token", p->next);
    if (strcmp(q->method, "POST") != 0)
        link_next(p, q);
}
