/* SPDX-License-Identifier: Apache-2.0 */
/* Digests and statistics of tensors, a case for each kind of number. */
#include "fingerprint/fingerprint.h"
#include "tests/unit/savedmodel/build.h"

#include <math.h>
#include <stdlib.h>

#define LEN(a) (int64_t)(sizeof(a) / sizeof((a)[0]))
#define STATS(dtype, a) stats_of(dtype, a, LEN(a))

static struct fp_stats
stats_of(int dtype, const void *p, int64_t n)
{
    struct sm_tensor t = { .dtype = dtype,
                           .rank = 1,
                           .dims = { n },
                           .n_elems = n,
                           .data = (void *)(uintptr_t)p };
    struct fp_look look;
    struct digest want;
    fp_look_tensor(&look, &t, FP_LOOK_DIGEST | FP_LOOK_STATS, NULL);
    CHECK(look.has_digest && look.has_stats);
    if (dtype != SM_STRING) {
        sha256_of(p, sm_tensor_bytes(&t), &want);
        CHECK(digest_eq(&look.digest, &want));
    }
    CHECK_INT(look.stats.n_elems, n);
    CHECK_INT(look.stats.n_finite + look.stats.n_nan + look.stats.n_pos_inf +
                  look.stats.n_neg_inf,
              n);
    return look.stats;
}

static bool
near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static void
expect(const struct fp_stats *s, double min, double max, double mean, double std,
       int64_t n_zero)
{
    double lo = fp_number_real(s, s->min), hi = fp_number_real(s, s->max);
    if (lo != min || hi != max || !near(s->mean, mean) || !near(s->std, std) ||
        s->n_zero != n_zero)
        unit_fail(__FILE__, __LINE__,
                  "min %.17g max %.17g mean %.17g std %.17g zeros %" PRId64, lo, hi,
                  s->mean, s->std, s->n_zero);
}

/* -1, 0, 2, 3 in every type that has them. */
#define SMALL_MEAN 1.0
#define SMALL_STD 1.5811388300841898
TEST(test_fp_look__floats)
{
    static const float f[] = { -1, 0, 2, 3 };
    static const double d[] = { -1, 0, 2, 3 };
    static const uint16_t half[] = { 0xbc00, 0x8000, 0x4000, 0x4200 };
    static const uint16_t bf[] = { 0xbf80, 0x0000, 0x4000, 0x4040 };
    static const uint8_t e5m2[] = { 0xbc, 0x00, 0x40, 0x42 };
    static const uint8_t e4m3[] = { 0xb8, 0x00, 0x40, 0x44 };
    struct fp_stats s[] = {
        STATS(SM_FLOAT, f),          STATS(SM_DOUBLE, d),
        STATS(SM_HALF, half),        STATS(SM_BFLOAT16, bf),
        STATS(SM_FLOAT8_E5M2, e5m2), STATS(SM_FLOAT8_E4M3FN, e4m3)
    };
    for (size_t i = 0; i < sizeof s / sizeof s[0]; i++) {
        CHECK_INT(s[i].number, FP_REAL);
        expect(&s[i], -1, 3, SMALL_MEAN, SMALL_STD, 1);
    }
}

TEST(test_fp_look__integers)
{
    static const int8_t i8[] = { -1, 0, 2, 3 };
    static const int16_t i16[] = { -1, 0, 2, 3 };
    static const int32_t i32[] = { -1, 0, 2, 3 };
    static const int64_t i64[] = { -1, 0, 2, 3 };
    static const uint8_t i4[] = { 0x0f, 0, 2, 3 };
    struct fp_stats s[] = { STATS(SM_INT8, i8),   STATS(SM_QINT8, i8),
                            STATS(SM_INT16, i16), STATS(SM_QINT16, i16),
                            STATS(SM_INT32, i32), STATS(SM_QINT32, i32),
                            STATS(SM_INT64, i64), STATS(SM_INT4, i4) };
    for (size_t i = 0; i < sizeof s / sizeof s[0]; i++)
        expect(&s[i], -1, 3, SMALL_MEAN, SMALL_STD, 1);
    static const uint8_t u8[] = { 0, 4 };
    static const uint16_t u16[] = { 0, 4 };
    static const uint32_t u32[] = { 0, 4 };
    static const uint64_t u64[] = { 0, 4 };
    struct fp_stats u[] = { STATS(SM_UINT8, u8),   STATS(SM_QUINT8, u8),
                            STATS(SM_UINT16, u16), STATS(SM_QUINT16, u16),
                            STATS(SM_UINT32, u32), STATS(SM_UINT64, u64),
                            STATS(SM_UINT4, u8) };
    for (size_t i = 0; i < sizeof u / sizeof u[0]; i++)
        expect(&u[i], 0, 4, 2, 2, 1);
    static const uint8_t b[] = { 1, 0, 1, 1 };
    struct fp_stats is = STATS(SM_BOOL, b);
    expect(&is, 0, 1, 0.75, 0.4330127018922193, 1);
}

TEST(test_fp_look__integer_extremes)
{
    static const int64_t i[] = { INT64_MAX, INT64_MIN, INT64_MAX - 1 };
    static const uint64_t u[] = { UINT64_MAX, UINT64_MAX - 1 };
    struct fp_stats s = STATS(SM_INT64, i);
    CHECK(s.min.i == INT64_MIN && s.max.i == INT64_MAX);
    s = stats_of(SM_INT64, &i[2], 1);
    CHECK(s.min.i == INT64_MAX - 1 && s.max.i == INT64_MAX - 1 && s.std == 0);
    s = STATS(SM_UINT64, u);
    CHECK_INT(s.number, FP_UINT);
    CHECK(s.min.u == UINT64_MAX - 1 && s.max.u == UINT64_MAX);
}

TEST(test_fp_look__not_finite)
{
    static const float some[] = { NAN, 1, INFINITY, 3, -INFINITY, NAN, 0 };
    static const float none[] = { NAN, NAN };
    static const uint16_t half[] = { 0x7c00, 0xfc00, 0x7e00, 0x0001, 0x7bff };
    static const uint16_t bf[] = { 0x7f80, 0xff80, 0x7fc0, 0x3f80 };
    static const uint8_t fnuz[] = { 0x80, 0x48 };
    struct fp_stats s = STATS(SM_FLOAT, some);
    expect(&s, 0, 3, 4 / 3.0, 1.247219128924647, 1);
    CHECK(s.n_nan == 2 && s.n_pos_inf == 1 && s.n_neg_inf == 1);
    s = STATS(SM_FLOAT, none);
    CHECK(s.n_finite == 0 && s.n_nan == 2 && isnan(s.mean) && isnan(s.std));
    s = STATS(SM_HALF, half);
    CHECK(s.n_nan == 1 && s.n_pos_inf == 1 && s.n_neg_inf == 1);
    CHECK(s.min.real == 0x1p-24 && s.max.real == 65504);
    s = STATS(SM_BFLOAT16, bf);
    CHECK(s.n_nan == 1 && s.n_pos_inf == 1 && s.n_neg_inf == 1 && s.mean == 1);
    s = STATS(SM_FLOAT8_E4M3FNUZ, fnuz);
    CHECK(s.n_nan == 1 && s.min.real == 2);
}

/* Every pattern of a half, against the slow reader. */
TEST(test_fp_look__all_halves)
{
    static uint16_t v[1];
    for (uint32_t bits = 0; bits < 0x7c00; bits++) {
        v[0] = (uint16_t)bits;
        struct fp_stats s = STATS(SM_HALF, v);
        int e = (int)(bits >> 10), m = (int)(bits & 0x3ff);
        double want = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
        CHECK(s.min.real == want);
    }
}

TEST(test_fp_look__empty_and_scalar)
{
    static const float one[] = { 2.5f };
    struct fp_stats s = stats_of(SM_FLOAT, one, 0);
    CHECK(s.n_finite == 0 && isnan(s.mean) && isnan(s.std));
    s = stats_of(SM_FLOAT, one, 1);
    expect(&s, 2.5, 2.5, 2.5, 0, 0);
    s = stats_of(SM_STRING, NULL, 0);
    CHECK(s.n_finite == 0);
}

TEST(test_fp_look__complex_and_strings)
{
    static const float c64[] = { 3, 4, 0, 0, NAN, 1, INFINITY, NAN };
    static const double c128[] = { 0, -4e200 };
    static const struct str v[] = { { "abc", 3 }, { "", 0 }, { "a", 1 } };
    struct fp_stats s = stats_of(SM_COMPLEX64, c64, 4);
    CHECK(s.of == FP_OF_MAGNITUDE && s.n_nan == 1 && s.n_pos_inf == 1);
    expect(&s, 0, 5, 2.5, 2.5, 1);
    s = stats_of(SM_COMPLEX128, c128, 1);
    expect(&s, 4e200, 4e200, 4e200, 0, 0);
    s = STATS(SM_STRING, v);
    CHECK(s.of == FP_OF_LENGTH && s.number == FP_INT);
    expect(&s, 0, 3, 4 / 3.0, 1.247219128924647, 1);
    CHECK_INT(fp_stats_of(SM_VARIANT), FP_OF_NOTHING);
    CHECK_INT(fp_stats_of(SM_RESOURCE), FP_OF_NOTHING);
}

/* What naive sums lose: far from zero, drifting, one outlier, and near the range's end.
 */
TEST(test_fp_look__numerically_sound)
{
    enum { N = 100003 };
    double *v AUTO(free_ptr) = xcalloc(N, sizeof *v);
    struct fp_stats s;
    for (int kind = 0; kind < 4; kind++) {
        for (int i = 0; i < N; i++)
            v[i] = kind == 0   ? 1e9 + i % 7
                   : kind == 1 ? 1e6 + i * 0.5
                   : kind == 2 ? i == 0 ? 1e12 : 1 + i % 2
                               : (i % 2 ? 1e300 : -1e300);
        long double mean = 0, squares = 0;
        for (int i = 0; i < N; i++)
            mean += v[i];
        mean /= N;
        for (int i = 0; i < N; i++)
            squares += (v[i] - mean) * (v[i] - mean);
        s = stats_of(SM_DOUBLE, v, N);
        CHECK(fabs(s.mean - (double)mean) <= 1e-13 * fmax(fabs(v[0]), fabs(v[1])));
        CHECK(near(s.std, (double)sqrtl(squares / N)));
    }
}

/* The parts of a piece, and the vectors, end anywhere. */
TEST(test_fp_look__every_length)
{
    float v[1100];
    for (int i = 0; i < LEN(v); i++)
        v[i] = (float)(i % 5);
    for (int64_t n = 1; n <= LEN(v); n += n < 40 ? 1 : 53) {
        struct fp_stats s = stats_of(SM_FLOAT, v, n);
        int64_t sum = 0, zeros = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += i % 5;
            zeros += i % 5 == 0;
        }
        CHECK(near(s.mean, (double)sum / (double)n));
        CHECK_INT(s.n_zero, zeros);
        CHECK(s.min.real == 0 && s.max.real == (n < 5 ? n - 1 : 4));
    }
}

TEST(test_fp_look__histogram)
{
    static const float f[] = { 0, 1, 10, 20, 19.5f, NAN, INFINITY };
    static const int8_t few[] = { -2, -2, 1 };
    static const float same[] = { 3, 3 };
    static const float none[] = { NAN };
    static const double wide[] = { -1.7e308, 1.7e308 };
    static const struct {
        int dtype;
        const void *p;
        int n, n_bins, first, last;
    } cases[] = { { SM_FLOAT, f, 7, 20, 1, 2 },
                  { SM_INT8, few, 3, 4, 2, 1 },
                  { SM_FLOAT, same, 2, 1, 2, 2 },
                  { SM_FLOAT, none, 1, 0, 0, 0 },
                  { SM_DOUBLE, wide, 2, 20, 1, 1 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fp_stats s = stats_of(cases[i].dtype, cases[i].p, cases[i].n);
        struct fp_histogram h;
        struct fp_look look;
        struct sm_tensor t = { .dtype = cases[i].dtype,
                               .rank = 1,
                               .dims = { cases[i].n },
                               .n_elems = cases[i].n,
                               .data = (void *)(uintptr_t)cases[i].p };
        fp_histogram_init(&h, cases[i].dtype, &s);
        fp_look_tensor(&look, &t, 0, &h);
        CHECK_INT(h.n_bins, cases[i].n_bins);
        if (h.n_bins == 0)
            continue;
        CHECK_INT(h.bin[0], cases[i].first);
        CHECK_INT(h.bin[h.n_bins - 1], cases[i].last);
        int64_t all = 0;
        for (int k = 0; k < h.n_bins; k++)
            all += h.bin[k];
        CHECK_INT(all, s.n_finite);
        CHECK(fp_histogram_edge(&h, 0) == fp_number_real(&s, s.min));
        if (!h.is_by_value)
            CHECK(fp_histogram_edge(&h, h.n_bins) == fp_number_real(&s, s.max));
    }
}

/* Whole, in slices and in shards; with one thread and with several. */
TEST(test_fp_look__of_checkpoints)
{
    static const char *const models[] = { "tf1_partitioned/model", "mlp_tiny/model",
                                          "every_reference/model" };
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        struct err err = ERR_INIT;
        struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
        int fd AUTO(fs_close) = -1;
        CHECK_OK(fs_open_dir(&fd, AT_FDCWD, unit_data(models[m]), &err));
        CHECK_OK(sm_bundle_open(&b, fd, "variables/variables", &err));
        int n = sm_bundle_n_entries(b);
        struct fp_look *v = xcalloc((size_t)n, sizeof *v);
        for (int i = 0; i < n; i++)
            v[i].entry = sm_bundle_entry(b, i);
        fp_look_all(v, n, b, fd, "variables/variables", FP_LOOK_DIGEST | FP_LOOK_STATS,
                    3);
        for (int i = 0; i < n; i++) {
            struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
            struct fp_look one;
            CHECK(v[i].code == ERR_OK && v[i].entry == sm_bundle_entry(b, i));
            CHECK_OK(sm_bundle_tensor(b, v[i].entry->key, (struct str){ "", 0 }, true,
                                      &t, &err));
            fp_look_tensor(&one, &t, FP_LOOK_DIGEST | FP_LOOK_STATS, NULL);
            CHECK(digest_eq(&one.digest, &v[i].digest));
            CHECK_INT(one.n_bytes, v[i].n_bytes);
            CHECK(one.stats.n_finite == v[i].stats.n_finite &&
                  (one.stats.std == v[i].stats.std || isnan(one.stats.std)));
        }
        fp_look_free(v, n);
    }
}
