#!/bin/sh
# usage: flips.sh N [SEED]   TAP, with a table of counts as comments.
# N times (N / 4 with a status URL) `latest` flips by real commands, of which some have a
# failing call and some are killed, while eight readers resolve it once and read, and a model
# of a TF Serving follows (tests/tools: flips.c, tfs_model.h). Both layouts.
# Works below $CRASH_DIR, else /dev/shm, else /tmp.
n_flips=${1:-300} seed=${2:-1}
top=$(cd "$(dirname "$0")/../.." && pwd)
tools=${SLUICE_TOOLS:-$top/build/debug/tests/tools}
PATH=${SLUICE_BIN:-$top/build/debug/bin}:$PATH
base=${CRASH_DIR:-/dev/shm}
[ -w "$base" ] || base=/tmp
work=$(mktemp -d "$base/sluice-flips-XXXXXX") || exit 1
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
export PATH SLUICE_STORE="$work/store" LC_ALL=C
unset TEST_FAULT
n=0 bad=0
result() { # name, 0 for good, what to say when bad
    n=$((n + 1))
    [ "$2" -eq 0 ] && echo "ok $n - $1" && return
    bad=$((bad + 1))
    echo "not ok $n - $1"
    printf '%s\n' "$3" | head -n 20 | sed 's/^/# /'
}
of() { # file, name: a count
    sed -n "s/^$2 //p; s/.*\"$2\":\\([0-9]*\\).*/\\1/p" "$1" | tail -n 1
}
none() { # layout, file, name, what that means
    result "$1: 0 $4" "$([ "$(of "$2" "$3")" = 0 ]; echo $?)" "$3: $(of "$2" "$3")
$(grep -E "first:|\"event\":\"$3\"" "$2")"
}
cd "$work" || exit 1
sluice init >/dev/null || exit 1
# Three models of which no file is like another's, and more so that new ones keep coming.
known=
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do
    cp -r "$top/demo/digits/v$(((i - 1) % 3 + 1))" "m$i"
    mkdir -p "m$i/assets"
    echo $i >"m$i/assets/note"
    sluice push "m$i" m >/dev/null || exit 1
    known="$known m$i"
done
flip() { # target, how, number of flips
    "$tools/flips" "$(command -v sluice)" "$work/$1" m "on-$1" "$2" "$3" "$seed" $known >"$1.counts"
    result "$1: $3 flips" $? "$(cat "$1.counts")"
    out=$(sluice promote m@1 --to "on-$1" --again 2>&1)
    result "$1: the next command puts right what was interrupted last" $? "$out"
    none "$1" "$1.counts" unexpected "commands failed that nothing was done to"
    result "$1: calls failed and commands were killed" \
        "$([ "$(of "$1.counts" commands_failed)" -gt 0 ] && [ "$(of "$1.counts" commands_killed)" -gt 0 ]; echo $?)" \
        "none (a build without TEST_FAULT?)"
    none "$1" "$1.counts" missing "views with something missing"
    none "$1" "$1.counts" mixed "mixed views by readers that resolve once"
    result "$1: where a reader does not, there are some" "$([ "$(of "$1.counts" careless_mixed)" -gt 0 ]; echo $?)" \
        "$(of "$1.counts" careless_views) views"
    sed "s/^[a-z]/# $1 &/" "$1.counts"
}
add() { # target, layout
    sluice target add "$1" "$work/$1" --alias "on-$1" --layout "$2" >/dev/null &&
        sluice promote m@1 --to "on-$1" >/dev/null || exit 1
}
serve() { # target: a server that follows it
    rm -f port
    "$tools/tfs-model" --model_config_file="$work/$1/config/models.config" \
        --model_config_file_poll_wait_seconds=0.01 --file_system_poll_wait_seconds=0.01 --manage_ms=5 \
        --allow_version_labels_for_unavailable_models=true --log="$work/$1.log" --port_file="$work/port" &
    server=$!
    while [ ! -s port ] && kill -0 $server; do sleep 0.05; done
}
available() { # what the server serves
    curl -s "http://127.0.0.1:$(cat port)/v1/models/m" | paste -sd ' ' - |
        grep -o '"version": "[0-9]*",  *"state": "AVAILABLE"' | grep -o '[0-9]*' | paste -sd ' ' -
}
wanted() { grep -o 'versions: [0-9]*' "$1/config/models.config" | cut -d' ' -f2 | sort -rn | paste -sd ' ' -; }
served() { # target: the server came to what the files say, and saw nothing that hurts
    tries=0
    until [ "$(available)" = "$(wanted "$1")" ] || [ $tries -ge 200 ]; do
        tries=$((tries + 1))
        [ "$1" != stepped ] || sluice target step stepped >/dev/null
        sleep 0.05
    done
    result "$1: the server serves in the end what the files say" \
        "$([ "$(available)" = "$(wanted "$1")" ]; echo $?)" "it serves $(available), and should $(wanted "$1")"
    kill $server
    wait $server 2>/dev/null
    server=
    result "$1: the server took configs, loaded and unloaded" \
        "$([ "$(of "$1.log" taken)" -gt 5 ] && [ "$(of "$1.log" loaded)" -gt 2 ] && [ "$(of "$1.log" unloaded)" -gt 0 ]; echo $?)" \
        "$(tail -n 1 "$1.log")"
    none "$1" "$1.log" refused "configs that the server refused or could not read"
    none "$1" "$1.log" torn "versions torn while they were loaded"
    none "$1" "$1.log" reused "numbers with other bytes than before"
    none "$1" "$1.log" missing "wanted versions missing"
    none "$1" "$1.log" unserved "moments without a version"
    none "$1" "$1.log" label_lost "labels at a version that went"
    for name in taken refused torn reused missing unserved label_lost failed loaded unloaded; do
        echo "# $1 server_$name $(of "$1.log" $name)"
    done
}
add plain plain
flip plain flipping "$n_flips"
# Without a status URL there are no labels: nothing may be refused, wherever it goes.
add tfserving tfserving
serve tfserving
flip tfserving flipping "$n_flips"
served tfserving
# With one, a label moves when its version was seen AVAILABLE; a flip takes several commands.
if sluice target step --help >/dev/null 2>&1; then
    add stepped tfserving
    serve stepped
    sluice target set stepped --status-url "http://127.0.0.1:$(cat port)" >/dev/null || exit 1
    flip stepped stepping $(((n_flips + 3) / 4))
    served stepped
fi
out=$(sluice fsck 2>&1)
result "fsck is clean" $? "$out"
out=$(sluice audit verify 2>&1)
result "the log holds" $? "$out"
out=$(sluice target check 2>&1)
result "the trees are as they should be" $? "$out"
echo "1..$n"
[ $bad -eq 0 ]
