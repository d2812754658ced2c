/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo_int.h"
#include "tests/unit/repo/repo_fixture.h"

#include <linux/magic.h>

TEST(test_repo_place__network_file_systems_are_refused)
{
    static const struct {
        uint32_t magic;
        const char *name;
    } network[] = { { NFS_SUPER_MAGIC, "NFS" }, { SMB_SUPER_MAGIC, "SMB" },
                    { 0xff534d42, "CIFS" },     { 0xfe534d42, "SMB" },
                    { 0x01021997, "9P" },       { 0x00c36400, "CephFS" },
                    { 0x0bd00bd0, "Lustre" },   { 0x47504653, "GPFS" },
                    { AFS_SUPER_MAGIC, "AFS" } };
    static const uint32_t local[] = { EXT4_SUPER_MAGIC,  XFS_SUPER_MAGIC,
                                      BTRFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC,
                                      TMPFS_MAGIC,       0x65735546 };
    struct err err = ERR_INIT;
    const char *name;

    for (size_t i = 0; i < sizeof(network) / sizeof(network[0]); i++) {
        CHECK_INT(repo_fs_kind(network[i].magic, &name), REPO_FS_NETWORK);
        CHECK_STR(name, network[i].name);
        CHECK(repo_check_fs("/srv/store", network[i].magic, &err) < 0);
        CHECK(strstr(err.msg, "/srv/store lies on ") && strstr(err.msg, name));
        err_clear(&err);
    }
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        CHECK_OK(repo_check_fs("/srv/store", local[i], &err));
    CHECK_INT(repo_fs_kind(0x65735546, &name), REPO_FS_MAYBE);
}

TEST(test_repo_place__modes_that_let_others_in)
{
    struct fixture f;
    struct err err = ERR_INIT;
    char key[1024];

    fixture_new(&f);
    fixture_close(&f);
    snprintf(key, sizeof(key), "%s/keys/store.key", f.path);
    CHECK(chmod(f.path, 0755) == 0);
    fixture_open(&f);
    fixture_close(&f);
    CHECK(chmod(f.path, 0770) == 0);
    CHECK_ERR(fixture_try_open(&f, &err), ERR_DENIED);
    CHECK(chmod(f.path, 0702) == 0);
    CHECK_ERR(fixture_try_open(&f, &err), ERR_DENIED);
    CHECK(chmod(f.path, 0700) == 0 && chmod(key, 0604) == 0);
    CHECK_ERR(fixture_try_open(&f, &err), ERR_DENIED);
    CHECK(chmod(key, 0400) == 0);
    fixture_open(&f);
    CHECK(!f.r->is_read_only);
    fixture_close(&f);
}

TEST(test_repo_place__another_users_store)
{
    struct err err = ERR_INIT;
    struct fixture f;
    struct stat st;
    pid_t child;
    int status;

    if (geteuid() != 0)
        unit_skip("needs root");
    fixture_new(&f);
    fixture_close(&f);
    CHECK(chmod(f.path, 0755) == 0 && stat(f.path, &st) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int dirfd = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool told = dirfd >= 0 && setuid(54321) == 0 &&
                    repo_check_owner(dirfd, f.path, &st, &err) == -ERR_DENIED &&
                    strstr(err.msg, " belongs to root, and a store is for its owner");

        _exit(told ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
}
