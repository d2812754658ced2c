/* SPDX-License-Identifier: Apache-2.0 */
/* One walk over a new SavedModel, so that everybody after it may take what does not
 * parse for absent: every message that can be reached through the fields below is
 * well-formed on the wire, and nested at most 100 deep (protobuf's own limit).
 * Values are not looked at, and bytes of tensors are skipped. */
#include "savedmodel/sm_int.h"

#define MAX_DEPTH 100
#define N_FIELDS 57

enum msg {
    SKIP,
    SAVED_MODEL,
    META_GRAPH,
    META_INFO,
    OP_LIST,
    OP_DEF,
    ATTR_DEF,
    GRAPH,
    NODE,
    ATTRS, /* entry of map<string, AttrValue> */
    ATTR_VALUE,
    ATTR_LIST,
    NAME_ATTRS,
    TENSOR,
    SHAPE,
    LIBRARY,
    FUNCTION,
    ARG_ATTRS, /* entry of map<uint32, ArgAttrs> */
    ARG_ATTR,
    COLLECTIONS, /* entry of map<string, CollectionDef> */
    COLLECTION,
    ANY_LIST,
    SIGNATURES, /* entry of map<string, SignatureDef> */
    SIGNATURE,
    INFOS, /* entry of map<string, TensorInfo> */
    TENSOR_INFO,
    COMPOSITE,
    DEFAULTS, /* entry of map<string, TensorProto> */
    ASSET,
    OBJECT_GRAPH,
    OBJECT,
    CONCRETES, /* entry of map<string, SavedConcreteFunction> */
    CONCRETE,
    VARIABLE,
    SAVED_FUNCTION,
    BARE_FUNCTION,
    FUNCTION_SPEC,
    STRUCTURED,
    VALUES,
    DICT,    /* DictValue */
    DICT_OF, /* entry of map<string, StructuredValue> */
    NAMED_TUPLE,
    PAIR,
    TENSOR_SPEC,
    TYPE_SPEC,
    LEAF, /* a message without messages in it */
    N_MSG
};

/* The message that a field holds. */
static const uint8_t subs[N_MSG][N_FIELDS] = {
    [SAVED_MODEL] = { [2] = META_GRAPH },
    [META_GRAPH] = { [1] = META_INFO,
                     [2] = GRAPH,
                     [3] = LEAF,
                     [4] = COLLECTIONS,
                     [5] = SIGNATURES,
                     [6] = ASSET,
                     [7] = OBJECT_GRAPH },
    [META_INFO] = { [2] = OP_LIST, [3] = LEAF, [8] = LEAF },
    [OP_LIST] = { [1] = OP_DEF },
    [OP_DEF] = { [2] = LEAF, [3] = LEAF, [4] = ATTR_DEF, [8] = LEAF },
    [ATTR_DEF] = { [3] = ATTR_VALUE, [7] = ATTR_VALUE },
    [GRAPH] = { [1] = NODE, [2] = LIBRARY, [4] = LEAF },
    [NODE] = { [5] = ATTRS, [6] = LEAF },
    [ATTRS] = { [2] = ATTR_VALUE },
    [ATTR_VALUE] = { [1] = ATTR_LIST, [7] = SHAPE, [8] = TENSOR, [10] = NAME_ATTRS },
    [ATTR_LIST] = { [7] = SHAPE, [8] = TENSOR, [9] = NAME_ATTRS },
    [NAME_ATTRS] = { [2] = ATTRS },
    [TENSOR] = { [2] = SHAPE },
    [SHAPE] = { [2] = LEAF },
    [LIBRARY] = { [1] = FUNCTION, [2] = LEAF, [3] = LEAF },
    [FUNCTION] = { [1] = OP_DEF,
                   [3] = NODE,
                   [4] = LEAF,
                   [5] = ATTRS,
                   [6] = LEAF,
                   [7] = ARG_ATTRS,
                   [8] = LEAF },
    [ARG_ATTRS] = { [2] = ARG_ATTR },
    [ARG_ATTR] = { [1] = ATTRS },
    [COLLECTIONS] = { [2] = COLLECTION },
    [COLLECTION] = { [1] = LEAF, [2] = LEAF, [5] = ANY_LIST },
    [ANY_LIST] = { [1] = LEAF },
    [SIGNATURES] = { [2] = SIGNATURE },
    [SIGNATURE] = { [1] = INFOS, [2] = INFOS, [4] = DEFAULTS },
    [INFOS] = { [2] = TENSOR_INFO },
    [TENSOR_INFO] = { [3] = SHAPE, [4] = LEAF, [5] = COMPOSITE },
    [COMPOSITE] = { [1] = TYPE_SPEC, [2] = TENSOR_INFO },
    [DEFAULTS] = { [2] = TENSOR },
    [ASSET] = { [1] = TENSOR_INFO },
    [OBJECT_GRAPH] = { [1] = OBJECT, [2] = CONCRETES },
    [OBJECT] = { [1] = LEAF,
                 [3] = LEAF,
                 [4] = LEAF,
                 [5] = LEAF,
                 [6] = SAVED_FUNCTION,
                 [7] = VARIABLE,
                 [8] = BARE_FUNCTION,
                 [9] = LEAF,
                 [10] = LEAF,
                 [11] = LEAF,
                 [12] = LEAF,
                 [14] = LEAF,
                 [15] = LEAF },
    [CONCRETES] = { [2] = CONCRETE },
    [CONCRETE] = { [3] = STRUCTURED, [4] = STRUCTURED },
    [VARIABLE] = { [2] = SHAPE, [8] = VARIABLE },
    [SAVED_FUNCTION] = { [2] = FUNCTION_SPEC },
    [BARE_FUNCTION] = { [4] = FUNCTION_SPEC },
    [FUNCTION_SPEC] = { [1] = STRUCTURED, [5] = STRUCTURED },
    [STRUCTURED] = { [1] = LEAF,
                     [31] = SHAPE,
                     [33] = TENSOR_SPEC,
                     [34] = TYPE_SPEC,
                     [35] = TENSOR_SPEC,
                     [51] = VALUES,
                     [52] = VALUES,
                     [53] = DICT,
                     [54] = NAMED_TUPLE,
                     [55] = TENSOR,
                     [56] = TENSOR },
    [VALUES] = { [1] = STRUCTURED },
    [DICT] = { [1] = DICT_OF },
    [DICT_OF] = { [2] = STRUCTURED },
    [NAMED_TUPLE] = { [2] = PAIR },
    [PAIR] = { [2] = STRUCTURED },
    [TENSOR_SPEC] = { [2] = SHAPE, [4] = TENSOR, [5] = TENSOR },
    [TYPE_SPEC] = { [2] = STRUCTURED },
};

/* Returns NULL, or where the bytes stop making sense. */
static const char *
check(struct str msg, enum msg type, int depth, bool *is_deep)
{
    struct sm_field f;
    int r;
    if (depth == MAX_DEPTH) {
        *is_deep = true;
        return msg.p;
    }
    while ((r = sm_pb_next(&msg, &f)) > 0) {
        if (f.wire != 2 || f.num >= N_FIELDS || subs[type][f.num] == SKIP)
            continue;
        const char *bad =
            check(f.bytes, (enum msg)subs[type][f.num], depth + 1, is_deep);
        if (bad)
            return bad;
    }
    return r < 0 ? msg.p : NULL;
}

int
sm_check_model(struct str file, const char *path, struct err *err)
{
    bool is_deep = false;
    const char *bad = check(file, SAVED_MODEL, 0, &is_deep);
    if (is_deep)
        return err_set(err, ERR_LIMIT,
                       "%s: messages nested more than %d deep at byte %zu", path,
                       MAX_DEPTH, (size_t)(bad - file.p));
    if (bad)
        return err_set(err, ERR_CORRUPT,
                       "%s: cut off, damaged or no SavedModel: byte %zu of %zu", path,
                       (size_t)(bad - file.p), file.n);
    return 0;
}
