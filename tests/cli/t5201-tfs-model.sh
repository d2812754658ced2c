#!/bin/sh
# The model of TF Serving that other tests ask: it does what the server's sources do, and it
# sees what it is there to see. (Nothing of sluice is in the trees here.)
. "$(dirname "$0")/lib.sh"
. "$top/tests/cli/tfs.sh"

half=$data/half_plus_two_tf2/model
mkdir -p m/1 m/02 m/x m/.3
cp -r "$half"/* m/1
cp -r "$half"/* m/02
cp -r "$half"/* m/x
ln -s 1 m/latest
put() { cat >config.new && mv config.new config; } # in place at once: what is read is whole
config() { # policy and labels of model m
    printf 'model_config_list {\n config: { name: "m" base_path: "%s/m", model_platform: "tensorflow"\n %s } }\n' \
        "$scratch" "$1" | put
}

# no config: one model, the highest number
tfs_start --model_base_path="$scratch/m" --model_name=m
is "without a config the highest number is served" "$(tfs_shown m)" "2 AVAILABLE"
is "and answers" "$(tfs_asked m)" 2
cp -r m/1 m/.7
mv m/.7 m/7
tfs_wait m 7 AVAILABLE
is "a new one is found by the scan" "$(tfs_asked m)" 7
tfs_wait m 2 END
is "and what is not wanted goes afterwards" "$(tfs_shown m)" "7 AVAILABLE 2 END"
mv m/7 m/.7
tfs_wait m 7 END
is "one that vanishes is unloaded" "$(tfs_asked m)" 2
echo other >m/.7/more
mv m/.7 m/7
tfs_until '"event":"reused"' tfs.log
is "a number with other bytes is noticed" "$(tfs_count reused)" 1
is "the same bytes again are not" "$(tfs_count torn)" 0
rm -r m/7
mkdir m/8
tfs_until '"event":"torn"' tfs.log
check "a directory that is no model yet is noticed" grep -q 'Could not find SavedModel' tfs.log
rm -r m/8
tfs_stop
is "the end" "$(tail -n 1 tfs.log | cut -d, -f 2)" '"event":"end"'

# a version that changes while it loads
tfs_start --model_base_path="$scratch/m" --model_name=m --load_ms=300
cp -r m/1 m/.9
mv m/.9 m/9
tfs_wait m 9 LOADING
echo more >m/9/assets-more
tfs_until '"event":"torn"' tfs.log
check "a file that appears while it loads is noticed" grep -q 'm/9/assets-more changed' tfs.log
tfs_stop
rm -r m/9

# specific versions, and labels
config 'model_version_policy { specific { versions: [1] } } version_labels { key: "stable" value: 1 }'
tfs_start --model_config_file="$scratch/config"
wait "$tfs_pid"
is "a label needs a version that is there: no start without the flag" $? 1
check "because" grep -q 'Request to assign label to version 1 of model m, which is not' tfs.log
tfs_start --model_config_file="$scratch/config" --allow_version_labels_for_unavailable_models=true
is "with it an unused label may be early" "$(tfs_asked m/labels/stable)" 1
config 'model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 2 } version_labels { key: "new" value: 2 }'
tfs_until '"event":"refused"' tfs.log
is "but a label in use never" "$(tfs_count refused)" 1
is "which refuses the whole: nothing is loaded" "$(tfs_shown m)" "1 AVAILABLE"
is "and labels stay" "$(tfs_asked m/labels/stable) $(tfs_asked m/labels/new)" "1 Unrecognized servable version label: new"
config 'model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 1 } version_labels { key: "new" value: 2 }'
tfs_wait m 2 AVAILABLE
is "leading zeros are a number" "$(tfs_asked m/labels/new)" 2
config 'model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 2 }'
tfs_until_asked m/labels/stable 2
is "a label moves to what is available" "$(tfs_asked m/labels/stable)" 2
config 'model_version_policy { specific { versions: 1 versions: 5 } } version_labels { key: "stable" value: 1 }'
tfs_until '"event":"missing"' tfs.log
check "a wanted version that is not there is noticed" grep -q '"missing".*"version":5' tfs.log
printf 'model_config_list { config { name: "m" base_path: "/x" fast: true } }' | put
tfs_until 'no field fast' tfs.log
is "what does not parse is refused, and the old stays" "$(tfs_asked m)" 1
config 'model_version_policy { latest {} all {} }'
tfs_until 'only one of them' tfs.log
config 'model_version_policy { latest { num_versions: 2 } } model_platform: "x"'
tfs_until 'model_platform is there twice' tfs.log
is "each of these once" "$(tfs_count refused)" 4
config 'model_version_policy { all {} }'
tfs_wait m 2 AVAILABLE
is "all: all numbers, once each" "$(tfs_shown m)" "2 AVAILABLE 1 AVAILABLE"
printf 'model_config_list { }' | put
tfs_until '"event":"unserved"' tfs.log
is "a config without a model unloads it" "$(tfs_asked m)" "Servable not found for request: Latest(m)"
tfs_stop

# a version that does not load: the old one stays
config 'model_version_policy { specific { versions: 1 } }'
tfs_start --model_config_file="$scratch/config" --fail_load=2 --max_num_load_retries=0
config 'model_version_policy { specific { versions: 2 } }'
tfs_wait m 2 END
is "a version that fails to load takes nobody's place" "$(tfs_asked m)" 1
tfs_stop

# one missing base path stops everything
config 'model_version_policy { specific { versions: 1 } }'
tfs_start --model_config_file="$scratch/config"
printf 'model_config_list { config { name: "m" base_path: "%s/m" model_platform: "tensorflow"
        model_version_policy { specific { versions: 1 } } }
    config { name: "x" base_path: "%s/x" model_platform: "tensorflow" } }' "$scratch" "$scratch" | put
tfs_until 'Could not find base path' tfs.log
is "a base path that is missing: no change of another model is seen" "$(tfs_shown m)" "1 AVAILABLE"
config 'model_version_policy { all {} }'
sleep 0.2
is "and no other config is read while the new model is waited for" "$(tfs_count taken) $(tfs_shown m)" "1 1 AVAILABLE"
mkdir x
cp -r "$half" x/1
tfs_wait m 2 AVAILABLE
is "until it is there" "$(tfs_shown m)" "2 AVAILABLE 1 AVAILABLE"
tfs_stop

# with poll 0 the config is read once, or when it is told to
config 'model_version_policy { specific { versions: 1 } }'
tfs_start --model_config_file="$scratch/config" --model_config_file_poll_wait_seconds=0
config 'model_version_policy { specific { versions: 1 versions: 2 } }'
sleep 0.3
is "config poll 0: a change is not seen" "$(tfs_shown m)" "1 AVAILABLE"
kill -HUP "$tfs_pid"
tfs_wait m 2 AVAILABLE
is "until it is told" "$(tfs_shown m)" "2 AVAILABLE 1 AVAILABLE"
is "paths are taken in any case" "$(curl -s "$tfs_url/V1/MODELS/m/Versions/2" | grep -c AVAILABLE)" 1
is "errors have the server's form" "$(curl -s "$tfs_url/v1/models/m/versions/9")" '{
    "error": "Could not find version 9 of model m"
}'
is "and code" "$(curl -s -o /dev/null -w '%{http_code}' "$tfs_url/v1/models/none")" 404
is "a path that is none" "$(curl -s "$tfs_url/v1/models/m/vers/9" | sed -n 2p)" '    "error": "Malformed request: GET /v1/models/m/vers/9"'
tfs_stop

# servers that do not tell the truth
config 'model_version_policy { specific { versions: 1 } }'
tfs_start --model_config_file="$scratch/config" --status_lies --fail_load=2
config 'model_version_policy { specific { versions: 1 versions: 2 } }'
tfs_wait m 2 AVAILABLE
is "one that says AVAILABLE too early" "$(tfs_asked m/versions/2)" "Servable not found for request: Specific(m, 2)"
tfs_stop
tfs_start --model_config_file="$scratch/config" --status_500
is "one that answers 500" "$(curl -s -o /dev/null -w '%{http_code}' "$tfs_url/v1/models/m")" 500
tfs_stop
tfs_start --model_config_file="$scratch/config" --status_hangs
is "one that hangs" "$(curl -s -m 0.3 "$tfs_url/v1/models/m"; echo $?)" 28
tfs_stop
finish
