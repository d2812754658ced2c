#!/bin/sh
# The models that crash scenes push, below $CRASH_MODELS: A, B (A and a file), C (a byte of B
# differs), big (several pieces of a megabyte), wide and wider (a long file, of which the second
# has another line: what becomes a delta), golden (B's export set), exam (acceptance).
set -e
data=$(cd "$(dirname "$0")/../data/half_plus_two_tf2" && pwd)
mkdir -p "$CRASH_MODELS"
cd "$CRASH_MODELS"
cp -r "$data/model" A
chmod -R u+w A
cp -r A B
mkdir -p B/assets
echo one >B/assets/note
cp -r B C
echo two >C/assets/note
cp -r B big
head -c 2500000 /dev/zero | tr '\0' 'x' >big/assets/long
head -c 1048576 /dev/zero | tr '\0' 'y' >big/assets/one
cp -r B wide
cp -r B wider
awk 'BEGIN { for (i = 0; i < 3000; i++) printf "%d %d\n", i, i * 7919 % 10007 }' >wide/assets/long
sed '1500s/.*/another line/' wide/assets/long >wider/assets/long
mkdir golden
cp "$data"/golden.json "$data"/*.npz golden
cp -r golden exam
sed 's/"export"/"acceptance"/' golden/golden.json >exam/golden.json
