/* SPDX-License-Identifier: Apache-2.0 */
/* tf.Examples: the text of some ('[') whose features are then found in them, or the
 * bytes of one after the name of a feature and a newline. */
#include "savedmodel/savedmodel.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
column(struct sm_records *r, struct str name)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    if (sm_examples_column(r, name, &t, &err) == 0)
        sm_tensor_release(&t);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct str bytes = { (const char *)data, n };
    if (n > 0 && data[0] == '[') {
        char *text AUTO(free_ptr) = xstrndup(bytes.p, n);
        struct sm_tensor t;
        if (sm_examples_of(text, &t, &err) < 0)
            return 0;
        struct sm_records r = { .v = t.data, .n = (size_t)t.n_elems };
        column(&r, str_of("a"));
        for (size_t i = 0; i < r.n; i++) {
            struct sm_field f;
            struct str it = r.v[i];
            while (sm_pb_next(&it, &f) > 0)
                ;
            if (it.n > 0)
                BUG("made an Example that is malformed");
        }
        sm_tensor_release(&t);
        return 0;
    }
    const char *end = n ? memchr(bytes.p, '\n', n) : NULL;
    if (!end)
        return 0;
    size_t n_name = (size_t)(end - bytes.p);
    struct str one[2] = { { end + 1, n - n_name - 1 }, { end + 1, n - n_name - 1 } };
    struct sm_records r = { .v = one, .n = 2 };
    column(&r, (struct str){ bytes.p, n_name });
    return 0;
}
