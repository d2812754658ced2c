#!/bin/sh
# A model's file that is cut and written again while it is read: an error, never a signal.
. "$(dirname "$0")/lib.sh"

# 60 MB, so that it is mapped: a model, and a field that nobody knows many times.
mkdir model
cp "$data/half_plus_two_tf1/model/saved_model.pb" whole
yes x | tr '\n' '\001' | head -c 60000000 >>whole
cp whole model/saved_model.pb
sl show --dir model
prints "it is a model" "'serve'"

while :; do
    cp whole model/saved_model.pb
    sleep 0.05
done &
writer=$!
tries=0 seen=0 signals=0 others=0
while [ $tries -lt 300 ] && [ $seen -eq 0 ]; do
    sl show --dir model
    tries=$((tries + 1))
    [ $status -le 128 ] || signals=$((signals + 1))
    case $status:$err in
    0:* | *damaged* | *"no MetaGraph"*) ;; # before or after
    *"saved_model.pb was changed while it was read"*) seen=1 ;;
    *) others=$((others + 1)) && echo "# $status $err" ;;
    esac
done
kill $writer
wait $writer 2>/dev/null
is "no signal ended it" $signals 0
is "it was seen to be cut, and told so" "$seen $status" "1 4"
is "nothing else went wrong" $others 0
finish
