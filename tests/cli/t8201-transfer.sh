#!/bin/sh
# Push and pull through a service: what is missing goes, what changed comes, a kill on
# either side costs what was under way, and nothing half is ever seen.
. "$(dirname "$0")/lib.sh"

export XDG_CACHE_HOME="$scratch/cache" SLUICE_RETRY_S=60
begin() { serve "$scratch/serve-log" --socket "$scratch/s"; }
far() { sl --server "unix:$scratch/s" "$@"; }
web() { # METHOD PATH [curl's arguments…]
    method=$1 path=$2
    shift 2
    out=$(curl -sS -X "$method" --unix-socket "$scratch/s" "$@" "http://x$path" 2>&1)
}
json() { web POST "$1" -H 'Content-Type: application/json' --data-binary "$2"; }

sluice init >/dev/null
cp -r "$digits/v1" m
chmod -R u+w m
mkdir -p m/assets
head -c 24000000 /dev/urandom >m/assets/big.bin
sleep 2.1 # so that the client may believe their times
begin

far push m digits
ok "a push through a service"
prints "is a version" 'digits@1'
far push m digits
ok "and once more"
far pull digits@1 one
ok "a pull through a service"
rmdir m/assets/none 2>/dev/null
check "has what was pushed" diff -r m one
far pull digits@1 one
fails "not over what is there" 3 'there is something already'
sl fsck
ok "the store is whole"

# One part of a file changes.
dd if=/dev/urandom of=m/assets/big.bin bs=1000000 seek=9 count=1 conv=notrunc 2>/dev/null
far push m digits --json
ok "a push of what changed a little"
prints "is the next version" '"number": 2'
far pull digits@2 near --have one
ok "a pull beside an older one"
check "has what is new" diff -r m near
web GET /pull/digits/2.tar -o two.tar
mkdir two && tar xf two.tar -C two
check "an archive has it all" diff -r m two
web GET /pull/digits@2.tar.zst -o two.tar.zst
web GET /pull/digits/2.tar.zst -o again.tar.zst
check "and is always the same" cmp two.tar.zst again.tar.zst
check "also packed" sh -c 'zstd -qdc two.tar.zst | cmp - two.tar'
sl audit log --verb pull --limit 1
prints "each is on record" 'digits'
web GET /pull/nothing/1.tar.zst
prints "what is not there is told" 'NOTFOUND'
web GET "/api/v1/files?ref=digits@2&path=assets/big.bin" -H 'Range: bytes=9000000-9000009' -o some
dd if=m/assets/big.bin bs=1 skip=9000000 count=10 of=want 2>/dev/null
check "a range of a file" cmp some want
web GET "/api/v1/files?ref=digits@2&path=assets/big.bin" -H 'Range: bytes=99999999-' -D - -o none
prints "of none there is nothing" '^HTTP/1.1 416'

# What is wrong of an upload is refused, and does no harm.
json /api/v1/uploads '{"model": "digits", "files": [{"path": "../x", "size": 1}]}'
prints "a path that leaves the tree" 'INVALID'
json /api/v1/uploads '{"model": "digits", "files": [{"path": "a", "size": 3}]}'
id=$(printf '%s' "$out" | sed 's/.*"id": "\([0-9a-f]*\)".*/\1/')
abc=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
commit="{\"files\": [{\"path\": \"a\", \"size\": 3, \"sha256\": \"$abc\"}]}"
json "/api/v1/uploads/$id/commit" "$commit"
prints "a commit without parts" '"status": 409'
web PUT "/api/v1/uploads/$id/files/0?offset=1" --data-binary abc
prints "a part beyond its file" '"status": 400'
web PUT "/api/v1/uploads/$id/files/0" --data-binary abc -H 'Content-Digest: crc32c=:AAAAAA==:'
prints "a part with another digest" '"status": 422'
web PUT "/api/v1/uploads/$id/files/0" --data-binary abd
prints "a file with another digest" 'not what their digest says'
web PUT "/api/v1/uploads/$id/files/0" --data-binary abc
web PUT "/api/v1/uploads/$id/files/0" --data-binary xyz
for i in 1 2; do
    curl -sS --unix-socket "$scratch/s" -H 'Content-Type: application/json' --data-binary "$commit" \
        "http://x/api/v1/uploads/$id/commit" >"commit$i" &
    eval "c$i=$!"
done
wait "$c1" "$c2"
out=$(cat commit1 commit2)
prints "two commits at once are one" '"tree": "tree:sha256:'
json "/api/v1/uploads/$id/commit" "$commit"
prints "and a third one" '"tree": "tree:sha256:'
web PUT "/api/v1/uploads/$id/files/0" --data-binary abc
prints "no part comes after it" '"status": 409'
web GET /api/v1/uploads/00000000000000000000000000000000
prints "an upload that is not there" '"status": 404'

# Kills. Each time another delay; then what is there is whole, and a push ends well.
for delay in 0.005 0.02 0.04 0.06 0.09 0.13; do
    head -c 24000000 /dev/urandom >m/assets/big.bin
    sluice --server "unix:$scratch/s" push m "c$delay" >/dev/null 2>&1 &
    push=$!
    sleep "$delay"
    kill -9 "$push" 2>/dev/null
    wait "$push" 2>/dev/null
done
for delay in 0.005 0.02 0.04 0.06 0.09 0.13; do
    head -c 24000000 /dev/urandom >m/assets/big.bin
    sluice --server "unix:$scratch/s" push m "s$delay" >"push-$delay" 2>&1 &
    push=$!
    sleep "$delay"
    kill -9 "$service" 2>/dev/null
    wait "$service" 2>/dev/null
    begin
    wait "$push" 2>/dev/null
    far push m "s$delay"
    ok "a push goes on after the service was killed ($delay s)"
done
sl fsck
ok "nothing half-done is in the store"
far push m last
far push m last
ok "and what was left does not stand in the way"
for delay in 0.005 0.01 0.02 0.03 0.05; do
    sluice --server "unix:$scratch/s" pull last@1 out >/dev/null 2>&1 &
    pull=$!
    sleep "$delay"
    kill -9 "$pull" 2>/dev/null
    wait "$pull" 2>/dev/null
    [ -e out ] && check "what has its name is whole ($delay s)" diff -r m out
    rm -rf out
done
sluice --server "unix:$scratch/s" pull last@1 out >/dev/null 2>&1 &
pull=$!
sleep 0.03
kill -9 "$service"
wait "$service" 2>/dev/null
begin
wait "$pull"
result "a pull waits for a service that comes back" $? "it ended badly"
check "and has it all" diff -r m out
is "nothing is left beside it" "$(find . -maxdepth 1 -name '.sluice-*' | wc -l)" 0

# A disk that is full.
if [ "$(id -u)" = 0 ] && mkdir full && mount -t tmpfs -o size=20M none full 2>/dev/null; then
    SLUICE_STORE=$scratch/full/store
    ends "$service" 2>/dev/null
    sluice init >/dev/null
    begin
    far push m digits
    fails "a full disk is told" 1 'No space left|gc --need'
    web GET /healthz
    prints "and the service goes on" 'ok'
    sluice fsck >/dev/null
    result "with a store that is whole" $? "fsck found something"
    rm m/assets/big.bin
    far push m digits
    ok "and takes what has room"
    ends "$service" 2>/dev/null
    umount full
else
    skip "a full disk" "only root can mount one"
fi

finish
