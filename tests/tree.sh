#!/bin/sh
# The tree keeps its own rules: layers, headers, banned calls, tables, style. TAP.
# usage: tests/tree.sh  (from the top; CC, FLAGS, LAYERS come from the Makefile)
n=0
result() { # name, what is wrong ("" for nothing)
    n=$((n + 1))
    if [ -z "$2" ]; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
        printf '%s\n' "$2" | sed 's/^/# /'
    fi
}

# LAYERS: "module:used,used module:…" as module.mk files declare them.
bad=
for layer in $LAYERS; do
    module=${layer%%:*}
    allowed=,$module,${layer#*:},
    for f in $(find "$module" -name '*.[ch]' -o -name '*.def' -path "$module/*" | sort); do
        case $module:$f in runtime:runtime/runner/* | repo:repo/unpack/*) continue ;; esac
        for inc in $(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$f"); do
            dir=${inc%/*}
            case $dir in runtime/ops) dir=runtime ;; esac
            case $allowed in
            *,$dir,*) ;;
            *) bad="$bad$f includes $inc, which $module/module.mk does not declare
" ;;
            esac
            # What only a module shares is *_int.h.
            case $inc in *_int.h) [ "$dir" = "$module" ] || bad="$bad$f includes $inc of another module
" ;; esac
        done
    done
done
result "arrows go only where module.mk says" "$bad"

bad=
for h in $(find base savedmodel fingerprint runtime access repo validate hooks deploy service server client cli tests/unit -name '*.h' | sort); do
    why=$(printf '#include "%s"\n' "$h" | $CC $FLAGS -x c -fsyntax-only - 2>&1) || bad="$bad$h does not compile alone:
$why
"
done
result "each header compiles alone" "$bad"

result "no banned call" "$(grep -nwE 'strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|gmtime|localtime|system|gets|tmpnam' \
    --include='*.[ch]' -r base savedmodel fingerprint runtime access repo validate hooks deploy service server client cli |
    grep -E '\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|gmtime|localtime|system|gets|tmpnam) *\(')"

result "each file says its license" "$(find base savedmodel fingerprint runtime access repo validate hooks deploy service server client cli tests bench \
    -name '*.[ch]' | while read -r f; do head -n 1 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$f"; done)"

result "file names are unique in the tree" "$(find base savedmodel fingerprint runtime access repo validate hooks deploy service server client cli \
    -name '*.c' -printf '%f\n' | sort | uniq -d)"

bad=$(sed -n 's/^OP(\([A-Za-z0-9_]*\),.*/\1/p' runtime/ops.def | sort | uniq -d)
result "runtime/ops.def names each op once" "$bad"

bad=
for verb in $(sed -n 's/^VERB(\([a-z_-]*\),.*/\1/p' service/verbs.def | tr _ -); do
    words=$(echo "$verb" | tr - ' ')
    grep -qrE "sluice .*\b($verb|$words)\b|\bsl .*\b($verb|$words)\b" tests/cli || bad="$bad no test in tests/cli runs 'sluice $words'
"
done
result "each verb of service/verbs.def is run by a command-line test" "$bad"

bad=
for op in $(sed -n 's/^OP(\([A-Za-z0-9_]*\),.*/\1/p' runtime/ops.def); do
    grep -qw -- "$op" docs/ops.md || bad="$bad $op"
done
[ -z "$bad" ] || bad="docs/ops.md lacks$bad; make docs"
result "docs/ops.md knows each op" "$bad"

bad=
for metric in $(sed -n 's/^METRIC([A-Z_]*, "\([a-z_]*\)".*/\1/p' server/metrics.def); do
    grep -q -- "^- .$metric[{\`]" docs/metrics.md || bad="$bad $metric"
done
[ -z "$bad" ] || bad="docs/metrics.md lacks$bad; make docs"
result "docs/metrics.md knows each metric" "$bad"

n=$((n + 1))
if command -v clang-format >/dev/null 2>&1; then
    n=$((n - 1))
    result "clang-format agrees" "$(find base savedmodel fingerprint runtime access repo validate hooks deploy service server client cli tests/unit tests/fuzz bench \
        -name '*.[ch]' | xargs clang-format --dry-run -Werror 2>&1 | sed -n 's/^\([^ ]*\): error: code should.*/\1/p' | head -n 20)"
else
    echo "ok $n - clang-format agrees # SKIP clang-format is not installed"
fi
echo "1..$n"
