#!/bin/sh
# usage: calls.sh SLUICE DRIVER   TAP: each libc call by which SLUICE can touch a file is one that
# DRIVER (tests/crash/shim.c) stands before, or stands here with the reason why not.
sluice=$1 driver=$2
# close: Linux closes whatever it answers. stdio: only the check of the log reads by it, and
# a read that fails there is told. statvfs: room is a hint. realpath, getcwd: paths of targets.
exempt='close closedir dirfd fopen fopen64 fdopen fclose fread fwrite fflush fgets fseek ftell fileno __getdelim
lseek madvise munmap mremap mprotect mlock realpath getcwd mkdtemp memfd_create pipe2 dup poll select
fstatvfs statvfs utime msync'
files='open open64 openat openat64 creat read pread pread64 readv preadv write pwrite pwrite64 writev pwritev
copy_file_range sendfile sendfile64 splice fsync fdatasync syncfs sync sync_file_range fallocate fallocate64
posix_fallocate ftruncate ftruncate64 truncate truncate64 stat stat64 lstat lstat64 fstat fstat64 fstatat
fstatat64 statx access faccessat euidaccess readlink readlinkat readdir readdir64 opendir fdopendir scandir
scandirat link linkat symlink symlinkat rename renameat renameat2 unlink unlinkat remove rmdir mkdir mkdirat
chmod fchmod fchmodat chown fchown fchownat lchown utimensat futimens utimes flock fcntl fcntl64 lockf ioctl
mmap mmap64 getrandom tmpfile mkstemp mkostemp mkdtemp nftw ftw fts_open mknod mkfifo malloc calloc realloc'
imports=$(nm -D --undefined-only "$sluice" | sed 's/.* U //; s/@.*//')
defined=$(nm --defined-only "$driver" | sed -n 's/.* T //p')
missing=
for call in $files; do
    echo "$imports" | grep -qx "$call" || continue
    echo $exempt | tr ' ' '\n' | grep -qx "$call" && continue
    echo "$defined" | grep -qx "$call" || missing="$missing $call"
done
if [ -z "$missing" ]; then
    echo "ok 1 - every call that touches a file can be made to fail"
else
    echo "not ok 1 - tests/crash/shim.c does not stand before:$missing"
fi
echo "1..1"
