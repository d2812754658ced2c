/* SPDX-License-Identifier: Apache-2.0 */
/* sluice: finds the verb, makes the request, calls the service, shows the reply. */
#include "cli/cli.h"

#include "base/crypto.h"
#include "base/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* stdout may be a full disk or a closed pipe: who does not see the answer must not
 * see status 0. */
static int
say(const struct buf *out, int status)
{
    struct err err = ERR_INIT;
    size_t n = 0;
    while (n < out->len) {
        ssize_t k = write(STDOUT_FILENO, out->data + n, out->len - n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            err_sys(&err, errno, "write the answer to stdout");
            return cli_complain(&err);
        }
        n += (size_t)k;
    }
    return status;
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
    (void)say(&out, 0);
}

/* Ends the process from here: to give all memory back piece by piece, the catalogue's
 * parsed schema first of all, took one part in twelve of a short command's time. */
static _Noreturn void
call(const struct cli_call *call_)
{
    struct err err = ERR_INIT;
    struct buf out = BUF_INIT;
    struct svc *svc = NULL;
    cJSON *reply = NULL;
    struct cli_progress progress = { .what = NULL };
    char *secret_path = NULL;
    bool is_token = strncmp(call_->verb->name, "token_", 6) == 0;
    int r = is_token ? cli_secret_file(call_->request, &secret_path, &err) : 0;
    if (r >= 0)
        r = svc_open(&svc, call_->store, &err);
    if (r >= 0 && cli_progress_wanted(call_->json))
        svc_on_progress(svc, cli_progress, &progress);
    struct telling telling = { .json = call_->json };
    if (r >= 0)
        svc_on_tell(svc, tell, &telling);
    if (strcmp(call_->verb->name, "push") == 0)
        cli_add_ci(call_->request);
    if (r >= 0)
        r = svc_call(svc, call_->verb->name, call_->request, &reply, &err);
    if (r >= 0)
        r = cli_secret_write(reply, secret_path, &err);
    cli_progress_end(&progress);
    const bool serves = strcmp(call_->verb->name, "serve") == 0;
    bool becomes = r >= 0 && (serves || strcmp(call_->verb->name, "exec") == 0);
    if (reply && strcmp(call_->verb->name, "cat") == 0)
        becomes = false; /* it has written its bytes */
    else if (reply && call_->json && !becomes)
        json_print(reply, &out, telling.told);
    else if (reply)
        cli_command(call_->verb->name)->render(reply, r < 0, &out);
    if (telling.told && out.len > 0 && out.data[out.len - 1] != '\n')
        buf_addc(&out, '\n');
    int status = say(&out, 0);
    const char *note = cJSON_GetStringValue(cJSON_GetObjectItem(reply, "log_note"));
    if (note)
        fprintf(stderr, "sluice: note: %s\n", note);
    char *before = svc ? svc_upgraded(svc) : NULL;
    if (before)
        fprintf(stderr,
                "sluice: note: the store's catalogue was upgraded for this program; as "
                "it was: %s (docs/operations.md)\n",
                before);
    free(before);
    if (r < 0)
        status = cli_complain(&err);
    else if (becomes)
        status = serves ? cli_serve(&svc, call_->request, reply)
                        : cli_exec(&svc, call_->request, reply);
    svc_leave(svc);
    exit(status);
}

int
main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    struct cli_call parsed;
    int status;
    crypto_setup();
    json_setup();
    if (cli_parse(argc, argv, &parsed, &err) < 0 || fs_maps_guard(&err) < 0) {
        status = cli_complain(&err);
    } else if (parsed.help || !parsed.verb) {
        struct buf out AUTO(buf_release) = BUF_INIT;
        if (parsed.verb)
            cli_help_verb(parsed.verb, &out);
        else if (parsed.group)
            cli_help_group(parsed.group, &out);
        else
            cli_help(&out);
        if (parsed.help) {
            status = say(&out, 0);
        } else {
            fputs(buf_str(&out), stderr);
            status = err_exit_status(ERR_USAGE);
        }
    } else if (strcmp(parsed.verb->name, "agent") == 0) {
        status = cli_agent(&parsed);
    } else {
        call(&parsed);
    }
    cJSON_Delete(parsed.request);
    return status;
}
