/* SPDX-License-Identifier: Apache-2.0 */
/* schema.def and enums.def as tables. */
#ifndef SAVEDMODEL_SM_SCHEMA_H
#define SAVEDMODEL_SM_SCHEMA_H

#include "base/buf.h"

enum sm_kind {
    SM_K_BOOL,
    SM_K_I32,
    SM_K_I64,
    SM_K_S64,
    SM_K_U32,
    SM_K_U64,
    SM_K_ENUM,
    SM_K_F32,
    SM_K_F64,
    SM_K_FX64,
    SM_K_STR,
    SM_K_BYTES,
    SM_K_MSG
};
enum sm_label { SM_L_ONE, SM_L_ONEOF, SM_L_REP, SM_L_MAP };
enum sm_msg {
#define MESSAGE(name, ...) SM_M_##name,
#include "savedmodel/schema.def"
#undef MESSAGE
    SM_N_MSG
};
enum sm_enum {
    SM_E_DataType,
    SM_E_FullTypeId,
    SM_E_TypeSpecClass,
    SM_E_JitCompile,
    SM_E_VariableSynchronization,
    SM_E_VariableAggregation,
    SM_E_CheckpointFormatVersion,
    SM_E_ChunkType
};

#define SM_FIELD_NUM_MAX 56

struct sm_schema_field {
    const char *name;
    uint8_t num;
    uint8_t label;
    uint8_t kind; /* of a map: its value's */
    uint8_t key;  /* of a map: its key's kind */
    uint8_t type; /* enum sm_msg or sm_enum of the value */
};
struct sm_schema {
    const char *name;
    const struct sm_schema_field *fields; /* ascending numbers */
    int n_fields;
};
extern const struct sm_schema sm_schemas[SM_N_MSG];
/* The wire type of one value. */
uint32_t sm_kind_wire(uint8_t kind);
/* The value of an enumeration by its name; false: there is none. */
bool sm_enum_value(enum sm_enum e, struct str name, int32_t *out);

#endif
