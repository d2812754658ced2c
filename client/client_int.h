/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the client share.
 *
 *   client_open.c   what --server says, and the token
 *   client_conn.c   a connection: TCP, TLS, a Unix socket, ssh
 *   client_tls.c    OpenSSL: whose certificate it is
 *   client_parse.c  the bytes of an answer (libhttp-parser)
 *   client_http.c   one request and its answer; the pool; asking again
 *   client_event.c  an answer that comes as events
 *   client.c        a verb: request out, reply in
 *   client_files.c  the files that a request names; client_take.c those it makes
 *   client_doctor.c what is wrong on the way
 *   client_view.c   versions that are kept here for programs that read them
 *   client_push.c   trees that go; client_pull.c trees that come */
#ifndef CLIENT_CLIENT_INT_H
#define CLIENT_CLIENT_INT_H

#include "base/ssh.h"
#include "client/client.h"

#include <http_parser.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/types.h>

enum client_kind { CLIENT_UNIX, CLIENT_SSH, CLIENT_TCP, CLIENT_TLS };
/* Where, and in what time. */
struct client_place {
    enum client_kind kind;
    char *text;         /* as it was said, for messages */
    char *host, *port;  /* of TCP and TLS */
    char *path;         /* of a Unix socket; else of the URL, "" or "/sluice" */
    struct ssh_url ssh; /* of ssh */
    bool anywhere;      /* plain TCP also to other machines ($SLUICE_INSECURE) */
    char *host_header;  /* "example.org:8600" */
};
int client_place_parse(const char *text, struct client_place *out,
                       struct err *err) MUST_CHECK;
void client_place_release(struct client_place *p); /* for AUTO */

/* ---- a connection ---- */

struct client_conn {
    int fd;
    SSL *tls;    /* NULL: plain */
    pid_t pid;   /* of ssh */
    int said_fd; /* what ssh says on stderr; -1 */
    const struct client_place *place;
    struct client_conn *next; /* in the pool */
    bool is_used;             /* has carried an answer */
    char names[256];          /* whom the peer's certificate is for, when not for us */
};
/* ERR_BUSY: nobody is there, now. ERR_DENIED, ERR_INVALID: nobody will be. */
int client_conn_open(struct client *c, struct client_conn **out,
                     struct err *err) MUST_CHECK;
void client_conn_close(struct client_conn *c);
/* The peer has ended it, or said something that nobody asked for. */
bool client_conn_is_over(const struct client_conn *c);
/* At least one byte; 0: the end. ERR_BUSY: broken, or nothing came for so long. */
int64_t client_conn_read(struct client_conn *c, void *to, size_t n, int idle_ms,
                         struct err *err) MUST_CHECK;
/* All of it. 1: not all, for an answer is there already. */
int client_conn_write(struct client_conn *c, const void *p, size_t n, int idle_ms,
                      struct err *err) MUST_CHECK;
int client_conn_send_file(struct client_conn *c, int fd, int64_t offset, int64_t n,
                          int idle_ms, struct err *err) MUST_CHECK;
/* What ssh said, if it did; appended. */
void client_conn_said(const struct client_conn *c, struct buf *out);

/* ---- TLS ---- */

int client_tls_open(SSL_CTX **out, struct err *err) MUST_CHECK;
/* The handshake on c->fd. */
int client_tls_start(struct client_conn *c, SSL_CTX *tls, int idle_ms,
                     struct err *err) MUST_CHECK;
/* Waits for c->fd: 1 ready, ERR_BUSY: not in time. */
int client_conn_wait(const struct client_conn *c, short events, int idle_ms,
                     struct err *err) MUST_CHECK;
/* What OpenSSL says went wrong last. */
int client_tls_error(const struct client_conn *c, const char *what, int result,
                     struct err *err);

/* ---- one request and its answer (client_http.c) ---- */

struct client_answer;
struct client_ask {
    const char *method, *path;  /* "/api/v1/promote"; already encoded */
    const char *const *headers; /* "Name: value" …, NULL */
    const void *body;           /* body_bytes of it */
    int64_t body_bytes;
    int body_fd; /* instead: of it, from body_offset on, by sendfile; 0: none */
    int64_t body_offset;
    bool again;  /* safe to be asked again, although it is a POST without a key */
    int idle_ms; /* the longest silence; 0: 300 s */
    /* Takes the body of a 2xx as it comes; NULL: kept in `body` (at most 64 MiB), as
     * that of any other answer is. */
    int (*sink)(void *arg, const char *p, size_t n, struct err *err);
    /* Asked once its headers are there whether it is for the sink; NULL: it is. */
    bool (*wants)(void *arg, const struct client_answer *a);
    void *arg;
};
struct client_answer {
    int status;
    struct buf headers; /* "name: value\n", names in lower case */
    struct buf body;
};
/* On a connection of the client's own pool, which is kept alive; threads may ask at the
 * same time. Any answer is an answer, whatever its status. What did not answer (or with
 * 503 or 429) is asked again for a while, where that is safe: GET, HEAD, PUT, DELETE,
 * with an Idempotency-Key, or `again`; not once the sink had bytes. ERR_BUSY: no
 * answer, or none that is whole. ERR_DENIED, ERR_INVALID: a peer that is not to be
 * trusted, or no HTTP. */
int client_ask(struct client *c, const struct client_ask *ask,
               struct client_answer *out, struct err *err) MUST_CHECK;
void client_answer_release(struct client_answer *a); /* for AUTO */
/* The same; an answer other than 2xx is the error that client_problem makes of it. */
int client_ask_ok(struct client *c, const struct client_ask *ask,
                  struct client_answer *out, struct err *err) MUST_CHECK;
/* Its body as JSON, which the caller frees. */
int client_ask_json(struct client *c, const struct client_ask *ask, cJSON **reply,
                    struct err *err) MUST_CHECK;
/* A problem document, or any answer other than 2xx, as the error that it was over
 * there; *reply (the caller frees it; may be NULL): what the verb had to say
 * nevertheless. */
int client_problem(const struct client *c, const struct client_answer *a, cJSON **reply,
                   struct err *err);
/* The same of a document that came as an event; *reply stays when it has none. */
int client_problem_set(const struct client *c, int status, cJSON *doc, cJSON **reply,
                       struct err *err);
/* A header's value (the caller frees it), or NULL; its name in lower case. */
char *client_answer_header(const struct client_answer *a, const char *name);
/* So many connections at a time are of use: 1 over ssh. */
int client_parallel(const struct client *c);
/* How long something is asked again: pauses that grow, up to a time in all. */
struct client_patience {
    int64_t until_ns; /* monotonic; 0: nothing failed yet */
    int n;
};
/* Waits, at least for so long. False: it was enough. */
bool client_wait_again(struct client *c, struct client_patience *p, int64_t least_ns);

/* As client_call, but what the verb makes stays there: the reply's "trees" name it. */
int client_call_trees(struct client *c, const char *verb, const cJSON *request,
                      cJSON **reply, struct err *err) MUST_CHECK;
/* Appends the user's cache directory, made when absent: $XDG_CACHE_HOME/sluice and
 * `below` ("/views", or ""), else of ~/.cache. ERR_USAGE: he has no home. */
int client_cache_dir(const char *below, struct buf *out, struct err *err) MUST_CHECK;

/* ---- the bytes of an answer ---- */

#define CLIENT_HEADERS_MAX ((size_t)64 << 10)
#define CLIENT_BODY_MAX ((size_t)64 << 20)
struct client_parse {
    http_parser http;
    struct client_answer *out;
    const struct client_ask *ask; /* what was asked: lent */
    struct err *err;              /* of the call that is under way */
    int64_t sunk_bytes;
    size_t n_begun; /* bytes of this answer, in all */
    bool in_value, is_interim, done, keep, to_sink;
};
void client_parse_start(struct client_parse *p, const struct client_ask *ask,
                        struct client_answer *out);
/* n 0: the connection's end. 1: the answer is complete. ERR_INVALID: that is no HTTP;
 * ERR_LIMIT: its headers or its body are too long; ERR_BUSY: it ended in the middle;
 * or what the sink said. */
int client_parse_feed(struct client_parse *p, const char *bytes, size_t n,
                      struct err *err) MUST_CHECK;

/* ---- the client ---- */

struct client {
    struct client_place place;
    char *authorization;  /* "Bearer slc_…"; NULL */
    pthread_mutex_t lock; /* of what follows */
    SSL_CTX *tls;         /* made when first needed */
    struct client_conn *idle;
    int n_idle;
    bool was_there;        /* it answered, once */
    char peer_version[48]; /* "0.1.0", of its header Server: sluice/0.1.0; "" */
    svc_progress_fn *progress;
    void *progress_arg;
    svc_tell_fn *tell;
    void *tell_arg;
    int (*bytes)(void *arg, const char *p, size_t n, struct err *err);
    void *bytes_arg;
    bool reread; /* believes nothing that is known of files from before */
};

/* It has one, and it goes to who it is for: over TLS, to this machine, or to what the
 * kernel or ssh vouches for; never over the plain network. */
bool client_sends_token(const struct client *c);

/* ---- an answer that comes as events (text/event-stream) ---- */

struct client_events {
    struct buf line, event, data; /* what is half read */
    bool any_data;
    /* One event; 1 ends the reading. */
    int (*fn)(void *arg, const char *event, struct str data, struct err *err);
    void *arg;
};
void client_events_start(struct client_events *e,
                         int (*fn)(void *arg, const char *event, struct str data,
                                   struct err *err),
                         void *arg);
/* The next bytes. ERR_LIMIT: an event that is too long; or what fn said. */
int client_events_feed(struct client_events *e, const char *p, size_t n,
                       struct err *err) MUST_CHECK;
void client_events_release(struct client_events *e); /* for AUTO */

/* ---- files of a request (client_files.c) ---- */

struct client_moved {
    char *path; /* here */
    char *tree; /* its name there: "tree:sha256:…/NAME"; of an out "tree:FIELD" */
    const char *field;
    bool out; /* the verb makes it */
};
struct client_files {
    struct client_moved *v;
    int n;
    char *to; /* where bytes of the answer go, a file or (unpacked) a directory; NULL:
               * client_on_bytes */
    int64_t read_bytes; /* of what goes, now */
};
void client_files_release(struct client_files *f); /* for AUTO */
/* Sends what the request names, and puts the names of there in its place. */
int client_files_send(struct client *c, const struct svc_verb *verb, cJSON *request,
                      struct client_files *out, struct err *err) MUST_CHECK;
/* Brings what the verb made; the reply speaks of it as if it was made here. */
int client_files_take(struct client *c, const struct svc_verb *verb,
                      const cJSON *request, cJSON *reply, struct client_files *f,
                      struct err *err) MUST_CHECK;
/* As of local calls: a path of the caller's that is not there is ERR_NOTFOUND. */
int client_no_file(struct err *err, const char *path_or_null);
/* Bytes into f->to, which must not exist; nothing is left of what is not whole. */
struct client_saving {
    int fd;
    char *work; /* while it is not whole */
};
int client_save_open(struct client_saving *s, const char *to,
                     struct err *err) MUST_CHECK;
int client_save_end(struct client_saving *s, const char *to,
                    struct err *err) MUST_CHECK;
void client_save_release(struct client_saving *s); /* for AUTO */
/* The names of there in texts become those of here. */
void client_files_rename(const struct client_files *f, cJSON *value);
void client_files_rename_err(const struct client_files *f, struct err *err);

#endif
