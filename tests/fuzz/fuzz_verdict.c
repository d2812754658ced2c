/* SPDX-License-Identifier: Apache-2.0 */
/* A stored verdict's document, which somebody may have changed: whatever it says, it
 * can be exported in every form, and does not differ from itself. */
#include "base/json.h"
#include "validate/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const forms[] = { "json", "junit", "sarif", "markdown", "html" };
    cJSON *doc AUTO(json_free) = NULL, *list AUTO(json_free) = cJSON_CreateArray();
    struct err err = ERR_INIT;

    if (json_parse(&doc, (struct str){ (const char *)data, n }, "verdict", &err) < 0)
        return 0;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct buf out AUTO(buf_release) = BUF_INIT;

        if (val_export(doc, doc, forms[i], &out, &err) < 0)
            BUG("%s: %s", forms[i], err.msg);
    }
    (void)val_document_diff(doc, doc, list); /* members of one name may differ */
    return 0;
}
