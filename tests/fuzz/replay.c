/* SPDX-License-Identifier: Apache-2.0 */
/* Replays a corpus through a fuzz target without a fuzzer. Prints TAP: one test a file.
 * usage: fuzz_X FILE... */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        if (!f) {
            printf("not ok %d - %s cannot be opened\n", i, argv[i]);
            return 1;
        }
        uint8_t *data = NULL;
        size_t n = 0, room = 0, got;
        do {
            room = room ? room * 2 : 4096;
            data = realloc(data, room);
            if (!data)
                return 1;
            got = fread(data + n, 1, room - n, f);
            n += got;
        } while (n == room);
        fclose(f);
        /* An exact block, so that the sanitizer sees a read past its end. */
        uint8_t *exact = malloc(n ? n : 1);
        if (!exact)
            return 1;
        for (size_t k = 0; k < n; k++)
            exact[k] = data[k];
        LLVMFuzzerTestOneInput(exact, n);
        free(exact);
        free(data);
        printf("ok %d - %s\n", i, argv[i]);
    }
    printf("1..%d\n", argc - 1);
    return 0;
}
