/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "server/srv_auth.h"
#include "tests/tools/issuer.h"
#include "tests/unit/access/acc_fixture.h"

#include <stdlib.h>

struct ci {
    struct fixture f;
    struct issuer i;
    struct srv_oidc *o;
    pthread_mutex_t lock;
    int n_told;
    bool told_failure;
};

static void
told(void *arg, const char *issuer, const char *failure)
{
    struct ci *c = arg;

    CHECK_STR(issuer, "ours");
    c->n_told++;
    c->told_failure = failure != NULL;
}

/* A store that knows the issuer's jobs of org/fraud as "ci". */
static void
ci_new(struct ci *c)
{
    struct err err = ERR_INIT;
    int64_t number;

    memset(c, 0, sizeof(*c));
    fixture_new(&c->f);
    issuer_start(&c->i);
    pthread_mutex_init(&c->lock, NULL);
    const struct acc_issuer ours = { "ours", c->i.url, "sluice" };
    cJSON *match AUTO(json_free) =
        cJSON_Parse("[\"repository=org/fraud\",\"ref=refs/heads/*\"]");
    CHECK_OK(db_begin(c->f.db, &err));
    CHECK_OK(acc_user_add(c->f.acc, "ci", true, NULL, &err));
    CHECK_OK(acc_issuer_add(c->f.acc, &ours, match, "ci", "[\"push:fraud\"]", &number,
                            &err));
    CHECK_OK(db_commit(c->f.db, &err));
    c->o = srv_oidc_new(&c->lock);
    CHECK_OK(srv_oidc_issuers(c->o, c->f.acc, &err));
    setenv("TEST_CLOCK", "0:0", 1);
}

static void
ci_free(struct ci *c)
{
    setenv("TEST_CLOCK", "0:0", 1);
    srv_oidc_free(c->o);
    issuer_stop(&c->i);
    pthread_mutex_destroy(&c->lock);
    fixture_close(&c->f);
}

static char *
claims_of(struct ci *c, const char *aud, const char *repository, int64_t exp_s)
{
    const int64_t now_s = clock_now_ns() / 1000000000;

    return xasprintf("{\"iss\":\"%s\",\"aud\":\"%s\",\"sub\":\"repo:org/fraud\","
                     "\"repository\":\"%s\",\"ref\":\"refs/heads/main\",\"iat\":%lld,"
                     "\"exp\":%lld}",
                     c->i.url, aud, repository, (long long)now_s - 300,
                     (long long)(now_s + exp_s));
}

/* What srv_oidc_check says of a token; who is known is released. */
static int
check(struct ci *c, const char *text, struct err *err)
{
    struct srv_who who AUTO(srv_who_release) = { .subject = "" };
    int64_t until_ns;
    int r = srv_oidc_check(c->o, c->f.acc, str_of(text), &who, &until_ns, err);

    if (r == 0) {
        CHECK_STR(who.subject, "ci");
        CHECK_STR(who.scope, "[\"push:fraud\"]");
        CHECK(strncmp(who.via, "oidc ours/1 repo:org/fraud", 26) == 0);
    }
    return r;
}

static int
check_signed(struct ci *c, const char *alg, const char *kid, char *claims,
             struct err *err)
{
    char *text AUTO(free_ptr) = issuer_sign(&c->i, alg, kid, claims);
    int r = check(c, text, err);

    free(claims);
    return r;
}

TEST(test_srv_oidc__what_is_accepted)
{
    struct ci c;
    struct err err = ERR_INIT;

    ci_new(&c);
    CHECK_ERR(
        check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_BUSY); /* its keys are not here yet */
    CHECK(srv_oidc_is_due(c.o));
    srv_oidc_refresh(c.o, told, &c);
    CHECK(!srv_oidc_is_due(c.o));
    CHECK_INT(c.n_told, 0); /* that it goes well is no news */
    CHECK_OK(check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/fraud", 60),
                          &err));
    CHECK_OK(check_signed(&c, "ES256", "e1", claims_of(&c, "sluice", "org/fraud", 60),
                          &err));
    CHECK_OK(check_signed(&c, "RS256", NULL, claims_of(&c, "sluice", "org/fraud", 60),
                          &err));
    CHECK_OK(check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/fraud", -50),
                          &err)); /* within the leeway */
    CHECK_ERR(check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/fraud", -70),
                           &err),
              ERR_DENIED);
    CHECK_ERR(
        check_signed(&c, "RS256", "r1", claims_of(&c, "other", "org/fraud", 60), &err),
        ERR_DENIED);
    CHECK_ERR(
        check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/other", 60), &err),
        ERR_DENIED);
    CHECK_ERR(
        check_signed(&c, "none", NULL, claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_DENIED);
    CHECK_ERR(
        check_signed(&c, "HS256", "r1", claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_DENIED);
    CHECK_ERR(
        check_signed(&c, "RS512", "r1", claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_DENIED);
    /* the kid of the other key, and one that is not there right after a fetch */
    CHECK_ERR(
        check_signed(&c, "RS256", "e1", claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_DENIED);
    CHECK_ERR(
        check_signed(&c, "RS256", "r9", claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_DENIED);
    ci_free(&c);
}

/* Every byte of it counts; and what is signed, not what stands beside. */
TEST(test_srv_oidc__no_byte_can_be_changed)
{
    struct ci c;
    struct err err = ERR_INIT;

    ci_new(&c);
    srv_oidc_refresh(c.o, told, &c);
    char *claims AUTO(free_ptr) = claims_of(&c, "sluice", "org/fraud", 60);
    char *text AUTO(free_ptr) = issuer_sign(&c.i, "ES256", "e1", claims);
    const size_t n = strlen(text);
    CHECK_OK(check(&c, text, &err));
    for (size_t k = 0; k + 1 < n; k += 1 + k % 7) { /* the last has spare bits */
        const char was = text[k];

        text[k] = was == 'A' ? 'B' : 'A';
        CHECK(check(&c, text, &err) < 0);
        err_clear(&err);
        text[k] = was;
    }
    CHECK_OK(check(&c, text, &err));
    ci_free(&c);
}

/* The library ends the process at some of these. */
TEST(test_srv_oidc__signatures_that_are_none)
{
    static const char *const bad[] = { "A",     "A=",   "A==",  "=",     "====",
                                       "AAAA=", "A=AA", "AA=A", "AAAAA", "+/+/" };
    struct ci c;
    struct err err = ERR_INIT;

    ci_new(&c);
    srv_oidc_refresh(c.o, told, &c);
    char *claims AUTO(free_ptr) = claims_of(&c, "sluice", "org/fraud", 60);
    char *text AUTO(free_ptr) = issuer_sign(&c.i, "RS256", "r1", claims);
    const int n = (int)(strrchr(text, '.') - text);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *other AUTO(free_ptr) = xasprintf("%.*s.%s", n, text, bad[i]);
        char *more AUTO(free_ptr) = xasprintf("%s%s", text, bad[i]);

        CHECK_ERR(check(&c, other, &err), ERR_DENIED);
        CHECK_ERR(check(&c, more, &err), ERR_DENIED);
    }
    ci_free(&c);
}

TEST(test_srv_oidc__keys_rotate)
{
    struct ci c;
    struct err err = ERR_INIT;

    ci_new(&c);
    srv_oidc_refresh(c.o, told, &c);
    char *old AUTO(free_ptr) = NULL, *claims = claims_of(&c, "sluice", "org/fraud", 60);
    old = issuer_sign(&c.i, "RS256", "r1", claims);
    free(claims);
    issuer_rotate(&c.i);
    setenv("TEST_CLOCK", "0:11", 1);
    CHECK(!srv_oidc_is_due(c.o));
    CHECK_ERR(
        check_signed(&c, "RS256", "r2", claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_BUSY); /* and makes it due */
    CHECK(srv_oidc_is_due(c.o));
    srv_oidc_refresh(c.o, told, &c);
    CHECK_OK(check_signed(&c, "RS256", "r2", claims_of(&c, "sluice", "org/fraud", 60),
                          &err));
    CHECK_ERR(check(&c, old, &err), ERR_DENIED);
    /* who makes up kids does not make it be asked all the time */
    for (int i = 0; i < 50; i++) {
        CHECK_ERR(check_signed(&c, "RS256", "r9",
                               claims_of(&c, "sluice", "org/fraud", 60), &err),
                  ERR_DENIED);
        srv_oidc_refresh(c.o, told, &c);
    }
    CHECK_INT(c.i.n_asked, 2);
    ci_free(&c);
}

TEST(test_srv_oidc__issuer_away)
{
    struct ci c;
    struct err err = ERR_INIT;

    ci_new(&c);
    c.i.down = true;
    srv_oidc_refresh(c.o, told, &c);
    CHECK_INT(c.n_told, 1);
    CHECK(c.told_failure);
    CHECK_ERR(
        check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_BUSY);
    CHECK(!srv_oidc_is_due(c.o)); /* not again at once */
    setenv("TEST_CLOCK", "0:11", 1);
    CHECK(srv_oidc_is_due(c.o));
    c.i.down = false;
    c.i.cache = "public, max-age=600";
    srv_oidc_refresh(c.o, told, &c);
    CHECK_INT(c.n_told, 2);
    CHECK(!c.told_failure);
    CHECK_OK(check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/fraud", 60),
                          &err));
    setenv("TEST_CLOCK", "0:600", 1);
    CHECK(!srv_oidc_is_due(c.o));
    setenv("TEST_CLOCK", "0:620", 1); /* its time is over */
    CHECK(srv_oidc_is_due(c.o));
    c.i.down = true;
    srv_oidc_refresh(c.o, told, &c);
    CHECK_OK(check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/fraud", 60),
                          &err)); /* the old keys are used on */
    setenv("TEST_CLOCK", "0:87100", 1);
    CHECK_ERR(
        check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_BUSY); /* but not for ever */
    ci_free(&c);
}

TEST(test_srv_oidc__issuer_that_says_it_is_another)
{
    struct ci c;
    struct err err = ERR_INIT;

    ci_new(&c);
    snprintf(c.i.says, sizeof(c.i.says), "https://ci.example.org");
    srv_oidc_refresh(c.o, told, &c);
    CHECK(c.told_failure);
    CHECK_ERR(
        check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_BUSY);
    /* taken back: nobody's jobs are known any more */
    CHECK_OK(db_begin(c.f.db, &err));
    CHECK_OK(acc_issuer_remove(c.f.acc, "ours", 0, &err));
    CHECK_OK(db_commit(c.f.db, &err));
    CHECK_OK(srv_oidc_issuers(c.o, c.f.acc, &err));
    CHECK_ERR(
        check_signed(&c, "RS256", "r1", claims_of(&c, "sluice", "org/fraud", 60), &err),
        ERR_DENIED);
    ci_free(&c);
}
