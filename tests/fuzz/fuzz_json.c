/* SPDX-License-Identifier: Apache-2.0 */
/* What json_parse accepts, json_print writes as JSON that json_parse accepts again and
 * that prints as the same text. */
#include "base/json.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    cJSON *j AUTO(json_free) = NULL, *again AUTO(json_free) = NULL;
    struct buf first AUTO(buf_release) = BUF_INIT, second AUTO(buf_release) = BUF_INIT;

    if (json_parse(&j, (struct str){ (const char *)data, size }, "input", &err) < 0)
        return 0;
    json_print(j, &first, true);
    if (json_parse(&again, (struct str){ first.data, first.len }, "printed", &err) < 0)
        BUG("%s", err.msg);
    json_print(again, &second, true);
    if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
        BUG("printed otherwise the second time");
    return 0;
}
