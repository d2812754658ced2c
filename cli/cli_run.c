/* SPDX-License-Identifier: Apache-2.0 */
/* A command from its words to its exit status; who carries the call out is the
 * program's. */
#include "cli/cli.h"

#include "base/crypto.h"
#include "base/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
cli_complain(const struct err *err)
{
    fprintf(stderr, "sluice: %s\n", err->msg);
    return err_exit_status(err->code);
}

int
cli_write(const char *p, size_t n, struct err *err)
{
    while (n > 0) {
        ssize_t k = write(STDOUT_FILENO, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_sys(err, errno, "write the answer to stdout");
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

/* stdout may be a full disk or a closed pipe: who does not see the answer must not
 * see status 0. */
static int
say(const struct buf *out)
{
    struct err err = ERR_INIT;
    return cli_write(out->data, out->len, &err) < 0 ? cli_complain(&err) : 0;
}

/* What is told before a reply makes of all of it lines of JSON. */
struct telling {
    bool json, told;
};

static void
tell(void *arg, const cJSON *what)
{
    struct telling *t = arg;
    struct buf out AUTO(buf_release) = BUF_INIT;
    t->told = true;
    if (t->json) {
        json_print(what, &out, true);
        buf_addc(&out, '\n');
    } else {
        cli_tell_text(what, &out);
    }
    (void)say(&out);
}

/* Ends the process from here: to give all memory back piece by piece, the catalogue's
 * parsed schema first of all, took one part in twelve of a short command's time. */
static _Noreturn void
call(const struct cli_call *call_, const struct cli_ends *ends)
{
    struct err err = ERR_INIT;
    struct buf out = BUF_INIT;
    void *session = NULL;
    cJSON *reply = NULL;
    struct cli_progress progress = { .what = NULL };
    struct telling telling = { .json = call_->json };
    const char *verb = call_->verb->name;
    char *secret_path = NULL;
    bool is_token = strncmp(verb, "token_", 6) == 0;
    int r = is_token ? cli_secret_file(call_->request, &secret_path, &err) : 0;
    if (r >= 0)
        r = ends->open(&session, call_, &err);
    if (r >= 0 && cli_progress_wanted(call_->json))
        ends->on_progress(session, cli_progress, &progress);
    if (r >= 0)
        ends->on_tell(session, tell, &telling);
    if (strcmp(verb, "push") == 0)
        cli_add_ci(call_->request);
    if (r >= 0)
        r = ends->call(session, verb, call_->request, &reply, &err);
    if (r >= 0)
        r = cli_secret_write(reply, secret_path, &err);
    cli_progress_end(&progress);
    bool becomes = r >= 0 && cli_becomes(call_->verb);
    if (reply && strcmp(verb, "cat") == 0)
        becomes = false; /* it has written its bytes */
    else if (reply && call_->json && !becomes)
        json_print(reply, &out, telling.told);
    else if (reply)
        cli_command(verb)->render(reply, r < 0, &out);
    if (telling.told && out.len > 0 && out.data[out.len - 1] != '\n')
        buf_addc(&out, '\n');
    int status = say(&out);
    const char *note = cJSON_GetStringValue(cJSON_GetObjectItem(reply, "log_note"));
    if (note)
        fprintf(stderr, "sluice: note: %s\n", note);
    if (r < 0)
        status = cli_complain(&err);
    else if (becomes)
        status = ends->become(&session, call_, reply);
    if (session)
        ends->leave(session);
    exit(status);
}

static int
help(const struct cli_call *parsed)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    if (parsed->verb)
        cli_help_verb(parsed->verb, &out);
    else if (parsed->group)
        cli_help_group(parsed->group, &out);
    else
        cli_help(&out);
    if (parsed->help)
        return say(&out);
    fputs(buf_str(&out), stderr);
    return err_exit_status(ERR_USAGE);
}

int
cli_run(int argc, char **argv, const struct cli_ends *ends)
{
    struct err err = ERR_INIT;
    struct cli_call parsed;
    int status;
    crypto_setup();
    json_setup();
    if (cli_parse(argc, argv, &parsed, &err) < 0 || fs_maps_guard(&err) < 0)
        status = cli_complain(&err);
    else if (parsed.help || !parsed.verb)
        status = help(&parsed);
    else if (ends->first(&parsed, argv, &status, &err) < 0)
        status = cli_complain(&err);
    else if (status < 0)
        call(&parsed, ends);
    cJSON_Delete(parsed.request);
    return status;
}
