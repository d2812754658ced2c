#!/bin/sh
# etc/tfserving/verify.sh, which is for real servers: a model of one passes, and one that does
# not do what Sluice relies on fails where it should.
. "$(dirname "$0")/lib.sh"
. "$top/tests/cli/tfs.sh"

verify=$top/etc/tfserving/verify.sh
SLUICE=$BIN/sluice
export SLUICE
server() { # NAME OPTIONS: a server that polls faster, and is what the options make of it
    name=$1
    shift
    cat >"$name" <<EOF
#!/bin/sh
exec "$tools/tfs-model" "\$@" --model_config_file_poll_wait_seconds=0.03 \\
    --file_system_poll_wait_seconds=0.03 --manage_ms=10 --runner="$SLUICE" $*
EOF
    chmod +x "$name"
}
judge() { # server, options: out and status
    name=$1
    shift
    port=$(free_port) status=0 err=
    out=$(sh "$verify" --command "$scratch/$name" --port "$port" --settle 0.4 "$@" 2>&1) || status=$?
}
server good
judge good --dir "$scratch/kept" --keep
ok "a server that does what the sources say passes"
is "everything" "$(printf '%s\n' "$out" | grep -c '^passed')" 25
check "and --keep leaves the store" test -f kept/store/catalogue.db
judge good --models "$data/half_plus_two_tf2/model" "$data/half_plus_two_tf2/model" --inputs 'x=[1.0,2.0]'
is "models that answer alike prove nothing" "$status" 3
prints "and that is said" 'both models give one answer'
server once --model_config_file_poll_wait_seconds=0
judge once --wait 1
is "a server that reads its config once fails" "$status" 1
prints "at the first change" '^FAILED  a changed config is taken'
server loose --force_allow_any_version_labels_for_unavailable_models
judge loose --settle 2
is "one that lets labels move early fails" "$status" 1
prints "there" '^FAILED  a config that moves a label to a version not loaded is refused whole'
server none --model_config_file=/nonexistent
judge none --wait 1
is "one that does not start is no proof" "$status" 3
prints "and is quoted" 'first config was refused'
sh "$verify" >out 2>&1
is "without a server: usage" $? 2
sh "$verify" --url http://127.0.0.1:1 --command x >out 2>&1
is "one of them" $? 2

# a server that somebody else starts
sh "$verify" --url http://127.0.0.1:$port --dir "$scratch/other" --settle 0.4 >out 2>&1 &
pid=$!
tfs_until '10 minutes' out
"$scratch/good" $(grep '^  --' out) --rest_api_port=$port >server.log 2>&1 &
servers="$servers $!"
wait $pid
is "with --url it waits for one" "$?" 0
check "and says what it needs" grep -q -- '--allow_version_labels_for_unavailable_models=true' out
finish
