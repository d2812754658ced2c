/* SPDX-License-Identifier: Apache-2.0 */
/* y = f(x), element by element, any shape. One row of `rows` an op: the functions by
 * input dtype. float16 and bfloat16 run float functions on widened blocks.
 * Peculiarities of TensorFlow: abs and negation of the smallest integer wrap; Sign(NaN)
 * is NaN; Round and Rint go half to even. */
#include "runtime/ops/math_special.h"
#include "runtime/ops/math_vec.h"
#include "runtime/ops/ops_int.h"

typedef void unary_fn(const void *x, void *y, int64_t n);

/* Loops that vectorise: V; loops around a call of the C library: S. x is the element.
 */
#define LOOP(attr, name, in_type, out_type, expr)                                      \
    attr static void name(const void *px, void *py, int64_t n)                         \
    {                                                                                  \
        const in_type *xs = px;                                                        \
        out_type *ys = py;                                                             \
        K_VECTOR                                                                       \
        for (int64_t i = 0; i < n; i++) {                                              \
            in_type x = xs[i];                                                         \
            ys[i] = (out_type)(expr);                                                  \
        }                                                                              \
    }
#define V(name, in_type, out_type, expr) LOOP(RT_SIMD, name, in_type, out_type, expr)
#define S(name, in_type, out_type, expr) LOOP(, name, in_type, out_type, expr)

typedef float complex c64;
typedef double complex c128;

/* The same formula for float and double; both by the C library; all four. */
#define VV(name, expr)                                                                 \
    V(name##_f32, float, float, expr) V(name##_f64, double, double, expr)
#define LIBM(name, fn)                                                                 \
    S(name##_f32, float, float, fn##f(x)) S(name##_f64, double, double, fn(x))
#define LIBM_C(name, fn)                                                               \
    S(name##_c64, c64, c64, c##fn##f(x)) S(name##_c128, c128, c128, c##fn(x))
#define CC(name, expr) S(name##_c64, c64, c64, expr) S(name##_c128, c128, c128, expr)
/* A function known in double only. */
#define DBL(name, f)                                                                   \
    S(name##_f32, float, float, f((double)x)) S(name##_f64, double, double, f(x))

V(abs_f32, float, float, v_abs(x))
V(abs_f64, double, double, fabs(x))
V(abs_i8, int8_t, int8_t, x < 0 ? -x : x)
V(abs_i16, int16_t, int16_t, x < 0 ? -x : x)
V(abs_i32, int32_t, int32_t, x < 0 ? 0u - (uint32_t)x : (uint32_t)x)
V(abs_i64, int64_t, int64_t, x < 0 ? 0u - (uint64_t)x : (uint64_t)x)
V(neg_i8, int8_t, int8_t, -x)
V(neg_i16, int16_t, int16_t, -x)
V(neg_i32, int32_t, int32_t, 0u - (uint32_t)x)
V(neg_i64, int64_t, int64_t, 0u - (uint64_t)x)
VV(neg, -x)
CC(neg, -x)
V(sign_f32, float, float, x != x ? x : (float)(x > 0) - (float)(x < 0))
V(sign_f64, double, double, x != x ? x : (double)(x > 0) - (double)(x < 0))
#define X(dtype, type, sfx) V(sign_##sfx, type, type, (x > 0) - (x < 0))
K_SINTS(X)
#undef X
S(sign_c64, c64, c64, x == 0 ? 0 : x / cabsf(x))
S(sign_c128, c128, c128, x == 0 ? 0 : x / cabs(x))
#define X(dtype, type, sfx) V(square_##sfx, type, type, (uint64_t)x *(uint64_t)x)
K_INTS(X)
#undef X
VV(square, x *x)
CC(square, x *x)
#define X(dtype, type, sfx) V(not_##sfx, type, type, ~x)
K_INTS(X)
#undef X
V(not_bool, uint8_t, uint8_t, !x)
#define X(dtype, type, sfx)                                                            \
    S(bits_##sfx, type, uint8_t, __builtin_popcountll((uint64_t)x &(uint64_t)(type)-1))
K_UINTS(X)
#undef X
S(bits_i8, int8_t, uint8_t, __builtin_popcount((uint8_t)x))
S(bits_i16, int16_t, uint8_t, __builtin_popcount((uint16_t)x))
S(bits_i32, int32_t, uint8_t, __builtin_popcount((uint32_t)x))
S(bits_i64, int64_t, uint8_t, __builtin_popcountll((uint64_t)x))

VV(inv, 1 / x)
static inline c128
inverse(c128 x)
{
    double n = creal(x) * creal(x) + cimag(x) * cimag(x);
    return CMPLX(creal(x) / n, -cimag(x) / n);
}
CC(inv, inverse(x))
V(sqrt_f32, float, float, sqrtf(x))
V(sqrt_f64, double, double, sqrt(x))
LIBM_C(sqrt, sqrt)
V(rsqrt_f32, float, float, 1.0f / sqrtf(x))
V(rsqrt_f64, double, double, 1.0 / sqrt(x))
S(rsqrt_c64, c64, c64, 1 / csqrtf(x))
S(rsqrt_c128, c128, c128, 1 / csqrt(x))
V(exp_f32, float, float, v_exp(x))
S(exp_f64, double, double, exp(x))
LIBM_C(exp, exp)
V(expm1_f32, float, float, v_expm1(x))
S(expm1_f64, double, double, expm1(x))
CC(expm1, cexp(x) - 1)
V(log_f32, float, float, v_log(x))
S(log_f64, double, double, log(x))
LIBM_C(log, log)
LIBM(log1p, log1p)
CC(log1p, x + 1 == 1 ? x : x * (clog(x + 1) / (x + 1 - 1)))
V(tanh_f32, float, float, v_tanh(x))
S(tanh_f64, double, double, tanh(x))
LIBM_C(tanh, tanh)
V(sigmoid_f32, float, float, v_sigmoid(x))
S(sigmoid_f64, double, double, 1 / (1 + exp(-x)))
S(sigmoid_c64, c64, c64, 1 / (1 + cexpf(-x)))
S(sigmoid_c128, c128, c128, 1 / (1 + cexp(-x)))
/* Short arguments in vectors; where a block has a longer one (or NaN), the C library.
 */
V(short_sin, float, float, v_sin_from(x, 0))
V(short_cos, float, float, v_sin_from(x, 1))
S(long_sin, float, float, sinf(x))
S(long_cos, float, float, cosf(x))
RT_SIMD static bool
all_short(const float *x, int64_t n)
{
    uint32_t most = 0;
    for (int64_t i = 0; i < n; i++) { /* NaN is above all numbers */
        uint32_t u = rt_f32_bits(x[i]) & 0x7fffffffu;
        most = u > most ? u : most;
    }
    return most <= rt_f32_bits(V_SIN_MAX);
}
static void
sine(const float *x, float *y, int64_t n, unary_fn *near, unary_fn *far)
{
    for (int64_t i = 0; i < n; i += 512) {
        int64_t m = K_MIN(n - i, 512);
        (all_short(x + i, m) ? near : far)(x + i, y + i, m);
    }
}
static void
sin_f32(const void *x, void *y, int64_t n)
{
    sine(x, y, n, short_sin, long_sin);
}
static void
cos_f32(const void *x, void *y, int64_t n)
{
    sine(x, y, n, short_cos, long_cos);
}
S(sin_f64, double, double, sin(x))
S(cos_f64, double, double, cos(x))
LIBM(tan, tan)
LIBM(asin, asin)
LIBM(acos, acos)
LIBM(atan, atan)
LIBM(sinh, sinh)
LIBM(cosh, cosh)
LIBM(asinh, asinh)
LIBM(acosh, acosh)
LIBM(atanh, atanh)
LIBM_C(sin, sin)
LIBM_C(cos, cos)
LIBM_C(tan, tan)
LIBM_C(asin, asin)
LIBM_C(acos, acos)
LIBM_C(atan, atan)
LIBM_C(sinh, sinh)
LIBM_C(cosh, cosh)
LIBM_C(asinh, asinh)
LIBM_C(acosh, acosh)
LIBM_C(atanh, atanh)
V(floor_f32, float, float, floorf(x))
V(floor_f64, double, double, floor(x))
V(ceil_f32, float, float, ceilf(x))
V(ceil_f64, double, double, ceil(x))
V(rint_f32, float, float, rintf(x))
V(rint_f64, double, double, rint(x))
V(same_i32, int32_t, int32_t, x)
V(same_i64, int64_t, int64_t, x)
V(erf_f32, float, float, v_erf(x))
S(erf_f64, double, double, erf(x))
LIBM(erfc, erfc)
/* TensorFlow's erfinv is ndtri((x + 1) / 2) / sqrt(2), rounded on the way. */
S(erfinv_f32, float, float, k_ndtri((double)(x * 0.5f + 0.5f)) * M_SQRT1_2)
S(erfinv_f64, double, double, k_ndtri(x * 0.5 + 0.5) * M_SQRT1_2)
DBL(ndtri, k_ndtri)
DBL(lgamma, k_lgamma)
DBL(digamma, k_digamma)
/* Overflow comes where it comes in TensorFlow, from e^|x| in float. */
S(bessel_i0_f32, float, float, (float)k_bessel_i0e((double)x) * expf(v_abs(x)))
S(bessel_i0_f64, double, double, k_bessel_i0(x))
DBL(bessel_i0e, k_bessel_i0e)
S(bessel_i1_f32, float, float, (float)k_bessel_i1e((double)x) * expf(v_abs(x)))
S(bessel_i1_f64, double, double, k_bessel_i1(x))
DBL(bessel_i1e, k_bessel_i1e)
DBL(bessel_k0, k_bessel_k0)
DBL(bessel_k0e, k_bessel_k0e)
DBL(bessel_k1, k_bessel_k1)
DBL(bessel_k1e, k_bessel_k1e)
DBL(bessel_j0, isinf(x) ? NAN : j0)
DBL(bessel_j1, isinf(x) ? NAN : j1)
DBL(bessel_y0, x <= 0 ? -INFINITY : isinf(x) ? NAN : y0)
DBL(bessel_y1, x < 0 ? -INFINITY : x == 0 || isinf(x) ? NAN : y1)
DBL(expint, k_expint)
DBL(dawsn, k_dawsn)
DBL(fresnel_cos, k_fresnel_cos)
DBL(fresnel_sin, k_fresnel_sin)
DBL(spence, k_spence)
V(isnan_f32, float, uint8_t, x != x)
V(isnan_f64, double, uint8_t, x != x)
V(isinf_f32, float, uint8_t, v_abs(x) == INFINITY)
V(isinf_f64, double, uint8_t, fabs(x) == INFINITY)
V(isfinite_f32, float, uint8_t, v_abs(x) < INFINITY)
V(isfinite_f64, double, uint8_t, fabs(x) < INFINITY)
S(cabs_c64, c64, float, cabsf(x))
S(cabs_c128, c128, double, cabs(x))
S(arg_c64, c64, float, cargf(x))
S(arg_c128, c128, double, carg(x))
S(real_c64, c64, float, crealf(x))
S(real_c128, c128, double, creal(x))
S(imag_c64, c64, float, cimagf(x))
S(imag_c128, c128, double, cimag(x))
S(conj_c64, c64, c64, conjf(x))
S(conj_c128, c128, c128, conj(x))
V(relu_f32, float, float, x < 0 ? 0 : x)
V(relu_f64, double, double, x < 0 ? 0 : x)
V(relu6_f32, float, float, x<0 ? 0 : x> 6 ? 6 : x)
V(relu6_f64, double, double, x<0 ? 0 : x> 6 ? 6 : x)
#define X(dtype, type, sfx)                                                            \
    V(relu_##sfx, type, type, x > 0 ? x : 0)                                           \
    V(relu6_##sfx, type, type, x > 6 ? 6 : x > 0 ? x : 0)
K_INTS(X)
#undef X
/* Formulas of several steps; float16 and bfloat16 round after each (R). */
#define ROUNDED(name, fn)                                                              \
    V(name##_f16, float, float, fn(x, k_round_half))                                   \
    V(name##_b16, float, float, fn(x, k_round_bf16))
#define SELU_SCALE 1.0507009873554804934193349852946
#define SELU_ALPHA 1.7580993408473768599402175208123 /* scale * alpha */
V(elu_f32, float, float, x < 0 ? v_expm1(x) : x)
S(elu_f64, double, double, x < 0 ? expm1(x) : x)
#define ELU(x, R) (x < 0 ? R(v_exp(x)) - 1 : x)
ROUNDED(elu, ELU)
V(selu_f32, float, float,
  x < 0 ? (float)SELU_ALPHA * v_expm1(x) : (float)SELU_SCALE * x)
S(selu_f64, double, double, x < 0 ? SELU_ALPHA * expm1(x) : SELU_SCALE * x)
#define SELU(x, R)                                                                     \
    (x < 0 ? R((float)SELU_ALPHA) * R(R(v_exp(x)) - 1) : R((float)SELU_SCALE) * x)
ROUNDED(selu, SELU)
V(softplus_f32, float, float, v_softplus(x))
S(softplus_f64, double, double, (x > 0 ? x : 0) + log1p(exp(-fabs(x))))
/* Below log(epsilon) + 2 it is e^x, above minus that x. */
#define SOFTPLUS(x, R, limit)                                                          \
    (x > limit ? x : x < -limit ? v_exp(x) : log1pf(R(v_exp(x))))
S(softplus_f16, float, float, SOFTPLUS(x, k_round_half, 7.01f))
S(softplus_b16, float, float, SOFTPLUS(x, k_round_bf16, 2.84375f))
V(softsign_f32, float, float, x / (1 + v_abs(x)))
V(softsign_f64, double, double, x / (1 + fabs(x)))
#define SOFTSIGN(x, R) (x / R(1 + v_abs(x)))
ROUNDED(softsign, SOFTSIGN)
#define SIGMOID(x, R) (R(v_exp(x)) == INFINITY ? 1 : R(v_exp(x)) / R(1 + R(v_exp(x))))
ROUNDED(sigmoid, SIGMOID)

enum out_kind { SAME, TO_BOOL, TO_U8, TO_REAL };

struct unary {
    const char *op;
    enum out_kind out;
    unary_fn *fn[K_N_DTYPES];
};

#define F(n) [SM_FLOAT] = n##_f32, [SM_DOUBLE] = n##_f64
#define H(n) [SM_HALF] = n##_f16, [SM_BFLOAT16] = n##_b16
#define C(n) [SM_COMPLEX64] = n##_c64, [SM_COMPLEX128] = n##_c128
#define SI(n)                                                                          \
    [SM_INT8] = n##_i8, [SM_INT16] = n##_i16, [SM_INT32] = n##_i32, [SM_INT64] = n##_i64
#define UI(n)                                                                          \
    [SM_UINT8] = n##_u8, [SM_UINT16] = n##_u16, [SM_UINT32] = n##_u32,                 \
    [SM_UINT64] = n##_u64

static const struct unary rows[] = {
    { "Abs", SAME, { F(abs), SI(abs) } },
    { "Acos", SAME, { F(acos), C(acos) } },
    { "Acosh", SAME, { F(acosh), C(acosh) } },
    { "Angle", TO_REAL, { C(arg) } },
    { "Asin", SAME, { F(asin), C(asin) } },
    { "Asinh", SAME, { F(asinh), C(asinh) } },
    { "Atan", SAME, { F(atan), C(atan) } },
    { "Atanh", SAME, { F(atanh), C(atanh) } },
    { "BesselI0", SAME, { F(bessel_i0) } },
    { "BesselI0e", SAME, { F(bessel_i0e) } },
    { "BesselI1", SAME, { F(bessel_i1) } },
    { "BesselI1e", SAME, { F(bessel_i1e) } },
    { "BesselJ0", SAME, { F(bessel_j0) } },
    { "BesselJ1", SAME, { F(bessel_j1) } },
    { "BesselK0", SAME, { F(bessel_k0) } },
    { "BesselK0e", SAME, { F(bessel_k0e) } },
    { "BesselK1", SAME, { F(bessel_k1) } },
    { "BesselK1e", SAME, { F(bessel_k1e) } },
    { "BesselY0", SAME, { F(bessel_y0) } },
    { "BesselY1", SAME, { F(bessel_y1) } },
    { "Ceil", SAME, { F(ceil) } },
    { "ComplexAbs", TO_REAL, { C(cabs) } },
    { "Conj", SAME, { C(conj) } },
    { "Cos", SAME, { F(cos), C(cos) } },
    { "Cosh", SAME, { F(cosh), C(cosh) } },
    { "Dawsn", SAME, { F(dawsn) } },
    { "Digamma", SAME, { F(digamma) } },
    { "Elu", SAME, { F(elu), H(elu) } },
    { "Erf", SAME, { F(erf) } },
    { "Erfc", SAME, { F(erfc) } },
    { "Erfinv", SAME, { F(erfinv) } },
    { "Exp", SAME, { F(exp), C(exp) } },
    { "Expint", SAME, { F(expint) } },
    { "Expm1", SAME, { F(expm1), C(expm1) } },
    { "Floor", SAME, { F(floor) } },
    { "FresnelCos", SAME, { F(fresnel_cos) } },
    { "FresnelSin", SAME, { F(fresnel_sin) } },
    { "Imag", TO_REAL, { C(imag) } },
    { "Inv", SAME, { F(inv), C(inv) } },
    { "Invert", SAME, { SI(not ), UI(not ) } },
    { "IsFinite", TO_BOOL, { F(isfinite) } },
    { "IsInf", TO_BOOL, { F(isinf) } },
    { "IsNan", TO_BOOL, { F(isnan) } },
    { "Lgamma", SAME, { F(lgamma) } },
    { "Log", SAME, { F(log), C(log) } },
    { "Log1p", SAME, { F(log1p), C(log1p) } },
    { "LogicalNot", SAME, { [SM_BOOL] = not_bool } },
    { "Ndtri", SAME, { F(ndtri) } },
    { "Neg", SAME, { F(neg), SI(neg), C(neg) } },
    { "PopulationCount", TO_U8, { SI(bits), UI(bits) } },
    { "Real", TO_REAL, { C(real) } },
    { "Reciprocal", SAME, { F(inv), C(inv) } },
    { "Relu", SAME, { F(relu), SI(relu), UI(relu) } },
    { "Relu6", SAME, { F(relu6), SI(relu6), UI(relu6) } },
    { "Rint", SAME, { F(rint) } },
    { "Round", SAME, { F(rint), [SM_INT32] = same_i32, [SM_INT64] = same_i64 } },
    { "Rsqrt", SAME, { F(rsqrt), C(rsqrt) } },
    { "Selu", SAME, { F(selu), H(selu) } },
    { "Sigmoid", SAME, { F(sigmoid), H(sigmoid), C(sigmoid) } },
    { "Sign", SAME, { F(sign), SI(sign), C(sign) } },
    { "Sin", SAME, { F(sin), C(sin) } },
    { "Sinh", SAME, { F(sinh), C(sinh) } },
    { "Softplus", SAME, { F(softplus), H(softplus) } },
    { "Softsign", SAME, { F(softsign), H(softsign) } },
    { "Spence", SAME, { F(spence) } },
    { "Sqrt", SAME, { F(sqrt), C(sqrt) } },
    { "Square", SAME, { F(square), SI(square), UI(square), C(square) } },
    { "Tan", SAME, { F(tan), C(tan) } },
    { "Tanh", SAME, { F(tanh), C(tanh) } },
};

int
rt_prep_unary(struct rt_prep *p)
{
    p->node->state = (void *)K_ROW(rows, p->node->op);
    return rt_prep_done(p);
}

struct work {
    unary_fn *fn;
    int dtype; /* float16 and bfloat16: in blocks */
    size_t x_bytes, y_bytes;
    const char *x;
    char *y;
};

#define BLOCK 512

static void
run_range(void *arg, int64_t begin, int64_t end)
{
    const struct work *w = arg;
    const char *x = w->x + (size_t)begin * w->x_bytes;
    char *y = w->y + (size_t)begin * w->y_bytes;
    if (!k_is_half(w->dtype)) {
        w->fn(x, y, end - begin);
        return;
    }
    float in[BLOCK], out[BLOCK];
    for (int64_t i = begin; i < end; i += BLOCK) {
        int64_t n = K_MIN(end - i, BLOCK);
        k_widen(w->dtype, x, in, n);
        if (w->y_bytes == 1) {
            w->fn(in, y, n);
        } else {
            w->fn(in, out, n);
            k_narrow(w->dtype, out, y, n);
        }
        x += (size_t)n * w->x_bytes;
        y += (size_t)n * w->y_bytes;
    }
}

int
rt_run_unary(struct rt_ctx *ctx, struct err *err)
{
    const struct unary *u = ctx->node->state;
    const struct rt_tensor *x = ctx->in[0];
    struct rt_tensor *y;
    int dtype = x->dtype, out = dtype;
    struct work w = { .dtype = dtype };
    if (dtype < K_N_DTYPES)
        w.fn = u->fn[k_is_half(dtype) && !u->fn[dtype] ? SM_FLOAT : dtype];
    bool real = dtype != SM_COMPLEX64 && dtype != SM_COMPLEX128;
    if (!w.fn && real && (strcmp(u->op, "Real") == 0 || strcmp(u->op, "Conj") == 0)) {
        rt_out_same(ctx, 0, x);
        return 0;
    }
    if (!w.fn)
        return rt_fail_dtype(ctx, err, dtype);
    if (u->out == TO_BOOL)
        out = SM_BOOL;
    else if (u->out == TO_U8)
        out = SM_UINT8;
    else if (u->out == TO_REAL)
        out = dtype == SM_COMPLEX64 ? SM_FLOAT : SM_DOUBLE;
    if (rt_out_reuse(ctx, 0, 0, out, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    w.x = x->data, w.x_bytes = rt_dtype_size(dtype);
    w.y = y->data, w.y_bytes = rt_dtype_size(out);
    rt_parallel_for(ctx, x->n_elems, K_GRAIN / 4, run_range, &w);
    return 0;
}
