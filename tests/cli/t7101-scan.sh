#!/bin/sh
# scan: crafted models (tools/make-scan-models.py), one trick each; what stands beside a
# model; allow and deny lists; SARIF. Nothing is loaded: most of them would not load.
. "$(dirname "$0")/lib.sh"
tab=$(printf '\t')

while IFS=$tab read -r name want pattern reach; do
    rm -rf m && mkdir m && cp "$data/scan/$name.pb" m/saved_model.pb
    sl scan --dir m
    good=0
    [ "$status" -eq "$want" ] && printf '%s\n' "$out" | grep -qE -- "$pattern" || good=1
    [ "$reach" = - ] || printf '%s\n' "$out" | grep -qE -- "$reach" || good=1
    result "$name" $good "status $status, wanted $want and: $pattern / $reach
stdout: $out
stderr: $err"
done <"$data/scan/cases.tsv"
is "there is a line for each crafted model" "$(ls "$data"/scan/*.pb | wc -l)" "$(wc -l <"$data/scan/cases.tsv")"

# ---- what lies beside saved_model.pb
fresh() {
    rm -rf m && mkdir m m/assets m/assets.extra m/variables && cp "$data/scan/harmless-call.pb" m/saved_model.pb
}
fresh
sl scan --dir m
ok "a harmless model"
prints "says what it looked at" "nothing found in tag set 'serve': 3 nodes, 1 functions"
ln -s /etc/passwd m/assets/words.txt
sl scan --dir m
fails "a link in assets" 1 "m: 1 finding"
prints "is named with where it leads" "error +link assets/words.txt"
prints "and its end" "a symbolic link to '/etc/passwd'"
fresh && ln -s ../elsewhere m/variables/deep
sl scan --dir m
fails "a link that is not an asset" 1 "1 finding"
fresh && mkfifo m/assets/pipe
sl scan --dir m
fails "a pipe is not opened" 1 "1 finding"
for file in code.py code.pyc lib.so data.pkl; do
    fresh && echo x >"m/assets.extra/$file"
    sl scan --dir m
    prints "$file is a program beside the model" "warning code assets.extra/$file"
done
fresh && printf '\177ELF\002' >m/assets/words.txt
sl scan --dir m
prints "so is what begins like one, whatever its name" "code assets/words.txt"
fresh && cp m/saved_model.pb m/saved_model.pbtxt
sl scan --dir m
prints "two forms of the model" "structure saved_model.pbtxt"
fresh && printf '\n\031\052\027{"class_name": "Lambda"}' >m/keras_metadata.pb
sl scan --dir m
prints "byte code in Keras' own metadata" "error +process keras_metadata.pb"

# ---- flags
rm -rf m && mkdir m && cp "$data/scan/op-printv2.pb" m/saved_model.pb
sl scan --dir m --allow PrintV2
ok "an allowed op is no finding"
prints "but it is counted" "allowed: PrintV2, 1 times"
sl scan --dir m --allow WriteFile,print
ok "a class is allowed as an op is"
sl scan --dir m --allow Print
fails "another op does not cover it" 1 "1 finding"
sl scan --dir m --op_denylist ReadFile,WriteFile
ok "a deny list stands for all others"
sl scan --dir m --op_denylist ReadFile,PrintV2
fails "what it lists is found" 1 "1 finding"
prints "as denied" "error +denied PrintV2 at node 'y'"
sl scan --dir m --op_denylist ''
fails "an empty one is none" 1 "1 finding"
sl scan --dir m --json
prints "--json: class" '"class":.*"print"'
prints "--json: way" '"from":.*"signature"'
sl scan --dir m --sarif
fails "SARIF ends as the text does" 1 "1 finding"
prints "SARIF: version" '"version":.*"2.1.0"'
prints "SARIF: rule" '"ruleId":.*"print"'
prints "SARIF: level" '"level":.*"warning"'
prints "SARIF: file" '"uri":.*"m/saved_model.pb"'
cp "$data/scan/second-metagraph.pb" m/saved_model.pb
sl scan --dir m --tag_set serve
ok "the other MetaGraph is not asked for"
sl scan --dir m --tag_set gpu,serve
fails "this one is" 1 "1 finding"
sl scan --dir m --tag_set train
fails "a tag set that is not there" 7 "no MetaGraph with the tag set 'train'"

# ---- what cannot be looked at is no 1
sl scan --dir nowhere
fails "no directory" 7 "SavedModel file does not exist at: nowhere"
head -c 40 "$data/scan/op-printv2.pb" >m/saved_model.pb
sl scan --dir m
fails "a model that is cut off" 4 "saved_model.pb"

# ---- a version of a store
sl init
sl push "$digits/v1" digits
sl scan digits
ok "a version is scanned by its name"
sl scan digits@1 --json
prints "and named in the answer" '"model":.*"digits@1"'
for dir in "$digits/v2" "$digits/v3" "$data"/half_plus_two_tf1/model "$data"/strings_passthrough/model; do
    sl scan --dir "$dir"
    ok "nothing in ${dir#"$top"/}"
done
finish
