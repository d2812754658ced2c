/* SPDX-License-Identifier: Apache-2.0 */
/* exec */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As shells say it. */
enum { NOT_FOUND = 127, NOT_RUN = 126 };

void
cmd_exec(const cJSON *reply, bool failed, struct buf *out)
{
    (void)reply, (void)failed, (void)out; /* what there is to say the program says */
}

static char **
words_of(const cJSON *list)
{
    char **argv =
        xreallocarray(NULL, (size_t)cJSON_GetArraySize(list) + 1, sizeof(*argv));
    int n = 0;
    for (const cJSON *e = list->child; e; e = e->next)
        argv[n++] = e->valuestring;
    argv[n] = NULL;
    return argv;
}

int
cli_exec(struct svc **svc, const cJSON *request, const cJSON *reply)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    char **argv AUTO(free_ptr) =
        words_of(cJSON_GetObjectItemCaseSensitive(request, "command"));
    svc_take_view(*svc, &view);
    svc_close_p(svc); /* the store is not held open for as long as the program runs */
    bool ready = fcntl(view.lock_fd, F_SETFD, 0) == 0 &&
                 setenv("SLUICE_MODEL_DIR", cli_str(reply, "model_dir"), 1) == 0 &&
                 setenv("SLUICE_VERSION", cli_str(reply, "version"), 1) == 0 &&
                 setenv("SLUICE_DIGEST", cli_str(reply, "digest"), 1) == 0;
    if (ready)
        execvp(argv[0], argv);
    fprintf(stderr, "sluice: exec %s: %s\n", argv[0], strerror(errno));
    return errno == ENOENT ? NOT_FOUND : NOT_RUN;
}
