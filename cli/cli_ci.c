/* SPDX-License-Identifier: Apache-2.0 */
/* What a CI system says of the build that runs us. Only the variables named here are
 * looked at: a pipeline's environment is full of secrets. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

/* The first variable that is set counts; `{NAME}` in a text stands for another one. */
static const struct {
    const char *system, *variable, *key, *text;
} known[] = {
    { "github", "GITHUB_SHA", "ci.commit", "{GITHUB_SHA}" },
    { "github", "GITHUB_REF_NAME", "ci.branch", "{GITHUB_REF_NAME}" },
    { "github", "GITHUB_RUN_ID", "ci.run",
      "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}" },
    { "github", "GITHUB_RUN_ID", "ci.pipeline", "{GITHUB_RUN_ID}" },
    { "github", "GITHUB_ACTOR", "ci.actor", "{GITHUB_ACTOR}" },
    { "github", "GITHUB_REPOSITORY", "ci.repository", "{GITHUB_REPOSITORY}" },
    { "github", "GITHUB_WORKFLOW", "ci.job", "{GITHUB_WORKFLOW}" },
    { "gitlab", "CI_COMMIT_SHA", "ci.commit", "{CI_COMMIT_SHA}" },
    { "gitlab", "CI_COMMIT_REF_NAME", "ci.branch", "{CI_COMMIT_REF_NAME}" },
    { "gitlab", "CI_PIPELINE_URL", "ci.run", "{CI_PIPELINE_URL}" },
    { "gitlab", "CI_PIPELINE_ID", "ci.pipeline", "{CI_PIPELINE_ID}" },
    { "gitlab", "GITLAB_USER_LOGIN", "ci.actor", "{GITLAB_USER_LOGIN}" },
    { "gitlab", "CI_PROJECT_PATH", "ci.repository", "{CI_PROJECT_PATH}" },
    { "gitlab", "CI_JOB_NAME", "ci.job", "{CI_JOB_NAME}" },
    { "jenkins", "GIT_COMMIT", "ci.commit", "{GIT_COMMIT}" },
    { "jenkins", "GIT_BRANCH", "ci.branch", "{GIT_BRANCH}" },
    { "jenkins", "BUILD_URL", "ci.run", "{BUILD_URL}" },
    { "jenkins", "BUILD_NUMBER", "ci.pipeline", "{BUILD_NUMBER}" },
    { "jenkins", "BUILD_USER_ID", "ci.actor", "{BUILD_USER_ID}" },
    { "jenkins", "GIT_URL", "ci.repository", "{GIT_URL}" },
    { "jenkins", "JOB_NAME", "ci.job", "{JOB_NAME}" },
};

static const char *
variable(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

static const char *
ci_system(void)
{
    if (strcmp(variable("GITHUB_ACTIONS"), "true") == 0)
        return "github";
    if (strcmp(variable("GITLAB_CI"), "true") == 0)
        return "gitlab";
    return variable("JENKINS_URL")[0] ? "jenkins" : NULL;
}

/* A URL's "user:password@" is left out, and so is what a line cannot hold. */
static void
add_value(const char *value, struct buf *out)
{
    const char *host = strstr(value, "://");
    const char *at = host ? strpbrk(host + 3, "@/") : NULL;
    if (at && *at == '@') {
        buf_add(out, value, (size_t)(host + 3 - value));
        value = at + 1;
    }
    for (; *value; value++)
        if ((unsigned char)*value >= ' ' && *value != 0x7f)
            buf_addc(out, *value);
}

static void
expand(const char *text, struct buf *out)
{
    while (*text) {
        size_t n = strcspn(text, "{");
        buf_add(out, text, n);
        text += n;
        if (*text) {
            n = strcspn(text, "}");
            char *name AUTO(free_ptr) = xstrndup(text + 1, n - 1);
            add_value(variable(name), out);
            text += n + 1;
        }
    }
}

static bool
is_given(const cJSON *list, const char *key)
{
    size_t n = strlen(key);
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        if (cJSON_IsString(e) && strncmp(e->valuestring, key, n) == 0 &&
            e->valuestring[n] == '=')
            return true;
    return false;
}

static void
add(cJSON *request, const char *key, const char *value)
{
    struct err err = ERR_INIT;
    char *pair AUTO(free_ptr) = xasprintf("%s=%s", key, value);
    /* what push would refuse is left out: nobody asked for it */
    if (value[0] && svc_check_provenance(pair, &err) >= 0 &&
        !is_given(cJSON_GetObjectItemCaseSensitive(request, "provenance"), key))
        cli_add_to_list(request, "provenance", pair);
}

void
cli_add_ci(cJSON *request)
{
    const char *system = ci_system();
    if (!system || cJSON_IsTrue(cJSON_GetObjectItem(request, "no_ci")))
        return;
    add(request, "ci", system);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct buf value AUTO(buf_release) = BUF_INIT;
        if (strcmp(known[i].system, system) != 0 || !variable(known[i].variable)[0])
            continue;
        expand(known[i].text, &value);
        add(request, known[i].key, buf_str(&value));
    }
}
