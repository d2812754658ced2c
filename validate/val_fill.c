/* SPDX-License-Identifier: Apache-2.0 */
/* Values of probes, from a seed: the same on every machine. */
#include "validate/val_int.h"
#include "validate/val_probe_int.h"

#include "runtime/rt_half.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define SMALL_IDS 10 /* ids where the graph does not say how many there are */
#define WORD_MAX 12
#define LONG_BYTES 10000

/* ---- numbers from a seed -------------------------------------------------------- */

/* splitmix64: a counter, and its bits mixed. */
static uint64_t
next(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t
val_random_below(uint64_t *state, uint64_t n)
{
    return next(state) % n; /* off by n / 2^64 */
}

/* In [-1, 1), of 24 bits: exact in each dtype that has them. */
static double
random_real(uint64_t *state)
{
    return (double)(next(state) >> 40) / 0x1p23 - 1;
}

unsigned
val_fill_family(int dtype)
{
    static const unsigned families[] = { [VAL_F_FLOAT] = REALS,
                                         [VAL_F_COMPLEX] = REALS,
                                         [VAL_F_INT] = INTS,
                                         [VAL_F_BOOL] = BOOLS,
                                         [VAL_F_STRING] = STRINGS };

    return families[val_family_of(dtype)];
}

/* ---- reals ---------------------------------------------------------------------- */

static double
real_of(enum fill fill, int dtype, uint64_t *state)
{
    static const struct {
        int dtype;
        double largest, denormal;
    } limits[] = { { SM_HALF, 65504, 0x1p-24 },
                   { SM_BFLOAT16, 0x1.fep127, 0x1p-133 },
                   { SM_DOUBLE, DBL_MAX, 0x1p-1074 },
                   { SM_COMPLEX128, DBL_MAX, 0x1p-1074 },
                   { SM_INVALID, 0x1.fffffep127, 0x1p-149 } };
    size_t i = 0;

    while (limits[i].dtype != dtype && limits[i].dtype != SM_INVALID)
        i++;
    switch (fill) {
    case ZERO:
        return 0;
    case ONE:
        return 1;
    case LARGEST:
        return limits[i].largest;
    case LOWEST:
        return -limits[i].largest;
    case DENORMAL:
        return limits[i].denormal;
    case MINUS_ZERO:
        return -0.0;
    case NOT_A_NUMBER:
        return (double)NAN;
    case PLUS_INF:
        return (double)INFINITY;
    case MINUS_INF:
        return -(double)INFINITY;
    default:
        return random_real(state);
    }
}

static void
put_real(void *data, int dtype, int64_t i, double v)
{
    switch (dtype) {
    case SM_HALF:
        ((uint16_t *)data)[i] = rt_f32_to_half((float)v);
        break;
    case SM_BFLOAT16:
        ((uint16_t *)data)[i] = rt_f32_to_bf16((float)v);
        break;
    case SM_DOUBLE:
    case SM_COMPLEX128:
        ((double *)data)[i] = v;
        break;
    default:
        ((float *)data)[i] = (float)v;
    }
}

/* ---- integers and bools --------------------------------------------------------- */

static bool
is_signed(int dtype)
{
    return dtype == SM_INT8 || dtype == SM_INT16 || dtype == SM_INT32 ||
           dtype == SM_INT64 || dtype == SM_QINT8 || dtype == SM_QINT16 ||
           dtype == SM_QINT32;
}

/* `below` 0: the graph does not say how many ids there are. */
static uint64_t
int_of(enum fill fill, int dtype, int64_t below, uint64_t *state)
{
    const size_t bits = 8 * sm_dtype_info(dtype)->size_bytes;
    const uint64_t max = UINT64_MAX >> (64 - bits + is_signed(dtype));
    const uint64_t top =
        below > 0 && (uint64_t)below - 1 < max ? (uint64_t)below - 1 : max;

    switch (fill) {
    case ZERO:
        return 0;
    case ONE:
        return top > 0;
    case LARGEST:
        return top;
    case LOWEST:
        return below > 0 || !is_signed(dtype) ? 0 : ~max;
    default:
        break;
    }
    if (below > 0)
        return val_random_below(state, top + 1);
    if (bits == 8) /* pixels, bytes */
        return next(state) & 0xff;
    return val_random_below(state, SMALL_IDS);
}

static void
fill_ints(struct sm_tensor *t, enum fill fill, int64_t below, uint64_t *state)
{
    const size_t size = sm_dtype_info(t->dtype)->size_bytes;

    for (int64_t i = 0; i < t->n_elems; i++) {
        const uint64_t v = int_of(fill, t->dtype, below, state);

        memcpy((char *)t->data + (size_t)i * size, &v, size); /* little-endian */
    }
}

/* Models may take ids as reals, too. */
static void
fill_reals(struct sm_tensor *t, enum fill fill, int64_t below, uint64_t *state)
{
    const bool is_complex = t->dtype == SM_COMPLEX64 || t->dtype == SM_COMPLEX128;
    const bool is_id = below > 0 && (fill == RANDOM || fill == ONE || fill == LARGEST ||
                                     fill == LOWEST);

    for (int64_t i = 0; i < t->n_elems * (is_complex ? 2 : 1); i++)
        put_real(t->data, t->dtype, i,
                 is_id ? (double)int_of(fill, SM_INT64, below, state)
                       : real_of(fill, t->dtype, state));
}

static void
fill_bools(struct sm_tensor *t, enum fill fill, uint64_t *state)
{
    for (int64_t i = 0; i < t->n_elems; i++)
        ((uint8_t *)t->data)[i] = fill == ZERO  ? 0
                                  : fill == ONE ? 1
                                                : (uint8_t)val_random_below(state, 2);
}

/* ---- strings -------------------------------------------------------------------- */

static void
add_string(struct buf *out, enum fill fill, uint64_t *state)
{
    static const char *const texts[] = { "Grüße aus Köln",
                                         "naïve café",
                                         "日本語のテキスト",
                                         "привет, мир",
                                         "שלום",
                                         "🙂🙃 👩‍💻",
                                         "é",
                                         "ﬁ ﷺ" };
    size_t n;

    if (fill == EMPTY)
        return;
    if (fill == DIGITS) {
        buf_addf(out, "%" PRIu64, val_random_below(state, 1000));
        return;
    }
    if (fill == UTF8) {
        buf_adds(out, texts[val_random_below(state, sizeof(texts) / sizeof(texts[0]))]);
        return;
    }
    n = fill == LONG ? LONG_BYTES : 1 + val_random_below(state, WORD_MAX);
    for (size_t i = 0; i < n; i++)
        buf_addc(out, fill == LONG && i % 8 == 7
                          ? ' '
                          : (char)('a' + (char)val_random_below(state, 26)));
}

static int
make_strings(struct sm_tensor *t, int rank, const int64_t *dims, int64_t n,
             enum fill fill, uint64_t *state, struct err *err)
{
    struct str *v AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*v));
    size_t *ends AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*ends));
    struct buf bytes AUTO(buf_release) = BUF_INIT;

    for (int64_t i = 0; i < n; i++) {
        add_string(&bytes, fill, state);
        ends[i + 1] = bytes.len;
    }
    if (buf_check(&bytes, "strings of a probe", err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < n; i++)
        v[i] = (struct str){ buf_str(&bytes) + ends[i], ends[i + 1] - ends[i] };
    return sm_tensor_strings(t, rank, dims, v, err);
}

int
val_fill(struct sm_tensor *t, enum fill fill, int64_t below, uint64_t *state,
         struct err *err)
{
    const unsigned family = val_fill_family(t->dtype);
    const struct sm_tensor want = *t;

    if (family == STRINGS)
        return make_strings(t, want.rank, want.dims, want.n_elems, fill, state, err);
    if (sm_tensor_alloc(t, want.dtype, want.rank, want.dims, err) < 0)
        return -(int)err->code;
    if (family == REALS)
        fill_reals(t, fill, below, state);
    else if (family == INTS)
        fill_ints(t, fill, below, state);
    else
        fill_bools(t, fill, state);
    return 0;
}
