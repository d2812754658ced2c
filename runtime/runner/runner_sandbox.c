/* SPDX-License-Identifier: Apache-2.0 */
/* What the runner's process gives up before it reads the first byte of a model. Each
 * layer stands alone: rlimits bound what a model can eat, seccomp what the process can
 * ask of the kernel, Landlock (kernel 5.13 and later) which files it can see. */
#include "runtime/runner/runner_int.h"

#include "base/crypto.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_FILES = 256 };
/* Beside the runs' own memory: programs, the mapped model, threads' stacks. */
#define EXTRA_ADDRESS_BYTES ((size_t)16 << 30)

static int
limit(int resource, const char *what, rlim_t v, struct err *err)
{
    struct rlimit r = { v, v };
    if (setrlimit((__rlimit_resource_t)resource, &r) < 0)
        return err_sys(err, errno, "limit %s", what);
    return 0;
}

static int
set_limits(const struct runner_limits *l, struct err *err)
{
    if (limit(RLIMIT_CORE, "core files", 0, err) < 0 ||
        limit(RLIMIT_NOFILE, "open files", MAX_FILES, err) < 0 ||
        limit(RLIMIT_FSIZE, "file sizes", l->memory_bytes, err) < 0)
        return -(int)err->code;
#ifndef __SANITIZE_ADDRESS__ /* which maps terabytes */
    if (limit(RLIMIT_AS, "memory", l->memory_bytes + EXTRA_ADDRESS_BYTES, err) < 0)
        return -(int)err->code;
#endif
    return 0;
}

/* ---- Landlock -------------------------------------------------------------------- */

#define LL_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define LL_ALL                                                                         \
    (LL_READ | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |            \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                  \
     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |                      \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                      \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                    \
     LANDLOCK_ACCESS_FS_MAKE_SYM)

static int
show(int ruleset, int dirfd)
{
    struct landlock_path_beneath_attr a = { .allowed_access = LL_READ,
                                            .parent_fd = dirfd };
    return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &a,
                        0);
}

/* Only what lies below the model's directory may be read, and what OpenMP asks about
 * the processors. A kernel without Landlock is no error: seccomp forbids writing there
 * too. */
static int
hide_files(int dirfd, struct err *err)
{
    struct landlock_ruleset_attr all = { .handled_access_fs = LL_ALL };
    int fd AUTO(fs_close) =
        (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
    if (fd < 0)
        return 0;
    int cpus AUTO(fs_close) = open("/sys/devices/system/cpu", O_PATH | O_CLOEXEC);
    if (cpus >= 0)
        (void)show(fd, cpus);
    if (show(fd, dirfd) < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        return err_sys(err, errno, "hide files");
    return 0;
}

/* ---- seccomp --------------------------------------------------------------------- */

/* Calls that are allowed whatever their arguments: memory, threads' waiting, reading
 * and writing what is open, clocks. Everything else is refused with EPERM. */
static const int plain_calls[] = {
    SCMP_SYS(read),           SCMP_SYS(readv),
    SCMP_SYS(pread64),        SCMP_SYS(write),
    SCMP_SYS(writev),         SCMP_SYS(lseek),
    SCMP_SYS(close),          SCMP_SYS(stat),
    SCMP_SYS(lstat),          SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),     SCMP_SYS(statx),
    SCMP_SYS(access),         SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),     SCMP_SYS(getdents64),
    SCMP_SYS(readlink),       SCMP_SYS(readlinkat),
    SCMP_SYS(sendto),         SCMP_SYS(sendmsg),
    SCMP_SYS(recvfrom),       SCMP_SYS(recvmsg),
    SCMP_SYS(poll),           SCMP_SYS(ppoll),
    SCMP_SYS(mmap),           SCMP_SYS(munmap),
    SCMP_SYS(mprotect),       SCMP_SYS(mremap),
    SCMP_SYS(madvise),        SCMP_SYS(brk),
    SCMP_SYS(memfd_create),   SCMP_SYS(ftruncate),
    SCMP_SYS(futex),          SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),           SCMP_SYS(membarrier),
    SCMP_SYS(sched_yield),    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getcpu),         SCMP_SYS(gettid),
    SCMP_SYS(getpid),         SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),   SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),      SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),      SCMP_SYS(sysinfo),
    SCMP_SYS(uname),          SCMP_SYS(getrusage),
    SCMP_SYS(getrlimit),      SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),           SCMP_SYS(exit_group),
    SCMP_SYS(getuid),         SCMP_SYS(geteuid),
    SCMP_SYS(getgid),         SCMP_SYS(getegid),
};

/* Opening with any of these could make or change a file. */
#define WRITES                                                                         \
    (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))
#define THREAD_FLAGS 0x00010100 /* CLONE_THREAD | CLONE_VM: a thread, no process */

static const int fcntls[] = { F_GETFD,     F_SETFD,     F_GETFL,
                              F_ADD_SEALS, F_GET_SEALS, F_DUPFD_CLOEXEC };

static int
add_rules(scmp_filter_ctx f)
{
    struct {
        uint32_t action;
        int call;
        int n_args;
        struct scmp_arg_cmp arg;
    } bound[] = {
        { SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, WRITES, 0) },
        { SCMP_ACT_ALLOW, SCMP_SYS(open), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, WRITES, 0) },
        { SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
          SCMP_A0(SCMP_CMP_MASKED_EQ, THREAD_FLAGS, THREAD_FLAGS) },
        /* glibc asks clone3 first, whose flags a filter cannot see, and then clone. */
        { SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0, { 0 } },
        /* Limits may be read, not set. */
        { SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0, 0) },
        { SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
          SCMP_A0(SCMP_CMP_EQ, (uint64_t)getpid(), 0) },
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof(plain_calls) / sizeof(plain_calls[0]) && rc == 0; i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, plain_calls[i], 0);
    for (size_t i = 0; i < sizeof(bound) / sizeof(bound[0]) && rc == 0; i++)
        rc = seccomp_rule_add_array(f, bound[i].action, bound[i].call,
                                    (unsigned)bound[i].n_args, &bound[i].arg);
    for (size_t i = 0; i < sizeof(fcntls) / sizeof(fcntls[0]) && rc == 0; i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                              SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)fcntls[i], 0));
    return rc;
}

static int
filter_calls(struct err *err)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!f)
        return err_set(err, ERR_UNSUPPORTED, "seccomp cannot be used here");
    int rc = add_rules(f);
    if (rc == 0)
        rc = seccomp_load(f);
    seccomp_release(f);
    if (rc < 0)
        return err_sys(err, -rc, "load the seccomp filter");
    return 0;
}

int
runner_lock_down(const struct runner_limits *l, struct err *err)
{
    /* The library that makes checksums fast is mapped when first needed: afterwards it
     * could not be found any more. */
    (void)crc32c(0, "", 0);
    signal(SIGXFSZ, SIG_IGN); /* too large a memfd is an error, no death */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, errno, "give up privileges");
    if (set_limits(l, err) < 0 || hide_files(l->dirfd, err) < 0 ||
        filter_calls(err) < 0)
        return -(int)err->code;
    return 0;
}
