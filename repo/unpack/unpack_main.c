/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-unpack: reads the archive on descriptor 0 for a sluice that started it, and
 * says on descriptor 1 what is in it (unpack_int.h). The only program that links
 * libarchive. It decides nothing: names and kinds are judged by who reads. */
#include "repo/unpack/unpack_int.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { BLOCK_BYTES = 256 << 10 };

/* Its reader has gone when this fails, and with it the reason to go on. */
static void
write_all(const void *p, size_t n)
{
    const char *next = p;

    while (n > 0) {
        ssize_t k = write(STDOUT_FILENO, next, n);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            _exit(1);
        next += k;
        n -= (size_t)k;
    }
}

static void
send_frame(enum unpack_frame kind, const void *head, size_t n_head, const void *p,
           size_t n)
{
    const uint32_t frame[2] = { (uint32_t)kind, (uint32_t)(n_head + n) };

    write_all(frame, sizeof(frame));
    write_all(head, n_head);
    write_all(p, n);
}

static int
send_error(enum err_code code, const char *text)
{
    const uint32_t head = (uint32_t)code;

    send_frame(UNPACK_ERROR, &head, sizeof(head), text, strnlen(text, 400));
    return 1;
}

/* libarchive's word. It has one code for what it does not know and what is damaged. */
static int
send_failure(struct archive *a)
{
    const char *why = archive_error_string(a);

    return send_error(why && strncmp(why, "Unrecognized", 12) == 0 ? ERR_INVALID
                                                                   : ERR_CORRUPT,
                      why ? why : "it cannot be read");
}

static enum unpack_kind
kind_of(struct archive_entry *e)
{
    if (archive_entry_hardlink(e))
        return UNPACK_HARDLINK;
    switch (archive_entry_filetype(e)) {
    case AE_IFREG:
        return UNPACK_FILE;
    case AE_IFDIR:
        return UNPACK_DIR;
    case AE_IFLNK:
        return UNPACK_SYMLINK;
    case AE_IFIFO:
        return UNPACK_FIFO;
    case AE_IFSOCK:
        return UNPACK_SOCKET;
    default:
        return UNPACK_DEVICE;
    }
}

/* Whether it is a name at all is judged by who reads. */
static const char *
path_of(struct archive_entry *e)
{
    const char *path = archive_entry_pathname(e);

    return path ? path : "";
}

static void
send_entry(struct archive_entry *e)
{
    struct {
        uint32_t kind, mode;
        int64_t size_bytes;
    } head = { (uint32_t)kind_of(e), (uint32_t)archive_entry_perm(e),
               archive_entry_size_is_set(e) ? archive_entry_size(e) : -1 };

    _Static_assert(sizeof(head) == UNPACK_ENTRY_BYTES, "the protocol's");
    send_frame(UNPACK_ENTRY, &head, sizeof(head), path_of(e), strlen(path_of(e)));
}

static int
send_data(struct archive *a, char *block)
{
    for (;;) {
        la_ssize_t n = archive_read_data(a, block, UNPACK_DATA_MAX);

        if (n < 0)
            return send_failure(a);
        if (n == 0)
            return 0;
        send_frame(UNPACK_DATA, NULL, 0, block, (size_t)n);
    }
}

static int
walk(struct archive *a, char *block)
{
    struct archive_entry *e;
    int r;

    while ((r = archive_read_next_header(a, &e)) != ARCHIVE_EOF) {
        if (r < ARCHIVE_WARN)
            return send_failure(a);
        if (!path_of(e)[0])
            return send_error(ERR_INVALID, "an entry whose name is empty or no UTF-8");
        send_entry(e);
        if (kind_of(e) == UNPACK_FILE && send_data(a, block) != 0)
            return 1;
    }
    send_frame(UNPACK_END, NULL, 0, NULL, 0);
    return 0;
}

int
main(int argc, char **argv)
{
    struct archive *a;
    struct err err = ERR_INIT;
    char *block;

    if (argc != 2) {
        fputs("sluice-unpack: started by sluice, not by hand\n", stderr);
        return 2;
    }
    /* It ends with whoever started it (whose id it was given, in case he is gone). */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (strtol(argv[1], NULL, 10) != getppid())
        return 1;
    close_range(3, ~0U, 0);
    (void)setlocale(LC_CTYPE,
                    "C.UTF-8"); /* names are bytes, and UTF-8 in PAX headers */
    block = malloc(UNPACK_DATA_MAX);
    a = archive_read_new();
    if (!block || !a)
        return send_error(ERR_LIMIT, "no memory");
    archive_read_support_format_tar(a);
    archive_read_support_format_zip(a);
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_zstd(a);
    if (unpack_lock_down(&err) < 0)
        return send_error(err.code, err.msg);
    if (archive_read_open_fd(a, STDIN_FILENO, BLOCK_BYTES) != ARCHIVE_OK)
        return send_failure(a);
    return walk(a, block);
}
