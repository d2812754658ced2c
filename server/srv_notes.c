/* SPDX-License-Identifier: Apache-2.0 */
#include "server/srv_notes.h"

#include "access/identity.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How exactly the last use of a token is known. */
#define USE_EVERY_NS (INT64_C(60) * 1000000000)
enum { USES_MAX = 1024, USES_PROBE = 16, NOTES_MAX = 64 };

struct use {
    char id[ACC_TOKEN_ID_CHARS + 1];
    int64_t used_ns, written_ns;
};
/* For the log: one line for all that are alike. */
struct note {
    char verb[16], object[120], peer[48], why[220];
    bool is_ok;
    int n;
};
struct srv_notes {
    pthread_mutex_t lock;
    struct use uses[USES_MAX];
    struct note notes[NOTES_MAX];
    int n_notes, n_lost;
};

struct srv_notes *
srv_notes_new(void)
{
    struct srv_notes *n = xcalloc(1, sizeof *n);
    pthread_mutex_init(&n->lock, NULL);
    return n;
}

void
srv_notes_free(struct srv_notes *n)
{
    if (n)
        pthread_mutex_destroy(&n->lock);
    free(n);
}

static bool
is_alike(const struct note *a, const struct note *b)
{
    return a->is_ok == b->is_ok && strcmp(a->verb, b->verb) == 0 &&
           strcmp(a->object, b->object) == 0 && strcmp(a->peer, b->peer) == 0 &&
           strcmp(a->why, b->why) == 0;
}

void
srv_note(struct srv_notes *n, const char *verb, const char *object, const char *peer,
         const char *why, bool is_ok)
{
    struct note one = { .is_ok = is_ok, .n = 1 };
    int i = 0;
    snprintf(one.verb, sizeof one.verb, "%s", verb);
    snprintf(one.object, sizeof one.object, "%s", object);
    snprintf(one.peer, sizeof one.peer, "%s", peer);
    snprintf(one.why, sizeof one.why, "%.*s", (int)sizeof one.why - 1, why);
    pthread_mutex_lock(&n->lock);
    while (i < n->n_notes && !is_alike(&n->notes[i], &one))
        i++;
    if (i < n->n_notes)
        n->notes[i].n++;
    else if (n->n_notes == NOTES_MAX)
        n->n_lost++;
    else
        n->notes[n->n_notes++] = one;
    pthread_mutex_unlock(&n->lock);
}

void
srv_note_use(struct srv_notes *n, const char *id)
{
    struct digest d;
    sha256_of(id, strlen(id), &d);
    pthread_mutex_lock(&n->lock);
    for (unsigned i = 0; i < USES_PROBE; i++) {
        struct use *u = &n->uses[((unsigned)(d.b[0] << 8 | d.b[1]) + i) % USES_MAX];
        /* a place whose last use is written may be taken */
        if (strcmp(u->id, id) != 0 && u->used_ns != u->written_ns)
            continue;
        if (strcmp(u->id, id) != 0)
            u->written_ns = 0;
        snprintf(u->id, sizeof u->id, "%s", id);
        u->used_ns = clock_now_ns();
        break;
    }
    pthread_mutex_unlock(&n->lock);
}

/* ---- writing ---- */

static int
record_note(struct acc *acc, const struct note *n, int n_lost, struct err *err)
{
    static const struct acc_who somebody = { .subject = "?", .via = "" };
    const bool is_login = strcmp(n->verb, "login") == 0;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    struct buf text AUTO(buf_release) = BUF_INIT;
    if (n->why[0])
        json_put_str(body, n->is_ok ? "detail" : "error", n->why);
    if (n->peer[0])
        json_put_str(body, "from", n->peer);
    if (n->n > 1)
        json_put_int(body, "times", n->n);
    if (n_lost)
        json_put_int(body, "others_not_recorded", n_lost);
    json_print(body, &text, true);
    const struct acc_event e = { .verb = n->verb,
                                 .object = n->object,
                                 .digest = "",
                                 .outcome = n->is_ok   ? "ok"
                                            : is_login ? "denied"
                                                       : "failed",
                                 .body = buf_str(&text) };
    if (acc_act_as(acc, is_login ? &somebody : NULL, err) < 0)
        return -(int)err->code;
    return acc_record(acc, &e, err);
}

static int
write_notes(struct repo *r, const struct note *notes, int n, int n_lost,
            struct err *err)
{
    if (n == 0)
        return 0;
    if (db_begin(r->db, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < n; i++)
        if (record_note(r->acc, &notes[i], i == 0 ? n_lost : 0, err) < 0)
            return -(int)err->code;
    return db_commit(r->db, err) < 0 ? -(int)err->code : acc_publish(r->acc, err);
}

static int
write_uses(struct repo *r, const struct use *uses, int n, struct err *err)
{
    if (n == 0)
        return 0;
    if (db_begin_quick(r->db, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < n; i++)
        if (acc_token_used(r->acc, uses[i].id, uses[i].used_ns, err) < 0)
            return -(int)err->code;
    return db_commit(r->db, err);
}

void
srv_notes_write(struct srv_notes *n, struct srv *srv, bool all)
{
    struct srv_req nobody = { .srv = srv }; /* in whose name sessions are borrowed */
    struct use *uses AUTO(free_ptr) = NULL;
    struct note *notes AUTO(free_ptr) = NULL;
    struct err err = ERR_INIT;
    struct svc *svc;
    struct repo *r;
    int n_uses = 0;
    pthread_mutex_lock(&n->lock);
    for (int i = 0; i < USES_MAX; i++) {
        struct use *u = &n->uses[i];
        if (u->used_ns - u->written_ns > (all ? 0 : USE_EVERY_NS)) {
            uses = xreallocarray(uses, (size_t)n_uses + 1, sizeof *uses);
            uses[n_uses++] = *u;
            u->written_ns = u->used_ns;
        }
    }
    int n_notes = n->n_notes, n_lost = n->n_lost;
    notes = xcalloc((size_t)n_notes + 1, sizeof *notes);
    memcpy(notes, n->notes, (size_t)n_notes * sizeof *notes);
    n->n_notes = n->n_lost = 0;
    pthread_mutex_unlock(&n->lock);
    if ((n_uses == 0 && n_notes == 0) || srv_session_take(&nobody, &svc, &r, &err) < 0)
        return;
    if (!r->is_read_only && (write_uses(r, uses, n_uses, &err) < 0 ||
                             write_notes(r, notes, n_notes, n_lost, &err) < 0)) {
        db_rollback(r->db);
        pthread_mutex_lock(&n->lock); /* who reads the log shall know of the gap */
        n->n_lost += n_notes + n_lost;
        pthread_mutex_unlock(&n->lock);
    }
    srv_session_give(&nobody, svc);
}
