/* SPDX-License-Identifier: Apache-2.0 */
/* Small products kept in registers, for processors that have AVX-512: eight rows by two
 * vectors of columns at a time, or one row by eight. Nothing is packed or made before,
 * which is what a library's product of this size mostly spends its time on. */
#include "runtime/ops/nn_int.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LANES 16
#define MAX_ROWS 12
#define MAX_VECTORS 16
#define TARGET __attribute__((target("avx512f")))
#ifdef __SANITIZE_ADDRESS__ /* checks in every copy: clang takes minutes for them */
#define INLINE
#define UNROLL
#else
#define INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#endif

/* Rows i … i + R - 1, columns j … of V vectors; `last` are the lanes of the last one
 * that are there. R and V are constants where it is called. */
TARGET static INLINE void
tile(const struct nn_tiles *t, int64_t i, int64_t j, __mmask16 last, const int R,
     const int V)
{
    const float *x[MAX_ROWS], *w = t->b + j;
    __m512 sum[MAX_ROWS * 2], y[MAX_VECTORS];
    UNROLL for (int r = 0; r < R; r++)
    {
        x[r] = t->a + (t->at ? t->at[i + r] : (i + r) * t->a_row);
        UNROLL for (int v = 0; v < V; v++) sum[r * V + v] = _mm512_setzero_ps();
    }
    for (int64_t o = 0; o < t->n_outer; o++) {
        for (int64_t l = 0; l < t->k; l++, w += t->b_row) {
            UNROLL for (int v = 0; v < V; v++) y[v] =
                v < V - 1 ? _mm512_loadu_ps(w + v * LANES)
                          : _mm512_maskz_loadu_ps(last, w + v * LANES);
            UNROLL for (int r = 0; r < R; r++)
            {
                __m512 e = _mm512_set1_ps(x[r][l]);
                UNROLL for (int v = 0; v < V; v++) sum[r * V + v] =
                    _mm512_fmadd_ps(e, y[v], sum[r * V + v]);
            }
        }
        UNROLL for (int r = 0; r < R; r++) x[r] += t->a_outer;
    }
    UNROLL for (int v = 0; v < V; v++)
    {
        __mmask16 m = v < V - 1 ? (__mmask16)-1 : last;
        int64_t at = j + v * LANES;
        __m512 scale = _mm512_set1_ps(1), bias = _mm512_setzero_ps();
        if (t->scale)
            scale = _mm512_maskz_loadu_ps(m, t->scale + at);
        if (t->bias)
            bias = _mm512_maskz_loadu_ps(m, t->bias + at);
        UNROLL for (int r = 0; r < R; r++)
        {
            float *c = t->c + (i + r) * t->c_row + at;
            __m512 s = _mm512_fmadd_ps(sum[r * V + v], scale, bias);
            if (t->add)
                s = _mm512_add_ps(s, _mm512_maskz_loadu_ps(m, c));
            _mm512_mask_storeu_ps(c, m, s);
        }
    }
}

TARGET static void
all_tiles(const struct nn_tiles *t)
{
    int64_t i = 0, wide = LANES * (t->m == 1 ? MAX_VECTORS : 2);
    __mmask16 all = (__mmask16)-1;
    for (int64_t j = 0; j < t->n; j += wide) {
        int64_t left = K_MIN(t->n - j, wide);
        int vectors = (int)((left + LANES - 1) / LANES);
        __mmask16 last = (__mmask16)(all >> (vectors * LANES - left));
        if (t->m == 1) {
            switch (vectors) {
#define ONE_ROW(V)                                                                     \
    case V:                                                                            \
        tile(t, 0, j, last, 1, V);                                                     \
        break;
                ONE_ROW(1)
                ONE_ROW(2)
                ONE_ROW(3)
                ONE_ROW(4)
                ONE_ROW(5)
                ONE_ROW(6)
                ONE_ROW(7)
                ONE_ROW(8)
                ONE_ROW(9)
                ONE_ROW(10)
                ONE_ROW(11)
                ONE_ROW(12)
                ONE_ROW(13)
                ONE_ROW(14)
                ONE_ROW(15)
                ONE_ROW(16)
            }
            continue;
        }
        i = 0;
#define ROWS(R)                                                                        \
    for (; i + R <= t->m; i += R)                                                      \
        if (vectors == 2)                                                              \
            tile(t, i, j, last, R, 2);                                                 \
        else                                                                           \
            tile(t, i, j, last, R, 1);
        ROWS(12)
        ROWS(8)
        ROWS(4)
        ROWS(2)
        ROWS(1)
    }
}

bool
nn_tiles_have(void)
{
    return __builtin_cpu_supports("avx512f");
}

bool
nn_tiles_run(const struct nn_tiles *t)
{
    if (!nn_tiles_have())
        return false;
    all_tiles(t);
    return true;
}

#else

bool
nn_tiles_have(void)
{
    return false;
}

bool
nn_tiles_run(const struct nn_tiles *t)
{
    (void)t;
    return false;
}

#endif
