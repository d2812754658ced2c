/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: flags to request, reply to text. What flags there are stands in
 * service/verbs.def; how a reply reads, in cli/cmd_*.c; examples, in cli/commands.def.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/json.h"
#include "service/service.h"

/* Writes a reply for people; `failed`: the call did not succeed (its error follows on
 * stderr). */
typedef void cli_render_fn(const cJSON *reply, bool failed, struct buf *out);

struct cli_command {
    const char *verb;
    cli_render_fn *render;
    const char *examples[2];
};
const struct cli_command *cli_command(const char *verb);

#define CMD(verb, example_1, example_2) cli_render_fn cmd_##verb;
#include "cli/commands.def"
#undef CMD

/* ---- a command ---- */

struct cli_call;
/* Who carries calls out: the service in this process, or one that is elsewhere. */
struct cli_ends {
    /* Once the words are understood; may become another program. *status -1: go on,
     * else it is done, and the process ends so. */
    int (*first)(const struct cli_call *call, char **argv, int *status,
                 struct err *err);
    int (*open)(void **session, const struct cli_call *call, struct err *err);
    void (*on_progress)(void *session, svc_progress_fn *fn, void *arg);
    void (*on_tell)(void *session, svc_tell_fn *fn, void *arg);
    int (*call)(void *session, const char *verb, const cJSON *request, cJSON **reply,
                struct err *err);
    /* After a call of what cli_becomes, ends the session; returns only when that cannot
     * be: a status. */
    int (*become)(void **session, const struct cli_call *call, const cJSON *reply);
    void (*leave)(void *session); /* the process ends next */
};
int cli_run(int argc, char **argv, const struct cli_ends *ends);

/* ---- flags -> request ---- */

struct cli_call {
    const struct svc_verb *verb; /* NULL: only help was asked for */
    const char *group;           /* … of these verbs: "golden"; NULL: of all */
    const char *store;
    const char *server; /* --server, else $SLUICE_SERVER; NULL: the store is here */
    bool json, help;
    cJSON *request;
};
/* ERR_USAGE names the word and the way out. The caller frees request. --store counts
 * more than $SLUICE_SERVER; with --server it is ERR_USAGE. */
int cli_parse(int argc, char **argv, struct cli_call *out, struct err *err) MUST_CHECK;
/* It is done by this machine's sluice also when there is a server: it touches no store,
 * or names no version. */
bool cli_is_local(const struct cli_call *call);
/* It is about this machine, whatever else there is: init, agent … */
bool cli_is_only_local(const struct svc_verb *verb);
/* One more element of a list in a request. */
void cli_add_to_list(cJSON *request, const char *field, const char *value);
/* What the CI system that runs us says of its build, as `provenance` of a push; what
 * the request says itself counts more. */
void cli_add_ci(cJSON *request);
/* "target add" */
void cli_verb_words(const char *verb, struct buf *out);
void cli_help(struct buf *out);
void cli_help_group(const char *group, struct buf *out);
void cli_help_verb(const struct svc_verb *verb, struct buf *out);

/* ---- reply -> text ---- */

/* Members, with "" and 0 for what is absent. */
const char *cli_str(const cJSON *obj, const char *key);
double cli_num(const cJSON *obj, const char *key);
bool cli_bool(const cJSON *obj, const char *key);
const cJSON *cli_member(const cJSON *obj, const char *key); /* or NULL */
const cJSON *cli_list(const cJSON *obj, const char *key);   /* first element or NULL */
/* "sha256:0123456789ab", for lines where the whole digest would not fit. */
void cli_short_digest(const char *digest, struct buf *out);
/* The "trace" of a verdict (cmd_trace.c). */
void cli_add_trace(const cJSON *trace, struct buf *out);
/* "1.2 MB" */
void cli_size(double bytes, struct buf *out);
/* Stored times are UTC; this is RFC 3339 in the local zone, with offset, in seconds. */
void cli_time(const char *utc, struct buf *out);

/* Tags from the first on: "stage=eval team=risk". */
void cli_tags(const cJSON *first, struct buf *out);
/* Members of a release, [{"version", "weight"}]: "3", or "3=90% 4=10%". */
void cli_members(const cJSON *list, struct buf *out);

/* The rows of an object of strings, indented: "  commit  0123abc". */
void cli_pairs(const cJSON *object, struct buf *out);
/* inspect's part on what is said of a version. */
void cli_said(const cJSON *reply, struct buf *out);

/* A ramp, on a line; what canary and ramp tell while they go on. */
void cli_add_ramp(const cJSON *ramp, struct buf *out);
void cli_tell_text(const cJSON *what, struct buf *out);

/* list --sizes. */
void cli_sizes(const cJSON *reply, struct buf *out);
/* show --plan: the stages, then a line a step. */
void cli_plan(const cJSON *reply, struct buf *out);

/* Field `out` of a request that asks for a secret: taken out of it (*path, NULL: none;
 * the caller frees), and looked whether it can be written, before anything is made.
 * Then the secret goes from the reply into that file, 0600. */
int cli_secret_file(cJSON *request, char **path, struct err *err) MUST_CHECK;
int cli_secret_write(cJSON *reply, const char *path, struct err *err) MUST_CHECK;

/* exec, after its call succeeded: becomes the program, which keeps lock_fd. Returns
 * only when that cannot be: 127 there is no such program, 126 it does not run. */
int cli_exec(int lock_fd, const cJSON *request, const cJSON *reply);
/* Its answer is that this process becomes another program. */
bool cli_becomes(const struct svc_verb *verb);

/* serve, after its call succeeded: becomes sluice-server. Returns only when that cannot
 * be. */
int cli_serve(const cJSON *request, const cJSON *reply);

/* agent: looks once, or until it is told to end. Returns the exit status. */
int cli_agent(const struct cli_call *call);
/* "sluice: …" on stderr; returns the exit status. */
int cli_complain(const struct err *err);
/* To standard output, all of it. */
int cli_write(const char *p, size_t n, struct err *err) MUST_CHECK;

/* ---- progress ---- */

/* stderr is a terminal, and the reply is for people. */
bool cli_progress_wanted(bool json);
struct cli_progress {
    const char *what;
    int64_t begun_ns, drawn_ns;
    bool is_shown;
};
/* A svc_progress_fn whose arg is a struct cli_progress. */
void cli_progress(void *arg, const char *what, int64_t done_bytes, int64_t total_bytes);
void cli_progress_end(struct cli_progress *p); /* takes the line away */
void cli_progress_text(const char *what, double done, double total, double seconds,
                       struct buf *out);

/* Columns aligned by their widest cell; cells are copied. */
struct cli_table {
    char **cells;
    int n_columns, n_cells;
};
void cli_table_start(struct cli_table *t, int n_columns, const char *const *titles);
void cli_table_cell(struct cli_table *t, const char *text);
void cli_table_cell_buf(struct cli_table *t, struct buf *text); /* and clears it */
void cli_table_end(struct cli_table *t, struct buf *out);       /* frees */
/* " (3.21 ± 0.4; the baseline 3 ± 0.1)", of a verdict's check of a budget; else
 * nothing. */
void cli_measured(const cJSON *report, const cJSON *check, struct buf *out);

#endif
