#!/bin/sh
# Clients and services of neighbouring releases: the requests of recorded clients are answered
# as they were, and today's client passes over what it does not know.
. "$(dirname "$0")/lib.sh"
. "$top/tests/tools/wire.sh"
needs python3
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

# ---- what one of them does not know is said as such, with both releases ----
mine=$(sluice version --json | sed -n 's/.*"version": "\(.*\)".*/\1/p')
for theirs in 0.0.1 9.9.9 "$mine"; do
    rm -f "$scratch/aged"
    python3 "$top/tests/tools/wire.py" age "$scratch/aged" "$scratch/s" "$theirs" &
    servers="$servers $!"
    wire_wait "$scratch/aged"
    sl --server "unix:$scratch/aged" list
    ok "a service of $theirs"
    age="it is Sluice $theirs, and this is $mine: one of them is too old"
    [ "$theirs" != "$mine" ] || age=
    sl --server "unix:$scratch/aged" key list
    if [ "$age" ]; then
        fails "a verb that it does not know" 1 "no verb 'key/of_another_release'.*; $age"
    else
        fails "a verb that nobody knows" 7 "there is no verb 'key/of_another_release'"
        is "is not laid to the release" "$(printf '%s\n' "$err" | grep -c 'too old')" 0
    fi
    sl --server "unix:$scratch/aged" hook list
    if [ "$age" ]; then
        fails "a field" 1 "hook list takes no of_another_release; $age"
    else
        fails "a field" 2 "hook list takes no of_another_release"
        is "the same" "$(printf '%s\n' "$err" | grep -c 'too old')" 0
    fi
    sl --server "unix:$scratch/aged" inspect digits@9
    fails "what is not there is no matter of age" 7 "digits has no version 9"
    is "so that is not said" "$(printf '%s\n' "$err" | grep -c 'too old')" 0
done
finish
