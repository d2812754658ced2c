# What a client of some release asks a service: recorded once for each release (tests/tools/
# record-wire.sh), and played by today's through a service that says more than it knows
# (t8705-releases.sh). Sourced after lib.sh; $at is where to ask.

# A store as the recordings found theirs, and a service of it.
wire_store() {
    rm -rf "$scratch/store" "$scratch/web"
    sluice init >/dev/null
    sluice target add web "$scratch/web" --alias production --layout plain >/dev/null
    serve "$scratch/serve.err" --socket "$scratch/s"
}
# Until somebody answers on the socket.
wire_wait() { await 60 python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$1"; }
# Each ends as the word before it says; prints what did not.
wire_play() {
    while read -r wanted words; do
        sl --server "$at" $words
        [ "$status" -eq "$wanted" ] || printf '%s: status %s, wanted %s: %s\n' "$words" "$status" "$wanted" "$err"
    done <<W
0 push $digits/v1 digits --golden $digits/v1-golden
0 push $digits/v1 digits
0 push $digits/v2 digits --golden $digits/v2-golden
0 list
0 list digits --json
0 inspect digits@1
0 validate digits@1
0 validate digits@2
0 promote digits@1 --to production
0 weights digits@production 1=90% 2=10%
0 promote digits@2 --to production --reason recorded
0 status
0 status --json
7 inspect digits@9
7 promote other@1 --to production
0 tag digits@1 team=vision
0 pull digits@1 $scratch/pulled-1
0 pull digits@2 $scratch/pulled-2
0 cat digits@1 saved_model.pb
0 verdict show digits@1
0 rollback digits@production
0 releases digits@production
0 freeze digits@production --reason recorded
5 promote digits@2 --to production --again
0 unfreeze digits@production
0 host want web-1 --alias production
0 grant root read digits
0 audit log digits --limit 5
0 audit verify
0 doctor
W
}
