/* SPDX-License-Identifier: Apache-2.0 */
/* A verb: its request goes out, its answer comes as one document, as bytes, or as
 * events of which the last is the reply or a problem. */
#include "client/client_int.h"

#include "base/crypto.h"
#include "base/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_FIELD "idempotency_key"

/* One call under way. */
struct course {
    struct client *c;
    const struct svc_verb *verb;
    cJSON *request; /* as it goes */
    struct client_files files;
    char key[40];                /* one that was made here; "" */
    struct client_saving saving; /* of files.to */
    struct client_events events;
    bool as_events, as_bytes; /* what kind of answer it is */
    bool told;                /* the caller has seen or got something of it */
    cJSON *reply, *problem;
};

static void
course_release(struct course *k)
{
    json_free(&k->request);
    json_free(&k->reply);
    json_free(&k->problem);
    client_save_release(&k->saving);
    client_files_release(&k->files);
    client_events_release(&k->events);
}

/* ---- what is safe to be asked again ---- */

static bool
takes_key(const struct course *k)
{
    if (strcmp(k->verb->name, "weights") == 0 && json_has(k->request, "ramp"))
        return false; /* it is many releases; asked again, it goes on */
    return svc_find_field(k->verb, KEY_FIELD) != NULL;
}

static bool
is_dry(const struct course *k)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(k->request, "dry_run"));
}

static int
make_key(struct course *k, struct err *err)
{
    uint8_t random[16];

    if (!takes_key(k) || json_has(k->request, KEY_FIELD) || is_dry(k))
        return 0;
    if (random_bytes(random, sizeof(random), err) < 0)
        return -(int)err->code;
    snprintf(k->key, sizeof(k->key), "once-");
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(k->key + 5 + 2 * i, 3, "%02x", random[i]);
    return 0;
}

/* What reads may be asked twice; and so may what has a key. */
static bool
is_safe(const struct course *k)
{
    return k->key[0] || json_has(k->request, KEY_FIELD) || k->verb->right == ACC_READ ||
           k->verb->right == ACC_NONE;
}

/* ---- the answer ---- */

static int
on_event(void *arg, const char *event, struct str data, struct err *err)
{
    struct course *k = arg;
    cJSON *doc AUTO(json_free) = NULL;

    if (strcmp(event, "progress") != 0 && strcmp(event, "tell") != 0 &&
        strcmp(event, "reply") != 0 && strcmp(event, "problem") != 0)
        return 0; /* of a newer server */
    if (json_parse(&doc, data, "an event of its answer", err) < 0)
        return -(int)err->code;
    if (strcmp(event, "progress") == 0) {
        const cJSON *done = cJSON_GetObjectItemCaseSensitive(doc, "done");
        const cJSON *total = cJSON_GetObjectItemCaseSensitive(doc, "total");
        const char *what =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(doc, "what"));

        if (k->c->progress && what && cJSON_IsNumber(done) && cJSON_IsNumber(total))
            k->c->progress(k->c->progress_arg, what, (int64_t)done->valuedouble,
                           (int64_t)total->valuedouble);
    } else if (strcmp(event, "tell") == 0) {
        client_files_rename(&k->files, doc);
        k->told = true;
        if (k->c->tell)
            k->c->tell(k->c->tell_arg, doc);
    } else {
        cJSON **to = strcmp(event, "reply") == 0 ? &k->reply : &k->problem;

        json_free(to);
        *to = doc;
        doc = NULL;
    }
    return 0;
}

/* What kind of answer it is say its headers. */
static bool
wants(void *arg, const struct client_answer *a)
{
    struct course *k = arg;
    char *type AUTO(free_ptr) = client_answer_header(a, "content-type");

    k->as_events = type && strncmp(type, "text/event-stream", 17) == 0;
    k->as_bytes = type && strncmp(type, "application/octet-stream", 24) == 0;
    return k->as_events || k->as_bytes;
}

static int
on_answer(void *arg, const char *p, size_t n, struct err *err)
{
    struct course *k = arg;

    if (k->as_events)
        return client_events_feed(&k->events, p, n, err);
    k->told = true;
    if (k->files.to)
        return fs_write_all(k->saving.fd, p, n, k->files.to, err);
    return k->c->bytes ? k->c->bytes(k->c->bytes_arg, p, n, err) : 0;
}

/* ---- the question ---- */

static void
add_path(const struct svc_verb *verb, struct buf *out)
{
    buf_adds(out, "/api/v1/");
    for (const char *p = verb->name; *p; p++)
        buf_addc(out, *p == '_' ? '/' : *p);
}

static int
ask(struct course *k, struct client_answer *a, struct err *err)
{
    struct buf body AUTO(buf_release) = BUF_INIT, path AUTO(buf_release) = BUF_INIT;
    char *key AUTO(free_ptr) = xasprintf("Idempotency-Key: %s", k->key);
    const char *headers[4] = { "Content-Type: application/json",
                               svc_gives_bytes(k->verb, k->request)
                                   ? "Accept: application/octet-stream"
                                   : "Accept: text/event-stream" };
    int n = 2;

    if (k->key[0])
        headers[n++] = key;
    json_print(k->request, &body, true);
    add_path(k->verb, &path);
    return client_ask(k->c,
                      &(struct client_ask){ .method = "POST",
                                            .path = buf_str(&path),
                                            .headers = headers,
                                            .body = body.data,
                                            .body_bytes = (int64_t)body.len,
                                            .again = is_safe(k),
                                            .sink = on_answer,
                                            .wants = wants,
                                            .arg = k },
                      a, err);
}

/* A server of another release: what it does not know it says as of any mistake. */
static int
explain_age(const struct course *k, int status, struct err *err)
{
    const char *theirs = k->c->peer_version;
    const bool no_verb = strncmp(err->msg, "there is no verb ", 17) == 0;
    const bool no_field = err->code == ERR_USAGE && strstr(err->msg, " takes no ");

    if (!theirs[0] || strcmp(theirs, SLUICE_VERSION) == 0 ||
        (status != 404 && status != 400) || (!no_verb && !no_field))
        return -(int)err->code;
    struct err was = *err;
    err_clear(err);
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: %s; it is Sluice %s, and this is %s: one of them is too old",
                   k->c->place.text, was.msg, theirs, SLUICE_VERSION);
}

static int
problem(struct course *k, const struct client_answer *a, cJSON **reply, struct err *err)
{
    const cJSON *said = cJSON_GetObjectItemCaseSensitive(k->problem, "status");
    const int status = !k->problem            ? a->status
                       : cJSON_IsNumber(said) ? said->valueint
                                              : 0;

    if (k->problem)
        (void)client_problem_set(k->c, status, k->problem, reply, err);
    else
        (void)client_problem(k->c, a, reply, err);
    if (*reply)
        client_files_rename(&k->files, *reply);
    client_files_rename_err(&k->files, err);
    return explain_age(k, status, err);
}

/* What was said beside the bytes; an older server says nothing. */
static int
read_trailer(struct course *k, const struct client_answer *a, struct err *err)
{
    char *text AUTO(free_ptr) = client_answer_header(a, "sluice-reply");

    if (!text) {
        k->reply = cJSON_CreateObject();
        return 0;
    }
    return json_parse(&k->reply, str_of(text), "its answer", err) < 0
               ? err_ctx(err, "%s", k->c->place.text)
               : 0;
}

/* One asking and its whole answer. ERR_BUSY and !k->told: nothing came of it. */
static int
carry_out(struct course *k, cJSON **reply, bool *answered, struct err *err)
{
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };

    client_events_release(&k->events);
    client_events_start(&k->events, on_event, k);
    json_free(&k->reply);
    json_free(&k->problem);
    k->as_bytes = k->as_events = false;
    *answered = false;
    if (ask(k, &a, err) < 0)
        return -(int)err->code;
    *answered = true;
    if (a.status / 100 != 2 || k->problem)
        return problem(k, &a, reply, err);
    if (k->as_bytes && read_trailer(k, &a, err) < 0)
        return -(int)err->code;
    if (!k->as_bytes && !k->as_events &&
        json_parse(&k->reply, (struct str){ buf_str(&a.body), a.body.len },
                   "its answer", err) < 0)
        return err_ctx(err, "%s", k->c->place.text);
    if (!k->reply) {
        *answered = false;
        return err_set(err, ERR_BUSY, "%s: its answer ended in the middle",
                       k->c->place.text);
    }
    *reply = k->reply;
    k->reply = NULL;
    return 0;
}

static int
carry_out_again(struct course *k, cJSON **reply, struct err *err)
{
    struct client_patience patience = { .n = 0 };

    for (;;) {
        bool answered;
        int r = carry_out(k, reply, &answered, err);

        if (r == 0 || answered || r != -ERR_BUSY)
            return r;
        if (!is_safe(k))
            return err_ctx(err, "whether it took effect is not known, look before you "
                                "repeat it");
        if (k->told || !client_wait_again(k->c, &patience, 0))
            return r;
        err_clear(err);
    }
}

/* Its reply with the names of there. */
static int
begin(struct course *k, const char *name, const cJSON *request, cJSON **reply,
      struct err *err)
{
    *reply = NULL;
    k->verb = svc_find(name);
    if (!k->verb)
        return err_set(err, ERR_USAGE, "there is no verb '%s'", name);
    k->request = request ? cJSON_Duplicate(request, true) : cJSON_CreateObject();
    if (client_files_send(k->c, k->verb, k->request, &k->files, err) < 0)
        return -(int)err->code;
    if (k->files.to && client_save_open(&k->saving, k->files.to, err) < 0)
        return err_ctx(err, "%s to %s", name, k->files.to);
    if (make_key(k, err) < 0 || carry_out_again(k, reply, err) < 0)
        return -(int)err->code;
    if (k->key[0]) /* nobody but us asked for it */
        cJSON_DeleteItemFromObjectCaseSensitive(*reply, "replayed");
    return 0;
}

int
client_call_trees(struct client *c, const char *name, const cJSON *request,
                  cJSON **reply, struct err *err)
{
    struct course k AUTO(course_release) = { .c = c, .saving = { .fd = -1 } };

    return begin(&k, name, request, reply, err);
}

int
client_call(struct client *c, const char *name, const cJSON *request, cJSON **reply,
            struct err *err)
{
    struct course k AUTO(course_release) = { .c = c, .saving = { .fd = -1 } };

    if (begin(&k, name, request, reply, err) < 0) {
        struct err second = ERR_INIT; /* it may have made something nevertheless */

        if (*reply &&
            client_files_take(c, k.verb, request, *reply, &k.files, &second) < 0)
            err_clear(&second);
        return -(int)err->code;
    }
    if (k.files.to && client_save_end(&k.saving, k.files.to, err) < 0)
        return err_ctx(err, "%s to %s", name, k.files.to);
    if (k.files.to && json_has(*reply, "dest"))
        cJSON_SetValuestring(cJSON_GetObjectItem(*reply, "dest"), k.files.to);
    if (client_files_take(c, k.verb, request, *reply, &k.files, err) < 0) {
        cJSON_Delete(*reply); /* it names what is not there */
        *reply = NULL;
        return -(int)err->code;
    }
    return 0;
}
