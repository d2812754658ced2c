/* SPDX-License-Identifier: Apache-2.0 */
/* The runner from outside: the same answers, and clean errors whatever happens inside.
 */
#include "runtime/runner/runner_int.h"
#include "tests/unit/runtime/model_build.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void
fx_close(struct backend **b)
{
    if (*b)
        runner_backend.close(*b);
}

/* Processes that this one has started and not collected. */
static int
children(pid_t *one)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    char path[64];
    int n = 0;
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    CHECK_OK(fs_read(AT_FDCWD, path, &text, &err));
    for (const char *p = buf_str(&text); *p; p += strcspn(p, " "), p += *p == ' ', n++)
        *one = (pid_t)strtol(p, NULL, 10);
    return n;
}

static void
feed(struct sm_tensor_list *l, const char *key, int dtype, int rank,
     const int64_t *dims, const void *v)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    CHECK_OK(sm_tensor_alloc(&t, dtype, rank, dims, &err));
    memcpy(t.data, v, sm_tensor_bytes(&t));
    sm_tensor_list_add(l, key, &t);
}

static int
run_x(struct backend *b, float x, float *y, struct err *err)
{
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    feed(&in, "x", SM_FLOAT, 0, NULL, &x);
    if (runner_backend.run(b, "serving_default", &in, &out, err) < 0)
        return -(int)err->code;
    struct sm_tensor *t = sm_tensor_list_find(&out, "y");
    CHECK(t && t->dtype == SM_FLOAT && t->n_elems == 1);
    *y = *(float *)t->data;
    return 0;
}

/* y = x + 2, or a loop that never ends when x > 0. */
static void
load(struct backend **b, int64_t max_wall_ms, bool endless)
{
    struct mb m = { .init_op = NULL };
    struct err err = ERR_INIT;
    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_f32(&m, "two", 2);
    if (endless) {
        mb_function(&m, "cond", "a", "r");
        mb_f32(&m, "zero", 0);
        mb_node(&m, "p", "Greater", "a zero:output:0", "T:t=1");
        mb_end_function(&m, "r=p:z:0", "");
        mb_function(&m, "body", "a", "r");
        mb_end_function(&m, "r=a", "");
        mb_node(&m, "x2", "StatelessWhile", "x", "T:l=1 cond:f=cond body:f=body");
    } else {
        mb_node(&m, "x2", "Identity", "x", "T:t=1");
    }
    mb_node(&m, "y", "AddV2", "x2 two", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    struct backend_args args = { .model_dir = mb_save(&m), .max_wall_ms = max_wall_ms };
    CHECK_OK(runner_backend.load(b, &args, &err));
}

TEST(test_runner__answers_and_leaves_nothing)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    const struct backend_signature *sig;
    float y;
    pid_t pid;
    load(&b, 0, false);
    CHECK_OK(run_x(b, 1, &y, &err));
    CHECK(y == 3);
    CHECK_OK(runner_backend.signature(b, "serving_default", &sig, &err));
    CHECK_INT(sig->n_inputs, 1);
    CHECK_STR(sig->inputs[0].key, "x");
    CHECK_INT(sig->inputs[0].shape.rank, 0);
    CHECK_STR(sig->outputs[0].key, "y");
    CHECK_OK(runner_backend.reset(b, &err));
    CHECK_OK(run_x(b, 2, &y, &err));
    CHECK(y == 4 && runner_backend.load_ms(b) > 0 && runner_backend.run_ms(b) > 0);
    CHECK_INT(children(&pid), 1);
    runner_backend.close(b);
    b = NULL;
    CHECK_INT(children(&pid), 0);
}

TEST(test_runner__errors_cross_over)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    float y;
    load(&b, 0, false);
    CHECK(runner_backend.run(b, "serving_default", &in, &out, &err) == -ERR_INVALID);
    CHECK(strstr(err.msg, "also needs input 'x'"));
    err_clear(&err);
    CHECK_ERR(runner_backend.run(b, "nope", &in, &out, &err), ERR_NOTFOUND);
    CHECK_OK(run_x(b, 1, &y, &err)); /* and it goes on */
}

TEST(test_runner__no_model_no_process)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    struct backend_args args = { .model_dir = unit_dir() };
    pid_t pid;
    CHECK_ERR(runner_backend.load(&b, &args, &err), ERR_NOTFOUND);
    CHECK_INT(children(&pid), 0);
}

TEST(test_runner__an_endless_loop_is_stopped)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float y;
    load(&b, 100, true);
    CHECK_OK(run_x(b, -1, &y, &err));
    CHECK_ERR(run_x(b, 1, &y, &err), ERR_LIMIT);
    CHECK_OK(run_x(b, -1, &y, &err));
}

/* It does not even come to its own deadline. */
TEST(test_runner__a_stopped_process_is_ended)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    float y;
    pid_t pid;
    load(&b, 10, false);
    CHECK_INT(children(&pid), 1);
    kill(pid, SIGSTOP);
    CHECK_ERR(run_x(b, 1, &y, &err), ERR_LIMIT);
    CHECK_INT(children(&pid), 0);
    CHECK_ERR(run_x(b, 1, &y, &err), ERR_FAILED);
}

TEST(test_runner__a_crash_is_an_error)
{
    static const int signals[] = { SIGKILL, SIGSEGV, SIGABRT };
    for (int i = 0; i < 3; i++) {
        struct backend *b AUTO(fx_close) = NULL;
        struct err err = ERR_INIT;
        float y;
        pid_t pid;
        load(&b, 0, false);
        CHECK_INT(children(&pid), 1);
        kill(pid, signals[i]);
        CHECK(run_x(b, 1, &y, &err) == -ERR_FAILED);
        CHECK(strstr(err.msg, "the model's process ended"));
        CHECK_INT(children(&pid), 0);
    }
}

TEST(test_runner__tensors_of_every_kind_come_back)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    int64_t dims[2] = { 2, 3 }, none[2] = { 0, 3 }, two = 2;
    int64_t longs[6] = { 1, -2, 3, 4, 5, INT64_MAX };
    struct str words[2] = { { "a\0b", 3 }, { "", 0 } };
    struct sm_tensor t;
    mb_node(&m, "i", "Placeholder", "", "dtype:t=9 shape:d=?");
    mb_node(&m, "s", "Placeholder", "", "dtype:t=7 shape:d=?");
    mb_node(&m, "e", "Placeholder", "", "dtype:t=10 shape:d=?");
    mb_node(&m, "oi", "Identity", "i", "");
    mb_node(&m, "os", "Identity", "s", "");
    mb_node(&m, "oe", "Identity", "e", "");
    mb_signature(&m, "serving_default", "e=e:0 i=i:0 s=s:0", "e=oe:0 i=oi:0 s=os:0");
    struct backend_args args = { .model_dir = mb_save(&m) };
    CHECK_OK(runner_backend.load(&b, &args, &err));
    feed(&in, "i", SM_INT64, 2, dims, longs);
    feed(&in, "e", SM_BOOL, 2, none, "");
    CHECK_OK(sm_tensor_strings(&t, 1, &two, words, &err));
    sm_tensor_list_add(&in, "s", &t);
    CHECK_OK(runner_backend.run(b, "serving_default", &in, &out, &err));
    CHECK_INT(out.n, 3);
    const struct sm_tensor *i = sm_tensor_list_find(&out, "i"),
                           *s = sm_tensor_list_find(&out, "s"),
                           *e = sm_tensor_list_find(&out, "e");
    CHECK(i->dims[1] == 3 && memcmp(i->data, longs, sizeof(longs)) == 0);
    CHECK(str_eq(sm_tensor_str(s)[0], words[0]) && sm_tensor_str(s)[1].n == 0);
    CHECK(e->dtype == SM_BOOL && e->rank == 2 && e->n_elems == 0);
}

/* ---- runners that misbehave ------------------------------------------------------ */

/* Loads with a program of ours in the runner's place. */
static int
load_with(const char *script, int64_t max_wall_ms, struct err *said)
{
    struct backend *b AUTO(fx_close) = NULL;
    struct backend_args args = { .model_dir = unit_dir(), .max_wall_ms = max_wall_ms };
    struct err err = ERR_INIT;
    char *folder AUTO(free_ptr) = xasprintf("%s/libexec", unit_dir());
    char *path AUTO(free_ptr) = xasprintf("%s/sluice-runner", folder);
    char *text AUTO(free_ptr) = xasprintf("#!/bin/sh\n%s\n", script);
    char *before AUTO(free_ptr) = xstrdup(getenv("SLUICE_LIBEXEC"));
    int r;

    CHECK_OK(fs_mkdirs(AT_FDCWD, folder, 0755, &err));
    CHECK_OK(fs_replace(AT_FDCWD, path, text, strlen(text), 0755, &err));
    setenv("SLUICE_LIBEXEC", folder, 1);
    r = runner_backend.load(&b, &args, said);
    setenv("SLUICE_LIBEXEC", before, 1);
    return r;
}

TEST(test_runner__one_that_hangs_is_ended)
{
    struct err err = ERR_INIT;
    pid_t pid;

    CHECK_ERR(load_with("sleep 1000", 50, &err), ERR_LIMIT);
    CHECK_INT(children(&pid), 0);
}

TEST(test_runner__one_that_aborts_says_so)
{
    struct err err = ERR_INIT;

    CHECK(load_with("echo out of ideas >&2; kill -ABRT $$", 0, &err) == -ERR_FAILED);
    CHECK(strstr(err.msg, "signal 6"));
    CHECK(strstr(err.msg, "out of ideas"));
}

/* A process that it left behind goes with it, also when it has ended itself. */
TEST(test_runner__what_one_has_forked_is_ended_too)
{
    static const char *const ends[] = { "sleep 1000", "exit 3" };

    for (int i = 0; i < 2; i++) {
        struct err err = ERR_INIT;
        struct buf pid AUTO(buf_release) = BUF_INIT;
        char *file AUTO(free_ptr) = xasprintf("%s/pid", unit_dir());
        char *script AUTO(free_ptr) =
            xasprintf("sleep 1000 <&- >&- 2>&- 3>&- & echo $! >%s; %s", file, ends[i]);
        bool gone = false;

        /* as long as it needs to say who its child is */
        for (int64_t wall_ms = 500; pid.len == 0 && wall_ms < 60000; wall_ms *= 2) {
            struct err none = ERR_INIT;

            err_clear(&err);
            CHECK(load_with(script, wall_ms, &err) < 0);
            (void)!fs_read(AT_FDCWD, file, &pid, &none);
            err_clear(&none);
        }
        CHECK(pid.len > 0 && unlink(file) == 0);
        for (int ms = 0; ms < 60000 && !gone; ms++, usleep(1000)) {
            char *stat AUTO(free_ptr) =
                xasprintf("/proc/%ld/stat", strtol(buf_str(&pid), NULL, 10));
            struct buf text AUTO(buf_release) = BUF_INIT;
            struct err e = ERR_INIT;

            gone = fs_read(AT_FDCWD, stat, &text, &e) < 0 ||
                   strstr(buf_str(&text), ") Z ") != NULL;
        }
        CHECK(gone);
    }
}

TEST(test_runner__one_that_talks_without_end_blocks_nobody)
{
    struct err err = ERR_INIT;
    pid_t pid;

    CHECK(load_with("exec head -c 100000000 /dev/zero >&2", 0, &err) == -ERR_FAILED);
    err_clear(&err);
    CHECK(load_with("exec head -c 100000000 /dev/zero >&3", 0, &err) == -ERR_CORRUPT);
    CHECK_INT(children(&pid), 0);
}

TEST(test_runner__outputs_above_the_limit_are_not_taken)
{
    struct mb m = { .init_op = NULL };
    struct backend *b AUTO(fx_close) = NULL;
    struct err err = ERR_INIT;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    struct backend_args args = { .max_output_bytes = 1000 };
    float v[512] = { 0 };
    int64_t n = 512;
    pid_t pid;

    mb_node(&m, "x", "Placeholder", "", "dtype:t=1 shape:d=?");
    mb_node(&m, "y", "Identity", "x", "T:t=1");
    mb_signature(&m, "serving_default", "x=x:0", "y=y:0");
    args.model_dir = mb_save(&m);
    CHECK_OK(runner_backend.load(&b, &args, &err));
    feed(&in, "x", SM_FLOAT, 1, &n, v);
    CHECK(runner_backend.run(b, "serving_default", &in, &out, &err) == -ERR_LIMIT);
    CHECK(strstr(err.msg, "2048 bytes of outputs"));
    CHECK_INT(children(&pid), 0);
}

/* ---- the sandbox ----------------------------------------------------------------- */

/* Runs fn in a locked-down child: 0 when everything it tried was refused. */
static int
in_sandbox(int (*fn)(const char *outside))
{
    struct err err = ERR_INIT;
    int status, dirfd;
    char outside[512];
    snprintf(outside, sizeof(outside), "%s/outside", unit_dir());
    CHECK_OK(fs_replace(AT_FDCWD, outside, "x", 1, 0644, &err));
    snprintf(outside, sizeof(outside), "%s/model", unit_dir());
    CHECK_OK(fs_mkdirs(AT_FDCWD, outside, 0755, &err));
    CHECK_OK(fs_open_dir(&dirfd, AT_FDCWD, outside, &err));
    snprintf(outside, sizeof(outside), "%s/outside", unit_dir());
    pid_t pid = fork();
    if (pid == 0) {
        struct runner_limits l = { dirfd, 1 << 30 };
        _exit(runner_lock_down(&l, &err) < 0 ? 99 : fn(outside));
    }
    fs_close(&dirfd);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int
try_writing(const char *outside)
{
    return open(outside, O_WRONLY | O_CLOEXEC) >= 0                 ? 1
           : open(outside, O_RDWR | O_CREAT | O_CLOEXEC, 0600) >= 0 ? 2
           : unlink(outside) == 0                                   ? 3
           : rename(outside, "/tmp/x") == 0                         ? 4
           : mkdir("d", 0700) == 0                                  ? 5
           : chmod(outside, 0777) == 0                              ? 6
                                                                    : 0;
}

static int
try_processes(const char *outside)
{
    char *argv[] = { (char *)(uintptr_t) "true", NULL };
    (void)outside;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid > 0                         ? 1
           : execv("/bin/true", argv) == 0 ? 2
           : kill(getppid(), 0) == 0       ? 3
                                           : 0;
}

static int
try_network(const char *outside)
{
    (void)outside;
    return socket(AF_INET, SOCK_STREAM, 0) >= 0   ? 1
           : socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 2
                                                  : 0;
}

/* Reserving is enough: what is refused is never touched. */
static int
try_eating(const char *outside)
{
    (void)outside;
#ifndef __SANITIZE_ADDRESS__
    if (mmap(NULL, (size_t)20 << 30, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
        return 1;
#endif
    int fd = memfd_create("x", MFD_CLOEXEC);
    return fd < 0 || ftruncate(fd, (off_t)2 << 30) == 0 ? 2 : 0;
}

static bool
has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* asks for the version */) >
           0;
}

static int
try_reading(const char *outside)
{
    return open(outside, O_RDONLY | O_CLOEXEC) >= 0 ? 1 : 0;
}

static int
is_isal(struct dl_phdr_info *lib, size_t n, void *found)
{
    (void)n;
    *(bool *)found |= strstr(lib->dlpi_name, "libisal") != NULL;
    return 0;
}

static int
lacks_isal(const char *outside)
{
    bool found = false;
    (void)outside;
    dl_iterate_phdr(is_isal, &found);
    return found ? 0 : 1;
}

/* Inside, no library can be found any more; without this one a checksum takes a hundred
 * times as long. */
TEST(test_runner_sandbox__fast_checksums_come_along)
{
    void *isal = dlopen("libisal.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!isal)
        unit_skip("ISA-L is not installed");
    dlclose(isal);
    CHECK_INT(in_sandbox(lacks_isal), 0);
}

TEST(test_runner_sandbox__no_file_is_written) { CHECK_INT(in_sandbox(try_writing), 0); }

TEST(test_runner_sandbox__no_process_is_started)
{
    CHECK_INT(in_sandbox(try_processes), 0);
}

TEST(test_runner_sandbox__memory_is_bounded) { CHECK_INT(in_sandbox(try_eating), 0); }

TEST(test_runner_sandbox__no_network) { CHECK_INT(in_sandbox(try_network), 0); }

TEST(test_runner_sandbox__no_file_outside_is_read)
{
    if (!has_landlock())
        unit_skip("this kernel has no Landlock");
    CHECK_INT(in_sandbox(try_reading), 0);
}

/* ---- the wire -------------------------------------------------------------------- */

static void
round_trip(struct wire_msg *m, struct wire_msg *got)
{
    struct err err = ERR_INIT;
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    m->kind = WIRE_RUN;
    CHECK_OK(wire_send(pair[0], m, &err));
    CHECK_INT(wire_recv(pair[1], got, 1000, &err), 1);
    close(pair[0]);
    close(pair[1]);
}

TEST(test_runner_wire__unsealed_memory_is_refused)
{
    struct wire_msg m AUTO(wire_msg_release) = WIRE_MSG_INIT;
    struct wire_msg got AUTO(wire_msg_release) = WIRE_MSG_INIT;
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    struct err err = ERR_INIT;
    m.fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    m.data_bytes = 64;
    CHECK(m.fd >= 0 && ftruncate(m.fd, 64) == 0);
    wire_put_u32(&m, 0);
    round_trip(&m, &got);
    struct wire_in in = { { buf_str(&got.payload), got.payload.len }, false };
    CHECK_ERR(wire_get_tensors(&got, &in, true, &out, &err), ERR_CORRUPT);
}

TEST(test_runner_wire__lies_about_sizes_are_refused)
{
    struct err err = ERR_INIT;
    float v[4] = { 1, 2, 3, 4 };
    int64_t four = 4;
    for (size_t at = 0; at < 64; at++) {
        struct wire_msg m AUTO(wire_msg_release) = WIRE_MSG_INIT;
        struct wire_msg got AUTO(wire_msg_release) = WIRE_MSG_INIT;
        struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
        struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
        feed(&in, "x", SM_FLOAT, 1, &four, v);
        CHECK_OK(wire_put_tensors(&m, &in, &err));
        if (at >= m.payload.len)
            break;
        m.payload.data[at] ^= (char)0x80;
        round_trip(&m, &got);
        struct wire_in r = { { buf_str(&got.payload), got.payload.len }, false };
        /* The name may change; nothing else may without being seen. */
        if (wire_get_tensors(&got, &r, true, &out, &err) == 0)
            CHECK(out.n == 1 && out.v[0].t.n_elems == 4);
        err_clear(&err);
    }
}

TEST(test_runner_wire__a_cut_message_is_no_message)
{
    struct wire_msg got AUTO(wire_msg_release) = WIRE_MSG_INIT;
    struct err err = ERR_INIT;
    struct wire_head h = { WIRE_RUN, 100, 0 };
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(write(pair[0], &h, sizeof(h)) == sizeof(h) && write(pair[0], "abc", 3) == 3);
    close(pair[0]);
    CHECK_ERR(wire_recv(pair[1], &got, 1000, &err), ERR_CORRUPT);
    CHECK_INT(wire_recv(pair[1], &got, 1000, &err), 0);
    close(pair[1]);
}
