/* SPDX-License-Identifier: Apache-2.0 */
/* z = f(x, y), element by element, with NumPy's broadcasting. One row of `rows` an op:
 * the functions by input dtype; the driver is in math_bcast.c. Peculiarities of
 * TensorFlow: integers wrap; a zero divisor of integers and a negative integer exponent
 * fail; shifts are clamped to the width; Maximum and Minimum give NaN when either is
 * NaN and x when both are equal; FloorMod takes the sign of the divisor. float16 and
 * bfloat16 round after each step of a formula that has several (R). */
#include "runtime/ops/math_binary.h"
#include "runtime/ops/math_special.h"
#include "runtime/ops/math_vec.h"

typedef float complex c64;
typedef double complex c128;

#define LOOP(attr, name, in_type, out_type, expr)                                      \
    attr static void name(const void *px, const void *py, void *pz, int64_t n)         \
    {                                                                                  \
        const in_type *xs = px, *ys = py;                                              \
        out_type *zs = pz;                                                             \
        K_VECTOR                                                                       \
        for (int64_t i = 0; i < n; i++) {                                              \
            in_type x = xs[i], y = ys[i];                                              \
            zs[i] = (out_type)(expr);                                                  \
        }                                                                              \
    }
/* V: loops that vectorise; S: loops around a call. */
#define V(name, in_type, out_type, expr) LOOP(RT_SIMD, name, in_type, out_type, expr)
#define S(name, in_type, out_type, expr) LOOP(, name, in_type, out_type, expr)

/* One formula for every floating dtype: R(…) marks the roundings between steps. */
#define VV(name, expr)                                                                 \
    V(name##_f32, float, float, expr)                                                  \
    V(name##_f64, double, double, expr)
#define STEPS(attr, name, fn)                                                          \
    LOOP(attr, name##_f32, float, float, fn(x, y, (float)))                            \
    LOOP(attr, name##_f64, double, double, fn(x, y, (double)))                         \
    LOOP(attr, name##_f16, float, float, fn(x, y, k_round_half))                       \
    LOOP(attr, name##_b16, float, float, fn(x, y, k_round_bf16))
#define CC(name, expr) S(name##_c64, c64, c64, expr) S(name##_c128, c128, c128, expr)
#define DBL(name, fn)                                                                  \
    S(name##_f32, float, float, fn((double)x, (double)y))                              \
    S(name##_f64, double, double, fn(x, y))

/* ---- arithmetic ------------------------------------------------------------------ */

VV(add, x + y)
VV(sub, x - y)
VV(mul, x *y)
VV(div, x / y)
CC(add, x + y)
CC(sub, x - y)
CC(mul, x *y)
CC(div, x / y)
/* Wrapping: through the unsigned type of the same width, or int where that is wider. */
#define X(dtype, type, sfx)                                                            \
    V(add_##sfx, type, type, (uint64_t)x + (uint64_t)y)                                \
    V(sub_##sfx, type, type, (uint64_t)x - (uint64_t)y)                                \
    V(mul_##sfx, type, type, (uint64_t)x *(uint64_t)y)
K_INTS(X)
#undef X

VV(max, x < y || y != y ? y : x)
VV(min, y < x || y != y ? y : x)
#define X(dtype, type, sfx)                                                            \
    V(max_##sfx, type, type, x < y ? y : x)                                            \
    V(min_##sfx, type, type, y < x ? y : x)
K_INTS(X)
#undef X

#define SQDIFF(x, y, R) R(x - y) * R(x - y)
STEPS(RT_SIMD, sqdiff, SQDIFF)
V(sqdiff_i32, int32_t, int32_t,
  ((uint32_t)x - (uint32_t)y) * ((uint32_t)x - (uint32_t)y))
V(sqdiff_i64, int64_t, int64_t,
  ((uint64_t)x - (uint64_t)y) * ((uint64_t)x - (uint64_t)y))
CC(sqdiff, (x - y) * conj(x - y))
VV(divnonan, y == 0 ? 0 : x / y)
CC(divnonan, y == 0 ? 0 : x / y)
VV(mulnonan, y == 0 ? 0 : x * y)
CC(mulnonan, y == 0 ? 0 : x * y)

/* The smallest integer divided by -1 wraps, instead of trapping. */
#define S_DIV(type) (y == -1 ? (type)(0 - (uint64_t)x) : (type)(x / y))
#define S_MOD(type) (y == -1 ? 0 : (type)(x % y))
#define X(dtype, type, sfx)                                                            \
    S(div_##sfx, type, type, S_DIV(type))                                              \
    S(floordiv_##sfx, type, type,                                                      \
      S_DIV(type) - ((x < 0) != (y < 0) && S_MOD(type) != 0))                          \
    S(mod_##sfx, type, type, S_MOD(type))                                              \
    S(floormod_##sfx, type, type,                                                      \
      S_MOD(type) + (S_MOD(type) != 0 && (x < 0) != (y < 0) ? y : 0))
K_SINTS(X)
#undef X
#define X(dtype, type, sfx)                                                            \
    S(div_##sfx, type, type, x / y)                                                    \
    S(mod_##sfx, type, type, x % y)
K_UINTS(X)
#undef X

#define FLOORDIV(x, y, R) floor(R(x / y))
#define TRUNCDIV(x, y, R) trunc(R(x / y))
STEPS(RT_SIMD, floordiv, FLOORDIV)
STEPS(RT_SIMD, truncdiv, TRUNCDIV)
S(mod_f32, float, float, fmodf(x, y))
S(mod_f64, double, double, fmod(x, y))

static inline double
floor_mod(double x, double y)
{
    double m = fmod(x, y);
    return m != 0 && (y < 0) != (m < 0) ? m + y : m;
}
static inline float
floor_modf(float x, float y)
{
    float m = fmodf(x, y);
    return m != 0 && (y < 0) != (m < 0) ? m + y : m;
}
S(floormod_f32, float, float, floor_modf(x, y))
S(floormod_f64, double, double, floor_mod(x, y))

/* ---- powers and special functions ------------------------------------------------ */

static inline uint64_t
int_pow(uint64_t x, int64_t n)
{
    uint64_t y = 1;
    for (; n > 0; n >>= 1, x *= x)
        if (n & 1)
            y *= x;
    return y;
}
#define X(dtype, type, sfx) S(pow_##sfx, type, type, int_pow((uint64_t)x, (int64_t)y))
K_INTS(X)
#undef X
/* Squares are the common power: whole lines of one exponent. */
static void
pow_f32(const void *px, const void *py, void *pz, int64_t n)
{
    const float *x = px, *y = py;
    float *z = pz;
    bool square = n > 0;
    for (int64_t i = 0; i < n && square; i++)
        square = y[i] == 2.0f;
    if (square) {
        mul_f32(x, x, z, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        z[i] = powf(x[i], y[i]);
}
S(pow_f64, double, double, pow(x, y))
S(pow_c64, c64, c64, cpowf(x, y))
S(pow_c128, c128, c128, cpow(x, y))
S(atan2_f32, float, float, atan2f(x, y))
S(atan2_f64, double, double, atan2(x, y))
S(nextafter_f32, float, float, nextafterf(x, y))
S(nextafter_f64, double, double, nextafter(x, y))
#define XLOGY(x, y, R) (x == 0 ? x : x * R(v_log_any(y)))
#define XLOG1PY(x, y, R) (x == 0 ? x : x * R(log1p_any(y)))
#define v_log_any(y) _Generic((y), float : logf, double : log)(y)
#define log1p_any(y) _Generic((y), float : log1pf, double : log1p)(y)
STEPS(, xlogy, XLOGY)
STEPS(, xlog1py, XLOG1PY)
S(xlogy_c64, c64, c64, x == 0 ? x : x * clogf(y))
S(xlogy_c128, c128, c128, x == 0 ? x : x * clog(y))
S(xlog1py_c64, c64, c64, x == 0 ? x : x * clogf(1 + y))
S(xlog1py_c128, c128, c128, x == 0 ? x : x * clog(1 + y))
VV(xdivy, x == 0 ? x : x / y)
CC(xdivy, x == 0 ? x : x / y)
DBL(igamma, k_igamma)
DBL(igammac, k_igammac)
DBL(zeta, k_zeta)
DBL(polygamma, k_polygamma)
S(complex_f32, float, c64, CMPLXF(x, y))
S(complex_f64, double, c128, CMPLX(x, y))

/* ---- bits and comparisons -------------------------------------------------------- */

#define TOP(type) ((type)(8 * sizeof(type) - 1))
#define SHIFTS(type, sfx, by)                                                          \
    V(shl_##sfx, type, type, (uint64_t)x << (by))                                      \
    V(shr_##sfx, type, type, x >> (by))
#define X(dtype, type, sfx) SHIFTS(type, sfx, y<0 ? 0 : y> TOP(type) ? TOP(type) : y)
K_SINTS(X)
#undef X
#define X(dtype, type, sfx) SHIFTS(type, sfx, y > TOP(type) ? TOP(type) : y)
K_UINTS(X)
#undef X
#define X(dtype, type, sfx)                                                            \
    V(and_##sfx, type, type, x &y)                                                     \
    V(or_##sfx, type, type, x | y)                                                     \
    V(xor_##sfx, type, type, x ^ y)
K_INTS(X)
#undef X
#define COMPARE(type, sfx)                                                             \
    V(eq_##sfx, type, uint8_t, x == y)                                                 \
    V(ne_##sfx, type, uint8_t, x != y)                                                 \
    V(lt_##sfx, type, uint8_t, x < y)                                                  \
    V(le_##sfx, type, uint8_t, x <= y)
#define X(dtype, type, sfx) COMPARE(type, sfx)
K_REALS(X)
#undef X
S(eq_c64, c64, uint8_t, x == y)
S(ne_c64, c64, uint8_t, x != y)
S(eq_c128, c128, uint8_t, x == y)
S(ne_c128, c128, uint8_t, x != y)
#define X(dtype, type, sfx)                                                            \
    V(gt_##sfx, type, uint8_t, x > y)                                                  \
    V(ge_##sfx, type, uint8_t, x >= y)
K_REALS(X)
#undef X

/* ---- gradients (x and y as the op names its inputs) ------------------------------ */

#define GRAD(name, expr) VV(name, expr) CC(name, expr)
GRAD(sigmoid_grad, y *(x *(1 - x)))
GRAD(tanh_grad, y *(1 - x * x))
VV(sqrt_grad, y == 0 ? 0 : y * 0.5f / x)
CC(sqrt_grad, y == 0 ? 0 : y * 0.5f / conj(x))
VV(rsqrt_grad, y == 0 ? 0 : y * -0.5f * x * (x * x))
CC(rsqrt_grad, y == 0 ? 0 : y * -0.5f * conj(x * x * x))
VV(inv_grad, y == 0 ? 0 : -y * x * x)
CC(inv_grad, y == 0 ? 0 : -y * conj(x * x))
VV(relu_grad, x *(y > 0))
VV(relu6_grad, x *(y > 0 && y < 6))
VV(elu_grad, y < 0 ? x * (y + 1) : x)
#define SELU_SCALE 1.0507009873554804934193349852946
#define SELU_ALPHA 1.7580993408473768599402175208123 /* scale * alpha */
V(selu_grad_f32, float, float,
  y < 0 ? x * (y + (float)SELU_ALPHA) : x * (float)SELU_SCALE)
V(selu_grad_f64, double, double, y < 0 ? x * (y + SELU_ALPHA) : x * SELU_SCALE)
V(softplus_grad_f32, float, float, x / (v_exp(-y) + 1))
S(softplus_grad_f64, double, double, x / (exp(-y) + 1))
VV(softsign_grad, x / ((1 + (y < 0 ? -y : y)) * (1 + (y < 0 ? -y : y))))
#define X(dtype, type, sfx)                                                            \
    V(relu_grad_##sfx, type, type, y > 0 ? x : 0)                                      \
    V(relu6_grad_##sfx, type, type, y > 0 && y < 6 ? x : 0)
K_INTS(X)
#undef X

#define F(n) [SM_FLOAT] = n##_f32, [SM_DOUBLE] = n##_f64
#define H(n) [SM_HALF] = n##_f16, [SM_BFLOAT16] = n##_b16
#define C(n) [SM_COMPLEX64] = n##_c64, [SM_COMPLEX128] = n##_c128
#define SI(n)                                                                          \
    [SM_INT8] = n##_i8, [SM_INT16] = n##_i16, [SM_INT32] = n##_i32, [SM_INT64] = n##_i64
#define UI(n)                                                                          \
    [SM_UINT8] = n##_u8, [SM_UINT16] = n##_u16, [SM_UINT32] = n##_u32,                 \
    [SM_UINT64] = n##_u64
#define INTS(n) SI(n), UI(n)
#define Q(n)                                                                           \
    [SM_QINT8] = n##_i8, [SM_QUINT8] = n##_u8, [SM_QINT16] = n##_i16,                  \
    [SM_QUINT16] = n##_u16, [SM_QINT32] = n##_i32
#define BOOLS(n) [SM_BOOL] = n##_u8

static const struct k_binary rows[] = {
    { "Add", K_SAME, 0, { F(add), INTS(add), C(add) } },
    { "AddV2", K_SAME, 0, { F(add), INTS(add), C(add) } },
    { "Atan2", K_SAME, 0, { F(atan2) } },
    { "BitwiseAnd", K_SAME, 0, { INTS(and) } },
    { "BitwiseOr", K_SAME, 0, { INTS(or) } },
    { "BitwiseXor", K_SAME, 0, { INTS(xor) } },
    { "Complex", K_COMPLEX_OUT, 0, { F(complex) } },
    { "Div", K_SAME, K_DIV_CHECK, { F(div), INTS(div), C(div) } },
    { "DivNoNan", K_SAME, 0, { F(divnonan), C(divnonan) } },
    { "EluGrad", K_SAME, K_NO_BROADCAST, { F(elu_grad) } },
    { "Equal", K_BOOL_OUT, 0, { F(eq), INTS(eq), C(eq), Q(eq), BOOLS(eq) } },
    { "FloorDiv",
      K_SAME,
      K_DIV_CHECK,
      { F(floordiv), H(floordiv), SI(floordiv), UI(div) } },
    { "FloorMod", K_SAME, K_DIV_CHECK, { F(floormod), SI(floormod), UI(mod) } },
    { "Greater", K_BOOL_OUT, 0, { F(gt), INTS(gt) } },
    { "GreaterEqual", K_BOOL_OUT, 0, { F(ge), INTS(ge) } },
    { "Igamma", K_SAME, 0, { F(igamma) } },
    { "Igammac", K_SAME, 0, { F(igammac) } },
    { "InvGrad", K_SAME, K_NO_BROADCAST, { F(inv_grad), C(inv_grad) } },
    { "LeftShift", K_SAME, 0, { INTS(shl) } },
    { "Less", K_BOOL_OUT, 0, { F(lt), INTS(lt) } },
    { "LessEqual", K_BOOL_OUT, 0, { F(le), INTS(le) } },
    { "LogicalAnd", K_SAME, 0, { BOOLS(and) } },
    { "LogicalOr", K_SAME, 0, { BOOLS(or) } },
    { "Maximum", K_SAME, 0, { F(max), INTS(max) } },
    { "Minimum", K_SAME, 0, { F(min), INTS(min) } },
    { "Mod", K_SAME, K_DIV_CHECK, { F(mod), INTS(mod) } },
    { "Mul", K_SAME, 0, { F(mul), INTS(mul), C(mul) } },
    { "MulNoNan", K_SAME, 0, { F(mulnonan), C(mulnonan) } },
    { "NextAfter", K_SAME, 0, { F(nextafter) } },
    { "NotEqual", K_BOOL_OUT, 0, { F(ne), INTS(ne), C(ne), Q(ne), BOOLS(ne) } },
    { "Polygamma", K_SAME, 0, { F(polygamma) } },
    { "Pow", K_SAME, K_POW_CHECK, { F(pow), INTS(pow), C(pow) } },
    { "RealDiv", K_SAME, 0, { F(div), C(div) } },
    { "ReciprocalGrad", K_SAME, K_NO_BROADCAST, { F(inv_grad), C(inv_grad) } },
    { "Relu6Grad", K_SAME, K_NO_BROADCAST, { F(relu6_grad), INTS(relu6_grad) } },
    { "ReluGrad", K_SAME, K_NO_BROADCAST, { F(relu_grad), INTS(relu_grad) } },
    { "RightShift", K_SAME, 0, { INTS(shr) } },
    { "RsqrtGrad", K_SAME, K_NO_BROADCAST, { F(rsqrt_grad), C(rsqrt_grad) } },
    { "SeluGrad", K_SAME, K_NO_BROADCAST, { F(selu_grad) } },
    { "SigmoidGrad", K_SAME, K_NO_BROADCAST, { F(sigmoid_grad), C(sigmoid_grad) } },
    { "SoftplusGrad", K_SAME, K_NO_BROADCAST, { F(softplus_grad) } },
    { "SoftsignGrad", K_SAME, K_NO_BROADCAST, { F(softsign_grad) } },
    { "SqrtGrad", K_SAME, K_NO_BROADCAST, { F(sqrt_grad), C(sqrt_grad) } },
    { "SquaredDifference",
      K_SAME,
      0,
      { F(sqdiff), H(sqdiff),
        C(sqdiff), [SM_INT32] = sqdiff_i32, [SM_INT64] = sqdiff_i64 } },
    { "Sub", K_SAME, 0, { F(sub), INTS(sub), C(sub) } },
    { "TanhGrad", K_SAME, K_NO_BROADCAST, { F(tanh_grad), C(tanh_grad) } },
    { "TruncateDiv", K_SAME, K_DIV_CHECK, { F(truncdiv), H(truncdiv), INTS(div) } },
    { "TruncateMod", K_SAME, K_DIV_CHECK, { F(mod), INTS(mod) } },
    { "Xdivy", K_SAME, 0, { F(xdivy), C(xdivy) } },
    { "Xlog1py", K_SAME, 0, { F(xlog1py), H(xlog1py), C(xlog1py) } },
    { "Xlogy", K_SAME, 0, { F(xlogy), H(xlogy), C(xlogy) } },
    { "Zeta", K_SAME, 0, { F(zeta) } },
};

const struct k_binary *
k_binary_row(const char *op)
{
    return K_ROW(rows, op);
}
