#!/bin/sh
# usage: tools/make-old-store.sh COMMIT OUT.tar.zst
#
# Builds the programs of an earlier commit and makes with them the small store that
# tests/cli/t8701-upgrade.sh opens with today's: tests/data/stores/. What a program of that
# time did not have yet is left out. The store and its target lie below /mnt/sluice, since a
# target's path is kept in the store; so this needs root, or `unshare -rm`.
set -eu
commit=$1 out=$(realpath "$2") top=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${IN_NAMESPACE:-}" ]; then
    IN_NAMESPACE=1 exec unshare -rm "$0" "$@"
fi
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
if [ -n "${OLD_BIN:-}" ]; then # built already
    bin=$OLD_BIN
else
    git -C "$top" archive "$commit" | tar -x -C "$build"
    make -s -C "$build" -j"$(nproc)"
    bin=$build/build/release/bin
fi
mount -t tmpfs none /mnt
mkdir /mnt/sluice
PATH=$bin:$PATH SLUICE_STORE=/mnt/sluice/store
export PATH SLUICE_STORE
unset GITHUB_ACTIONS GITLAB_CI JENKINS_URL
d=$top/demo/digits

has() { sluice "$@" --help >/dev/null 2>&1; } # VERB
sluice init
sluice push "$d/v1" digits --golden "$d/v1-golden" --reason "the first one"
sluice push "$d/v2" digits
sluice golden add digits "$d/acceptance" --name digits-quality
sluice grant root read 'digits' || :
sluice target add web /mnt/sluice/web --alias production --layout tfserving
sluice policy set production --require-acceptance '*'
sluice promote digits@1 --to production && exit 1
sluice validate digits@1
sluice validate digits@2
sluice promote digits@1 --to production --reason "the exam is passed"
sluice weights digits@production 1=90% 2=10%
sluice promote digits@2 --to production
sluice push "$d/v3" digits
! has tag || sluice tag digits@2 team=vision
! has note || sluice note digits@2 "slower on the old machines"
! has hold || sluice hold digits@1 --reason "case 17"
! has retention set || sluice retention set digits --keep-last 5
! has quota set || sluice quota set digits --max 1G
! has approve request || sluice approve request digits@3 --for production || :
! has delete || { sluice push "$d/v1" other && sluice delete other@1; }
sluice rollback digits@production
sluice freeze digits@production --reason "the weekend"
sluice fsck
sluice audit verify
rm -f /mnt/sluice/store/reserve # room kept free, made again when it is needed
tar -C /mnt/sluice --sparse --sort=name -cf - store web | zstd -q -19 -o "$out" -f
ls -l "$out"
