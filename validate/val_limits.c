/* SPDX-License-Identifier: Apache-2.0 */
/* What a golden set allows a run: less than the backend would, never more. */
#include "validate/val_int.h"

#include <math.h>

int
val_limits_load(struct val_golden *g, const cJSON *doc, struct err *err)
{
    const cJSON *limits = cJSON_GetObjectItemCaseSensitive(doc, "limits");
    const struct {
        const char *key;
        double most;
    } known[] = {
        { "seconds", (double)BACKEND_WALL_MS / 1e3 },
        { "memory_mb", (double)BACKEND_MEMORY_BYTES / 1e6 },
        { "output_mb", (double)BACKEND_OUTPUT_BYTES / 1e6 },
    };
    double v[3] = { 0 };

    if (!limits)
        return 0;
    if (!cJSON_IsObject(limits))
        return err_set(err, ERR_INVALID, "limits: wanted an object");
    for (int i = 0; i < 3; i++) {
        if (json_num(limits, known[i].key, 0, &v[i], "limits", err) < 0)
            return -(int)err->code;
        if (json_has(limits, known[i].key) && !(v[i] > 0 && v[i] <= known[i].most))
            return err_set(err, ERR_INVALID,
                           "limits: %s is %g: wanted more than 0 and at most %.0f",
                           known[i].key, v[i], known[i].most);
    }
    g->limits.max_wall_ms = (int64_t)ceil(v[0] * 1e3);
    g->limits.max_memory_bytes = (size_t)ceil(v[1] * 1e6);
    g->limits.max_output_bytes = (size_t)ceil(v[2] * 1e6);
    return 0;
}
