/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client_pieces.h"

#include "client/client_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX_BYTES 20 /* ".data-00000-of-00001" */

void
client_pieces_release(struct client_pieces *l)
{
    free(l->v);
    *l = (struct client_pieces){ .v = NULL };
}

static int
bad_answer(struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "the service's answer about pieces is not what it should be");
}

static int
take_pieces(const cJSON *list, struct client_pieces *out, struct err *err)
{
    const cJSON *pair;

    if (!cJSON_IsArray(list))
        return bad_answer(err);
    out->v = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*out->v));
    cJSON_ArrayForEach(pair, list)
    {
        const cJSON *n = cJSON_GetArrayItem(pair, 0);
        const char *hex = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 1));
        struct client_piece *p = &out->v[out->n];

        if (!cJSON_IsNumber(n) || !(n->valuedouble >= 1) ||
            n->valuedouble > (double)SM_CUT_BYTES || !hex ||
            !digest_parse(str_of(hex), &p->digest))
            return bad_answer(err);
        p->at = out->size_bytes;
        p->size_bytes = (int64_t)n->valuedouble;
        out->size_bytes += p->size_bytes;
        out->n++;
    }
    return 0;
}

int
client_pieces_get(struct client *c, const struct digest *object,
                  struct client_pieces *out, struct err *err)
{
    cJSON *reply AUTO(json_free) = NULL;
    char name[REPO_DIGEST_BYTES], path[120];
    int e;

    *out = (struct client_pieces){ .v = NULL };
    repo_digest_text(object, name);
    snprintf(path, sizeof(path), "/api/v1/objects/%s/pieces", name);
    e = client_ask_json(c, &(struct client_ask){ .method = "GET", .path = path },
                        &reply, err);
    if (e == 0)
        e = take_pieces(cJSON_GetObjectItemCaseSensitive(reply, "pieces"), out, err);
    if (e < 0)
        client_pieces_release(out);
    return e;
}

static int
by_digest(const void *a, const void *b)
{
    const struct client_piece *x = a, *y = b;
    const int d = memcmp(x->digest.b, y->digest.b, sizeof(x->digest.b));

    return d != 0 ? d : (x->at > y->at) - (x->at < y->at);
}

void
client_pieces_sort(struct client_pieces *l)
{
    if (l->n > 0)
        qsort(l->v, l->n, sizeof(*l->v), by_digest);
}

const struct client_piece *
client_pieces_find(const struct client_pieces *l, const struct digest *d,
                   int64_t size_bytes)
{
    size_t from = 0, to = l->n;

    while (from < to) {
        const size_t mid = from + (to - from) / 2;
        const int c = memcmp(l->v[mid].digest.b, d->b, sizeof(d->b));

        if (c == 0)
            return l->v[mid].size_bytes == size_bytes ? &l->v[mid] : NULL;
        if (c < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

size_t
client_pieces_cut(int dirfd, const char *path, int64_t size_bytes, struct sm_cut **out)
{
    struct sm_bundle *bundle AUTO(sm_bundle_close_p) = NULL;
    struct sm_hint *hints AUTO(free_ptr) = NULL;
    struct err err = ERR_INIT;
    const size_t n = strlen(path);
    int shard = 0, of = 0, end = 0;
    size_t n_hints = 0;

    if (n > SUFFIX_BYTES &&
        sscanf(path + n - SUFFIX_BYTES, ".data-%5d-of-%5d%n", &shard, &of, &end) == 2 &&
        end == SUFFIX_BYTES) {
        char *prefix AUTO(free_ptr) = xstrndup(path, n - SUFFIX_BYTES);

        if (sm_bundle_open(&bundle, dirfd, prefix, &err) == 0)
            n_hints = sm_bundle_hints(bundle, shard, &hints);
        err_clear(&err);
    }
    return sm_cuts(hints, n_hints, size_bytes, out);
}
