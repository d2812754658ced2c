/* SPDX-License-Identifier: Apache-2.0 */
/* An object graph: puts the bytes into a saved_model.pb and reads functions and all
 * their arguments as `show --all` does. */
#include "savedmodel/savedmodel.h"
#include "tests/fuzz/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
add_field(struct buf *b, uint32_t num, const void *p, size_t n)
{
    buf_addc(b, (char)(num << 3 | 2));
    for (size_t v = n; true; v >>= 7) {
        buf_addc(b, (char)(v < 0x80 ? v : (v & 0x7f) | 0x80));
        if (v < 0x80)
            break;
    }
    buf_add(b, p, n);
}

static void
see_value(struct str value, int depth)
{
    struct buf text = BUF_INIT, quoted = BUF_INIT;
    int n;
    sm_value_class(value, &text);
    sm_value_str(value, &text);
    sm_python_repr((struct str){ buf_str(&text), text.len }, &quoted);
    if (sm_value_form(value) == SM_VALUE_TENSOR)
        (void)sm_pb_bytes(sm_value_tensor(value), 2);
    struct sm_kv *v = sm_value_items(value, &n);
    for (int i = 0; i < n && depth < 3; i++)
        see_value(v[i].value, depth + 1);
    free(v);
    buf_release(&text);
    buf_release(&quoted);
}

static void
see_meta(const struct sm_meta *meta)
{
    struct err err = ERR_INIT;
    struct sm_callables c;
    if (sm_meta_callables(meta, &c, &err) < 0)
        return;
    for (int i = 0; i < c.n; i++) {
        for (int k = 0; k < c.v[i].n_concrete; k++) {
            see_value(c.v[i].concrete[k].args, 0);
            see_value(c.v[i].concrete[k].kwargs, 0);
        }
    }
    sm_callables_release(&c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct scratch dir;
    struct err err = ERR_INIT;
    struct buf meta = BUF_INIT, file = BUF_INIT;
    struct sm_model *m;
    if (n > 16384) /* values inside values are seen again at each depth */
        return 0;
    add_field(&meta, 7, p, n);
    add_field(&file, 2, buf_str(&meta), meta.len);
    scratch_open(&dir);
    scratch_put(&dir, "saved_model.pb", file.data, file.len);
    if (sm_open(&m, dir.fd, "model", &err) == 0) {
        if (sm_meta_has_objects(sm_meta(m, 0)))
            see_meta(sm_meta(m, 0));
        sm_close(m);
    }
    scratch_close(&dir);
    buf_release(&meta);
    buf_release(&file);
    return 0;
}
