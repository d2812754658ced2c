#!/bin/sh
# Who asks the service: tokens, certificates, jobs of a CI system, the kernel; and what
# becomes of each when it is wrong, expired, revoked or of another scope.
. "$(dirname "$0")/lib.sh"

needs curl openssl

# ask WHAT curl's arguments…: $code, $body
ask() {
    what=$1
    shift
    code=$(curl -s -o body -D head -w '%{http_code}' -H 'Content-Type: application/json' --max-time 60 "$@" "$url$what")
    body=$(cat body 2>/dev/null)
}
as() { # TOKEN WHAT curl's arguments…
    token=$1
    shift
    ask "$@" -H "Authorization: Bearer $token"
}
says() { # NAME CODE TEXT
    good=0
    [ "$code" = "$2" ] && printf '%s\n' "$body" | grep -qE -- "$3" || good=1
    result "$1" $good "$code, wanted $2 and: $3
$(cat head 2>/dev/null)
$body"
}
has_head() { # NAME TEXT
    grep -qiE -- "$2" head
    result "$1" $? "$(cat head)"
}
start() { # options of serve
    serve serve.err --listen 127.0.0.1:0 "$@"
    url=$at
}
stop() { ends "$service"; }

sl init
sl push "$digits/v1" digits
sl user add ci --service
sl grant ci push digits
name() { echo "$1" | cut -c5-12; }
whole=$(new_token ci)
short=$(new_token ci --expires 1s)
narrow=$(new_token ci --scope read:digits)
other=$(new_token ci --scope push:other)
mine=$(new_token "$me")
list=/api/v1/list?model=digits

# ---- tokens ----
start --socket "$PWD/socket" --access-log "$PWD/access.log"
ask $list
says "nobody" 401 'Authorization: Bearer'
has_head "how to say it" '^www-authenticate: Bearer realm="sluice"'
as "$whole" $list
says "a token is its subject" 200 '"digits"'
as "$mine" $list
says "also the owner's" 200 '"digits"'
as "${whole%?}x" $list
says "a typing error is told as one" 401 'copy it again'
has_head "in the form that clients know" 'error="invalid_token"'
as "slc_$(name "$whole")_$(name "$mine")" $list
says "and half of one" 401 'copy the whole'
ask $list -H "Authorization: Bearer $whole" -H "Authorization: Bearer $mine"
says "two at once" 400 'one Authorization'
ask $list -u ci:x
says "a password" 401 'Bearer'
as "$narrow" $list
says "a scope allows what it says" 200 '"digits"'
as "$narrow" /api/v1/tag -d '{"ref": "digits@1", "tags": ["a=b"]}'
says "and no more, though its subject may" 403 'scope'
as "$other" $list
says "another scope" 403 'scope'
as "$whole" /api/v1/promote -d '{"ref": "digits@1", "to": "production"}'
says "what its subject may not" 403 'ci may not promote'
sleep 1.1
as "$short" $list
says "an expired one" 401 'not accepted'
before=$body
sl token revoke "$(name "$narrow")"
as "$narrow" $list
says "a revoked one, at the next request" 401 'not accepted'
is "nobody is told which of the two" "$(printf '%s' "$body" | sed 's/"instance.*//')" "$(printf '%s' "$before" | sed 's/"instance.*//')"
sl user disable ci
as "$whole" $list
says "a disabled subject" 401 'not accepted'
sl user enable ci
as "$whole" $list
says "enabled again" 200 '"digits"'
as "$whole" /api/v1/token/create -d '{"subject": "ci", "scope": ["push:digits"], "idempotency_key": "k"}'
says "a token makes a narrower one" 200 '"token": "slc_'
child=$(printf '%s' "$body" | sed -n 's/.*"token": "\([^"]*\)".*/\1/p')
as "$whole" /api/v1/token/create -d '{"subject": "ci", "scope": ["push:digits"], "idempotency_key": "k"}'
says "asked again" 200 '"replayed": true'
is "it is not given again" "$(printf '%s' "$body" | grep -c slc_)" 0
as "$child" /api/v1/token/create -d '{"subject": "ci"}'
says "what a narrow one makes is as narrow" 200 '"subject": "ci"'
as "$child" /api/v1/token/create -d '{"subject": "ci", "scope": ["push:*"]}'
says "never wider" 403 'wider scope'
as "$child" /api/v1/token/revoke -d "{\"id\": \"$(name "$whole")\"}"
says "nor does it end others" 403 'may not'
as "$whole" /api/v1/token/create -d "{\"subject\": \"$me\"}"
says "nor one of somebody else" 403 'ci may not'
sl user add web-1 --service
sl grant web-1 read '*'
agent=$(new_token web-1)
report='"ref": "digits@production", "release": 1, "state": "observed"'
as "$agent" /api/v1/host/want -d '{"host": "web-1", "alias": "production"}'
says "a host's agent speaks for the host of its name" 200 '"models"'
as "$agent" /api/v1/host/want -d '{"host": "web-2", "alias": "production"}'
says "not for another" 403 'may not admin host:web-2'
as "$agent" /api/v1/host/report -d "{\"host\": \"web-2\", $report}"
says "whatever it says" 403 "sluice grant web-1 host_report 'host:web-2'"
sl grant web-1 host_report 'host:web-*'
ok "for several: a grant on them"
as "$agent" /api/v1/host/want -d '{"host": "web-2", "alias": "production"}'
says "then for those" 200 '"models"'
as "$agent" /api/v1/host/want -d '{"host": "db-1", "alias": "production"}'
says "and no others" 403 'may not admin'
ask $list --unix-socket socket
says "on a socket the kernel says who" 200 '"digits"'
as "$other" $list --unix-socket socket
says "unless a token says it" 403 'scope'
stop
sl token list
prints "the last use is known" "$(name "$whole") +ci .*20[0-9-]+T.*20[0-9-]+T"
sl audit log --verb login
prints "what was not accepted is in the log" "login +token:$(name "$narrow") +denied +.*revoked"
prints "with the reason" "login +token:$(name "$short") +denied .*expired"
sl audit log --json
prints "and by which token somebody came" "\"via\": \"token $(name "$whole")\""
is "no secret in store or access log" "$(grep -rlE 'slc_[0-9A-Za-z]{8}_' store access.log | wc -l)" 0
for secret in "$whole" "$child" "$narrow"; do
    is "nor a part of one" "$(grep -rlF "$(echo "$secret" | cut -c14-45)" store access.log | wc -l)" 0
done

# ---- forced commands ----
req() { printf 'GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' "$list"; }
is "stdio --as" "$(req | sluice serve --stdio --as ci | head -n 1 | tr -d '\r')" "HTTP/1.1 200 OK"
is "somebody without rights" "$(req | sluice serve --stdio --as nobody | head -n 1 | tr -d '\r')" "HTTP/1.1 403 Forbidden"

# ---- certificates ----
ssl() { openssl "$@" 2>>openssl.log; }
ca() { # NAME
    ssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.pem" -subj "/CN=$1" -days 2
}
cert() { # NAME CA DAYS USAGE SAN
    ssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
    printf 'extendedKeyUsage=%s\nsubjectAltName=%s\n' "$4" "$5" >ext
    ssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days "$3" -extfile ext -out "$1.pem"
}
ca ours
ca theirs
cert server ours 2 serverAuth IP:127.0.0.1
cert pinned ours 2 clientAuth DNS:pinned
cert named ours 2 clientAuth DNS:x,URI:spiffe://example.org/ci
cert stranger ours 2 clientAuth URI:spiffe://example.org/stranger
cert forged theirs 2 clientAuth URI:spiffe://example.org/ci
cert old ours -1 clientAuth URI:spiffe://example.org/ci
cert misused ours 2 serverAuth URI:spiffe://example.org/ci
sl user cert ci --sha256 "$(openssl x509 -in pinned.pem -noout -fingerprint -sha256 | sed 's/.*=//')"
ok "a certificate by its fingerprint"
sl user cert ci --san URI:spiffe://example.org/ci
ok "and by its name"
cp server.pem cert.pem
cp server.key key.pem
sl serve --listen 127.0.0.1:0 --tls-cert cert.pem --tls-key pinned.key
fails "a key of another certificate" 1 "is not the key of"
start --tls-cert cert.pem --tls-key key.pem --client-ca ours.pem
tls() { # NAME of a certificate
    ask $list --cacert ours.pem --cert "$1.pem" --key "$1.key"
}
tls pinned
says "known by the fingerprint" 200 '"digits"'
tls named
says "known by the name" 200 '"digits"'
tls stranger
says "signed, and nobody" 401 'say who you are'
tls forged
says "signed by somebody else" 401 'not accepted|does not hold'
tls old
says "expired" 401 'not accepted|does not hold'
tls misused
says "a server's" 401 'not accepted|does not hold'
ask $list --cacert ours.pem
says "none" 401 'say who you are'
as "$whole" $list --cacert ours.pem --cert stranger.pem --key stranger.key
says "a token counts more" 200 '"digits"'
sl user cert ci --san URI:spiffe://example.org/ci --remove
tls named
says "taken back, at once" 401 'say who you are'
curl -s --cacert ours.pem --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 "$url/healthz" >/dev/null
check "TLS 1.1 is not spoken" test $? -ne 0
shown() { openssl s_client -connect "${url#https://}" </dev/null 2>/dev/null | openssl x509 -noout -serial; }
reloaded() { sluice audit log --verb tls_reload | grep -q "reload .*$1"; } # with this outcome
first=$(shown)
cert server ours 2 serverAuth IP:127.0.0.1
cp server.pem cert.pem
cp server.key key.pem
kill -HUP "$service"
await 60 reloaded ok
is "SIGHUP: the new certificate" "$(shown)" "$(openssl x509 -in server.pem -noout -serial)"
check "is another one" test "$first" != "$(shown)"
echo broken >cert.pem
kill -HUP "$service"
await 60 reloaded failed
is "one that is broken is not taken" "$(shown)" "$(openssl x509 -in server.pem -noout -serial)"
stop
sl audit log --verb tls_reload
prints "both are in the log" "tls reload .*ok"
prints "with what is wrong" "tls reload .*failed .*cert.pem"
sl audit log --verb login
prints "who was nobody, too" "login +certificate:[0-9a-f]{64} +denied .*nobody"

# ---- jobs ----
mkfifo to from
"$SLUICE_TOOLS/issuer" <to >from &
issuer=$!
servers="$servers $issuer"
exec 3>to 4<from
read -r issuer_url <&4
say() {
    echo "$*" >&3
    read -r said <&4
}
job() { # ALG KID REPOSITORY SECONDS-FROM-NOW AUDIENCE
    now=$(date +%s)
    say "sign $1 $2 {\"iss\":\"$issuer_url\",\"aud\":\"$5\",\"sub\":\"repo:$3\",\"repository\":\"$3\",\"iat\":$((now - 600)),\"exp\":$((now + $4))}"
    jwt=$said
}
is_known() {
    as "$jwt" $list
    [ "$code" != 503 ]
}
retry() { await 60 is_known; } # as a client does that is told to try again
start
job RS256 r1 org/digits 60 sluice
as "$jwt" $list
says "an issuer that nobody named" 401 'not accepted'
sl issuer add ours "$issuer_url" --audience sluice --match repository=org/digits --subject ci --scope push:digits
ok "issuer add"
retry
says "a job is its rule's subject" 200 '"digits"'
as "$jwt" /api/v1/token/create -d '{"subject": "ci"}'
says "it makes no tokens" 403 'as a job'
job ES256 e1 org/digits 60 sluice
retry
says "ES256" 200 '"digits"'
while read -r name alg kid repository seconds audience; do
    job "$alg" "$kid" "$repository" "$seconds" "$audience"
    as "$jwt" $list
    says "$name" 401 'not accepted'
done <<'END'
wrong-audience RS256 r1 org/digits 60 other
wrong-claim RS256 r1 org/digits2 60 sluice
expired RS256 r1 org/digits -100 sluice
alg-none none - org/digits 60 sluice
HS256-by-the-public-key HS256 r1 org/digits 60 sluice
END
say down
job RS256 r1 org/digits 61 sluice
as "$jwt" $list
says "the issuer is away, its keys stay" 200 '"digits"'
sl issuer remove ours
as "$jwt" $list
says "taken back, at once" 401 'not accepted'
stop
sl audit log --json
prints "the log says which job it was" "\"via\": \"oidc ours/1 repo:org/digits"
sl audit log --verb login
prints "and why others were not" "denied .*no rule of ours fits"
exec 3>&-
wait $issuer
finish
