# Stores that earlier programs made (tools/make-old-store.sh): opened, upgraded once and
# whole, every kind of verb works, the log still verifies; an older program touches nothing.
# Their targets lie below /mnt/sluice, so this runs in a mount namespace of its own.
if [ -z "${IN_NAMESPACE:-}" ]; then
    if [ "$(id -u)" -eq 0 ]; then flags=-m; else flags=-rm; fi
    if unshare $flags true 2>/dev/null; then
        IN_NAMESPACE=1 exec unshare $flags sh "$0" "$@"
    fi
fi
. "$(dirname "$0")/lib.sh"
if [ -z "${IN_NAMESPACE:-}" ] || ! mount -t tmpfs none /mnt 2>/dev/null; then
    skip "stores of earlier programs" "no mount namespace can be had"
    finish
    exit
fi
export SLUICE_STORE=/mnt/sluice/store

fresh() { # NAME: unpacks a store where it was made
    rm -rf /mnt/sluice
    mkdir /mnt/sluice
    zstd -dc "$data/stores/$1.tar.zst" | tar -C /mnt/sluice -xf -
}
# The rows of module_schema, one line; $1: the catalogue
schema() {
    python3 - "$1" <<'P'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(" ".join("%s=%d" % r for r in db.execute("SELECT module, version FROM module_schema ORDER BY module")))
P
}
# Every file and its bytes. Opening makes an empty log of SQLite's and its index: neither
# says anything.
bytes() {
    (cd /mnt/sluice && find . -type f ! -empty ! -name '*-shm' -exec sha256sum {} + | sort)
}

sluice init "$scratch/new" >/dev/null
now=$(schema "$scratch/new/catalogue.db")

for made in 9b150e5 3402f57 f0117ce ce935fc; do
    fresh "$made"
    was=$(schema $SLUICE_STORE/catalogue.db)
    if [ "$was" = "$now" ]; then
        sl list
        ok "$made: list"
        check "$made: nothing to upgrade" test ! -e $SLUICE_STORE/catalogue.db.before-upgrade
    else
        sl list
        ok "$made: list"
        check "$made: says so" grep -q "note: the store's catalogue was upgraded.*catalogue.db.before-upgrade" .err
        is "$made: it is today's" "$(schema $SLUICE_STORE/catalogue.db)" "$now"
        is "$made: what it was is kept" "$(schema $SLUICE_STORE/catalogue.db.before-upgrade)" "$was"
    fi
    sl list
    is "$made: once" "$err" ""
    sl audit verify
    ok "$made: the log verifies"
    sl inspect digits@2
    ok "$made: inspect"
    sl pull digits@1 "$scratch/$made"
    ok "$made: pull"
    check "$made: the bytes that were pushed" diff -r -x assets "$digits/v1" "$scratch/$made"
    sl releases digits@production
    prints "$made: what it released" "^3 +promote +2 .*root"
    sl status
    prints "$made: the freeze holds" "frozen .*the weekend"
    sl target check --repair
    ok "$made: the target's files, as today's program writes them"
    sl fsck
    ok "$made: fsck"
    sl promote digits@2 --to production --again
    fails "$made: the freeze still counts" 5 "frozen"
    sl unfreeze digits@production
    ok "$made: unfreeze"
    for v in 1 2; do
        sl validate digits@$v
        ok "$made: validate digits@$v"
    done
    sl promote digits@2 --to production --again
    ok "$made: promote"
    is "$made: the target serves it" "$(readlink /mnt/sluice/web/digits/latest)" 2
    sl rollback digits@production
    ok "$made: rollback"
    is "$made: the target serves what was before" "$(readlink /mnt/sluice/web/digits/latest)" 1
    sl push "$digits/v3" digits
    prints "$made: what was pushed then is still known" "^digits@3 "
    sl tag digits@3 team=vision
    ok "$made: tag"
    sl grant nobody read digits
    ok "$made: grant"
    sl backup "$scratch/$made-backup"
    ok "$made: backup"
    sl backup --verify "$scratch/$made-backup"
    ok "$made: the backup verifies"
    sl fsck --rebuild
    ok "$made: the log, its old part too, brings the catalogue back"
    prints "$made: nothing is lost" "nothing is lost"
    sl audit verify
    ok "$made: the log verifies at the end"
done

# ---- several at once, kills, no room ----

fresh f0117ce
was=$(schema $SLUICE_STORE/catalogue.db)
pids=
for i in 1 2 3 4; do
    sluice list digits >"$scratch/l$i" 2>"$scratch/e$i" &
    pids="$pids $!"
done
good=0
for p in $pids; do wait "$p" && good=$((good + 1)); done
is "four at once: all answer" "$good $(grep -h 'catalogue.db: ' "$scratch"/e[1-4])" "4 "
is "four at once: one upgraded" "$(cat "$scratch"/e[1-4] | grep -c 'was upgraded')" 1
is "four at once: it is today's" "$(schema $SLUICE_STORE/catalogue.db)" "$now"
sl target check --repair
sl fsck
ok "four at once: fsck"

i=0 killed=0 odd=
while [ $i -lt 80 ]; do
    i=$((i + 1))
    fresh f0117ce
    status=0
    TEST_FAULT=any:$i:kill sluice list >/dev/null 2>&1 || status=$?
    [ $status -eq 137 ] || break
    killed=$((killed + 1))
    have=$(schema $SLUICE_STORE/catalogue.db)
    [ "$have" = "$was" ] || [ "$have" = "$now" ] || odd="$odd $i($have)"
    sluice audit verify >/dev/null 2>"$scratch/.why" || odd="$odd $i($(cat "$scratch/.why"))"
    [ "$(schema $SLUICE_STORE/catalogue.db)" = "$now" ] || odd="$odd $i(not gone on with)"
done
if [ $killed -eq 0 ]; then
    skip "an upgrade that is killed" "these programs have no faults to switch on"
else
    is "an upgrade that is killed at any of $killed calls leaves old or new" "$odd" ""
    is "and in the end it was not killed" "$status" 0
fi

# ---- a program that is older than the store ----

for change in "UPDATE module_schema SET version = version + 1 WHERE module = 'deploy'" \
    "INSERT INTO module_schema VALUES('signing', 1)"; do
    fresh f0117ce
    sluice list >/dev/null 2>&1 # today's
    python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit()
db.execute("PRAGMA wal_checkpoint(TRUNCATE)")' $SLUICE_STORE/catalogue.db "$change"
    bytes >"$scratch/before"
    for verb in list status "audit verify" fsck "push $digits/v2 other" "rollback digits@production" "gc --yes"; do
        sl $verb
        fails "too new, $verb" 1 "made by a newer Sluice.*Upgrade this program; nothing was changed"
    done
    bytes >"$scratch/after"
    check "nothing was changed" cmp "$scratch/before" "$scratch/after"
done
finish
