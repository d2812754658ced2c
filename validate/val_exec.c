/* SPDX-License-Identifier: Apache-2.0 */
/* The backend "exec": any program that takes an .npz and writes one; "http" is the same
 * with our helper sluice-http, which asks a TF Serving. A call is one process:
 *
 *   CMD about DIR TAGS                          prints {"name", "version", "device"}
 *   CMD run DIR TAGS SIGNATURE IN.npz OUT.npz
 *
 * Exit 0: done. 3: this program cannot run the model. 75: it could not look (the server
 * is away). Any other: the model failed. The last line that it wrote says why.
 * Signatures are read from the model's files. */
#include "validate/val_int.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/proc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { WORDS_MAX = 64 };
#define SAID_MAX_BYTES ((size_t)1 << 20)
#define NPZ_MORE_BYTES ((size_t)1 << 20) /* of headers, besides the outputs */

struct lent {
    struct val_signature s;
    struct lent *next;
};
struct backend {
    char *words[WORDS_MAX]; /* of the command */
    int n_words;
    char *model_dir, *tags, *scratch, *about;
    int max_wall_ms;
    size_t max_output_bytes;
    bool is_url;
    double load_ms, run_ms;
    struct sm_model *model;
    const struct sm_meta *meta;
    struct lent *lent;
};

static void
exec_close(struct backend *b)
{
    struct err ignored = ERR_INIT;

    if (!b)
        return;
    while (b->lent) {
        struct lent *next = b->lent->next;

        val_signature_release(&b->lent->s);
        free(b->lent);
        b->lent = next;
    }
    if (b->scratch && fs_remove_tree(AT_FDCWD, b->scratch, &ignored) < 0)
        err_clear(&ignored); /* what lies in /tmp is swept */
    sm_close(b->model);
    while (b->n_words > 0)
        free(b->words[--b->n_words]);
    free(b->model_dir);
    free(b->tags);
    free(b->scratch);
    free(b->about);
    free(b);
}

static void
exec_close_p(struct backend **b)
{
    exec_close(*b);
}

/* ---- calls ---------------------------------------------------------------------- */

/* The last line that is not empty; cuts the text. */
static const char *
last_line(struct buf *said)
{
    const char *nl;

    while (said->len > 0 && strchr("\r\n ", said->data[said->len - 1]))
        said->data[--said->len] = '\0';
    nl = strrchr(buf_str(said), '\n');
    return nl ? nl + 1 : buf_str(said);
}

static int
call(struct backend *b, const char *const *rest, struct buf *said, struct err *err)
{
    const char *argv[WORDS_MAX + 8] = { NULL };
    const struct proc_args args = { .argv = argv, .timeout_ms = b->max_wall_ms };
    int n = b->n_words, status = 0;
    char text[48];
    const char *line;

    memcpy(argv, b->words, (size_t)n * sizeof(argv[0]));
    while (*rest)
        argv[n++] = *rest++;
    said->cap_bytes = SAID_MAX_BYTES;
    if (proc_run(&args, said, &status, err) < 0)
        return -(int)err->code;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    line = last_line(said);
    if (WIFEXITED(status) && WEXITSTATUS(status) == VAL_EXIT_UNSUPPORTED)
        return err_set(err, ERR_UNSUPPORTED, "%s", line[0] ? line : "it cannot run it");
    if (WIFEXITED(status) && WEXITSTATUS(status) == VAL_EXIT_AWAY)
        return err_set(err, ERR_BUSY, "%s", line[0] ? line : "it could not look");
    if (b->is_url && line[0]) /* our helper is nobody's affair */
        return err_set(err, ERR_FAILED, "%s", line);
    return err_set(err, ERR_FAILED, "%s: %s%s%.400s", b->words[0],
                   proc_status_text(status, text), line[0] ? ": " : "", line);
}

static int
ask_about(struct backend *b, struct err *err)
{
    const char *const rest[] = { "about", b->model_dir, b->tags, NULL };
    struct buf said AUTO(buf_release) = BUF_INIT;
    cJSON *j AUTO(json_free) = NULL;
    const char *line;

    if (call(b, rest, &said, err) < 0)
        return -(int)err->code;
    line = last_line(&said);
    if (json_parse(&j, str_of(line), "about", err) < 0)
        err_clear(err);
    if (!cJSON_IsObject(j))
        return err_set(err, ERR_UNSUPPORTED,
                       "'%s about' must print {\"name\": …, \"version\": …, "
                       "\"device\": …}",
                       b->words[0]);
    b->about = xstrdup(line);
    return 0;
}

/* ---- the backend ---------------------------------------------------------------- */

static int
make_scratch(struct backend *b, struct err *err)
{
    const char *tmp = getenv("TMPDIR");

    b->scratch = xasprintf("%s/sluice-exec-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (mkdtemp(b->scratch))
        return 0;
    err_sys(err, errno, "make %s", b->scratch);
    free(b->scratch);
    b->scratch = NULL;
    return -(int)err->code;
}

static int
split_command(struct backend *b, const char *where, struct err *err)
{
    struct buf helper AUTO(buf_release) = BUF_INIT;

    if (b->is_url) {
        if (proc_helper_path("sluice-http", &helper, err) < 0)
            return -(int)err->code;
        b->words[b->n_words++] = xstrdup(buf_str(&helper));
        b->words[b->n_words++] = xstrdup(where);
        return 0;
    }
    for (const char *w = where; *(w += strspn(w, " "));) {
        const size_t n = strcspn(w, " ");

        if (b->n_words == WORDS_MAX)
            return err_set(err, ERR_INVALID, "exec: more than %d words", WORDS_MAX);
        b->words[b->n_words++] = xstrndup(w, n);
        w += n;
    }
    return b->n_words ? 0
                      : err_set(err, ERR_INVALID,
                                "exec: names no program; wanted --backend exec:CMD");
}

static int
load(struct backend **out, const struct backend_args *a, bool is_url, struct err *err)
{
    struct backend *b AUTO(exec_close_p) = xcalloc(1, sizeof(*b));
    const int64_t begin_ns = clock_mono_ns();

    b->is_url = is_url;
    b->model_dir = xstrdup(a->model_dir);
    b->tags = xstrdup(a->tags ? a->tags : "serve");
    b->max_wall_ms = a->max_wall_ms > 0 && a->max_wall_ms < BACKEND_WALL_MS
                         ? (int)a->max_wall_ms
                         : BACKEND_WALL_MS;
    b->max_output_bytes =
        a->max_output_bytes > 0 ? a->max_output_bytes : BACKEND_OUTPUT_BYTES;
    if (split_command(b, a->where ? a->where : "", err) < 0 ||
        sm_open_path(&b->model, a->model_dir, err) < 0 ||
        sm_find_meta(b->model, b->tags, &b->meta, err) < 0 ||
        make_scratch(b, err) < 0 || ask_about(b, err) < 0)
        return -(int)err->code;
    b->load_ms = (double)(clock_mono_ns() - begin_ns) / 1e6;
    *out = b;
    b = NULL;
    return 0;
}

static int
exec_load(struct backend **out, const struct backend_args *a, struct err *err)
{
    return load(out, a, false, err);
}

static int
http_load(struct backend **out, const struct backend_args *a, struct err *err)
{
    return load(out, a, true, err);
}

static int
exec_signature(struct backend *b, const char *key, const struct backend_signature **out,
               struct err *err)
{
    const struct sm_signature *s;
    struct lent *l;

    for (l = b->lent; l; l = l->next)
        if (strcmp(l->s.sig.key, key) == 0) {
            *out = &l->s.sig;
            return 0;
        }
    if (sm_find_signature(b->meta, key, &s, err) < 0)
        return -(int)err->code;
    l = xcalloc(1, sizeof(*l));
    val_signature_make(&l->s, s);
    l->next = b->lent;
    b->lent = l;
    *out = &l->s.sig;
    return 0;
}

static int
read_answer(const struct backend *b, const char *path, struct sm_tensor_list *out,
            struct err *err)
{
    struct buf npz AUTO(buf_release) = { .cap_bytes =
                                             b->max_output_bytes + NPZ_MORE_BYTES };

    if (fs_read(AT_FDCWD, path, &npz, err) < 0) {
        if (err->sys != ENOENT)
            return -(int)err->code;
        err_clear(err);
        return err_set(err, ERR_FAILED, "%s ended well, but wrote no OUT.npz",
                       b->words[0]);
    }
    if (buf_check(&npz, "the answer", err) < 0 ||
        sm_npz_read((struct str){ buf_str(&npz), npz.len }, "OUT.npz", out, err) < 0)
        return err_ctx(err, "the answer");
    return 0;
}

static int
exec_run(struct backend *b, const char *signature, const struct sm_tensor_list *in,
         struct sm_tensor_list *out, struct err *err)
{
    char *in_path AUTO(free_ptr) = xasprintf("%s/in.npz", b->scratch);
    char *out_path AUTO(free_ptr) = xasprintf("%s/out.npz", b->scratch);
    const char *const rest[] = { "run",   b->model_dir, b->tags, signature,
                                 in_path, out_path,     NULL };
    struct buf npz AUTO(buf_release) = BUF_INIT, said AUTO(buf_release) = BUF_INIT;
    const int64_t begin_ns = clock_mono_ns();

    (void)unlink(out_path);
    if (sm_npz_write(in, &npz, err) < 0 ||
        fs_replace(AT_FDCWD, in_path, npz.data, npz.len, 0600, err) < 0 ||
        call(b, rest, &said, err) < 0 || read_answer(b, out_path, out, err) < 0)
        return -(int)err->code;
    b->run_ms = (double)(clock_mono_ns() - begin_ns) / 1e6;
    return 0;
}

static int
exec_reset(struct backend *b, struct err *err)
{
    (void)b;
    (void)err;
    return 0; /* a call is a process */
}

static const char *
exec_about(const struct backend *b)
{
    return b->about;
}

static double
exec_load_ms(const struct backend *b)
{
    return b->load_ms;
}

static double
exec_run_ms(const struct backend *b)
{
    return b->run_ms;
}

#define EXEC_OPS(word, loads)                                                          \
    {                                                                                  \
        .name = word, .stateless = true, .load = loads, .signature = exec_signature,   \
        .run = exec_run, .reset = exec_reset, .about = exec_about,                     \
        .load_ms = exec_load_ms, .run_ms = exec_run_ms, .close = exec_close            \
    }
static const struct backend_ops exec_ops = EXEC_OPS("exec", exec_load);
static const struct backend_ops http_ops = EXEC_OPS("http", http_load);

int
val_backend(const char *spec, struct backend_ops *out, struct err *err)
{
    if (!spec || strcmp(spec, "native") == 0) {
        *out = runner_backend;
    } else if (strncmp(spec, "exec:", 5) == 0 && spec[5 + strspn(spec + 5, " ")]) {
        *out = exec_ops;
        out->where = spec + 5;
    } else if (strncmp(spec, "http://", 7) == 0 || strncmp(spec, "https://", 8) == 0) {
        *out = http_ops;
        out->where = spec;
    } else {
        return err_set(err, ERR_USAGE,
                       "--backend: '%s' is none of native, exec:CMD and "
                       "http://HOST:PORT/v1/models/NAME",
                       spec);
    }
    return 0;
}
