/* SPDX-License-Identifier: Apache-2.0 */
/* Values as TensorFlow's Python prints them: repr and str of strings, numbers, tensor
 * specs, and of the structures of them that signatures hold (StructuredValue).
 *
 * StructuredValue, one of: 1 None, 11 float, 12 int (zigzag), 13 str, 14 bool,
 *   31 TensorShape, 32 DType, 33 TensorSpec, 34 TypeSpec, 35 BoundedTensorSpec,
 *   51 list, 52 tuple, 53 dict, 54 namedtuple, 55 and 56 arrays.
 * TensorSpecProto: 1 name, 2 shape, 3 dtype (bounded: 4 minimum, 5 maximum).
 * TypeSpecProto: 1 class, 2 state (StructuredValue), 3 class name.
 * TensorShapeProto: 2 dims { 1 size }, 3 unknown rank. */
#include "savedmodel/sm_float_int.h"
#include "savedmodel/sm_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { V_NONE = 1, V_FLOAT = 11, V_INT, V_STR, V_BOOL, V_SHAPE = 31, V_DTYPE };
enum { V_SPEC = 33, V_TYPE_SPEC, V_BOUNDED, V_LIST = 51, V_TUPLE, V_DICT, V_NAMED };
enum { V_TENSOR = 55, V_NUMPY };
enum { CLASS_VARIABLE = 9, CLASS_ROW_PARTITION = 10, CLASS_EXTENSION = 13 };
#define EXTENSION_RAGGED_SHAPE "DynamicRaggedShape.Spec"

/* ---- strings and numbers --------------------------------------------------------- */

/* One UTF-8 character off the front; -1: a byte that is none. */
static int32_t
next_char(struct str *s)
{
    static const uint8_t lead[] = { 0xc0, 0xe0, 0xf0 }, mask[] = { 0xe0, 0xf0, 0xf8 };
    static const int32_t least[] = { 0x80, 0x800, 0x10000 };
    uint8_t c = (uint8_t)s->p[0];
    int32_t v = c < 0x80 ? c : -1;
    size_t n = 1;
    for (size_t k = 0; v < 0 && k < 3; k++) {
        if ((c & mask[k]) != lead[k] || s->n < k + 2)
            continue;
        int32_t u = c & (uint8_t)~mask[k];
        size_t i = 1;
        for (; i < k + 2 && ((uint8_t)s->p[i] & 0xc0) == 0x80; i++)
            u = u << 6 | ((uint8_t)s->p[i] & 0x3f);
        if (i == k + 2 && u >= least[k] && u <= 0x10ffff &&
            (u < 0xd800 || u > 0xdfff)) {
            v = u;
            n = i;
        }
    }
    s->p += n;
    s->n -= n;
    return v;
}

/* Blanks, format characters and private ones, which repr escapes. (So it does with code
 * points that no Unicode release has assigned yet; those are taken for printable here.)
 */
static bool
is_printable(int32_t c)
{
    static const int32_t hidden[][2] = {
        { 0x00, 0x1f },       { 0x7f, 0xa0 },        { 0xad, 0xad },
        { 0x600, 0x605 },     { 0x61c, 0x61c },      { 0x6dd, 0x6dd },
        { 0x70f, 0x70f },     { 0x890, 0x891 },      { 0x8e2, 0x8e2 },
        { 0x1680, 0x1680 },   { 0x180e, 0x180e },    { 0x2000, 0x200f },
        { 0x2028, 0x202f },   { 0x205f, 0x206f },    { 0x3000, 0x3000 },
        { 0xe000, 0xf8ff },   { 0xfeff, 0xfeff },    { 0xfff0, 0xfffb },
        { 0xfffe, 0xffff },   { 0x110bd, 0x110bd },  { 0x110cd, 0x110cd },
        { 0x13430, 0x13438 }, { 0x1bca0, 0x1bca3 },  { 0x1d173, 0x1d17a },
        { 0xe0000, 0xe00ff }, { 0xf0000, 0x10ffff },
    };
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        if (c >= hidden[i][0] && c <= hidden[i][1])
            return false;
    return true;
}

void
sm_python_repr(struct str s, struct buf *out)
{
    bool has_single = s.n > 0 && memchr(s.p, '\'', s.n);
    bool has_double = s.n > 0 && memchr(s.p, '"', s.n);
    char quote = has_single && !has_double ? '"' : '\'';
    buf_addc(out, quote);
    while (s.n > 0) {
        const char *at = s.p;
        int32_t c = next_char(&s);
        if (c == '\\' || c == quote)
            buf_addf(out, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            buf_adds(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if (c < 0)
            buf_addf(out, "\\udc%02x", (uint8_t)*at);
        else if (is_printable(c))
            buf_add(out, at, (size_t)(s.p - at));
        else
            buf_addf(out,
                     c < 0x100     ? "\\x%02x"
                     : c < 0x10000 ? "\\u%04x"
                                   : "\\U%08x",
                     (unsigned)c);
    }
    buf_addc(out, quote);
}

static void
add_float(double v, struct buf *out)
{
    struct sm_float_text x;
    if (!isfinite(v)) {
        buf_adds(out, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    const char *sign = signbit(v) ? "-" : "";
    double a = fabs(v);
    sm_float_text(a, SM_F64, true, SM_FLOAT_ALL_PLACES, &x);
    if (a != 0 && (x.exp10 < -4 || x.exp10 >= 16)) {
        buf_addf(out, "%s%s%s%se%c%02d", sign, x.whole, x.frac[0] ? "." : "", x.frac,
                 x.exp10 < 0 ? '-' : '+', abs(x.exp10));
        return;
    }
    sm_float_text(a, SM_F64, false, SM_FLOAT_ALL_PLACES, &x);
    buf_addf(out, "%s%s.%s", sign, x.whole, x.frac[0] ? x.frac : "0");
}

/* ---- shapes, dtypes, specs --------------------------------------------------------
 */

/* "None, 2"; comma: "None," when it is only one. Returns false for an unknown rank. */
static bool
add_dims(struct str shape, bool comma, struct buf *out)
{
    struct str dim;
    int n = 0;
    if (sm_pb_int(shape, 3, 0))
        return false;
    for (; sm_pb_next_msg(&shape, 2, &dim) > 0; n++) {
        int64_t v = sm_pb_int(dim, 1, 0);
        buf_adds(out, n ? ", " : "");
        if (v < 0)
            buf_adds(out, "None");
        else
            buf_addf(out, "%" PRId64, v);
    }
    if (comma && n == 1)
        buf_addc(out, ',');
    return true;
}

static void
add_shape(struct str shape, bool is_repr, struct buf *out)
{
    if (sm_pb_int(shape, 3, 0)) {
        buf_adds(out, is_repr ? "TensorShape(None)" : "<unknown>");
        return;
    }
    buf_adds(out, is_repr ? "TensorShape([" : "(");
    (void)add_dims(shape, !is_repr, out);
    buf_adds(out, is_repr ? "])" : ")");
}

static void
add_dtype(int dtype, bool is_repr, struct buf *out)
{
    const struct sm_dtype_info *info = sm_dtype_info(dtype);
    buf_addf(out, is_repr ? "tf.%s%s" : "<dtype: '%s%s'>",
             info ? info->tf_name : "invalid", info && dtype > SM_REF ? "_ref" : "");
}

/* repr of a NumPy array; that of more than a number is NumPy's str of it. */
static void
add_array(struct str proto, bool is_repr, struct buf *out)
{
    struct err err = ERR_INIT;
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    if (sm_tensor_proto(proto, &t, &err) < 0) {
        buf_addf(out, "<%s>", err.msg);
        return;
    }
    bool plain = t.dtype == SM_DOUBLE || t.dtype == SM_INT64 || t.dtype == SM_BOOL;
    buf_adds(out, is_repr ? "array(" : "");
    sm_tensor_text(&t, out);
    if (is_repr && t.rank == 0 && out->len >= 2 &&
        memcmp(out->data + out->len - 2, ".0", 2) == 0)
        out->data[--out->len] = '\0'; /* array(0., dtype=float32) */
    if (is_repr && !plain)
        buf_addf(out, ", dtype=%s", sm_dtype_info(t.dtype)->tf_name);
    buf_adds(out, is_repr ? ")" : "");
}

static void
add_spec(struct str spec, bool is_bounded, struct buf *out)
{
    struct str name = sm_pb_bytes(spec, 1);
    buf_adds(out, is_bounded ? "BoundedTensorSpec(shape=" : "TensorSpec(shape=");
    add_shape(sm_pb_bytes(spec, 2), false, out);
    buf_adds(out, ", dtype=");
    add_dtype((int)(int32_t)sm_pb_int(spec, 3, 0), true, out);
    buf_adds(out, ", name=");
    if (name.n)
        sm_python_repr(name, out);
    else
        buf_adds(out, "None");
    if (is_bounded) {
        buf_adds(out, ", minimum=");
        add_array(sm_pb_bytes(spec, 4), true, out);
        buf_adds(out, ", maximum=");
        add_array(sm_pb_bytes(spec, 5), true, out);
    }
    buf_addc(out, ')');
}

/* ---- structures -------------------------------------------------------------------
 */

/* The member that is set; num 0: none. */
static struct sm_field
member(struct str value)
{
    struct sm_field f, last = { .num = 0, .bytes = { "", 0 } };
    while (sm_pb_next(&value, &f) > 0)
        if (f.num <= V_NUMPY)
            last = f;
    return last;
}

static void add_value(struct str value, bool is_repr, struct buf *out);

/* The values of a list or tuple with a comma between them. */
static int
add_list(struct str list, struct buf *out)
{
    struct str v;
    int n = 0;
    for (; sm_pb_next_msg(&list, 1, &v) > 0; n++) {
        buf_adds(out, n ? ", " : "");
        add_value(v, true, out);
    }
    return n;
}

static void
add_dict(struct str dict, struct buf *out)
{
    int n;
    struct sm_kv *kv AUTO(free_ptr) = sm_python_map(dict, 1, &n);
    buf_addc(out, '{');
    for (int i = 0; i < n; i++) {
        buf_adds(out, i ? ", " : "");
        sm_python_repr(kv[i].key, out);
        buf_adds(out, ": ");
        add_value(kv[i].value, true, out);
    }
    buf_addc(out, '}');
}

static void
add_named_tuple(struct str named, struct buf *out)
{
    struct str name = sm_pb_bytes(named, 1), pair, key;
    buf_addf(out, "%.*s(", STR_ARG(name));
    for (int n = 0; sm_pb_next_msg(&named, 2, &pair) > 0; n++) {
        key = sm_pb_bytes(pair, 1);
        buf_addf(out, "%s%.*s=", n ? ", " : "", STR_ARG(key));
        add_value(sm_pb_bytes(pair, 2), true, out);
    }
    buf_addc(out, ')');
}

/* Only TensorFlow's own extension types are known to whoever loads a model. */
static const char *
extension_name(struct str name)
{
    static const char *const known[] = { EXTENSION_RAGGED_SHAPE,
                                         "StructuredTensor.Spec" };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (name.n > 3 && memcmp(name.p, "tf.", 3) == 0 &&
            str_eq((struct str){ name.p + 3, name.n - 3 }, str_of(known[i])))
            return known[i];
    return "AnonymousExtensionTypeSpec";
}

static void
type_spec_name(struct str spec, struct buf *out)
{
    static const char *const names[] = { [1] = "SparseTensorSpec",
                                         [2] = "IndexedSlicesSpec",
                                         [3] = "RaggedTensorSpec",
                                         [4] = "TensorArraySpec",
                                         [5] = "DatasetSpec",
                                         [6] = "IteratorSpec",
                                         [7] = "OptionalSpec",
                                         [8] = "PerReplicaSpec",
                                         [CLASS_VARIABLE] = "VariableSpec",
                                         [CLASS_ROW_PARTITION] = "RowPartitionSpec" };
    int64_t number = sm_pb_int(spec, 1, 0);
    struct str name = sm_pb_bytes(spec, 3);
    if (number == CLASS_EXTENSION) {
        buf_adds(out, extension_name(name));
        return;
    }
    if (number > 0 && number <= CLASS_ROW_PARTITION) {
        buf_adds(out, names[number]);
        return;
    }
    for (size_t i = 0; i < name.n;) { /* behind the last dot of a registered name */
        if (name.p[i++] == '.') {
            name.p += i;
            name.n -= i;
            i = 0;
        }
    }
    buf_add(out, name.p, name.n);
}

/* Specs whose repr names the parts of their state; NULL: those that do not. */
static const char *const *
spec_parts(int64_t number)
{
    static const char *const variable[] = { "shape", "dtype", "trainable", "alias_id" };
    static const char *const rows[] = { "nrows", "nvals", "uniform_row_length",
                                        "dtype" };
    return number == CLASS_VARIABLE        ? variable
           : number == CLASS_ROW_PARTITION ? rows
                                           : NULL;
}

/* Its state is a tuple of pairs of a field's name and value. */
static void
add_extension(struct str spec, struct buf *out)
{
    const char *name = extension_name(sm_pb_bytes(spec, 3)), *comma = "";
    bool is_shape = strcmp(name, EXTENSION_RAGGED_SHAPE) == 0;
    struct str fields = sm_pb_bytes(sm_pb_bytes(spec, 2), V_TUPLE), pair;
    struct str inner_spec = { "", 0 };
    buf_addf(out, "%s(", name);
    while (sm_pb_next_msg(&fields, 1, &pair) > 0) {
        struct str it = member(pair).bytes, key, value;
        if (sm_pb_next_msg(&it, 1, &key) <= 0 || sm_pb_next_msg(&it, 1, &value) <= 0)
            continue;
        struct str field = member(key).bytes;
        if (is_shape && str_eq(field, str_of("_inner_shape"))) {
            inner_spec = member(value).bytes;
            continue;
        }
        if (is_shape && field.n > 0) /* its repr drops the underscore */
            field = (struct str){ field.p + 1, field.n - 1 };
        buf_addf(out, "%s%.*s=", comma, STR_ARG(field));
        add_value(value, true, out);
        comma = ", ";
    }
    if (is_shape) {
        buf_addf(out, "%sdtype=", comma);
        add_dtype((int)(int32_t)sm_pb_int(inner_spec, 3, 0), true, out);
    }
    buf_addc(out, ')');
}

static void
add_type_spec(struct str spec, struct buf *out)
{
    int64_t number = sm_pb_int(spec, 1, 0);
    if (number == CLASS_EXTENSION) {
        add_extension(spec, out);
        return;
    }
    const char *const *parts = spec_parts(number);
    struct str state = sm_pb_bytes(spec, 2), tuple = sm_pb_bytes(state, V_TUPLE), v;
    type_spec_name(spec, out);
    if (!parts) {
        add_value(state, true, out);
        return;
    }
    buf_addc(out, '(');
    for (int i = 0; i < 4; i++) {
        buf_addf(out, "%s%s=", i ? ", " : "", parts[i]);
        if (sm_pb_next_msg(&tuple, 1, &v) <= 0) { /* an older release kept fewer */
            buf_adds(out, i == 2 ? "True" : "None");
            continue;
        }
        struct sm_field f = member(v);
        if (number == CLASS_ROW_PARTITION && f.num == V_SHAPE) {
            if (!add_dims(f.bytes, false, out))
                buf_adds(out, "None");
        } else {
            add_value(v, f.num != V_SHAPE, out);
        }
    }
    buf_addc(out, ')');
}

static void
add_value(struct str value, bool is_repr, struct buf *out)
{
    struct sm_field f = member(value);
    double d;
    switch (f.num) {
    case V_NONE:
        buf_adds(out, "None");
        break;
    case V_FLOAT:
        memcpy(&d, &f.v, sizeof(d));
        add_float(d, out);
        break;
    case V_INT:
        buf_addf(out, "%" PRId64, (int64_t)(f.v >> 1) ^ -(int64_t)(f.v & 1));
        break;
    case V_STR:
        if (is_repr)
            sm_python_repr(f.bytes, out);
        else
            buf_add(out, f.bytes.p, f.bytes.n);
        break;
    case V_BOOL:
        buf_adds(out, f.v ? "True" : "False");
        break;
    case V_SHAPE:
        add_shape(f.bytes, is_repr, out);
        break;
    case V_DTYPE:
        add_dtype((int)(int32_t)(uint32_t)f.v, is_repr, out);
        break;
    case V_SPEC:
    case V_BOUNDED:
        add_spec(f.bytes, f.num == V_BOUNDED, out);
        break;
    case V_TYPE_SPEC:
        add_type_spec(f.bytes, out);
        break;
    case V_LIST:
        buf_addc(out, '[');
        add_list(f.bytes, out);
        buf_addc(out, ']');
        break;
    case V_TUPLE:
        buf_addc(out, '(');
        buf_adds(out, add_list(f.bytes, out) == 1 ? ",)" : ")");
        break;
    case V_DICT:
        add_dict(f.bytes, out);
        break;
    case V_NAMED:
        add_named_tuple(f.bytes, out);
        break;
    case V_TENSOR:
    case V_NUMPY:
        add_array(f.bytes, is_repr, out);
        break;
    default: /* a kind of a later release */
        buf_adds(out, "?");
    }
}

void
sm_value_str(struct str value, struct buf *out)
{
    add_value(value, false, out);
}

void
sm_value_class(struct str value, struct buf *out)
{
    static const char *const names[V_NUMPY + 1] = {
        [V_NONE] = "NoneType", [V_FLOAT] = "float",
        [V_INT] = "int",       [V_STR] = "str",
        [V_BOOL] = "bool",     [V_SHAPE] = "TensorShape",
        [V_DTYPE] = "DType",   [V_SPEC] = "TensorSpec",
        [V_LIST] = "list",     [V_TUPLE] = "tuple",
        [V_DICT] = "dict",     [V_TENSOR] = "Tensor",
        [V_NUMPY] = "ndarray", [V_BOUNDED] = "BoundedTensorSpec",
    };
    struct sm_field f = member(value);
    if (f.num == V_NAMED)
        buf_add(out, sm_pb_bytes(f.bytes, 1).p, sm_pb_bytes(f.bytes, 1).n);
    else if (f.num == V_TYPE_SPEC)
        type_spec_name(f.bytes, out);
    else
        buf_adds(out, names[f.num] ? names[f.num] : "?");
}

enum sm_value_form
sm_value_form(struct str value)
{
    switch (member(value).num) {
    case V_STR:
        return SM_VALUE_STR;
    case V_SPEC:
    case V_BOUNDED:
        return SM_VALUE_TENSOR;
    case V_LIST:
    case V_TUPLE:
    case V_NAMED:
        return SM_VALUE_LIST;
    case V_DICT:
        return SM_VALUE_DICT;
    default:
        return SM_VALUE_OTHER;
    }
}

struct str
sm_value_tensor(struct str value)
{
    return member(value).bytes;
}

struct sm_kv *
sm_value_items(struct str value, int *n)
{
    struct sm_field f = member(value);
    bool is_named = f.num == V_NAMED;
    if (f.num == V_DICT)
        return sm_python_map(f.bytes, 1, n);
    *n = 0;
    if (!is_named && f.num != V_LIST && f.num != V_TUPLE)
        return xcalloc(1, sizeof(struct sm_kv));
    uint32_t num = is_named ? 2 : 1;
    struct str it = f.bytes, part;
    while (sm_pb_next_msg(&it, num, &part) > 0)
        ++*n;
    struct sm_kv *out = xcalloc((size_t)*n + 1, sizeof *out);
    for (int i = 0; sm_pb_next_msg(&f.bytes, num, &part) > 0; i++)
        out[i] = is_named ? (struct sm_kv){ sm_pb_bytes(part, 1), sm_pb_bytes(part, 2) }
                          : (struct sm_kv){ { "", 0 }, part };
    return out;
}
