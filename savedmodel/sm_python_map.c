/* SPDX-License-Identifier: Apache-2.0 */
/* The order of a protobuf map in Python: that of the slots of a hash table of Google's
 * "upb" library. It is the same in each run, so it shows in what saved_model_cli prints
 * of a dict. Slots are a power of two, at most 85 % full; what meets a taken slot goes
 * to the next free one and is linked to the chain of its hash; what sits in a slot that
 * is the head of another's chain has to move away. */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

static const uint64_t salts[5] = { 0x243f6a8885a308d3u, 0x13198a2e03707344u,
                                   0xa4093822299f31d0u, 0x082efa98ec4e6c89u,
                                   0x452821e638d01377u }; /* pi */

static uint64_t
fold(uint64_t a, uint64_t b)
{
    unsigned __int128 r = (unsigned __int128)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

static uint32_t
key_hash(struct str s)
{
    const char *p = s.p;
    size_t n = s.n;
    uint64_t state = salts[0], twin = salts[0], a = 0, b = 0;
    for (; n > 64; p += 64, n -= 64) {
        state = fold(sm_le64(p) ^ salts[1], sm_le64(p + 8) ^ state) ^
                fold(sm_le64(p + 16) ^ salts[2], sm_le64(p + 24) ^ state);
        twin = fold(sm_le64(p + 32) ^ salts[3], sm_le64(p + 40) ^ twin) ^
               fold(sm_le64(p + 48) ^ salts[4], sm_le64(p + 56) ^ twin);
    }
    if (s.n > 64)
        state ^= twin;
    for (; n > 16; p += 16, n -= 16)
        state = fold(sm_le64(p) ^ salts[1], sm_le64(p + 8) ^ state);
    if (n > 8) {
        a = sm_le64(p);
        b = sm_le64(p + n - 8);
    } else if (n > 3) {
        a = sm_le32(p);
        b = sm_le32(p + n - 4);
    } else if (n > 0) {
        a = (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[n >> 1] << 8 |
            (uint8_t)p[n - 1];
    }
    return (uint32_t)fold(fold(a ^ salts[1], b ^ state), salts[1] ^ s.n);
}

struct slot {
    struct sm_kv kv;
    uint32_t hash;
    uint32_t next; /* slot + 1 */
    bool taken;
};
struct slots {
    struct slot *v;
    uint32_t n; /* a power of two */
    uint32_t used;
};

static struct slot *
free_slot(struct slots *t, uint32_t after)
{
    do
        after = (after + 1) & (t->n - 1);
    while (t->v[after].taken);
    return &t->v[after];
}

static void
slots_put(struct slots *t, struct sm_kv kv, uint32_t hash)
{
    uint32_t main = hash & (t->n - 1);
    struct slot *at = &t->v[main], *to = at;
    struct slot entry = { .kv = kv, .hash = hash, .taken = true };
    t->used++;
    if (at->taken) {
        struct slot *empty = free_slot(t, main);
        uint32_t number = (uint32_t)(empty - t->v) + 1;
        uint32_t head = at->hash & (t->n - 1);
        if (head == main) {
            entry.next = at->next;
            at->next = number;
            to = empty;
        } else {
            *empty = *at;
            while (t->v[head].next != main + 1)
                head = t->v[head].next - 1;
            t->v[head].next = number;
        }
    }
    *to = entry;
}

static struct slot *
slots_find(struct slots *t, struct str key, uint32_t hash)
{
    uint32_t i = (hash & (t->n - 1)) + 1;
    for (; i && t->v[i - 1].taken; i = t->v[i - 1].next)
        if (t->v[i - 1].hash == hash && str_eq(t->v[i - 1].kv.key, key))
            return &t->v[i - 1];
    return NULL;
}

static void
slots_grow(struct slots *t)
{
    struct slots old = *t;
    *t =
        (struct slots){ .v = xcalloc((size_t)old.n * 2, sizeof *t->v), .n = old.n * 2 };
    for (uint32_t i = 0; i < old.n; i++)
        if (old.v[i].taken)
            slots_put(t, old.v[i].kv, old.v[i].hash);
    free(old.v);
}

struct sm_kv *
sm_python_map(struct str msg, uint32_t num, int *n)
{
    struct slots t = { .v = xcalloc(8, sizeof *t.v), .n = 8 };
    struct str entry;
    while (sm_pb_next_msg(&msg, num, &entry) > 0) {
        struct sm_kv kv = { sm_pb_bytes(entry, 1), sm_pb_bytes(entry, 2) };
        uint32_t hash = key_hash(kv.key);
        struct slot *known = slots_find(&t, kv.key, hash);
        if (known) {
            known->kv = kv;
            continue;
        }
        if (t.used == (uint64_t)t.n * 85 / 100)
            slots_grow(&t);
        slots_put(&t, kv, hash);
    }
    struct sm_kv *out = xcalloc((size_t)t.used + 1, sizeof *out);
    *n = 0;
    for (uint32_t i = 0; i < t.n; i++)
        if (t.v[i].taken)
            out[(*n)++] = t.v[i].kv;
    free(t.v);
    return out;
}
