#!/bin/sh
# Look-ups over HTTP: the verb's own bytes, never stale, each on record; and who may see metrics.
. "$(dirname "$0")/lib.sh"
needs curl
ask() { # TARGET, curl's arguments…: $code, $body, file head
    target=$1
    shift
    : >body
    code=$(curl -s -o body -D head -w '%{http_code}' --max-time 60 -H "Authorization: Bearer $token" "$@" "$at$target")
    body=$(cat body 2>/dev/null)
}
says() { # NAME CODE TEXT
    good=0
    [ "$code" = "$2" ] && printf '%s\n' "$body" | grep -qE -- "$3" || good=1
    result "$1" $good "$code, wanted $2 and: $3
$(cat head)
$body"
}
lookups() { # of an object, with an outcome: their sum
    sluice audit log --verb resolve --json | tr -d '\n' | sed 's/"seq"/\n&/g' | grep "\"outcome\": \"$2\"" |
        grep "\"object\": \"$1\"" | sed -n 's/.*"lookups": \([0-9]*\).*/\1/p' | awk '{ n += $1 } END { print n + 0 }'
}

sl init
sl push "$digits/v1" digits
sl push "$digits/v2" digits
sl target add web "$scratch/web" --alias production
sl promote digits@1 --to production
sl user add app --service
sl grant app read digits
sl token create app --out "$scratch/token"
ok "a token"
token=$(cat token)
serve serve.err --listen 127.0.0.1:0

ask "/api/v1/resolve?ref=digits@production"
says "an alias" 200 '"number": 1, "digest": "sha256:[0-9a-f]{64}", "state": "ready", "alias": "production", "release": 1'
cp body got
tag=$(sed -n 's/^[Ee][Tt]ag: \(.*\)\r$/\1/p' head)
is "its ETag is the version's digest" "$tag" "\"$(sed 's/.*"digest": "\([^"]*\)".*/\1/' got)\""
ask "/api/v1/resolve" -H 'Content-Type: application/json' -d '{"ref": "digits@production"}'
check "has the bytes of the verb" cmp got body
ask "/api/v1/resolve?ref=digits@production"
check "also from memory" cmp got body
ask "/api/v1/resolve?ref=digits@production" -H "If-None-Match: \"other\", $tag"
says "who has it gets 304" 304 '^$'
ask "/api/v1/resolve?ref=digits@production" --head
is "HEAD, too" "$code" 200

sl promote digits@2 --to production
ask "/api/v1/resolve?ref=digits@production" -H "If-None-Match: $tag"
says "an alias that moved counts at once" 200 '"number": 2'
ask "/api/v1/resolve?ref=digits@9"
says "no such version" 404 'digits has no version 9'
ask "/api/v1/resolve?ref=digits@"
says "no reference" 400 'it is empty'
ask "/api/v1/resolve"
says "nothing asked" 400 'resolve needs one ref'
ask "/api/v1/resolve?ref=digits&ref=digits@1"
says "two things asked" 400 'resolve needs one ref'
ask "/api/v1/resolve?ref=digits&depth=1"
says "what it does not know" 400 'resolve takes no depth'
sl revoke app read digits
ask "/api/v1/resolve?ref=digits@production"
says "a right that was taken away counts at once" 403 'app may not (read|resolve) digits'
sl grant app read digits
ask "/api/v1/resolve?ref=digits@production"
says "and comes back at once" 200 '"number": 2'
ask "/metrics"
says "metrics are not for who may read one model" 403 'app may not read'
sl grant app read store
ask "/metrics"
says "but for who may read the store" 200 '^sluice_lookups_total\{from="memory"\}'
mine=$token
token=slc_nothing
ask "/api/v1/resolve?ref=digits@production"
says "a stranger" 401 '"title"'
ask "/metrics"
says "is not told metrics either" 401 '"title"'
token=$mine

# ---- on record ----
ends "$service"
is "it ends well" $? 0
is "each of them is on record after the end" "$(lookups digits@production ok) $(lookups digits@production denied) $(lookups digits@9 failed)" "6 1 1"
sl audit log --verb resolve
prints "in words" 'app +resolve +digits@production +sha256:[0-9a-f]+ +ok +[0-9]+ look-ups?'
sl audit verify
ok "the log holds"

# ---- a log that cannot be written: its directory is away ----
serve serve.err --listen 127.0.0.1:0
given=6
gives() { # the status of one more; counts those that are given out
    ask "/api/v1/resolve?ref=digits@production"
    [ "$code" != 200 ] || given=$((given + 1))
    [ "$code" = "$1" ]
}
recorded() { [ "$(lookups digits@production ok)" = "$given" ]; }
gives 200
says "before" 200 '"number": 2'
await 60 recorded
mv store/audit store/away
await 60 gives 503
says "what cannot be recorded is not given out" 503 'unless the store allows it'
check "with a time to come again" grep -qi '^retry-after:' head
mv store/away store/audit
await 60 gives 200
says "until it can" 200 '"number": 2'
ends "$service"
is "all that were given out are on record" "$(lookups digits@production ok)" "$given"
check "some while it could not be" test "$given" -gt 8
finish
