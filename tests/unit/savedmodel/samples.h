/* SPDX-License-Identifier: Apache-2.0 */
/* The samples that tools/make-format-samples.py had NumPy and TensorFlow make. */
#ifndef TESTS_UNIT_SAVEDMODEL_SAMPLES_H
#define TESTS_UNIT_SAVEDMODEL_SAMPLES_H

#include "tests/unit/savedmodel/build.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

static inline void
sample_file(const char *name, struct buf *out)
{
    struct err err = ERR_INIT;
    char path[64];
    (void)snprintf(path, sizeof(path), "formats/samples/%s", name);
    CHECK_OK(fs_read(AT_FDCWD, unit_data(path), out, &err));
}

/* Calls fn with the `n` columns of each line. */
static inline void
each_sample(const char *name, int n, void (*fn)(char **column))
{
    struct buf b = BUF_INIT;
    char *column[8];
    int n_lines = 0;
    sample_file(name, &b);
    for (char *line = b.data, *end; line && *line; line = end + 1, n_lines++) {
        end = strchr(line, '\n');
        *end = '\0';
        for (int i = 0; i < n; i++) {
            char *tab = strchr(line, '\t');
            CHECK((tab == NULL) == (i == n - 1));
            column[i] = line;
            if (tab) {
                *tab = '\0';
                line = tab + 1;
            }
        }
        fn(column);
    }
    CHECK(n_lines > 0);
    buf_release(&b);
}

/* The elements as the samples have them: strings end with a newline. */
static inline void
sample_bytes(const struct sm_tensor *t, struct buf *out)
{
    if (t->dtype != SM_STRING)
        buf_add(out, t->data, sm_tensor_bytes(t));
    for (int64_t i = 0; t->dtype == SM_STRING && i < t->n_elems; i++) {
        buf_add(out, sm_tensor_str(t)[i].p, sm_tensor_str(t)[i].n);
        buf_addc(out, '\n');
    }
}

/* Dtype and shape are as the columns say. */
static inline void
check_form(const struct sm_tensor *t, const char *what, char **column)
{
    struct buf shape = BUF_INIT;
    for (int i = 0; i < t->rank; i++)
        buf_addf(&shape, "%s%" PRId64, i ? "," : "", t->dims[i]);
    if (strcmp(sm_dtype_info(t->dtype)->tf_name, column[0]) != 0 ||
        strcmp(t->rank ? buf_str(&shape) : "-", column[1]) != 0)
        unit_fail(__FILE__, __LINE__, "%.200s: %s [%s], not %s [%s]", what,
                  sm_dtype_info(t->dtype)->tf_name, buf_str(&shape), column[0],
                  column[1]);
    buf_release(&shape);
}

/* Columns: dtype, shape, bytes in hex. */
static inline void
check_sample(const struct sm_tensor *t, const char *what, char **column)
{
    struct buf want = BUF_INIT, got = BUF_INIT;
    check_form(t, what, column);
    add_hex(&want, column[2]);
    sample_bytes(t, &got);
    if (!str_eq(str_buf(&want), str_buf(&got)))
        unit_fail(__FILE__, __LINE__, "%.200s: other values", what);
    buf_release(&want);
    buf_release(&got);
}

#endif
