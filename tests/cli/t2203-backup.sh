#!/bin/sh
# Backup while pushes run, incremental, to a directory and a tar; restore verified.
. "$(dirname "$0")/lib.sh"

versions() { # store: what it has
    sluice --store "$1" list --json | sed -n 's/.*"\(model\|number\|digest\|state\)": *\(.*\)/\2/p' | tr -d '\n'
}
digits_live plain
sl push "$digits/v2" digits

sl backup bk
ok "to a directory"
prints "counts" "2 versions, 10 objects, 10 of them new"
sl push "$digits/v3" digits
sl backup bk
prints "again: only what is new" "3 versions, .* objects, 5 of them new"
is "two generations" "$(ls bk/generations | wc -l | tr -d ' ')" 2
is "copies, not links" "$(find bk/objects -type f -links +1 | wc -l | tr -d ' ')" 0
check "nothing of a key" sh -c '! find bk -name store.key | grep -q .'
sl backup bk --verify
ok "verify"
prints "all generations" "2 generations, .* all good"

sl restore bk --to back
ok "restore"
prints "says that the key is new" "the store has a new one"
is "every version is back" "$(versions back)" "$(versions store)"
sl --store back fsck
ok "whole"
sl --store back audit verify
ok "its log verifies"
sl --store back push "$digits/v1" other
ok "and it goes on"
sl restore bk --to old --generation "$(ls bk/generations | head -n 1)"
prints "an older generation" "2 versions"
sl restore bk --to back
fails "never over a store" 3 "something already"
sl restore bk --to late --key store/keys/store.key
ok "with the key from elsewhere"
is "it is the same key" "$(cat late/keys/store.key)" "$(cat store/keys/store.key)"
sl restore bk --to never --key back/keys/store.key
fails "with another store's key" 1 "is not the key of this store"
check "a failed restore leaves nothing" sh -c '! ls -d never* 2>/dev/null'
sl restore bk --to never --generation ../../store
fails "a generation is a name" 1 "names no generation"

sl backup all.tar --with-key
ok "to a tar"
prints "says that the key is in it" "private key is in it"
sl backup all.tar --verify
ok "verify a tar"
sl backup all.tar
fails "a tar is not written over" 3 "something already"
sl restore all.tar --to fromtar
ok "restore a tar"
is "every version is back" "$(versions fromtar)" "$(versions store)"
is "with its key" "$(cat fromtar/keys/store.key)" "$(cat store/keys/store.key)"
sluice backup - 2>.err | (SLUICE_STORE=none sluice restore - --to piped >.out 2>>.err)
is "through a pipe" "$(versions piped)" "$(versions store)"

# What is damaged, cut off or foreign is refused, and leaves nothing.
head -c 100000 all.tar >cut.tar
sl restore cut.tar --to never
fails "a tar that is cut off" 4 "cut off"
sl restore "$digits" --to never
fails "no backup at all" 1 "no backup: there is no format file"
mkdir links && ln -s /etc/passwd links/format && tar -cf link.tar -C links format
sl restore link.tar --to never
fails "a tar with a link" 1 "no plain file"
for name in ../evil objects/ab/../../evil generations/1/../../evil generations/1/hooks.../x; do
    mkdir -p hostile && printf 'sluice-backup 1\n' >hostile/format && echo x >hostile/evil
    tar -cf hostile.tar -C hostile format --transform "s,^evil\$,$name," -P evil
    sl restore hostile.tar --to never
    fails "a tar with $name" 1 "not part of a backup"
done
f=$(find bk/objects -type f -size +1k | sort | head -n 1)
chmod u+w "$f" && echo x >>"$f"
sl backup bk --verify
fails "damage in a backup is found" 1 "problem"
prints "and named" "missing or damaged"
sl restore bk --to never
fails "and not restored" 4 "hash to"
check "nothing is left of all that" sh -c '! ls -d never* evil 2>/dev/null'
sl fsck --repair --from bk
ok "a backup is a source for a repair"

mkdir full && echo mine >full/file
sl backup full
fails "not into somebody's directory" 3 "neither empty nor a backup"

# A storm: four writers while three backups run; each backup is whole when restored.
cp -r "$digits/v1" storm && chmod -R u+w storm && mkdir -p storm/assets
i=0
while [ $i -lt 4 ]; do
    i=$((i + 1))
    cp -r storm "storm-$i"
    (
        k=0
        while [ $k -lt 12 ]; do
            k=$((k + 1))
            echo "$i $k" >"storm-$i/assets/n"
            sluice push "storm-$i" "storm-$i" >/dev/null 2>&1
        done
    ) &
done
good=0
for turn in 1 2 3; do
    sluice backup "stormy" >>.storm 2>&1 && good=$((good + 1))
    sleep 0.2
done
wait
is "three backups during a storm" "$good" 3
sl backup stormy --verify
ok "are whole"
for g in stormy/generations/*; do
    sl restore stormy --generation "${g##*/}" --to "re-${g##*/}"
    ok "generation ${g##*/} restores"
    sl --store "re-${g##*/}" audit verify
    ok "with its log"
done
finish
