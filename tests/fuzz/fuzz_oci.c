/* SPDX-License-Identifier: Apache-2.0 */
/* index.json and a version's manifest, as a bundle from elsewhere has them: what is
 * taken is within its limits, what is not says why. The first byte picks which. */
#include "repo/repo_bundle_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check_ref(const struct bundle_ref *r)
{
    if (r->size_bytes < 0 || strlen(r->title) >= sizeof(r->title))
        BUG("size %lld, title %s", (long long)r->size_bytes, r->title);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct bundle_ref refs[BUNDLE_VERSIONS_MAX];
    static struct bundle_manifest m;
    struct err err = ERR_INIT;
    struct str json = { (const char *)data + 1, n - 1 };
    int k = 0, r;

    if (n == 0)
        return 0;
    r = data[0] == 'i' ? bundle_parse_index(json, refs, &k, &err)
                       : bundle_parse_manifest(json, &m, &err);
    if (r < 0 && err.code == ERR_OK)
        BUG("%d without an error", r);
    if (r == 0 && data[0] == 'i')
        for (int i = 0; i < k; i++)
            check_ref(&refs[i]);
    if (r == 0 && data[0] != 'i') {
        struct err none = ERR_INIT;

        check_ref(&m.files);
        for (int i = 0; i < m.n_sets; i++)
            if (repo_check_alias_name(m.sets[i].title, &none) < 0)
                BUG("a set named %s", m.sets[i].title);
    }
    return 0;
}
