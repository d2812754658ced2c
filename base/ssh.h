/* SPDX-License-Identifier: Apache-2.0 */
/* A program on another machine, by whatever ssh program is set. */
#ifndef BASE_SSH_H
#define BASE_SSH_H

#include "base/buf.h"

/* ssh://[user@]host[:port][/dir], taken apart. */
struct ssh_url {
    char *to;   /* "user@host" */
    char *port; /* NULL: none */
    char *dir;  /* "/dir"; NULL: none */
};
/* "host", "host:port", "[::1]:port" taken apart in place; *port NULL: none. The fault;
 * NULL: there is none. */
const char *ssh_split_port(char **host, char **port);
/* ERR_USAGE names the fault. */
int ssh_url_parse(const char *text, struct ssh_url *out, struct err *err) MUST_CHECK;
void ssh_url_release(struct ssh_url *u); /* for AUTO */

/* The words that run a line of a shell over there: neither asks a person, and a peer
 * that is gone is noticed in 15 s. */
#define SSH_WORDS_MAX 96
struct ssh_words {
    const char *word[SSH_WORDS_MAX + 1]; /* lent by what it was made of, and `split` */
    int n;
    char *split;
};
/* `program`: ssh and its own arguments, with blanks between. */
void ssh_words(struct ssh_words *w, const char *program, const struct ssh_url *u,
               const char *line);
void ssh_words_release(struct ssh_words *w); /* for AUTO */
/* " 'it'\''s'" */
void ssh_add_quoted(struct buf *line, const char *word);

#endif
