/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/fs.h"
#include "server/srv_lookup.h"
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
    char store[512];
    struct svc *svc;
    struct repo *repo;
};

/* In the owner's name. */
static int
call(struct fixture *f, const char *verb, const char *json, struct err *err)
{
    cJSON *request AUTO(json_free) = cJSON_Parse(json), *reply AUTO(json_free) = NULL;

    CHECK(request);
    return svc_call(f->svc, verb, request, &reply, err);
}

static void
fixture_new(struct fixture *f, const char *name)
{
    struct db_schema schemas[SVC_N_SCHEMAS];
    struct err err = ERR_INIT;
    char *push AUTO(free_ptr) = xasprintf(
        "{\"dir\": \"%s/model\", \"model\": \"half\"}", unit_data("half_plus_two_tf2"));
    char *again AUTO(free_ptr) =
        xasprintf("{\"dir\": \"%s/model\", \"model\": \"secret\"}",
                  unit_data("half_plus_two_tf2"));

    snprintf(f->store, sizeof(f->store), "%s/%s", unit_dir(), name);
    CHECK_OK(repo_init(f->store, schemas, svc_schemas(schemas), &err));
    CHECK_OK(svc_open(&f->svc, f->store, &err));
    CHECK_OK(svc_store(f->svc, &f->repo, &err));
    CHECK_OK(call(f, "push", push, &err));
    CHECK_OK(call(f, "push", again, &err));
    CHECK_OK(call(f, "promote", "{\"ref\": \"half@1\", \"to\": \"production\"}", &err));
}

struct sums {
    const char *subject, *object, *outcome;
    int64_t n_events, n_lookups;
};

static int
add_up(void *arg, const struct acc_event_row *row, struct err *err)
{
    struct sums *s = arg;
    cJSON *body AUTO(json_free) = cJSON_Parse(row->e.body);
    const cJSON *n = cJSON_GetObjectItem(body, "lookups");

    (void)err;
    if ((s->subject && strcmp(s->subject, row->actor) != 0) ||
        (s->object && strcmp(s->object, row->e.object) != 0) ||
        (s->outcome && strcmp(s->outcome, row->e.outcome) != 0) || !n)
        return 0;
    CHECK(cJSON_GetObjectItem(body, "first") && cJSON_GetObjectItem(body, "last"));
    s->n_events++;
    s->n_lookups += (int64_t)n->valuedouble;
    return 0;
}

static struct sums
sums(struct fixture *f, const char *subject, const char *object, const char *outcome)
{
    struct sums s = { .subject = subject, .object = object, .outcome = outcome };
    struct err err = ERR_INIT;

    CHECK_OK(acc_log(f->repo->acc, &(struct acc_log_query){ .verb = "resolve" }, add_up,
                     &s, &err));
    return s;
}

static int
look(struct srv_lookup *l, const char *subject, const char *ref, struct buf *out,
     struct err *err)
{
    const struct acc_who who = { .subject = subject, .via = "token abc" };
    struct svc_look about;

    buf_clear(out);
    return srv_lookup(l, &who, ref, out, &about, err);
}

/* ---- counts add up ------------------------------------------------------------------
 */

enum { THREADS = 8, EACH = 3000 };
struct asker {
    pthread_t thread;
    struct srv_lookup *l;
    const char *subject;
    int n_good, n_denied;
};

static void *
ask(void *arg)
{
    struct asker *a = arg;
    struct buf out AUTO(buf_release) = BUF_INIT;

    for (int i = 0; i < EACH; i++) {
        struct err err = ERR_INIT;

        if (look(a->l, a->subject, i % 3 ? "half@production" : "half@1", &out, &err) ==
            0)
            a->n_good++;
        else if (err.code == ERR_DENIED)
            a->n_denied++;
    }
    return NULL;
}

/* However the batches fall, and across a graceful end, each look-up is in the log once.
 */
TEST(test_srv_lookup__counts_add_up_across_threads_and_the_end)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct srv_lookup *l;
    struct asker askers[THREADS] = { 0 };
    struct acc_verify verified;
    struct sums s;

    fixture_new(&f, "adds-up");
    CHECK_OK(call(&f, "grant",
                  "{\"user\": \"uid:4001\", \"right\": \"read\", \"on\": \"half\"}",
                  &err));
    CHECK_OK(srv_lookup_open(&l, f.store, &err));
    for (int i = 0; i < THREADS; i++) {
        askers[i].l = l;
        askers[i].subject = i == 7 ? "uid:4002" : "uid:4001";
        CHECK(pthread_create(&askers[i].thread, NULL, ask, &askers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(askers[i].thread, NULL);
    CHECK_OK(srv_lookup_close(l, &err));
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(askers[i].n_good, i == 7 ? 0 : EACH);
        CHECK_INT(askers[i].n_denied, i == 7 ? EACH : 0);
    }
    CHECK_INT(sums(&f, NULL, NULL, NULL).n_lookups, THREADS * EACH);
    s = sums(&f, "uid:4001", "half@production", "ok");
    CHECK_INT(s.n_lookups, (THREADS - 1) * (EACH / 3 * 2));
    CHECK(s.n_events >= 1 && s.n_events < 200);
    CHECK_INT(sums(&f, "uid:4001", "half@1", "ok").n_lookups, (THREADS - 1) * EACH / 3);
    CHECK_INT(sums(&f, "uid:4002", NULL, "denied").n_lookups, EACH);
    CHECK_OK(acc_verify(f.repo->acc, &verified, &err));
    CHECK_INT(verified.head_seq, verified.n_events);
    svc_close(f.svc);
}

/* Without an end: they are there after the interval, in one event if both came within
 * it. */
TEST(test_srv_lookup__are_in_the_log_by_themselves)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct srv_lookup *l;

    fixture_new(&f, "soon");
    CHECK_OK(srv_lookup_open(&l, f.store, &err));
    CHECK_OK(look(l, acc_actor(f.repo->acc), "half@production", &out, &err));
    CHECK_OK(look(l, acc_actor(f.repo->acc), "half@production", &out, &err));
    for (int i = 0; i < 1200 && sums(&f, NULL, NULL, NULL).n_lookups < 2; i++)
        usleep(50000);
    CHECK_INT(sums(&f, NULL, NULL, NULL).n_lookups, 2);
    CHECK_OK(srv_lookup_close(l, &err));
    svc_close(f.svc);
}

/* ---- what is kept holds ------------------------------------------------------------
 */

TEST(test_srv_lookup__replies_as_the_verb_does)
{
    static const char *const refs[] = { "half@production", "half@1", "half",
                                        "models:/half/1" };
    struct fixture f;
    struct err err = ERR_INIT;
    struct srv_lookup *l;

    fixture_new(&f, "same");
    CHECK_OK(srv_lookup_open(&l, f.store, &err));
    for (size_t i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
        struct buf fresh AUTO(buf_release) = BUF_INIT,
                         kept AUTO(buf_release) = BUF_INIT;
        struct buf want AUTO(buf_release) = BUF_INIT;
        cJSON *request AUTO(json_free) = cJSON_CreateObject();
        cJSON *reply AUTO(json_free) = NULL;

        json_put_str(request, "ref", refs[i]);
        CHECK_OK(svc_call(f.svc, "resolve", request, &reply, &err));
        json_print(reply, &want, true);
        CHECK_OK(look(l, acc_actor(f.repo->acc), refs[i], &fresh, &err));
        CHECK_OK(look(l, acc_actor(f.repo->acc), refs[i], &kept, &err));
        CHECK_STR(buf_str(&fresh), buf_str(&want));
        CHECK_STR(buf_str(&kept), buf_str(&want));
    }
    CHECK_OK(srv_lookup_close(l, &err));
    svc_close(f.svc);
}

TEST(test_srv_lookup__follows_each_change_at_once)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct srv_lookup *l;

    fixture_new(&f, "follows");
    CHECK_OK(srv_lookup_open(&l, f.store, &err));
    for (int i = 0; i < 5; i++) {
        CHECK_ERR(look(l, "uid:4001", "half@production", &out, &err), ERR_DENIED);
        CHECK_OK(call(&f, "grant",
                      "{\"user\": \"uid:4001\", \"right\": \"read\", \"on\": \"half\"}",
                      &err));
        CHECK_OK(look(l, "uid:4001", "half@production", &out, &err));
        CHECK(strstr(buf_str(&out), "\"state\": \"ready\""));
        CHECK_ERR(look(l, "uid:4001", "secret", &out, &err), ERR_DENIED);
        CHECK_OK(call(&f, "revoke",
                      "{\"user\": \"uid:4001\", \"right\": \"read\", \"on\": \"half\"}",
                      &err));
    }
    CHECK_OK(look(l, acc_actor(f.repo->acc), "half@1", &out, &err));
    CHECK_OK(call(&f, "reject", "{\"ref\": \"secret@1\", \"reason\": \"bad\"}", &err));
    CHECK_OK(look(l, acc_actor(f.repo->acc), "secret@1", &out, &err));
    CHECK(strstr(buf_str(&out), "\"state\": \"rejected\""));
    CHECK_ERR(look(l, acc_actor(f.repo->acc), "half@9", &out, &err), ERR_NOTFOUND);
    CHECK_OK(srv_lookup_close(l, &err));
    CHECK_INT(sums(&f, "uid:4001", NULL, "denied").n_lookups, 10);
    CHECK_INT(sums(&f, NULL, "half@9", "failed").n_lookups, 1);
    svc_close(f.svc);
}

/* Nothing is committed when a grant ends, or a denial begins, by its time. */
TEST(test_srv_lookup__a_right_ends_by_its_time)
{
    int64_t soon_ns;
    char time[CLOCK_TEXT_BYTES];
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct srv_lookup *l;
    char *ends AUTO(free_ptr) = NULL, *begins AUTO(free_ptr) = NULL;

    fixture_new(&f, "ends");
    CHECK_OK(srv_lookup_open(&l, f.store, &err));
    soon_ns = clock_now_ns() + INT64_C(3000000000);
    clock_text(soon_ns, time);
    ends = xasprintf("{\"user\": \"uid:4001\", \"right\": \"read\", \"on\": \"half\", "
                     "\"until\": \"%s\"}",
                     time);
    begins = xasprintf("{\"user\": \"uid:4002\", \"right\": \"read\", \"on\": \"*\", "
                       "\"deny\": true, \"from\": \"%s\"}",
                       time);
    CHECK_OK(call(&f, "grant", ends, &err));
    CHECK_OK(call(&f, "grant", begins, &err));
    CHECK_OK(call(&f, "grant",
                  "{\"user\": \"uid:4002\", \"right\": \"read\", \"on\": \"half\"}",
                  &err));
    CHECK_OK(look(l, "uid:4001", "half@production", &out, &err));
    CHECK_OK(look(l, "uid:4002", "half@production", &out, &err));
    while (clock_now_ns() <= soon_ns)
        usleep(20000);
    CHECK_ERR(look(l, "uid:4001", "half@production", &out, &err), ERR_DENIED);
    CHECK_ERR(look(l, "uid:4002", "half@production", &out, &err), ERR_DENIED);
    CHECK_OK(srv_lookup_close(l, &err));
    svc_close(f.svc);
}

/* ---- a log that cannot be written ---------------------------------------------------
 */

#ifdef TEST_FAULT

/* Answers stop, the counts are kept, and all goes on when it can be written again. */
TEST(test_srv_lookup__are_refused_while_they_cannot_be_recorded)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct svc_look about = { .object = "half@1" };
    const struct acc_who who = { .subject = "uid:4001", .via = "" };
    char *head AUTO(free_ptr) = NULL, *away AUTO(free_ptr) = NULL;
    struct srv_reads *r;

    fixture_new(&f, "refused");
    head = xasprintf("%s/catalogue.db", f.store);
    away = xasprintf("%s/away.db", f.store);
    (void)out;
    CHECK_OK(srv_reads_open(&r, f.store, 20, &err));
    CHECK(rename(head, away) == 0);
    CHECK_OK(srv_reads_add(r, &who, &about, NULL, &out, &err));
    CHECK(srv_reads_flush(r, &err) < 0);
    CHECK(strstr(err.msg, "1 look-ups were answered and are not in the log"));
    err_clear(&err);
    CHECK_ERR(srv_reads_add(r, &who, &about, NULL, &out, &err), ERR_BUSY);
    CHECK(rename(away, head) == 0);
    for (int i = 0; i < 3000; i++) {
        usleep(20000);
        if (srv_reads_add(r, &who, &about, NULL, &out, &err) == 0)
            break;
        err_clear(&err);
    }
    CHECK_OK(srv_reads_close(r, &err));
    CHECK_INT(sums(&f, "uid:4001", "half@1", "ok").n_lookups, 2);
    svc_close(f.svc);
}

#endif
