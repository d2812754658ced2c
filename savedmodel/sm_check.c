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
sub_of(uint8_t type, uint64_t num)
{
    if (type & IS_ENTRY)
        return num == 2 ? type & ~IS_ENTRY : 0;
    return num <= SM_FIELD_NUM_MAX ? subs[type - 1][num] : 0;
}

struct walk {
    const struct sm_file *file_or_null;
    const char *passed;
    bool is_deep;
};

/* Returns NULL, or where the bytes stop making sense. A walk of its own and not with
 * sm_pb_next: nearly all the time that it takes to open a big graph goes here. */
static const char *
check(struct walk *w, const char *at, const char *end, uint8_t type, int depth)
{
    if (depth == MAX_DEPTH) {
        w->is_deep = true;
        return at;
    }
    while (at < end) {
        struct str rest = { at, (size_t)(end - at) };
        uint64_t tag, n;
        if (!sm_varint(&rest, &tag))
            return at;
        uint64_t num = tag >> 3;
        bool is_num = num > 0 && num <= SM_PB_MAX_NUM;
        if (is_num && (tag & 7) == 0) {
            if (!sm_varint(&rest, &n))
                return rest.p;
            at = rest.p;
            continue;
        }
        if (!is_num || (tag & 7) != 2) {
            rest = (struct str){ at, (size_t)(end - at) };
            if (!sm_pb_skip(&rest))
                return rest.p;
            at = rest.p;
            continue;
        }
        if (!sm_varint(&rest, &n) || n > rest.n)
            return rest.p;
        uint8_t sub = sub_of(type, num);
        const char *bad = sub ? check(w, rest.p, rest.p + n, sub, depth + 1) : NULL;
        if (bad)
            return bad;
        at = rest.p + n;
        if (w->file_or_null)
            sm_file_passed(w->file_or_null, &w->passed, at);
    }
    return NULL;
}

static int
check_all(struct walk *w, struct str file, enum sm_msg type, const char *path,
          struct err *err)
{
    w->passed = file.p;
    const char *bad = check(w, file.p, file.p + file.n, (uint8_t)(type + 1), 0);
    if (w->is_deep)
        return err_set(err, ERR_LIMIT,
                       "%s: messages nested more than %d deep at byte %zu", path,
                       MAX_DEPTH, (size_t)(bad - file.p));
    if (bad)
        return err_set(err, ERR_CORRUPT,
                       "%s: cut off, damaged or no %s: byte %zu of %zu", path,
                       sm_schemas[type].name, (size_t)(bad - file.p), file.n);
    return 0;
}

int
sm_check_msg(struct str msg, enum sm_msg type, const char *path, struct err *err)
{
    struct walk w = { .file_or_null = NULL };
    return check_all(&w, msg, type, path, err);
}

int
sm_check_file(const struct sm_file *f, enum sm_msg type, const char *path,
              struct err *err)
{
    struct walk w = { .file_or_null = f };
    return check_all(&w, f->bytes, type, path, err);
}
