/* SPDX-License-Identifier: Apache-2.0 */
/* A report becomes a verdict's document: bound to what was judged, by what, where and
 * by whom; and the signed statement about it. */
#include "validate/val_export_int.h"

#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__x86_64__) && __has_include(<sys/platform/x86.h>)
#include <sys/platform/x86.h>
#endif

#define PAYLOAD_TYPE "application/vnd.in-toto+json"
#define STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define PREDICATE_TYPE "urn:sluice:verdict:v1"

/* The object `key` of `o`, made when it is not there. */
static cJSON *
object_in(cJSON *o, const char *key)
{
    cJSON *in = cJSON_GetObjectItemCaseSensitive(o, key);

    return in ? in : cJSON_AddObjectToObject(o, key);
}

cJSON *
val_times(cJSON *report, const char *key_or_null)
{
    cJSON *times = object_in(report, "times");

    return key_or_null ? object_in(times, key_or_null) : times;
}

/* ---- checks --------------------------------------------------------------------- */

void
val_check_add(cJSON *report, const char *id, const char *wanted, const char *saw,
              bool ok)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(report, "checks");
    cJSON *o = cJSON_CreateObject();

    json_put_str(o, "id", id);
    json_put_str(o, "wanted", wanted);
    json_put_str(o, "saw", saw);
    json_put_bool(o, "ok", ok);
    cJSON_AddItemToArray(list ? list : cJSON_AddArrayToObject(report, "checks"), o);
}

static void
check_case(cJSON *report, const cJSON *c)
{
    const cJSON *outputs = cJSON_GetObjectItemCaseSensitive(c, "outputs"), *o;
    const char *name = val_text(c, "name"), *why = val_text(c, "why");

    if (!outputs || !outputs->child) {
        char *id AUTO(free_ptr) = xasprintf("case %s", name);

        val_check_add(report, id, "an answer", why[0] ? why : "an answer",
                      strcmp(val_text(c, "verdict"), "passed") == 0);
    }
    cJSON_ArrayForEach(o, outputs)
    {
        char *id AUTO(free_ptr) = xasprintf("case %s: %s", name, val_text(o, "name"));
        char *saw AUTO(free_ptr) =
            val_export_ok(o)
                ? xasprintf("error %.3g of its tolerance", val_number(o, "worst"))
                : xstrdup(val_text(o, "why"));

        val_check_add(report, id, "the expected answer", saw, val_export_ok(o));
    }
}

static void
check_metric(cJSON *report, const cJSON *m)
{
    struct buf wanted AUTO(buf_release) = BUF_INIT, saw AUTO(buf_release) = BUF_INIT;
    static const struct {
        const char *key, *before;
    } limits[] = { { "min", "≥ " },
                   { "max", "≤ " },
                   { "max_drop", "worse by ≤ " },
                   { "max_drop_relative", "worse by a share ≤ " } };
    char *id AUTO(free_ptr) = xasprintf("metric %s", val_text(m, "title"));

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (!isnan(val_number(m, limits[i].key)))
            buf_addf(&wanted, "%s%s%g", wanted.len ? ", " : "", limits[i].before,
                     val_number(m, limits[i].key));
    if (!isnan(val_number(m, "value")))
        val_add_number(&saw, val_number(m, "value"), val_number(m, "min"));
    else
        buf_adds(&saw, val_text(m, "why"));
    val_check_add(report, id, wanted.len ? buf_str(&wanted) : "a value", buf_str(&saw),
                  val_export_ok(m));
}

/* In front of those that budgets and baselines have added. */
static void
derive_checks(cJSON *report)
{
    const char *bad = json_has(report, "error") ? val_text(report, "error")
                                                : val_text(report, "unsupported");
    const cJSON *o;
    cJSON *later = cJSON_DetachItemFromObjectCaseSensitive(report, "checks"), *one;
    const bool loaded =
        json_has(cJSON_GetObjectItemCaseSensitive(report, "times"), "load_ms");

    val_check_add(report, "load", "a model that loads", loaded ? "it loads" : bad,
                  loaded);
    cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(report, "cases"))
        check_case(report, o);
    cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(report, "metrics"))
        check_metric(report, o);
    while ((one = cJSON_DetachItemFromArray(later, 0)))
        cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(report, "checks"), one);
    cJSON_Delete(later);
}

/* ---- the document --------------------------------------------------------------- */

/* The class of the machine, not its name: what may change times and last digits. */
static void
put_host(cJSON *report)
{
    struct utsname u;
    cJSON *host = object_in(report, "host");
    const double bytes =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);

    json_put_str(host, "machine", uname(&u) == 0 ? u.machine : "unknown");
#ifdef CPU_FEATURE_ACTIVE /* a compiler's own question is asked at each start */
    json_put_str(host, "isa",
                 CPU_FEATURE_ACTIVE(AVX512F) ? "avx512"
                 : CPU_FEATURE_ACTIVE(AVX2)  ? "avx2"
                                             : "sse2");
#endif
    json_put_int(host, "processors", (int64_t)sysconf(_SC_NPROCESSORS_ONLN));
    json_put_int(host, "memory_gb", (int64_t)ceil(bytes / 1e9));
}

void
val_put_limits(cJSON *report, const struct backend_args *l)
{
    cJSON *o = object_in(report, "limits");

    json_put_int(
        o, "memory_bytes",
        (int64_t)(l->max_memory_bytes ? l->max_memory_bytes : BACKEND_MEMORY_BYTES));
    json_put_int(
        o, "output_bytes",
        (int64_t)(l->max_output_bytes ? l->max_output_bytes : BACKEND_OUTPUT_BYTES));
    json_put_int(o, "wall_ms", l->max_wall_ms ? l->max_wall_ms : BACKEND_WALL_MS);
}

static void
put_digest(cJSON *o, const struct digest *d)
{
    char text[REPO_DIGEST_BYTES];

    repo_digest_text(d, text);
    json_put_str(o, "digest", text);
}

void
val_put_version(cJSON *o, const struct repo_version *v)
{
    json_put_int(o, "number", v->number);
    put_digest(o, &v->digest);
}

void
val_document(cJSON *report, enum val_outcome outcome, const struct repo_version *v,
             const struct val_set *s, const char *actor, int64_t time_ns)
{
    char made[CLOCK_TEXT_BYTES];
    cJSON *o;

    derive_checks(report);
    json_put_int(report, "verdict", 1);
    json_put_str(report, "outcome", val_outcome_text(outcome));
    if (actor)
        json_put_str(report, "by", actor);
    if (v) {
        o = object_in(report, "subject");
        json_put_str(o, "model", v->model);
        val_put_version(o, v);
    }
    if (s) {
        o = object_in(report, "set");
        json_put_str(o, "name", s->name);
        json_put_str(o, "kind", s->acceptance ? "acceptance" : "export");
        put_digest(o, &s->digest);
    }
    put_host(report);
    json_put_str(val_times(report, NULL), "made", clock_text(time_ns, made));
}

/* ---- the statement -------------------------------------------------------------- */

void
val_statement(const struct val_verdict *v, struct buf *out)
{
    cJSON *doc AUTO(json_free) = cJSON_Parse(v->report_json);
    const cJSON *subject = cJSON_GetObjectItemCaseSensitive(doc, "subject");
    struct buf name AUTO(buf_release) = BUF_INIT;
    char hex[DIGEST_HEX_BYTES];

    buf_addf(&name, "%s@%.0f", val_text(subject, "model"),
             val_number(subject, "number"));
    digest_hex(&v->version_digest, hex);
    buf_addf(out,
             "{\"_type\":\"" STATEMENT_TYPE "\",\"predicate\":%s,\"predicateType\":"
             "\"" PREDICATE_TYPE "\",\"subject\":[{\"digest\":{\"sha256\":\"%s\"},"
             "\"name\":",
             v->report_json, hex);
    json_add_quoted(out, str_of(buf_str(&name)));
    buf_adds(out, "}]}");
}

void
val_statement_pae(const struct val_verdict *v, struct buf *out)
{
    struct buf body AUTO(buf_release) = BUF_INIT;

    val_statement(v, &body);
    buf_addf(out, "DSSEv1 %zu " PAYLOAD_TYPE " %zu ", sizeof(PAYLOAD_TYPE) - 1,
             body.len);
    buf_add(out, body.data, body.len);
}

int
val_envelope(struct repo *r, const struct val_verdict *v, struct buf *out,
             struct err *err)
{
    struct buf body AUTO(buf_release) = BUF_INIT, pae AUTO(buf_release) = BUF_INIT;
    char hex[DIGEST_HEX_BYTES];
    struct digest id;
    int e;

    if (!v->is_signed)
        return err_set(err, ERR_NOTFOUND,
                       "verdict %lld was made before verdicts were signed: sluice "
                       "validate makes a new one",
                       (long long)v->id);
    val_statement_pae(v, &pae);
    e = acc_signed(r->acc, pae.data, pae.len, v->signature, &id, err);
    if (e < 0 || (e == 0 && acc_key_id(r->acc, &id, err) < 0))
        return -(int)err->code;
    digest_hex(&id, hex);
    val_statement(v, &body);
    buf_adds(out, "{\"payload\":\"");
    base64_add(out, body.data, body.len);
    buf_addf(out,
             "\",\"payloadType\":\"" PAYLOAD_TYPE
             "\",\"signatures\":[{\"keyid\":\"%s\",\"sig\":\"",
             hex);
    base64_add(out, v->signature, sizeof(v->signature));
    buf_adds(out, "\"}]}\n");
    return 0;
}

/* ---- what differs --------------------------------------------------------------- */

static int
tell(cJSON *list, const char *where, const cJSON *was, const cJSON *is)
{
    struct buf a AUTO(buf_release) = BUF_INIT, b AUTO(buf_release) = BUF_INIT;
    cJSON *o = cJSON_CreateObject();

    if (was)
        json_canonical(was, &a);
    if (is)
        json_canonical(is, &b);
    json_put_str(o, "where", where);
    json_put_str(o, "was", was ? buf_str(&a) : NULL);
    json_put_str(o, "is", is ? buf_str(&b) : NULL);
    cJSON_AddItemToArray(list, o);
    return 1;
}

/* Both trees at once; `where` names the place, as in cases[2].worst. */
static int
walk(cJSON *list, const char *where, const cJSON *was, const cJSON *is)
{
    const cJSON *m;
    int n = 0;

    if (cJSON_IsObject(was) && cJSON_IsObject(is)) {
        cJSON_ArrayForEach(m, was)
        {
            char *at AUTO(free_ptr) =
                xasprintf("%s%s%s", where, where[0] ? "." : "", m->string);

            if (strcmp(at, "times") != 0)
                n += walk(list, at, m, cJSON_GetObjectItemCaseSensitive(is, m->string));
        }
        cJSON_ArrayForEach(m, is) if (!json_has(was, m->string))
        {
            char *at AUTO(free_ptr) =
                xasprintf("%s%s%s", where, where[0] ? "." : "", m->string);

            n += tell(list, at, NULL, m);
        }
        return n;
    }
    if (cJSON_IsArray(was) && cJSON_IsArray(is)) {
        const cJSON *a = was->child, *b = is->child;

        for (int i = 0; a || b; i++) {
            char *at AUTO(free_ptr) = xasprintf("%s[%d]", where, i);

            n += walk(list, at, a, b);
            a = a ? a->next : NULL;
            b = b ? b->next : NULL;
        }
        return n;
    }
    return was && is && cJSON_Compare(was, is, true) ? 0 : tell(list, where, was, is);
}

int
val_document_diff(const cJSON *was, const cJSON *is, cJSON *list)
{
    return walk(list, "", was, is);
}
