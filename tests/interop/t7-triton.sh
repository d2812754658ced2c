#!/bin/sh
# Triton's own message for config.pbtxt (the PyPI package tritonclient has it) reads what is
# rendered, and means by it what was released.
. "$(dirname "$0")/../cli/lib.sh"

python=${SLUICE_TF_PYTHON:-$top/build/interop/venv/bin/python}
if ! "$python" -c 'import importlib.util as u, google.protobuf; assert u.find_spec("tritonclient")' 2>/dev/null; then
    skip "Triton's own message reads config.pbtxt" "no tritonclient at $python; make interop-tools"
    finish
    exit
fi
cat >config.py <<'END'
# Of the package only this message: the rest of it wants gRPC.
import importlib.util as u, pathlib, sys
from google.protobuf import text_format
where = pathlib.Path(u.find_spec("tritonclient").submodule_search_locations[0]) / "grpc/model_config_pb2.py"
spec = u.spec_from_file_location("model_config_pb2", where)
pb = u.module_from_spec(spec)
spec.loader.exec_module(pb)
for model in sys.argv[2].split():
    folder = pathlib.Path(sys.argv[1]) / "models" / model
    config = text_format.Parse((folder / "config.pbtxt").read_text(), pb.ModelConfig())
    assert config.name == folder.name, config
    assert config.platform == "tensorflow_savedmodel", config
    assert config.version_policy.WhichOneof("policy_choice") == "specific", config
    fields = {f.name for f, _ in config.ListFields()}
    assert fields == {"name", "platform", "version_policy"}, fields
    for n in config.version_policy.specific.versions:
        assert [p.name for p in (folder / str(n)).iterdir()] == ["model.savedmodel"], n
        assert (folder / str(n) / "model.savedmodel/saved_model.pb").is_file(), n
    print(model, *config.version_policy.specific.versions)
END
sl init
sl target add web "$scratch/web" --alias production --layout triton
for v in 1 2 3; do
    sl push "$digits/v$v" digits
    sl push "$digits/v$v" Other.model-2_b
done
for v in 1 2; do
    sl promote "digits@$v" --to production
    sl promote "Other.model-2_b@$v" --to production
done
sl weights digits@production 2=50% 3=50%
ok "releases"
check "Triton's own message reads config.pbtxt" "$python" config.py web "digits Other.model-2_b"
is "and means what was released" "$(paste -sd ';' "$scratch/.check")" "digits 2 3;Other.model-2_b 1 2"
sl rollback digits@production --to 1
check "after a rollback too" "$python" config.py web digits
is "which loads what it says" "$(cat "$scratch/.check")" "digits 1"
finish
