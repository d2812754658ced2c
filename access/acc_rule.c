/* SPDX-License-Identifier: Apache-2.0 */
/* How rules are found: each is filed under its subject and the part of its object's
 * text before the first * (all of it, when there is none). A question asks for the few
 * texts that can cover its object ("fraud@production", "fraud"): whole, and as far as
 * patterns of the subject have beginnings of that length. So what is looked at is what
 * nearly fits, however many rules there are. */
#include "access/acc_rule_int.h"

#include "base/fnv.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define LENGTHS (ACC_OBJECT_MAX + 1)
#define MAX_COVERS 3 /* texts that can cover an object */

struct rule {
    int64_t id, from_ns, until_ns;
    uint64_t hash;
    enum acc_effect effect;
    enum acc_right right; /* ACC_NONE: the verb */
    const char *verb;
    struct acc_pattern on;
    uint32_t subject; /* index */
    uint32_t next;    /* of the same bucket */
    char *text;       /* owns the above */
};
struct membership {
    uint32_t role; /* index of its subject */
    uint32_t rule;
};
struct subject {
    char *name;
    uint64_t seed;                      /* its rules' hashes begin with it */
    uint64_t lengths[LENGTHS / 64 + 1]; /* of beginnings of patterns, a bit each */
    struct membership *roles;
    int n_roles;
    uint32_t next;
    struct { /* of its own rules, for acc_decide_any */
        uint32_t *v;
        int n;
    } rules;
};
struct acc_rules {
    struct rule *v;
    uint32_t n, room;
    uint32_t *buckets; /* a power of two */
    uint32_t n_buckets;
    struct subject *subjects;
    uint32_t n_subjects, subjects_room;
    uint32_t *names; /* as buckets, of subjects */
    uint32_t n_names;
};

/* ---- hashes ---------------------------------------------------------------------- */

#define EXACT UINT64_C(0x9e3779b97f4a7c15) /* whole texts and beginnings are apart */

static uint32_t
slot_of(uint64_t h, uint32_t n)
{
    return (uint32_t)(h ^ h >> 29 ^ h >> 47) & (n - 1);
}

/* ---- subjects -------------------------------------------------------------------- */

static struct subject *
find_subject(const struct acc_rules *x, const char *name)
{
    const uint64_t h = fnv_adds(FNV_START, name);
    uint32_t i = x->n_names ? x->names[slot_of(h, x->n_names)] : NONE;

    while (i != NONE &&
           (x->subjects[i].seed != h || strcmp(x->subjects[i].name, name) != 0))
        i = x->subjects[i].next;
    return i == NONE ? NULL : &x->subjects[i];
}

static void
rehash_subjects(struct acc_rules *x, uint32_t n)
{
    free(x->names);
    x->names = xreallocarray(NULL, n, sizeof(*x->names));
    x->n_names = n;
    memset(x->names, 0xff, n * sizeof(*x->names));
    for (uint32_t i = 0; i < x->n_subjects; i++) {
        uint32_t *slot = &x->names[slot_of(x->subjects[i].seed, n)];

        x->subjects[i].next = *slot;
        *slot = i;
    }
}

static uint32_t
take_subject(struct acc_rules *x, const char *name)
{
    const struct subject *known = find_subject(x, name);

    if (known)
        return (uint32_t)(known - x->subjects);
    if (x->n_subjects == x->subjects_room) {
        x->subjects_room = x->subjects_room ? 2 * x->subjects_room : 16;
        x->subjects =
            xreallocarray(x->subjects, x->subjects_room, sizeof(*x->subjects));
        rehash_subjects(x, 2 * x->subjects_room);
    }
    const uint64_t seed = fnv_adds(FNV_START, name);
    uint32_t *slot = &x->names[slot_of(seed, x->n_names)];

    x->subjects[x->n_subjects] =
        (struct subject){ .name = xstrdup(name), .seed = seed };
    x->subjects[x->n_subjects].next = *slot;
    *slot = x->n_subjects;
    return x->n_subjects++;
}

/* ---- adding ---------------------------------------------------------------------- */

struct acc_rules *
acc_rules_new(void)
{
    return xcalloc(1, sizeof(struct acc_rules));
}

void
acc_rules_free(struct acc_rules *x)
{
    for (uint32_t i = 0; x && i < x->n; i++)
        free(x->v[i].text);
    for (uint32_t i = 0; x && i < x->n_subjects; i++) {
        free(x->subjects[i].name);
        free(x->subjects[i].roles);
        free(x->subjects[i].rules.v);
    }
    if (x) {
        free(x->v);
        free(x->buckets);
        free(x->subjects);
        free(x->names);
    }
    free(x);
}

int
acc_rules_count(const struct acc_rules *x)
{
    return (int)x->n;
}

static void
file_rule(struct acc_rules *x, uint32_t i)
{
    uint32_t *bucket = &x->buckets[slot_of(x->v[i].hash, x->n_buckets)];

    x->v[i].next = *bucket;
    *bucket = i;
}

static void
make_room(struct acc_rules *x)
{
    if (x->n < x->room)
        return;
    x->room = x->room ? 2 * x->room : 64;
    x->v = xreallocarray(x->v, x->room, sizeof(*x->v));
    x->n_buckets = 2 * x->room;
    x->buckets = xreallocarray(x->buckets, x->n_buckets, sizeof(*x->buckets));
    memset(x->buckets, 0xff, x->n_buckets * sizeof(*x->buckets));
    for (uint32_t i = 0; i < x->n; i++)
        if (x->v[i].effect != ACC_ROLE)
            file_rule(x, i);
}

/* The hash it is filed under (of every model's alias, "*@": a text that every question
 * on an alias asks for, for there may be many such rules); *length: of a pattern's
 * beginning, else NONE. A text's own form has no "model:", no backslashes. */
static uint64_t
rule_hash(uint64_t seed, const struct acc_pattern *on, const char *text,
          uint32_t *length)
{
    const bool is_model = on->kind == ACC_MODEL && !on->all;
    const char *p = is_model ? on->model.p : text;
    uint64_t h = seed;
    uint32_t n = 0;

    if (on->kind == ACC_ALIAS && str_is(on->model, "*")) {
        h = fnv_byte(h, *p++);
        n++;
    }

    for (; *p && *p != '*'; p++, n++) {
        p += *p == '\\' && p[1];
        h = fnv_byte(h, *p);
    }
    *length = *p ? n : NONE;
    return *p ? h : h ^ EXACT;
}

static void
add_role(struct acc_rules *x, uint32_t subject, const char *role, uint32_t rule)
{
    const uint32_t r = take_subject(x, role); /* which may move the others */
    struct subject *s = &x->subjects[subject];

    s->roles = xreallocarray(s->roles, (size_t)s->n_roles + 1, sizeof(*s->roles));
    s->roles[s->n_roles++] = (struct membership){ r, rule };
}

int
acc_rules_add(struct acc_rules *x, const struct acc_rule *rule, struct err *err)
{
    struct rule r = { .id = rule->id,
                      .from_ns = rule->from_ns,
                      .until_ns = rule->until_ns,
                      .effect = rule->effect };
    const size_t n_what = strlen(rule->what) + 1;
    char *text AUTO(free_ptr) = xmalloc(n_what + strlen(rule->object) + 1);
    const char *object = text + n_what;
    uint32_t length = NONE;

    memcpy(text, rule->what, n_what);
    memcpy(text + n_what, rule->object, strlen(rule->object) + 1);
    if (rule->effect == ACC_ROLE) {
        if (!acc_is_role(object) || acc_is_role(rule->subject))
            return err_set(err, ERR_INVALID, "'%s' is no role for %s", object,
                           rule->subject);
    } else {
        if (acc_what_parse(text, &r.right, &r.verb, err) < 0)
            return -(int)err->code;
        if (!acc_pattern_parse(&r.on, (struct str){ object, strlen(object) }))
            return err_set(err, ERR_INVALID, "'%s' is nothing a rule can be on",
                           object);
    }
    make_room(x);
    r.subject = take_subject(x, rule->subject);
    struct subject *s = &x->subjects[r.subject];

    if (rule->effect == ACC_ROLE) {
        add_role(x, r.subject, object, x->n);
    } else {
        r.hash = rule_hash(s->seed, &r.on, object, &length);
        if (length != NONE)
            s->lengths[length / 64] |= UINT64_C(1) << length % 64;
        s->rules.v =
            xreallocarray(s->rules.v, (size_t)s->rules.n + 1, sizeof(*s->rules.v));
        s->rules.v[s->rules.n++] = x->n;
    }
    r.text = text;
    text = NULL;
    x->v[x->n] = r;
    if (r.effect != ACC_ROLE)
        file_rule(x, x->n);
    x->n++;
    return 0;
}

/* ---- deciding -------------------------------------------------------------------- */

static bool
holds_now(const struct rule *r, int64_t now_ns)
{
    return r->from_ns <= now_ns && now_ns < r->until_ns;
}

/* Any right that is given includes reading. */
static bool
gives(const struct rule *r, const struct acc_question *q)
{
    if (r->right == ACC_NONE)
        return q->verb && strcmp(r->verb, q->verb) == 0;
    return r->right == q->right || (q->right == ACC_READ && r->effect == ACC_ALLOW);
}

static bool
covers(const struct acc_pattern *p, const struct acc_object *o)
{
    if (p->all)
        return true;
    if (p->kind == ACC_MODEL)
        return o->model && (o->kind != ACC_ALIAS || strcmp(o->model, "*") != 0) &&
               acc_fits(p->model, str_of(o->model));
    if (p->kind != o->kind)
        return false;
    if (p->kind == ACC_STORE)
        return true;
    if (o->kind == ACC_ALIAS && strcmp(o->model, "*") == 0 && !str_is(p->model, "*"))
        return false; /* every model's, which a pattern of some does not cover */
    return (!p->model.n || acc_fits(p->model, str_of(o->model))) &&
           acc_fits(p->name, str_of(o->name));
}

/* What has been found so far. */
struct finding {
    const struct acc_rules *x;
    const struct acc_question *q;
    int64_t role; /* through which the actor at hand comes */
    struct acc_answer deny, allow;
};

static void
look_at(struct finding *f, uint32_t subject, uint64_t hash)
{
    const struct acc_rules *x = f->x;

    for (uint32_t i = x->buckets[slot_of(hash, x->n_buckets)]; i != NONE;
         i = x->v[i].next) {
        const struct rule *r = &x->v[i];
        struct acc_answer *best = r->effect == ACC_DENY ? &f->deny : &f->allow;

        if (r->hash != hash || r->subject != subject ||
            (best->rule && best->rule <= r->id) || !holds_now(r, f->q->now_ns) ||
            !gives(r, f->q) || !covers(&r->on, &f->q->on))
            continue;
        best->rule = r->id;
        best->role = f->role;
    }
}

static void
look_for(struct finding *f, uint32_t subject, const char *text)
{
    const struct subject *s = &f->x->subjects[subject];
    uint64_t h = s->seed;
    size_t n = 0;

    for (;; n++) {
        if (n < LENGTHS && (s->lengths[n / 64] >> n % 64 & 1))
            look_at(f, subject, h);
        if (!text[n])
            break;
        h = fnv_byte(h, text[n]);
    }
    look_at(f, subject, h ^ EXACT);
}

/* The texts that rules which cover `o` may have, without backslashes. */
static int
covering(const struct acc_object *o, struct buf *room, const char *out[MAX_COVERS])
{
    static const char *const words[] = {
        [ACC_STORE] = "store",    [ACC_TARGET] = "target:", [ACC_GOLDEN] = "golden:",
        [ACC_POLICY] = "policy:", [ACC_HOOK] = "hook:",     [ACC_KEY] = "key:",
        [ACC_HOST] = "host:"
    };
    int n = 0;

    if (o->kind == ACC_ALIAS || o->kind == ACC_GOLDEN) {
        buf_adds(room, o->kind == ACC_GOLDEN ? words[o->kind] : "");
        buf_adds(room, o->model);
        buf_addc(room, o->kind == ACC_GOLDEN ? '/' : '@');
        buf_adds(room, o->name);
    } else if (o->kind != ACC_MODEL) {
        buf_adds(room, words[o->kind]);
        buf_adds(room, o->name ? o->name : "");
    }
    if (o->kind == ACC_ALIAS) {
        buf_addf(room, "%c*@%s", '\0', o->name);
        out[n++] = room->data + strlen(room->data) + 1;
    }
    if (room->len)
        out[n++] = buf_str(room);
    if (o->model)
        out[n++] = o->model;
    return n;
}

void
acc_decide(const struct acc_rules *x, const struct acc_question *q,
           struct acc_answer *out)
{
    struct finding f = { .x = x, .q = q };
    const struct subject *s = find_subject(x, q->subject);
    struct buf room AUTO(buf_release) = BUF_INIT;
    const char *texts[MAX_COVERS];
    const int n = s ? covering(&q->on, &room, texts) : 0;

    *out = (struct acc_answer){ .allowed = false };
    if (!s)
        return;
    for (int t = 0; t < n; t++)
        look_for(&f, (uint32_t)(s - x->subjects), texts[t]);
    for (int i = 0; i < s->n_roles; i++) {
        const struct rule *by = &x->v[s->roles[i].rule];

        f.role = by->id;
        for (int t = 0; t < n && holds_now(by, q->now_ns); t++)
            look_for(&f, s->roles[i].role, texts[t]);
    }
    *out = f.deny.rule ? f.deny : f.allow;
    out->allowed = !f.deny.rule && f.allow.rule;
}

static bool
gives_any(const struct acc_rules *x, const struct subject *s,
          const struct acc_question *q)
{
    for (int i = 0; i < s->rules.n; i++) {
        const struct rule *r = &x->v[s->rules.v[i]];

        if (r->effect == ACC_ALLOW && holds_now(r, q->now_ns) && gives(r, q))
            return true;
    }
    return false;
}

bool
acc_decide_any(const struct acc_rules *x, const struct acc_question *q)
{
    const struct subject *s = find_subject(x, q->subject);
    bool any = s && gives_any(x, s, q);

    for (int i = 0; s && !any && i < s->n_roles; i++)
        any = holds_now(&x->v[s->roles[i].rule], q->now_ns) &&
              gives_any(x, &x->subjects[s->roles[i].role], q);
    return any;
}
