#!/bin/sh
# validate --trace: the first tensor that parts, why, and how far it goes.
. "$(dirname "$0")/lib.sh"

sl validate --dir "$digits/v3" --golden "$digits/v1-golden" --trace --baseline "$digits/v1"
fails "the outcome is the set's" 1 "failed"
prints "the case that failed is traced" 'trace of one beside .*/v1 \(rel_max 1e-05; both planned without passes'
prints "the first tensor that parts: node, op, output, dtype, shape" \
    'first that parts: truediv \(RealDiv\), output 0, float32\[1, 8, 8, 1\]: differs by 0.937 at \[0, 0, 4, 0\]: 0.06[0-9]*, not 1'
prints "its inputs agree" 'its input image agrees'
prints "but for a constant" 'cause: constant truediv/y \[\]: 1 of 1 values differ: differs by 239: 255, not 16'
prints "how far it goes" '0 tensors agree before it; of [0-9]+ made from it [0-9]+ part'
prints "to which outputs" 'outputs that part: digit, probabilities'

sl validate --dir "$digits/v3" --golden "$digits/v1-golden" --trace --baseline "$digits/v1" --json
prints "the verdict has it as a note" '"trace": *\{'
prints "with the cap" '"cap_bytes": *67108864'
prints "and the cause" '"causes": *\['

sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --trace --baseline "$digits/v2"
ok "a set that passes"
prints "a flip beside the baseline is traced" 'trace of batch-32 beside .*/v2'
prints "another shape is a difference" 'float32\[32, 64\], not \[32, 128\]'
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --trace-against "$digits/v1"
ok "nothing fails, nothing flips"
prints "nothing is traced" 'trace: no case failed and no decision flipped'

sl validate --dir "$digits/v3" --golden "$digits/v1-golden" --trace
prints "without a baseline it says what is needed" 'trace: .*--baseline.*--trace-against'
sl validate --dir "$digits/v3" --golden "$digits/v1-golden" --trace-against passes
prints "the passes are not to blame" 'planned without passes.*: no tensor that both have parts'
printf '#!/bin/sh\n[ "$1" = about ] && echo "{}" && exit 0\ncp "$5" "$6"\n' >program
chmod +x program
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --trace --backend "exec:$PWD/program"
prints "of another backend only outputs are seen" 'by exec only outputs are seen'
prints "the runtime's own passes are compared" 'the same, planned without passes'
mkdir none
sl validate --dir "$digits/v3" --golden "$digits/v1-golden" --trace-against none
prints "what cannot be loaded is told" 'load the other side'

sl init
for v in 1 3; do sl push "$digits/v$v" digits --golden "$digits/v1-golden"; done
sl push "$digits/v1" other
sl validate digits@2 --trace-against digits@1
fails "a version" 1 "failed"
prints "is named as it was given" 'trace of one beside digits@1 '
sl verdict show digits@2
prints "and told again by verdict show" 'cause: constant truediv/y'
sl verdict export digits@2 --format markdown
prints "in a merge request: where it begins" '^- first tensor that parts: truediv of type RealDiv'
prints "and why" '^- cause: constant truediv/y: 255, not 16'
sl verdict export digits@2 --format html
prints "and on the page" '<li>cause: constant truediv/y: 255, not 16</li>'
sl validate digits@2 --trace-against digits@9
prints "a version that is not there" 'no such version to trace against'
sl validate digits@2 --trace-against other@1
fails "of the same model" 1 "--trace-against: other@1 is of another model"
finish
