/* SPDX-License-Identifier: Apache-2.0 */
#include "access/identity.h"

#include "access/acc_int.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum { VALUE_MAX = 1024 };

int
acc_cert_value(const char *kind, const char *text, struct buf *out, struct err *err)
{
    struct digest d;
    char hex[DIGEST_HEX_BYTES];
    struct buf bare AUTO(buf_release) = BUF_INIT;

    if (strcmp(kind, "sha256") != 0) {
        bool ok = text[0] && strlen(text) <= VALUE_MAX;

        for (const char *p = text; *p; p++)
            ok = ok && *p > ' ' && *p < 0x7f;
        if (!ok)
            return err_set(err, ERR_INVALID,
                           "'%.80s' is no %s of a certificate: printable ASCII without "
                           "blanks",
                           text, kind);
        buf_adds(out, text);
        return 0;
    }
    for (const char *p = text; *p && bare.len <= 2 * sizeof(d.b); p++)
        if (*p != ':')
            buf_addc(&bare, *p);
    if (!digest_parse(str_of(buf_str(&bare)), &d))
        return err_set(err, ERR_INVALID,
                       "'%.100s' is no SHA-256: 64 hex digits, as openssl x509 "
                       "-fingerprint -sha256 prints them",
                       text);
    digest_hex(&d, hex);
    buf_adds(out, hex);
    return 0;
}

int
acc_cert_find(struct acc *a, const char *kind, const char *value,
              char subject[ACC_SUBJECT_BYTES], struct err *err)
{
    struct buf name AUTO(buf_release) = BUF_INIT;
    int r = db_get_text(a->db, &name, err,
                        "SELECT subject FROM certificate WHERE kind = ? AND value = ?",
                        "tt", kind, value);

    if (r == 1)
        snprintf(subject, ACC_SUBJECT_BYTES, "%s", buf_str(&name));
    return r;
}

int
acc_cert_add(struct acc *a, const char *kind, const char *value, const char *subject,
             struct err *err)
{
    char known[ACC_SUBJECT_BYTES];
    int r = acc_check_subject(a, subject, err);

    if (r == 0)
        r = acc_cert_find(a, kind, value, known, err);
    if (r == 1 && strcmp(known, subject) != 0)
        return err_set(err, ERR_CONFLICT,
                       "%s %s stands for %s already: sluice user cert %s --%s '%s%s' "
                       "--remove",
                       kind, value, known, known,
                       strcmp(kind, "sha256") == 0 ? "sha256" : "san",
                       strcmp(kind, "sha256") == 0 ? "" : kind,
                       strcmp(kind, "sha256") == 0 ? "" : ":…");
    if (r != 0)
        return r < 0 ? r : 0;
    r = db_run(a->db, err,
               "INSERT INTO certificate(kind, value, subject, by, time_ns) "
               "VALUES(?, ?, ?, ?, ?)",
               "tttti", kind, value, subject, a->actor, clock_now_ns());
    return r < 0 ? r : 1;
}

int
acc_cert_remove(struct acc *a, const char *kind, const char *value, const char *subject,
                struct err *err)
{
    int r = db_run(a->db, err,
                   "DELETE FROM certificate WHERE kind = ? AND value = ? AND "
                   "subject = ?",
                   "ttt", kind, value, subject);

    return r < 0 ? r : db_changes(a->db) > 0;
}

int
acc_certs(struct acc *a, const char *subject_or_null,
          int (*fn)(void *arg, const struct acc_cert *c, struct err *err), void *arg,
          struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(a->db, &st, err,
                     "SELECT kind, value, subject, by, time_ns FROM certificate "
                     "WHERE subject = ? OR ? = '' ORDER BY subject, kind, value",
                     "tt", subject_or_null ? subject_or_null : "",
                     subject_or_null ? subject_or_null : "");

    while (r >= 0 && (r = db_step(st, err)) == 1) {
        const struct acc_cert c = { .kind = db_text(st, 0),
                                    .value = db_text(st, 1),
                                    .subject = db_text(st, 2),
                                    .by = db_text(st, 3),
                                    .time_ns = db_int(st, 4) };
        r = fn(arg, &c, err);
    }
    return r;
}
