/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SRV_OPENAPI_H
#define SERVER_SRV_OPENAPI_H

#include "server/server_int.h"

/* The whole description; the caller frees it. */
cJSON *srv_openapi(void);

#endif
