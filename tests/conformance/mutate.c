/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to break a model, and rewrites that keep its meaning. */
#include "tests/conformance/mutate.h"

#include "base/fs.h"
#include "runtime/rt_half.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- weights -------------------------------------------------------------------- */

static void
one_bit(struct sm_tensor *t, unsigned seed)
{
    uint32_t *bits = t->data;

    bits[(seed * 2654435761u) % (uint64_t)t->n_elems] ^= 1u << (28 + seed % 3);
}

static void
one_nan(struct sm_tensor *t, unsigned seed)
{
    ((float *)t->data)[(seed * 2654435761u) % (uint64_t)t->n_elems] = NAN;
}

/* As if what it is multiplied with were scaled. */
static void
scaled(struct sm_tensor *t, unsigned seed)
{
    for (int64_t i = 0; i < t->n_elems; i++)
        ((float *)t->data)[i] *= seed % 2 ? 1.25f : 1 / 255.0f;
}

static int64_t
n_columns(const struct sm_tensor *t)
{
    return t->rank > 0 ? t->dims[t->rank - 1] : 1;
}

static void
shifted_class(struct sm_tensor *t, unsigned seed)
{
    const int64_t n = n_columns(t);
    float *v = t->data;

    (void)seed;
    for (int64_t row = 0; n > 1 && row < t->n_elems; row += n) {
        const float last = v[row + n - 1];

        memmove(&v[row + 1], &v[row], (size_t)(n - 1) * sizeof(v[0]));
        v[row] = last;
    }
}

static void
swapped_labels(struct sm_tensor *t, unsigned seed)
{
    const int64_t n = n_columns(t), other = n > 1 ? 1 + seed % (n - 1) : 0;
    float *v = t->data;

    for (int64_t row = 0; row < t->n_elems; row += n) {
        const float first = v[row];

        v[row] = v[row + other];
        v[row + other] = first;
    }
}

/* The values in the order of the transposed array, with the shape as it was. */
static void
transposed(struct sm_tensor *t, unsigned seed)
{
    const int64_t n = n_columns(t), n_rows = n ? t->n_elems / n : 0;
    float *v = t->data, *copy = xcalloc((size_t)t->n_elems + 1, sizeof(v[0]));

    (void)seed;
    memcpy(copy, v, (size_t)t->n_elems * sizeof(v[0]));
    for (int64_t i = 0; i < t->n_elems; i++)
        v[(i % n) * n_rows + i / n] = copy[i];
    free(copy);
}

static void
as_float16(struct sm_tensor *t, unsigned seed)
{
    (void)seed;
    for (int64_t i = 0; i < t->n_elems; i++)
        ((float *)t->data)[i] = rt_half_to_f32(rt_f32_to_half(((float *)t->data)[i]));
}

static bool
is_weight(const struct sm_entry *e)
{
    return e->dtype == SM_FLOAT && e->n_slices == 0 && e->size_bytes >= 4;
}

static void
note_broken(struct broken *out, struct str key, const struct sm_tensor *was,
            const struct sm_tensor *is)
{
    snprintf(out->key, sizeof(out->key), "%.*s", STR_ARG(key));
    out->n_tensors++;
    out->n_changed = 0;
    for (int64_t i = 0; i < was->n_elems; i++) {
        const float a = ((const float *)was->data)[i], b = ((const float *)is->data)[i];

        out->n_changed += a != b && !(isnan(a) && isnan(b));
    }
}

/* The seed-th float tensor, or all of them. 1 done, 0 there is none. */
static int
break_weights(const char *dir, break_fn *fn, bool all, unsigned seed,
              struct broken *broken, struct err *err)
{
    char *vars AUTO(free_ptr) = xasprintf("%s/variables", dir);
    struct sm_bundle *in AUTO(sm_bundle_close_p) = NULL;
    struct sm_bundle_writer *out AUTO(sm_bundle_write_close_p) = NULL;
    int dirfd AUTO(fs_close) = -1, n = 0, pick, r = 0;

    if (access(vars, F_OK) != 0)
        return 0;
    if (fs_open_dir(&dirfd, AT_FDCWD, vars, err) < 0)
        return -1;
    if (sm_bundle_open(&in, dirfd, "variables", err) < 0) {
        r = err->code == ERR_NOTFOUND ? 0 : -1;
        err_clear(err);
        return r;
    }
    for (int i = 0; i < sm_bundle_n_entries(in); i++)
        n += is_weight(sm_bundle_entry(in, i));
    if (n == 0 && fn)
        return 0;
    pick = n ? (int)(seed % (unsigned)n) : 0;
    n = 0;
    r = sm_bundle_write_open(&out, dirfd, "new", err);
    for (int i = 0; r == 0 && i < sm_bundle_n_entries(in); i++) {
        const struct sm_entry *e = sm_bundle_entry(in, i);
        struct sm_tensor t, copy AUTO(sm_tensor_release) = { 0 };

        if (!fn || !is_weight(e) || (n++ != pick && !all)) {
            r = sm_bundle_write_copy(out, e->key, in, e->key, err);
            continue;
        }
        r = sm_bundle_tensor(in, e->key, (struct str){ "", 0 }, true, &t, err);
        if (r == 0)
            r = sm_tensor_copy(&copy, &t, err);
        if (r == 0) {
            fn(&copy, seed);
            note_broken(broken, e->key, &t, &copy);
            r = sm_bundle_write_tensor(out, e->key, &copy, err);
        }
        sm_tensor_release(&t);
    }
    if (r == 0)
        r = sm_bundle_write_end(out, err);
    if (r == 0 && (renameat(dirfd, "new.index", dirfd, "variables.index") < 0 ||
                   renameat(dirfd, "new.data-00000-of-00001", dirfd,
                            "variables.data-00000-of-00001") < 0))
        r = err_sys(err, errno, "rename in %s", vars);
    return r < 0 ? -1 : 1;
}

/* ---- graph and files ------------------------------------------------------------ */

/* Another name for the seed-th key of signatures' maps: "\n", its length, the key, then
 * the TensorInfo. */
static int
rename_key(const char *dir, unsigned seed, const struct val_golden *g, struct err *err)
{
    const struct sm_tensor_list *l =
        seed % 2 ? &g->cases[0].inputs : &g->cases[0].expected;
    struct buf pb AUTO(buf_release) = BUF_INIT, key AUTO(buf_release) = BUF_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/saved_model.pb", dir);
    int n = 0;

    if (l->n == 0)
        return 0;
    buf_addf(&key, "\n%c%s\x12", (int)strlen(l->v[seed / 2 % (unsigned)l->n].name),
             l->v[seed / 2 % (unsigned)l->n].name);
    if (fs_read(AT_FDCWD, path, &pb, err) < 0)
        return -1;
    for (char *p = pb.data;
         (p = memmem(p, pb.len - (size_t)(p - pb.data), key.data, key.len)) != NULL;
         n++, p++)
        p[key.len - 2] = p[key.len - 2] == '~' ? '!' : '~';
    if (n == 0)
        return 0;
    return fs_replace(AT_FDCWD, path, pb.data, pb.len, 0644, err) < 0 ? -1 : 1;
}

/* A message again, field `num` within those of `path` in reverse order. */
static void
reverse_fields(struct str msg, const uint32_t *path, struct buf *out)
{
    struct str it = msg, raw[65536];
    struct sm_field f;
    int n = 0, at;

    for (const char *p = it.p; n < 65536 && sm_pb_next(&it, &f) == 1; p = it.p)
        if (path[1] == 0 && f.num == path[0])
            raw[n++] = (struct str){ p, (size_t)(it.p - p) };
    at = n;
    it = msg;
    for (const char *p = it.p; sm_pb_next(&it, &f) == 1; p = it.p) {
        struct buf inner AUTO(buf_release) = BUF_INIT;

        if (f.num != path[0] || f.wire != 2) {
            buf_add(out, p, (size_t)(it.p - p));
        } else if (path[1] == 0) {
            at--;
            buf_add(out, raw[at].p, raw[at].n);
        } else {
            reverse_fields(f.bytes, path + 1, &inner);
            buf_addc(out, (char)(f.num << 3 | 2));
            for (size_t left = inner.len; left > 0 || inner.len == 0; left >>= 7) {
                buf_addc(out, (char)((left & 0x7f) | (left > 0x7f ? 0x80 : 0)));
                if (left <= 0x7f)
                    break;
            }
            buf_add(out, inner.data, inner.len);
        }
    }
}

static int
reorder_nodes(const char *dir, struct err *err)
{
    static const uint32_t node_path[] = { 2, 2, 1, 0 }; /* meta_graphs.graph_def.node */
    struct buf pb AUTO(buf_release) = BUF_INIT, out AUTO(buf_release) = BUF_INIT;
    char *path AUTO(free_ptr) = xasprintf("%s/saved_model.pb", dir);

    if (fs_read(AT_FDCWD, path, &pb, err) < 0)
        return -1;
    reverse_fields((struct str){ pb.data, pb.len }, node_path, &out);
    return fs_replace(AT_FDCWD, path, out.data, out.len, 0644, err) < 0 ? -1 : 1;
}

/* The lines of the first vocabulary without its seed-th line, or that line moved to the
 * end. */
static int
break_asset(const char *dir, unsigned seed, bool drop, struct err *err)
{
    char *assets AUTO(free_ptr) = xasprintf("%s/assets", dir),
                 *path AUTO(free_ptr) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT, out AUTO(buf_release) = BUF_INIT;
    DIR *d = opendir(assets);
    unsigned n = 0, at = 0;
    struct str line = { NULL, 0 };

    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && !path)
            path = xasprintf("%s/%s", assets, e->d_name);
    if (d)
        closedir(d);
    if (!path)
        return 0;
    if (fs_read(AT_FDCWD, path, &text, err) < 0)
        return -1;
    for (size_t i = 0; i < text.len; i++)
        n += text.data[i] == '\n';
    if (n < 2)
        return 0;
    for (const char *p = text.data, *end = p + text.len; p < end; at++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const size_t len = nl ? (size_t)(nl - p) + 1 : (size_t)(end - p);

        if (at == seed % n)
            line = (struct str){ p, len };
        else
            buf_add(&out, p, len);
        p += len;
    }
    if (!drop) {
        if (out.len && out.data[out.len - 1] != '\n')
            buf_addc(&out, '\n');
        buf_add(&out, line.p, line.n);
    }
    return fs_replace(AT_FDCWD, path, out.data, out.len, 0644, err) < 0 ? -1 : 1;
}

/* ---- what is done to a model ---------------------------------------------------- */

const struct mutation mutations[N_MUTATIONS] = {
    { "one high bit of a weight", WEIGHT, one_bit, 6, false },
    { "NaN in a weight", WEIGHT, one_nan, 3, false },
    { "scaled input of a weight", WEIGHT, scaled, 3, false },
    { "shifted class", WEIGHT, shifted_class, 3, false },
    { "swapped labels", WEIGHT, swapped_labels, 3, false },
    { "transposed output of a weight", WEIGHT, transposed, 3, false },
    { "weights through float16", WEIGHTS, as_float16, 1, false },
    { "changed signature", KEY, NULL, 4, false },
    { "dropped line of an asset", ASSET_DROP, NULL, 3, false },
    { "shuffled vocabulary", ASSET_MOVE, NULL, 3, false },
    { "as it was", EXTRA, NULL, 1, true },
    { "weights written anew", WEIGHTS, NULL, 1, true },
    { "nodes in another order", REORDER, NULL, 1, true },
    { "without what is not needed to run", BARE, NULL, 1, true },
    { "planned without passes", NO_PASS, NULL, 1, true },
};

int
mutate(const struct mutation *m, const char *dir, unsigned seed,
       const struct val_golden *g, struct broken *out, struct err *err)
{
    static const char *const not_needed[] = { "fingerprint.pb", "keras_metadata.pb" };

    switch (m->how) {
    case WEIGHT:
    case WEIGHTS:
        return break_weights(dir, m->fn, m->how == WEIGHTS, seed, out, err);
    case KEY:
        return rename_key(dir, seed, g, err);
    case ASSET_DROP:
    case ASSET_MOVE:
        return break_asset(dir, seed, m->how == ASSET_DROP, err);
    case REORDER:
        return reorder_nodes(dir, err);
    case BARE:
        for (int i = 0; i < 2; i++) {
            char *path AUTO(free_ptr) = xasprintf("%s/%s", dir, not_needed[i]);
            unlink(path);
        }
        return 1;
    case NO_PASS:
        setenv("SLUICE_PLAN", "-fold,-fuse,-pattern,-rnn", 1);
        return 1;
    default:
        return 1;
    }
}
