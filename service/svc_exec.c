/* SPDX-License-Identifier: Apache-2.0 */
/* exec: a version's files, in a directory of their own for one reader. Whoever called
 * becomes that reader: see svc_take_view. */
#include "service/svc_int.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

int
svc_do_exec(struct svc_call *c, struct err *err)
{
    const cJSON *command = cJSON_GetObjectItemCaseSensitive(c->req, "command");
    struct repo_version v;
    char path[PATH_MAX];
    json_put_str(c->body, "ref", svc_str(c, "ref"));
    /* not its arguments: they may hold what is nobody's business */
    json_put_str(c->body, "program", cJSON_GetStringValue(command->child));
    repo_view_close(&c->s->view);
    if (svc_version(c, &v, err) < 0 ||
        repo_view_open(c->repo, &v.digest, &c->s->view, err) < 0 ||
        repo_view_seal(&c->s->view, err) < 0)
        return err_ctx(err, "exec %s", svc_str(c, "ref"));
    if (!realpath(c->s->view.path, path))
        return err_sys(err, errno, "find %s", c->s->view.path);
    c->made = xstrdup(path);
    json_put_str(c->reply, "version", c->object);
    json_put_str(c->reply, "digest", c->digest);
    json_put_str(c->reply, "model_dir", path);
    return 0;
}
