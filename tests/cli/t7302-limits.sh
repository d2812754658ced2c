#!/bin/sh
# Models and runners that misbehave: a verdict or an error that says so, and nothing left.
. "$(dirname "$0")/lib.sh"

sl doctor --verbose
prints "doctor says what guards a model" "a model's calls: seccomp"
prints "and its files" "a model's files: .*Landlock"
prints "and what it may take" 'limits of memory, time'

# A set may allow less than the runner would.
cp -r "$digits/v1-golden" golden
chmod -R u+w golden
limit() { python3 - "$1" <<'P'
import json, sys
d = json.load(open("golden/golden.json"))
d["limits"] = json.loads(sys.argv[1])
json.dump(d, open("golden/golden.json", "w"))
P
}
limit '{"seconds": 20, "memory_mb": 500, "output_mb": 0.000001}'
sl validate --dir "$digits/v1" --golden golden
fails "too much output is a failure" 1 "failed"
prints "that says so" 'bytes of outputs, more than the 1 allowed'
limit '{"seconds": 20, "memory_mb": 500, "output_mb": 10}'
sl validate --dir "$digits/v1" --golden golden --json
ok "within its limits"
prints "and the verdict says which they were" '"output_bytes": 10000000'
limit '{"seconds": 100000}'
sl validate --dir "$digits/v1" --golden golden
fails "more than the runner gives" 1 "limits: seconds is 100000: wanted .* at most 600"
limit '{"memory_mb": 0}'
sl validate --dir "$digits/v1" --golden golden
fails "nothing at all" 1 "limits: memory_mb is 0"

# Programs in the runner's place.
mkdir libexec
runner() {
    printf '#!/bin/sh\n%s\n' "$1" >libexec/sluice-runner
    chmod +x libexec/sluice-runner
    SLUICE_LIBEXEC=$scratch/libexec
    export SLUICE_LIBEXEC
    sl validate --dir "$digits/v1" --golden golden
    unset SLUICE_LIBEXEC
}
limit '{"seconds": 1}'
runner 'echo $$ >pid; exec sleep 1000'
fails "one that hangs" 1 "failed"
prints "is a verdict" 'gave no answer in 1000 ms and was ended'
is "and is gone" "$(kill -0 "$(cat pid)" 2>&1 | grep -c 'No such')" 1
runner 'kill -ABRT $$'
prints "one that aborts" 'process ended \(killed by signal 6\)'
runner 'sleep 1000 <&- >&- 2>&- 3>&- & echo $! >pid; sleep 1000'
prints "one that forks" 'gave no answer'
is_gone() { ! grep -s '^State' "/proc/$(cat pid)/status" | grep -qv Z; }
check "takes its child along" await 60 is_gone
runner 'exec head -c 50000000 /dev/zero >&3'
fails "one that answers with rubbish" 1 "failed"
finish
