/* SPDX-License-Identifier: Apache-2.0 */
/* One walk over a new SavedModel, so that everybody after it may take what does not
 * parse for absent: every message of the schema that can be reached is well-formed on
 * the wire, and nested at most 100 deep (protobuf's own limit).
 * Values are not looked at, and bytes of tensors are skipped. */
#include "savedmodel/sm_int.h"
#include "savedmodel/sm_schema.h"

#define MAX_DEPTH 100
#define IS_ENTRY 0x80 /* of a map: what its field 2 holds stands in the other bits */

/* The message that a field holds, one more than its enum sm_msg; 0: none. */
#define BOOL 0
#define I32 0
#define I64 0
#define S64 0
#define U32 0
#define U64 0
#define F32 0
#define F64 0
#define FX64 0
#define STR 0
#define BYTES 0
#define ENUM(e) 0
#define M(message) SM_M_##message + 1
#define ONE(n, value, name) [n] = value
#define OPT(n, value, name) [n] = value
#define ONEOF(n, value, name) [n] = value
#define REP(n, value, name) [n] = value
#define MAP(n, k, value, name) [n] = IS_ENTRY | (value)
#define MESSAGE(name, ...) [SM_M_##name] = { __VA_ARGS__ },
static const uint8_t subs[SM_N_MSG][SM_FIELD_NUM_MAX + 1] = {
#include "savedmodel/schema.def"
};
_Static_assert(SM_N_MSG < IS_ENTRY, "too many messages");

static uint8_t
sub_of(uint8_t type, uint32_t num)
{
    if (type & IS_ENTRY)
        return num == 2 ? type & ~IS_ENTRY : 0;
    return num <= SM_FIELD_NUM_MAX ? subs[type - 1][num] : 0;
}

/* Returns NULL, or where the bytes stop making sense. */
static const char *
check(struct str msg, uint8_t type, int depth, bool *is_deep)
{
    struct sm_field f;
    int r;
    if (depth == MAX_DEPTH) {
        *is_deep = true;
        return msg.p;
    }
    while ((r = sm_pb_next(&msg, &f)) > 0) {
        uint8_t sub = f.wire == 2 ? sub_of(type, f.num) : 0;
        if (sub == 0)
            continue;
        const char *bad = check(f.bytes, sub, depth + 1, is_deep);
        if (bad)
            return bad;
    }
    return r < 0 ? msg.p : NULL;
}

int
sm_check_msg(struct str file, enum sm_msg type, const char *path, struct err *err)
{
    bool is_deep = false;
    const char *bad = check(file, (uint8_t)(type + 1), 0, &is_deep);
    if (is_deep)
        return err_set(err, ERR_LIMIT,
                       "%s: messages nested more than %d deep at byte %zu", path,
                       MAX_DEPTH, (size_t)(bad - file.p));
    if (bad)
        return err_set(err, ERR_CORRUPT,
                       "%s: cut off, damaged or no %s: byte %zu of %zu", path,
                       sm_schemas[type].name, (size_t)(bad - file.p), file.n);
    return 0;
}
