/* SPDX-License-Identifier: Apache-2.0 */
/* target step, and --wait of promote, weights and rollback: the steps of a release,
 * until servers have it. */
#include "base/clock.h"
#include "deploy/deploy.h"
#include "service/svc_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND_NS INT64_C(1000000000)
#define WAIT_MAX_S 86400

static const cJSON *
member(const cJSON *obj, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(obj, key);
}

static double
number(const cJSON *obj, const char *key)
{
    const cJSON *v = member(obj, key);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static const char *
text(const cJSON *obj, const char *key)
{
    const char *v = cJSON_GetStringValue(member(obj, key));
    return v ? v : "";
}

/* "web (fraud, load): version 4 AVAILABLE: it is LOADING" for each that waits. */
static void
add_waiting(const cJSON *round, struct buf *out)
{
    const cJSON *t, *w;
    cJSON_ArrayForEach(t, member(round, "targets"))
    {
        if (strcmp(text(t, "stage"), "done") == 0 && !json_has(t, "not_told"))
            continue;
        buf_addf(out, "%s%s (%s, %s)", out->len ? "; " : "", text(t, "target"),
                 text(t, "model"), text(t, "stage"));
        cJSON_ArrayForEach(w, member(t, "wants")) buf_addf(
            out, "%s%s", w == member(t, "wants")->child ? ": " : ", ", w->valuestring);
        if (json_has(t, "error"))
            buf_addf(out, ": %s", text(t, "error"));
        if (json_has(t, "not_told"))
            buf_addf(out, ": its server was not told: %s", text(t, "not_told"));
    }
}

static int
check_wait(const struct svc_call *c, int64_t *seconds, struct err *err)
{
    *seconds = svc_int(c, "wait", 0);
    if (json_has(c->req, "wait") && (*seconds < 1 || *seconds > WAIT_MAX_S))
        return err_set(err, ERR_USAGE, "--wait takes 1 to %d seconds", WAIT_MAX_S);
    return 0;
}

/* Rounds, until nothing waits, `seconds` are over, or the release is not the live one
 * any more. 1: nothing waits. *n_steps grows by what was done. */
static int
drive(struct svc_call *c, const struct deploy_step *what, int64_t seconds,
      double release, cJSON **round, double *n_steps, struct err *err)
{
    const struct timespec pause = { .tv_nsec = SECOND_NS / 5 };
    const int64_t until_ns = clock_mono_ns() + seconds * SECOND_NS;
    for (;;) {
        struct buf line AUTO(buf_release) = BUF_INIT;
        cJSON *last = NULL;
        const cJSON *t;
        if (deploy_step(c->repo, what, &last, err) < 0)
            return -(int)err->code;
        cJSON_Delete(*round);
        *round = last;
        *n_steps += number(last, "steps");
        cJSON_ArrayForEach(t, member(last, "targets")) if (
            release > 0 && number(t, "release") !=
                               release) return err_set(err, ERR_CONFLICT,
                                                       "release %.0f was replaced by "
                                                       "release %.0f before every "
                                                       "server had it",
                                                       release, number(t, "release"));
        if (number(last, "waiting") == 0)
            return 1;
        if (clock_mono_ns() >= until_ns || svc_is_stopped(c))
            return 0;
        if (c->s->progress) {
            buf_adds(&line, "waiting for ");
            add_waiting(last, &line);
            c->s->progress(c->s->progress_arg, buf_str(&line), -1, 0);
        }
        nanosleep(&pause, NULL);
    }
}

/* What a round saw, in the answer of a change. */
static void
put_seen(cJSON *reply, const cJSON *round)
{
    const cJSON *t;
    cJSON *mine;
    cJSON_ArrayForEach(t, member(round, "targets"))
    {
        cJSON_ArrayForEach(mine, member(reply, "targets"))
        {
            if (strcmp(text(mine, "name"), text(t, "target")) != 0)
                continue;
            if (!json_has(t, "not_told"))
                cJSON_DeleteItemFromObject(mine, "not_told");
            if (!json_has(mine, "stage"))
                continue; /* its server says nothing */
            cJSON_ReplaceItemInObject(mine, "stage",
                                      cJSON_CreateString(text(t, "stage")));
            if (strcmp(text(t, "stage"), "done") != 0)
                continue;
            cJSON_ReplaceItemInObject(mine, "observed", cJSON_CreateTrue());
            cJSON_DeleteItemFromObject(mine, "not_observed");
        }
    }
}

/* The change stands, whatever is said here. */
int
svc_after_change(struct svc_call *c, struct err *err)
{
    cJSON *round AUTO(json_free) = NULL;
    struct buf waits AUTO(buf_release) = BUF_INIT;
    const double release = number(c->reply, "release");
    double n_steps = 0;
    const cJSON *t;
    int64_t seconds;
    int r = 1;
    if (check_wait(c, &seconds, err) < 0)
        return -(int)err->code;
    if (seconds > 0) {
        const struct deploy_step what = { .alias = text(c->reply, "alias"),
                                          .model = text(c->reply, "model") };
        r = drive(c, &what, seconds, release, &round, &n_steps, err);
        put_seen(c->reply, round);
    }
    if (r < 0)
        return err_ctx(err, "switched and recorded; but");
    if (r == 0) {
        add_waiting(round, &waits);
        return err_set(err, ERR_PENDING,
                       "switched and recorded as release %.0f; not seen everywhere in "
                       "%" PRId64 " s: %s; sluice target step goes on",
                       release, seconds, buf_str(&waits));
    }
    cJSON_ArrayForEach(t, member(c->reply, "targets")) if (
        json_has(t, "not_told")) return err_set(err, ERR_PENDING,
                                                "switched and recorded; the server was "
                                                "not told: %s; sluice "
                                                "target step %s tells it again",
                                                text(t, "not_told"), text(t, "name"));
    return 0;
}

int
svc_check_wait(const struct svc_call *c, struct err *err)
{
    int64_t seconds;
    return check_wait(c, &seconds, err);
}

int
svc_do_target_step(struct svc_call *c, struct err *err)
{
    const struct deploy_step what = { .target = svc_str(c, "name") };
    struct buf waits AUTO(buf_release) = BUF_INIT;
    double n_steps = 0;
    cJSON *round AUTO(json_free) = NULL;
    int64_t seconds;
    if (what.target)
        snprintf(c->object, sizeof c->object, "target %s", what.target);
    if (check_wait(c, &seconds, err) < 0)
        return -(int)err->code;
    int r = drive(c, &what, seconds, 0, &round, &n_steps, err);
    if (round) {
        cJSON_Delete(c->reply);
        c->reply = round;
        round = NULL;
        cJSON_ReplaceItemInObject(c->reply, "steps", cJSON_CreateNumber(n_steps));
        json_put_int(c->body, "steps", (int64_t)n_steps);
        json_put_int(c->body, "waiting", (int64_t)number(c->reply, "waiting"));
    }
    c->recorded = r >= 0 && n_steps > 0; /* each by deploy/ */
    if (r != 0)
        return r < 0 ? err_ctx(err, "target step") : 0;
    add_waiting(c->reply, &waits);
    return err_set(err, ERR_PENDING, "target step: waiting for %s", buf_str(&waits));
}
