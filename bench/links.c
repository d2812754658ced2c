/* SPDX-License-Identifier: Apache-2.0 */
/* The limit for making a tree of hard links: a bare loop of linkat.
 * usage: links FROM TO   links every file of the folder FROM into the new folder TO */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
    DIR *from = argc == 3 ? opendir(argv[1]) : NULL;
    if (!from || mkdir(argv[2], 0755) < 0) {
        fputs("usage: links FROM TO (FROM is a folder, TO is none yet)\n", stderr);
        return 2;
    }
    int to = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (const struct dirent *d; (d = readdir(from)) != NULL;)
        if (d->d_type == DT_REG &&
            linkat(dirfd(from), d->d_name, to, d->d_name, 0) < 0) {
            perror(d->d_name);
            return 1;
        }
    closedir(from);
    close(to);
    return 0;
}
