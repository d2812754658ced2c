#!/bin/sh
# The service: start, health, verbs over stdio. HTTP is said by hand.
. "$(dirname "$0")/lib.sh"

ask() { # METHOD TARGET [BODY] -> $out
    out=$(printf '%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
        "$1" "$2" "${#3}" "$3" | sluice serve --stdio --as "${as:-$(id -un)}" 2>&1)
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
sl audit log --verb serve
prints "starts are on record" 'serve'

finish
