/* SPDX-License-Identifier: Apache-2.0 */
/* Special functions of one or more doubles. Their float versions are these, rounded. */
#ifndef RUNTIME_OPS_MATH_SPECIAL_H
#define RUNTIME_OPS_MATH_SPECIAL_H

double k_ndtri(double p);   /* the normal quantile: ±inf at 1 and 0, NaN outside */
double k_lgamma(double x);  /* log |gamma(x)|; +inf at poles */
double k_digamma(double x); /* NaN at 0, -1, -2, … */
double k_bessel_i0(double x);
double k_bessel_i0e(double x); /* e^-|x| I0(x) */
double k_bessel_i1(double x);
double k_bessel_i1e(double x);
double k_bessel_k0(double x);  /* inf at 0 and below */
double k_bessel_k0e(double x); /* e^x K0(x) */
double k_bessel_k1(double x);
double k_bessel_k1e(double x);
double k_expint(double x); /* Ei */
double k_dawsn(double x);
double k_fresnel_cos(double x);
double k_fresnel_sin(double x);
double k_spence(double x);            /* dilogarithm of 1 - x */
double k_igamma(double a, double x);  /* lower regularised incomplete gamma P */
double k_igammac(double a, double x); /* upper, Q = 1 - P */
double k_zeta(double s, double q);    /* Hurwitz */
double k_polygamma(double n, double x);
double k_betainc(double a, double b, double x);

#endif
