/* SPDX-License-Identifier: Apache-2.0 */
/* doctor --server: what is wrong on the way to the service, in the order in which
 * things go wrong; then what the service says of itself. Each finding has its way out.
 */
#include "client/client_int.h"

#include "base/clock.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_S 86400.0
enum { CERT_DAYS = 14, TOKEN_DAYS = 7, SKEW_S = 60 };

static const char *
way_out_of(const struct client_place *p)
{
    switch (p->kind) {
    case CLIENT_UNIX:
        return "is `sluice serve --socket` running there, and may you enter the "
               "socket's directory?";
    case CLIENT_SSH:
        return "try the same host with ssh itself; the key's forced command is `sluice "
               "serve --stdio`";
    case CLIENT_TLS:
        return "is the name right and the service (or its front) running? For a CA of "
               "your own: $SLUICE_CA_FILE";
    default:
        return "is the address right, and `sluice serve --listen` running there?";
    }
}

/* ---- TLS ---- */

static void
look_at_certificate(const SSL *tls, cJSON *list)
{
    X509 *cert = SSL_get0_peer_certificate(tls);
    int days = 0, seconds = 0;
    char saw[160];
    if (!cert || !ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)))
        return;
    snprintf(saw, sizeof saw, "%s; valid for %d more days", SSL_get_version(tls), days);
    svc_add_finding(
        list, "its certificate", days >= CERT_DAYS, saw,
        "renew it where it is kept, then SIGHUP to the service (or reload its "
        "front)");
}

/* 0: a connection can be had. */
static int
look_at_way(struct client *c, cJSON *list)
{
    struct err err = ERR_INIT;
    struct client_conn *conn = NULL;
    int r = client_conn_open(c, &conn, &err);
    svc_add_finding(list, "the way to the service", r >= 0,
                    r < 0 ? err.msg : c->place.text, way_out_of(&c->place));
    if (r < 0)
        return r;
    if (conn->tls)
        look_at_certificate(conn->tls, list);
    client_conn_close(conn);
    return 0;
}

/* ---- is it ready, what time is it there ---- */

/* "Sat, 21 Nov 2026 20:43:13 GMT"; -1: none. */
static time_t
http_time(const char *text)
{
    struct tm tm = { .tm_year = 0 };
    const char *end = text ? strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) : NULL;
    return end && !*end ? timegm(&tm) : (time_t)-1;
}

static void
look_at_clock(const struct client_answer *a, cJSON *list)
{
    char *date AUTO(free_ptr) = client_answer_header(a, "date");
    const time_t there = http_time(date);
    char saw[96];
    if (there == (time_t)-1)
        return;
    const double apart = difftime(there, (time_t)(clock_now_ns() / 1000000000));
    snprintf(saw, sizeof saw, "%.0f s apart", apart < 0 ? -apart : apart);
    svc_add_finding(
        list, "the two clocks", apart <= SKEW_S && apart >= -SKEW_S, saw,
        "set the wrong one by NTP: tokens and certificates end by the clock");
}

static int
look_at_health(struct client *c, cJSON *list)
{
    struct err err = ERR_INIT;
    struct client_answer a = { .status = 0 };
    const struct client_ask ask = { .method = "GET", .path = "/readyz" };
    int r = client_ask(c, &ask, &a, &err);
    char saw[96];
    if (r >= 0 && a.status == 401) { /* the token; look_at_version says more */
        look_at_clock(&a, list);
    } else if (r >= 0) {
        snprintf(saw, sizeof saw, "HTTP %d%s", a.status,
                 a.status == 200 ? ", ready" : "");
        svc_add_finding(
            list, "it is ready", a.status == 200, saw,
            "what answers is no Sluice, or one that ends or lacks its disk: see "
            "the service's own messages");
        look_at_clock(&a, list);
        r = a.status == 200 ? 0 : -(int)ERR_FAILED;
    } else {
        svc_add_finding(list, "it is ready", false, err.msg, way_out_of(&c->place));
    }
    client_answer_release(&a);
    return r;
}

/* ---- versions ---- */

/* "0.12.3": 12, in a release of the same first number; -1: something else. */
static int
minor_of(const char *version)
{
    int major = 0, minor = 0;
    const int first = (int)strtol(SLUICE_VERSION, NULL, 10);
    char *end;
    major = (int)strtol(version, &end, 10);
    if (end == version || *end != '.' || major != first)
        return -1;
    minor = (int)strtol(end + 1, NULL, 10);
    return minor;
}

static int
look_at_version(struct client *c, cJSON *list)
{
    struct err err = ERR_INIT;
    cJSON *reply AUTO(json_free) = NULL, *none AUTO(json_free) = cJSON_CreateObject();
    char saw[128];
    int r = client_call(c, "version", none, &reply, &err);
    if (r < 0) {
        svc_add_finding(
            list, "who you are", false, err.msg,
            err.code == ERR_DENIED
                ? "a token in $SLUICE_TOKEN or $SLUICE_TOKEN_FILE: sluice token "
                  "create, by whom the service knows"
                : "what it says there");
        return r;
    }
    const char *there = cJSON_GetStringValue(cJSON_GetObjectItem(reply, "version"));
    const int apart =
        there ? minor_of(there) - minor_of(SLUICE_VERSION) : minor_of(SLUICE_VERSION);
    snprintf(saw, sizeof saw, "%.32s here, %.32s there", SLUICE_VERSION,
             there ? there : "unknown");
    svc_add_finding(
        list, "versions", there && apart >= -1 && apart <= 1, saw,
        "one release apart works; upgrade the older one, the service first");
    return 0;
}

/* ---- the token ---- */

static void
look_at_token(struct client *c, cJSON *list)
{
    struct err err = ERR_INIT;
    cJSON *reply AUTO(json_free) = NULL, *none AUTO(json_free) = cJSON_CreateObject();
    const cJSON *t, *mine = NULL;
    const char *secret = c->authorization ? strstr(c->authorization, "slc_") : NULL;
    char *id AUTO(free_ptr) =
        secret ? xstrndup(secret + 4, strcspn(secret + 4, "_")) : NULL;
    struct buf saw AUTO(buf_release) = BUF_INIT;
    int64_t expires_ns = 0;
    if (!c->authorization) {
        svc_add_finding(list, "the token", true,
                        c->place.kind == CLIENT_TLS || c->place.kind == CLIENT_TCP
                            ? "none: a certificate says who you are"
                            : "none is needed: the other end knows who you are",
                        NULL);
        return;
    }
    if (!id || client_call(c, "token_list", none, &reply, &err) < 0) {
        svc_add_finding(list, "the token", !id || err.code == ERR_DENIED,
                        id ? err.msg : "a job's own (OpenID Connect)",
                        "what it says there");
        return;
    }
    cJSON_ArrayForEach(t, cJSON_GetObjectItem(reply, "tokens"))
    {
        const char *its = cJSON_GetStringValue(cJSON_GetObjectItem(t, "id"));
        if (its && strcmp(its, id) == 0)
            mine = t;
    }
    if (!mine)
        return;
    const char *expires = cJSON_GetStringValue(cJSON_GetObjectItem(mine, "expires"));
    const cJSON *scope = cJSON_GetObjectItem(mine, "scope");
    buf_addf(&saw, "%s of %s", id,
             cJSON_GetStringValue(cJSON_GetObjectItem(mine, "subject")));
    if (expires)
        buf_addf(&saw, ", until %s", expires);
    buf_adds(&saw, cJSON_IsArray(scope) ? ", only for" : ", for all that is granted");
    cJSON_ArrayForEach(t, scope)
    {
        if (cJSON_IsString(t))
            buf_addf(&saw, " %s", t->valuestring);
    }
    bool lasts = !expires || clock_parse(expires, &expires_ns, &err) < 0 ||
                 (double)(expires_ns - clock_now_ns()) / 1e9 > TOKEN_DAYS * DAY_S;
    char *fix AUTO(free_ptr) = xasprintf("sluice token rotate %s", id);
    svc_add_finding(list, "the token", lasts, buf_str(&saw), fix);
}

/* ---- what it says of itself ---- */

static void
look_there(struct client *c, const cJSON *request, cJSON *list)
{
    struct err err = ERR_INIT;
    cJSON *reply AUTO(json_free) = NULL, *next;
    int r = client_call(c, "doctor", request, &reply, &err);
    cJSON *theirs = cJSON_GetObjectItem(reply, "findings");
    if (r < 0 && !cJSON_IsArray(theirs)) {
        svc_add_finding(list, "what it says of itself", err.code == ERR_DENIED, err.msg,
                        "what it says there");
        return;
    }
    for (cJSON *f = theirs ? theirs->child : NULL; f; f = next) {
        const char *what = cJSON_GetStringValue(cJSON_GetObjectItem(f, "what"));
        char *there AUTO(free_ptr) = xasprintf("there: %s", what ? what : "");
        next = f->next;
        cJSON_DetachItemViaPointer(theirs, f);
        cJSON_DeleteItemFromObject(f, "what");
        json_put_str(f, "what", there);
        cJSON_AddItemToArray(list, f);
    }
}

int
client_doctor(struct client *c, const cJSON *request, cJSON **reply, struct err *err)
{
    cJSON *list;
    int n_bad = 0;
    *reply = cJSON_CreateObject();
    list = cJSON_AddArrayToObject(*reply, "findings");
    /* what comes later can say nothing when this failed */
    if (look_at_way(c, list) >= 0 && look_at_health(c, list) >= 0 &&
        look_at_version(c, list) >= 0) {
        look_at_token(c, list);
        look_there(c, request, list);
    }
    for (const cJSON *f = list->child; f; f = f->next)
        n_bad += !cJSON_IsTrue(cJSON_GetObjectItem(f, "ok"));
    return n_bad == 0 ? 0
                      : err_set(err, ERR_FAILED, "doctor: %d finding%s", n_bad,
                                n_bad == 1 ? "" : "s");
}
