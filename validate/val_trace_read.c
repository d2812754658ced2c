/* SPDX-License-Identifier: Apache-2.0 */
/* What a runner says of a run (runtime/rt_watch.h), which is not trusted. */
#include "validate/val_trace.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

void
tr_release(struct tr_run *r)
{
    cJSON_Delete(r->doc);
    free(r->steps);
    free(r->events);
    free(r->order);
    free(r->tensors);
    free(r->in);
    free(r->held);
    free(r->outputs);
    *r = (struct tr_run){ .doc = NULL };
}

/* ---- numbers and lists ---------------------------------------------------------- */

/* Walks the elements of a list; what does not fit makes it bad for good. */
struct reader {
    const cJSON *next;
    bool bad;
};

static struct reader
read_list(const cJSON *list)
{
    return (struct reader){ cJSON_IsArray(list) ? list->child : NULL,
                            !cJSON_IsArray(list) };
}

static const cJSON *
next(struct reader *r)
{
    const cJSON *j = r->next;

    r->bad |= !j;
    r->next = j ? j->next : NULL;
    return j;
}

static int64_t
next_int(struct reader *r, int64_t min, int64_t max)
{
    const cJSON *j = next(r);

    if (!cJSON_IsNumber(j) || !(j->valuedouble >= (double)min) ||
        !(j->valuedouble <= (double)max)) {
        r->bad = true;
        return min;
    }
    return (int64_t)j->valuedouble;
}

static const char *
member_text(const cJSON *o, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
}

static const cJSON *
list_of(const cJSON *doc, const char *key, int *n)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc, key);

    *n = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    return list;
}

/* ---- tensors -------------------------------------------------------------------- */

/* [dtype, [dims], "digest", n_nan] */
static bool
read_tensor(const cJSON *j, struct tr_tensor *t)
{
    const int64_t most = (int64_t)1 << 40;
    struct reader r = read_list(j), dims;
    const struct sm_dtype_info *info;
    const char *digest;
    char *end = NULL;

    *t = (struct tr_tensor){ .n_elems = 1 };
    t->dtype = (int)next_int(&r, 1, SM_REF + SM_DTYPE_END);
    info = sm_dtype_info(t->dtype);
    dims = read_list(next(&r));
    while (!dims.bad && dims.next && t->shape.rank < SM_MAX_RANK) {
        const int64_t d = next_int(&dims, 0, most);

        t->shape.dims[t->shape.rank++] = d;
        if (__builtin_mul_overflow(t->n_elems, d, &t->n_elems) || t->n_elems > most)
            return false;
    }
    digest = cJSON_GetStringValue(next(&r));
    if (r.bad || dims.bad || dims.next || !info || !digest || strlen(digest) != 16)
        return false;
    t->digest = strtoull(digest, &end, 16);
    t->n_nan = next_int(&r, 0, 2 * most);
    t->size_bytes = (size_t)t->n_elems * info->size_bytes;
    t->state = t->dtype == SM_RESOURCE || t->dtype == SM_VARIANT || t->dtype > SM_REF
                   ? TR_OPAQUE
                   : TR_ALONE;
    return !*end && !r.bad;
}

static bool
read_held(struct tr_run *r)
{
    const cJSON *list = list_of(r->doc, "held", &r->n_held), *j;
    int i = 0;

    r->held = xcalloc((size_t)r->n_held + 1, sizeof(r->held[0]));
    cJSON_ArrayForEach(j, list)
    {
        struct tr_held *h = &r->held[i++];

        h->name = member_text(j, "name");
        h->key = member_text(j, "key");
        if (!h->name || !h->key ||
            !read_tensor(cJSON_GetObjectItemCaseSensitive(j, "value"), &h->t))
            return false;
    }
    return true;
}

static bool
read_steps(struct tr_run *r)
{
    const cJSON *list = list_of(r->doc, "steps", &r->n_steps), *j;
    int i = 0;

    r->steps = xcalloc((size_t)r->n_steps + 1, sizeof(r->steps[0]));
    cJSON_ArrayForEach(j, list)
    {
        struct tr_step *s = &r->steps[i++];

        s->node = member_text(j, "node");
        s->op = member_text(j, "op");
        s->function = member_text(j, "function");
        s->gives = member_text(j, "gives");
        s->labels = cJSON_GetObjectItemCaseSensitive(j, "in");
        if (!s->function)
            s->function = "";
        if (!s->node || !s->op)
            return false;
    }
    return true;
}

/* ---- events --------------------------------------------------------------------- */

/* The rest of a list: from, a, b. Events that are named are older than `before`. */
static bool
read_in(const struct tr_run *r, struct reader *list, int before, struct tr_in *out)
{
    out->from = (enum tr_from)next_int(list, 0, TR_N_FROM - 1);
    out->a = (int)next_int(list, 0, INT32_MAX);
    out->b = (int)next_int(list, 0, INT32_MAX);
    if (list->bad || list->next)
        return false;
    if (out->from == TR_MADE)
        return out->a < before && out->b < r->events[out->a].n_out;
    return (out->from != TR_HELD && out->from != TR_OBJECT) || out->a < r->n_held;
}

static bool
read_event(struct tr_run *r, const cJSON *j, int at)
{
    struct reader list = read_list(j), outs, ins;
    struct tr_event *e = &r->events[at];

    *e =
        (struct tr_event){ .twin = -1, .first_out = r->n_tensors, .first_in = r->n_in };
    e->step = (int)next_int(&list, 0, r->n_steps - 1);
    e->turn = (int)next_int(&list, 0, INT32_MAX);
    e->within = (int)next_int(&list, -1, at - 1);
    e->end = (int)next_int(&list, -1, r->n_events - 1);
    outs = read_list(next(&list));
    ins = read_list(next(&list));
    if (list.bad || list.next || outs.bad || ins.bad || r->n_steps == 0)
        return false;
    for (; outs.next; outs.next = outs.next->next)
        if (!read_tensor(outs.next, &r->tensors[r->n_tensors++]))
            return false;
    e->n_out = r->n_tensors - e->first_out;
    for (; ins.next; ins.next = ins.next->next) {
        struct reader in = read_list(ins.next);
        struct tr_in *to = &r->in[r->n_in++];

        if (!read_in(r, &in, at, to))
            return false;
        e->fed |= to->from == TR_FEED || to->from == TR_UNKNOWN ||
                  (to->from == TR_MADE && r->events[to->a].fed);
    }
    e->n_in = r->n_in - e->first_in;
    return e->end >= 0 || e->n_out == 0;
}

/* Each end once, and none left out. */
static bool
read_order(struct tr_run *r)
{
    r->order = xcalloc((size_t)r->n_events + 1, sizeof(r->order[0]));
    for (int i = 0; i < r->n_events; i++)
        r->order[i] = -1;
    for (int i = 0; i < r->n_events; i++) {
        const int end = r->events[i].end;

        if (end >= 0 && r->order[end] >= 0)
            return false;
        if (end >= 0)
            r->order[end] = i;
        r->n_order += end >= 0;
    }
    for (int i = 0; i < r->n_order; i++)
        if (r->order[i] < 0)
            return false;
    return true;
}

static bool
read_events(struct tr_run *r)
{
    const cJSON *list = list_of(r->doc, "events", &r->n_events), *j;
    size_t n_tensors = 1, n_in = 1;
    int at = 0;

    cJSON_ArrayForEach(j, list)
    {
        n_tensors += (size_t)cJSON_GetArraySize(cJSON_GetArrayItem(j, 4));
        n_in += (size_t)cJSON_GetArraySize(cJSON_GetArrayItem(j, 5));
    }
    r->events = xcalloc((size_t)r->n_events + 1, sizeof(r->events[0]));
    r->tensors = xcalloc(n_tensors, sizeof(r->tensors[0]));
    r->in = xcalloc(n_in, sizeof(r->in[0]));
    cJSON_ArrayForEach(j, list) if (!read_event(r, j, at++)) return false;
    cJSON_DeleteItemFromObjectCaseSensitive(r->doc, "events"); /* all of it is read */
    return read_order(r);
}

static bool
read_outputs(struct tr_run *r)
{
    const cJSON *list = list_of(r->doc, "outputs", &r->n_outputs), *j;
    int i = 0;

    r->outputs = xcalloc((size_t)r->n_outputs + 1, sizeof(r->outputs[0]));
    cJSON_ArrayForEach(j, list)
    {
        struct reader in = read_list(j);

        r->outputs[i].key = cJSON_GetStringValue(next(&in));
        if (!r->outputs[i].key || !read_in(r, &in, r->n_events, &r->outputs[i].in))
            return false;
        i++;
    }
    return true;
}

int
tr_read(struct tr_run *out, struct str json, struct err *err)
{
    const cJSON *lost;

    *out = (struct tr_run){ .doc = NULL };
    if (json_parse(&out->doc, json, "what the model's process saw", err) < 0)
        return -(int)err->code;
    lost = cJSON_GetObjectItemCaseSensitive(out->doc, "lost");
    if (cJSON_IsNumber(lost) && read_steps(out) && read_held(out) && read_events(out) &&
        read_outputs(out)) {
        out->n_lost = lost->valueint;
        out->error = member_text(out->doc, "error");
        return 0;
    }
    tr_release(out);
    return err_set(err, ERR_CORRUPT, "what the model's process saw is malformed");
}
