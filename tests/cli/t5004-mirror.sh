#!/bin/sh
# weights --mirror: a share of the requests is copied to a version, whose answers are thrown away.
. "$(dirname "$0")/lib.sh"

digits_live tfserving
sl push "$digits/v2" digits
sl push "$digits/v3" digits
sl weights digits@production --mirror 2=10%
ok "mirror to a version; shares stay as they are"
prints "told" 'digits@production: 1 -> 1 \(mirrored to 2: 10%\) \(release 2\)'
check "it is loaded" grep -q 'versions: 1 versions: 2' web/config/models.config
sl status digits
prints "status" 'live +1 \(mirrored to 2: 10%\)'
sl route digits@production --unit C123
prints "route" 'mirror +(not )?copied to 2: hash [0-9]+, of "C123:digits@production:mirror", is (not )?below 429496729 \(10%\)'
sl audit log --verb weights
prints "the log" 'mirror'
sl delete digits@2 --reason old
fails "what is mirrored to is not deleted" 5 'mirrors traffic to it: sluice weights digits@production --mirror 2=0'
sl reject digits@2 --reason bad
fails "nor rejected" 3 'traffic on production'
sl weights digits@production 1=90% 3=10%
prints "it stays while shares move" '1=90% 3=10% \(mirrored to 2: 10%\)'
sl weights digits@production --mirror 3=5%
fails "not to a version that has a share" 1 'version 3 has a share'
sl weights digits@production --mirror 9=5%
fails "nor to one there is not" 7 'no version 9'
sl weights digits@production --mirror 2=10
fails "a share in percent" 2 'NUMBER=SHARE%'
sl weights digits@production --mirror 2=101%
fails "up to 100" 2 'NUMBER=SHARE%'
sl weights digits@production
fails "nothing said" 2 'needs shares'
sl rollback digits@production
ok "rollback"
sl status digits
check "ends it" sh -c '! printf %s "$1" | grep -q mirrored' sh "$out"
sl weights digits@production --mirror 2=10%
sl promote digits@2 --to production
prints "a promotion ends it too" '1 \(mirrored to 2: 10%\) -> 2 \(release'
sl target check
ok "the tree is as it should be"
rm store/catalogue.db*
sl fsck --rebuild
ok "the log alone says the same"
sl status digits
prints "again" 'live +2 '
finish
