/* SPDX-License-Identifier: Apache-2.0 */
/* Dtypes and the plain tensor value that files, the runner's protocol and golden
 * sets share. (The runtime has its own, reference-counted one.) */
#ifndef SAVEDMODEL_TENSOR_H
#define SAVEDMODEL_TENSOR_H

#include "base/buf.h"

enum sm_dtype {
    SM_INVALID = 0,
#define SM_DTYPE(id, name, tf_name, bytes, descr) SM_##name = id,
#include "savedmodel/dtype.def"
#undef SM_DTYPE
    SM_DTYPE_END = 64,
    SM_REF = 100 /* dtype + SM_REF: a TF1 reference type */
};

struct sm_dtype_info {
    const char *enum_name; /* "DT_FLOAT" */
    const char *tf_name;   /* "float32" */
    size_t size_bytes;     /* of an element; 0: not fixed */
    const char *descr;     /* NumPy's, little-endian; NULL: none */
};
/* NULL for an id that the table does not have; ids above SM_REF give their base. */
const struct sm_dtype_info *sm_dtype_info(int dtype);
/* "DT_FLOAT", "DT_FLOAT_REF"; "DT_INVALID" for 0; "unknown dtype" for other ids. */
const char *sm_dtype_name(int dtype);
double sm_float8_value(int dtype, uint8_t bits);

#define SM_MAX_RANK 12

/* A shape that may be unknown: dims -1. */
struct sm_shape {
    bool unknown_rank;
    int rank;
    int64_t dims[SM_MAX_RANK];
};
bool sm_shape_eq(const struct sm_shape *a, const struct sm_shape *b);
/* "(3, -1)" as saved_model_cli prints it; "unknown_rank". */
void sm_shape_text(const struct sm_shape *s, struct buf *out);

/* A dense row-major little-endian value. For SM_STRING `data` is struct str[n_elems].
 * `owned` is one heap block (or NULL: the bytes are borrowed from a file view or a
 * map that must outlive the tensor). */
struct sm_tensor {
    int dtype;
    int rank;
    int64_t dims[SM_MAX_RANK];
    int64_t n_elems; /* product of dims; 1 for rank 0 */
    void *data;
    void *owned;
};
void sm_tensor_release(struct sm_tensor *t); /* for AUTO; all zero afterwards */
/* Owned, zeroed. ERR_LIMIT: rank, overflow or more than 2^40 bytes. ERR_UNSUPPORTED:
 * a dtype without fixed size other than SM_STRING. */
int sm_tensor_alloc(struct sm_tensor *t, int dtype, int rank, const int64_t *dims,
                    struct err *err) MUST_CHECK;
/* An owned string tensor from n slices (copied into the block). */
int sm_tensor_strings(struct sm_tensor *t, int rank, const int64_t *dims,
                      const struct str *v, struct err *err) MUST_CHECK;
int sm_tensor_copy(struct sm_tensor *out, const struct sm_tensor *t,
                   struct err *err) MUST_CHECK;
/* Makes *t an owned tensor of another number type, as NumPy feeds an array: floats
 * round, an integer (or bool) type takes only values that it has. ERR_INVALID names
 * `what`, the element and the dtypes; *t is left as it was. */
int sm_tensor_cast(struct sm_tensor *t, int dtype, const char *what,
                   struct err *err) MUST_CHECK;
/* Of the data; strings: the sum of their lengths. */
size_t sm_tensor_bytes(const struct sm_tensor *t);
const struct str *sm_tensor_str(const struct sm_tensor *t);
/* numpy.str() of the array: 8 digits, "..." beyond 1000 elements. */
void sm_tensor_text(const struct sm_tensor *t, struct buf *out);

struct sm_named_tensor {
    char *name; /* owned when in a list */
    struct sm_tensor t;
};
struct sm_tensor_list {
    struct sm_named_tensor *v;
    int n;
};
void sm_tensor_list_release(struct sm_tensor_list *l);
/* Takes *t (zeroed afterwards), copies the name. */
void sm_tensor_list_add(struct sm_tensor_list *l, const char *name,
                        struct sm_tensor *t);
struct sm_tensor *sm_tensor_list_find(const struct sm_tensor_list *l, const char *name);

#endif
