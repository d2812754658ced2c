#!/bin/sh
# What push reads, what it says before it stores, and in what order it makes things durable.
. "$(dirname "$0")/lib.sh"

sl init
cp -r "$digits/v1" m
chmod -R u+w m
mkdir m/assets
head -c 3000000 /dev/zero >m/assets/zeros
size=$(find m -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')
read_bytes() { printf '%s\n' "$out" | sed -n 's/.*"read_bytes":[^0-9]*\([0-9]*\).*/\1/p'; }

sl push m a --dry-run
prints "a dry run says the number and what is new" 'a@1 sha256:.* would be stored: 5 of 5 files new, 3.0 MB of 3.0 MB'
prints "and of each file" 'new +3.0 MB +assets/zeros'
is "it stores nothing" "$(find "$SLUICE_STORE/objects" "$SLUICE_STORE/stage" "$SLUICE_STORE/versions" -type f | wc -l)" 0
sl audit log
is "and is not in the log" "$(printf '%s\n' "$out" | grep -c push)" 0
sl push --checkpoint x --onto a@1 --dry-run
fails "not with --onto" 2 'dry-run goes with DIR'
sleep 2.1
sl push m a --json
is "the first push reads all" "$(read_bytes)" "$size"
sl push m a --json
is "the second one nothing" "$(read_bytes)" 0
sl push m a
prints "and says so" 'a@1 .*unchanged'
sl push m a --reread --json
is "unless it is asked to" "$(read_bytes)" "$size"
sl push m a --dry-run
prints "a dry run of what is there" 'a@1 .*is these bytes already'

# Same size, same mtime: only the ctime tells.
touch -r m/assets/zeros stamp
printf x | dd of=m/assets/zeros bs=1 seek=1000 conv=notrunc 2>/dev/null
touch -r stamp m/assets/zeros
sl push m a --json
prints "a change that hides behind its mtime is seen" '"number": *2'
is "and only that file is read" "$(read_bytes)" 3000000
sl push m a --dry-run
prints "number of a push to come" 'a@2 '
echo 1 >m/assets/one
echo 1 >m/assets/two
sl push m a --dry-run
prints "of two files with one content the first is new" 'would be stored: 1 of 7 files new, 2 B of'
sl push m b --dry-run
prints "another model begins at 1" 'b@1 '

# A new index asks for the tensors again.
shard=m/variables/variables.data-00000-of-00001
sleep 2.1
sl push m a --json
touch m/variables/variables.index
sl push m a --json
is "a touched index: it is read, and the shard" "$(read_bytes)" \
    "$(stat -c %s m/variables/variables.index $shard | awk '{ n += $1 } END { print n }')"
cp -r m good
turn() { # offset: the bits of one byte of the shard
    old=$(od -An -tu1 -j "$1" -N 1 $shard | tr -d ' ')
    printf "\\$(printf %o $((old ^ 255)))" | dd of=$shard bs=1 seek="$1" conv=notrunc 2>/dev/null
}
turn 100
sl push m a
fails "a flipped byte in a tensor" 4 "variables.data-00000-of-00001: tensor '.*' \(.* bytes at offset .*checksum"
turn 100
turn $(($(stat -c %s $shard) - 20))
sl push m a
fails "a flipped byte in a string" 4 "variables.data-00000-of-00001: these are not the bytes .*'_CHECKPOINTABLE_OBJECT_GRAPH': checksum"
sl fsck
ok "fsck is clean"

# What cannot be a model's file.
rm -rf m
cp -r good m
chmod u+s m/saved_model.pb
sl push m a
fails "a setuid file" 1 'saved_model.pb: a setuid file'
chmod u-s m/saved_model.pb
: >"m/assets/$(printf 'a\033b')"
sl push m a
fails "a name with a control character" 1 'assets/a%1Bb: its name holds a control character'
rm m/assets/a*b
: >"m/assets/$(printf '\351')"
sl push m a
fails "a name that is not UTF-8" 1 'assets/%E9: its name is not UTF-8'
rm -rf m/assets

# Progress: on a terminal only, and not with --json.
mkdir m/assets
truncate -s 80M m/assets/big
if command -v script >/dev/null 2>&1; then
    TERM=xterm script -qec "sluice push m p1" /dev/null >tty.out 2>&1
    check "a terminal sees how far it is" grep -q 'pushing \[.*of 80 MB\|pushing \[.*of 84 MB' tty.out
    echo x >>m/assets/big
    TERM=xterm script -qec "sluice push m p1 --json" /dev/null >tty.out 2>&1
    check "not with --json" sh -c '! grep -q pushing tty.out'
else
    skip "progress on a terminal" "there is no script(1)"
fi
echo y >>m/assets/big
sl push m p1
is "nobody else does" "$err" ""

# data durable < name durable < row durable < acknowledged
if command -v strace >/dev/null 2>&1 && strace -o /dev/null true 2>/dev/null; then
    rm m/assets/big
    echo order >m/assets/order
    strace -ff -y -o trace -e trace=linkat,fsync,fdatasync,syncfs,write sluice push m order >order.out 2>&1
    awk '
        /^fdatasync\(/ { match($0, /[0-9]+/); synced[substr($0, RSTART, RLENGTH)] = 1 }
        /^syncfs/ { all = 1 }
        /^linkat\(.*objects\// {
            match($0, /fd\/[0-9]+/); fd = substr($0, RSTART + 3, RLENGTH - 3)
            if (!synced[fd] && !all) print "named before its bytes: " $0
            match($0, /objects\/[0-9a-f][0-9a-f]/); open[substr($0, RSTART, RLENGTH)] = 1; names++
        }
        /^fsync\(.*objects\/[0-9a-f][0-9a-f]>/ { match($0, /objects\/[0-9a-f][0-9a-f]/); delete open[substr($0, RSTART, RLENGTH)] }
        /^fdatasync\(.*catalogue.db-wal/ { rows++; for (d in open) print "a row before names in " d }
        /^write\(1</ { if (!rows) print "acknowledged before its row"; acks++ }
        END { if (names < 2 || rows < 1 || acks < 1) print "saw " names " names, " rows " rows, " acks " acks" }
    ' "$(grep -l 'write(1<' trace.*)" >order.bad
    is "bytes, names, row, answer: each on the disk before the next" "$(cat order.bad)" ""
else
    skip "the order of durability" "strace cannot be used here"
fi
finish
