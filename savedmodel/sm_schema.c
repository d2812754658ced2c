/* SPDX-License-Identifier: Apache-2.0 */
#include "savedmodel/sm_schema.h"

#include "savedmodel/tensor.h"

#include <string.h>

#define BOOL .kind = SM_K_BOOL
#define I32 .kind = SM_K_I32
#define I64 .kind = SM_K_I64
#define S64 .kind = SM_K_S64
#define U32 .kind = SM_K_U32
#define U64 .kind = SM_K_U64
#define F32 .kind = SM_K_F32
#define F64 .kind = SM_K_F64
#define FX64 .kind = SM_K_FX64
#define STR .kind = SM_K_STR
#define BYTES .kind = SM_K_BYTES
#define ENUM(e) .kind = SM_K_ENUM, .type = SM_E_##e
#define M(message) .kind = SM_K_MSG, .type = SM_M_##message
#define FIELD(n, l, field_name, ...)                                                   \
    {                                                                                  \
        .name = field_name, .num = n, .label = l, __VA_ARGS__                          \
    }
#define ONE(n, value, name) FIELD(n, SM_L_ONE, #name, value)
#define OPT(n, value, name) FIELD(n, SM_L_ONE, #name, value)
#define ONEOF(n, value, name) FIELD(n, SM_L_ONEOF, #name, value)
#define REP(n, value, name) FIELD(n, SM_L_REP, #name, value)
#define MAP(n, k, value, name) FIELD(n, SM_L_MAP, #name, .key = SM_K_##k, value)

#define MESSAGE(name, ...)                                                             \
    static const struct sm_schema_field fields_##name[] = { __VA_ARGS__ };
#include "savedmodel/schema.def"
#undef MESSAGE

#define MESSAGE(name, ...)                                                             \
    [SM_M_##name] = { #name, fields_##name,                                            \
                      sizeof(fields_##name) / sizeof(struct sm_schema_field) },
const struct sm_schema sm_schemas[SM_N_MSG] = {
#include "savedmodel/schema.def"
};
#undef MESSAGE

static const struct {
    const char *name;
    int32_t value;
    uint8_t type;
} enum_values[] = {
#define SM_DTYPE(id, name, tf_name, bytes, descr) { "DT_" #name, id, SM_E_DataType },
#include "savedmodel/dtype.def"
#undef SM_DTYPE
    { "DT_INVALID", 0, SM_E_DataType },
#define ENUM_VALUE(e, number, name) { #name, number, SM_E_##e },
#include "savedmodel/enums.def"
#undef ENUM_VALUE
};

uint32_t
sm_kind_wire(uint8_t kind)
{
    switch (kind) {
    case SM_K_F32:
        return 5;
    case SM_K_F64:
    case SM_K_FX64:
        return 1;
    case SM_K_STR:
    case SM_K_BYTES:
    case SM_K_MSG:
        return 2;
    default:
        return 0;
    }
}

bool
sm_enum_value(enum sm_enum e, struct str name, int32_t *out)
{
    static const char ref[] = "_REF";
    size_t n_ref = sizeof(ref) - 1;
    bool is_ref = e == SM_E_DataType && name.n > n_ref &&
                  memcmp(name.p + name.n - n_ref, ref, n_ref) == 0;
    if (is_ref)
        name.n -= n_ref;
    for (size_t i = 0; i < sizeof(enum_values) / sizeof(enum_values[0]); i++) {
        if (enum_values[i].type != e || !str_is(name, enum_values[i].name))
            continue;
        *out = enum_values[i].value + (is_ref ? SM_REF : 0);
        return !is_ref || enum_values[i].value > 0;
    }
    return false;
}
