#!/bin/sh
# Targets whose readers are those that the grants name: ACLs on the models' directories.
. "$(dirname "$0")/lib.sh"

case $me in root) others="daemon bin" ;; *) others="root daemon" ;; esac
a=${others% *} b=${others#* }
digits_live tfserving
sl push "$digits/v1" other
sl promote other@1 --to production

acl() { # what target check wants, of a directory that is made different
    chmod 0711 "web/$1"
    sl target check web
    printf '%s\n' "$out" | sed -n "s,.*acl.*web/*,,;s,.*\(u::[-rwxu:gmo0-9\,]*\).*u::.*,\1,p" | head -n 1
    sl target check web --repair >/dev/null
}
mode() { stat -c %a "$1"; }

is "everybody, when nothing is said" "$(mode web/digits)" 755
sl grant "$a" read digits
sl target set web --readers grants
if [ "$status" -ne 0 ] && printf '%s' "$err" | grep -q 'has no ACLs'; then
    skip "readers by grants" "the file system of $scratch has no ACLs"
    finish
    exit
fi
ok "readers are those of the grants"
uid=$(id -u "$a")
is "who may read digits" "$(acl digits)" "u::rwx,u:$uid:r-x,g::---,m::r-x,o::---"
is "a model that nobody may read" "$(mode web/other)" 700
is "the target's own directory stays open" "$(mode web)" 755
is "files are what they were" "$(mode web/digits/1/saved_model.pb)" 444
sl target check
ok "and it is as it should be"
sl grant "$b" promote '*'
ok "any right on any model lets read"
bid=$(id -u "$b")
first=$uid second=$bid
[ "$uid" -lt "$bid" ] || first=$bid second=$uid
is "in the tree at once" "$(acl digits)" "u::rwx,u:$first:r-x,u:$second:r-x,g::---,m::r-x,o::---"
is "of every model" "$(acl other)" "u::rwx,u:$bid:r-x,g::---,m::r-x,o::---"
sl push "$digits/v1" third
sl promote third@1 --to production
is "of a new one too" "$(acl third)" "u::rwx,u:$bid:r-x,g::---,m::r-x,o::---"
sl revoke "$b" promote '*'
is "a revoke too" "$(acl digits)" "u::rwx,u:$uid:r-x,g::---,m::r-x,o::---"
is "of every model" "$(mode web/third)" 700
sl grant uid:12345 read third
is "a user by number" "$(acl third)" "u::rwx,u:12345:r-x,g::---,m::r-x,o::---"

# ---- drift ----
chmod 0755 web/digits
sl target check web
is "a mode that was changed" "$status" 1
prints "is told as the ACL that it changes" 'acl +digits'
sl target check web --repair
ok "mended"
is "as it was" "$(acl digits)" "u::rwx,u:$uid:r-x,g::---,m::r-x,o::---"
if command -v setfacl >/dev/null; then
    setfacl -m u:12345:rwx web/digits
    sl target check web
    prints "somebody who was let in" 'acl +digits.*u:12345:rwx'
    sl target check web --repair
    is "is let out" "$(getfacl -cp web/digits | grep -c 12345)" 0
    is "getfacl sees what was meant" "$(getfacl -cpn web/digits | grep "^user:$uid")" "user:$uid:r-x"
else
    skip "somebody who was let in" "setfacl is not installed"
fi

# ---- a tree that is away ----
mv web away
sl revoke "$a" read digits
ok "a grant is taken back though a tree is away"
prints "which is told" 'NOT SHOWN in target web: .*sluice target check web --repair'
mv away web
sl target check web
is "it still lets them in" "$status" 1
sl target check web --repair
is "until it is mended" "$(mode web/digits)" 700

# ---- groups ----
sl target set web --group no-such-group
fails "a group there is not" 2 'no group "no-such-group"'
sl target set web --group "$(id -gn)"
ok "a group"
is "may read" "$(mode web/digits) $(stat -c %G web/digits)" "750 $(id -gn)"
sl target set web --readers all
is "all again" "$(mode web/digits)" 755
sl target set web --readers grants --group ''
is "and grants again" "$(mode web/digits)" 700

if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    as() { setpriv --reuid "$1" --regid 65534 --clear-groups cat "$scratch/web/$2/1/saved_model.pb" >/dev/null 2>&1; }
    chmod 0711 "$scratch"
    sl grant "$a" read digits
    check "who was granted it can read" as "$a" digits
    if as "$b" digits; then result "nobody else can" 1 "$b can"; else result "nobody else can" 0 ""; fi
    if as "$a" other; then result "nor another model" 1 "$a can"; else result "nor another model" 0 ""; fi
    sl revoke "$a" read digits
    if as "$a" digits; then result "a revoke holds at once" 1 "$a can"; else result "a revoke holds at once" 0 ""; fi
    sl target set web --group daemon
    is "root gives it to any group" "$(stat -c '%G %a' web/other)" "daemon 750"
    setpriv --reuid 65534 --regid "$(id -g daemon)" --clear-groups cat web/other/1/saved_model.pb >/dev/null 2>.check
    is "whose members can read" "$?" 0

    mkdir ram
    if unshare -m sh -c 'mount -t ramfs none ram' 2>/dev/null; then
        status=0
        unshare -m sh -c 'mount -t ramfs none ram && sluice target add ram ram/web --alias production --readers grants
            e=$?; ls -A ram; exit $e' >.out 2>.err </dev/null || status=$?
        out=$(cat .out) err=$(cat .err)
        fails "a file system without ACLs" 1 'has no ACLs, which readers "grants" needs'
        is "on which nothing was made" "$out" ""
        sl target list
        is "and which is no target" "$(printf '%s\n' "$out" | grep -c ram)" 0
    else
        skip "a file system without ACLs" "this root may not mount"
    fi
else
    skip "who can read, as somebody else" "ONLY ROOT can try: run this test as root"
fi
finish
