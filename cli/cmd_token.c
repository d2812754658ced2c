/* SPDX-License-Identifier: Apache-2.0 */
/* user add, list, disable, enable, cert; token create, list, revoke, rotate; issuer
 * add, list, remove */
#include "base/fs.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

static const char *
as_before(const cJSON *reply)
{
    return cli_bool(reply, "changed") ? "" : " (as before)";
}

static void
time_cell(struct cli_table *t, const cJSON *o, const char *key, const char *without)
{
    struct buf cell AUTO(buf_release) = BUF_INIT;

    if (cli_str(o, key)[0])
        cli_time(cli_str(o, key), &cell);
    else
        buf_adds(&cell, without);
    cli_table_cell(t, buf_str(&cell));
}

/* "push:fraud read:*"; all there is, when there is none. */
static void
add_scope(const cJSON *o, struct buf *out)
{
    const cJSON *scope = cJSON_GetObjectItemCaseSensitive(o, "scope"), *e;
    const char *sep = "";

    if (!cJSON_IsArray(scope))
        buf_adds(out, "all its subject may");
    cJSON_ArrayForEach(e, scope)
    {
        buf_addf(out, "%s%s", sep, e->valuestring ? e->valuestring : "");
        sep = " ";
    }
}

/* ---- users ---- */

void
cmd_user_add(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "%s is a %s here%s\n", cli_str(reply, "user"),
             cli_bool(reply, "service") ? "service" : "user", as_before(reply));
}

void
cmd_user_disable(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "%s is disabled: no token, certificate, job or socket lets it in%s\n",
             cli_str(reply, "user"), as_before(reply));
}

void
cmd_user_enable(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "%s is enabled%s\n", cli_str(reply, "user"), as_before(reply));
}

void
cmd_user_list(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "USER", "KIND", "TOKENS", "LAST USED",
                                          "NOTE" };
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;

    (void)failed;
    cli_table_start(&t, 5, titles);
    for (const cJSON *u = cli_list(reply, "users"); u; u = u->next) {
        cli_table_cell(&t, cli_str(u, "user"));
        buf_addf(&cell, "%s%s", cli_str(u, "kind"),
                 cli_bool(u, "disabled") ? ", disabled" : "");
        cli_table_cell_buf(&t, &cell);
        buf_addf(&cell, "%.0f", cli_num(u, "tokens"));
        cli_table_cell_buf(&t, &cell);
        time_cell(&t, u, "used", "never");
        cli_table_cell(&t, cli_str(u, "note"));
    }
    cli_table_end(&t, out);
}

void
cmd_user_cert(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (!cli_list(reply, "certificates"))
        buf_addf(out, "no certificate stands for %s\n", cli_str(reply, "user"));
    for (const cJSON *c = cli_list(reply, "certificates"); c; c = c->next)
        buf_addf(out, "%s: %s %s, by %s\n", cli_str(reply, "user"), cli_str(c, "kind"),
                 cli_str(c, "value"), cli_str(c, "by"));
}

/* ---- tokens ---- */

/* The secret comes last, on a line of its own. */
static void
add_secret(const cJSON *reply, struct buf *out)
{
    if (cli_str(reply, "out")[0])
        buf_addf(out, "its secret is in %s, and nowhere else\n", cli_str(reply, "out"));
    else if (cli_str(reply, "token")[0])
        buf_addf(out, "shown this once, and kept nowhere:\n%s\n",
                 cli_str(reply, "token"));
    else
        buf_addf(out,
                 "its secret was shown when it was made, and is kept nowhere: sluice "
                 "token rotate %s\n",
                 cli_str(reply, "id"));
}

static void
add_until(const cJSON *reply, struct buf *out)
{
    buf_adds(out, "until ");
    cli_time(cli_str(reply, "expires"), out);
}

void
cmd_token_create(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "token %s for %s, ", cli_str(reply, "id"), cli_str(reply, "subject"));
    add_until(reply, out);
    buf_adds(out, ": ");
    add_scope(reply, out);
    buf_addc(out, '\n');
    add_secret(reply, out);
}

void
cmd_token_rotate(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "token %s takes the place of %s, ", cli_str(reply, "id"),
             cli_str(reply, "replaces"));
    add_until(reply, out);
    buf_addc(out, '\n');
    add_secret(reply, out);
}

void
cmd_token_revoke(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "token %s is revoked%s\n", cli_str(reply, "id"), as_before(reply));
}

void
cmd_token_list(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "ID",        "SUBJECT", "SCOPE", "UNTIL",
                                          "LAST USED", "BY",      "NOTE" };
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;

    (void)failed;
    if (!cli_list(reply, "tokens")) {
        buf_adds(out, "no tokens\n");
        return;
    }
    cli_table_start(&t, 7, titles);
    for (const cJSON *k = cli_list(reply, "tokens"); k; k = k->next) {
        cli_table_cell(&t, cli_str(k, "id"));
        cli_table_cell(&t, cli_str(k, "subject"));
        add_scope(k, &cell);
        cli_table_cell_buf(&t, &cell);
        if (cli_str(k, "revoked")[0])
            cli_table_cell(&t, "revoked");
        else
            time_cell(&t, k, "expires", "");
        time_cell(&t, k, "used", "never");
        cli_table_cell(&t, cli_str(k, "by"));
        cli_table_cell(&t, cli_str(k, "note"));
    }
    cli_table_end(&t, out);
}

int
cli_secret_file(cJSON *request, char **path, struct err *err)
{
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    int dirfd AUTO(fs_close) = -1;
    const char *out = cJSON_GetStringValue(cJSON_GetObjectItem(request, "out"));
    const char *slash;

    *path = out ? xstrdup(out) : NULL;
    cJSON_DeleteItemFromObject(request, "out");
    if (!*path)
        return 0;
    slash = strrchr(*path, '/');
    char *dir AUTO(free_ptr) =
        slash ? xstrndup(*path, (size_t)(slash - *path) + 1) : xstrdup(".");
    if (fs_open_dir(&dirfd, AT_FDCWD, dir, err) < 0 ||
        fs_tmp_open(&tmp, dirfd, err) < 0)
        return err_ctx(err, "--out %s", *path);
    return 0;
}

int
cli_secret_write(cJSON *reply, const char *path, struct err *err)
{
    char *line AUTO(free_ptr) = NULL;

    if (!path || !cli_str(reply, "token")[0])
        return 0;
    line = xasprintf("%s\n", cli_str(reply, "token"));
    if (fs_replace(AT_FDCWD, path, line, strlen(line), 0600, err) < 0)
        return err_ctx(err, "--out %s: the token is made, and its secret is lost",
                       path);
    cJSON_DeleteItemFromObject(reply, "token");
    json_put_str(reply, "out", path);
    return 0;
}

/* ---- issuers ---- */

void
cmd_issuer_add(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    buf_addf(out, "rule %.0f of %s: its jobs are %s\n", cli_num(reply, "rule"),
             cli_str(reply, "issuer"), cli_str(reply, "subject"));
}

void
cmd_issuer_remove(const cJSON *reply, bool failed, struct buf *out)
{
    (void)failed;
    if (cli_num(reply, "rule") > 0)
        buf_addf(out, "rule %.0f of %s is gone\n", cli_num(reply, "rule"),
                 cli_str(reply, "issuer"));
    else
        buf_addf(out, "%s is gone, and all its rules\n", cli_str(reply, "issuer"));
}

void
cmd_issuer_list(const cJSON *reply, bool failed, struct buf *out)
{
    static const char *const titles[] = { "RULE",    "ISSUER",  "AUDIENCE",
                                          "MATCHES", "SUBJECT", "SCOPE" };
    struct buf cell AUTO(buf_release) = BUF_INIT;
    struct cli_table t;

    (void)failed;
    if (!cli_list(reply, "rules")) {
        buf_adds(out, "no issuers: no CI job is known by what it shows\n");
        return;
    }
    cli_table_start(&t, 6, titles);
    for (const cJSON *r = cli_list(reply, "rules"); r; r = r->next) {
        buf_addf(&cell, "%.0f", cli_num(r, "rule"));
        cli_table_cell_buf(&t, &cell);
        buf_addf(&cell, "%s %s", cli_str(r, "issuer"), cli_str(r, "url"));
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(r, "audience"));
        for (const cJSON *m = cli_list(r, "match"); m; m = m->next)
            buf_addf(&cell, "%s%s=%s", cell.len ? " " : "", m->string,
                     m->valuestring ? m->valuestring : "");
        cli_table_cell_buf(&t, &cell);
        cli_table_cell(&t, cli_str(r, "subject"));
        add_scope(r, &cell);
        cli_table_cell_buf(&t, &cell);
    }
    cli_table_end(&t, out);
}
