#!/bin/sh
# The readers of routes.json in etc/routes say what `route` says.
. "$(dirname "$0")/lib.sh"

readers=$top/etc/routes
digits_live tfserving
cp -r "$digits/v3" v4
chmod u+w v4
echo 4 >v4/assets.extra.txt
sl push "$digits/v2" digits
sl push "$digits/v3" digits
sl push "$scratch/v4" digits
sl weights digits@production 1=34% 2=33% 3=33% --mirror 4=20%
check "routes.json is there" grep -q '"salt": ":digits@production"' web/config/routes.json

# Units of every length up to 40, some beyond ASCII; then an empty one.
i=0
while [ $i -lt 40 ]; do
    i=$((i + 1))
    printf "%0${i}d\n" $((i * 7919 % 10))
done >units
printf 'C123\n\303\244\303\266\303\274\nsession=a b;c\n' >>units
while read -r unit; do
    sluice route digits@production --unit "$unit" --json | sed -n 's/^  "version": \([0-9]*\),/\1/p'
done <units >want
while read -r unit; do
    sluice route digits@production --unit "$unit" --json |
        sed -n '/"mirror"/,/}/{s/.*"mirrored": true.*/4/p;s/.*"mirrored": false.*/0/p}'
done <units >copied
is "units get all three versions" "$(sort -u want | tr '\n' ' ')" "1 2 3 "
echo >>units
echo 1 >>want # nobody in particular: the stable one
echo 0 >>copied
is "some units are copied, most are not" "$(sort -u copied | tr '\n' ' ')" "0 4 "

agrees() { # name, command…
    name=$1
    shift
    check "$name" sh -c '"$@" <units >got && diff want got' sh "$@" web/config/routes.json digits
    check "$name: whose requests are copied" sh -c '"$@" mirror <units >got && diff copied got' sh \
        "$@" web/config/routes.json digits
    check "$name: no such model" sh -c '! "$@" <units' sh "$@" web/config/routes.json dogits
    check "$name: another file" sh -c '! "$@" <units' sh "$@" other.json digits
    check "$name: a line that is not covered" sh -c '! "$@" <units' sh "$@" short.json digits
}
echo '{"routes": 2, "hash": "murmur2-32", "models": []}' >other.json
sed 's/4294967296/4294967295/' web/config/routes.json >short.json

if ${CC:-cc} -std=c11 -Wall -Wextra -Werror -DROUTES_PROGRAM -o reader "$readers/routes.c" -lcjson 2>cc.txt; then
    agrees "the reader in C" ./reader
else
    skip "the reader in C" "no compiler with cJSON: $(head -n 1 cc.txt)"
fi
if command -v python3 >/dev/null; then
    agrees "the reader in Python" python3 -B "$readers/routes.py"
else
    skip "the reader in Python" "python3 is not installed"
fi
if command -v node >/dev/null; then
    agrees "the reader in JavaScript" node "$readers/routes.js"
else
    skip "the reader in JavaScript" "node is not installed"
fi
finish
