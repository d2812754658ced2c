/* SPDX-License-Identifier: Apache-2.0 */
#include "fingerprint/fp_int.h"

#define BOOL .kind = FP_K_BOOL
#define I32 .kind = FP_K_I32
#define I64 .kind = FP_K_I64
#define S64 .kind = FP_K_I64 /* the wire bits are kept */
#define U32 .kind = FP_K_U32
#define U64 .kind = FP_K_U64
#define ENUM(values) .kind = FP_K_ENUM
#define F32 .kind = FP_K_F32
#define F64 .kind = FP_K_F64
#define FX64 .kind = FP_K_FX64
#define STR .kind = FP_K_STR
#define BYTES .kind = FP_K_BYTES
#define M(message) .kind = FP_K_MSG, .type = FP_M_##message
#define ONE(n, value, name)                                                            \
    {                                                                                  \
        .num = n, .label = FP_L_ONE, value                                             \
    }
#define OPT(n, value, name)                                                            \
    {                                                                                  \
        .num = n, .label = FP_L_OPT, value                                             \
    }
#define ONEOF(n, value, name)                                                          \
    {                                                                                  \
        .num = n, .label = FP_L_ONEOF, value                                           \
    }
#define REP(n, value, name)                                                            \
    {                                                                                  \
        .num = n, .label = FP_L_REP, value                                             \
    }
#define MAP(n, k, value, name)                                                         \
    {                                                                                  \
        .num = n, .label = FP_L_MAP, .key = FP_K_##k, value                            \
    }
#define CLEARED(n, name)                                                               \
    {                                                                                  \
        .num = n, .label = FP_L_CLEARED, .kind = FP_K_MSG                              \
    }

#define MESSAGE(name, ...)                                                             \
    static const struct fp_field fields_##name[] = { __VA_ARGS__ };
#include "fingerprint/fp_schema.def"
#undef MESSAGE

#define MESSAGE(name, ...)                                                             \
    [FP_M_##name] = { #name, fields_##name,                                            \
                      sizeof(fields_##name) / sizeof(struct fp_field), false },
const struct fp_schema fp_schemas[FP_N_TYPES] = {
#include "fingerprint/fp_schema.def"
};
#undef MESSAGE

#define MESSAGE(name, ...)                                                             \
    _Static_assert(sizeof(fields_##name) / sizeof(struct fp_field) <= FP_MAX_FIELDS,   \
                   #name " has too many fields");
#include "fingerprint/fp_schema.def"
#undef MESSAGE

uint32_t
fp_kind_wire(uint8_t kind)
{
    switch (kind) {
    case FP_K_F32:
        return 5;
    case FP_K_F64:
    case FP_K_FX64:
        return 1;
    case FP_K_STR:
    case FP_K_BYTES:
    case FP_K_MSG:
        return 2;
    default:
        return 0;
    }
}
