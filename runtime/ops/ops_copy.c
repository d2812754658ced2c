/* SPDX-License-Identifier: Apache-2.0 */
/* The strided copy behind Transpose, Slice, Tile, Pad, SpaceToDepth and their kin. */
#include "runtime/ops/ops_int.h"

struct e16 {
    uint64_t v[2];
};

void
k_box_add(struct k_box *b, int64_t dim, int64_t src_step, int64_t dst_step)
{
    b->dims[b->rank] = dim;
    b->src[b->rank] = src_step;
    b->dst[b->rank] = dst_step;
    b->rank++;
}

/* Drops dimensions of 1 and joins neighbours that lie together on both sides. */
static void
join(struct k_box *b)
{
    int n = 0;
    for (int i = 0; i < b->rank; i++) {
        if (b->dims[i] == 1)
            continue;
        if (n > 0 && b->src[n - 1] == b->src[i] * b->dims[i] &&
            b->dst[n - 1] == b->dst[i] * b->dims[i]) {
            b->dims[n - 1] *= b->dims[i];
        } else {
            b->dims[n] = b->dims[i];
            n++;
        }
        b->src[n - 1] = b->src[i];
        b->dst[n - 1] = b->dst[i];
    }
    b->rank = n;
}

/* One line: n elements. */
#define LINE(name, type)                                                               \
    static void name(void *pd, const void *ps, int64_t n, int64_t dstep,               \
                     int64_t sstep)                                                    \
    {                                                                                  \
        type *d = pd;                                                                  \
        const type *s = ps;                                                            \
        if (sstep == 0 && dstep == 1) {                                                \
            type v = *s;                                                               \
            for (int64_t i = 0; i < n; i++)                                            \
                d[i] = v;                                                              \
        } else if (sstep == 1 && dstep == 1) {                                         \
            for (int64_t i = 0; i < n; i++)                                            \
                d[i] = s[i];                                                           \
        } else {                                                                       \
            for (int64_t i = 0; i < n; i++)                                            \
                d[i * dstep] = s[i * sstep];                                           \
        }                                                                              \
    }
LINE(line1, uint8_t)
LINE(line2, uint16_t)
LINE(line4, uint32_t)
LINE(line8, uint64_t)
LINE(line16, struct e16)
#undef LINE

/* d[i][j] = s[j][i] where lines of d and columns of s are contiguous: by tiles, so that
 * both sides' cache lines are used whole. */
#define TILE 16
#define TURN(name, type)                                                               \
    static void name(void *pd, const void *ps, int64_t n, int64_t m, int64_t dstep,    \
                     int64_t sstep)                                                    \
    {                                                                                  \
        type *d = pd;                                                                  \
        const type *s = ps;                                                            \
        for (int64_t i0 = 0; i0 < n; i0 += TILE)                                       \
            for (int64_t j0 = 0; j0 < m; j0 += TILE) {                                 \
                int64_t i1 = K_MIN(n, i0 + TILE), j1 = K_MIN(m, j0 + TILE);            \
                for (int64_t i = i0; i < i1; i++)                                      \
                    for (int64_t j = j0; j < j1; j++)                                  \
                        d[i * dstep + j] = s[j * sstep + i];                           \
            }                                                                          \
    }
TURN(turn1, uint8_t)
TURN(turn2, uint16_t)
TURN(turn4, uint32_t)
TURN(turn8, uint64_t)
TURN(turn16, struct e16)
#undef TURN

struct copier {
    void (*line)(void *d, const void *s, int64_t n, int64_t dstep, int64_t sstep);
    void (*turn)(void *d, const void *s, int64_t n, int64_t m, int64_t dstep,
                 int64_t sstep);
};

static struct copier
copier_of(size_t elem_bytes)
{
    switch (elem_bytes) {
    case 1:
        return (struct copier){ line1, turn1 };
    case 2:
        return (struct copier){ line2, turn2 };
    case 4:
        return (struct copier){ line4, turn4 };
    case 8:
        return (struct copier){ line8, turn8 };
    case 16:
        return (struct copier){ line16, turn16 };
    }
    BUG("copy of %zu-byte elements", elem_bytes);
}

static void
swap_dims(struct k_box *b, int i, int j)
{
    int64_t d = b->dims[i], s = b->src[i], t = b->dst[i];
    b->dims[i] = b->dims[j], b->src[i] = b->src[j], b->dst[i] = b->dst[j];
    b->dims[j] = d, b->src[j] = s, b->dst[j] = t;
}

void
k_copy(struct k_box *b, void *dst, const void *src, size_t elem_bytes)
{
    for (int i = 0; i < b->rank; i++)
        if (b->dims[i] == 0)
            return;
    join(b);
    struct copier c = copier_of(elem_bytes);
    char *d = dst;
    const char *s = src;
    int r = b->rank;
    if (r == 0) {
        memcpy(d, s, elem_bytes);
        return;
    }
    /* A short last line under a long one: the loops change places. */
    if (r > 1 && b->dims[r - 1] < 8 && b->dims[r - 2] > 4 * b->dims[r - 1])
        swap_dims(b, r - 1, r - 2);
    bool whole = b->src[r - 1] == 1 && b->dst[r - 1] == 1;
    int turn = -1;
    if (b->dst[r - 1] == 1 && b->src[r - 1] > 1)
        for (int i = 0; i < r - 1; i++)
            if (b->src[i] == 1 && b->dims[i] >= 4)
                turn = i;
    if (turn >= 0 && turn != r - 2)
        swap_dims(b, turn, r - 2);
    int inner = turn >= 0 ? 2 : 1, outer = r - inner;
    int64_t n = b->dims[r - 1], at[K_MAX_DIMS] = { 0 };
    for (;;) {
        if (whole)
            memcpy(d, s, (size_t)n * elem_bytes);
        else if (turn >= 0)
            c.turn(d, s, b->dims[r - 2], n, b->dst[r - 2], b->src[r - 1]);
        else
            c.line(d, s, n, b->dst[r - 1], b->src[r - 1]);
        int i = outer - 1;
        for (; i >= 0; i--) {
            d += b->dst[i] * (int64_t)elem_bytes;
            s += b->src[i] * (int64_t)elem_bytes;
            if (++at[i] < b->dims[i])
                break;
            at[i] = 0;
            d -= b->dst[i] * b->dims[i] * (int64_t)elem_bytes;
            s -= b->src[i] * b->dims[i] * (int64_t)elem_bytes;
        }
        if (i < 0)
            return;
    }
}

void
k_fill(void *dst, const void *value, int64_t n, size_t elem_bytes)
{
    static const struct e16 zero;
    if (n == 0)
        return;
    if (memcmp(value, &zero, elem_bytes) == 0)
        memset(dst, 0, (size_t)n * elem_bytes);
    else
        copier_of(elem_bytes).line(dst, value, n, 1, 0);
}
