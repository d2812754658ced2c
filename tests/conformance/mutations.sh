#!/bin/sh
# Broken versions of conformance models: each that answers otherwise is caught, no rewrite
# that keeps the meaning is. $1: the program made of mutations.c. The models are those of
# ../shared/conformance (or $CONFORMANCE), generated.tar.zst.
set -e
top=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/models" "$scratch/broken"
tar --zstd -xf "${CONFORMANCE:-$top/../shared/conformance}/generated.tar.zst" -C "$scratch/models"
"$1" "$scratch/models" "$scratch/broken"
