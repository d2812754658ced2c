/* SPDX-License-Identifier: Apache-2.0 */
/* What sluice-unpack gives up before it reads the first byte of an archive. It opens
 * nothing and starts nothing, so the list of what it may ask of the kernel is short. */
#include "repo/unpack/unpack_int.h"

#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* A zstd window may be 128 MiB; the rest is the program. */
#define MEMORY_BYTES ((rlim_t)1 << 30)

static const int calls[] = {
    SCMP_SYS(read),          SCMP_SYS(write),        SCMP_SYS(lseek),
    SCMP_SYS(fstat),         SCMP_SYS(newfstatat),   SCMP_SYS(munmap),
    SCMP_SYS(mremap),        SCMP_SYS(madvise),      SCMP_SYS(brk),
    SCMP_SYS(futex),         SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(getpid),
    SCMP_SYS(gettid),        SCMP_SYS(sigaltstack),  SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),          SCMP_SYS(exit_group),
};

static int
limit(int resource, rlim_t v, const char *what, struct err *err)
{
    struct rlimit r = { v, v };

    return setrlimit((__rlimit_resource_t)resource, &r) < 0
               ? err_sys(err, errno, "limit %s", what)
               : 0;
}

static int
set_limits(struct err *err)
{
    if (limit(RLIMIT_CORE, 0, "core files", err) < 0 ||
        limit(RLIMIT_FSIZE, 0, "file sizes", err) < 0 ||
        limit(RLIMIT_NPROC, 0, "processes", err) < 0 ||
        limit(RLIMIT_NOFILE, 3, "open files", err) < 0)
        return -(int)err->code;
#ifndef __SANITIZE_ADDRESS__ /* which maps terabytes */
    return limit(RLIMIT_AS, MEMORY_BYTES, "memory", err);
#else
    return 0;
#endif
}

static int
filter_calls(struct err *err)
{
    const struct scmp_arg_cmp no_code = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc = 0;

    if (!f)
        return err_set(err, ERR_UNSUPPORTED, "seccomp cannot be used here");
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]) && rc == 0; i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
    if (rc == 0)
        rc = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, &no_code);
    if (rc == 0)
        rc = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, &no_code);
    if (rc == 0)
        rc = seccomp_load(f);
    seccomp_release(f);
    return rc < 0 ? err_sys(err, -rc, "load the seccomp filter") : 0;
}

int
unpack_lock_down(struct err *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "give up privileges");
    return set_limits(err) < 0 ? -(int)err->code : filter_calls(err);
}
