/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/repo_fixture.h"

#include <pthread.h>
#include <sys/mount.h>
#include <sys/resource.h>

static int
try_ingest(struct fixture *f, const char *dir, struct repo_ingest *in, struct err *err)
{
    char path[1024];

    return repo_ingest_dir(f->r, below(f, dir, path), in, err);
}

static int
count_objects(struct fixture *f)
{
    char path[1024];

    return count_files(below(f, "store/objects", path));
}

TEST(test_repo_ingest__counts_what_is_new)
{
    struct fixture f;
    struct repo_ingest in;
    struct err err = ERR_INIT;
    struct stat st;
    char path[1024];

    fixture_new(&f);
    put_text(&f, "src/a", "same");
    put_text(&f, "src/a.b", "other");
    put_text(&f, "src/d/b", "same");
    put_text(&f, "src/d/empty", "");
    CHECK(mkdir(below(&f, "src/nothing", path), 0755) == 0);
    CHECK_OK(try_ingest(&f, "src", &in, &err));
    CHECK_INT(in.manifest.n_files, 4);
    CHECK_STR(in.manifest.files[1].path, "a.b");
    CHECK_STR(in.manifest.files[2].path, "d/b");
    CHECK(digest_eq(&in.manifest.files[0].digest, &in.manifest.files[2].digest));
    CHECK_INT(in.manifest.size_bytes, 13);
    CHECK_INT(in.n_new_files, 3); /* d/b is there when it comes */
    CHECK_INT(in.new_bytes, 9);
    CHECK(stat(object_file(&f, &in.manifest.files[1].digest, path), &st) == 0);
    CHECK_INT(st.st_mode & 07777, 0444);
    repo_ingest_release(&in);
    CHECK_OK(try_ingest(&f, "src", &in, &err));
    CHECK_INT(in.n_new_files, 0);
    CHECK_INT(count_objects(&f), 4);
    repo_ingest_drop(f.r, &in.manifest); /* no row names them */
    CHECK_INT(count_objects(&f), 0);
    repo_ingest_release(&in);
    push(&f, "src", "a");
    CHECK_OK(try_ingest(&f, "src", &in, &err));
    repo_ingest_drop(f.r, &in.manifest); /* now rows do */
    CHECK_INT(count_objects(&f), 4);
    repo_ingest_release(&in);
    check_clean(&f);
    fixture_close(&f);
}

TEST(test_repo_ingest__names)
{
    static const struct {
        const char *path, *shown, *fault; /* NULL: fine */
    } cases[] = {
        { "caf\xc3\xa9 %41 b", NULL, NULL },
        { "\xe6\x97\xa5/\xf0\x9f\x8c\xb2", NULL, NULL },
        { "new\nline", "new%0Aline: ", "control" },
        { "d\x1b[2J/x", "d%1B[2J: ", "control" },
        { "c1-\xc2\x9b", "c1-%C2%9B: ", "control" },
        { "latin-\xe9", "latin-%E9: ", "UTF-8" },
        { "\xff/x", "%FF: ", "UTF-8" },
        { "overlong-\xc0\xaf", "overlong-%C0%AF: ", "UTF-8" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct repo_version v;
        struct repo_manifest m;
        struct err err = ERR_INIT;
        char path[200];
        bool is_new;
        int r;

        fixture_new(&f);
        snprintf(path, sizeof(path), "src/%s", cases[i].path);
        put_text(&f, "src/saved_model.pb", "1");
        put_text(&f, path, "2");
        r = try_push(&f, "src", "a", &v, &is_new, &err);
        if (cases[i].fault) {
            CHECK_INT(r, -ERR_INVALID);
            CHECK(strstr(err.msg, cases[i].shown) && strstr(err.msg, cases[i].fault));
            err_clear(&err);
            CHECK_INT(count_objects(&f), 0);
        } else {
            CHECK_OK(r);
            CHECK_OK(repo_manifest_get(f.r, &v.digest, &m, &err));
            CHECK_INT(m.n_files, 2);
            CHECK(strcmp(m.files[0].path, cases[i].path) == 0 ||
                  strcmp(m.files[1].path, cases[i].path) == 0);
            repo_manifest_release(&m);
        }
        check_clean(&f);
        fixture_clear(&f);
    }
}

TEST(test_repo_ingest__refuses_what_is_no_file)
{
    struct fixture f;
    struct repo_ingest in;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    CHECK_ERR(try_ingest(&f, "absent", &in, &err), ERR_IO);
    CHECK(mkdir(below(&f, "empty", path), 0755) == 0);
    CHECK_ERR(try_ingest(&f, "empty", &in, &err), ERR_INVALID);
    put_text(&f, "src/a", "something new");
    CHECK(symlink("a", below(&f, "src/link", path)) == 0);
    CHECK_INT(try_ingest(&f, "src", &in, &err), -ERR_INVALID);
    CHECK(strstr(err.msg, "link"));
    err_clear(&err);
    CHECK(unlink(path) == 0 && mkfifo(below(&f, "src/zfifo", path), 0600) == 0);
    CHECK_INT(try_ingest(&f, "src", &in, &err), -ERR_INVALID);
    CHECK(strstr(err.msg, "zfifo"));
    err_clear(&err);
    CHECK_INT(repo_ingest_dir(f.r, f.dir, &in, &err), -ERR_INVALID);
    CHECK(strstr(err.msg, "zfifo") || strstr(err.msg, "store itself"));
    err_clear(&err);
    CHECK(unlink(path) == 0);
    CHECK_INT(repo_ingest_dir(f.r, f.dir, &in, &err), -ERR_INVALID);
    CHECK(strstr(err.msg, "store is the store itself"));
    err_clear(&err);
    CHECK_INT(count_objects(&f), 0); /* what came before it is gone again */
    CHECK(in.manifest.files == NULL);
    fixture_close(&f);
}

/* ---- a source that changes
 * ------------------------------------------------------------ */

struct writer {
    const char *path;
    volatile bool stop;
};

static void *
keep_touching(void *arg)
{
    struct writer *w = arg;
    int fd = open(w->path, O_WRONLY | O_CLOEXEC);

    while (!w->stop)
        if (fd < 0 || pwrite(fd, "x", 1, 5) != 1)
            break;
    close(fd);
    return NULL;
}

TEST(test_repo_ingest__a_file_that_is_being_written)
{
    struct fixture f;
    struct repo_ingest in;
    struct err err = ERR_INIT;
    struct writer w = { .stop = false };
    char path[1024];
    char *bytes = xcalloc(1, 48 << 20);
    pthread_t thread;
    int r;

    fixture_new(&f);
    put_file(&f, "src/big", bytes, 48 << 20);
    put_text(&f, "src/a", "small");
    w.path = below(&f, "src/big", path);
    CHECK(pthread_create(&thread, NULL, keep_touching, &w) == 0);
    usleep(20000);
    r = try_ingest(&f, "src", &in, &err);
    w.stop = true;
    pthread_join(thread, NULL);
    CHECK_INT(r, -ERR_CONFLICT);
    CHECK(strstr(err.msg, "big: modified during push"));
    CHECK_INT(count_objects(&f), 0);
    free(bytes);
    fixture_close(&f);
}

/* Changed after it was read and before the last file was: the set would be a mix. */
struct late {
    struct objects o;
    struct objects *real;
    const char *path;
    int n_puts;
};

static int
late_put(struct objects *o, struct objects_put *p, struct err *err)
{
    struct late *l = (struct late *)(void *)o;

    if (++l->n_puts == 2)
        overwrite(l->path, 0, "X", 1);
    return l->real->ops->put(l->real, p, err);
}

static int
late_delete(struct objects *o, const struct digest *d, struct err *err)
{
    struct late *l = (struct late *)(void *)o;

    return l->real->ops->delete (l->real, d, err);
}

static void
late_forget(struct objects *o)
{
    struct late *l = (struct late *)(void *)o;

    l->real->ops->forget(l->real);
}

TEST(test_repo_ingest__a_file_that_was_written_after_its_turn)
{
    static const struct objects_ops ops = { .put = late_put,
                                            .delete = late_delete,
                                            .forget = late_forget };
    struct late late = { .o = { .ops = &ops } };
    struct fixture f;
    struct repo_ingest in;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    put_text(&f, "src/a", "first");
    put_text(&f, "src/b", "second");
    late.path = below(&f, "src/a", path);
    late.real = f.r->objects;
    f.r->objects = &late.o;
    CHECK_INT(try_ingest(&f, "src", &in, &err), -ERR_CONFLICT);
    CHECK(strstr(err.msg, "a: modified during push"));
    f.r->objects = late.real;
    CHECK_INT(count_objects(&f), 0);
    fixture_close(&f);
}

/* ---- what a name is worth
 * --------------------------------------------------------------- */

TEST(test_repo_ingest__a_torn_object_without_a_row_is_replaced)
{
    static const struct {
        const char *bytes;
        bool kept;
    } cases[] = { { "weights 1", true },
                  { "", false },
                  { "weights", false },
                  { "weightsX1", false },
                  { "weights 1 and more", false } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct digest d;
        struct stat before, after;
        char hex[DIGEST_HEX_BYTES], name[200], path[1024];

        fixture_new(&f);
        put_model(&f, "src", "1");
        sha256_of("weights 1", 9, &d);
        digest_hex(&d, hex);
        snprintf(name, sizeof(name), "store/objects/%.2s/%s", hex, hex + 2);
        put_text(&f, name, cases[i].bytes);
        CHECK(stat(below(&f, name, path), &before) == 0);
        push(&f, "src", "a");
        CHECK(stat(below(&f, name, path), &after) == 0);
        CHECK_INT(before.st_ino == after.st_ino, cases[i].kept);
        check_clean(&f);
        CHECK_INT(count_files(below(&f, "store/stage", path)), 0);
        fixture_clear(&f);
    }
}

TEST(test_repo_ingest__an_object_that_lost_bytes_is_healed)
{
    struct fixture f;
    struct digest d;
    struct repo_check c;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "src", "1");
    push(&f, "src", "a");
    sha256_of("weights 1", 9, &d);
    CHECK(chmod(object_file(&f, &d, path), 0600) == 0 && truncate(path, 3) == 0);
    CHECK_INT(repo_check(f.r, &c, NULL, NULL, &err), -ERR_FAILED);
    err_clear(&err);
    push(&f, "src", "a");
    check_clean(&f);
    CHECK(unlink(path) == 0);
    push(&f, "src", "b");
    check_clean(&f);
    fixture_close(&f);
}

/* Between ingest and record another process gives up on the same bytes. */
TEST(test_repo_ingest__an_object_that_goes_meanwhile_is_noticed)
{
    struct fixture f;
    struct repo_ingest in;
    struct repo_version v;
    struct err err = ERR_INIT;
    bool is_new;

    fixture_new(&f);
    put_model(&f, "src", "1");
    CHECK_OK(try_ingest(&f, "src", &in, &err));
    repo_ingest_drop(f.r, &in.manifest);
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_ERR(repo_version_add(f.r, "a", &in.manifest, "{}", &v, &is_new, &err),
              ERR_BUSY);
    db_rollback(f.r->db);
    repo_ingest_release(&in);
    push(&f, "src", "a");
    check_clean(&f);
    fixture_close(&f);
}

/* ---- many and big ones ---- */

TEST(test_repo_ingest__more_files_than_wait_at_once)
{
    struct fixture f;
    struct repo_ingest in;
    struct rlimit few = { 64, 64 }, were;
    struct err err = ERR_INIT;

    fixture_new(&f);
    for (int i = 0; i < 600; i++) {
        char path[64], text[32];

        snprintf(path, sizeof(path), "src/%03d", i);
        snprintf(text, sizeof(text), "%d", i % 500); /* some twice, far apart */
        put_text(&f, path, text);
    }
    CHECK(getrlimit(RLIMIT_NOFILE, &were) == 0);
    few.rlim_max = were.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_OK(try_ingest(&f, "src", &in, &err));
    CHECK(setrlimit(RLIMIT_NOFILE, &were) == 0);
    CHECK_INT(in.n_new_files, 500);
    CHECK_INT(count_objects(&f), 501);
    repo_ingest_release(&in);
    push(&f, "src", "a");
    check_clean(&f);
    fixture_close(&f);
}

/* Sizes at the edges of small and big, of a buffer and of the ring. */
TEST(test_repo_ingest__sizes)
{
    static const size_t sizes[] = { 0,
                                    1,
                                    4095,
                                    (1 << 20) - 1,
                                    1 << 20,
                                    (1 << 20) + 1,
                                    (4 << 20) - 1,
                                    4 << 20,
                                    (4 << 20) + 4096,
                                    (20 << 20) + 1,
                                    (29 << 20) - 3 };
    struct fixture f;
    struct repo_ingest in;
    struct err err = ERR_INIT;
    char *bytes = xmalloc(29 << 20);
    const size_t n = sizeof(sizes) / sizeof(sizes[0]);

    for (size_t i = 0; i < (29 << 20); i++)
        bytes[i] = (char)(i * i >> 9 ^ i);
    fixture_new(&f);
    for (size_t i = 0; i < n; i++) {
        char path[32];

        snprintf(path, sizeof(path), "src/%02zu", i);
        put_file(&f, path, bytes, sizes[i]);
    }
    CHECK_OK(try_ingest(&f, "src", &in, &err));
    CHECK_INT(in.n_new_files, n);
    for (size_t i = 0; i < n; i++) {
        struct digest want;

        sha256_of(bytes, sizes[i], &want);
        CHECK(digest_eq(&in.manifest.files[i].digest, &want));
        CHECK_OK(objects_verify(f.r->objects, &want, &err));
    }
    repo_ingest_release(&in);
    push(&f, "src", "a");
    check_clean(&f);
    free(bytes);
    fixture_close(&f);
}

static int
try_put(struct fixture *f, const char *path, int64_t size_bytes,
        const struct objects_crc *crcs, int n_crcs, struct err *err)
{
    int fd AUTO(fs_close) = open(path, O_RDONLY | O_CLOEXEC);
    struct objects_file file = {
        .fd = fd, .size_bytes = size_bytes, .crcs = crcs, .n_crcs = n_crcs
    };
    struct objects_put put = { .what = "w", .file = &file };
    int r = f->r->objects->ops->put(f->r->objects, &put, err);

    if (r == 0)
        r = f->r->objects->ops->sync(f->r->objects, err);
    return r < 0 ? r : put.size_bytes == size_bytes ? 0 : 1;
}

TEST(test_repo_ingest__checksums_of_tensors)
{
    enum { SMALL = 1000, BIG = 9 << 20 };

    for (int big = 0; big < 2; big++) {
        const int n = big ? BIG : SMALL;
        const int cut =
            big ? 4 << 20 : 500; /* the second tensor lies across a buffer */
        struct objects_crc crcs[3] = {
            { .offset = 0, .size_bytes = 10, .name = STR_LIT("a") },
            { .offset = cut - 50, .size_bytes = 100, .name = STR_LIT("b") },
            { .offset = n - 20, .size_bytes = 20, .name = STR_LIT("c") }
        };
        const struct {
            int flip, r; /* byte that is changed, -1: none */
        } cases[] = { { -1, 0 },
                      { 5, -ERR_CORRUPT },
                      { cut, -ERR_CORRUPT },
                      { n - 1, -ERR_CORRUPT },
                      { 200, 0 } };
        char *bytes = xcalloc(1, (size_t)n);
        struct fixture f;
        char path[1024];

        for (int i = 0; i < n; i++)
            bytes[i] = (char)(i >> 4 ^ i);
        for (int i = 0; i < 3; i++)
            crcs[i].crc32c = crc32c_mask(
                crc32c(0, bytes + crcs[i].offset, (size_t)crcs[i].size_bytes));
        fixture_new(&f);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            struct err err = ERR_INIT;

            if (cases[i].flip >= 0)
                bytes[cases[i].flip] ^= 1;
            put_file(&f, "w", bytes, (size_t)n);
            CHECK_INT(try_put(&f, below(&f, "w", path), n, crcs, 3, &err), cases[i].r);
            CHECK(cases[i].r == 0 || strstr(err.msg, "tensor '"));
            if (cases[i].flip >= 0)
                bytes[cases[i].flip] ^= 1;
        }
        /* cut short behind our back: said by its size, not by its checksums */
        struct err err = ERR_INIT;

        put_file(&f, "w", bytes, (size_t)cut + 10);
        CHECK_INT(try_put(&f, below(&f, "w", path), n, crcs, 3, &err), 1);
        CHECK(f.r->objects->ops->is_settled(f.r->objects));
        free(bytes);
        fixture_clear(&f);
    }
}

/* Holes of a file are holes of its object, with the same digest; a tensor may lie
 * across one. */
TEST(test_repo_ingest__holes)
{
    static const int sizes[] = { 900000, (29 << 20) + 5, 33 << 20 };
    struct fixture f;
    char path[1024];

    fixture_new(&f);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const int n = sizes[i], mid = n / 2 / 4096 * 4096 + 4093;
        struct objects_crc crc = { .offset = 7,
                                   .size_bytes = mid,
                                   .name = STR_LIT("a") };
        char *bytes = xcalloc(1, (size_t)n);
        struct err err = ERR_INIT;
        struct digest want;
        struct stat st;

        memcpy(bytes, "begin", 5);
        memcpy(bytes + mid, "midst", 5);
        put_file(&f, "w", "begin", 5);
        below(&f, "w", path);
        {
            int fd AUTO(fs_close) = open(path, O_WRONLY | O_CLOEXEC);

            CHECK(pwrite(fd, "midst", 5, mid) == 5 && ftruncate(fd, n) == 0);
            CHECK(fsync(fd) == 0 && fstat(fd, &st) == 0);
            if (st.st_blocks > 64)
                unit_skip("a file system without holes");
        }
        crc.crc32c = crc32c_mask(crc32c(0, bytes + 7, (size_t)mid));
        CHECK_OK(try_put(&f, path, n, &crc, 1, &err));
        sha256_of(bytes, (size_t)n, &want);
        CHECK_OK(objects_verify(f.r->objects, &want, &err));
        CHECK(stat(object_file(&f, &want, path), &st) == 0 && st.st_size == n);
        CHECK(st.st_blocks * 512 <= 4 * FS_HOLE_BYTES);
        crc.crc32c ^= 1;
        CHECK_ERR(try_put(&f, below(&f, "w", path), n, &crc, 1, &err), ERR_CORRUPT);
        err_clear(&err);
        CHECK(truncate(path, n - 200000) == 0); /* cut short, in its last hole */
        CHECK_INT(try_put(&f, path, n, NULL, 0, &err), 1);
        free(bytes);
    }
    fixture_clear(&f);
}

TEST(test_repo_ingest__what_waits_can_be_deleted)
{
    struct fixture f;
    struct digest d;
    struct err err = ERR_INIT;
    int64_t size_bytes;
    char path[1024];

    for (int after_sync = 0; after_sync < 2; after_sync++) {
        int fd AUTO(fs_close) = -1;
        struct objects_file file = { .size_bytes = 3 };
        struct objects_put put = { .what = "w", .file = &file };

        fixture_new(&f);
        put_text(&f, "w", "abc");
        CHECK_OK(fs_open(&fd, AT_FDCWD, below(&f, "w", path), O_RDONLY, 0, &err));
        file.fd = fd;
        CHECK_OK(f.r->objects->ops->put(f.r->objects, &put, &err));
        CHECK(put.is_new && !f.r->objects->ops->is_settled(f.r->objects));
        sha256_of("abc", 3, &d);
        if (after_sync)
            CHECK_OK(f.r->objects->ops->sync(f.r->objects, &err));
        CHECK_INT(f.r->objects->ops->has(f.r->objects, &d, &size_bytes, &err),
                  after_sync);
        CHECK_OK(f.r->objects->ops->delete (f.r->objects, &d, &err));
        CHECK_OK(f.r->objects->ops->sync(f.r->objects, &err));
        CHECK_INT(f.r->objects->ops->has(f.r->objects, &d, &size_bytes, &err), 0);
        fixture_clear(&f);
    }
}

/* ---- a full disk
 * -------------------------------------------------------------------------- */

TEST(test_repo_ingest__full_disk)
{
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;
    char path[1024];
    char *bytes = xcalloc(1, 3 << 20);
    bool is_new;

    fixture_paths(&f);
    CHECK(mkdir(f.path, 0700) == 0);
    if (mount("tmpfs", f.path, "tmpfs", 0, "size=8m") < 0) {
        free(bytes);
        unit_skip("no right to mount a small file system: %s", strerror(errno));
    }
    CHECK_OK(fixture_try_init(&f, &err));
    fixture_open(&f);
    put_model(&f, "good", "1");
    push(&f, "good", "a");
    for (int i = 0; i < 4; i++) {
        char name[32];

        snprintf(name, sizeof(name), "src/part%d", i);
        bytes[0] = (char)i;
        put_file(&f, name, bytes, 3 << 20);
    }
    CHECK_INT(try_push(&f, "src", "a", &v, &is_new, &err), -ERR_IO);
    CHECK_INT(err.sys, ENOSPC);
    CHECK(strstr(err.msg, "part") && strstr(err.msg, "No space left"));
    err_clear(&err);
    CHECK_INT(check_clean(&f).n_versions, 1);
    CHECK_INT(count_objects(&f), 4);
    /* what is left is room again */
    CHECK_OK(fs_remove_tree(AT_FDCWD, below(&f, "src/part3", path), &err));
    CHECK_OK(fs_remove_tree(AT_FDCWD, below(&f, "src/part2", path), &err));
    CHECK_OK(fs_remove_tree(AT_FDCWD, below(&f, "src/part1", path), &err));
    CHECK_INT(push(&f, "src", "a").number, 2);
    check_clean(&f);
    fixture_close(&f);
    CHECK(umount(f.path) == 0);
    free(bytes);
}

/* ---- faults
 * --------------------------------------------------------------------------------- */

#ifdef TEST_FAULT
static int
child_push(struct fixture *f, const char *fault)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct err err = ERR_INIT;
        struct repo_version v;
        bool is_new;

        if (fixture_try_open(f, &err) < 0)
            _exit(3);
        setenv("TEST_FAULT", fault, 1);
        if (try_push(f, "src", "a", &v, &is_new, &err) < 0)
            _exit(err.msg[0] ? 1 : 4);
        _exit(acc_publish(f->r->acc, &err) < 0 ? 2 : 0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) <= 2);
    return status;
}

/* Its biggest file goes through the ring of buffers. */
static void
put_big_model(struct fixture *f, const char *dir)
{
    const size_t n = (5 << 20) + 100;
    char path[256], *bytes = xcalloc(1, n);

    put_model(f, dir, "1");
    snprintf(path, sizeof(path), "%s/variables/variables.data-00000-of-00001", dir);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 7 >> 3);
    put_file(f, path, bytes, n);
    free(bytes);
}

/* After whatever befell the push: absent or complete, and the same push succeeds. */
static void
push_loop(const char *call, const char *what, bool is_big)
{
    for (int n = 1;; n++) {
        struct fixture f;
        struct err err = ERR_INIT;
        struct repo_version v;
        struct acc_verify audit;
        char fault[64], path[1024];
        bool is_new, stands;
        int status;

        CHECK(n < 300);
        fixture_new(&f);
        put_model(&f, "before", "0");
        if (is_big)
            put_big_model(&f, "src");
        else
            put_model(&f, "src", "1");
        push(&f, "before", "a");
        CHECK_OK(acc_publish(f.r->acc, &err));
        fixture_close(&f);
        snprintf(fault, sizeof(fault), "%s:%d:%s", call, n, what);
        status = child_push(&f, fault);
        fixture_open(&f);
        stands = check_clean(&f).n_versions == 2;
        if (WIFEXITED(status)) /* acknowledged or not */
            CHECK_INT(stands, WEXITSTATUS(status) != 1);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 1) {
            /* four of `before`, and nothing of what failed at ingest; a failure in
             * the transaction may leave whole objects for gc */
            CHECK(count_objects(&f) == 4 || count_objects(&f) == 7);
        }
        CHECK_OK(acc_verify(f.r->acc, &audit, &err));
        CHECK_INT(audit.n_events, stands ? 2 : 1);
        CHECK_OK(try_push(&f, "src", "a", &v, &is_new, &err));
        CHECK_INT(is_new, !stands);
        CHECK(v.number >= 2);
        CHECK_OK(acc_publish(f.r->acc, &err));
        CHECK_INT(check_clean(&f).n_versions, 2);
        CHECK_INT(count_objects(&f), 7);
        CHECK_INT(count_files(below(&f, "store/stage", path)), 0);
        CHECK_OK(acc_verify(f.r->acc, &audit, &err));
        fixture_clear(&f);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            return;
    }
}

TEST(test_repo_ingest__push_killed_at_every_call)
{
    push_loop("any", "kill", false);
    push_loop("write", "kill", true);
    push_loop("fsync", "kill", true);
}

TEST(test_repo_ingest__every_call_of_a_push_fails)
{
    push_loop("any", "EIO", false);
    push_loop("any", "ENOSPC", false);
    push_loop("write", "ENOSPC", true);
}

TEST(test_repo_ingest__failed_sync_is_no_success)
{
    push_loop("fsync", "EIO", false);
    push_loop("fsync", "EIO", true);
    push_loop("commit", "ENOSPC", false);
}
#endif

#ifdef TEST_FAULT
/* A file system that wants another alignment, or has no fallocate: write 1 is that of
 * the small file before, 2 makes room, the others are pieces. */
TEST(test_repo_ingest__without_direct_writes)
{
    for (int n = 2; n <= 4; n++) {
        struct fixture f;
        char fault[64];

        fixture_new(&f);
        put_big_model(&f, "src");
        snprintf(fault, sizeof(fault), "write:%d:EINVAL", n);
        CHECK(setenv("TEST_FAULT", fault, 1) == 0);
        push(&f, "src", "a");
        CHECK(unsetenv("TEST_FAULT") == 0);
        check_clean(&f);
        fixture_clear(&f);
    }
}
#endif

TEST(test_repo_ingest__over_a_versions_files)
{
    struct fixture f;
    struct repo_ingest in;
    struct repo_manifest base;
    const struct repo_ingest_opts opts = { .over = &base };
    struct repo_version v;
    struct err err = ERR_INIT;
    char path[1024];
    bool is_new;

    fixture_new(&f);
    put_text(&f, "old/a", "stays");
    put_text(&f, "old/v/x", "old weights");
    put_text(&f, "old/z", "stays too");
    push(&f, "old", "m");
    put_text(&f, "new/v/x", "new weights");
    put_text(&f, "new/v/y", "more");
    CHECK_OK(repo_resolve(f.r, "m", &v, &err));
    CHECK_OK(repo_manifest_get(f.r, &v.digest, &base, &err));
    CHECK_OK(repo_ingest(f.r, below(&f, "new", path), &opts, &in, &err));
    CHECK_INT(in.manifest.n_files, 4);
    CHECK_STR(in.manifest.files[0].path, "a");
    CHECK(digest_eq(&in.manifest.files[0].digest, &base.files[0].digest));
    CHECK_STR(in.manifest.files[1].path, "v/x");
    CHECK(!digest_eq(&in.manifest.files[1].digest, &base.files[1].digest));
    CHECK_STR(in.manifest.files[2].path, "v/y");
    CHECK_STR(in.manifest.files[3].path, "z");
    CHECK_INT(in.manifest.size_bytes, 5 + 11 + 4 + 9);
    CHECK_INT(in.n_new_files, 2);
    CHECK_INT(in.new_bytes, 15);

    int n_objects = count_objects(&f);
    repo_ingest_drop(f.r,
                     &in.manifest); /* the two, and the manifest: no row names them */
    CHECK_INT(count_objects(&f), n_objects - 3);
    repo_ingest_release(&in);
    CHECK_OK(repo_ingest(f.r, below(&f, "new", path), &opts, &in, &err));
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_version_add(f.r, "m", &in.manifest, "{}", &v, &is_new, &err));
    CHECK_OK(db_commit(f.r->db, &err));
    CHECK(is_new);
    CHECK_INT(v.number, 2);
    repo_ingest_release(&in);
    repo_manifest_release(&base);
    check_clean(&f);
    fixture_close(&f);
}
