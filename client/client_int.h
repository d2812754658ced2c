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
/* As client_call, but what the verb makes stays there: the reply's "trees" name it. */
int client_call_trees(struct client *c, const char *verb, const cJSON *request,
                      cJSON **reply, struct err *err) MUST_CHECK;

/* A problem document, or a part of an answer, as an error. */
int client_problem_set(const struct client *c, int status, const cJSON *doc,
                       struct err *err);
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
int client_conn_open(const struct client_place *p, SSL_CTX *tls,
                     struct client_conn **out, struct err *err) MUST_CHECK;
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

/* ---- the bytes of an answer ---- */

#define CLIENT_HEADERS_MAX ((size_t)64 << 10)
#define CLIENT_BODY_MAX ((size_t)64 << 20)
struct client_parse {
    http_parser http;
    struct client_answer *out;
    int (*sink)(void *arg, const char *p, size_t n, struct err *err);
    bool (*wants)(void *arg, const struct client_answer *a);
    void *arg;
    struct err *err; /* of the call that is under way */
    int64_t sunk_bytes;
    size_t n_begun; /* bytes of this answer, in all */
    bool is_head, in_value, is_interim, done, keep, to_sink;
};
/* `sink`: as in struct client_ask. */
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
    char peer_version[48]; /* "sluice/0.1.0", of its header Server; "" */
    svc_progress_fn *progress;
    void *progress_arg;
    svc_tell_fn *tell;
    void *tell_arg;
    int (*bytes)(void *arg, const char *p, size_t n, struct err *err);
    void *bytes_arg;
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
/* How long something is asked again: pauses that grow, up to a time in all. */
struct client_patience {
    int64_t until_ns; /* monotonic; 0: nothing failed yet */
    int n;
};
/* Waits, at least for so long. False: it was enough. */
bool client_wait_again(struct client *c, struct client_patience *p, int64_t least_ns);

#endif
