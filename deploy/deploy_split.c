/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/deploy_split.h"

#include <string.h>

/* ---- MurmurHash2 --------------------------------------------------------------------
 */

#define MULTIPLIER 0x5bd1e995U

/* Little-endian on any machine; written so that it compiles to one load. */
static uint32_t
load_le(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

static uint32_t
murmur2(const uint8_t *p, size_t n)
{
    uint32_t hash = (uint32_t)n; /* seed 0 */

    for (; n >= 4; p += 4, n -= 4) {
        uint32_t word = load_le(p) * MULTIPLIER;

        word = (word ^ word >> 24) * MULTIPLIER;
        hash = hash * MULTIPLIER ^ word;
    }
    for (size_t i = 0; i < n; i++)
        hash ^= (uint32_t)p[i] << (8 * i);
    if (n > 0)
        hash *= MULTIPLIER;
    hash = (hash ^ hash >> 13) * MULTIPLIER;
    return hash ^ hash >> 15;
}

/* ---- units --------------------------------------------------------------------------
 */

static uint64_t
width(int share)
{
    return (uint64_t)share * (DEPLOY_SPLIT_END - 1) / DEPLOY_WEIGHT_ALL;
}

static void
add_salt(struct deploy_split *s, const struct deploy_release *rel)
{
    buf_addc(&s->salt, ':');
    repo_name_encode(rel->model, &s->salt);
    buf_addf(&s->salt, "@%s", rel->alias);
}

void
deploy_split_init(struct deploy_split *s, const struct deploy_release *rel)
{
    uint64_t sum = 0;

    *s = (struct deploy_split){ .salt = BUF_INIT, .n = rel->n_members };
    add_salt(s, rel);
    for (int i = 0; i < s->n; i++) {
        sum += width(rel->members[i].weight);
        s->below[i] = i + 1 < s->n ? sum : DEPLOY_SPLIT_END;
    }
}

const struct deploy_member *
deploy_mirror(const struct deploy_release *rel)
{
    for (int i = 0; i < rel->n_kept; i++)
        if (rel->kept[i].mirror > 0)
            return &rel->kept[i];
    return NULL;
}

void
deploy_split_init_mirror(struct deploy_split *s, const struct deploy_release *rel)
{
    const struct deploy_member *m = deploy_mirror(rel);

    *s = (struct deploy_split){ .salt = BUF_INIT, .n = 1 };
    add_salt(s, rel);
    buf_adds(&s->salt, ":mirror");
    s->below[0] = m ? width(m->mirror) : 0;
}

bool
deploy_split_mirrors(const struct deploy_split *s, struct str unit)
{
    return unit.n > 0 && deploy_split_hash(s, unit) < s->below[0];
}

void
deploy_split_release(struct deploy_split *s)
{
    buf_release(&s->salt);
}

uint32_t
deploy_split_hash(const struct deploy_split *s, struct str unit)
{
    uint8_t room[256];
    struct buf whole AUTO(buf_release) = BUF_INIT;

    if (unit.n <= sizeof(room) && s->salt.len <= sizeof(room) - unit.n) {
        if (unit.n > 0)
            memcpy(room, unit.p, unit.n);
        memcpy(room + unit.n, s->salt.data, s->salt.len);
        return murmur2(room, unit.n + s->salt.len);
    }
    buf_add(&whole, unit.p, unit.n);
    buf_add(&whole, s->salt.data, s->salt.len);
    return murmur2((const uint8_t *)whole.data, whole.len);
}

int
deploy_split_at(const struct deploy_split *s, uint32_t hash)
{
    int at = 0;

    for (int i = 0; i < s->n; i++) /* no branch that hangs on the hash */
        at += hash >= s->below[i];
    return at;
}

int
deploy_split_find(const struct deploy_split *s, struct str unit)
{
    return unit.n > 0 ? deploy_split_at(s, deploy_split_hash(s, unit)) : 0;
}
