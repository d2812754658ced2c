/* SPDX-License-Identifier: Apache-2.0 */
/* Small products in registers against the plain sum, in every number of rows and
 * columns that has code of its own; and a convolution through them against the plain
 * one. */
#include "runtime/ops/nn_int.h"
#include "tests/unit/unit.h"

#include <math.h>

enum { ROWS = 27, COLS = 290, DEPTH = 9, PAD = 3 };

static float
value(int64_t i)
{
    return (float)(i * 37 % 23) / 8 - 1;
}

static void
fill(float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        v[i] = value(i);
}

/* Rows of a are every second of `outer` lines; c is longer than n, and what lies behind
 * must stay. False: another processor. */
static bool
check_one(int64_t m, int64_t n, int64_t outer, bool more)
{
    static float a[(2 * ROWS + 4) * DEPTH], b[4 * DEPTH * COLS], scale[COLS],
        bias[COLS], c[ROWS * (COLS + PAD)];
    int64_t row = n + PAD;
    fill(a, 2 * ROWS * DEPTH);
    fill(b, outer * DEPTH * n);
    fill(scale, n);
    fill(bias, n);
    fill(c, m * row);
    struct nn_tiles t = { .m = m,
                          .n = n,
                          .k = DEPTH,
                          .n_outer = outer,
                          .a = a,
                          .a_row = 2 * DEPTH,
                          .a_outer = DEPTH,
                          .b = b,
                          .b_row = n,
                          .scale = more ? scale : NULL,
                          .bias = more ? bias : NULL,
                          .c = c,
                          .c_row = row,
                          .add = more };
    if (!nn_tiles_run(&t))
        return false;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < row; j++) {
            double want = value(i * row + j), sum = 0;
            for (int64_t l = 0; l < outer * DEPTH && j < n; l++)
                sum += (double)a[i * 2 * DEPTH + l] * (double)b[l * n + j];
            if (j < n && more)
                want += sum * (double)scale[j] + (double)bias[j];
            else if (j < n)
                want = sum;
            if (fabs(want - (double)c[i * row + j]) > 1e-4)
                CHECK_INT(i * row + j, -1); /* says where */
        }
    return true;
}

TEST(test_gemm_tile__every_shape_of_tile_is_the_plain_sum)
{
    for (int64_t m = 1; m <= ROWS; m++)
        for (int64_t n = 1; n <= COLS; n += n < 70 ? 1 : 31)
            if (!check_one(m, n, 1 + (m + n) % 2, (m + n) % 3 == 0))
                return;
}
