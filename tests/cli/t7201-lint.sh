#!/bin/sh
# lint: advice on models that TensorFlow wrote (tools/make-lint-models.py). What each rule
# finds and leaves alone is tests/unit/validate/test_val_lint.c; here: words, ends, flags.
. "$(dirname "$0")/lib.sh"
models=$data/lint

sl lint --dir "$models/good"
ok "a good model ends with 0"
prints "it has no finding" "^0 warnings, 0 advice in tag set 'serve'$"
prints "whether it can be trained on is said all the same" "^fine-tuning: 1 trainable variables"
is "and nothing else" "$(printf '%s\n' "$out" | wc -l)" 2

sl lint --dir "$models/bare"
ok "advice alone ends with 0"
prints "advice has a rule" "^advice no_fingerprint$"
prints "and a place" "^  file 'fingerprint.pb': "
prints "why" "^    why: TensorFlow Serving and TFX"
prints "and a fix" "^    fix: export with TensorFlow 2.11"
is "the last line counts" "$(printf '%s\n' "$out" | tail -n 1)" "0 warnings, 2 advice in tag set 'serve'"
sl lint --dir "$models/bare" --strict
fails "--strict: advice ends with 1" 1 "bare: advice on 2 points \(--strict\)"
sl lint --dir "$models/bare" --strict --allow no_warmup,no_fingerprint
ok "what is allowed is no advice"
prints "but it is counted" "^allowed: no_warmup, 1 times"

sl lint --dir "$models/dropout"
fails "a warning ends with 1" 1 "dropout: 1 warning$"
prints "it names the signature and the op" "signature 'serving_default', node '.*' \(RandomUniform\), function"
sl lint --dir "$models/tf1_trained"
prints "bytes that could be saved" "2 optimizer slots: 48 bytes of .* of variables; saves 48 B"
first=$out
sl lint --dir "$models/tf1_trained"
is "twice the same text" "$out" "$first"
sl lint --dir "$models/dropout" --json
prints "--json: nothing was left out" '"complete":.*true'
prints "--json: rule" '"rule":.*"training_mode"'
prints "--json: count" '"n_warnings":.*1'
sl lint --dir "$models/dropout" --sarif
fails "SARIF ends as the text does" 1 "1 warning"
prints "SARIF: rule" '"ruleId":.*"training_mode"'
prints "SARIF: who" '"name":.*"sluice lint"'

# ---- callers of the version before
sl lint --dir "$models/batch_of_one" --against "$models/good/"
fails "a narrowed input breaks callers" 1 "1 warning"
prints "and says why" "against .*good/: input 'x' was \(-1, 3\), is \(1, 3\)"
prints "and with what it was compared" "^callers compared with .*good/"
sl lint --dir "$models/good" --against "$models/float64_scalar"
ok "another graph behind the same signature does not"
sl lint --dir "$models/other_key" --against "$models/good"
prints "a signature that is gone" "signature 'serving_default': against .*: is gone"
sl init
sl push "$models/good" scorer
sl lint scorer@1
ok "the first version has none before it"
sl push "$models/other_key" scorer
sl push "$models/good" other
sl lint scorer
fails "a version is compared with the one before it" 1 "scorer@2: 1 warning"
prints "by its name" "against scorer@1: is gone"
sl lint scorer@2 --against other@1
prints "or with another" "against other@1: is gone"
sl lint scorer@2 --against scorer@2
ok "or with itself"

# ---- the wrong way
sl lint
fails "nothing to look at" 2 "lint needs either --dir DIR or a version"
sl lint scorer --dir "$models/good"
fails "two things to look at" 2 "lint needs either --dir DIR or a version"
sl lint --dir "$models/good/saved_model.pb"
fails "a file" 2 "is a file: --dir takes the directory that it is in"
cp -r "$models/good" lies_here
sl lint lies_here
fails "a directory as if it were a version" 7 "; for what lies here: --dir lies_here$"
sl lint ./lies_here
fails "or its path" 1 "cannot be a model's name.*; for what lies here: --dir ./lies_here$"
sl lint --dir nowhere
fails "no directory" 7 "SavedModel file does not exist at: nowhere"
sl lint --dir "$models/good" --tag_set train
fails "no such tags" 7 "no MetaGraph with the tag set 'train'"
sl lint --dir "$models/good" --against ./nowhere
fails "nothing to compare with" 7 "compare with ./nowhere"
sl lint --dir "$models/good" --against scorer@9
fails "no such version" 7 "scorer@9|version 9"
sl lint --dir "$models/good" --frobnicate
fails "an unknown flag" 2 "frobnicate"
rm -rf m && cp -r "$models/good" m && chmod -R u+w m && rm m/variables/*.data*
sl lint --dir m
fails "a data shard that is not there" 1 "m: 1 warning$"
prints "is named" "^  file 'variables/variables.index': .*data-00000-of-00001 is missing"
rm -rf m && cp -r "$models/good" m && chmod -R u+w m && head -c 100 "$models/good/saved_model.pb" >m/saved_model.pb
sl lint --dir m
fails "a model that is cut off" 4 "saved_model.pb"
cp "$models/good/saved_model.pb" m/ && head -c 60 "$models/good/variables/variables.index" >m/variables/variables.index
sl lint --dir m
fails "a checkpoint that is cut off" 4 "variables.index"
finish
