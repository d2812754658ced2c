# Command-line tests: sourced by t*.sh. TAP. Each script has a scratch directory of its own
# as its current directory, and a store in it; nothing outside is touched.
#   sl ARGS…               runs sluice: out, err hold what it printed, status how it ended
#   sl_as TOKEN ARGS…      the same with a token, at the last service of `serve`; new_token ARGS… makes one
#   ok NAME                the last sl ended with 0
#   fails NAME STATUS TEXT the last sl ended with STATUS and TEXT (a grep -E) is on stderr
#   prints NAME TEXT       the last sl printed TEXT (a grep -E) on stdout
#   is NAME GOT WANT       two strings are equal
#   check NAME COMMAND…    a command ends with 0
#   skip NAME WHY
#   needs PROGRAM…         without one of them the script ends here, skipped
#   await SECONDS COMMAND… until the command ends with 0, and says whether it did. A test that
#                          waits waits so: long where it must, not a moment longer than it must
#   serve LOG OPTIONS…     a service, which has said that it listens: its process $service, where
#                          it is asked $at ("unix:/…" or "http://127.0.0.1:41873"), its stderr LOG
#   ends PROCESS           tells it to end; its exit status
#                          (What else runs in the background is put into $servers.)
#   free_port              a port that nobody has, and that no outgoing connection is given
#   finish                 the plan; must be the last line
# With SLUICE_TEST_SERVER=1 each sl that has a store to talk to does it through a service,
# which is started for it (make check-served); what cannot be done so is in served.skip.
top=$(cd "$(dirname "$0")/../.." && pwd)
BIN=${SLUICE_BIN:-$top/build/debug/bin}
PATH=$BIN:$PATH:/usr/sbin:/sbin
digits=$top/demo/digits
data=$top/tests/data
unset SLUICE_SERVER SLUICE_TOKEN TEST_FAULT GITHUB_ACTIONS GITLAB_CI JENKINS_URL
LC_ALL=C TZ=UTC
me=$(id -un 2>/dev/null) || me=uid:$(id -u) # as sluice names who runs this
export PATH LC_ALL TZ

scratch=$(mktemp -d "${TMPDIR:-/tmp}/sluice-cli-XXXXXX") || exit 1
servers=
trap 'for s in $servers; do kill "$s" && kill -CONT "$s"; done 2>/dev/null
chmod -R u+w "$scratch" 2>/dev/null; rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
export SLUICE_STORE="$scratch/store" XDG_CACHE_HOME="$scratch/.cache"
export SLUICE_RETRY_S=2 # what is not there in a test mostly will not come
n=0 bad=0

await() { # seconds, command…
    awaited=$((${1} * 20))
    shift
    until "$@" >/dev/null 2>&1; do
        awaited=$((awaited - 1))
        [ "$awaited" -gt 0 ] || return 1
        sleep 0.05
    done
}
serve() { # its stderr, options…
    serve_log=$1
    shift
    : >"$serve_log"
    sluice serve "$@" 2>"$serve_log" </dev/null &
    service=$!
    servers="$servers $service"
    await 60 is_serving
    at=$(sed -n 's/.* listens on \([^,]*\).*/\1/p' "$serve_log")
    [ -n "$at" ]
}
is_serving() { grep -q ' listens on ' "$serve_log" || ! kill -0 "$service"; }
ends() { # process
    servers=" $servers "
    servers="${servers%% "$1" *} ${servers#* "$1" }"
    kill "$1"
    wait "$1"
}
free_port() {
    python3 -c 'import random, socket
first = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
while True:
    s = socket.socket()
    try: s.bind(("127.0.0.1", random.randrange(10000, first) if first > 11000 else 0)); break
    except OSError: s.close()
print(s.getsockname()[1])'
}

# What to set for a sluice that may talk to a service: one for $SLUICE_STORE, if it is there.
served() { # its words
    served_by=
    [ -n "${SLUICE_TEST_SERVER:-}" ] && [ -f "$SLUICE_STORE/format" ] || return 0
    case " $* " in *" --store "* | *" --store="* | *" --server "* | *" --server="*) return 0 ;; esac
    case " $* " in *" --rebuild "*) return 0 ;; esac # the owner's, who does it while others are served
    ino=$(stat -c %i "$SLUICE_STORE")
    [ ! -e "$scratch/.not-served-$ino" ] || return 0
    if [ ! -S "$scratch/.served-$ino" ]; then
        kept_service=${service:-} kept_at=${at:-}
        serve "$scratch/.serve-log" --socket "$scratch/.served-$ino" ||
            : >"$scratch/.not-served-$ino" # not this user's, damaged, …
        service=$kept_service at=$kept_at
        [ ! -e "$scratch/.not-served-$ino" ] || return 0
    fi
    served_by=unix:$scratch/.served-$ino
}
sl() {
    status=0
    served "$@"
    SLUICE_SERVER=$served_by sluice "$@" >"$scratch/.out" 2>"$scratch/.err" </dev/null || status=$?
    out=$(cat "$scratch/.out") err=$(cat "$scratch/.err")
}
sl_as() { # token, words: at the service of the last `serve`
    export SLUICE_TOKEN="$1"
    shift
    sl --server "$at" "$@"
    unset SLUICE_TOKEN
}
new_token() { # words of token create
    sluice token create "$@" --json | sed -n 's/.*"token": "\(.*\)".*/\1/p'
}
not_served() { # name of a check: why it cannot be as it is without a service
    script=$(basename "$0" .sh)
    sed -n "s/^${script%%-*}	//p" "$top/tests/cli/served.skip" | awk -F '\t' -v name="$1" \
        '$1 == name { print $2; found = 1 } END { exit !found }'
}
result() { # name, 0 for good, what to say when bad
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $n - $1"
    elif [ -n "${SLUICE_TEST_SERVER:-}" ] && why=$(not_served "$1"); then
        n=$((n - 1))
        echo "# not compared over a service: $1: $why"
    else
        bad=$((bad + 1))
        echo "not ok $n - $1"
        printf '%s\n' "$3" | sed 's/^/# /'
    fi
}
ok() {
    [ "$status" -eq 0 ]
    result "$1" $? "status $status
stdout: $out
stderr: $err"
}
fails() {
    good=0
    [ "$status" -eq "$2" ] && printf '%s\n' "$err" | grep -qE -- "$3" || good=1
    result "$1" $good "status $status, wanted $2 and on stderr: $3
stdout: $out
stderr: $err"
}
prints() {
    printf '%s\n' "$out" | grep -qE -- "$2"
    result "$1" $? "not on stdout: $2
stdout: $out
stderr: $err"
}
is() {
    [ "$2" = "$3" ]
    result "$1" $? "got:    $2
wanted: $3"
}
check() {
    name=$1
    shift
    "$@" >"$scratch/.check" 2>&1
    result "$name" $? "$* ended badly: $(cat "$scratch/.check")"
}
skip() {
    n=$((n + 1))
    echo "ok $n - $1 # SKIP $2"
}
needs() {
    for tool; do
        command -v "$tool" >/dev/null && continue
        skip "all of it" "$tool is not installed"
        finish
        exit
    done
}
finish() {
    echo "1..$n"
    [ "$bad" -eq 0 ]
}

# A store with digits v1 live on production in target web.
digits_live() { # layout
    sl init
    sl target add web "$scratch/web" --alias production --layout "${1:-plain}"
    sl push "$digits/v1" digits
    sl promote digits@1 --to production
}
