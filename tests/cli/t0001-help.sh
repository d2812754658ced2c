#!/bin/sh
. "$(dirname "$0")/lib.sh"

sl --help
ok "--help ends with 0"
is "help stays within 80 columns" "$(printf '%s\n' "$out" | awk 'length > 80')" ""
for verb in $(sed -n 's/^VERB(\([a-z_]*\),.*/\1/p' "$top/service/verbs.def"); do
    words=$(echo "$verb" | tr _ ' ')
    sl $words --help
    good=0
    [ "$status" -eq 0 ] && [ "$(printf '%s\n' "$out" | grep -c '^  sluice ')" -ge 2 ] &&
        [ -z "$(printf '%s\n' "$out" | awk 'length > 80')" ] || good=1
    result "sluice $words --help: two examples, within 80 columns" $good "$out$err"
done
sl
fails "no command shows the help on stderr" 2 "usage: sluice"
sl frobnicate
fails "an unknown command" 2 "there is no command 'frobnicate'"
sl psuh x y
fails "a near command is named" 2 "sluice push"
sl golden
fails "a group names its commands" 2 "golden add +give a model"
sl golden --help
ok "and has a help"
prints "of its commands" "golden add +give a model"
is "and no others" "$(printf '%s\n' "$out" | grep -c "policy")" 0
sl push --frob x
fails "an unknown flag" 2 "push has no flag --frob"
sl pull
fails "a missing argument" 2 "pull needs ref"
sl promote a@1 --to b --expect many
fails "a number that is none" 2 "expect must be a whole number"
sl list a b
fails "an argument too many" 2 "'b' is one argument too many"
sl version
ok "sluice version"
prints "says its version" '^sluice [0-9]+\.[0-9]+\.[0-9]+$'
sl --version
prints "as a flag too" '^sluice [0-9]'
sl version --json
prints "--json after the verb" '"version":'
sl --json version
prints "--json before the verb" '"version":'
sluice version >/dev/full 2>"$scratch/.err"
is "an answer that nobody got is a failure" "$?" 1
sl list
fails "no store: says how to make one" 7 "sluice init"
finish
