/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the pickle reader share: opcodes (sm_pickle.c) make values
 * (sm_pickle_value.c), which mean something to NumPy (sm_pickle_np.c). */
#ifndef SAVEDMODEL_SM_PICKLE_INT_H
#define SAVEDMODEL_SM_PICKLE_INT_H

#include "savedmodel/sm_int.h"

enum pk_kind {
    PK_NONE,
    PK_BOOL,
    PK_INT,
    PK_FLOAT,
    PK_BYTES,
    PK_STR, /* UTF-8 */
    PK_TUPLE,
    PK_LIST,
    PK_DICT, /* items: key, value, key, value … */
    PK_GLOBAL,
    PK_DTYPE,
    PK_ARRAY, /* items: dtype, shape, data; a NumPy scalar too */
    PK_MARK
};

/* The names that are known; none of them is looked up or called anywhere. */
enum pk_global {
    PK_RECONSTRUCT,
    PK_NDARRAY,
    PK_DTYPE_CLASS,
    PK_SCALAR_OF,
    PK_FROMBUFFER,
    PK_ENCODE,
    PK_BYTES_CLASS,
    PK_LIST_CLASS,
    PK_DICT_CLASS
};

typedef uint32_t pk_ref; /* a value: its place in pk.v; 0: none */

struct pk_value {
    enum pk_kind kind;
    int64_t i; /* BOOL, INT, GLOBAL; DTYPE: byte order; ARRAY: Fortran order */
    double d;
    struct str s; /* BYTES, STR; DTYPE: "f4" */
    pk_ref *items;
    size_t n_items, cap_items;
};

struct pk {
    struct err *err;
    struct pk_value *v; /* [0] is not used */
    size_t n, cap;
    char **heap; /* decoded strings */
    size_t n_heap;
    size_t heap_bytes, max_bytes;
};

void pk_init(struct pk *p, size_t max_bytes);
void pk_release(struct pk *p);
pk_ref pk_new(struct pk *p, enum pk_kind kind);
void pk_append(struct pk *p, pk_ref list, pk_ref item);
/* A heap copy that lives as long as p; NULL: p has too many bytes. */
char *pk_keep(struct pk *p, const void *bytes, size_t n);

/* The text of a line of opcode V (each byte a character, but \uXXXX and \UXXXXXXXX) or
 * S (quoted, with \xXX and the short escapes that Python 2 writes); false: malformed,
 * or p has too many bytes. */
bool pk_text(struct pk *p, struct str line, bool is_unicode,
             struct str *out) MUST_CHECK;

/* "module name" as a known global; -1: none. */
int pk_global_named(struct str module, struct str name);
/* global(*args), and what BUILD does to a value. ERR_UNSUPPORTED, ERR_CORRUPT. */
int pk_call(struct pk *p, pk_ref global, pk_ref args, pk_ref *out) MUST_CHECK;
int pk_build(struct pk *p, pk_ref value, pk_ref state) MUST_CHECK;
/* The finished value as arrays: see sm_pickle_read. */
int pk_arrays(struct pk *p, pk_ref top, const char *only,
              struct sm_tensor_list *out) MUST_CHECK;

#endif
