/* SPDX-License-Identifier: Apache-2.0 */
/* A model of TensorFlow Serving as far as files and configurations reach it: how it
 * reads
 * --model_config_file, scans base paths, decides what to load and unload, moves labels,
 * and what its REST API then says. Written from what the server's sources do
 * (sources/storage_path, model_servers/server_core, core/aspired_versions_manager,
 * core/availability_preserving_policy, core/servable_state_monitor, 2024), and from
 * nothing of sluice: it exists to catch sluice where it misunderstands the server.
 *
 *   config file --(config poll, SIGHUP)--> reload: whole or not at all
 *                  v
 *   source config --(file system poll)--> versions wanted, per model
 *                  v
 *   manager, each --manage_ms: forget ended ones, take what is wanted, one action:
 *            unload what is not wanted (once something wanted serves), else load the
 *            highest new one. Loading happens in this thread, as there with
 *            --num_load_threads=0.
 *                  v
 *   states  START LOADING AVAILABLE UNLOADING END, never forgotten; what REST shows.
 *
 * Known differences: the first load is not spread over threads; a version is "loaded"
 * by reading its files twice; waits are the same but may be given in parts of a second,
 * and a file system poll below 0 means: at the start, and at each SIGUSR1.
 */
#ifndef TFS_MODEL_H
#define TFS_MODEL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TFS_WHY_BYTES = 512, TFS_DIGEST_BYTES = 32, TFS_FAIL_MAX = 16 };

/* ---- tfs_model_text.c: protobuf's text format --------------------------------------
 */

enum tfs_policy { TFS_LATEST, TFS_ALL, TFS_SPECIFIC };
struct tfs_label {
    char *key;
    int64_t version;
};
struct tfs_model {
    char *name, *base_path, *platform;
    bool old_type; /* model_type says what it is, not model_platform */
    enum tfs_policy policy;
    uint32_t n_latest;
    int64_t *versions; /* of TFS_SPECIFIC */
    int n_versions;
    struct tfs_label *labels;
    int n_labels;
};
struct tfs_config {
    bool is_set; /* has a model_config_list */
    struct tfs_model *models;
    int n_models;
};
/* A ModelServerConfig from its text; false: `why` says what is wrong where. */
bool tfs_config_parse(const char *text, size_t len, struct tfs_config *out,
                      char why[TFS_WHY_BYTES]);
void tfs_config_release(struct tfs_config *c);
/* absl::SimpleAtoi: outer blanks and a sign are taken, leading zeros too. */
bool tfs_number(const char *text, int64_t *out);

/* ---- tfs_model_load.c: reading a version -------------------------------------------
 */

struct tfs_load {
    unsigned char digest[TFS_DIGEST_BYTES]; /* of all names and bytes */
    int n_files;
};
/* Reads everything below `dir` twice, load_ms apart. 0: read; 1: no model there, or
 * not to be read; 2: torn, something changed meanwhile. `why` says what. */
int tfs_load_dir(const char *dir, int load_ms, struct tfs_load *out,
                 char why[TFS_WHY_BYTES]);

/* ---- tfs_model_main.c ---------------------------------------------------------------
 */

struct tfs_options {
    const char *config_file, *model_name, *base_path, *log_path, *port_file, *runner;
    double config_poll_s, scan_poll_s;
    int manage_ms, load_ms, port, max_retries;
    double retry_s;
    int64_t fail_load[TFS_FAIL_MAX]; /* numbers that do not load */
    int n_fail_load;
    bool early_labels, any_labels; /* allow_…, force_allow_… */
    bool status_lies, status_hangs, status_500, parse_only;
};

/* ---- log: one JSON object a line ----------------------------------------------------
 */

enum tfs_count {
    TFS_TAKEN,      /* configs put into force */
    TFS_REFUSED,    /* configs refused, or not readable, once for each different one */
    TFS_TORN,       /* a version that changed while it was loaded, or was no model */
    TFS_REUSED,     /* a number with other bytes than it had before */
    TFS_MISSING,    /* a wanted version or base path was not there */
    TFS_UNSERVED,   /* a configured model lost its last available version */
    TFS_LABEL_LOST, /* a version that a label points at was unloaded */
    TFS_FAILED,     /* loads that failed (as asked by --fail_load, or torn) */
    TFS_LOADED,
    TFS_UNLOADED,
    TFS_N_COUNTS
};
extern const char *const tfs_count_names[TFS_N_COUNTS];
/* Adds one to `what` and writes the line. `model`, `why` may be NULL; version < 0:
 * none. */
void tfs_note(enum tfs_count what, const char *model, int64_t version, const char *why);
/* "taken":N,… without braces; the caller frees it. */
char *tfs_counts_json(void);
/* A line that is counted nowhere; extra: ready JSON members, or "". */
void tfs_say(const char *event, const char *extra);
/* A quoted JSON string; the caller frees it. */
char *tfs_quote(const char *s);

/* ---- tfs_model_core.c: the server core ----------------------------------------------
 */

enum tfs_state { TFS_START, TFS_LOADING, TFS_AVAILABLE, TFS_UNLOADING, TFS_END };
struct tfs_shown { /* what the state monitor knows of a version */
    int64_t version;
    enum tfs_state state;
    char *error; /* NULL: OK */
};
void tfs_core_init(const struct tfs_options *o);
/* Whether the config file parses; what is wrong goes to standard output. */
bool tfs_parses(void);
/* Reads the config file (or makes the config of --model_base_path) and puts it into
 * force, waiting for models that are new; false: refused. */
bool tfs_reload(void);
void *tfs_scan_thread(void *unused);   /* polls base paths */
void tfs_scan_now(void);               /* with a poll below 0 */
void *tfs_manage_thread(void *unused); /* loads and unloads */
/* Of a model, highest first; false: the model was never seen. The caller frees the
 * array with tfs_shown_free. */
bool tfs_status(const char *model, struct tfs_shown **out, int *n);
void tfs_shown_free(struct tfs_shown *s, int n);
/* The version that answers: by number, by label, or (both NULL) the highest available.
 * 0 and its directory (to be freed), or an HTTP status and why. */
int tfs_serving(const char *model, const int64_t *number, const char *label,
                int64_t *version, char **dir, char why[TFS_WHY_BYTES]);
void tfs_sleep_ms(int64_t ms);

/* ---- tfs_model_http.c
 * ---------------------------------------------------------------- */

/* Listens on 127.0.0.1, says which port, and answers until the process ends; never
 * returns. */
void tfs_http_run(const struct tfs_options *o);

#endif
