#!/bin/sh
# Archives are pushed without unpacking them by hand: the same version as their directory;
# what is no model's is refused by its name, and nothing is left.
. "$(dirname "$0")/lib.sh"

digest() { printf '%s\n' "$out" | sed -n 's/.*\(sha256:[0-9a-f]*\).*/\1/p'; }
sl init
sl push "$digits/v1" plain
want=$(digest)
tar -C "$digits" -cf m.tar v1
tar -C "$digits" -czf m.tar.gz v1
tar -C "$digits/v1" --zstd -cf flat.tar.zst .
if command -v zip >/dev/null 2>&1; then
    (cd "$digits" && zip -qr "$scratch/m.zip" v1)
else
    skip "m.zip is the same version as its directory" "there is no zip(1)"
fi
# Archives of a model and one entry more.
with() { # archive, tar's arguments…
    archive=$1
    shift
    tar -C "$digits/v1" -cf "$archive" saved_model.pb
    tar -rPf "$archive" "$@"
}
mkdir e e/d
echo 1 >e/a
echo 2 >e/d/b
ln -s /etc e/link
ln e/a e/hard
mkfifo e/pipe
: >"e/$(printf 'a\033[2Jb')"
echo 3 >e/suid && chmod u+s e/suid
truncate -s 400M e/zeros
with absolute.tar -C e --transform 's,^,/etc/,' a
with dots.tar -C e --transform 's,^,a/../../,' a
with symlink.tar -C e link
with hardlink.tar -C e a hard
with device.tar -C /dev null
with fifo.tar -C e pipe
with twice.tar -C e d/b
tar -C e -rf twice.tar ./d/b
with both.tar -C e a --transform 's,^d,a,' d/b
with control.tar -C e "$(printf 'a\033[2Jb')"
with suid.tar -C e suid
tar -C e -czf bomb.tar.gz zeros
for f in m.tar m.tar.gz flat.tar.zst m.zip; do
    [ -f "$f" ] || continue
    sl push "$f" "of-$f"
    is "$f is the same version as its directory" "$(digest)" "$want"
done
sl push m.tar.gz dry --dry-run
prints "an archive in a dry run" 'dry@1 .* would be stored: 0 of 4 files new'
sl push m.tar plain
prints "an archive of what is there already" 'plain@1 .*unchanged'
is "its objects are read-only, with one name each" \
    "$(find "$SLUICE_STORE/objects" -type f \( ! -perm 444 -o -links +1 \) | wc -l)" 0

refused() { # file, status, text
    sl push "$1" bad
    fails "$1: refused by name" "$2" "$3"
}
refused absolute.tar 1 '/etc/a: an absolute name'
refused dots.tar 1 "a/\.\./\.\./a: a name with '..'"
refused symlink.tar 1 'link: a symlink'
refused hardlink.tar 1 'hard: a hard link'
refused device.tar 1 'null: a device'
refused fifo.tar 1 'pipe: a FIFO'
refused twice.tar 1 'd/b: is in the archive twice'
refused both.tar 1 'a/b: a file of the archive is the directory of another'
refused control.tar 1 'a%1B\[2Jb: its name holds a control character'
refused suid.tar 1 'suid: a setuid'
refused bomb.tar.gz 1 'more than 200 times its size'
echo "no archive" >text
refused text 1 'Unrecognized archive format: push takes a directory, or'
head -c 3000 m.tar.gz >cut.tar.gz
refused cut.tar.gz 4 'the archive is damaged'
head -c 12000 m.tar >cut.tar
refused cut.tar 4 'the archive is damaged'
tar -cf nothing.tar --files-from /dev/null
refused nothing.tar 7 'SavedModel file does not exist at: nothing.tar'
mkfifo pipe
refused pipe 1 'neither a directory nor an archive'
mkdir elsewhere
SLUICE_LIBEXEC=$scratch/elsewhere sl push m.tar bad
fails "without the helper" 7 'sluice-unpack'
sl list bad
fails "no version came of it" 7 "no model 'bad'"
is "nothing is left in stage" "$(find "$SLUICE_STORE/stage" -mindepth 1 | wc -l)" 0
check "and nothing elsewhere" sh -c '[ ! -e /etc/a ] && [ ! -e a ]'
sl fsck
ok "fsck is clean"
check "sluice itself does not link libarchive" sh -c '! ldd "$(command -v sluice)" | grep -q libarchive'
# Files that are more than a page, a block and a chunk, with holes and without: as from a directory.
cp -r "$digits/v1" sizes
mkdir -p sizes/assets
head -c 200000 /dev/urandom >sizes/assets/a
head -c 3000000 /dev/urandom >sizes/assets/b
truncate -s 300K sizes/assets/c
truncate -s 5M sizes/assets/d
tar cf sizes.tar sizes
sl push sizes.tar sizes
ok "an archive of files of any size"
sl push ./sizes of-dir --json
is "they are stored already" "$(printf '%s' "$out" | python3 -c 'import json, sys; print(json.load(sys.stdin)["new_bytes"])')" 0
finish
