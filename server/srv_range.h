/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a representation that a request asks for (RFC 9110, section 14). */
#ifndef SERVER_SRV_RANGE_H
#define SERVER_SRV_RANGE_H

#include <stdint.h>

enum { SRV_RANGES_MAX = 64 };
struct srv_range {
    int64_t from, n_bytes;
};
/* Of "bytes=0-99,200-,-5": the number of ranges that lie in size_bytes, each at least
 * one byte, in the order asked; 0: none does (416); -1: the header says nothing that
 * has to be followed (another unit, not of its form, more than can be meant well):
 * the whole is the answer. */
int srv_range_parse(const char *text, int64_t size_bytes,
                    struct srv_range out[SRV_RANGES_MAX]);

#endif
