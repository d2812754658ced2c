/* SPDX-License-Identifier: Apache-2.0 */
/* HEADER "." PAYLOAD "." SIGNATURE, each in base64url without padding. Who checks the
 * signature (server/srv_oidc.c) must do so before anything of it is believed. */
#include "access/identity.h"

#include "base/clock.h"
#include "base/crypto.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WHAT "the job's token"
#define S_NS INT64_C(1000000000)

void
acc_jwt_release(struct acc_jwt *t)
{
    cJSON_Delete(t->header);
    cJSON_Delete(t->claims);
    buf_release(&t->payload);
    *t = (struct acc_jwt){ .header = NULL };
}

static int
read_object(struct str part, struct buf *bytes, cJSON **out, struct err *err)
{
    if (base64url_decode(bytes, part, err) < 0)
        return err_ctx(err, WHAT);
    if (json_parse(out, (struct str){ bytes->data, bytes->len }, WHAT, err) < 0)
        return -(int)err->code;
    if (!cJSON_IsObject(*out))
        return err_set(err, ERR_INVALID, WHAT ": not an object");
    return json_check_names(*out, WHAT, err);
}

static bool
next_part(struct str *text, char end, struct str *part)
{
    const char *dot = end ? memchr(text->p, end, text->n) : text->p + text->n;

    if (!dot || dot == text->p)
        return false;
    *part = (struct str){ text->p, (size_t)(dot - text->p) };
    text->p = dot + (end != '\0');
    text->n -= part->n + (end != '\0');
    return true;
}

static int
check_header(struct acc_jwt *t, struct err *err)
{
    const char *typ = NULL;

    if (json_str(t->header, "alg", NULL, &t->alg, WHAT, err) < 0 ||
        json_str(t->header, "kid", "", &t->kid, WHAT, err) < 0 ||
        json_str(t->header, "typ", "JWT", &typ, WHAT, err) < 0 ||
        json_str(t->claims, "iss", NULL, &t->iss, WHAT, err) < 0)
        return -(int)err->code;
    if (!t->kid[0])
        t->kid = NULL;
    if (strcmp(t->alg, "RS256") != 0 && strcmp(t->alg, "ES256") != 0)
        return err_set(err, ERR_INVALID,
                       WHAT " is signed by '%.20s'; RS256 and ES256 are accepted",
                       t->alg);
    if (json_has(t->header, "crit") || json_has(t->header, "b64") ||
        (strcasecmp(typ, "JWT") != 0 && strcasecmp(typ, "at+jwt") != 0))
        return err_set(err, ERR_INVALID, WHAT " is of a kind that is not known");
    return 0;
}

int
acc_jwt_parse(struct str text, struct acc_jwt *out, struct err *err)
{
    struct buf header AUTO(buf_release) = { .cap_bytes = ACC_JWT_MAX };
    struct buf sig AUTO(buf_release) = { .cap_bytes = ACC_JWT_MAX };
    struct str head, body, signature;
    struct acc_jwt t = { .payload = { .cap_bytes = ACC_JWT_MAX } };

    if (text.n > ACC_JWT_MAX)
        return err_set(err, ERR_INVALID, WHAT " has %zu bytes; at most %d are read",
                       text.n, ACC_JWT_MAX);
    if (!next_part(&text, '.', &head) || !next_part(&text, '.', &body) ||
        !next_part(&text, '\0', &signature) || memchr(signature.p, '.', signature.n))
        return err_set(err, ERR_INVALID, WHAT " does not have three parts");
    if (base64url_decode(&sig, signature, err) < 0) /* its form alone is of interest */
        return err_ctx(err, WHAT);
    if (read_object(head, &header, &t.header, err) < 0 ||
        read_object(body, &t.payload, &t.claims, err) < 0 ||
        check_header(&t, err) < 0) {
        acc_jwt_release(&t);
        return -(int)err->code;
    }
    *out = t;
    return 0;
}

/* Seconds since 1970 of a claim; NaN: absent. */
static int
claim_time(const struct acc_jwt *t, const char *name, double *out, struct err *err)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(t->claims, name);

    *out = NAN;
    if (v && !(cJSON_IsNumber(v) && v->valuedouble >= 0 && v->valuedouble < 9e9))
        return err_set(err, ERR_DENIED, "claim %s is no time", name);
    if (v)
        *out = v->valuedouble;
    return 0;
}

static bool
has_audience(const cJSON *aud, const char *wanted)
{
    const cJSON *e;

    if (cJSON_IsString(aud))
        return strcmp(aud->valuestring, wanted) == 0;
    if (cJSON_IsArray(aud))
        cJSON_ArrayForEach(e, aud) if (cJSON_IsString(e) &&
                                       strcmp(e->valuestring, wanted) == 0) return true;
    return false;
}

int
acc_jwt_check(const struct acc_jwt *t, const char *audience, int64_t now_ns,
              struct err *err)
{
    const double now = (double)(now_ns / S_NS);
    double exp, nbf, iat;

    if (claim_time(t, "exp", &exp, err) < 0 || claim_time(t, "nbf", &nbf, err) < 0 ||
        claim_time(t, "iat", &iat, err) < 0)
        return -(int)err->code;
    if (isnan(exp) || isnan(iat))
        return err_set(err, ERR_DENIED, "claim %s is missing",
                       isnan(exp) ? "exp" : "iat");
    if (now >= exp + ACC_JWT_LEEWAY_S)
        return err_set(err, ERR_DENIED, "it expired %.0f s ago", now - exp);
    if (iat > now + ACC_JWT_LEEWAY_S || (!isnan(nbf) && nbf > now + ACC_JWT_LEEWAY_S))
        return err_set(err, ERR_DENIED, "it begins in %.0f s: compare the clocks",
                       (iat > now + ACC_JWT_LEEWAY_S ? iat : nbf) - now);
    if (!has_audience(cJSON_GetObjectItemCaseSensitive(t->claims, "aud"), audience))
        return err_set(err, ERR_DENIED, "it is not for the audience '%s'", audience);
    return 0;
}

int64_t
acc_jwt_end_ns(const struct acc_jwt *t)
{
    const cJSON *exp = cJSON_GetObjectItemCaseSensitive(t->claims, "exp");

    return cJSON_IsNumber(exp) ? ((int64_t)exp->valuedouble + ACC_JWT_LEEWAY_S) * S_NS
                               : 0;
}
