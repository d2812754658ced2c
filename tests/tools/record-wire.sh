#!/bin/sh
# usage: tests/tools/record-wire.sh DIR   records what today's client and service say to each other,
# for the services of releases to come: tests/data/wire/RELEASE (see tests/tools/wire.py). Once
# for each release.
dir=$(realpath -m "$1")
. "$(dirname "$0")/../cli/lib.sh"
. "$top/tests/tools/wire.sh"
rm -rf "$dir"
wire_store
python3 "$top/tests/tools/wire.py" record "$scratch/between" "$scratch/s" "$dir" &
servers="$servers $!"
wire_wait "$scratch/between"
at=unix:$scratch/between
wire_play
# files of digits are pushed by the parts that a recording can hold; nothing of this machine
grep -l "$scratch" "$dir"/*.http && echo "these name a path of this machine" >&2
ls "$dir" | wc -l
du -sh "$dir"
