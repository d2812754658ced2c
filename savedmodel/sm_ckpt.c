/* SPDX-License-Identifier: Apache-2.0 */
/* What lies around a checkpoint: the state file `checkpoint` that says which is the
 * newest, and checkpoints of the old form (V1), which are told from missing ones.
 *
 * `checkpoint` is a CheckpointState in text format.
 * V1: the tables themselves, PREFIX or PREFIX-SSSSS-of-NNNNN, without an index. */
#include "savedmodel/sm_int.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#define STATE_MAX_BYTES ((size_t)64 << 20)

int
sm_ckpt_state_read(struct sm_ckpt_state *out, int dirfd, const char *path,
                   struct err *err)
{
    struct sm_file f AUTO(sm_file_release) = { .heap = NULL };
    struct buf raw AUTO(buf_release) = { .cap_bytes = STATE_MAX_BYTES };
    struct sm_field v;
    *out = (struct sm_ckpt_state){ .latest = { "", 0 } };
    int rc = sm_file_open(&f, dirfd, path, err);
    if (rc < 0)
        return rc;
    if (sm_pbtxt(f.bytes, SM_M_CheckpointState, &raw, err) < 0)
        return err_ctx(err, "%s", path);
    struct str all = { buf_str(&raw), raw.len }, it = all, path_of;
    out->latest = sm_pb_bytes(all, 1);
    while (sm_pb_next_msg(&it, 2, &path_of) > 0)
        out->n++;
    out->paths = xcalloc((size_t)out->n + 1, sizeof(*out->paths));
    out->times = xcalloc((size_t)out->n + 1, sizeof(*out->times));
    out->n = 0;
    for (it = all; sm_pb_next_msg(&it, 2, &path_of) > 0;)
        out->paths[out->n++] = path_of;
    for (it = all; sm_pb_next(&it, &v) > 0;) {
        uint64_t bits;
        while (v.num == 3 && v.wire == 2 && v.bytes.n > 0 &&
               sm_pb_packed_next(&v.bytes, 1, &bits)) {
            if (out->n_times < out->n)
                memcpy(&out->times[out->n_times++], &bits, sizeof(bits));
        }
    }
    if (sm_pb_get(all, 4, &v))
        memcpy(&out->last_preserved, &v.v, sizeof(v.v));
    out->own = buf_take(&raw);
    return 0;
}

void
sm_ckpt_state_release(struct sm_ckpt_state *s)
{
    free(s->paths);
    free(s->times);
    free(s->own);
    *s = (struct sm_ckpt_state){ .latest = { "", 0 } };
}

/* NAME-SSSSS-of-NNNNN with at least five digits each. */
static bool
is_shard(const char *name, const char *base)
{
    size_t n = strlen(base);
    if (strncmp(name, base, n) != 0 || name[n] != '-')
        return false;
    name += n + 1;
    size_t digits = strspn(name, "0123456789");
    if (digits < 5 || strncmp(name + digits, "-of-", 4) != 0)
        return false;
    name += digits + 4;
    digits = strspn(name, "0123456789");
    return digits >= 5 && name[digits] == '\0';
}

bool
sm_ckpt_is_v1(int dirfd, const char *prefix)
{
    struct sm_file f AUTO(sm_file_release) = { .heap = NULL };
    struct err err = ERR_INIT;
    if (sm_file_open(&f, dirfd, prefix, &err) == 0)
        return sm_table_magic(f.bytes);
    err_clear(&err);
    const char *slash = strrchr(prefix, '/');
    char *dir AUTO(free_ptr) =
        slash ? xstrndup(prefix, (size_t)(slash - prefix)) : xstrdup(".");
    int fd;
    bool found = false;
    if (fs_open_dir(&fd, dirfd, *dir ? dir : "/", &err) < 0)
        return false;
    DIR *d = fdopendir(fd);
    if (!d) {
        (void)close(fd);
        return false;
    }
    for (struct dirent *e; !found && (e = readdir(d));)
        found = is_shard(e->d_name, slash ? slash + 1 : prefix);
    (void)closedir(d);
    return found;
}
