# Sourced after lib.sh by tests that ask the model of a TF Serving (tests/tools/tfs_model.h).
#   tfs_start OPTIONS…      starts one and waits until it answers, or has ended
#   tfs_stop                ends it; tfs.log is its log
#   tfs_shown MODEL         "2 AVAILABLE 1 END", as its status API says
#   tfs_asked PATH          the answer to PATH:predict: the version that answers, or the error
#   tfs_wait MODEL N STATE  waits until version N has that state
#   tfs_until_asked PATH N  waits until N is the answer
#   tfs_until TEXT FILE     waits until a file has TEXT (a grep -E)
#   tfs_count NAME          one of its counts
# What is waited for may take a minute; then the next check fails.
tools=${SLUICE_TOOLS:-$top/build/debug/tests/tools}

tfs_start() {
    rm -f tfs.port
    "$tools/tfs-model" --model_config_file_poll_wait_seconds=0.02 --file_system_poll_wait_seconds=0.02 \
        --manage_ms=10 --log="$scratch/tfs.log" --port_file="$scratch/tfs.port" "$@" 2>tfs.err &
    tfs_pid=$!
    servers="$servers $tfs_pid"
    await 60 tfs_is_up
    tfs_url=http://127.0.0.1:$(cat tfs.port 2>/dev/null)
}
tfs_is_up() { [ -s tfs.port ] || ! kill -0 "$tfs_pid"; }
tfs_stop() { ends "$tfs_pid" 2>/dev/null; }
tfs_shown() {
    curl -s -m 60 "$tfs_url/v1/models/$1" |
        sed -n 's/.*"version": "\([0-9]*\)".*/\1/p; s/.*"state": "\([A-Z]*\)".*/\1/p' | paste -sd ' ' -
}
tfs_asked() {
    curl -s -m 60 "$tfs_url/v1/models/$1:predict" -d '{"instances": [1.0]}' |
        sed -n 's/.*"predictions": \[\(.*\)$/\1/p; s/.*"error": "\(.*\)"$/\1/p'
}
tfs_has() { tfs_shown "$1" | grep -qE "(^| )$2 $3"; }
tfs_wait() { await 60 tfs_has "$@"; }
tfs_answers() { [ "$(tfs_asked "$1")" = "$2" ]; }
tfs_until_asked() { await 60 tfs_answers "$@"; }
tfs_until() { await 60 grep -qE "$1" "$2"; }
tfs_count() {
    curl -s -m 60 "$tfs_url/counts" | sed "s/.*\"$1\":\([0-9]*\).*/\1/"
}
