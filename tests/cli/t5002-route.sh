#!/bin/sh
# Which version a unit gets: now, then, and why it could.
. "$(dirname "$0")/lib.sh"

value() { # key: of the last reply
    printf '%s\n' "$out" | sed -n "s/^  \"$1\": \"*\([^\",]*\)\"*,*\$/\1/p"
}
version_of() { # unit
    sl route digits@production --unit "$1" --json
    value version
}

digits_live tfserving
sl route digits@production --unit C123
prints "one version takes all" '1=100%: from 0 to below 4294967296'
first=$(sluice route digits@production --unit C123 --json | sed -n 's/.*"since": "\(.*\)".*/\1/p')
sl push "$digits/v2" digits --golden "$digits/v2-golden"
sl validate digits@2
sleep 0.01
sl weights digits@production 2=60% 1=40%
ok "weights"

sl route digits@production --unit C123
ok "route"
prints "the stable version is first, whatever was given first" '1=40%: from 0 to below 1717986918'
prints "then what grew beside it" '2=60%: from 1717986918 to below 4294967296'
prints "what was hashed" 'MurmurHash2 of "C123:digits@production"'
prints "since when, by whom" 'release +2 \(weights by .*live now'
sl route digits@production --unit U1 --json
ok "route --json"
is "the hash is nginx's" "$(value hash)" 3237992407
is "the version" "$(value version)" 2
stable= canary=
for u in U0 U1 U2 U3 U4 U5 U6 U7 U8 U9; do
    case $(version_of $u) in 1) stable=$u ;; 2) canary=$u ;; esac
done
check "both versions have units" test -n "$stable" -a -n "$canary"
sl route digits@production --unit "$canary"
prints "what let it pass: the gates" 'passed +the gates of release 2, '
prints "and the verdict they could see" 'verdict +[0-9]+: passed on export \(export\), '
prints "its digest" "version 2 $(sluice inspect digits@2 | sed -n '1s/.*\(sha256:[0-9a-f]*\).*/\1/p')"
sl route digits@production --unit "$stable"
prints "the other passed when it was promoted" 'passed +the gates of release 1, '

sl route digits@production --unit "$canary" --at "$first"
prints "--at: what was live then" '^U.* version 1 '
prints "and until when" 'release +1 .*from .* to 2'
sl rollback digits@production --to 1
sl route digits@production --unit "$canary"
prints "after a rollback: what had passed before" 'version 1 .*'
prints "with the release that asked the gate" 'the gates of release 1, '

sl route digits@production --unit C123 --json
before=$out
rm store/catalogue.db*
sl fsck --rebuild
ok "rebuild"
sl route digits@production --unit C123 --json
is "the log alone says the same" "$out" "$before"

sl route digits@production --unit ''
fails "an empty unit is nobody" 2 "empty.*stable version"
sl route digits@production
fails "a unit is needed" 2 "needs --unit"
sl route digits@staging --unit C123
fails "an alias that never was" 7 "nothing was ever live on digits@staging"
sl route dogits@production --unit C123
fails "a model that is not there" 7 'no model "dogits"'
sl route digits@1 --unit C123
fails "a version has no split" 2 "MODEL@ALIAS"
sl route digits@production --unit C123 --at 2001-01-01
fails "before the first release" 7 "first release came at $first"
sl route digits@production --unit C123 --at 2200-01-01
fails "a time to come" 2 "still to come"
sl route digits@production --unit C123 --at noon
fails "no time" 1 "noon"
finish
