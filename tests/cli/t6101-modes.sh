#!/bin/sh
# Whose a store is, where it lies, and what becomes of a read that cannot be recorded.
. "$(dirname "$0")/lib.sh"

sl init
sl push "$digits/v1" digits
key=$SLUICE_STORE/keys/store.key

# ---- modes ----
chmod 755 "$SLUICE_STORE"
sl doctor
fails "doctor: others can look in" 1 '1 finding'
prints "says so" 'BAD +only the owner can enter the store: mode 0755'
sl list
ok "which does not stop its owner"
chmod 730 "$SLUICE_STORE"
sl list
fails "but when others can write there" 6 'mode 0730: others can put files .*chmod 700'
sl doctor
prints "doctor says so, too" 'BAD +store: .*mode 0730'
chmod 700 "$SLUICE_STORE"
chmod 640 "$key"
sl list
fails "a key that others can read" 6 'store.key has mode 0640: .*chmod 600'
chmod 600 "$key"
sl doctor
ok "as it should be"
prints "doctor names the file system" '^ok +file system: '

# ---- another user ----
stranger() { setpriv --reuid=54321 --regid=54321 --clear-groups env SLUICE_STORE="$SLUICE_STORE" "$BIN/sluice" "$@" >"$scratch/.out" 2>"$scratch/.err"; status=$?; out=$(cat "$scratch/.out") err=$(cat "$scratch/.err"); }
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null && chmod 711 "$scratch" && setpriv --reuid=54321 --clear-groups --regid=54321 "$BIN/sluice" version >/dev/null 2>&1; then
    stranger list
    fails "another user's store" 6 'belongs to root, and a store is for its owner alone: .*sudo -u root'
    chmod 755 "$SLUICE_STORE"
    stranger push "$digits/v2" digits
    fails "also one that lets him in" 6 'belongs to root'
    chmod 700 "$SLUICE_STORE"
    stranger --store "$scratch/nothing" list
    fails "where none is, it does not say whose" 7 'there is no store'
else
    skip "two users" "needs root, setpriv and a build that others can read"
fi

# ---- read-only ----
if [ "$(id -u)" -eq 0 ] && mkdir ro && unshare --mount true 2>/dev/null &&
    unshare --mount sh -c 'mount --bind "$1" ro && mount -o remount,ro,bind ro' - "$SLUICE_STORE" 2>/dev/null; then
    there() { # runs sluice where the store is mounted read-only
        status=0
        unshare --mount sh -c 'mount --bind "$1" ro && mount -o remount,ro,bind ro && shift && exec sluice --store ro "$@"' \
            - "$SLUICE_STORE" "$@" >"$scratch/.out" 2>"$scratch/.err" </dev/null || status=$?
        out=$(cat "$scratch/.out") err=$(cat "$scratch/.err")
    }
    there list
    fails "a read that cannot be recorded" 1 'ro is on a read-only file system; a read that cannot be recorded is not given out.*config set unrecorded_reads allow'
    is "is not given out" "$out" ""
    there pull digits@1 pulled
    fails "nor is a copy" 1 'not given out'
    check "on the disk either" test ! -e pulled
    there push "$digits/v2" digits
    fails "a write" 1 'ro is on a read-only file system: only reading works'
    there doctor
    prints "doctor says so" 'BAD +file system: .*mounted read-only'
    sl config set unrecorded_reads allow
    cp -r "$digits/v2" two && cat "$BIN/sluice-unpack" >two/extra
    cp -r two three && printf more >>three/extra
    sl push two digits
    sl push three digits
    sl cold digits@2
    prints "one version has a cold file" '^digits@2 +1 '
    there list digits --json
    ok "the store can allow it"
    prints "then it is given out" '"number": 1'
    prints "with a note in the answer" '"log_note": "this read is not in the log'
    check "and on stderr" grep -q '^sluice: note: this read is not in the log' "$scratch/.err"
    there pull digits@1 pulled
    ok "pull"
    check "gives all of it" cmp pulled/saved_model.pb "$digits/v1/saved_model.pb"
    there inspect digits@1
    ok "inspect"
    there fsck
    ok "fsck"
    mkdir tmp
    export TMPDIR="$scratch/tmp"
    there show digits@1 --tag_set serve --signature_def serving_default
    ok "show looks at a copy outside"
    prints "which is the model" "inputs\['image'\]"
    there run digits@1 --tag_set serve --signature_def serving_default --inputs "image=$digits/predict.npz[image]"
    ok "run"
    there pull digits@2 cold
    ok "a cold version is put together outside, too"
    check "and is itself" cmp cold/extra two/extra
    there tensors digits@2
    ok "so it is to be looked at"
    is "and nothing stays there" "$(ls tmp)" ""
    unset TMPDIR
    there promote digits@1 --to production
    fails "writes stay refused" 1 'only reading works'
    there config set unrecorded_reads default
    fails "settings too" 1 'only reading works'
    sl audit verify
    ok "the log has no gap"
    sl config set unrecorded_reads default
else
    skip "a store on a read-only file system" "needs root and mount namespaces"
fi

# ---- a full disk ----
if TEST_FAULT=open:1:EIO sluice list >/dev/null 2>&1; then
    skip "a log that cannot be written" "this build has no TEST_FAULT"
else
    sluice audit log >before
    TEST_FAULT=commit:3:ENOSPC sluice pull digits@1 full >out 2>err
    status=$? err=$(cat err)
    fails "a pull whose event does not fit" 1 'a read that cannot be recorded is not given out'
    check "leaves nothing behind" test ! -e full
    sl attach digits@1 report "$digits/v1/fingerprint.pb"
    TEST_FAULT=commit:1:ENOSPC sluice attachments digits@1 --out full >out 2>err
    status=$? err=$(cat err)
    fails "attachments likewise" 1 'is not given out'
    check "leave nothing behind" test ! -e full
    sl config set unrecorded_reads allow
    TEST_FAULT=commit:3:ENOSPC sluice pull digits@1 full >out 2>err
    status=$? out=$(cat out) err=$(cat err)
    ok "or all of it, when the store allows it"
    check "with a note" grep -q 'note: this read is not in the log: .*No space left' err
    sl config set unrecorded_reads default
    # Only the log's files are behind: the event stands in the catalogue.
    for n_write in 1 2 3 4 5 6; do
        TEST_FAULT=write:$n_write:ENOSPC sluice list digits >out 2>err && grep -q "log's files are behind" err && break
    done
    status=$?
    ok "the log's files are behind"
    sl list
    ok "and the next call completes them"
    sl audit verify
    ok "without a gap"
fi
finish
