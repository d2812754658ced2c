/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tar.h"
#include "tests/unit/unit.h"

#include "base/fs.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static void
put(struct tar_out *t, const char *name, const char *text)
{
    struct err err = ERR_INIT;

    CHECK_OK(tar_file(t, name, (int64_t)strlen(text), 0644, &err));
    CHECK_OK(tar_write(t, text, strlen(text), &err));
}

TEST(test_tar__what_goes_in_comes_out)
{
    struct err err = ERR_INIT;
    struct tar_out out = { .fd = memfd_create("tar", 0) };
    struct tar_in in = { .fd = out.fd, .what = "test" };
    struct tar_entry e;
    char long_name[101], got[64];

    put(&out, "one", "first");
    put(&out, "dir/empty", "");
    put(&out, "two", "the second");
    memset(long_name, 'n', 100);
    long_name[100] = '\0';
    CHECK_ERR(tar_file(&out, long_name, 1, 0644, &err), ERR_LIMIT);
    CHECK_OK(tar_end(&out, &err));
    CHECK_INT(lseek(out.fd, 0, SEEK_CUR) % 512, 0);
    CHECK_INT(lseek(out.fd, 0, SEEK_SET), 0);
    CHECK_INT(tar_next(&in, &e, &err), 1);
    CHECK_STR(e.name, "one");
    CHECK_INT(tar_read(&in, got, 3, &err), 3); /* the rest is passed over */
    CHECK_INT(tar_next(&in, &e, &err), 1);
    CHECK_STR(e.name, "dir/empty");
    CHECK_INT(e.size_bytes, 0);
    CHECK_INT(tar_next(&in, &e, &err), 1);
    CHECK_INT(tar_read(&in, got, sizeof(got), &err), 10);
    CHECK(memcmp(got, "the second", 10) == 0);
    CHECK_INT(tar_next(&in, &e, &err), 0);
    close(out.fd);
}

/* 8 GiB and more do not fit into octal digits; every size that is written is read. */
TEST(test_tar__sizes)
{
    const int64_t sizes[] = { 0, 511, INT64_C(077777777777), INT64_C(0100000000000),
                              INT64_C(1) << 40 };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct err err = ERR_INIT;
        struct tar_out out = { .fd = memfd_create("tar", 0) };
        struct tar_in in = { .fd = out.fd, .what = "test" };
        struct tar_entry e;

        CHECK_OK(tar_file(&out, "big", sizes[i], 0644, &err));
        CHECK_INT(lseek(out.fd, 0, SEEK_SET), 0);
        CHECK_INT(tar_next(&in, &e, &err), 1);
        CHECK_INT(e.size_bytes, sizes[i]);
        close(out.fd);
    }
}

TEST(test_tar__every_flipped_bit_of_a_header)
{
    struct err err = ERR_INIT;
    struct tar_out out = { .fd = memfd_create("tar", 0) };
    char good[512];

    put(&out, "name", "");
    CHECK_OK(tar_end(&out, &err));
    CHECK_INT(pread(out.fd, good, 512, 0), 512);
    for (int bit = 0; bit < 512 * 8; bit++) {
        struct tar_in in = { .fd = out.fd, .what = "test" };
        struct tar_entry e;
        char bad[512];

        memcpy(bad, good, 512);
        bad[bit / 8] = (char)(bad[bit / 8] ^ 1 << bit % 8);
        CHECK_INT(pwrite(out.fd, bad, 512, 0), 512);
        CHECK_INT(lseek(out.fd, 0, SEEK_SET), 0);
        if (tar_next(&in, &e, &err) == 1) /* the digits may be written another way */
            CHECK(bit / 8 >= 148 && bit / 8 < 156);
        err_clear(&err);
    }
    close(out.fd);
}
