/* SPDX-License-Identifier: Apache-2.0 */
#include "client/tree.h"

int
client_push_tree(struct client *c, const char *verb, const char *model_or_null,
                 const char *path, struct buf *text, struct client_sent *out,
                 struct err *err)
{
    (void)c, (void)verb, (void)model_or_null, (void)text, (void)out;
    return err_set(err, ERR_UNSUPPORTED, "%s: cannot be sent yet", path);
}
int
client_pull_tree(struct client *c, const char *text, const char *dest,
                 const char *have_or_null, struct err *err)
{
    (void)c, (void)text, (void)have_or_null;
    return err_set(err, ERR_UNSUPPORTED, "%s: cannot be got yet", dest);
}
