#!/bin/sh
# Proves, against the TensorFlow Serving of your site, what Sluice relies on: that the server
# takes the files of a target, reloads its config, moves labels, and goes back.
#
# usage: verify.sh --command 'tensorflow_model_server' [--port 18501] [OPTIONS]
#            starts the server itself (the words before its options; split at blanks)
#        verify.sh --url http://HOST:PORT [OPTIONS]
#            says what a server must be started with, and waits until it answers there
#
#   --dir DIR            where a scratch store and target go (default: a temporary directory);
#                        it must not be there, and lies where the server can read it
#   --serving-root DIR   DIR/models as the server sees it (a container)
#   --models A B         two SavedModels that answer differently (default: the demo's)
#   --inputs TEXT        what they are asked: 'x=[1.0, 2.0];y=[[3]]', lists of numbers
#   --wait S             how long the server may take for one change (default 60)
#   --settle S           how long something that must not happen is waited for: several of
#                        the server's polls (default 5)
#   --keep               leaves DIR there
#
# Needs sluice (PATH, or SLUICE=…) and curl. Prints a table; 0: all passed, 1: some failed,
# 2: wrong usage, 3: it could not begin.
set -u
LC_ALL=C
export LC_ALL
here=$(cd "$(dirname "$0")" && pwd)
sluice=${SLUICE:-sluice}
command='' url='' dir='' root='' port=18501 wait_s=60 settle_s=5 keep='' inputs=''
a=$here/../../demo/digits/v1 b=$here/../../demo/digits/v2
model=sluice_verify

usage() {
    [ $# -eq 0 ] || echo "verify.sh: $*" >&2
    sed -n '/^# usage/,/^# 2:/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=1 ;;
    --command | --port | --url | --dir | --serving-root | --inputs | --wait | --settle)
        [ $# -ge 2 ] || usage "$1 needs a value"
        case $1 in
        --command) command=$2 ;;
        --port) port=$2 ;;
        --url) url=${2%/} ;;
        --dir) dir=$2 ;;
        --serving-root) root=$2 ;;
        --inputs) inputs=$2 ;;
        --wait) wait_s=$2 ;;
        --settle) settle_s=$2 ;;
        esac
        shift
        ;;
    --models)
        [ $# -ge 3 ] || usage "--models needs two directories"
        a=$2 b=$3
        shift 2
        ;;
    *) usage "unknown: $1" ;;
    esac
    shift
done
[ -n "$command" ] || [ -n "$url" ] || usage "--command or --url is needed"
[ -z "$command" ] || [ -z "$url" ] || usage "--command and --url: only one of them"
# The demo's question: an 8 x 8 image.
[ -n "$inputs" ] || inputs="image=[[$(awk 'BEGIN {
    for (i = 0; i < 8; i++) {
        printf "%s[", i ? "," : ""
        for (j = 0; j < 8; j++) printf "%s[%d.0]", j ? "," : "", (i * 8 + j) * 7 % 17
        printf "]"
    } }')]]"

# ---- a scratch store and target ----------------------------------------------------------

server='' made=''
leave() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    [ -n "$keep" ] || [ -z "$made" ] || { chmod -R u+w "$made" && rm -rf "$made"; } 2>/dev/null
}
trap leave EXIT
trap 'exit 3' HUP INT TERM
give_up() {
    echo "verify.sh: $*" >&2
    exit 3
}
if [ -n "$dir" ]; then
    mkdir "$dir" || exit 3
else
    dir=$(mktemp -d) || exit 3
fi
dir=$(cd "$dir" && pwd) made=$dir
command -v curl >/dev/null || give_up "curl is not there"
chmod 755 "$dir" # the server may run as somebody else
SLUICE_STORE=$dir/store
export SLUICE_STORE
tree=$dir/models
run() { # a command of sluice that must end well
    "$sluice" "$@" >"$dir/out" 2>&1 || give_up "sluice $*: $(cat "$dir/out")"
}
run init
[ -z "$command" ] || url=http://127.0.0.1:$port
run target add verify "$tree" --alias verify --layout tfserving --status-url "$url" ${root:+--serving-root "$root"}
run push "$a" $model
run push "$b" $model

# ---- answers --------------------------------------------------------------------------------

# What sluice itself says, "KEY NUMBER…" a line.
expected() { # model directory
    "$sluice" run --dir "$1" --input_exprs "$inputs" --json >"$dir/out" 2>&1 ||
        give_up "sluice run --dir $1: $(cat "$dir/out")"
    sed -n 's/\\n/ /g; s/^ *"key": "\(.*\)",\{0,1\}$/KEY \1/p; s/^ *"text": "\(.*\)".*/\1/p' "$dir/out" |
        tr -d '[],' | awk '/^KEY / { key = $2; next } { print key, $0 }'
}
# The server's answer against a file of those lines. One output comes without its name.
is_answer() { # expected, answer
    tr '\n' ' ' <"$2" | awk -v expected="$1" '
        function near(x, y) { d = x - y; if (d < 0) d = -d; if (y < 0) y = -y; return d <= 1e-4 + 1e-4 * y }
        { answer = $0 }
        END {
            n = 0
            while ((getline line <expected) > 0) lines[++n] = line
            for (i = 1; i <= n; i++) {
                m = split(lines[i], want, " ")
                key = n == 1 ? "outputs" : want[1]
                at = index(answer, "\"" key "\":")
                if (n == 0 || !at) exit 1
                rest = substr(answer, at + length(key) + 3)
                sub(/["}].*/, "", rest)
                gsub(/[][,]/, " ", rest)
                if (split(rest, got, " ") != m - 1) exit 1
                for (k = 2; k <= m; k++) if (!near(got[k - 1], want[k])) exit 1
            }
            exit n == 0
        }'
}
expected "$a" >"$dir/a"
expected "$b" >"$dir/b"
! cmp -s "$dir/a" "$dir/b" || give_up "both models give one answer to --inputs: name others"
run promote $model@1 --to verify
body="{\"inputs\": {$(printf '%s' "$inputs" | tr ';' '\n' | sed 's/^ *\([^=]*\)=\(.*\)$/"\1": \2/' | paste -sd , -)}}"

# "a" or "b": who answers PATH:predict; else "neither" and the words.
who() { # path below /v1/models/MODEL
    curl -s -m 30 -d "$body" "$url/v1/models/$model$1:predict" >"$dir/answer" 2>&1
    if is_answer "$dir/a" "$dir/answer"; then
        echo a
    elif is_answer "$dir/b" "$dir/answer"; then
        echo b
    else
        echo "neither: $(tr -s ' \n' '  ' <"$dir/answer" | cut -c 1-200)"
    fi
}
# "2 AVAILABLE 1 END", as the server's status says.
versions() {
    curl -s -m 30 "$url/v1/models/$model" |
        sed -n 's/.*"version": "\([0-9]*\)".*/\1/p; s/.*"state": "\([A-Z]*\)".*/\1/p' | paste -sd ' ' -
}

# ---- the table ------------------------------------------------------------------------------

passed=0 failed=0
result() { # 0 for good, name, what was seen
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'passed  %s\n' "$2"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n            seen: %s\n' "$2" "$3"
    fi
}
# Waits until a command prints what it should.
becomes() { # name, wanted, command…
    name=$1 want=$2
    shift 2
    end=$(($(date +%s) + wait_s))
    until seen=$("$@") && [ "$seen" = "$want" ]; do
        [ "$(date +%s)" -lt $end ] || break
        sleep 0.2 2>/dev/null || sleep 1
    done
    [ "$seen" = "$want" ]
    result $? "$name" "$seen (wanted: $want)"
}
# A command that moves what is live, step by step, until the server was seen to have it.
released() { # name, command of sluice…
    name=$1
    shift
    "$sluice" "$@" --wait "$wait_s" >"$dir/out" 2>&1
    case $? in
    0) result 0 "$name" ;;
    8) result 1 "$name" "$(tail -n 1 "$dir/out")" ;;
    *) give_up "sluice $*: $(cat "$dir/out")" ;;
    esac
}
# It is so now, and still so after some of the server's polls.
stays() { # name, wanted, command…
    name=$1 want=$2
    shift 2
    sleep "$settle_s"
    seen=$("$@")
    [ "$seen" = "$want" ]
    result $? "$name" "$seen (wanted: $want)"
}
# A config by hand, beside Sluice's: what is in `config` until it is repaired.
by_hand() { # fields of the model; none: an empty list
    mkdir -p "$tree/.by-hand"
    {
        echo 'model_config_list {'
        [ $# -eq 0 ] ||
            printf '  config { name: "%s" base_path: "%s/%s" model_platform: "tensorflow" %s }\n' \
                $model "${root:-$tree}" $model "$1"
        echo '}'
    } >"$tree/.by-hand/new"
    mv "$tree/.by-hand/new" "$tree/.by-hand/models.config"
    ln -s .by-hand "$tree/config.new" && mv -T "$tree/config.new" "$tree/config" 2>/dev/null ||
        { rm -f "$tree/config" && mv "$tree/config.new" "$tree/config"; }
}
repair() { "$sluice" target check verify --repair >"$dir/out" 2>&1; }
states() { versions | tr ' ' '\n' | paste -sd ' \n' - | grep "AVAILABLE" | cut -d' ' -f1 | sort | paste -sd ' ' -; }

options="--model_config_file=${root:-$tree}/config/models.config --model_config_file_poll_wait_seconds=1 \
--file_system_poll_wait_seconds=1 --allow_version_labels_for_unavailable_models=true"
if [ -n "$command" ]; then
    # shellcheck disable=SC2086
    $command --rest_api_port="$port" $options >"$dir/server.log" 2>&1 &
    server=$!
else
    echo "The server behind $url must run with:"
    printf '  %s\n' $options
    echo "where ${root:-$tree} is $tree. Waiting until it answers (10 minutes)…"
    end=$(($(date +%s) + 600))
    until curl -s -m 5 -o "$dir/answer" "$url/v1/models/$model"; do
        [ "$(date +%s)" -lt $end ] || give_up "nothing answers at $url"
        sleep 1
    done
fi
becomes "the first config is taken: version 1 is available" "1" states
[ "$failed" -eq 0 ] || give_up "the server does not serve the target${command:+ ($(tail -n 3 "$dir/server.log"))}"
becomes "predictions are those of version 1" a who ""
is_answer "$dir/b" "$dir/answer" && give_up "both models give one answer to --inputs: name others"
released "the server is seen to have it (--status-url)" target step verify
becomes "the label stable is at version 1" a who /labels/stable

released "a changed config is taken, and shares move by steps" weights $model@verify 1=90% 2=10%
becomes "version 2 is loaded beside version 1" "1 2" states
becomes "version 1 answers under its number" a who /versions/1
becomes "version 2 answers under its number" b who /versions/2
becomes "a new label is there: canary is at version 2" b who /labels/canary
becomes "the label stable has not moved" a who /labels/stable
becomes "without a number the highest version answers" b who ""

released "a promotion is seen by steps" promote $model@2 --to verify
becomes "a label moves to a version that is loaded" b who /labels/stable
becomes "the version before stays loaded, for a rollback" "1 2" states

released "a rollback is seen by steps" rollback $model@verify
becomes "after a rollback version 1 answers" a who ""
becomes "and the label stable is back" a who /labels/stable
becomes "and version 2 is unloaded" "1" states

ln -s 2 "$tree/$model/new" && mv -T "$tree/$model/new" "$tree/$model/latest" 2>/dev/null ||
    { rm -f "$tree/$model/latest" && mv "$tree/$model/new" "$tree/$model/latest"; }
stays "the link latest is nothing to the server" "a 1" eval 'echo "$(who "") $(states)"'

by_hand 'model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 2 }'
stays "a config that moves a label to a version not loaded is refused whole" "a 1" eval 'echo "$(who /labels/stable) $(states)"'
by_hand 'model_version_policy { specific { versions: 1 '
stays "a config that does not parse is refused, and the old one stays" "a 1" eval 'echo "$(who /labels/stable) $(states)"'
cp -R "$tree/$model/1" "$tree/$model/.7"
by_hand 'model_version_policy { all {} }'
becomes "all: every number is loaded" "1 2" states
stays "but no name that begins with a dot, and no link by its name" "1 2" states
by_hand
becomes "a config without the model unloads it" "" states
repair
becomes "sluice target check --repair brings the config back; its label, unused now, may be early" "a 1" eval 'echo "$(who /labels/stable) $(states)"'

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
