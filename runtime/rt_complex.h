/* SPDX-License-Identifier: Apache-2.0 */
/* complex.h, whole: glibc leaves CMPLX out for clang, which says that it is gcc 4.2. */
#ifndef RUNTIME_RT_COMPLEX_H
#define RUNTIME_RT_COMPLEX_H

#include <complex.h>

#ifndef CMPLX
#define CMPLX(re, im) __builtin_complex((double)(re), (double)(im))
#endif
#ifndef CMPLXF
#define CMPLXF(re, im) __builtin_complex((float)(re), (float)(im))
#endif

#endif
