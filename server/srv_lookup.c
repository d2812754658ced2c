/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of resolve, kept in memory while they hold. */
#include "server/srv_lookup.h"

#include "base/clock.h"
#include "base/fnv.h"
#include "server/server_int.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SLOTS 4096

/* What one subject gets for one reference; its key lies behind it. */
struct answer {
    struct answer *next;
    uint64_t hash;
    struct svc_look about;
    char *json;
    size_t n_json;
    size_t n_key;
    char key[];
};

struct srv_lookup {
    char *store;
    struct srv_reads *reads;
    pthread_mutex_t lock; /* over all that follows */
    struct svc *svc;
    struct repo *repo;
    struct stat file; /* the catalogue that is open */
    int64_t version;  /* of its content that the answers are from */
    int64_t until_ns; /* then a right begins or ends by its time */
    struct answer *slot[SLOTS];
    int64_t n_kept, n_hits, n_misses;
};

/* ---- answers kept ---- */

static void
forget_all(struct srv_lookup *l)
{
    for (int i = 0; l->n_kept > 0 && i < SLOTS; i++) {
        for (struct answer *a = l->slot[i], *next; a; a = next) {
            next = a->next;
            free(a->json);
            free(a);
        }
        l->slot[i] = NULL;
    }
    l->n_kept = 0;
}

/* NULL: not kept. */
static const struct answer *
find(const struct srv_lookup *l, const struct buf *key, uint64_t hash)
{
    const struct answer *a = l->slot[hash % SLOTS];

    while (a && (a->hash != hash || a->n_key != key->len ||
                 memcmp(a->key, key->data, key->len) != 0))
        a = a->next;
    return a;
}

static void
keep(struct srv_lookup *l, const struct buf *key, uint64_t hash, const struct buf *json,
     size_t from, const struct svc_look *about)
{
    struct answer *a;

    if (l->n_kept >= SRV_LOOKUPS_MAX)
        forget_all(l);
    a = xmalloc(sizeof(*a) + key->len);
    *a = (struct answer){ .next = l->slot[hash % SLOTS],
                          .hash = hash,
                          .about = *about,
                          .json = xstrndup(json->data + from, json->len - from),
                          .n_json = json->len - from,
                          .n_key = key->len };
    memcpy(a->key, key->data, key->len);
    l->slot[hash % SLOTS] = a;
    l->n_kept++;
}

/* ---- the store ---- */

static void
store_close(struct srv_lookup *l)
{
    forget_all(l);
    svc_close(l->svc);
    l->svc = NULL;
    l->repo = NULL;
}

/* Opens the store, or another catalogue that has taken the place of the one that is
 * open; forgets what does not hold any more. */
static int
store_ready(struct srv_lookup *l, struct err *err)
{
    struct stat now;
    int64_t version;

    if (l->repo && (stat(l->repo->db_path, &now) < 0 || now.st_ino != l->file.st_ino ||
                    now.st_dev != l->file.st_dev))
        store_close(l);
    if (!l->repo) {
        if (svc_open(&l->svc, l->store, err) < 0 ||
            svc_store(l->svc, &l->repo, err) < 0) {
            store_close(l);
            return -(int)err->code;
        }
        if (stat(l->repo->db_path, &l->file) < 0)
            l->file = (struct stat){ .st_ino = 0 };
        l->version = -1;
    }
    if (db_version(l->repo->db, &version, err) < 0) {
        store_close(l);
        return -(int)err->code;
    }
    if (version != l->version || clock_now_ns() >= l->until_ns) {
        forget_all(l);
        l->version = version;
        if (acc_stays_until(l->repo->acc, &l->until_ns, err) < 0) {
            store_close(l);
            return -(int)err->code;
        }
    }
    return 0;
}

/* ---- a look-up ---- */

static int
print(const cJSON *reply, struct buf *out)
{
    json_print(reply, out, true);
    return 0;
}

/* On a file system where nothing can be recorded the verb decides, and says so. */
static int
look_read_only(struct srv_lookup *l, const char *ref, struct buf *out, struct err *err)
{
    cJSON *request AUTO(json_free) = cJSON_CreateObject(),
                   *reply AUTO(json_free) = NULL;
    int e;

    json_put_str(request, "ref", ref);
    e = svc_call(l->svc, "resolve", request, &reply, err);
    return e < 0 ? e : print(reply, out);
}

static int
look(struct srv_lookup *l, const struct acc_who *who, const char *ref, struct buf *out,
     struct svc_look *about, bool *is_recorded, struct err *err)
{
    struct buf key AUTO(buf_release) = BUF_INIT;
    cJSON *reply AUTO(json_free) = NULL;
    const struct answer *known;
    struct err ignored = ERR_INIT;
    uint64_t hash;
    size_t from;
    int e = store_ready(l, err);

    if (e < 0)
        return e;
    buf_add(&key, who->subject, strlen(who->subject) + 1);
    buf_add(&key, who->scope ? who->scope : "",
            who->scope ? strlen(who->scope) + 1 : 1);
    buf_adds(&key, ref);
    hash = fnv_add(FNV_START, key.data, key.len);
    known = find(l, &key, hash);
    if (known) {
        l->n_hits++;
        buf_add(out, known->json, known->n_json);
        *about = known->about;
        return 0;
    }
    l->n_misses++;
    e = svc_act_as(l->svc, who, err);
    if (e == 0 && l->repo->is_read_only) {
        *is_recorded = false;
        e = look_read_only(l, ref, out, err);
    } else if (e == 0 && (e = svc_look_up(l->svc, ref, &reply, about, err)) == 0) {
        from = out->len;
        e = print(reply, out);
        keep(l, &key, hash, out, from, about);
    }
    if (svc_act_as(l->svc, NULL, &ignored) < 0)
        err_clear(&ignored);
    return e;
}

/* {…} with one member more. */
static void
add_note(struct buf *json, const char *why)
{
    char *note AUTO(free_ptr) = xasprintf("this read may not be in the log: %s", why);

    while (json->len > 0 && json->data[json->len - 1] != '}')
        json->data[--json->len] = '\0';
    if (json->len > 0)
        json->data[--json->len] = '\0';
    buf_adds(json, ",\"log_note\":");
    json_add_quoted(json, str_of(note));
    buf_addc(json, '}');
}

int
srv_lookup(struct srv_lookup *l, const struct acc_who *who, const char *ref,
           struct buf *out, struct svc_look *about, struct err *err)
{
    struct buf why AUTO(buf_release) = BUF_INIT;
    struct err second = ERR_INIT;
    bool is_recorded = true;
    int e, r = 0;

    *about = (struct svc_look){ .object = "" };
    pthread_mutex_lock(&l->lock);
    e = look(l, who, ref, out, about, &is_recorded, err);
    pthread_mutex_unlock(&l->lock);
    if (is_recorded && err->code != ERR_USAGE)
        r = srv_reads_add(l->reads, who, about, e < 0 ? err : NULL, &why, &second);
    if (r < 0 && e < 0)
        return err_ctx(err, "(and the log: %s)", second.msg);
    if (r < 0) {
        buf_clear(out);
        return err_set(err, second.code, "%s", second.msg);
    }
    if (r == 1 && e == 0)
        add_note(out, buf_str(&why));
    return e;
}

int
srv_lookup_open(struct srv_lookup **out, const char *store, struct err *err)
{
    struct srv_lookup *l = xcalloc(1, sizeof(*l));
    int e = srv_reads_open(&l->reads, store, SRV_READS_MS, err);

    *out = NULL;
    if (e < 0) {
        free(l);
        return e;
    }
    l->store = store ? xstrdup(store) : NULL;
    pthread_mutex_init(&l->lock, NULL);
    *out = l;
    return 0;
}

int
srv_lookup_flush(struct srv_lookup *l, struct err *err)
{
    return srv_reads_flush(l->reads, err);
}

int
srv_lookup_close(struct srv_lookup *l, struct err *err)
{
    int e;

    if (!l)
        return 0;
    e = srv_reads_close(l->reads, err);
    store_close(l);
    pthread_mutex_destroy(&l->lock);
    free(l->store);
    free(l);
    return e;
}

void
srv_lookup_stats(struct srv_lookup *l, struct srv_lookup_stats *out)
{
    pthread_mutex_lock(&l->lock);
    *out = (struct srv_lookup_stats){ .n_kept = l->n_kept,
                                      .n_hits = l->n_hits,
                                      .n_misses = l->n_misses };
    pthread_mutex_unlock(&l->lock);
    srv_reads_stats(l->reads, &out->reads);
}

/* ---- GET /api/v1/resolve ---- */

static int
the_ref(const struct srv_req *q, const char **out, struct err *err)
{
    const char *key, *value;
    int n = 0;

    for (int i = 0; srv_query_at(q, i, &key, &value); i++) {
        if (strcmp(key, "ref") != 0)
            return err_set(err, ERR_USAGE, "resolve takes no %s", key);
        *out = value;
        n++;
    }
    return n == 1 ? 0
                  : err_set(err, ERR_USAGE,
                            "resolve needs one ref: ?ref=fraud@3 or "
                            "?ref=fraud@production");
}

int
srv_do_resolve(struct srv_req *q, struct err *err)
{
    const struct acc_who who = { q->who.subject, q->who.via, q->who.scope, q->trace };
    struct buf json AUTO(buf_release) = BUF_INIT;
    char tag[REPO_DIGEST_BYTES + 2];
    struct svc_look about;
    const char *ref = NULL;
    int e;

    q->verb = "resolve";
    if (the_ref(q, &ref, err) < 0)
        return -(int)err->code;
    e = srv_lookup(q->srv->lookup, &who, ref, &json, &about, err);
    memcpy(q->object, about.object, sizeof(about.object));
    q->number = about.number;
    if (e < 0)
        return e;
    snprintf(tag, sizeof(tag), "\"%s\"", about.digest);
    if (srv_reply_known(q, about.digest[0] ? tag : NULL, "private, no-cache"))
        return 0;
    return srv_reply_text(q, 200, "application/json",
                          (struct str){ json.data, json.len });
}
