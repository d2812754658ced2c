/* SPDX-License-Identifier: Apache-2.0 */
/* Which version a unit (a customer, a cookie) gets, as nginx's split_clients decides
 * it, so that what nginx did can be recomputed from its log:
 *
 *     hash   = MurmurHash2, 32 bit, seed 0, of the unit's bytes followed by the salt
 *     width  = weight * (2^32 - 1) / 10,000, rounded down for each version by itself
 *     version: the first one with hash < sum of the widths so far; the last one takes
 *              all that is left
 *
 * The salt, ":MODEL@ALIAS", stays while releases come and go: a unit keeps its place on
 * the line, and only the borders move. */
#ifndef DEPLOY_DEPLOY_SPLIT_H
#define DEPLOY_DEPLOY_SPLIT_H

#include "base/buf.h"
#include "deploy/deploy.h"

#define DEPLOY_SPLIT_END ((uint64_t)1 << 32)

struct deploy_split {
    struct buf salt;
    uint64_t below[DEPLOY_MEMBERS_MAX]; /* of members[i]: the hashes up to here, less
                                         * those of the members before; the last:
                                         * DEPLOY_SPLIT_END */
    int n;
};
void deploy_split_init(struct deploy_split *s, const struct deploy_release *rel);
void deploy_split_release(struct deploy_split *s); /* for AUTO */
uint32_t deploy_split_hash(const struct deploy_split *s, struct str unit);
/* Whose requests are copied to the version that deploy_mirror names: the hashes below
 * `below[0]`, with a salt of its own (":MODEL@ALIAS:mirror"), so that the copies come
 * from every version alike. A share that grows only adds units. The empty unit is not
 * copied; without such a version nobody is. */
void deploy_split_init_mirror(struct deploy_split *s, const struct deploy_release *rel);
bool deploy_split_mirrors(const struct deploy_split *s, struct str unit);
/* Index into the release's members. */
int deploy_split_at(const struct deploy_split *s, uint32_t hash);
/* The same for a unit. The empty unit is nobody: it gets members[0], the
 * stable version, whatever its hash. */
int deploy_split_find(const struct deploy_split *s, struct str unit);

#endif
