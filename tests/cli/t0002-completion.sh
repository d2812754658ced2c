#!/bin/sh
# What the Tab key offers.
. "$(dirname "$0")/lib.sh"
command -v bash >/dev/null 2>&1 || {
    skip "completion" "bash is not installed"
    finish
    exit 0
}
tab() { # the line up to the cursor
    bash -c '. "$1"; COMP_LINE=$2 COMP_POINT=${#2}; _sluice; echo "${COMPREPLY[@]}"' - \
        "$top/etc/completion/sluice.bash" "$1"
}
is "a command" "$(tab 'sluice pu')" "pull push"
is "a group" "$(tab 'sluice verd')" "verdict"
is "its commands" "$(tab 'sluice verdict ')" "show export"
is "one of them" "$(tab 'sluice golden ex')" "export"
is "those whose help stands on the next line" "$(tab 'sluice checkpoint co')" "compare"
is "flags" "$(tab 'sluice push ./m --dr')" "--dry_run"
is "however they are spelled" "$(tab 'sluice push ./m --dry-r')" "--dry_run"
is "of a command of two words" "$(tab 'sluice --server unix:/run/s token list --un')" "--unused"
is "after global flags" "$(tab 'sluice --server unix:/run/s --json resol')" "resolve"
is "global ones" "$(tab 'sluice list --ser')" "--server"
is "files are bash's" "$(tab 'sluice push ./')" ""
is "a value of --server too" "$(tab 'sluice --server ')" ""
missing=$(sed -n 's/^VERB(\([a-z_]*\),.*/\1/p' "$top/service/verbs.def" | tr _ ' ' | sort >verbs
bash -c '. "$1"; _sluice_commands' - "$top/etc/completion/sluice.bash" | sort | diff verbs -)
is "it knows each verb" "$missing" ""
finish
