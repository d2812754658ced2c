#!/bin/sh
# Clients and services of neighbouring releases: the requests of recorded clients are answered
# as they were, and today's client passes over what it does not know.
. "$(dirname "$0")/lib.sh"
. "$top/tests/tools/wire.sh"
command -v python3 >/dev/null || {
    skip "neighbouring releases" "no python3"
    finish
    exit
}
for dir in "$data"/wire/*/; do
    wire_store
    python3 "$top/tests/tools/wire.py" replay "$scratch/s" "$dir" >played 2>&1
    result "the client of release $(basename "$dir") is answered as it was" $? "$(cat played)"
    check "all of it" grep -qE "^[0-9]{2,} requests, 0 answered" played
    ends "$service"
done
wire_store
python3 "$top/tests/tools/wire.py" odd "$scratch/between" "$scratch/s" &
servers="$servers $!"
wire_wait "$scratch/between"
at=unix:$scratch/between
is "today's client passes over members, headers and events that it does not know" "$(wire_play)" ""
check "and what it pulled is what was pushed" diff -r -x assets "$digits/v1" pulled-1
finish
