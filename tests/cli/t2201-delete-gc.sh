#!/bin/sh
# delete, undelete, hold, unhold, gc: what goes, what stays, and what a clock may do to it.
. "$(dirname "$0")/lib.sh"

days() { # days of the store's life that go by for the next commands
    export TEST_CLOCK="0:$(($1 * 86400))"
}

digits_live
sl push "$digits/v2" digits
sl push "$digits/v3" digits
sl promote digits@2 --to production

sl delete digits@2
fails "what an alias means is not deleted" 5 "digits@production means it: promote another version to production"
sl delete digits@1
fails "nor what a rollback needs" 5 "digits@production keeps it loaded for a rollback"
sl hold digits@3 --reason "case 2026-17"
ok "sluice hold"
sl delete digits@3
fails "nor what is held" 5 "held by .*: case 2026-17: sluice unhold digits@3"
sl hold digits@3 --reason again
fails "it is held already" 3 "held already"
sl unhold digits@3 --reason closed
ok "sluice unhold"
sl unhold digits@3
fails "twice" 7 "not held"
sl hold digits --reason audit
sl delete digits@3
fails "a held model holds every version" 5 "the model is held by .*: audit: sluice unhold digits"
sl unhold digits

sl delete digits@3 --reason "not needed"
ok "sluice delete"
prints "says for how long it can come back" 'sluice undelete digits@3 brings it back for 14 days'
sl delete digits@3
fails "twice" 3 "deleted already"
sl promote digits@3 --to staging
result "what is deleted gets no traffic" "$((status == 0))" "$out"
sl gc --dry-run
prints "within its window nothing goes" 'nothing to collect'
sl undelete digits@3
ok "sluice undelete"
sl inspect digits@3
prints "it is ready again" '^ready'
sl undelete digits@3
fails "what is not deleted" 3 "is not deleted"
sl delete digits@3 --days 0
digest=$(sluice inspect digits@3 --json | sed -n 's/.*"digest":.*"sha256:\([0-9a-f]*\)".*/\1/p' | head -n 1)
sl gc --explain "$digest"
prints "gc --explain: which version has it" 'digits@3 \(deleted'
sl gc --dry-run
ok "sluice gc --dry-run"
prints "names the version" 'would be given up: digits@3'
said=$(printf '%s\n' "$out" | sed -n 's/would go to the trash: //p')
sl gc
ok "sluice gc"
is "takes what it said, to the byte" "$(printf '%s\n' "$out" | sed -n 's/^to the trash: //p')" "$said"
sl gc
prints "gc twice" 'nothing to collect'
sl fsck
ok "fsck is clean"
sl gc --explain "$digest"
prints "the object lies in the trash" 'lies in the trash for'
sl pull digits@3
fails "what gc took cannot be pulled" 7 "sluice undelete digits@3"
sl undelete digits@3
ok "but it comes back while it lies in the trash"
sl pull digits@3 back
check "whole" diff -r -x assets "$digits/v3" back
sl fsck
ok "fsck is clean"
sl delete digits@3 --days 0
sl gc --empty_trash
fails "emptying the trash ends every undelete" 2 "--yes"
sl gc --empty_trash --yes
ok "with --yes it goes"
prints "off the disk" 'left the disk: [0-9]* objects'
is "the trash is empty" "$(find "$SLUICE_STORE/trash" -type f | wc -l)" 0
sl undelete digits@3
fails "now it is gone for good" 7 "its bytes are gone"
sl push "$digits/v3" digits
prints "its number is not given again" '^digits@4 '
sl list digits
is "what is gone is in no list" "$(printf '%s\n' "$out" | grep -c digits@3)" 0
sl log digits
prints "but in the history" 'purge +digits@3'
sl gc --explain 00000000
fails "an object that is not there" 7 "no object"
sl gc --explain xyz
fails "no digest" 1 "is no digest"

# Directories in targets go with their version; until then their links keep the bytes.
sl promote digits@4 --to production
check "the old version's directory is there" test -d web/digits/v1
sl delete digits@1 --days 0
sl gc --dry-run
sl gc
ok "gc of a version that a target once served"
is "takes its directory out of the target" "$(ls web/digits)" "$(printf 'latest\nv2\nv4')"
sl fsck
ok "fsck is clean"

# Attachments go with their version, and come back with it.
sl push "$digits/v3" att
echo one >one
sluice inspect "att@1" --json >two # as large a text as any
sl attach att@1 report one
sl attach att@1 card two
sl delete att@1 --days 0
sl gc
prints "a version with attachments is given up" 'given up: att@1'
sl fsck
ok "the store is whole"
sl undelete att@1
ok "undelete"
sl attachments att@1 --out back
check "its attachments are there again" cmp one back/one
check "all of them" cmp two back/two
sl delete att@1 --days 0
sl gc
sl gc --empty_trash --yes
ok "the trash is emptied"
sl fsck --rebuild
ok "and the rebuilt catalogue is whole"
sl attachments att@1
fails "attachments of what is gone" 7 'gc took its bytes'

if TEST_CLOCK=x sluice list 2>&1 | grep -q TEST_CLOCK; then # in builds that can
    sl push "$digits/v1" clock
    sl delete clock@1
    export TEST_CLOCK=31536000:0
    sl gc
    prints "a wall clock a year ahead takes nothing early" 'nothing to collect'
    export TEST_CLOCK=-31536000:0
    sl gc
    prints "nor one a year behind" 'nothing to collect'
    days 13
    sl gc --dry-run
    is "nor 13 days" "$(printf '%s\n' "$out" | grep -c clock@1)" 0
    days 15
    sl gc
    prints "15 days do" 'given up: clock@1'
    sl undelete clock@1
    ok "and the trash gives it back"
    unset TEST_CLOCK
else
    skip "clocks" "needs a build with TEST_CLOCK"
fi
sl audit verify
ok "the log holds"
finish
