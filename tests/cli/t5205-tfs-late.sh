#!/bin/sh
# A server that does late what it was told: a version that was dropped is wanted again before
# the server has noticed, is seen AVAILABLE, and goes. (It reads its config, and looks at its
# files, only when it is told to here, so that this can be had on purpose.)
. "$(dirname "$0")/lib.sh"
. "$top/tests/cli/tfs.sh"

versions() { tr -d '\n' <web/config/models.config | sed 's/.*{ specific {\(.*\)} }.*/\1/; s/versions://g; s/  */ /g'; }
told() { # it reads its config now
    before=$(grep -c '"event":"told"' tfs.log)
    kill -HUP "$tfs_pid"
    await 60 has_read
}
has_read() { [ "$(grep -c '"event":"told"' tfs.log)" -gt "$before" ]; }
looks() { # and at what there is, until version $1 has the state $2
    kill -USR1 "$tfs_pid"
    tfs_wait digits "$1" "$2"
}
digits_live tfserving
sl push "$digits/v2" digits
tfs_start --model_config_file="$scratch/web/config/models.config" --allow_version_labels_for_unavailable_models=true \
    --model_config_file_poll_wait_seconds=0 --file_system_poll_wait_seconds=-1
sl target set web --status-url "$tfs_url"
sl target step web
sl promote digits@2 --to production
told
looks 2 AVAILABLE
sl target step web
told
sl target step web
ok "a release"
sl rollback digits@production
sl target step web
told
sl target step web
ok "its rollback"
is "drops it" "$(versions)" " 1 "
told
is "which the server has read, but not done yet" "$(tfs_shown digits)" "2 AVAILABLE 1 AVAILABLE"
sl promote digits@2 --to production --again
is "promoted again at once it is not asked for" "$(versions)" " 1 "
sl target step web
fails "before it is gone" 8 'version 2 gone before it is loaded again'
looks 2 END
told
sl target step web
fails "then it is" 8 'digits, load'
is "loaded first" "$(versions)" " 1 2 "
told
looks 2 AVAILABLE
sl target step web
told
sl target step web
ok "and then it moves"
is "the label is there" "$(tfs_asked digits/labels/stable)" 2
is "nothing was refused" "$(tfs_count refused)" 0
tfs_stop
finish
