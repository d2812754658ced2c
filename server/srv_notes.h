/* SPDX-License-Identifier: Apache-2.0 */
/* What is known while somebody is asked who he is, and is written a little later: what
 * was not accepted, and the like, as events of the log; when tokens were used. A crash
 * may forget it. Any thread. */
#ifndef SERVER_SRV_NOTES_H
#define SERVER_SRV_NOTES_H

#include "server/server_int.h"

struct srv_notes;
struct srv_notes *srv_notes_new(void);
void srv_notes_free(struct srv_notes *n); /* NULL allowed; what waits is lost */
/* Notes that are alike become one event with `times`. peer, why: "" for none. */
void srv_note(struct srv_notes *n, const char *verb, const char *object,
              const char *peer, const char *why, bool is_ok);
void srv_note_use(struct srv_notes *n, const char *token_id);
/* Writes what waits; all: also uses that are known to a minute already. */
void srv_notes_write(struct srv_notes *n, struct srv *srv, bool all);

#endif
