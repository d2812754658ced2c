#!/bin/sh
# Where a target may lie, in each layout: on the store's file system or another, several for
# an alias, and a part of it mounted alone into a container.
. "$(dirname "$0")/lib.sh"

elsewhere=
for dir in /dev/shm /run /tmp /var/tmp; do
    [ -w $dir ] && [ "$(stat -c %d $dir)" != "$(stat -c %d .)" ] && elsewhere=$(mktemp -d $dir/sluice-cli-XXXXXX) && break
done
trap 'chmod -R u+w "$scratch" "$elsewhere" 2>/dev/null; rm -rf "$scratch" ${elsewhere:+"$elsewhere"}' EXIT
versions() { # TARGET: directories of versions' files, in any layout
    find "$1" -name saved_model.pb -not -path '*/.sluice/*' | sort
}
# The number that `latest` shows, by its bytes.
shown() {
    for v in 1 2; do cmp -s "$1/saved_model.pb" "$digits/v$v/saved_model.pb" && echo $v; done
}

sl init
for v in 1 2; do sl push "$digits/v$v" digits; done
for layout in plain tfserving tfserving-scan triton; do
    alias=on-$layout
    sl target add "a-$layout" "a-$layout" --alias "$alias" --layout $layout
    [ -z "$elsewhere" ] || sl target add "b-$layout" "$elsewhere/$layout" --alias "$alias" --layout $layout
    sl promote digits@1 --to "$alias"
    sl promote digits@2 --to "$alias"
    ok "$layout: two releases"
    is "$layout: the tree shows it" "$(shown "a-$layout/digits/latest")" 2
    hard=0
    for f in $(versions "a-$layout"); do [ "$(stat -c %h "$f")" -gt 1 ] || hard=1; done
    is "$layout: on the store's file system files are links" $hard 0
    if [ -n "$elsewhere" ]; then
        is "$layout: so does the second target, on another file system" "$(shown "$elsewhere/$layout/digits/latest")" 2
        is "$layout: with versions of its own" "$(versions "$elsewhere/$layout" | wc -l)" "$(versions "a-$layout" | wc -l)"
        for f in $(versions "$elsewhere/$layout"); do [ "$(stat -c %h "$f")" -eq 1 ] || hard=1; done
        is "$layout: which are copies" $hard 0
    else
        skip "$layout: a second target on another file system" "no writable file system beside this one's"
    fi
    sl rollback "digits@$alias"
    ok "$layout: a rollback moves all of them"
    is "$layout: here" "$(shown "a-$layout/digits/latest")" 1
    [ -z "$elsewhere" ] || is "$layout: and there" "$(shown "$elsewhere/$layout/digits/latest")" 1
    sl target check
    ok "$layout: nothing differs"
done

# ---- mounted alone, as into a container ----
if ! unshare -m true 2>/dev/null; then
    skip "mounted alone into a container, each layout" "unshare -m is not permitted here"
    finish
    exit
fi
# mounted DIR COMMAND…: what a container would see that has DIR alone, at ./mnt
mkdir mnt
cat >inside.sh <<'END'
set -e
from=$1
shift
mount --make-rprivate /
mount --bind -o ro "$from" mnt
mkdir hidden
mount --bind hidden "$SCRATCH/${from%%/*}" # the rest of the target is not there
rmdir hidden 2>/dev/null || :
cd mnt
exec sh -c "$1"
END
mounted() {
    SCRATCH=$scratch unshare -m sh inside.sh "$@"
    rm -rf hidden
}
for layout in plain tfserving tfserving-scan triton; do
    web=a-$layout
    case $layout in plain) one=v1 ;; triton) one=1/model.savedmodel ;; *) one=1 ;; esac
    models=
    [ $layout = triton ] && models=models/
    is "$layout: one version works alone" \
        "$(mounted "$web/$models"digits/$one 'cksum <saved_model.pb; ls variables | wc -l')" \
        "$(cksum <"$digits/v1/saved_model.pb"; ls "$digits/v1/variables" | wc -l)"
    echo go >going
    # The model's directory alone: a release is seen in it without mounting again.
    (mounted "$web/$models"digits 'echo ready >&3; while [ -e /proc/self/root/'"$scratch"'/going ]; do sleep 0.05; done
        ls -A; cat config.pbtxt 2>/dev/null | grep -o "versions: .*" || :; [ ! -e latest ] || cksum <latest/saved_model.pb' \
        3>ready >seen 2>seen.err) &
    while [ ! -s ready ] && kill -0 $! 2>/dev/null; do sleep 0.05; done
    sl promote digits@2 --to "on-$layout" --again
    rm going
    wait $!
    case $layout in
    plain) want="latest v1 v2 $(cksum <"$digits/v2/saved_model.pb")" ;;
    triton) want="1 2 config.pbtxt versions: [ 1, 2 ] } }" ;;
    *) want="1 2 latest $(cksum <"$digits/v2/saved_model.pb")" ;;
    esac
    is "$layout: the model's directory alone sees a release" "$(paste -sd ' ' seen)" "$want"
    rm -f ready seen
done
is "triton: the repository alone is whole" \
    "$(mounted a-triton/models 'find . -type l | wc -l; cksum <digits/2/model.savedmodel/saved_model.pb')" \
    "0
$(cksum <"$digits/v2/saved_model.pb")"
sl target set a-tfserving --serving-root /models
ok "the path that a server has in its container"
check "is what its config names" grep -q 'base_path: "/models/digits"' a-tfserving/config/models.config
finish
