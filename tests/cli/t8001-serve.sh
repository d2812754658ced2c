#!/bin/sh
# The service: start, health, verbs over stdio. HTTP is said by hand.
. "$(dirname "$0")/lib.sh"

ask() { # METHOD TARGET [BODY] -> $out
    out=$(printf '%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
        "$1" "$2" "${#3}" "$3" | sluice serve --stdio --as "${as:-$me}" 2>&1)
}

sl init
sl push "$digits/v1" digits
ok "a store with a version"

ask GET /healthz
prints "it is alive" '^HTTP/1.1 200'
ask GET /readyz
prints "and ready" '^HTTP/1.1 200'
ask POST /api/v1/list '{}'
prints "a verb is carried out" '"model": "digits", "number": 1'
ask POST /api/v1/config/get '{"key": "quarantine"}'
prints "one of two words" '"value"'
ask POST /api/v1/nothing '{}'
prints "no such verb" '^HTTP/1.1 404'
prints "is a problem document" '^Content-Type: application/problem.json'
ask POST /api/v1/inspect '{"ref": "digits@7"}'
prints "an error says its exit code" '"exit_code": 7, "code": "NOTFOUND"'
as=nobody ask POST /api/v1/list '{"model": "digits"}'
prints "nobody may nothing" '"status": 403.*"code": "DENIED"'

sl serve
fails "it must be told where" 2 'needs --listen'
sl serve --stdio --listen 127.0.0.1:1
fails "and one place" 2 'or --stdio'
sl serve --listen 127.0.0.1:70000
fails "a port that is none" 2 "'70000' is not a port"
: >file
sl serve --socket "$PWD/file"
fails "a file in the socket's place stays" 3 'something is there that is no socket'
sl serve --socket "$PWD/none/sock"
fails "a directory that is missing" 1 'make the directory first'
serve said --listen 127.0.0.1:0
check "it says where it listens" grep -qE '^sluice-server: listens on http://127\.0\.0\.1:[0-9]+$' said
sl serve --listen "${at#http://}"
fails "an address that is taken" 1 'something else has it'
check "who is refused keeps the connection" sh -c "curl -sv '$at/api/v1/list' '$at/healthz' 2>&1 | grep -qi re-using"
ends "$service"
sl freeze digits@nowhere --reason x
fails "an alias that never was" 7 'no alias nowhere'
sl audit log --verb serve
prints "starts are on record" 'serve'

finish
