/* SPDX-License-Identifier: Apache-2.0 */
/* Reads golden.json and the arrays beside it. The format is in docs/formats.md.
 *
 * A tolerance is an object of kinds with their limits, all of which must hold, and
 * "outputs" with such an object for single outputs, which then counts alone:
 *   {"rel_max": 1e-5, "abs": 1e-3, "outputs": {"digit": {"exact": true}}} */
#include "validate/record.h"
#include "validate/val_int.h"

#include "base/fs.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_MAX_BYTES ((size_t)64 << 20)
#define ARRAYS_MAX_BYTES ((size_t)4 << 30) /* of all array files of a set */
#define CASES_MAX VAL_RECORD_CASES_MAX
#define METRICS_MAX 100
#define KEYS_MAX 1024      /* of one array list */
#define NAME_MAX_BYTES 200 /* of a case: outputs are written as NAME.npz */
#define TOP_K_MAX 1000
#define RECORDED_MAX_BYTES (REPO_NAME_BYTES + 24) /* "fraud@3" */

struct loader {
    struct val_golden *g;
    int dirfd;
    size_t n_bytes; /* of array files so far */
};

/* ---- members -------------------------------------------------------------------- */

/* json_str for a document of val_json_parse: a long number is no string. */
static int
get_str(const cJSON *obj, const char *key, const char *fallback, const char **out,
        const char *what, struct err *err)
{
    int r = json_str(obj, key, fallback, out, what, err);

    if (r == 0 && (*out)[0] == VAL_NUMBER_MARK)
        return err_set(err, ERR_INVALID,
                       "%s: \"%s\" is something else, wanted a string", what, key);
    return r;
}

/* ---- array files ---------------------------------------------------------------- */

/* The directory that holds `path` and its last part. Never leaves the set: no "..", no
 * absolute path, no symlink on the way. */
static int
walk_to(int dirfd, const char *path, int *out_fd, const char **last, struct err *err)
{
    int at = dirfd, r = 0;

    *out_fd = -1;
    for (const char *slash; r == 0 && (slash = strchr(path, '/')); path = slash + 1) {
        char *part AUTO(free_ptr) = xstrndup(path, (size_t)(slash - path));
        int next = -1;

        if (part[0] == '\0' || strcmp(part, "..") == 0)
            return err_set(err, ERR_INVALID, "leads out of the golden set");
        r = fs_open(&next, at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
        fs_close(out_fd);
        *out_fd = at = next;
    }
    if (r == 0 && (path[0] == '\0' || strcmp(path, "..") == 0))
        return err_set(err, ERR_INVALID, "leads out of the golden set");
    *last = path;
    return r;
}

static int
read_file(struct loader *ld, const char *path, struct str *out, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    const char *last = "";
    struct val_golden *g = ld->g;
    struct buf *b;
    struct stat st;
    int r = walk_to(ld->dirfd, path, &fd, &last, err);

    if (r < 0)
        return r;
    if (fstatat(fd >= 0 ? fd : ld->dirfd, last, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT
                   ? err_set(err, ERR_INVALID, "there is no such file in the set")
                   : err_sys(err, errno, "stat %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "is no regular file (links are not followed)");
    g->files = xreallocarray(g->files, (size_t)g->n_files + 1, sizeof(*g->files));
    b = &g->files[g->n_files++];
    *b = (struct buf){ .cap_bytes = ARRAYS_MAX_BYTES - ld->n_bytes };
    r = fs_read(fd >= 0 ? fd : ld->dirfd, last, b, err);
    if (r == 0)
        r = buf_check(b, "arrays of the set", err);
    ld->n_bytes += b->len;
    *out = (struct str){ buf_str(b), b->len };
    return r;
}

static bool
ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), n_end = strlen(end);

    return n >= n_end && strcmp(s + n - n_end, end) == 0;
}

static int
load_file(struct loader *ld, const char *path, struct sm_tensor_list *out,
          struct err *err)
{
    const bool is_npz = ends_with(path, ".npz");
    struct sm_tensor t;
    struct str bytes;
    int r;

    if (!is_npz && !ends_with(path, ".npy"))
        return err_set(err, ERR_INVALID,
                       "\"%s\": wanted an .npz or .npy file, or inline values", path);
    r = read_file(ld, path, &bytes, err);
    if (r < 0)
        return err_ctx(err, "%s", path);
    if (is_npz)
        return sm_npz_read(bytes, path, out, err);
    r = sm_npy_read(bytes, path, &t, err);
    if (r == 0)
        sm_tensor_list_add(out, "", &t);
    return r;
}

/* ---- inline arrays -------------------------------------------------------------- */

static int
add_inline(const char *name, const cJSON *j, struct sm_tensor_list *out,
           struct err *err)
{
    struct sm_tensor t;

    if (val_inline(j, &t, err) < 0)
        return err_ctx(err, "%s", name[0] ? name : "value");
    sm_tensor_list_add(out, name, &t);
    return 0;
}

static int
check_keys(const struct sm_tensor_list *l, struct err *err)
{
    if (l->n > KEYS_MAX)
        return err_set(err, ERR_LIMIT, "%d arrays, at most %d", l->n, KEYS_MAX);
    for (int i = 0; i < l->n; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(l->v[i].name, l->v[k].name) == 0)
                return err_set(err, ERR_INVALID, "'%s' is given twice", l->v[i].name);
    return 0;
}

/* "inputs", "expected" or "labels" of a case. */
static int
load_arrays(struct loader *ld, const cJSON *c, const char *key,
            struct sm_tensor_list *out, struct err *err)
{
    const cJSON *j = cJSON_GetObjectItemCaseSensitive(c, key);
    int r = 0, n = 0;

    if (!j || cJSON_IsNull(j))
        return 0;
    if (cJSON_IsString(j) && j->valuestring[0] != VAL_NUMBER_MARK)
        r = load_file(ld, j->valuestring, out, err);
    else if (!cJSON_IsObject(j) || val_inline_is_b64(j))
        r = add_inline("", j, out, err);
    else
        for (const cJSON *m = j->child; m && r == 0 && n <= KEYS_MAX; m = m->next, n++)
            r = add_inline(m->string, m, out, err);
    if (r == 0)
        r = check_keys(out, err);
    return r < 0 ? err_ctx(err, "%s", key) : 0;
}

/* Labels have no signature to ask: whole numbers are int64, others float64. */
static int
settle_labels(struct sm_tensor_list *labels, struct err *err)
{
    for (int i = 0; i < labels->n; i++) {
        struct sm_tensor *t = &labels->v[i].t, out;
        const struct val_number *v = t->data;
        int dtype = SM_INT64, r;

        if (t->dtype != VAL_NUMBERS)
            continue;
        for (int64_t k = 0; k < t->n_elems; k++)
            dtype = v[k].kind == VAL_INT ? dtype : SM_DOUBLE;
        r = val_inline_convert(t, dtype, &out, err);
        if (r < 0)
            return err_ctx(err, "labels: %s", labels->v[i].name);
        sm_tensor_release(t);
        *t = out;
    }
    return 0;
}

/* ---- tolerances ----------------------------------------------------------------- */

static int
add_tolerance(struct val_case *c, const char *output, const cJSON *j, struct err *err)
{
    const int kind = val_tol_find(j->string);
    const double v = cJSON_IsNumber(j) ? j->valuedouble : NAN;

    if (kind < 0) {
        struct buf names AUTO(buf_release) = BUF_INIT;

        for (int i = VAL_REL_MAX; i <= VAL_EXACT; i++)
            buf_addf(&names, " %s", val_tol_name((enum val_tol_kind)i));
        return err_set(err, ERR_INVALID, "there is no \"%s\"; the kinds are%s",
                       j->string, buf_str(&names));
    }
    if (kind == VAL_EXACT ? !cJSON_IsTrue(j) : !(v >= 0))
        return err_set(err, ERR_INVALID, "\"%s\": wanted %s", j->string,
                       kind == VAL_EXACT ? "true" : "a number, at least 0");
    if (kind == VAL_TOP_K && !(v >= 1 && v <= TOP_K_MAX && v == floor(v)))
        return err_set(err, ERR_INVALID,
                       "\"top_k\": wanted a whole number from 1 to %d", TOP_K_MAX);
    c->tolerances = xreallocarray(c->tolerances, (size_t)c->n_tolerances + 1,
                                  sizeof(*c->tolerances));
    c->tolerances[c->n_tolerances++] =
        (struct val_tolerance){ .output = output ? xstrdup(output) : NULL,
                                .kind = (enum val_tol_kind)kind,
                                .limit = kind == VAL_EXACT ? 0 : v };
    return 0;
}

int
val_tolerances_load(struct val_case *c, const char *output, const cJSON *obj,
                    struct err *err)
{
    int r = 0;

    if (!cJSON_IsObject(obj))
        return err_set(err, ERR_INVALID,
                       "wanted an object such as {\"rel_max\": 1e-5}");
    for (const cJSON *j = obj->child; j && r == 0; j = j->next) {
        if (output || strcmp(j->string, "outputs") != 0) {
            r = add_tolerance(c, output, j, err);
            continue;
        }
        if (!cJSON_IsObject(j))
            return err_set(err, ERR_INVALID, "\"outputs\": wanted an object");
        for (const cJSON *o = j->child; o && r == 0; o = o->next) {
            r = val_tolerances_load(c, o->string, o, err);
            if (r < 0)
                err_ctx(err, "%s", o->string);
        }
    }
    return r;
}

/* ---- cases ---------------------------------------------------------------------- */

/* Outputs of a case are written as NAME.npz. */
static int
check_name(const struct val_golden *g, const char *name, struct err *err)
{
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') ||
        strlen(name) > NAME_MAX_BYTES)
        return err_set(err, ERR_INVALID,
                       "name: wanted 1 to %d bytes without '/', not beginning with '.'",
                       NAME_MAX_BYTES);
    for (const char *p = name; *p; p++)
        if ((uint8_t)*p < 0x20 || *p == 0x7f)
            return err_set(err, ERR_INVALID, "name: a control character");
    for (int i = 0; i < g->n_cases - 1; i++)
        if (strcmp(g->cases[i].name, name) == 0)
            return err_set(err, ERR_INVALID, "name: two cases are called so");
    return 0;
}

static int
load_case_tags(const cJSON *j, struct val_case *c, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(j, "tags"), *tag;

    if (!list)
        return 0;
    if (!cJSON_IsArray(list))
        return err_set(err, ERR_INVALID, "\"tags\": wanted a list of strings");
    c->tags = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*c->tags));
    cJSON_ArrayForEach(tag, list)
    {
        if (!cJSON_IsString(tag) || tag->valuestring[0] == '\0')
            return err_set(err, ERR_INVALID, "\"tags\": wanted a list of strings");
        c->tags[c->n_tags++] = xstrdup(tag->valuestring);
    }
    return 0;
}

static int
load_case(struct loader *ld, const cJSON *j, struct val_case *c, struct err *err)
{
    const cJSON *tolerance = cJSON_GetObjectItemCaseSensitive(j, "tolerance");
    const char *s = NULL;
    int r = check_name(ld->g, c->name, err);

    if (r == 0)
        r = get_str(j, "signature", "serving_default", &s, "case", err);
    if (r < 0)
        return r;
    c->signature = xstrdup(s);
    if (!json_has(j, "inputs"))
        return err_set(err, ERR_INVALID,
                       "\"inputs\" is missing ({} where none is wanted)");
    r = load_arrays(ld, j, "inputs", &c->inputs, err);
    if (r == 0)
        r = load_arrays(ld, j, "expected", &c->expected, err);
    if (r == 0)
        r = load_arrays(ld, j, "labels", &c->labels, err);
    if (r == 0)
        r = settle_labels(&c->labels, err);
    if (r == 0 && tolerance && val_tolerances_load(c, NULL, tolerance, err) < 0)
        r = err_ctx(err, "tolerance");
    return r < 0 ? r : load_case_tags(j, c, err);
}

static int
load_cases(struct loader *ld, const cJSON *doc, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc, "cases");
    struct val_golden *g = ld->g;

    if (!cJSON_IsArray(list))
        return err_set(err, ERR_INVALID, "\"cases\": wanted a list");
    if (cJSON_GetArraySize(list) > CASES_MAX)
        return err_set(err, ERR_LIMIT, "%d cases, at most %d", cJSON_GetArraySize(list),
                       CASES_MAX);
    g->cases = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*g->cases));
    for (const cJSON *j = list->child; j; j = j->next) {
        struct val_case *c = &g->cases[g->n_cases++];
        const char *name = NULL;
        char number[32];
        int r;

        snprintf(number, sizeof(number), "case-%d", g->n_cases);
        r = cJSON_IsObject(j)
                ? get_str(j, "name", number, &name, number, err)
                : err_set(err, ERR_INVALID, "%s: wanted an object", number);
        if (r < 0)
            return r;
        c->name = xstrdup(name);
        if (load_case(ld, j, c, err) < 0)
            return err_ctx(err, "case '%s'", c->name);
    }
    return 0;
}

/* ---- metrics -------------------------------------------------------------------- */

static int
check_metric(const struct val_golden *g, const struct val_metric *m, struct err *err)
{
    for (int i = 0; i < g->n_cases; i++)
        if (val_metric_labels(m, &g->cases[i]))
            return 0;
    return err_set(err, ERR_INVALID, "%s: no case%s%s%s has labels '%s'", m->metric,
                   m->tag[0] ? " with the tag '" : "", m->tag, m->tag[0] ? "'" : "",
                   m->labels);
}

static int
load_metrics(struct loader *ld, const cJSON *doc, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc, "metrics");
    struct val_golden *g = ld->g;

    if (!list)
        return 0;
    if (!cJSON_IsArray(list))
        return err_set(err, ERR_INVALID, "\"metrics\": wanted a list");
    if (cJSON_GetArraySize(list) > METRICS_MAX)
        return err_set(err, ERR_LIMIT, "%d metrics, at most %d",
                       cJSON_GetArraySize(list), METRICS_MAX);
    g->metrics = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*g->metrics));
    for (const cJSON *j = list->child; j; j = j->next) {
        struct val_metric *m = &g->metrics[g->n_metrics++];

        if (val_metric_load(m, j, err) < 0 || check_metric(g, m, err) < 0)
            return err_ctx(err, "metrics");
    }
    return 0;
}

/* ---- the set -------------------------------------------------------------------- */

static int
load_tags(struct val_golden *g, const cJSON *doc, struct err *err)
{
    const cJSON *j = cJSON_GetObjectItemCaseSensitive(doc, "tags");
    struct buf tags AUTO(buf_release) = BUF_INIT;

    if (!j)
        buf_adds(&tags, "serve");
    else if (!cJSON_IsArray(j))
        return err_set(err, ERR_INVALID, "\"tags\": wanted a list of strings");
    for (const cJSON *t = j ? j->child : NULL; t; t = t->next) {
        if (!cJSON_IsString(t) || t->valuestring[0] == VAL_NUMBER_MARK)
            return err_set(err, ERR_INVALID, "\"tags\": wanted a list of strings");
        buf_addf(&tags, "%s%s", tags.len ? "," : "", t->valuestring);
    }
    g->tags = xstrdup(buf_str(&tags));
    return 0;
}

/* Whose answers the expected outputs are. */
static int
load_recorded(struct val_golden *g, const cJSON *doc, const char *file, struct err *err)
{
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(doc, "recorded");
    const char *ref = NULL, *digest = NULL;

    if (!cJSON_IsObject(o))
        return err_set(err, ERR_INVALID, "%s: \"recorded\": wanted an object", file);
    if (get_str(o, "ref", NULL, &ref, "recorded", err) < 0 ||
        get_str(o, "digest", NULL, &digest, "recorded", err) < 0 ||
        repo_check_text(ref, RECORDED_MAX_BYTES, false, "recorded: \"ref\"", err) < 0 ||
        repo_check_text(digest, REPO_DIGEST_BYTES, false, "recorded: \"digest\"", err) <
            0)
        return err_ctx(err, "%s", file);
    g->recorded = xasprintf("%s %s", ref, digest);
    g->recording = cJSON_Duplicate(o, true);
    return 0;
}

static int
load_head(struct val_golden *g, const cJSON *doc, const char *file, struct err *err)
{
    const char *kind = NULL, *owner = NULL;
    double format = 0;
    int r = json_num(doc, "golden", NAN, &format, file, err);

    if (r == 0 && format != 1)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: \"golden\" is %g; this program reads golden sets of form 1",
                       file, format);
    if (r == 0)
        r = get_str(doc, "kind", "export", &kind, file, err);
    if (r == 0 && strcmp(kind, "export") != 0 && strcmp(kind, "acceptance") != 0)
        return err_set(err, ERR_INVALID,
                       "%s: \"kind\" is \"%s\", wanted export or acceptance", file,
                       kind);
    if (r == 0)
        r = get_str(doc, "owner", "", &owner, file, err);
    if (r == 0 && json_has(doc, "recorded"))
        r = load_recorded(g, doc, file, err);
    else if (r == 0)
        g->recorded = xstrdup("");
    if (r == 0)
        r = json_bool(doc, "sequential", false, &g->sequential, file, err);
    if (r < 0)
        return r;
    g->acceptance = strcmp(kind, "acceptance") == 0;
    g->owner = xstrdup(owner);
    return 0;
}

static int
load_budgets(struct val_golden *g, const cJSON *doc, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc, "budgets");

    if (!list)
        return 0;
    if (!cJSON_IsArray(list))
        return err_set(err, ERR_INVALID, "budgets: wanted a list of texts");
    g->budgets = cJSON_Duplicate(list, true);
    return val_budgets_check(list, err);
}

int
val_golden_parse(struct val_golden *out, struct str text, int dirfd, const char *file,
                 struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    struct loader ld = { .g = out, .dirfd = dirfd };
    int r;

    *out = (struct val_golden){ .cases = NULL };
    r = val_json_parse(&doc, text, file, err);
    if (r == 0 && !cJSON_IsObject(doc))
        r = err_set(err, ERR_INVALID, "%s: wanted an object", file);
    if (r == 0)
        r = load_head(out, doc, file, err);
    if (r == 0 &&
        (load_tags(out, doc, err) < 0 || load_cases(&ld, doc, err) < 0 ||
         load_metrics(&ld, doc, err) < 0 || val_limits_load(out, doc, err) < 0 ||
         load_budgets(out, doc, err) < 0 || val_slices_load(out, doc, err) < 0))
        r = err_ctx(err, "%s", file);
    if (r == 0)
        r = json_check_names(doc, file, err);
    if (r < 0)
        val_golden_release(out);
    return r;
}

int
val_golden_load(struct val_golden *out, const char *file, struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = JSON_MAX_BYTES };
    char *path AUTO(free_ptr) = NULL, *dir AUTO(free_ptr) = NULL;
    int dirfd AUTO(fs_close) = -1;
    struct stat st;
    int r;

    *out = (struct val_golden){ .cases = NULL };
    if (stat(file, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? err_set(err, ERR_NOTFOUND, "%s: no such golden set", file)
                   : err_sys(err, errno, "stat %s", file);
    if (S_ISDIR(st.st_mode)) {
        dir = xstrdup(file);
        path = xasprintf("%s/golden.json", file);
    } else {
        const char *slash = strrchr(file, '/');

        dir = slash ? xstrndup(file, (size_t)(slash - file) + 1) : xstrdup(".");
        path = xstrdup(file);
    }
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_NOTFOUND,
                       "%s: a golden set is a directory with golden.json", path);
    r = fs_open_dir(&dirfd, AT_FDCWD, dir, err);
    if (r == 0)
        r = fs_read(AT_FDCWD, path, &text, err);
    if (r < 0)
        return r;
    return val_golden_parse(out, (struct str){ buf_str(&text), text.len }, dirfd, path,
                            err);
}

int
val_golden_judges(const struct val_golden *g, struct err *err)
{
    for (int i = 0; i < g->n_cases; i++)
        if (g->cases[i].expected.n > 0)
            return 0;
    for (int i = 0; i < g->n_metrics; i++)
        if (val_metric_has_limit(&g->metrics[i]))
            return 0;
    return err_set(
        err, ERR_INVALID,
        "the golden set judges nothing: no case has \"expected\" outputs, and "
        "there is no metric with a limit (\"min\", \"max\" or \"max_drop\")");
}

static void
case_release(struct val_case *c)
{
    free(c->name);
    free(c->signature);
    sm_tensor_list_release(&c->inputs);
    sm_tensor_list_release(&c->expected);
    sm_tensor_list_release(&c->labels);
    for (int i = 0; i < c->n_tolerances; i++)
        free(c->tolerances[i].output);
    free(c->tolerances);
    for (int i = 0; i < c->n_tags; i++)
        free(c->tags[i]);
    free(c->tags);
}

void
val_golden_release(struct val_golden *g)
{
    for (int i = 0; i < g->n_cases; i++)
        case_release(&g->cases[i]);
    for (int i = 0; i < g->n_metrics; i++)
        val_metric_release(&g->metrics[i]);
    val_slices_release(g);
    for (int i = 0; i < g->n_files; i++)
        buf_release(&g->files[i]);
    free(g->cases);
    free(g->metrics);
    free(g->files);
    free(g->tags);
    free(g->owner);
    free(g->recorded);
    json_free(&g->budgets);
    json_free(&g->recording);
    *g = (struct val_golden){ .cases = NULL };
}
