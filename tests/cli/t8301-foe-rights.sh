#!/bin/sh
# Who may little, or nothing, asks the service for everything else.
. "$(dirname "$0")/lib.sh"

needs python3
sl init
sl push "$digits/v1" fraud --golden "$digits/v1-golden"
sl push "$digits/v2" zebra
ok "two models"
sl promote zebra@1 --to stripes
sl tag zebra@1 zebra=zoe
sl note zebra@1 "stripes of zoe"
echo "stripes of zoe" >card
sl attach zebra@1 card card
sl user add mallory --service
sl user add nobody2 --service
sl user add julia
sl grant julia judge fraud
sl target add web "$scratch/web" --alias production
sl grant julia admin target:web
ok "and who may a little more"
cat >program <<'END'
#!/bin/sh
[ "$1" = about ] && echo '{"name": "mine", "version": "7", "device": "cpu"}' && exit 0
echo "$1" >>"$(dirname "$0")/ran"
cp "$5" "$6"
END
chmod +x program
sl validate fraud@1 --backend "exec:$PWD/program"
sl verdict show fraud@1
check "a verdict by a program" [ -s ran ]
rm ran
sl user add zoe
sl grant mallory push fraud
sl grant zoe read zebra
sl role give zoe oncall
sl hold zebra@1 --reason "zoe wants it"
sl host report h1 zebra@stripes --release 1 --state switched
ok "what only zoe may read"
token() { # NAME ARGS…
    name=$1
    shift
    sl token create "$@"
    ok "a token of $name"
    echo "$name $(printf '%s\n' "$out" | grep -o 'slc_[A-Za-z0-9_]*')" >>tokens
}
token owner "$me"
token mallory mallory
token nobody nobody2
token julia julia
token narrow "$me" --scope push:fraud
{
    sluice --json inspect zebra@1 | grep -o 'sha256:[0-9a-f]*'
    sluice cat zebra@1 | grep -o '[0-9a-f]\{64\}' | sed 's/^/sha256:/'
} | sort -u >zebra
sluice cat fraud@1 | grep -o '[0-9a-f]\{64\}' | sed 's/^/sha256:/' | sort -u >fraud
comm -23 zebra fraud >digests
check "digests of zebra alone" [ -s digests ]
serve serve.err --socket "$scratch/sock" --access_log "$scratch/log"
python3 "$top/tests/cli/service_foe.py" "$scratch/sock" tokens digests >foe 2>&1
check "all was tried" [ "$(grep -c '^ok\|^not ok' foe)" -gt 25 ]
is "and nobody gets what is not his" "$(grep -v '^ok' foe)" ""
check "no program was run" [ ! -e pwned -a ! -e ran ]
check "no token is in the access log" sh -c '! grep -q slc_ log'
# What a push counts as new says nothing of what others have.
news() { printf '%s\n' "$out" | grep -o '"new_[a-z]*": [0-9]*' | head -2; }
sl --store "$scratch/empty" init
sl --store "$scratch/empty" push "$digits/v2" m --json
want=$(news)
grep '^mallory ' tokens | cut -d' ' -f2 >mallory-token
chmod 600 mallory-token
tar cf v2.tar -C "$digits/v2" .
export SLUICE_TOKEN_FILE="$scratch/mallory-token" XDG_CACHE_HOME="$scratch/cache"
sl --server "unix:$scratch/sock" push v2.tar fraud --dry_run --json
is "a dry run of an archive of zebra's files: all are new" "$(news)" "$want"
is "each of them" "$(printf '%s\n' "$out" | grep -c '"new": false')" 0
sl --server "unix:$scratch/sock" push v2.tar fraud --json
is "the archive: all are new" "$(news)" "$want"
unset SLUICE_TOKEN_FILE
ends "$service"
is "the service ends well" $? 0
is "without a word" "$(grep -hv ' listens on ' serve.err)" ""
check "who is nobody does not fill the log" [ "$(sluice audit log --verb login | wc -l)" -lt 90 ]
check "and it says that it does not tell all" sh -c 'sluice audit log --json --verb login | grep -q others_not_recorded'
sl audit verify
ok "and the log holds"

finish
