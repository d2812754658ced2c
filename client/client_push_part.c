/* SPDX-License-Identifier: Apache-2.0 */
/* One part on its way. */
#include "client/client_push.h"

#include <inttypes.h>
#include <stdio.h>

#define TRIES 3 /* of a part that came damaged */

int
push_part(struct push *p, const struct client_job *job, const void *bytes_or_null,
          const char *digest_header, struct err *err)
{
    const char *const headers[] = { digest_header, NULL };
    char path[200];
    struct client_ask ask = { .method = "PUT",
                              .path = path,
                              .headers = headers,
                              .body = bytes_or_null,
                              .body_bytes = job->n_bytes,
                              .body_fd = bytes_or_null ? 0 : job->fd,
                              .body_offset = job->at };
    int e = -ERR_CORRUPT;

    snprintf(path, sizeof(path), "/api/v1/uploads/%s/files/%td?offset=%" PRId64, p->id,
             (struct push_file *)job->file - p->files, job->at);
    for (int i = 0; e == -ERR_CORRUPT && i < TRIES; i++) {
        struct client_answer a AUTO(client_answer_release) = { .status = 0 };

        err_clear(err);
        e = client_ask_ok(p->c, &ask, &a, err);
    }
    return e;
}

static int
send_part(struct push *p, const struct client_job *job, struct err *err)
{
    const uint8_t crc[] = { (uint8_t)(job->crc >> 24), (uint8_t)(job->crc >> 16),
                            (uint8_t)(job->crc >> 8), (uint8_t)job->crc };
    struct buf header AUTO(buf_release) = BUF_INIT;

    buf_adds(&header, "Content-Digest: crc32c=:");
    base64_add(&header, crc, sizeof(crc));
    buf_addc(&header, ':');
    return push_part(p, job, NULL, buf_str(&header), err);
}

/* Its digest was said at the beginning. */
static int
send_whole(struct push *p, const struct client_job *job, struct err *err)
{
    struct client_job whole = *job;
    int fd AUTO(fs_close) = -1;

    if (push_open_file(p, job->file, &fd, err) < 0)
        return -(int)err->code;
    whole.fd = fd;
    return push_part(p, &whole, NULL, NULL, err);
}

int
push_run(void *arg, const struct client_job *job, struct err *err)
{
    return job->is_piece ? push_piece(arg, job, err)
           : job->fd < 0 ? send_whole(arg, job, err)
                         : send_part(arg, job, err);
}
