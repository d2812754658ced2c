/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs, apart from what they do: a client of a service needs it, too. */
#include "service/service.h"

#include <string.h>

#define POS SVC_POSITIONAL
#define REQ SVC_REQUIRED
#define REST SVC_REST
#define APART SVC_APART
#define WAITS SVC_WAITS
#define IN SVC_IN
#define OUT SVC_OUT
#define KEY                                                                            \
    F(idempotency_key, STR, 0,                                                         \
      "the same key with the same call gives the same answer, and nothing happens "    \
      "twice")
#define F(name, type, flags, help)                                                     \
    {                                                                                  \
#name, SVC_##type, flags, help                                                 \
    }
#define VERB(name, right, needs, help, ...)                                            \
    static const struct svc_field fields_##name[] = { __VA_ARGS__ };
#include "service/verbs.def"
#undef VERB

enum {
#define VERB(name, right, needs, help, ...) INDEX_##name,
#include "service/verbs.def"
#undef VERB
    N_VERBS
};
static const struct svc_verb verbs[N_VERBS] = {
#define VERB(name, right, needs, help, ...)                                            \
    {                                                                                  \
        #name,         ACC_##right,                                                    \
        SVC_##needs,   help,                                                           \
        fields_##name, (int)(sizeof fields_##name / sizeof fields_##name[0]),          \
        INDEX_##name                                                                   \
    },
#include "service/verbs.def"
#undef VERB
};

int
svc_n_verbs(void)
{
    return N_VERBS;
}

const struct svc_verb *
svc_verb_at(int i)
{
    return &verbs[i];
}

const struct svc_verb *
svc_find(const char *name)
{
    for (int i = 0; i < N_VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

const struct svc_field *
svc_find_field(const struct svc_verb *verb, const char *name)
{
    for (int i = 0; i < verb->n_fields; i++)
        if (strcmp(verb->fields[i].name, name) == 0)
            return &verb->fields[i];
    return NULL;
}

bool
svc_gives_bytes(const struct svc_verb *verb, const cJSON *request)
{
    const cJSON *args = cJSON_GetObjectItemCaseSensitive(request, "args");
    const char *dest = cJSON_GetStringValue(
        strcmp(verb->name, "export") == 0
            ? cJSON_GetArrayItem(args, cJSON_GetArraySize(args) - 1)
        : strcmp(verb->name, "backup") == 0
            ? cJSON_GetObjectItemCaseSensitive(request, "dest")
            : NULL);

    return strcmp(verb->name, "cat") == 0 || (dest && strcmp(dest, "-") == 0);
}

/* MLflow's form has a "/", and is a reference, too. */
bool
svc_is_path(const char *text)
{
    return strncmp(text, "models:/", 8) != 0 && (text[0] == '.' || strchr(text, '/'));
}

const char *
svc_names_version(const struct svc_verb *verb, const cJSON *request)
{
    for (int i = 0; i < verb->n_fields; i++) {
        const char *text = cJSON_GetStringValue(
            cJSON_GetObjectItemCaseSensitive(request, verb->fields[i].name));
        if (text && (strcmp(verb->fields[i].name, "ref") == 0 ||
                     (verb->fields[i].type == SVC_ANY && !svc_is_path(text))))
            return text;
    }
    return NULL;
}
