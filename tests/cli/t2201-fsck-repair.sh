#!/bin/sh
# Damage of every kind, in every kind of file: fsck finds it, names what it belongs to and
# the way out; --repair mends from another store, a target or a tree.
. "$(dirname "$0")/lib.sh"
needs python3

object() { # digest: its file
    echo "$SLUICE_STORE/objects/$(echo "$1" | cut -c1-2)/$(echo "$1" | cut -c3-)"
}
digest_of() { sha256sum "$1" | cut -d' ' -f1; }
damage() { # file: one byte differs
    chmod u+w "$1"
    python3 -c 'import sys
f = open(sys.argv[1], "r+b"); f.seek(3); b = f.read(1); f.seek(3); f.write(bytes([b[0] ^ 4]))' "$1"
    chmod a-w "$1"
}

digits_live plain
pb=$(object "$(digest_of "$digits/v1/saved_model.pb")")
index=$(object "$(digest_of "$digits/v1/variables/variables.index")")
cp -r store whole
cp -rL web/digits/v1 tree

sl fsck --threads 1
ok "a whole store"
prints "counts" "1 versions, 5 objects, .* all good"

damage "$pb"
sl fsck
fails "a flipped bit" 1 "problem"
prints "names object and what it hashes to" "object $(digest_of "$digits/v1/saved_model.pb"): its bytes hash to"
prints "names version, alias and target" "saved_model.pb of digits@1 .alias production, target web"
prints "names the way out" "way out: sluice fsck --repair --from DIR"
sl fsck --repair --from whole
ok "mended from another store"
prints "says from where" "mended from whole/objects/.*; the damaged bytes are quarantine/"
is "the bytes are back" "$(digest_of "$pb")" "$(digest_of "$digits/v1/saved_model.pb")"
is "the target has them too" "$(digest_of web/digits/v1/saved_model.pb)" "$(digest_of "$digits/v1/saved_model.pb")"
check "what was damaged is kept" sh -c 'ls store/quarantine/* >/dev/null'
sl fsck
ok "and all is good"

rm -f "$index"
sl fsck --repair
ok "a missing object comes back from the target that has it"
prints "says so" "is missing; mended from .*/web/"

# Each way to be no file of the right bytes.
for kind in truncated longer directory fifo symlink empty; do
    rm -rf "$pb"
    case $kind in
    truncated) head -c 100 whole/objects/*/"${pb##*/}" >"$pb" ;;
    longer) cat whole/objects/*/"${pb##*/}" "$digits/README.md" >"$pb" 2>/dev/null || { cat whole/objects/*/"${pb##*/}"; echo x; } >"$pb" ;;
    directory) mkdir "$pb" ;;
    fifo) mkfifo "$pb" ;;
    symlink) ln -s /etc/passwd "$pb" ;;
    empty) : >"$pb" ;;
    esac
    sl fsck
    fails "an object that is $kind is found" 1 "saved_model.pb of digits@1"
    sl fsck --repair --from tree
    ok "and mended from a tree of files"
done

# Without a copy the damaged bytes go out of the way, and a push heals.
sl push "$digits/v2" digits
big=$(object "$(digest_of "$digits/v2/saved_model.pb")")
damage "$big"
sl fsck --repair
fails "no copy: still wrong" 1 "problem"
prints "the bytes went aside" "the damaged bytes are quarantine/"
sl push "$digits/v2" digits
ok "the same files again"
sl fsck
ok "heal it"

manifest=$(object "$(sluice inspect digits@1 --json | sed -n 's/.*"digest": "sha256:\([0-9a-f]*\)".*/\1/p' | head -n 1)")
rm -f "$manifest"
sl fsck --repair
ok "a manifest is made again from the catalogue's rows"
prints "says so" "the manifest of digits@1"
chmod u+w store/versions/digits/1
echo x >>store/versions/digits/1
sl fsck
fails "a version's file that says something else" 1 "versions/digits/1 does not say"
sl fsck --repair
ok "is written again"

chmod -R u+w web
rm -f web/digits/v1/saved_model.pb
echo edited >web/digits/v1/saved_model.pb
sl fsck
fails "a file edited in a target" 1 "target web: .*saved_model.pb: 7 bytes"
sl fsck --repair
ok "is put back"
is "as it was pushed" "$(digest_of web/digits/v1/saved_model.pb)" "$(digest_of "$digits/v1/saved_model.pb")"
ln -sfn v9 web/digits/latest
sl fsck
fails "a link that somebody moved" 1 "latest points at v9, not at v1; way out: sluice target check --repair"
sl target check --repair
ok "goes back by its way out"

sl fsck --from whole
fails "--from alone" 2 "goes with --repair"
sl fsck --repair --from nowhere
fails "--from what is not there" 7 "nowhere"
sl fsck --repair --from "$digits/predict.npz"
fails "--from a file" 1 "is no directory: unpack a tar first"
sl fsck --rate fast
fails "--rate" 2 "bytes a second"
sl fsck --minutes 3
fails "--minutes alone" 2 "goes with --scrub"

# A scrub goes on where the last one ended: what was verified longest ago comes first.
sl fsck --scrub
ok "a scrub"
is "it remembers every object" "$(python3 -c 'import sqlite3
c = sqlite3.connect("store/catalogue.db").cursor()
print(c.execute("SELECT (SELECT count(*) FROM object) - count(*) FROM object_check").fetchone()[0])')" 0
sl fsck --scrub --rate 20k --minutes 1 --json
ok "with a rate"
damage "$big"
sl fsck --scrub
fails "a scrub finds damage" 1 "saved_model.pb of digits@2"
sl fsck --repair --from "$digits/v2"
ok "mended from the directory that was pushed"

mkdir -p store/objects/ab
echo orphan >store/objects/ab/$(printf %062d 0)
sl fsck
ok "an object without a row is no fault"
prints "and counted" "1 objects without a row"
prints "as is what was set aside" "[0-9]+ in quarantine/"
rm -rf store/objects/ab/$(printf %062d 0)

# A text or number in a row, changed behind SQLite's back: its own checks see nothing.
for change in "release SET verb = 'weights'" "alias SET version_id = 2" "version SET pushed_by = 'eve'" \
    "subject SET is_owner = 1, name = 'eve'" "model SET created_by = 'eve'"; do
    rm -rf bent && cp -r store bent 2>/dev/null
    python3 - "$change" <<'PY'
import sqlite3, sys
c = sqlite3.connect("bent/catalogue.db", isolation_level=None)
for (t,) in c.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
    c.execute(f'DROP TRIGGER "{t}"')
c.execute("PRAGMA foreign_keys=OFF")
c.execute("UPDATE " + sys.argv[1])
PY
    sl --store bent fsck
    fails "$change" 1 "is not what the log's events say"
    sl --store bent fsck --rebuild
    ok "a rebuild takes it back"
done

# Every bit that is flipped somewhere is found, or harmless: then fsck is clean, the version's
# bytes are right, and the log verifies.
python3 - "$SLUICE_STORE" "$digits/v1" >.flips 2>&1 <<'PY'
import glob, hashlib, os, random, shutil, subprocess, sys
store, model = sys.argv[1:]
rng = random.Random(7)
kinds = {"object": glob.glob(store + "/objects/*/*"), "version": glob.glob(store + "/versions/*/*"),
         "log": [store + "/audit/log.jsonl", store + "/audit/head"],
         "key": [store + "/keys/store.pub"], "format": [store + "/format"],
         "catalogue": [store + "/catalogue.db"]}
subprocess.run(["sqlite3", store + "/catalogue.db", "PRAGMA wal_checkpoint(TRUNCATE)"], stdout=subprocess.DEVNULL)
want = {f: hashlib.sha256(open(model + "/" + f, "rb").read()).hexdigest()
        for f in ("saved_model.pb", "variables/variables.index")}
found = harmless = 0
for kind, files in kinds.items():
    for turn in range(12):
        work = "flip"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(store, work, ignore=shutil.ignore_patterns("quarantine"))
        os.mkdir(work + "/quarantine")
        path = rng.choice(sorted(files)).replace(store, work)
        os.chmod(path, 0o600)
        bit = rng.randrange(os.path.getsize(path) * 8)
        with open(path, "r+b") as f:
            f.seek(bit // 8)
            b = f.read(1)[0]
            f.seek(bit // 8)
            f.write(bytes([b ^ 1 << bit % 8]))
        if subprocess.run(["sluice", "--store", work, "fsck"], capture_output=True).returncode:
            found += 1
            continue
        shutil.rmtree("flip-out", ignore_errors=True)
        r = subprocess.run(["sluice", "--store", work, "pull", "digits@1", "flip-out"], capture_output=True)
        got = {f: hashlib.sha256(open("flip-out/" + f, "rb").read()).hexdigest() for f in want} if r.returncode == 0 else {}
        if got != want:
            print(kind, path, bit, "was not found and does harm", r.stderr)
            continue
        harmless += 1
print(found + harmless, "of", 12 * len(kinds), "found or harmless")
PY
is "72 flipped bits: each is found or harmless" "$(tail -n 1 .flips)" "72 of 72 found or harmless"
[ "$(tail -n 1 .flips)" = "72 of 72 found or harmless" ] || sed 's/^/# /' .flips
finish
