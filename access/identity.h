/* SPDX-License-Identifier: Apache-2.0 */
/* Who somebody is, where the kernel does not say it: accounts, and what they are known
 * by: tokens, certificates, jobs of a CI system. What they may do is access.h.
 *
 * A subject needs no account: whoever has a name on the machine, or a grant, is one. An
 * account makes a name known that the machine does not have, says that it is a
 * program's, and can be disabled, which ends every way in.
 *
 * Functions that change something do so in the caller's transaction, and leave it to
 * him to record it. Times are nanoseconds since 1970. */
#ifndef ACCESS_IDENTITY_H
#define ACCESS_IDENTITY_H

#include "access/access.h"

enum { ACC_SUBJECT_BYTES = 64 /* a subject with its NUL */ };

/* ---- accounts (acc_user.c) ---- */

struct acc_user {
    const char *name, *note, *by;
    bool is_owner, is_service, is_disabled;
    int64_t time_ns;  /* when it was added */
    int64_t n_tokens; /* that can be used now */
    int64_t used_ns;  /* one of them was, last; 0: never */
};
/* 1: it is new, or another kind or note; 0: it was so already. ERR_INVALID: no name. */
int acc_user_add(struct acc *a, const char *name, bool is_service, const char *note,
                 struct err *err) MUST_CHECK;
/* Also of a name without an account, which gets one. ERR_INVALID: the owner's. */
int acc_user_enable(struct acc *a, const char *name, bool enabled,
                    struct err *err) MUST_CHECK;
int acc_users(struct acc *a,
              int (*fn)(void *arg, const struct acc_user *u, struct err *err),
              void *arg, struct err *err) MUST_CHECK;
/* 1: the store has heard of it: an account, a grant, its owner; 0: it has not. */
int acc_user_known(struct acc *a, const char *name, struct err *err) MUST_CHECK;
/* ERR_DENIED: it is disabled. */
int acc_user_active(struct acc *a, const char *name, struct err *err) MUST_CHECK;
/* The name that stands for a user of the kernel here, as acc_open finds its own. */
int acc_user_of(struct db *db, uid_t uid, char out[ACC_SUBJECT_BYTES],
                struct err *err) MUST_CHECK;

/* 0: the caller may say by what this subject is known (tokens, certificates, jobs):
 * the owner for everybody, who has ADMIN for everybody but the owner. ERR_DENIED. */
int acc_check_vouch(struct acc *a, const char *subject, struct err *err) MUST_CHECK;

/* ---- tokens (acc_token.c) ----
 *
 *   slc_ ID _ SECRET CHECK      8, 32 and 6 digits of base 62
 *
 * ID is public: logs and lists name the token by it. SECRET is 190 random bits; its
 * SHA-256 is all that is kept. CHECK is the CRC-32C of what stands before it: a typing
 * error is told from a token that is not accepted, without asking the catalogue. */
enum {
    ACC_TOKEN_ID_CHARS = 8,
    ACC_TOKEN_SECRET_CHARS = 32,
    ACC_TOKEN_CHECK_CHARS = 6,
    ACC_TOKEN_CHARS =
        4 + ACC_TOKEN_ID_CHARS + 1 + ACC_TOKEN_SECRET_CHARS + ACC_TOKEN_CHECK_CHARS
};
#define ACC_TOKEN_PREFIX "slc_"
#define ACC_TOKEN_LIFE_NS (INT64_C(90) * 86400 * 1000000000)
#define ACC_TOKEN_LIFE_MAX_NS (INT64_C(3660) * 86400 * 1000000000)

struct acc_token_text {
    char id[ACC_TOKEN_ID_CHARS + 1];
    char secret[ACC_TOKEN_SECRET_CHARS];
};
/* ERR_INVALID: it is not a whole token. No message has a part of it. */
int acc_token_parse(struct str text, struct acc_token_text *out,
                    struct err *err) MUST_CHECK;

struct acc_token_wish {
    const char *subject;
    const char *scope; /* as acc_who.scope; NULL: all of the subject's rights */
    const char *note;  /* NULL: "" */
    int64_t life_ns;
};
struct acc_token_new {
    char id[ACC_TOKEN_ID_CHARS + 1];
    char text[ACC_TOKEN_CHARS + 1]; /* the only time that it is seen */
    int64_t expires_ns;
};
/* For oneself, or whom the caller may vouch for. Who is known by a token himself gets
 * no more by it: not wider, not longer. A job of a CI system makes none for itself. */
int acc_token_make(struct acc *a, const struct acc_token_wish *wish,
                   struct acc_token_new *out, struct err *err) MUST_CHECK;
/* A new one of the same subject, scope, note and length of life, from now on; the old
 * one ends after grace_ns. ERR_NOTFOUND, ERR_INVALID: it has ended already. */
int acc_token_rotate(struct acc *a, const char *id, int64_t grace_ns,
                     struct acc_token_new *out, struct err *err) MUST_CHECK;
/* 1: it ended now; 0: it had already. ERR_NOTFOUND. */
int acc_token_revoke(struct acc *a, const char *id, struct err *err) MUST_CHECK;

struct acc_token {
    const char *id, *subject, *note, *by;
    const char *scope; /* NULL: all */
    int64_t made_ns, expires_ns;
    int64_t revoked_ns; /* 0: it is not */
    int64_t used_ns;    /* 0: never */
};
struct acc_token_query {
    const char *subject; /* NULL: of all whom the caller may vouch for, and his own */
    const char *id;      /* NULL: all */
    int64_t unused_ns;   /* 0: all; else those that nobody used since then */
    bool ended;          /* also expired and revoked ones */
};
int acc_tokens(struct acc *a, const struct acc_token_query *q,
               int (*fn)(void *arg, const struct acc_token *t, struct err *err),
               void *arg, struct err *err) MUST_CHECK;

/* Why one is not accepted, for the log; nobody else is told. */
enum {
    ACC_TOKEN_UNKNOWN = 1,
    ACC_TOKEN_WRONG = 2, /* the secret */
    ACC_TOKEN_EXPIRED = 4,
    ACC_TOKEN_REVOKED = 8,
    ACC_TOKEN_DISABLED = 16 /* its subject */
};
const char *acc_token_why(unsigned why);
struct acc_token_found {
    char subject[ACC_SUBJECT_BYTES];
    char *scope; /* the caller frees; NULL: all */
    int64_t expires_ns;
    unsigned why; /* when it is not accepted */
};
/* 1: whose it is; 0: it is not accepted. Does the same work whatever the secret, and
 * whether the id exists or not. */
int acc_token_find(struct acc *a, const struct acc_token_text *t,
                   struct acc_token_found *out, struct err *err) MUST_CHECK;
/* What acc_token_find decides by, for a row that may not be there. */
struct acc_token_row {
    struct digest secret;
    int64_t expires_ns, revoked_ns, is_disabled, is_there;
};
unsigned acc_token_judge(const struct acc_token_row *row,
                         const struct acc_token_text *t, int64_t now_ns);
/* When a token was used, the latest known. */
int acc_token_used(struct acc *a, const char *id, int64_t time_ns,
                   struct err *err) MUST_CHECK;

/* The scope that a list of "RIGHT:OBJECT" (push:fraud, read:*) means, as JSON.
 * ERR_INVALID. */
int acc_scope_make(const cJSON *list, struct buf *out, struct err *err) MUST_CHECK;

/* ---- certificates of clients (acc_cert.c) ----
 * Who may sign them is the server's business. kind: "sha256" (of the certificate's DER,
 * in lower-case hex), or of its alternative names "URI", "DNS", "email". */

struct acc_cert {
    const char *kind, *value, *subject, *by;
    int64_t time_ns;
};
/* "sha256" also with colons and in capitals, as openssl prints it: brought to the form
 * above. ERR_INVALID. */
int acc_cert_value(const char *kind, const char *text, struct buf *out,
                   struct err *err) MUST_CHECK;
/* 1: new, 0: was so already. ERR_CONFLICT: it stands for another subject. */
int acc_cert_add(struct acc *a, const char *kind, const char *value,
                 const char *subject, struct err *err) MUST_CHECK;
int acc_cert_remove(struct acc *a, const char *kind, const char *value,
                    const char *subject, struct err *err) MUST_CHECK; /* 1, 0 */
int acc_certs(struct acc *a, const char *subject_or_null,
              int (*fn)(void *arg, const struct acc_cert *c, struct err *err),
              void *arg, struct err *err) MUST_CHECK;
/* 1: found, 0: it stands for nobody. */
int acc_cert_find(struct acc *a, const char *kind, const char *value,
                  char subject[ACC_SUBJECT_BYTES], struct err *err) MUST_CHECK;

/* ---- jobs of pipelines (acc_issuer.c) ----
 * An issuer signs a statement about each job (OpenID Connect). Rules say which claims
 * make a job which subject; the first that fits decides. */

struct acc_issuer {
    const char *name;     /* "github", ours */
    const char *url;      /* its `iss`, to the letter */
    const char *audience; /* its `aud` */
};
struct acc_issuer_rule {
    struct acc_issuer issuer;
    int64_t number; /* in the order of adding */
    const char *subject, *by;
    const char *scope; /* NULL: all */
    const char *match; /* {"CLAIM": "PATTERN"}; "*" stands for any run of bytes */
    int64_t time_ns;
};
/* Adds a rule, and with the first one the issuer. pairs: a list of "CLAIM=PATTERN".
 * ERR_INVALID: no URL of the kind, or a rule that all the world's jobs would fit.
 * ERR_CONFLICT: the issuer is known with another URL or audience, or the URL by another
 * name. */
int acc_issuer_add(struct acc *a, const struct acc_issuer *issuer, const cJSON *pairs,
                   const char *subject, const char *scope, int64_t *number,
                   struct err *err) MUST_CHECK;
/* number 0: with all its rules. ERR_NOTFOUND. */
int acc_issuer_remove(struct acc *a, const char *name, int64_t number,
                      struct err *err) MUST_CHECK;
int acc_issuer_rules(struct acc *a,
                     int (*fn)(void *arg, const struct acc_issuer_rule *r,
                               struct err *err),
                     void *arg, struct err *err) MUST_CHECK;
struct acc_job {
    char issuer[ACC_SUBJECT_BYTES], subject[ACC_SUBJECT_BYTES];
    int64_t rule;
    char *scope; /* the caller frees; NULL: all */
};
/* A rule's match, {"CLAIM": "PATTERN"}, holds for all that it names of the claims. */
bool acc_issuer_fits(const char *match, const cJSON *claims);
/* Whom these claims of this issuer mean. 1: found; 0: no rule fits. */
int acc_issuer_find(struct acc *a, const char *url, const cJSON *claims,
                    struct acc_job *out, struct err *err) MUST_CHECK;
/* "*" in a pattern stands for any run of bytes, also none. */
bool acc_glob(const char *pattern, struct str text);

/* ---- what a job shows (acc_jwt.c): a signed JSON Web Token, RFC 7519 ---- */

enum { ACC_JWT_MAX = 16 * 1024, ACC_JWT_LEEWAY_S = 60 };
struct acc_jwt {
    cJSON *header, *claims;
    struct buf payload; /* the bytes that claims were read from */
    const char *alg;    /* "RS256", "ES256" */
    const char *kid;    /* NULL: none */
    const char *iss;
};
void acc_jwt_release(struct acc_jwt *t); /* for AUTO */
/* Reads it; nothing of it is proven yet. ERR_INVALID: not one of the kind: another
 * algorithm, an extension, members twice. */
int acc_jwt_parse(struct str text, struct acc_jwt *out, struct err *err) MUST_CHECK;
/* Its times and its audience. ERR_DENIED says what is wrong, for the log. */
int acc_jwt_check(const struct acc_jwt *t, const char *audience, int64_t now_ns,
                  struct err *err) MUST_CHECK;
/* When it ends, the leeway included; after acc_jwt_check. */
int64_t acc_jwt_end_ns(const struct acc_jwt *t);

#endif
