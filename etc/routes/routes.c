/* SPDX-License-Identifier: Apache-2.0 */
/* With -DROUTES_PROGRAM a program: routes FILE MODEL < units, one a line; prints a
 * version a line; with a third argument, mirror: the version that gets a copy, or 0. */
#define _POSIX_C_SOURCE 200809L
#include "routes.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES (64 << 20)
#define LINE_END 4294967296.0

struct routes {
    cJSON *doc;
};

/* ---- MurmurHash2, 32 bit, seed 0 ---- */

struct murmur2 {
    uint32_t value;
    uint32_t word; /* bytes that fill no word yet */
    int n;
};

static void
murmur2_add(struct murmur2 *h, const void *p, size_t n)
{
    const unsigned char *byte = p;

    for (size_t i = 0; i < n; i++) {
        h->word |= (uint32_t)byte[i] << (8 * h->n);
        if (++h->n < 4)
            continue;
        h->word *= 0x5bd1e995U;
        h->word = (h->word ^ h->word >> 24) * 0x5bd1e995U;
        h->value = h->value * 0x5bd1e995U ^ h->word;
        h->word = 0;
        h->n = 0;
    }
}

static uint32_t
murmur2_end(struct murmur2 *h)
{
    if (h->n > 0)
        h->value = (h->value ^ h->word) * 0x5bd1e995U;
    h->value = (h->value ^ h->value >> 13) * 0x5bd1e995U;
    return h->value ^ h->value >> 15;
}

/* ---- the file ---- */

static double
number(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);

    return cJSON_IsNumber(v) ? v->valuedouble : -1;
}

static const char *
text(const cJSON *o, const char *key)
{
    const char *v = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));

    return v ? v : "";
}

static const char *
check(const cJSON *doc)
{
    const cJSON *models = cJSON_GetObjectItemCaseSensitive(doc, "models"), *m, *v;

    if (number(doc, "routes") != 1 || strcmp(text(doc, "hash"), "murmur2-32") != 0 ||
        !cJSON_IsArray(models))
        return "not a routes.json that this reader knows";
    cJSON_ArrayForEach(m, models)
    {
        double last = 0;

        if (!text(m, "name")[0] || !text(m, "salt")[0] || number(m, "stable") < 1)
            return "a model without name, salt or stable version";
        cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(m, "versions"))
        {
            if (number(v, "below") < last || number(v, "version") < 1)
                return "versions that stand in no order";
            last = number(v, "below");
        }
        if (last != LINE_END)
            return "versions that do not cover the line";
        v = cJSON_GetObjectItemCaseSensitive(m, "mirror");
        if (v && (!text(v, "salt")[0] || number(v, "version") < 1))
            return "a mirror without salt or version";
    }
    return NULL;
}

static char *
read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    long n;

    if (f && fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) >= 0 && n <= FILE_MAX_BYTES &&
        fseek(f, 0, SEEK_SET) == 0 && (data = malloc((size_t)n + 1)) != NULL) {
        data[n] = '\0';
        if (fread(data, 1, (size_t)n, f) != (size_t)n) {
            free(data);
            data = NULL;
        }
    }
    if (f)
        fclose(f);
    return data;
}

struct routes *
routes_load(const char *path, const char **why)
{
    char *data = read_file(path);
    struct routes *r = data ? calloc(1, sizeof(*r)) : NULL;

    *why = "cannot be read";
    if (r) {
        r->doc = cJSON_ParseWithOpts(data, NULL, 1);
        *why = r->doc ? check(r->doc) : "no JSON";
    }
    free(data);
    if (*why) {
        routes_free(r);
        return NULL;
    }
    return r;
}

void
routes_free(struct routes *r)
{
    if (r)
        cJSON_Delete(r->doc);
    free(r);
}

static const cJSON *
find_model(const struct routes *r, const char *model)
{
    const cJSON *m;

    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(r->doc, "models"))
    {
        if (strcmp(text(m, "name"), model) == 0)
            return m;
    }
    return NULL;
}

static uint32_t
place_of(const void *unit, size_t unit_bytes, const char *salt)
{
    struct murmur2 h = { .value = (uint32_t)(unit_bytes + strlen(salt)) };

    murmur2_add(&h, unit, unit_bytes);
    murmur2_add(&h, salt, strlen(salt));
    return murmur2_end(&h);
}

int64_t
routes_version(const struct routes *r, const char *model, const void *unit,
               size_t unit_bytes)
{
    const cJSON *m = find_model(r, model), *v;
    uint32_t place;

    if (!m)
        return 0;
    if (unit_bytes == 0)
        return (int64_t)number(m, "stable");
    place = place_of(unit, unit_bytes, text(m, "salt"));
    cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(m, "versions"))
    {
        if (place < number(v, "below"))
            return (int64_t)number(v, "version");
    }
    return 0;
}

int64_t
routes_mirror(const struct routes *r, const char *model, const void *unit,
              size_t unit_bytes)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(find_model(r, model), "mirror");

    if (!m || unit_bytes == 0 ||
        place_of(unit, unit_bytes, text(m, "salt")) >= number(m, "below"))
        return 0;
    return (int64_t)number(m, "version");
}

#ifdef ROUTES_PROGRAM
int
main(int argc, char **argv)
{
    struct routes *r;
    const char *why;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;

    if ((argc != 3 && argc != 4) || (argc == 4 && strcmp(argv[3], "mirror") != 0)) {
        fprintf(stderr, "usage: routes FILE MODEL [mirror] < units\n");
        return 2;
    }
    r = routes_load(argv[1], &why);
    if (!r) {
        fprintf(stderr, "routes: %s: %s\n", argv[1], why);
        return 1;
    }
    while ((n = getline(&line, &room, stdin)) >= 0) {
        const size_t len = (size_t)n - (n > 0 && line[n - 1] == '\n');
        const int64_t version = argc == 4 ? routes_mirror(r, argv[2], line, len)
                                          : routes_version(r, argv[2], line, len);

        if (version == 0 && !find_model(r, argv[2])) {
            fprintf(stderr, "routes: %s has no model %s\n", argv[1], argv[2]);
            return 1;
        }
        printf("%lld\n", (long long)version);
    }
    free(line);
    routes_free(r);
    return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
#endif
