/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SRV_VERB_H
#define SERVER_SRV_VERB_H

#include "server/server_int.h"

/* The verb of a path below /api/v1: "target/add". NULL: none. */
const struct svc_verb *srv_verb_find(const char *path);

#endif
