/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/deploy_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int
check_parts(const struct deploy_member *parts, int n, int64_t *sum, struct err *err)
{
    *sum = 0;
    for (int i = 0; i < n; i++) {
        if (parts[i].weight < 0)
            return err_set(err, ERR_INVALID,
                           "version %" PRId64 ": a share of %d is below zero",
                           parts[i].number, parts[i].weight);
        for (int k = 0; k < i; k++)
            if (parts[k].number == parts[i].number)
                return err_set(err, ERR_INVALID,
                               "version %" PRId64 " is given twice: one share each",
                               parts[i].number);
        *sum += parts[i].weight;
    }
    if (*sum == 0)
        return err_set(err, ERR_INVALID,
                       "no version gets a share: give one above 0, like 1=90%% 2=10%%");
    return 0;
}

int
weights_normalise(const struct deploy_member *parts, int n, struct deploy_release *out,
                  struct err *err)
{
    int64_t rest[DEPLOY_MEMBERS_MAX];
    int64_t sum;
    int left = DEPLOY_WEIGHT_ALL;
    int r = check_parts(parts, n, &sum, err);

    if (r < 0)
        return r;
    out->n_members = 0;
    for (int i = 0; i < n; i++) {
        const int64_t exact = (int64_t)parts[i].weight * DEPLOY_WEIGHT_ALL;
        struct deploy_member *m = &out->members[out->n_members];

        if (parts[i].weight == 0)
            continue;
        if (out->n_members == DEPLOY_MEMBERS_MAX)
            return err_set(err, ERR_LIMIT, "more than %d versions share one alias",
                           DEPLOY_MEMBERS_MAX);
        *m = parts[i];
        m->weight = (int)(exact / sum);
        m->label[0] = '\0';
        rest[out->n_members++] = exact % sum;
        left -= m->weight;
    }
    for (; left > 0; left--) {
        int best = 0;

        for (int i = 1; i < out->n_members; i++)
            if (rest[i] > rest[best])
                best = i;
        out->members[best].weight++;
        rest[best] = -1;
    }
    for (int i = 0; i < out->n_members; i++)
        if (out->members[i].weight == 0)
            return err_set(
                err, ERR_INVALID,
                "version %" PRId64
                ": its share is below 1/%d of the traffic: give it more or 0",
                out->members[i].number, DEPLOY_WEIGHT_ALL);
    return 0;
}

void
weights_lead(struct deploy_release *rel, int64_t before)
{
    const struct deploy_member *best = &rel->members[0];

    for (int i = 1; i < rel->n_members; i++) {
        const struct deploy_member *m = &rel->members[i];

        if (m->weight > best->weight ||
            (m->weight == best->weight && m->number == before))
            best = m;
    }
    rel->latest = best->number;
    rel->latest_id = best->version_id;
}

static void
take(struct deploy_release *rel, int64_t version_id, struct deploy_member *order,
     int *n)
{
    for (int i = 0; i < rel->n_members; i++)
        if (rel->members[i].version_id == version_id) {
            order[(*n)++] = rel->members[i];
            memmove(&rel->members[i], &rel->members[i + 1],
                    (size_t)(--rel->n_members - i) * sizeof(rel->members[0]));
        }
}

void
weights_order(struct deploy_release *rel, const struct deploy_release *cur)
{
    struct deploy_member order[DEPLOY_MEMBERS_MAX];
    int n = 0;

    for (int i = 0; cur && i < cur->n_members; i++)
        take(rel, cur->members[i].version_id, order, &n);
    take(rel, rel->latest_id, order, &n);
    for (int i = 0; i < rel->n_members; i++)
        order[n++] = rel->members[i];
    memcpy(rel->members, order, (size_t)n * sizeof(order[0]));
    rel->n_members = n;
}

int
weights_of(const struct deploy_release *rel, int64_t version_id)
{
    for (int i = 0; i < rel->n_members; i++)
        if (rel->members[i].version_id == version_id)
            return rel->members[i].weight;
    return 0;
}

int
weights_mirror(struct deploy_release *rel, const struct deploy_release *cur,
               const struct deploy_member *said, struct err *err)
{
    const struct deploy_member *now = cur ? deploy_mirror(cur) : NULL,
                               *m = said ? said : now;

    rel->n_kept = 0;
    if (said && said->mirror == 0 && now && now->version_id != said->version_id)
        return err_set(err, ERR_INVALID,
                       "version %" PRId64 " is mirrored to, not %" PRId64, now->number,
                       said->number);
    if (!m || m->mirror == 0)
        return 0;
    if (weights_of(rel, m->version_id) > 0)
        return !said
                   ? 0
                   : err_set(
                         err, ERR_INVALID,
                         "version %" PRId64 " has a share of the traffic: copies of it "
                         "would count its requests twice; mirror to a version without",
                         m->number);
    rel->kept[0] = *m;
    rel->kept[0].weight = 0;
    rel->kept[0].label[0] = '\0';
    rel->n_kept = 1;
    return 0;
}

static bool
mirror_same(const struct deploy_release *a, const struct deploy_release *b)
{
    const struct deploy_member *x = deploy_mirror(a), *y = deploy_mirror(b);

    return x && y ? x->version_id == y->version_id && x->mirror == y->mirror : x == y;
}

bool
weights_same(const struct deploy_release *a, const struct deploy_release *b)
{
    if (a->n_members != b->n_members || !mirror_same(a, b))
        return false;
    for (int i = 0; i < a->n_members; i++)
        if (weights_of(b, a->members[i].version_id) != a->members[i].weight)
            return false;
    return true;
}

/* ---- labels -------------------------------------------------------------------------
 */

void
weights_label(struct deploy_release *rel)
{
    struct deploy_member *next = NULL;

    for (int i = 0; i < rel->n_kept; i++)
        rel->kept[i].label[0] = '\0';
    for (int i = 0; i < rel->n_members; i++) {
        struct deploy_member *m = &rel->members[i];
        const bool leads = m->version_id == rel->latest_id;

        snprintf(m->label, sizeof(m->label), "%s", leads ? "stable" : "");
        if (!leads && (!next || m->weight > next->weight))
            next = m;
    }
    if (next)
        snprintf(next->label, sizeof(next->label), "canary");
}
