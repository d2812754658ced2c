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

bool
cli_becomes(const struct svc_verb *verb)
{
    return strcmp(verb->name, "exec") == 0 || strcmp(verb->name, "serve") == 0;
}

int
cli_exec(int lock_fd, const cJSON *request, const cJSON *reply)
{
    char **argv AUTO(free_ptr) =
        words_of(cJSON_GetObjectItemCaseSensitive(request, "command"));
    bool ready = fcntl(lock_fd, F_SETFD, 0) == 0 &&
                 setenv("SLUICE_MODEL_DIR", cli_str(reply, "model_dir"), 1) == 0 &&
                 setenv("SLUICE_VERSION", cli_str(reply, "version"), 1) == 0 &&
                 setenv("SLUICE_DIGEST", cli_str(reply, "digest"), 1) == 0;
    if (ready)
        execvp(argv[0], argv);
    fprintf(stderr, "sluice: exec %s: %s\n", argv[0], strerror(errno));
    return errno == ENOENT ? NOT_FOUND : NOT_RUN;
}
