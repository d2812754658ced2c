#!/bin/sh
# Debian has no archive of cJSON to link statically; this gets its source package, of the
# version that libcjson-dev has here, patches and all, with apt's own machinery: signatures
# are checked as ever, and nothing of the machine's apt is changed, so any user can do it.
# usage: tools/cjson-source.sh DIR      leaves DIR/cJSON.c
set -eu
dir=$1
[ ! -f "$dir/cJSON.c" ] || exit 0
say() {
    echo "make static: $*" >&2
    exit 1
}
command -v apt-get >/dev/null && command -v dpkg-source >/dev/null ||
    say "needs apt-get and dpkg-source (package dpkg-dev), to get cJSON's source package"
version=$(dpkg-query -W -f '${Version}' libcjson-dev 2>/dev/null) || say "libcjson-dev is not installed"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
apt=$dir/apt
rm -rf "$apt"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
# The machine's own Debian archives, as sources of source packages.
for f in /etc/apt/sources.list.d/*.sources; do
    [ ! -r "$f" ] || ! grep -q '^Suites:.*\(bookworm\|trixie\|stable\|sid\|testing\)' "$f" ||
        sed 's/^Types:.*/Types: deb-src/' "$f" >"$apt/parts/$(basename "$f")"
done
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -r "$f" ] || sed -n 's/^deb\(-src\)\{0,1\} \(.*[ \/]debian.*\)/deb-src \2/p' "$f" | sort -u >"$apt/parts/$(basename "$f" .list).list"
done
: >"$apt/none"
ask() {
    apt-get -qq -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists" -o Dir::State::status=/var/lib/dpkg/status \
        -o Dir::Cache="$apt/cache" -o Dir::Etc::SourceList="$apt/none" -o Dir::Etc::SourceParts="$apt/parts" \
        -o Dir::Log="$apt" -o APT::Sandbox::User="$(id -un 2>/dev/null || echo root)" -o Debug::NoLocking=1 "$@"
}
{ ask update && cd "$apt" && ask source "cjson=$version"; } >"$apt/log" 2>&1 ||
    say "cannot get the source package cjson $version (deb-src of this machine's Debian archives): $(tail -n 2 "$apt/log" | tr '\n' ' ')"
cp "$apt"/cjson-*/cJSON.c "$apt"/cjson-*/cJSON.h "$dir/"
rm -rf "$apt"
