/* SPDX-License-Identifier: Apache-2.0 */
/* AttrValues by what they mean: functions by what they do, constants by value. */
#include "fingerprint/fp_int.h"

void
fp_h_function(struct sha256 *h, const struct fp_lib *lib, struct str name)
{
    int i = fp_names_find(&lib->by_name, name);
    fp_h_text(h, i < 0 ? "named" : "function");
    if (i < 0)
        fp_h_str(h, name);
    else
        fp_h_digest(h, &lib->fn[i].digest);
}

/* NameAttrList: 1 name, 2 map of attributes. */
static int
hash_call(struct sha256 *h, const struct fp_lib *lib, struct str call, struct err *err)
{
    static const struct fp_field attrs = { .num = 2, .key = FP_K_STR };
    struct fp_kv *kv AUTO(free_ptr) = NULL;
    size_t n;
    fp_h_function(h, lib, sm_pb_bytes(call, 1));
    int rc = fp_map(FP_MSG(call), &attrs, &kv, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (kv[i].key.n > 0 && kv[i].key.p[0] == '_')
            continue;
        fp_h_str(h, kv[i].key);
        rc = fp_h_attr(h, lib, sm_pb_bytes(kv[i].entry, 2), err);
    }
    fp_h_text(h, "");
    return rc;
}

/* The numbers of one field of a list, packed or not, and how many they are. */
static int
hash_numbers(struct sha256 *h, struct str list, uint32_t num, uint32_t wire,
             struct err *err)
{
    struct sm_field f;
    uint64_t n = 0, v = 0;
    size_t unit = sizeof(float);
    while (sm_pb_next(&list, &f) > 0) {
        if (f.num == num && f.wire == wire) {
            fp_h_u64(h, f.v);
            n++;
        }
        if (f.num != num || f.wire != 2)
            continue;
        for (struct str it = f.bytes; it.n > 0; n++) {
            if (wire == 0 ? !sm_varint(&it, &v) : it.n < unit)
                return err_set(err, ERR_CORRUPT, "malformed list in an attribute");
            if (wire != 0) {
                memcpy(&v, it.p, unit);
                it = (struct str){ it.p + unit, it.n - unit };
            }
            fp_h_u64(h, v);
        }
    }
    fp_h_u64(h, n);
    return 0;
}

/* ListValue: 2 s, 3 i, 4 f, 5 b, 6 type, 7 shape, 8 tensor, 9 func; it has one kind. */
static int
hash_list(struct sha256 *h, const struct fp_lib *lib, struct str list, struct err *err)
{
    struct sm_field f;
    int rc = 0;
    for (uint32_t num = 3; rc == 0 && num <= 6; num++)
        rc = hash_numbers(h, list, num, num == 4 ? 5 : 0, err);
    while (rc == 0 && sm_pb_next(&list, &f) > 0) {
        if (f.wire != 2 || (f.num != 2 && (f.num < 7 || f.num > 9)))
            continue;
        fp_h_u64(h, f.num);
        if (f.num == 2)
            fp_h_str(h, f.bytes);
        else if (f.num == 7)
            fp_h_shape(h, f.bytes);
        else if (f.num == 8)
            rc = fp_h_const(h, f.bytes, err);
        else
            rc = hash_call(h, lib, f.bytes, err);
    }
    fp_h_u64(h, 0);
    return rc;
}

int
fp_h_attr(struct sha256 *h, const struct fp_lib *lib, struct str value, struct err *err)
{
    struct sm_attr a;
    if (sm_attr_parse(value, &a) < 0)
        return err_set(err, ERR_CORRUPT, "malformed AttrValue, or one in two halves");
    fp_h_u64(h, a.kind);
    switch (a.kind) {
    case SM_ATTR_NONE:
        return 0;
    case SM_ATTR_LIST:
        return hash_list(h, lib, a.bytes, err);
    case SM_ATTR_S:
    case SM_ATTR_PLACEHOLDER:
        fp_h_str(h, a.bytes);
        return 0;
    case SM_ATTR_F:
        sha256_add(h, &a.f, sizeof(a.f));
        return 0;
    case SM_ATTR_SHAPE:
        fp_h_shape(h, a.bytes);
        return 0;
    case SM_ATTR_TENSOR:
        return fp_h_const(h, a.bytes, err);
    case SM_ATTR_FUNC:
        return hash_call(h, lib, a.bytes, err);
    default:
        fp_h_u64(h, (uint64_t)a.i);
        return 0;
    }
}
