#!/bin/sh
# push, pull, list, log, inspect, fsck: the store from outside.
. "$(dirname "$0")/lib.sh"

sl init
ok "sluice init"
is "only the owner can enter the store" "$(stat -c %a "$SLUICE_STORE")" 700
sl init
fails "a second init" 3 "store"

sl push "$digits/v1" digits --golden "$digits/v1-golden"
ok "sluice push"
prints "the first version is 1" '^digits@1 sha256:[0-9a-f]{64} '
sl push "$digits/v1/" digits
ok "the same bytes again"
prints "are the same version, and it says so" '^digits@1 .*unchanged'
sl push "$digits/v2" digits
prints "other bytes are the next version" '^digits@2 '
sl push "$digits/v2" other
prints "numbers are a model's own" '^other@1 '

# The digest is what the documents say: anybody can compute it.
(cd "$digits/v1" && find . -type f -printf '%P\n' | LC_ALL=C sort | while read -r f; do
    printf '%s %s %s\n' "$(sha256sum "$f" | cut -d' ' -f1)" "$(stat -c %s "$f")" "$f"
done) | { echo 'sluice-manifest 1' && cat; } >manifest
sl push "$digits/v1" digits --json
prints "the digest is the SHA-256 of the manifest" "sha256:$(sha256sum manifest | cut -d' ' -f1)"

sl list
prints "sluice list" 'digits@2 +sha256:[0-9a-f]{12} +ready'
sl list digits --json
is "list --json is one document" "$(printf '%s' "$out" | grep -c '"number"')" 2
sl log digits
prints "sluice log shows the pushes" 'push +digits@1'
sl inspect digits@1
prints "sluice inspect names each file" 'variables/variables\.index .*sha256:'
sl fsck
ok "sluice fsck"

sl pull digits@1 out
ok "sluice pull"
check "gives the bytes back" diff -r -x assets "$digits/v1" out
check "and the folder that TensorFlow always makes" test -d out/assets
sl pull digits@1 out
fails "pull does not write over what is there" 3 "out"
sl pull digits
check "without a destination it makes MODEL-NUMBER" diff -r -x assets "$digits/v2" digits-2
sl pull digits@1 quick --no_verify
ok "pull --no_verify"
check "the same files" diff -r out quick
sl pull digits@1 neither --no_verify --link
fails "which has no meaning for links" 2 "leave out --no_verify"
sl pull digits@1 linked --link
is "--link gives hard links" "$(stat -c %h linked/saved_model.pb)" 2
digest=$(sluice inspect digits@1 --json | sed -n 's/.*"digest":.*"sha256:\([0-9a-f]\{12\}\).*/\1/p' | head -n 1)
sl pull "sha256:$digest" by-digest
check "a digest is a reference" diff -r -x assets "$digits/v1" by-digest
sl pull models:/digits/1 mlflow
check "so is MLflow's form" diff -r -x assets "$digits/v1" mlflow

# A file of more than 1 MiB is hashed while it is copied.
cp -r "$digits/v1" large
head -c 3000000 /dev/urandom >large/extra
sl push large large
if TEST_FAULT=open:1:EIO sluice list >/dev/null 2>&1; then
    skip "a large file that does not fit" "this build has no TEST_FAULT"
else
    torn=0 failed=0
    for n_write in 1 2 3 4 5 6 7 8 9 10; do
        if TEST_FAULT=write:$n_write:ENOSPC sluice pull large@1 part >/dev/null 2>&1; then
            diff -r -x assets large part >/dev/null || torn=$((torn + 1))
            rm -rf part
        else
            [ ! -e part ] || torn=$((torn + 1))
            failed=$((failed + 1))
        fi
    done
    is "a pull that does not fit leaves nothing, and says so" "$torn" 0
    check "and some did not fit" test "$failed" -gt 3
fi

# Holes stay holes, on the way in and out.
cp -r "$digits/v1" sparse
chmod -R u+w sparse
mkdir -p sparse/assets
echo begin >sparse/assets/big
echo begin >sparse/assets/small
truncate -s 100M sparse/assets/big
echo end >>sparse/assets/big
truncate -s 900K sparse/assets/small
du_kb() { du -sk "$@" | awk '{ sum += $1 } END { print sum }'; }
if [ "$(du_kb sparse)" -gt 9000 ]; then
    skip "holes" "this file system has none"
else
    before=$(du_kb "$SLUICE_STORE/objects")
    sl push sparse sparse
    ok "a model with holes"
    check "takes their room in the store neither" test "$(($(du_kb "$SLUICE_STORE/objects") - before))" -lt 9000
    sl pull sparse@1 sparse-out
    ok "it is pulled"
    check "with the same bytes" diff -r sparse sparse-out
    check "and their room is not taken there" test "$(du_kb sparse-out)" -lt 9000
    rm -rf sparse sparse-out
fi

sl pull nothing
fails "no such model" 7 "nothing"
sl pull digits@9
fails "no such version" 7 "9"
sl pull digits@production
fails "no such alias" 7 "production"
sl push "$digits/v1" 'a/b'
fails "a model's name has no slash" 1 "/"
sl push "$digits/v1" latest
fails "latest is no model" 1 "latest"
is "a refused push stores nothing" "$(sluice list latest 2>/dev/null | wc -l)" 0
finish
