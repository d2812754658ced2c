#!/bin/sh
# What a TF Serving makes of promote, weights and rollback: it polls the target, and its
# status API and answers are asked (by the model of one, tests/tools/tfs_model.h).
. "$(dirname "$0")/lib.sh"
. "$top/tests/cli/tfs.sh"

digits_live tfserving
sl push "$digits/v2" digits
sl push "$digits/v3" digits
tfs_start --model_config_file="$scratch/web/config/models.config" --allow_version_labels_for_unavailable_models=true
is "what is live is served" "$(tfs_shown digits)" "1 AVAILABLE"
is "without a status URL it has no label" "$(tfs_asked digits/labels/stable)" "Unrecognized servable version label: stable"

sl weights digits@production 1=90% 2=10%
ok "weights"
tfs_wait digits 2 AVAILABLE
is "both versions are loaded" "$(tfs_shown digits)" "2 AVAILABLE 1 AVAILABLE"
is "and asked by number" "$(tfs_asked digits/versions/1) $(tfs_asked digits/versions/2)" "1 2"
sl promote digits@2 --to production
ok "promote"
is "nothing is unloaded" "$(tfs_shown digits)" "2 AVAILABLE 1 AVAILABLE"
sl rollback digits@production
ok "rollback"
tfs_until_asked digits 1
is "back to the one before, which was loaded all the time" "$(tfs_asked digits)" 1
tfs_wait digits 2 END
is "and the other goes" "$(tfs_shown digits)" "2 END 1 AVAILABLE"
is "it was loaded once" "$(tfs_count loaded)" 2

sl promote digits@2 --to production --again
tfs_wait digits 2 AVAILABLE
sl promote digits@3 --to production
tfs_wait digits 3 AVAILABLE
is "a version that was never there is loaded" "$(tfs_asked digits)" 3
sl rollback digits@production
tfs_wait digits 3 END
is "and left again" "$(tfs_asked digits)" 2

# more models on the target, and a new version while the server loads
sl push "$data/half_plus_two_tf2/model" 'half two'
sl promote 'half two@1' --to production
ok "another model"
tfs_wait half%20two 1 AVAILABLE
is "is served beside the first" "$(tfs_asked half%20two) $(tfs_asked digits)" "1 2"
is "nothing was refused" "$(tfs_count refused)" 0
is "nothing was torn" "$(tfs_count torn)" 0
is "no number came back with other bytes" "$(tfs_count reused)" 0
is "nothing wanted was missing" "$(tfs_count missing)" 0
is "never was there nothing to serve" "$(tfs_count unserved)" 0

sl target set web --status-url "$tfs_url"
tfs_until_asked digits/labels/stable 2
is "a status URL brings labels" "$(tfs_asked digits/labels/stable) $(tfs_asked half%20two/labels/stable)" "2 1"

# a restarted server, which has loaded nothing yet, takes the files as they are
tfs_stop
tfs_start --model_config_file="$scratch/web/config/models.config" --allow_version_labels_for_unavailable_models=true
is "a restarted server serves the same" "$(tfs_asked half%20two) $(tfs_asked digits) $(tfs_asked digits/labels/stable)" "1 2 2"
tfs_stop
tfs_start --model_config_file="$scratch/web/config/models.config"
wait "$tfs_pid"
is "with labels and without the flag it does not start" $? 1
tfs_pid=

# the layout of a mount for one model without any config file
tfs_start --model_base_path="$scratch/web/digits" --model_name=digits
is "without a config file it takes the highest number: not what is live" "$(tfs_asked digits)" 3
tfs_stop
finish
