#!/bin/sh
# The service's description (OpenAPI): each operation is there; and no text of any request
# makes the service's machine read, write or ask elsewhere for who is no administrator.
. "$(dirname "$0")/lib.sh"

needs python3
sl init
for v in 1 2 3; do
    sl push "$digits/v$v" fraud
done
ok "a store with three versions"
sl promote fraud@2 --to production
for right in read push promote judge delete hold approve break-glass; do
    sl grant nobody $right '*'
done
ok "somebody may all but administer"

python3 "$top/tests/cli/service_walk.py" openapi "$me" >walk 2>&1
is "each operation is served as described" "$(grep -v '^[0-9]* calls$' walk)" ""
check "and all were called" [ "$(sed -n 's/^\([0-9]*\) calls$/\1/p' walk)" -gt 140 ]
python3 "$top/tests/cli/service_walk.py" reach nobody >walk 2>&1
is "no text of a request reaches out" "$(grep -v '^[0-9]* calls$' walk)" ""
check "in any verb" [ "$(sed -n 's/^\([0-9]*\) calls$/\1/p' walk)" -gt 1500 ]

finish
