/* SPDX-License-Identifier: Apache-2.0 */
/* Policy files: whatever is let through can be asked for its gates, and printed. */
#include "validate/val_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *doc AUTO(json_free) = NULL;
    struct err err = ERR_INIT;
    const cJSON *rule;

    if (val_policy_parse(&doc, (struct str){ (const char *)data, n }, &err) < 0)
        return 0;
    cJSON_ArrayForEach(rule, cJSON_GetObjectItemCaseSensitive(doc, "require"))
    {
        struct val_answer a AUTO(val_answer_release) = { .ok = false };
        const cJSON *budgets = cJSON_GetObjectItemCaseSensitive(rule, "budgets");
        const char *sets = NULL;

        if (!val_set_gate(rule, &sets) || sets[0] == '\0' || !budgets)
            continue;
        if (val_budgets_look(budgets, rule, true, true, &a, &err) < 0)
            BUG("budgets of a policy that was let through: %s", err.msg);
    }
    json_print(doc, &text, true);
    return 0;
}
