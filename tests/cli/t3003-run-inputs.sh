#!/bin/sh
# run: every form in which inputs come.
. "$(dirname "$0")/lib.sh"
model=$data/half_plus_two_tf1/model warm=$data/warmup/model samples=$data/formats/samples

x() { printf '%b' "$(printf '%s' "$1" | sed 's/../\\x&/g')"; }
# The pickle of line N of the samples, protocol 4 of six.
pickle() { sed -n "$((6 * $1 + 5))p" "$samples/pickles.tsv" | cut -f1; }

x() { sl run --dir "$model" --tag_set serve --signature_def serving_default "$@"; }
x --input_exprs 'x=np.ones(3)'
is "a NumPy call" "$out" "Result for output key y:
[2.5 2.5 2.5]"
x --input_exprs 'x=np.random.RandomState(0).rand(2)'
is "NumPy's random numbers" "$out" "Result for output key y:
[2.2744067 2.3575947]"
x --input_exprs 'x=np.random.rand(2)'
fails "but none without a seed" 1 'np.random.rand: of np.random only RandomState\(SEED\) is read'
x --input_exprs 'x=np.ones(3) * 2'
fails "nothing is computed" 1 "'\* 2' behind the call is not read"
x --input_exprs 'x=__import__("os").system("touch run")'
fails "nothing is evaluated" 1 'not a valid python literal'
check "and nothing happened" test ! -e run

x --inputs "x=$samples/half.pkl"
is "a pickled array" "$out" "Result for output key y:
[2.75 1.  ]"
x --inputs "x=$samples/half.pkl[any]"
is "whose name does not count" "$out" "Result for output key y:
[2.75 1.  ]"
x --inputs "x=$samples/dict.pkl[y]"
is "one key of a pickled dict" "$out" "Result for output key y:
[2.5 3. ]"
x --inputs "x=$samples/dict.pkl"
fails "a dict of two wants a key" 1 'more than one ndarrays. Please specify the name'
x --inputs "x=$samples/dict.pkl[z]"
fails "one that is there" 7 'does not contain variable with name "z"'
printf 'cos\nsystem\n(S"touch run"\ntR.' >bad.pkl
x --inputs x=bad.pkl
fails "a program is refused by name" 1 'bad.pkl: offset 0: it wants os.system'
check "and is not run" test ! -e run
printf 'hello' >text.npy
x --inputs x=text.npy
fails "a file that is none of them" 1 'text.npy: neither an .npy, an .npz, a pickle nor a TFRecord'

x --inputs "x=$samples/rows.tfrecord.gz[w]"
fails "a feature has a row a record" 1 'shape \[3,2\]'
sl run --dir "$digits/v1" --inputs "image=$samples/rows.tfrecord[pixels]"
fails "a feature that is not there names those that are" 7 'record 0: has no feature "pixels"; there are: "age" "name" "w"'
regress() { sl run --dir "$warm" --signature_def regress "$@"; }
regress --input_examples 'inputs=[{"x":[3.0]},{"x":[4.5]}]'
is "--input_examples" "$out" "Result for output key outputs:
[[3.5 ]
 [4.25]]"
regress --input_examples 'inputs={"x":[3.0]}'
fails "a dict is no list of them" 1 'must be a list of dictionaries, but is \{"x":\[3.0\]\}'
regress --input_examples 'inputs=[{"x":3.0}]'
fails "a value is no list" 1 '"x": feature value must be a list, but is 3.0'
regress --input_examples 'inputs'
fails "examples without a key" 1 'format is incorrect'
regress --inputs "inputs=$samples/rows.tfrecord"
fails "records of other features reach the model" 1 'Feature: x .* is required but could not be found'
regress --input_exprs 'inputs=["a"]' --input_examples 'inputs=[{"x":[3.0]}]'
is "examples win over expressions" "$out" "Result for output key outputs:
[[3.5]]"

mkdir -p beside/assets
cp "$warm/saved_model.pb" beside
echo a >beside/assets/words.txt
cp "$samples/keras_metadata.pb" beside
sl show --dir beside --json
prints "show --json lists assets" '"words.txt"'
prints "and Keras' objects by class" '"Dense"'
sl show --dir "$warm" --json
prints "and extra assets" '"tf_serving_warmup_requests"'
head -c 40 "$samples/keras_metadata.pb" >beside/keras_metadata.pb
sl show --dir beside --json
prints "a damaged keras_metadata.pb is told" '"keras_error": ?".*keras_metadata.pb: '

sl run --dir "$warm" --warmup
ok "--warmup"
is "runs every kind of record" "$(printf '%s\n' "$out" | sed 's/  run .*//')" \
    "ok     record 0  predict serving_default
ok     record 1  regress regress
ok     record 2  classify regress
ok     record 3  multi_inference regress,regress
ok     record 4  session_run serving_default"
sl run --dir "$warm" --warmup --json
prints "as JSON" '"kind": ?"session_run"'
sl run --dir "$model" --warmup
fails "a model without records" 7 'has no assets.extra/tf_serving_warmup_requests'
cp -r "$warm" wrong
chmod -R u+w wrong
cp "$samples/warmup_wrong.tfrecord" wrong/assets.extra/tf_serving_warmup_requests
sl run --dir wrong --warmup
fails "records that the model does not take" 1 '2 of 3 warm-up records failed; record 1: .*nope'
prints "the good one is told too" '^ok     record 0'
prints "and what is wrong with the others" '^failed record 2  predict .*x'
cp "$samples/rows.tfrecord.gz" wrong/assets.extra/tf_serving_warmup_requests
sl run --dir wrong --warmup
fails "a packed file" 1 'packed, which TF Serving does not read'
finish
