/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a target's config/routes.json and says which version a unit gets. Needs cJSON:
 * compile routes.c with your program, link with -lcjson. */
#ifndef SLUICE_ROUTES_H
#define SLUICE_ROUTES_H

#include <stddef.h>
#include <stdint.h>

struct routes;
/* NULL: *why (static text) says what is wrong. Load again to see a later release. */
struct routes *routes_load(const char *path, const char **why);
void routes_free(struct routes *r);
/* The version of a unit (any bytes); the empty unit gets the stable one. 0: there is no
 * such model. Any number of threads may ask. */
int64_t routes_version(const struct routes *r, const char *model, const void *unit,
                       size_t unit_bytes);
/* The version that gets a copy of this unit's requests, whose answers are thrown away.
 * 0: none does. */
int64_t routes_mirror(const struct routes *r, const char *model, const void *unit,
                      size_t unit_bytes);

#endif
