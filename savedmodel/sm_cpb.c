/* SPDX-License-Identifier: Apache-2.0 */
/* Chunked SavedModel (saved_model.cpb): a message whose big parts were taken out and
 * stored beside it. Each record of the Riegeli file is a chunk; the last is the
 *
 *   ChunkMetadata  { 2 repeated ChunkInfo { 1 type, 2 size, 3 position }, 3 message }
 *   ChunkedMessage { 1 chunk index, 2 repeated ChunkedField }
 *   ChunkedField   { 1 repeated FieldIndex, 3 ChunkedMessage }
 *   FieldIndex     { 1 field number | 2 MapKey | 3 index in a repeated field }
 *   MapKey         { 1 s | 2 boolean | 3 ui32 | 4 ui64 | 5 i32 | 6 i64 }
 *
 * A ChunkedMessage is its chunk with its chunked fields merged in; a path of FieldIndex
 * leads from the message to the part that a field fills. Here all the paths become one
 * tree, and then the message is written once: what the tree does not touch is copied.
 * Which fields are messages, maps or bytes says the schema. */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

#define MAX_DEPTH 100
#define OUT_MAX_BYTES ((size_t)16 << 30)
#define GROW_MAX                                                                       \
    (1 << 20)          /* elements that a repeated field may get beyond its last       \
                        */
#define LENGTH_BYTES 6 /* room for a length that is not known yet */

/* One step of a path. */
struct step {
    enum { STEP_FIELD = 1, STEP_KEY = 2, STEP_INDEX = 3 } kind;
    uint64_t n;     /* field number or index */
    struct str key; /* MapKey */
};

struct chunked_field {
    struct step *path;
    int n_path;
    struct str message;
    uint64_t chunk; /* UINT64_MAX: none */
};

/* A part of the message that chunks fill. */
struct part {
    const struct sm_schema_field *field; /* in its parent; NULL for the whole */
    uint64_t index;                      /* of a repeated field */
    struct str key;                      /* of a map: the entry's key field, as wire */
    struct str *chunks; /* to be merged in; of bytes: the last one is the value */
    size_t n_chunks;
    struct part **parts; /* inside it; sorted when written */
    size_t n_parts;
    bool is_done;
    struct str *old; /* what the message itself says of it */
    size_t n_old;
};

struct reader {
    const struct sm_chunks *c;
    struct err *err;
};

/* ---- the file ----------------------------------------------------------------------
 */

void
sm_chunks_release(struct sm_chunks *c)
{
    if (c->file) {
        sm_riegeli_release(c->file);
        free(c->file);
    }
    free(c->v);
    *c = (struct sm_chunks){ .v = NULL };
}

static int
chunks_read(struct sm_chunks *c, struct err *err)
{
    struct sm_riegeli *r = c->file;
    if (r->n == 0)
        return err_set(err, ERR_CORRUPT, "no records");
    struct str meta = r->v[r->n - 1].bytes, it = meta, info;
    int rc = sm_check_msg(meta, SM_M_ChunkMetadata, "the last record", err);
    if (rc < 0)
        return rc;
    c->v = xcalloc(r->n, sizeof(*c->v));
    while (sm_pb_next_msg(&it, 2, &info) > 0) {
        uint64_t at = (uint64_t)sm_pb_int(info, 3, 0);
        const struct sm_record *rec = sm_riegeli_find(r, at);
        if (!rec || c->n == r->n || rec->bytes.n != (uint64_t)sm_pb_int(info, 2, 0))
            return err_set(err, ERR_CORRUPT,
                           "chunk %zu: no record of its size at position %llu", c->n,
                           (unsigned long long)at);
        c->v[c->n++] = rec->bytes;
    }
    c->message = sm_pb_bytes(meta, 3);
    return 0;
}

int
sm_chunks_read(struct sm_chunks *out, struct str file, struct err *err)
{
    *out = (struct sm_chunks){ .file = xcalloc(1, sizeof(*out->file)) };
    int rc = sm_riegeli_read(out->file, file, err);
    if (rc == 0)
        rc = chunks_read(out, err);
    if (rc < 0)
        sm_chunks_release(out);
    return rc;
}

int
sm_chunks_open(struct sm_chunks *out, int dirfd, const char *dir, struct err *err)
{
    struct sm_file f AUTO(sm_file_release) = { .bytes = { NULL, 0 } };
    const char *name = sm_form_file(SM_FORM_CPB);
    unsigned n_cut = fs_maps_n_cut();
    *out = (struct sm_chunks){ .v = NULL };
    int rc = sm_file_open(&f, dirfd, name, err);
    if (rc < 0)
        return err_ctx(err, "%s", dir);
    rc = sm_check_lfs(f.bytes, name, err);
    if (rc == 0)
        rc = sm_chunks_read(out, f.bytes, err);
    if (fs_maps_check(n_cut, err) < 0)
        rc = -(int)err->code;
    if (rc < 0) {
        sm_chunks_release(out);
        return err_ctx(err, "%s/%s", dir, name);
    }
    return 0;
}

/* ---- paths -------------------------------------------------------------------------
 */

static void
fields_free(struct chunked_field *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(f[i].path);
    free(f);
}

static bool
step_parse(struct str raw, struct step *s)
{
    struct sm_field f, last = { .num = 0 };
    while (sm_pb_next(&raw, &f) > 0) {
        if ((f.num == 2 && f.wire == 2) || ((f.num == 1 || f.num == 3) && f.wire == 0))
            last = f;
    }
    if (last.num == 0)
        return false;
    *s = (struct step){ .kind = last.num, .n = last.v, .key = last.bytes };
    return true;
}

static int
field_parse(struct str raw, struct chunked_field *f, struct err *err)
{
    struct str it = raw, part;
    struct sm_field index;
    int n = 0;
    *f = (struct chunked_field){ .chunk = UINT64_MAX, .message = sm_pb_bytes(raw, 3) };
    while (sm_pb_next_msg(&it, 1, &part) > 0)
        n++;
    f->path = xcalloc((size_t)n + 1, sizeof(*f->path));
    for (it = raw; sm_pb_next_msg(&it, 1, &part) > 0;) {
        if (!step_parse(part, &f->path[f->n_path++]))
            return err_set(err, ERR_CORRUPT, "an empty step in a field's path");
    }
    if (sm_pb_get(f->message, 1, &index) && index.wire == 0)
        f->chunk = index.v;
    return 0;
}

static int
number_cmp(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* TensorFlow's order: parents before what is in them. Map keys count as equal and end
 * the comparison. */
static int
field_cmp(const void *pa, const void *pb)
{
    const struct chunked_field *a = pa, *b = pb;
    for (int i = 0; i < a->n_path && i < b->n_path; i++) {
        const struct step *x = &a->path[i], *y = &b->path[i];
        if (x->kind != y->kind)
            return (int)x->kind - (int)y->kind;
        if (x->kind == STEP_KEY && !str_eq(x->key, y->key))
            return str_cmp(x->key, y->key);
        if (x->kind != STEP_KEY && x->n != y->n)
            return number_cmp(x->n, y->n);
    }
    if (a->n_path != b->n_path)
        return a->n_path - b->n_path;
    return number_cmp(a->chunk, b->chunk);
}

/* ---- the tree ----------------------------------------------------------------------
 */

static void
part_free(struct part *p)
{
    for (size_t i = 0; i < p->n_parts; i++)
        part_free(p->parts[i]);
    free(p->parts);
    free(p->chunks);
    free(p->old);
    free(p);
}

static enum sm_msg
part_type(const struct part *p)
{
    return p->field ? (enum sm_msg)p->field->type : SM_M_SavedModel;
}

static bool
is_message(const struct part *p)
{
    return !p->field || p->field->kind == SM_K_MSG;
}

static void
strs_add(struct str **v, size_t *n, struct str s)
{
    if ((*n & (*n - 1)) == 0) /* doubles at each power of two */
        *v = xreallocarray(*v, *n ? 2 * *n : 1, sizeof(**v));
    (*v)[(*n)++] = s;
}

/* The part inside `p`, made when it is new. Paths come sorted: it is mostly the last.
 */
static struct part *
part_get(struct part *p, const struct sm_schema_field *f, uint64_t index,
         struct str key)
{
    for (size_t i = p->n_parts; i > 0; i--) {
        struct part *sub = p->parts[i - 1];
        if (sub->field == f && sub->index == index && str_eq(sub->key, key))
            return sub;
        if (f->label == SM_L_REP && sub->field == f && sub->index < index &&
            i == p->n_parts)
            break;
    }
    struct part *sub = xcalloc(1, sizeof(*sub));
    *sub = (struct part){ .field = f, .index = index, .key = key };
    if ((p->n_parts & (p->n_parts - 1)) == 0)
        p->parts = xreallocarray(p->parts, p->n_parts ? 2 * p->n_parts : 1,
                                 sizeof(struct part *));
    p->parts[p->n_parts++] = sub;
    return sub;
}

static const struct sm_schema_field *
schema_field(enum sm_msg type, uint64_t num)
{
    const struct sm_schema *s = &sm_schemas[type];
    for (int i = 0; i < s->n_fields; i++) {
        if (s->fields[i].num == num)
            return &s->fields[i];
    }
    return NULL;
}

/* The key of a MapKey that fits the map. */
static bool
key_of(const struct sm_schema_field *map, struct str raw, struct str *out)
{
    static const uint8_t nums[] = { [SM_K_STR] = 1, [SM_K_BOOL] = 2, [SM_K_U32] = 3,
                                    [SM_K_U64] = 4, [SM_K_I32] = 5,  [SM_K_I64] = 6 };
    struct sm_field f;
    /* The graph has no other maps with chunks in them than those with text keys. */
    if (map->key != SM_K_STR || !sm_pb_get(raw, nums[map->key], &f) || f.wire != 2)
        return false;
    *out = f.bytes;
    return true;
}

/* Goes one field (and its index or key) down the path; NULL: it fits no message. */
static struct part *
path_step(struct part *p, const struct chunked_field *f, int *i)
{
    const struct step *s = &f->path[(*i)++];
    struct str key = { "", 0 };
    if (s->kind != STEP_FIELD || !is_message(p))
        return NULL;
    const struct sm_schema_field *field = schema_field(part_type(p), s->n);
    if (!field || sm_kind_wire(field->kind) != 2)
        return NULL;
    if (field->label != SM_L_REP && field->label != SM_L_MAP)
        return part_get(p, field, 0, key);
    if (*i == f->n_path)
        return NULL;
    s = &f->path[(*i)++];
    if (field->label == SM_L_REP)
        return s->kind == STEP_INDEX ? part_get(p, field, s->n, key) : NULL;
    if (s->kind != STEP_KEY || !key_of(field, s->key, &key))
        return NULL;
    return part_get(p, field, 0, key);
}

static int tree_message(struct reader *r, struct part *p, struct str message,
                        int depth);

static int
tree_field(struct reader *r, struct part *p, const struct chunked_field *f, int depth)
{
    for (int i = 0; i < f->n_path;) {
        p = path_step(p, f, &i);
        if (!p)
            return err_set(r->err, ERR_CORRUPT,
                           "step %d of the path of a chunked field fits no message", i);
    }
    return tree_message(r, p, f->message, depth + 1);
}

/* Puts a ChunkedMessage into the part that it fills. */
static int
tree_message(struct reader *r, struct part *p, struct str message, int depth)
{
    struct str it = message, raw;
    struct sm_field f;
    size_t n = 0;
    int rc = 0;
    if (depth > MAX_DEPTH)
        return err_set(r->err, ERR_LIMIT, "chunked messages nested more than %d deep",
                       MAX_DEPTH);
    if (sm_pb_get(message, 1, &f) && f.wire == 0) {
        if (f.v >= r->c->n)
            return err_set(r->err, ERR_CORRUPT, "no chunk %llu",
                           (unsigned long long)f.v);
        struct str chunk = r->c->v[f.v];
        if (is_message(p))
            rc = sm_check_msg(chunk, part_type(p), "chunk", r->err);
        if (rc < 0)
            return rc;
        strs_add(&p->chunks, &p->n_chunks, chunk);
    }
    while (sm_pb_next_msg(&it, 2, &raw) > 0)
        n++;
    struct chunked_field *fields = xcalloc(n + 1, sizeof(*fields));
    n = 0;
    for (it = message; rc == 0 && sm_pb_next_msg(&it, 2, &raw) > 0;)
        rc = field_parse(raw, &fields[n++], r->err);
    qsort(fields, n, sizeof(*fields), field_cmp);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = tree_field(r, p, &fields[i], depth);
    fields_free(fields, n);
    return rc;
}

/* ---- writing -----------------------------------------------------------------------
 */

static int part_write(struct part *p, struct buf *out, struct err *err);

/* A length-delimited field whose length comes later; returns where. */
static size_t
open_field(struct buf *b, uint32_t num)
{
    sm_pb_add_varint(b, num << 3 | 2);
    size_t at = b->len;
    buf_add(b, "\0\0\0\0\0\0", LENGTH_BYTES);
    return at;
}

static void
close_field(struct buf *b, size_t at)
{
    if (b->over)
        return;
    uint64_t n = b->len - at - LENGTH_BYTES;
    for (int i = 0; i < LENGTH_BYTES; i++, n >>= 7)
        b->data[at + (size_t)i] =
            (char)((n & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
}

/* The field of its parent that `p` fills. */
static int
field_write(struct part *p, struct buf *out, struct err *err)
{
    const struct sm_schema_field *f = p->field;
    int rc = 0;
    p->is_done = true;
    if (!is_message(p) && f->label != SM_L_MAP) {
        struct str none = { "", 0 };
        sm_pb_put_bytes(out, f->num, p->n_chunks ? p->chunks[p->n_chunks - 1] : none);
        return 0;
    }
    size_t at = open_field(out, f->num);
    if (f->label == SM_L_MAP)
        sm_pb_put_bytes(out, 1, p->key);
    if (!is_message(p)) {
        sm_pb_put_bytes(out, 2, p->chunks ? p->chunks[p->n_chunks - 1] : p->key);
    } else if (f->label == SM_L_MAP) {
        size_t value = open_field(out, 2);
        rc = part_write(p, out, err);
        close_field(out, value);
    } else {
        rc = part_write(p, out, err);
    }
    close_field(out, at);
    return rc;
}

static int
part_cmp(const void *pa, const void *pb)
{
    const struct part *a = *(struct part *const *)pa, *b = *(struct part *const *)pb;
    if (a->field != b->field)
        return a->field->num - b->field->num;
    if (a->index != b->index)
        return number_cmp(a->index, b->index);
    return str_cmp(a->key, b->key);
}

/* The part among the sorted ones inside `p`. */
static struct part *
part_find(const struct part *p, const struct sm_schema_field *f, uint64_t index,
          struct str key)
{
    struct part want = { .field = f, .index = index, .key = key }, *w = &want, **hit;
    hit = bsearch(&w, p->parts, p->n_parts, sizeof(struct part *), part_cmp);
    return hit ? *hit : NULL;
}

/* One field of the message as it stands; `counts`: elements of each field so far. */
static int
old_field(struct part *p, const struct sm_field *f, struct str raw, uint64_t *counts,
          struct buf *out, struct err *err)
{
    struct str key = { "", 0 };
    const struct sm_schema_field *field = f->wire == 2 && f->num <= SM_FIELD_NUM_MAX
                                              ? schema_field(part_type(p), f->num)
                                              : NULL;
    uint64_t index = 0;
    if (field && field->label == SM_L_REP)
        index = counts[f->num]++;
    if (field && field->label == SM_L_MAP)
        key = sm_pb_bytes(f->bytes, 1);
    struct part *sub = field ? part_find(p, field, index, key) : NULL;
    if (!sub) {
        buf_add(out, raw.p, raw.n);
        return 0;
    }
    struct str old = f->bytes;
    if (field->label == SM_L_MAP) {
        sub->n_old = 0; /* the last entry counts */
        old = sm_pb_bytes(f->bytes, 2);
    }
    strs_add(&sub->old, &sub->n_old, old);
    return field->label == SM_L_REP ? field_write(sub, out, err) : 0;
}

/* Parts that the message did not have. */
static int
new_fields(struct part *p, uint64_t *counts, struct buf *out, struct err *err)
{
    struct str none = { "", 0 };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < p->n_parts; i++) {
        struct part *sub = p->parts[i];
        uint64_t *count = &counts[sub->field->num];
        if (sub->is_done)
            continue;
        if (sub->field->label == SM_L_REP) {
            if (sub->index - *count > GROW_MAX)
                return err_set(err, ERR_LIMIT,
                               "a chunk for element %llu of '%s', which has %llu",
                               (unsigned long long)sub->index, sub->field->name,
                               (unsigned long long)*count);
            for (; *count < sub->index; ++*count)
                sm_pb_put_bytes(out, sub->field->num, none);
            ++*count;
        }
        rc = field_write(sub, out, err);
    }
    return rc;
}

/* The message that `p` is, without tag and length. */
static int
part_write(struct part *p, struct buf *out, struct err *err)
{
    uint64_t counts[SM_FIELD_NUM_MAX + 1] = { 0 };
    int rc = 0;
    if (p->n_parts > 0)
        qsort(p->parts, p->n_parts, sizeof(struct part *), part_cmp);
    for (size_t i = 0; rc == 0 && i < p->n_old + p->n_chunks; i++) {
        struct str it = i < p->n_old ? p->old[i] : p->chunks[i - p->n_old];
        struct sm_field f;
        if (p->n_parts == 0) {
            buf_add(out, it.p, it.n);
            continue;
        }
        struct str from = it;
        while (rc == 0 && sm_pb_next(&it, &f) > 0) {
            struct str raw = { from.p, from.n - it.n };
            rc = old_field(p, &f, raw, counts, out, err);
            from = it;
        }
    }
    if (rc == 0)
        rc = new_fields(p, counts, out, err);
    return rc < 0 ? rc : buf_check(out, "the merged model", err);
}

int
sm_chunks_merge(const struct sm_chunks *c, struct str message, struct buf *out,
                struct err *err)
{
    struct reader r = { c, err };
    struct part *root = xcalloc(1, sizeof(*root));
    if (out->cap_bytes == 0)
        out->cap_bytes = OUT_MAX_BYTES;
    int rc = tree_message(&r, root, message, 0);
    if (rc == 0)
        rc = part_write(root, out, err);
    part_free(root);
    return rc;
}

int
sm_cpb_merge(struct str file, struct buf *out, struct err *err)
{
    struct sm_chunks c AUTO(sm_chunks_release) = { .v = NULL };
    int rc = sm_chunks_read(&c, file, err);
    return rc < 0 ? rc : sm_chunks_merge(&c, c.message, out, err);
}
