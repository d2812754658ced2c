/* SPDX-License-Identifier: Apache-2.0 */
/* By series, continued fractions and the trapezoidal rule, whichever converges where.
 * Domains and special values are those of TensorFlow (Eigen). */
#include "runtime/ops/math_special.h"
#include "runtime/ops/ops_int.h"

#include <math.h>
#include <stdbool.h>

#define EPS 1e-17
#define EULER 0.57721566490153286061

/* c[0] + c[1] x + … */
static double
poly(const double *c, int n, double x)
{
    double y = 0;
    while (n-- > 0)
        y = y * x + c[n];
    return y;
}
#define POLY(c, x) poly(c, (int)(sizeof(c) / sizeof(c[0])), x)

/* Wichura's AS 241, then one step of Newton's method. */
double
k_ndtri(double p)
{
    static const double a[] = { 3.3871328727963666080e0, 1.3314166789178437745e2,
                                1.9715909503065514427e3, 1.3731693765509461125e4,
                                4.5921953931549871457e4, 6.7265770927008700853e4,
                                3.3430575583588128105e4, 2.5090809287301226727e3 };
    static const double b[] = { 1,
                                4.2313330701600911252e1,
                                6.8718700749205790830e2,
                                5.3941960214247511077e3,
                                2.1213794301586595867e4,
                                3.9307895800092710610e4,
                                2.8729085735721942674e4,
                                5.2264952788528545610e3 };
    static const double c[] = { 1.42343711074968357734e0,  4.63033784615654529590e0,
                                5.76949722146069140550e0,  3.64784832476320460504e0,
                                1.27045825245236838258e0,  2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4 };
    static const double d[] = { 1,
                                2.05319162663775882187e0,
                                1.67638483018380384940e0,
                                6.89767334985100004550e-1,
                                1.48103976427480074590e-1,
                                1.51986665636164571966e-2,
                                5.47593808499534494600e-4,
                                1.05075007164441684324e-9 };
    static const double e[] = { 6.65790464350110377720e0,  5.46378491116411436990e0,
                                1.78482653991729133580e0,  2.96560571828504891230e-1,
                                2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                2.71155556874348757815e-5, 2.01033439929228813265e-7 };
    static const double f[] = { 1,
                                5.99832206555887937690e-1,
                                1.36929880922735805310e-1,
                                1.48753612908506148525e-2,
                                7.86869131145613259100e-4,
                                1.84631831751005468180e-5,
                                1.42151175831644588870e-7,
                                2.04426310338993978564e-15 };
    if (!(p >= 0 && p <= 1))
        return NAN;
    if (p == 0 || p == 1)
        return p == 0 ? -INFINITY : INFINITY;
    double q = p - 0.5, x;
    if (fabs(q) <= 0.425) {
        double r = 0.180625 - q * q;
        x = q * POLY(a, r) / POLY(b, r);
    } else {
        double r = sqrt(-log(q < 0 ? p : 1 - p));
        x = r <= 5 ? POLY(c, r - 1.6) / POLY(d, r - 1.6)
                   : POLY(e, r - 5) / POLY(f, r - 5);
        if (q < 0)
            x = -x;
    }
    double density = exp(-0.5 * x * x) / sqrt(2 * M_PI);
    double miss = 0.5 * erfc(-x * M_SQRT1_2) - p;
    return density > 1e-300 ? x - miss / density : x;
}

double
k_lgamma(double x)
{
    int sign;
    return lgamma_r(x, &sign);
}

double
k_digamma(double x)
{
    static const double b[] = { 1.0 / 12,  -1.0 / 120,     1.0 / 252, -1.0 / 240,
                                1.0 / 132, -691.0 / 32760, 1.0 / 12 };
    double shift = 0;
    if (x <= 0) {
        if (x == floor(x))
            return NAN;
        double f = x - floor(x);
        shift = -M_PI / tan(M_PI * f);
        x = 1 - x;
    }
    if (x == INFINITY)
        return INFINITY;
    while (x < 10) {
        shift -= 1 / x;
        x += 1;
    }
    double w = 1 / (x * x);
    return shift + log(x) - 0.5 / x - w * POLY(b, w);
}

/* e^-|x| I_n(|x|), n = 0 or 1 */
static double
bessel_ie(int n, double x)
{
    x = fabs(x);
    if (x < 30) {
        double w = x * x / 4, term = n == 0 ? 1 : x / 2, sum = term;
        for (int k = 1; term > sum * EPS; k++) {
            term *= w / (k * (double)(k + n));
            sum += term;
        }
        return sum * exp(-x);
    }
    if (isinf(x))
        return 0;
    double mu = 4.0 * n * n, term = 1, sum = 1;
    for (int k = 1; k < 30; k++) {
        double odd = 2 * k - 1, next = term * -(mu - odd * odd) / (k * 8 * x);
        if (fabs(next) >= fabs(term))
            break;
        term = next;
        sum += term;
    }
    return sum / sqrt(2 * M_PI * x);
}

double
k_bessel_i0e(double x)
{
    return isnan(x) ? x : bessel_ie(0, x);
}

double
k_bessel_i1e(double x)
{
    return isnan(x) ? x : copysign(bessel_ie(1, x), x);
}

double
k_bessel_i0(double x)
{
    return k_bessel_i0e(x) * exp(fabs(x));
}

double
k_bessel_i1(double x)
{
    return k_bessel_i1e(x) * exp(fabs(x));
}

/* e^x K_n(x) = integral over t >= 0 of e^(x (1 - cosh t)) cosh(n t): the trapezoidal
 * rule converges exponentially. */
static double
bessel_ke(int n, double x)
{
    if (isnan(x))
        return x;
    if (x <= 0)
        return INFINITY;
    if (isinf(x))
        return 0;
    double h = x > 100 ? 0.5 / sqrt(x) : 0.05, sum = 0.5;
    for (int k = 1;; k++) {
        double s = sinh(k * h / 2), term = exp(-2 * x * s * s) * cosh(n * k * h);
        sum += term;
        if (term < sum * EPS)
            return sum * h;
    }
}

double
k_bessel_k0e(double x)
{
    return bessel_ke(0, x);
}

double
k_bessel_k1e(double x)
{
    return bessel_ke(1, x);
}

double
k_bessel_k0(double x)
{
    return x > 0 ? bessel_ke(0, x) * exp(-x) : bessel_ke(0, x);
}

double
k_bessel_k1(double x)
{
    return x > 0 ? bessel_ke(1, x) * exp(-x) : bessel_ke(1, x);
}

double
k_expint(double x)
{
    if (isnan(x) || x < 0)
        return NAN;
    if (x == 0)
        return -INFINITY;
    if (isinf(x))
        return NAN;
    double term = 1, sum = 0;
    if (x < 40) {
        for (int k = 1; k < 500; k++) {
            term *= x / k;
            sum += term / k;
            if (term / k < sum * EPS)
                break;
        }
        return EULER + log(x) + sum;
    }
    sum = 1;
    for (int k = 1; k < x && term > EPS; k++) {
        term *= k / x;
        sum += term;
    }
    return exp(x) / x * sum;
}

/* Rybicki: F(x) = 1/sqrt(pi) sum over odd n of e^-(x - n h)^2 / n; the error falls as
 * e^-(pi / 2h)^2. Near 0 its series, which keeps the relative error. */
double
k_dawsn(double x)
{
    const double h = 0.2;
    if (isnan(x))
        return x;
    double a = fabs(x);
    if (a < 0.5) {
        double term = x, sum = x;
        for (int k = 1; k < 40; k++) {
            term *= -2 * x * x / (2 * k + 1);
            sum += term;
        }
        return sum;
    }
    if (a > 50)
        return 0.5 / x * (1 + 0.5 / (x * x) + 0.75 / (x * x * x * x));
    double sum = 0;
    int mid = (int)(a / h);
    for (int n = (mid - 80) | 1; n < mid + 80; n += 2)
        sum += exp(-(a - n * h) * (a - n * h)) / n;
    return copysign(sum / sqrt(M_PI), x);
}

/* C + iS. Small x: the series of both; else 1 - erfc by its continued fraction. */
static double complex
fresnel(double x)
{
    double a = fabs(x);
    if (isnan(x))
        return CMPLX(x, x);
    if (a > 1e8)
        return CMPLX(copysign(0.5, x), copysign(0.5, x));
    if (a < 1.6) {
        double t = M_PI / 2 * a * a, term = a, re = a, im = 0;
        for (int k = 1; k < 60; k++) {
            term *= t / k;
            double part = term / (2 * k + 1);
            if (k % 2)
                im += k % 4 == 1 ? part : -part;
            else
                re += k % 4 == 0 ? part : -part;
        }
        return CMPLX(copysign(re, x), copysign(im, x));
    }
    double complex b = CMPLX(1, -M_PI * a * a), d = 1 / b, h = d, c = 1e300;
    for (int k = 1, n = -1; k < 200; k++) {
        n += 2;
        double s = -n * (double)(n + 1);
        b += 4;
        d = 1 / (s * d + b);
        c = b + s / c;
        double complex del = c * d;
        h *= del;
        if (fabs(creal(del) - 1) + fabs(cimag(del)) < 1e-16)
            break;
    }
    h *= CMPLX(a, -a);
    double t = M_PI / 2 * a * a;
    double complex y = CMPLX(0.5, 0.5) * (1 - CMPLX(cos(t), sin(t)) * h);
    return x < 0 ? -y : y;
}

double
k_fresnel_cos(double x)
{
    return creal(fresnel(x));
}

double
k_fresnel_sin(double x)
{
    return cimag(fresnel(x));
}

static double
dilog_series(double w)
{
    double power = w, sum = w;
    for (int k = 2; k < 80 && fabs(power) > EPS * fabs(sum); k++) {
        power *= w;
        sum += power / ((double)k * k);
    }
    return sum;
}

double
k_spence(double x)
{
    const double z2 = M_PI * M_PI / 6;
    if (isnan(x) || x < 0)
        return NAN;
    if (x == 0)
        return z2;
    if (x < 0.5)
        return z2 - log(x) * log(1 - x) - dilog_series(x);
    if (x <= 1.5)
        return dilog_series(1 - x);
    double l = log(x), y = 1 / x; /* inversion, and y < 2/3 */
    double inner =
        y < 0.5 ? z2 - log(y) * log(1 - y) - dilog_series(y) : dilog_series(1 - y);
    return -inner - 0.5 * l * l;
}

/* x^a e^-x / Gamma(a) */
static double
gamma_factor(double a, double x)
{
    return exp(a * log(x) - x - k_lgamma(a));
}

static double
igamma_series(double a, double x)
{
    double term = 1 / a, sum = term;
    for (double n = a + 1; term > sum * EPS && n < a + 1e5; n += 1) {
        term *= x / n;
        sum += term;
    }
    return sum * gamma_factor(a, x);
}

static double
igammac_fraction(double a, double x)
{
    double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;
    for (int i = 1; i < 100000; i++) {
        double s = -i * (i - a);
        b += 2;
        d = s * d + b;
        d = 1 / (fabs(d) < 1e-300 ? 1e-300 : d);
        c = b + s / c;
        c = fabs(c) < 1e-300 ? 1e-300 : c;
        h *= d * c;
        if (fabs(d * c - 1) < 1e-16)
            break;
    }
    return h * gamma_factor(a, x);
}

double
k_igamma(double a, double x)
{
    if (isnan(a) || isnan(x) || x < 0 || a <= 0)
        return NAN;
    if (x == 0)
        return 0;
    if (isinf(a))
        return isinf(x) ? NAN : 0;
    if (isinf(x))
        return 1;
    return x > 1 && x > a ? 1 - igammac_fraction(a, x) : igamma_series(a, x);
}

double
k_igammac(double a, double x)
{
    if (isnan(a) || isnan(x) || x < 0 || a <= 0)
        return NAN;
    if (x == 0)
        return 1;
    if (isinf(a))
        return isinf(x) ? NAN : 1;
    if (isinf(x))
        return 0;
    return x > 1 && x > a ? igammac_fraction(a, x) : 1 - igamma_series(a, x);
}

/* Euler and Maclaurin after ten terms. */
double
k_zeta(double s, double q)
{
    /* B_2k / (2k)! */
    static const double b[] = { 1.0 / 12,
                                -1.0 / 720,
                                1.0 / 30240,
                                -1.0 / 1209600,
                                1.0 / 47900160,
                                -691.0 / 1307674368000.0,
                                1.0 / 74724249600.0,
                                -3617.0 / 10670622842880000.0,
                                43867.0 / 5109094217170944000.0 };
    if (isnan(s) || isnan(q))
        return NAN;
    if (s == 1)
        return INFINITY;
    if (s < 1)
        return NAN;
    if (q <= 0) {
        if (q == floor(q))
            return s == floor(s) && fmod(s, 2) == 0 ? INFINITY : NAN;
        if (s != floor(s))
            return NAN;
    }
    double sum = 0, a = q;
    for (int i = 0; i < 10 || a <= 9; i++) {
        sum += pow(a, -s);
        a += 1;
    }
    double t = pow(a, -s);
    sum += t * a / (s - 1) + 0.5 * t;
    double fact = s;
    t /= a;
    for (int k = 0; k < (int)(sizeof(b) / sizeof(b[0])); k++) {
        sum += b[k] * fact * t;
        fact *= (s + 2 * k + 1) * (s + 2 * k + 2);
        t /= a * a;
    }
    return sum;
}

double
k_polygamma(double n, double x)
{
    if (isnan(n) || n != floor(n) || n < 0)
        return NAN;
    if (n == 0)
        return k_digamma(x);
    double y = exp(k_lgamma(n + 1)) * k_zeta(n + 1, x);
    return fmod(n, 2) == 0 ? -y : y;
}

static double
beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double h = d;
    for (int m = 1; m < 20000; m++) {
        double s = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1 + s * d, c = 1 + s / c;
        d = 1 / (fabs(d) < tiny ? tiny : d), c = fabs(c) < tiny ? tiny : c;
        h *= d * c;
        s = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 + s * d, c = 1 + s / c;
        d = 1 / (fabs(d) < tiny ? tiny : d), c = fabs(c) < tiny ? tiny : c;
        h *= d * c;
        if (fabs(d * c - 1) < 1e-16)
            break;
    }
    return h;
}

double
k_betainc(double a, double b, double x)
{
    if (isnan(a) || isnan(b) || isnan(x) || a <= 0 || b <= 0 || x < 0 || x > 1)
        return NAN;
    if (x == 0 || x == 1)
        return x;
    double front =
        exp(k_lgamma(a + b) - k_lgamma(a) - k_lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}
