/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/hooks.h"

#include "base/proc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOOK_TIMEOUT_MS 60000
#define HOOK_OUTPUT_BYTES 65536

/* ERR_HOOK unless only the store's owner (or root) can change what lies at `path`. */
static int
check_writers(struct repo *r, const char *path, const struct stat *st, struct err *err)
{
    if (st->st_uid != r->owner_uid && st->st_uid != 0)
        return err_set(err, ERR_HOOK,
                       "hook %s/%s belongs to user %u, not to the store's owner: "
                       "chown %u %s/%s",
                       r->path, path, (unsigned)st->st_uid, (unsigned)r->owner_uid,
                       r->path, path);
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return err_set(err, ERR_HOOK,
                       "hook %s/%s can be written by others than its owner: "
                       "chmod go-w %s/%s",
                       r->path, path, r->path, path);
    return 0;
}

/* 1: there is a hook that may be run, 0: there is none. */
static int
find(struct repo *r, const char *path, struct err *err)
{
    struct stat st;
    int e;

    if (fstatat(r->dirfd, path, &st, 0) < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return err_sys(err, errno, "stat %s/%s", r->path, path);
        /* a link that points nowhere was meant to say something */
        if (fstatat(r->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return 0;
        return err_set(err, ERR_HOOK,
                       "hook %s/%s is a link to nothing: remove or mend it", r->path,
                       path);
    }
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_HOOK, "hook %s/%s is no regular file: remove it",
                       r->path, path);
    if (!(st.st_mode & S_IXUSR))
        return err_set(err, ERR_HOOK,
                       "hook %s/%s is not executable, so it could not say no: "
                       "chmod u+x %s/%s, or remove it",
                       r->path, path, r->path, path);
    e = check_writers(r, path, &st, err);
    if (e < 0)
        return e;
    if (fstatat(r->dirfd, "hooks", &st, 0) < 0)
        return err_sys(err, errno, "stat %s/hooks", r->path);
    e = check_writers(r, "hooks", &st, err);
    return e < 0 ? e : 1;
}

/* Bytes below the blank, line ends too, as blanks: a message is one line. */
static void
add_said(struct buf *out, const struct buf *said)
{
    for (size_t i = 0; i < said->len; i++) {
        const unsigned char c = (unsigned char)said->data[i];

        buf_addc(out, c < 0x20 || c == 0x7f ? ' ' : (char)c);
    }
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
}

static int
run(struct repo *r, const struct hook_args *a, const char *path, struct buf *said,
    struct err *err)
{
    char number[24], from[24], why[48];
    struct buf line AUTO(buf_release) = BUF_INIT;
    char *vars[9];
    const char *env[10];
    int n = 0, status = 0, e;

    snprintf(number, sizeof(number), "%" PRId64, a->number);
    snprintf(from, sizeof(from), "%" PRId64, a->from_number);
    vars[n++] = xasprintf("SLUICE_EVENT=%s", a->name);
    vars[n++] = xasprintf("SLUICE_MODEL=%s", a->model);
    vars[n++] = xasprintf("SLUICE_ALIAS=%s", a->alias);
    vars[n++] = xasprintf("SLUICE_VERSION=%s", number);
    vars[n++] = xasprintf("SLUICE_DIGEST=%s", a->digest);
    vars[n++] = xasprintf("SLUICE_ACTOR=%s", acc_actor(r->acc));
    vars[n++] = xasprintf("SLUICE_STORE=%s", r->path);
    vars[n++] = xasprintf("SLUICE_REASON=%s", a->reason ? a->reason : "");
    vars[n++] = xasprintf("SLUICE_FROM=%s", a->from_number ? from : "");
    for (int i = 0; i < n; i++)
        env[i] = vars[i];
    env[n] = NULL;
    e = proc_run(
        &(struct proc_args){
            .argv = (const char *const[]){ path, a->model, a->alias, number, NULL },
            .extra_env = env,
            .cwd = r->path,
            .timeout_ms = HOOK_TIMEOUT_MS },
        said, &status, err);
    for (int i = 0; i < n; i++)
        free(vars[i]);
    if (e < 0) { /* it did not start, or took too long: either way it did not say yes */
        const struct err cause = *err;

        err_clear(err);
        return err_set(err, ERR_HOOK, "hook %s: %s", path, cause.msg);
    }
    if (status == 0)
        return 0;
    add_said(&line, said);
    return err_set(err, ERR_HOOK, "hook %s said no (%s)%s%s", path,
                   proc_status_text(status, why), line.len ? ": " : "", buf_str(&line));
}

int
hook_run(struct repo *r, const struct hook_args *args, struct buf *output,
         struct err *err)
{
    struct buf said AUTO(buf_release) = { .cap_bytes = HOOK_OUTPUT_BYTES };
    char *name AUTO(free_ptr) = xasprintf("hooks/%s", args->name);
    char *path AUTO(free_ptr) = xasprintf("%s/%s", r->path, name);
    char *whole AUTO(free_ptr) = NULL;
    int e = find(r, name, err);

    if (e <= 0)
        return e;
    whole = realpath(path, NULL); /* the child starts in the store */
    if (!whole)
        return err_sys(err, errno, "find %s", path);
    e = run(r, args, whole, &said, err);
    buf_add(output, buf_str(&said), said.len);
    return e < 0 ? e : 1;
}
