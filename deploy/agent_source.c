/* SPDX-License-Identifier: Apache-2.0 */
/* The other store, asked by running sluice on it: here, on a directory, or over ssh; or
 * by running its client, when a service has it. */
#include "deploy/agent_int.h"

#include "base/clock.h"
#include "base/proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define ANSWER_MAX ((size_t)64 << 20)
#define ANSWER_MS 60000 /* the store may be locked for half of it */
#define STALL_MS 30000  /* of bytes that come */
#define CHUNK_BYTES ((size_t)256 << 10)

/* ---- a command there ----------------------------------------------------------------
 */

#define WORDS_MAX 512
struct command {
    const char *word[WORDS_MAX + 1];
    int n;
    struct buf line;      /* of ssh: what the shell there gets */
    struct ssh_words ssh; /* all that is run, then */
    char number[2][32];
};

static void
command_release(struct command *c)
{
    buf_release(&c->line);
    ssh_words_release(&c->ssh);
}

static void
add(struct command *c, const char *word)
{
    if (c->n == WORDS_MAX)
        BUG("a command of more than %d words", WORDS_MAX);
    c->word[c->n++] = word;
    c->word[c->n] = NULL;
}

/* Completes c->word, which holds a verb and its arguments, to what is to be run. */
static const char *const *
command_line(struct agent_source *s, struct command *c)
{
    if (!s->url.to) {
        const char *const first[] = { s->self, s->is_service ? "--server" : "--store",
                                      s->o->from };
        const size_t k = sizeof(first) / sizeof(first[0]);

        if (c->n + (int)k > WORDS_MAX)
            BUG("a command of more than %d words", WORDS_MAX);
        memmove(c->word + k, c->word, ((size_t)c->n + 1) * sizeof(c->word[0]));
        memcpy(c->word, first, sizeof(first));
        return c->word;
    }
    buf_adds(&c->line, s->o->remote);
    ssh_add_quoted(&c->line, "--store");
    ssh_add_quoted(&c->line, s->url.dir);
    for (int i = 0; i < c->n; i++)
        ssh_add_quoted(&c->line, c->word[i]);
    ssh_words(&c->ssh, s->o->ssh, &s->url, buf_str(&c->line));
    return c->ssh.word;
}

/* The first code that a command ends so with. */
static enum err_code
code_of(int exit_status)
{
    static const enum err_code codes[] = { ERR_FAILED,   ERR_USAGE,   ERR_CONFLICT,
                                           ERR_CORRUPT,  ERR_REFUSED, ERR_DENIED,
                                           ERR_NOTFOUND, ERR_PENDING };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (err_exit_status(codes[i]) == exit_status)
            return codes[i];
    return ERR_OK;
}

/* Its answer, or that there was none. */
static int
answer(struct agent_source *s, struct proc_pipe *p, struct err *err)
{
    static const char prefix[] = "sluice: ";
    char text[48];
    const char *from = s->o->from, *said;
    enum err_code code;
    int status;

    if (proc_pipe_wait(p, &status, err) < 0)
        return -(int)err->code;
    s->away = !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (!s->away)
        return 0;
    for (char *c = p->said.data; c && *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = ' ';
    while (p->said.len > 0 && p->said.data[p->said.len - 1] == ' ')
        p->said.data[--p->said.len] = '\0';
    said = strstr(buf_str(&p->said), prefix);
    code = WIFEXITED(status) && said ? code_of(WEXITSTATUS(status)) : ERR_OK;
    s->away = code == ERR_OK;
    if (!said)
        said = buf_str(&p->said);
    else
        said += sizeof(prefix) - 1;
    if (strncmp(said, from, strlen(from)) == 0) /* sluice names its server by itself */
        from = "";
    return err_set(err, s->away ? ERR_BUSY : code, "%s%s%.800s%s%s", from,
                   *from ? ": " : "", said, s->away && *said ? "; " : "",
                   s->away || !*said ? proc_status_text(status, text) : "");
}

static int
run(struct agent_source *s, struct command *c, int stall_ms, agent_sink_fn *sink,
    void *arg, struct err *err)
{
    struct proc_pipe p AUTO(proc_pipe_kill) = PROC_PIPE_INIT;
    char *chunk AUTO(free_ptr) = xmalloc(CHUNK_BYTES);
    struct proc_args args;
    int e;

    args = (struct proc_args){ .argv = command_line(s, c) };
    s->away = true;
    e = proc_pipe_open(&p, &args, err);
    while (e == 0) {
        int64_t n = proc_pipe_read(&p, chunk, CHUNK_BYTES, stall_ms, s->o->stop,
                                   s->o->arg, err);

        if (n < 0)
            return n == -ERR_PENDING ? (int)n : err_ctx(err, "%s", s->o->from);
        if (n == 0)
            return answer(s, &p, err);
        e = sink(arg, chunk, (size_t)n, err);
        s->away = e == 0;
    }
    return e;
}

/* ---- questions ----------------------------------------------------------------------
 */

static int
add_answer(void *arg, const char *p, size_t n, struct err *err)
{
    buf_add(arg, p, n);
    return buf_check(arg, "its answer", err);
}

/* The JSON that a command answers. */
static int
ask(struct agent_source *s, struct command *c, cJSON **out, struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = ANSWER_MAX };
    int e;

    *out = NULL;
    add(c, "--json");
    e = run(s, c, ANSWER_MS, add_answer, &text, err);
    if (e < 0)
        return e;
    e = json_parse(out, (struct str){ buf_str(&text), text.len }, "its answer", err);
    if (e == 0)
        e = json_check_names(*out, "its answer", err);
    if (e == 0 && !cJSON_IsObject(*out))
        e = err_set(err, ERR_INVALID, "its answer is no object");
    if (e < 0)
        json_free(out);
    return e < 0 ? err_ctx(err, "%s", s->o->from) : 0;
}

static int
want(struct agent_source *s, const char *alias, cJSON **out, struct err *err)
{
    struct command c AUTO(command_release) = { .n = 0 };
    const char *const words[] = { "host", "want", s->o->host, "--alias", alias };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        add(&c, words[i]);
    return ask(s, &c, out, err);
}

static int
report(struct agent_source *s, const struct agent_report *rep, struct buf *why,
       struct err *err)
{
    struct command c AUTO(command_release) = { .n = 0 };
    char *ref AUTO(free_ptr) = xasprintf("%s@%s", rep->model, rep->alias);
    cJSON *doc AUTO(json_free) = NULL;
    char time[CLOCK_TEXT_BYTES];
    const char *said;
    int e;

    snprintf(c.number[0], sizeof(c.number[0]), "%" PRId64, rep->release);
    const char *const words[] = { "host",      "report",
                                  s->o->host,  ref,
                                  "--release", c.number[0],
                                  "--state",   rep->state,
                                  "--detail",  rep->detail,
                                  "--shows",   rep->shows,
                                  "--at",      clock_text(rep->at_ns, time) };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        add(&c, words[i]);
    e = ask(s, &c, &doc, err);
    if (e == 0)
        e = json_str(doc, "why", "", &said, "its answer", err);
    if (e == 0)
        buf_adds(why, said);
    return e;
}

static int
cat(struct agent_source *s, const char *model, int64_t number, const char *const *paths,
    int n, int64_t offset_bytes, agent_sink_fn *sink, void *arg, struct err *err)
{
    struct command c AUTO(command_release) = { .n = 0 };
    char *ref AUTO(free_ptr) = xasprintf("%s@%" PRId64, model, number);

    add(&c, "cat");
    add(&c, ref);
    snprintf(c.number[0], sizeof(c.number[0]), "%" PRId64, offset_bytes);
    add(&c, "--offset");
    add(&c, c.number[0]);
    add(&c, "--"); /* a path may look like a flag */
    for (int i = 0; i < n; i++)
        add(&c, paths[i]);
    return run(s, &c, STALL_MS, sink, arg, err);
}

static const struct agent_source_ops by_command = { want, report, cat };

static bool
is_service(const char *from)
{
    return strncmp(from, "https://", 8) == 0 || strncmp(from, "http://", 7) == 0 ||
           strncmp(from, "unix:", 5) == 0;
}

int
agent_source_open(struct agent_source *s, const struct agent_opts *o, struct err *err)
{
    struct buf self AUTO(buf_release) = BUF_INIT;

    *s = (struct agent_source){ .ops = &by_command, .o = o };
    if (strncmp(o->from, "ssh:", 4) == 0)
        return ssh_url_parse(o->from, &s->url, err) < 0 ? -(int)err->code
               : s->url.dir                             ? 0
                                                        : err_set(err, ERR_USAGE,
                                                                  "--from %.300s: it names no directory: "
                                                                                              "ssh://[user@]host[:port]/directory",
                                                                  o->from);
    s->is_service = is_service(o->from);
    if (!s->is_service && strstr(o->from, "://"))
        return err_set(err, ERR_USAGE,
                       "--from %.300s: a directory, ssh://[user@]host[:port]/dir, or a "
                       "service: https://host[:port], unix:PATH",
                       o->from);
    if (s->is_service)
        return proc_helper_path("sluice-client", &self, err) < 0
                   ? err_ctx(err, "--from %.300s", o->from)
                   : (s->self = buf_take(&self), 0);
    if (fs_readlink(AT_FDCWD, "/proc/self/exe", &self, err) < 0)
        return err_ctx(err, "find this program");
    s->self = buf_take(&self);
    return 0;
}

void
agent_source_close(struct agent_source *s)
{
    ssh_url_release(&s->url);
    free(s->self);
    s->self = NULL;
}
