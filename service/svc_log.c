/* SPDX-License-Identifier: Apache-2.0 */
/* Each call leaves one event: in the transaction of its act, or in one of its own. */
#include "repo/gc.h"
#include "service/svc_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NOT_GIVEN_OUT                                                                  \
    "a read that cannot be recorded is not given out, unless the store allows it: "    \
    "sluice config set unrecorded_reads allow (while it can be written)"

static int
record(struct svc_call *c, const char *outcome, struct err *err)
{
    const char *reason = svc_str(c, "reason");
    if (reason)
        json_put_str(c->body, "reason", reason);
    struct buf body AUTO(buf_release) = BUF_INIT;
    json_print(c->body, &body, true);
    struct acc_event e = { .verb = c->verb->name,
                           .object = c->object,
                           .digest = c->digest,
                           .outcome = outcome,
                           .body = buf_str(&body) };
    return acc_record(c->repo->acc, &e, err);
}

void
svc_no_reply(struct svc_call *c)
{
    cJSON_Delete(c->reply);
    c->reply = cJSON_CreateObject();
}

int
svc_commit(struct svc_call *c, struct err *err)
{
    repo_lease_end(c->repo);
    svc_key_reply(c);
    if (fs_maps_check(c->n_cut, err) < 0 || acc_key_claim(c->repo->acc, 0, err) < 0 ||
        record(c, "ok", err) < 0 || db_commit(c->repo->db, err) < 0) {
        svc_no_reply(c);
        return -(int)err->code;
    }
    c->recorded = true;
    return 0;
}

const char *
svc_outcome(enum err_code code)
{
    return code == ERR_OK                            ? "ok"
           : code == ERR_DENIED                      ? "denied"
           : code == ERR_REFUSED || code == ERR_HOOK ? "refused"
                                                     : "failed";
}

/* Reads, refusals and failures leave their event in a transaction of its own. A log
 * that cannot be written fails a call that succeeded (an unrecorded read is not given
 * out), and is added to the message of one that failed. */
static int
record_apart(struct svc_call *c, const struct err *failure, struct err *err)
{
    const char *outcome = c->replayed ? "replayed" : svc_outcome(failure->code);
    if (failure->code != ERR_OK) {
        char *line = xstrndup(failure->msg, 600); /* a list of gates is several lines */
        for (char *p = strchr(line, '\n'); p; p = strchr(p, '\n'))
            *p = ' ';
        json_put_str(c->body, "error", line);
        free(line);
    }
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    if (record(c, outcome, err) < 0 || db_commit(c->repo->db, err) < 0) {
        db_rollback(c->repo->db);
        return err_ctx(err, "%s: record it in the log", c->verb->name);
    }
    c->recorded = true;
    return 0;
}

static bool
is_read(const struct svc_verb *verb)
{
    return verb->right == ACC_READ || verb->right == ACC_NONE ||
           strcmp(verb->name, "fsck") == 0; /* looks; it is for who administers */
}

bool
svc_is_full(const struct err *err)
{
    return err->code == ERR_IO && (err->sys == ENOSPC || err->sys == EDQUOT);
}

/* The call's event, unless it stands already, and the log's files. Returns the call's
 * result, which the log can spoil: a read that cannot be recorded is not given out,
 * unless the store says otherwise. */
int
svc_log_call(struct svc_call *c, int r, struct err *err)
{
    struct err why = ERR_INIT, second = ERR_INIT;
    int e = 0;
    if (c->repo->is_read_only) {
        if (r >= 0)
            json_put_str(c->reply, "log_note",
                         "this read is not in the log: the store is on a read-only "
                         "file system");
        return r;
    }
    if (!c->recorded && err->code != ERR_USAGE)
        e = record_apart(c, err, &why);
    if (e >= 0 && c->recorded)
        e = acc_publish(c->repo->acc, &why);
    if (e >= 0)
        return r;
    if (r < 0)
        return err_ctx(err, "(and the log: %s)", why.msg);
    if (c->recorded && svc_is_full(&why)) {
        /* The event stands in the catalogue; the next call completes the files. */
        char *note AUTO(free_ptr) = xasprintf(
            "done, but the log's files are behind until there is room: %s", why.msg);
        json_put_str(c->reply, "log_note", note);
        return r;
    }
    if (!is_read(c->verb) || (why.code != ERR_IO && why.code != ERR_DB))
        return err_set(err, why.code, "%s%s", c->recorded ? "it is done, but " : "",
                       why.msg);
    int allowed = repo_setting_is(c->repo, "unrecorded_reads", "allow", &second);
    if (allowed == 1) {
        char *note AUTO(free_ptr) =
            xasprintf("this read is not in the log: %s", why.msg);
        json_put_str(c->reply, "log_note", note);
        return r;
    }
    svc_no_reply(c);
    if (c->made && second.code == ERR_OK)
        (void)!fs_remove_tree(AT_FDCWD, c->made, &second);
    return err_set(err, why.code, "%s%s%s; " NOT_GIVEN_OUT, why.msg,
                   second.code == ERR_OK ? "" : "; ", second.msg);
}

int
svc_check_read_only(struct svc_call *c, struct err *err)
{
    if (!c->repo->is_read_only)
        return 0;
    if (!is_read(c->verb))
        return err_set_at(err, ERR_IO, EROFS, __FILE__, __LINE__,
                          "%s is on a read-only file system: only reading works there",
                          c->repo->path);
    int allowed = repo_setting_is(c->repo, "unrecorded_reads", "allow", err);
    if (allowed != 0)
        return allowed < 0 ? allowed : 0;
    return err_set_at(err, ERR_IO, EROFS, __FILE__, __LINE__,
                      "%s is on a read-only file system; " NOT_GIVEN_OUT,
                      c->repo->path);
}

void
svc_put_event(cJSON *o, const char *verb_key, const struct acc_event_row *row)
{
    cJSON *body = cJSON_Parse(row->e.body);
    cJSON_DeleteItemFromObject(body, ACC_ROWS);
    svc_put_time(o, "time", row->time_ns);
    json_put_str(o, "by", row->actor);
    json_put_str(o, verb_key, row->e.verb);
    json_put_str(o, "object", row->e.object);
    json_put_str(o, "digest", row->e.digest);
    cJSON_AddItemToObject(o, "detail", body ? body : cJSON_CreateObject());
}
