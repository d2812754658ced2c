/* SPDX-License-Identifier: Apache-2.0 */
/* Where a store lies and whose it is. It belongs to one Unix user, who alone can enter
 * it, on a file system of this machine: SQLite's write-ahead log shares memory between
 * processes, and flock must hold against all of them. */
#include "repo/repo_int.h"

#include <errno.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#define KEY_FILE "keys/store.key"

#ifndef ST_RDONLY
#define ST_RDONLY 1
#endif

/* Magic numbers that linux/magic.h may not have. */
#define MAGIC_9P 0x01021997
#define MAGIC_CEPH 0x00c36400
#define MAGIC_CIFS 0xff534d42
#define MAGIC_FUSE 0x65735546
#define MAGIC_GFS2 0x01161970
#define MAGIC_GPFS 0x47504653
#define MAGIC_LUSTRE 0x0bd00bd0
#define MAGIC_OCFS2 0x7461636f
#define MAGIC_SMB2 0xfe534d42
#define MAGIC_VBOX 0x786f4256
#define MAGIC_VMHGFS 0xbacbacbc

static const struct {
    uint32_t magic;
    enum repo_fs_kind kind;
    const char *name;
} known[] = {
    { NFS_SUPER_MAGIC, REPO_FS_NETWORK, "NFS" },
    { SMB_SUPER_MAGIC, REPO_FS_NETWORK, "SMB" },
    { MAGIC_CIFS, REPO_FS_NETWORK, "CIFS" },
    { MAGIC_SMB2, REPO_FS_NETWORK, "SMB" },
    { MAGIC_9P, REPO_FS_NETWORK, "9P" },
    { MAGIC_CEPH, REPO_FS_NETWORK, "CephFS" },
    { MAGIC_LUSTRE, REPO_FS_NETWORK, "Lustre" },
    { MAGIC_GPFS, REPO_FS_NETWORK, "GPFS" },
    { MAGIC_GFS2, REPO_FS_NETWORK, "GFS2" },
    { MAGIC_OCFS2, REPO_FS_NETWORK, "OCFS2" },
    { MAGIC_VBOX, REPO_FS_NETWORK, "VirtualBox's shared folders" },
    { MAGIC_VMHGFS, REPO_FS_NETWORK, "VMware's shared folders" },
    { AFS_SUPER_MAGIC, REPO_FS_NETWORK, "AFS" },
    { CODA_SUPER_MAGIC, REPO_FS_NETWORK, "Coda" },
    { MAGIC_FUSE, REPO_FS_MAYBE, "FUSE" },
    { OVERLAYFS_SUPER_MAGIC, REPO_FS_PASSING, "overlay" },
    { TMPFS_MAGIC, REPO_FS_PASSING, "tmpfs" },
};

enum repo_fs_kind
repo_fs_kind(uint32_t magic, const char **name)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].magic == magic) {
            *name = known[i].name;
            return known[i].kind;
        }
    *name = "local";
    return REPO_FS_LOCAL;
}

int
repo_check_fs(const char *path, uint32_t magic, struct err *err)
{
    const char *name;

    if (repo_fs_kind(magic, &name) != REPO_FS_NETWORK)
        return 0;
    return err_set(err, ERR_UNSUPPORTED,
                   "%s lies on %s, a file system of several machines: the catalogue's "
                   "log and locks hold on one machine only. Keep the store on a disk "
                   "of this machine; its targets may be elsewhere",
                   path, name);
}

int
repo_place_look(int dirfd, const char *path, bool *is_read_only, struct err *err)
{
    struct statfs fs;

    if (fstatfs(dirfd, &fs) < 0)
        return err_sys(err, errno, "statfs %s", path);
    *is_read_only = ((unsigned long)fs.f_flags & ST_RDONLY) != 0;
    return repo_check_fs(path, (uint32_t)fs.f_type, err);
}

/* ---- owner and modes ---- */

static void
owner_name(uid_t uid, char out[64])
{
    char text[4096];
    struct passwd pw, *found = NULL;

    if (getpwuid_r(uid, &pw, text, sizeof(text), &found) == 0 && found)
        snprintf(out, 64, "%s", found->pw_name);
    else
        snprintf(out, 64, "user %lu", (unsigned long)uid);
}

int
repo_not_yours(const char *path, uid_t owner, struct err *err)
{
    char name[64];

    owner_name(owner, name);
    return err_set(
        err, ERR_DENIED,
        "%s belongs to %s, and a store is for its owner alone: run this as "
        "%s (sudo -u %s sluice ...), ask its service (--server), or make one of "
        "your own: sluice --store DIR init",
        path, name, name, name);
}

int
repo_check_owner(int dirfd, const char *path, const struct stat *st, struct err *err)
{
    struct stat key;

    if (geteuid() != 0 && st->st_uid != geteuid())
        return repo_not_yours(path, st->st_uid, err);
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return err_set(err, ERR_DENIED,
                       "%s has mode %04o: others can put files of theirs into it. "
                       "chmod 700 %s, and sluice fsck says whether somebody did",
                       path, (unsigned)(st->st_mode & 07777), path);
    if (fstatat(dirfd, KEY_FILE, &key, AT_SYMLINK_NOFOLLOW) == 0 && (key.st_mode & 077))
        return err_set(err, ERR_DENIED,
                       "%s/" KEY_FILE " has mode %04o: others may have read it, and "
                       "who has it can sign the log. chmod 600 %s/" KEY_FILE,
                       path, (unsigned)(key.st_mode & 07777), path);
    return 0;
}
