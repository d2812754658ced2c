#!/bin/sh
# Compares `sluice show` with the text of TensorFlow's saved_model_cli for every public model
# that TensorFlow shows. usage: tests/conformance/show.sh [FOLDER]
# FOLDER (default ../shared) holds conformance/show-text.tar.zst and corpus/public-models.tar.zst.
# $SLUICE_BIN: where sluice is, default build/release/bin. What is compared: tests/show_text.py.
# Last line: "N passed, N failed".
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
shared=${1:-$top/../shared}
sluice=${SLUICE_BIN:-$top/build/release/bin}/sluice
work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-show-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
for pack in conformance/show-text corpus/public-models; do
    tar --zstd -xf "$shared/$pack.tar.zst" -C "$work" || exit 1
done
exec env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$top/tests" python3 - "$sluice" "$work" <<'EOF'
import json, pathlib, sys
import show_text

sluice, work = sys.argv[1], pathlib.Path(sys.argv[2])
texts, models = work / "show", work / "models"
all = show_text.Comparison()


def compare(name, model, flags, want):
    all.add(name, show_text.show(sluice, models / model, *flags), want)


for model, entry in sorted(json.loads((texts / "index.json").read_text()).items()):
    def text(part):
        path = texts / f"{model}.{part}.txt"
        return path.read_bytes() if path.exists() else None

    if text("tags") is not None:
        compare(f"{model} --dir", model, (), text("tags"))
    if text("all") is not None and not (texts / f"{model}.all.txt.err").exists():
        compare(f"{model} --all", model, ("--all",), text("all"))
    tag_sets = dict.fromkeys(s["tag_set"] for s in entry["sigs"])
    for i, tag_set in enumerate(tag_sets):
        keys, ops = text(f"mg{i}.keys"), text(f"mg{i}.ops")
        if keys is not None:
            compare(f"{model} keys", model, ("--tag_set", tag_set), keys)
        if keys is not None and ops is not None:
            compare(f"{model} --list_ops", model, ("--tag_set", tag_set, "--list_ops"), ops + keys)
    for s in entry["sigs"]:
        flags = ("--tag_set", s["tag_set"], "--signature_def", s["signature_def"])
        if (texts / s["file"]).exists():  # equal models have their texts once
            compare(f"{model} {s['signature_def']}", model, flags, (texts / s["file"]).read_bytes())
sys.exit(all.end())
EOF
