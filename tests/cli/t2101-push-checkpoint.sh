#!/bin/sh
# push --checkpoint: the weights of a checkpoint on the graph of a version. The golden sets
# are TensorFlow's answers with those weights (tools/make-checkpoint-data.py).
. "$(dirname "$0")/lib.sh"
ckpts=$data/checkpoints

sl init
for kind in module keras tf1_saver; do sl push "$ckpts/$kind/model" $kind; done
answers() { # version, kind: a golden set on a version's files
    rm -rf "pulled-$2"
    sluice pull "$1" "pulled-$2" >/dev/null
    sl validate --dir "pulled-$2" --golden "$ckpts/$2"
}
answers module@1 module
fails "before: other weights, other answers" 1 '.'

# tf.train.Checkpoint(model=, step=, val_loss=): the child that fits is found.
sl push --checkpoint "$ckpts/module/ckpt" --onto module@1 --reason nightly
ok "a tf.Module, from the newest of a directory"
prints "what was taken" 'weights of .*/ckpt-2 on module@1: 5 tensors$'
prints "what was not" '^not used: save_counter, step, val_loss$'
prints "a new version of the same model" '^module@2 sha256:'
answers module@2 module
ok "it answers as TensorFlow does with these weights"
sl fingerprint module@2 --check
ok "its fingerprint.pb follows"
sl log module
prints "the log says where it is from" 'module@2 .*onto: module@1; checkpoint: .*/ckpt-2; reason: nightly'
sl inspect module@2
prints "and so does the version" '^weights of .*/ckpt-2 on module@1$'
sl inspect module@1
is "which has none when it was a directory" "$(printf '%s' "$out" | grep -c '^weights of')" 0
sl pull module@1 one
sl pull module@2 two
check "the graph is the same file" cmp one/saved_model.pb two/saved_model.pb
sl diff ./one ./two
prints "only the weights differ" '^same graph, other weights$'
sl push --checkpoint "$ckpts/module/alone" --onto module@1
prints "the same weights by another way are the same bytes" 'module@2 .*unchanged'
sl push --checkpoint ./one --onto module@2
prints "a model's own variables, too" 'module@1 .*unchanged'

# Keras: save_weights() gives training state as well; a legacy optimizer's is another.
sl push --checkpoint "$ckpts/keras/weights/w" --onto keras@1 keras
ok "Keras, save_weights()"
prints "with the optimizer's state" ': 14 tensors$'
prints "what it lacks is told" '^not in the checkpoint, kept: keras_api/metrics/0/count, keras_api/metrics/0/total$'
answers keras@2 keras
ok "answers as TensorFlow does"
sl push --checkpoint "$ckpts/keras/legacy" --onto keras@1
prints "Checkpoint(model=, optimizer=) of another optimizer: the weights" ': 4 tensors$'

# TF1: by names; slices become whole.
sl push --checkpoint "$ckpts/tf1_saver/ckpt/model-3" --onto tf1_saver@1
prints "TF1's Saver" ': 2 tensors, 2 of them by name$'
answers tf1_saver@2 tf1_saver
ok "answers as TensorFlow does"
sl push --checkpoint "$ckpts/tf1_saver/v1" --onto tf1_saver@1
fails "a V1 checkpoint is refused with the way out" 1 'V1 checkpoint.*write_version=2'

# All or nothing.
versions=$(sluice list --json | grep -c '"number"')
objects=$(find store/objects -type f | wc -l)
sl push --checkpoint "$ckpts/module/pair" --onto module@1
fails "two networks that fit equally well" 1 "'student' and 'teacher' .* --root"
sl push --checkpoint "$ckpts/module/wide" --onto module@1
fails "a checkpoint that does not fit" 1 '4 of 5 tensors of module@1 .* nothing is stored'
prints "another dtype" 'layers/0/bias.* other dtype +DT_FLOAT \(4\) +DT_DOUBLE \(4\)'
prints "another shape" 'layers/1/kernel.* other shape +DT_FLOAT \(4, 2\) +DT_FLOAT \(4, 3\)'
prints "one that is missing" 'words.* missing in the checkpoint'
is "each one is listed" "$(printf '%s\n' "$out" | grep -c ATTRIBUTES)" 4
sl push --checkpoint "$ckpts/module/wide" --onto module@1 --allow-missing
fails "--allow-missing does not help what is wrong" 1 '3 of 5 tensors'
sl push --checkpoint "$ckpts/module/wide" --onto module@1 --json
prints "as JSON" '"problem": *"other shape"'
sl push --checkpoint "$ckpts/tf1_saver/ckpt" --onto module@1
fails "the weights of something else" 1 '5 of 5 tensors'
is "nothing was stored" "$(sluice list --json | grep -c '"number"') $(find store/objects -type f | wc -l)" "$versions $objects"
sl push --checkpoint "$ckpts/module/pair" --onto module@1 --root teacher
prints "--root says which" 'module@2 .*unchanged'
sl push --checkpoint "$ckpts/module/pair" --onto module@1 --root nobody
fails "an object that is not there" 7 "no object 'nobody'"

sl push --checkpoint "$ckpts/module/ckpt"
fails "--checkpoint without --onto" 2 'need each other'
sl push --checkpoint "$ckpts/module/ckpt" --onto module@1 other
fails "it stays with its model" 2 "leave 'other' out"
sl push ./one
fails "a directory without a name" 2 'DIR and MODEL'
sl push ./one module --root model
fails "--root without a checkpoint" 2 'go with --checkpoint'
sl push --checkpoint ./nowhere --onto module@1
fails "no checkpoint there" 7 'nowhere.index: no such file'
sl push --checkpoint "$ckpts/module/ckpt" --onto module@9
fails "no such version" 7 'no version 9'
cp -r "$ckpts/module/ckpt" damaged
chmod -R u+w damaged
printf X | dd of=damaged/ckpt-2.data-00000-of-00001 bs=1 seek=20 conv=notrunc 2>/dev/null
sl push --checkpoint damaged --onto module@1
fails "a damaged checkpoint" 4 'checksum'
is "and nothing lies in stage/" "$(find store/stage -mindepth 1 | wc -l)" 0

# Every call that can fail, fails once, and once the process is killed there.
if TEST_FAULT=any:1:EIO sluice push --checkpoint "$ckpts/module/ckpt/ckpt-1" --onto module@1 >.out 2>&1; then
    skip "faults during push --checkpoint" "this build has no fault hooks"
else
    versions=$(sluice list --json | grep -c '"number"')
    bad_fsck=0 left=0
    one_fault() { # fault, arguments…
        fault=$1
        shift
        done=no
        TEST_FAULT=$fault sluice push --checkpoint "$@" --onto module@1 >.out 2>.err && done=yes
        sluice fsck >.fsck 2>&1 || bad_fsck=$((bad_fsck + 1))
        # Of who is killed, the next writer clears it away, but not within a minute.
        case $fault in *kill) rm -rf store/stage/view-* ;; esac
        [ "$(find store/stage -mindepth 1 | wc -l)" -eq 0 ] || left=$((left + 1))
    }
    at=1
    one_fault any:1:kill "$ckpts/module/ckpt/ckpt-1"
    while [ $done = no ] && [ $at -lt 400 ]; do
        at=$((at + 1))
        one_fault any:$at:kill "$ckpts/module/ckpt/ckpt-1"
    done
    is "killed before each call in turn, until none is left: it is there once" \
        "$done $([ $at -gt 10 ] && echo yes) $(($(sluice list --json | grep -c '"number"') - versions))" "yes yes 1"
    # Some of these may fail without harm, such as a link that becomes a copy.
    for call in open write fsync rename link mkdir commit; do
        for at in 1 2 3 4 5 6 7 8 9 10 11 12; do
            one_fault $call:$at:ENOSPC "$ckpts/module/pair" --root student
        done
    done
    is "a full disk at each call: said or done, and one version" \
        "$(($(sluice list --json | grep -c '"number"') - versions))" 2
    is "fsck is clean after each, and nothing is left in stage/" "$bad_fsck $left" "0 0"
fi
finish
