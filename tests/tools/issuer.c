/* SPDX-License-Identifier: Apache-2.0 */
/* usage: issuer   prints its URL, then answers lines of its standard input:
 *   sign ALG KID CLAIMS   with the signed claims ("-": no kid)
 *   rotate                with "ok": it has new keys; asked: how often it gave them
 *   down, up              with "ok" */
#include "tests/tools/issuer.h"

int
main(void)
{
    struct issuer i;
    char line[8192];

    issuer_start(&i);
    printf("%s\n", i.url);
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        char *at = line, *verb, *alg, *kid;

        line[strcspn(line, "\n")] = '\0';
        verb = strsep(&at, " ");
        if (strcmp(verb, "sign") == 0 && (alg = strsep(&at, " ")) != NULL &&
            (kid = strsep(&at, " ")) != NULL && at) {
            char *text = issuer_sign(&i, alg, strcmp(kid, "-") == 0 ? NULL : kid, at);

            puts(text);
            free(text);
        } else if (strcmp(verb, "asked") == 0) {
            pthread_mutex_lock(&i.lock);
            printf("%d\n", i.n_asked);
            pthread_mutex_unlock(&i.lock);
        } else {
            if (strcmp(verb, "rotate") == 0)
                issuer_rotate(&i);
            pthread_mutex_lock(&i.lock);
            i.down = strcmp(verb, "down") == 0;
            pthread_mutex_unlock(&i.lock);
            puts("ok");
        }
        fflush(stdout);
    }
    issuer_stop(&i);
    return 0;
}
