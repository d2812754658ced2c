#!/bin/sh
# What config/ has besides (--render), and how a server is started on a target (target render).
. "$(dirname "$0")/lib.sh"

yaml() { # name, expression on `docs` of the YAML file `text`
    if python3 -c 'import yaml' 2>/dev/null; then
        check "$1" python3 -c "import sys, yaml
docs = [d for d in yaml.safe_load_all(open('text')) if d is not None]
got = ($2)
sys.exit(0 if got is True else repr(got))"
    else
        skip "$1" "python3-yaml is not installed"
    fi
}

digits_live tfserving
sl push "$digits/v2" digits
sl push "$digits/v3" digits
is "routes and nginx, when nothing is said" "$(ls web/config | tr '\n' ' ')" "models.config nginx.conf routes.json "
sl target set web --render envoy,kserve=pvc://models/web
ok "others instead"
is "at once" "$(ls web/config | tr '\n' ' ')" "envoy.yaml kserve.yaml models.config "
sl target set web --render routes,varnish
fails "what there is not" 2 'render "varnish": there are routes, nginx, envoy, kserve\[=URI\]'
sl target set web --render routes,routes
fails "one twice" 2 'routes is named twice'
sl target set web --render 'kserve=some place'
fails "a place that is no URI" 2 'URI of the tree'
sl target set web --render routes=a://b
fails "a value where none is" 2 'render "routes=a://b"'
mkdir lab
sl target add lab lab --alias lab --render routes
fails "a layout without config/" 2 'layout plain renders no files'

# ---- one version, two, three; and copies ----
cp web/config/envoy.yaml text
yaml "envoy.yaml: one version" "docs[0]['resources'][0]['virtual_hosts'][0]['routes'] == [{
    'match': {'safe_regex': {'regex': '/v1/models/digits(:[A-Za-z]+|/metadata)?'}},
    'route': {'cluster': 'server', 'regex_rewrite': {'pattern': {'regex': '^/v1/models/digits'},
              'substitution': '/v1/models/digits/versions/1'}}}]"
cp web/config/kserve.yaml text
yaml "kserve.yaml: one version" "docs == [{'apiVersion': 'serving.kserve.io/v1beta1', 'kind': 'InferenceService',
    'metadata': {'name': 'digits', 'annotations': {'sluice/version': 'digits@1'}},
    'spec': {'predictor': {'model': {'modelFormat': {'name': 'tensorflow'}},
             'storageUris': [{'uri': 'pvc://models/web/digits/1', 'mountPath': '/mnt/models/1'}]}}}]"
sl weights digits@production 1=90% 2=10% --mirror 3=2.5%
ok "two versions and copies"
cp web/config/envoy.yaml text
yaml "envoy.yaml: drawn by weight, then by header" "(lambda hosts: [h['name'] for h in hosts] == ['copies', 'models']
    and hosts[0]['domains'] == ['*-shadow']
    and [r['match']['headers'][0]['string_match']['exact'] for r in hosts[1]['routes'][:2]] == ['1', '2']
    and [(c['name'], c['weight'], c['request_headers_to_add'][0]['header']['value'])
         for c in hosts[1]['routes'][2]['route']['weighted_clusters']['clusters']]
        == [('itself', 9000, '1'), ('itself', 1000, '2')]
    and hosts[1]['routes'][2]['route']['request_mirror_policies'] == [{'cluster': 'itself', 'runtime_fraction':
        {'default_value': {'numerator': 250, 'denominator': 'TEN_THOUSAND'}}}])(docs[0]['resources'][0]['virtual_hosts'])"
for f in envoy kserve; do
    check "$f.yaml says that nobody can recompute it" grep -q 'THE SPLIT CANNOT BE RECOMPUTED' web/config/$f.yaml
done
cp web/config/kserve.yaml text
yaml "kserve.yaml: a canary" "docs[0]['spec']['predictor']['canaryTrafficPercent'] == 10
    and docs[0]['spec']['predictor']['storageUris'][0]['uri'] == 'pvc://models/web/digits/2'"
sl weights digits@production 1=89.5% 2=10.5%
cp web/config/kserve.yaml text
check "kserve.yaml: parts of a percent" grep -q 'NO SERVICE: canaryTrafficPercent takes whole percents' text
sl weights digits@production 1=80% 2=10% 3=10%
cp web/config/kserve.yaml text
check "kserve.yaml: three versions" grep -q 'NO SERVICE: more than two versions' text
yaml "which is no service" "docs == []"
sl push "$digits/v1" 'My Model'
sl promote 'My Model@1' --to production
cp web/config/kserve.yaml text
yaml "kserve.yaml: a name that Kubernetes does not take" "docs[0]['metadata']['name'].startswith('model-')
    and docs[0]['spec']['predictor']['storageUris'][0]['uri'] == 'pvc://models/web/My%20Model/1'"
sl target check
ok "the tree is as it should be"
sl rollback digits@production
ok "a rollback renders them too"
sl target set web --render ''
is "back to what is usual" "$(ls web/config | tr '\n' ' ')" "models.config nginx.conf routes.json "

# ---- how it is started ----
sl target render web --as compose
ok "compose"
printf '%s\n' "$out" >text
yaml "compose: flags, and the tree to be read only" "(lambda s: s['command'][2:] == ['--model_config_file=$scratch/web/config/models.config',
    '--model_config_file_poll_wait_seconds=5', '--allow_version_labels_for_unavailable_models=true']
    and s['volumes'][0]['read_only'] is True and s['volumes'][0]['source'] == '$scratch/web'
    and all(p.startswith('127.0.0.1:') for p in s['ports']))(docs[0]['services']['web'])"
sl target set web --serving-root '/mo$dels' --reload grpc://127.0.0.1:8500
sl target render web --as compose
printf '%s\n' "$out" >text
yaml "compose: as the server sees it, and told instead of polling" "(lambda s: s['command'][2:4] == [
    '--model_config_file=/mo\$\$dels/config/models.config', '--model_config_file_poll_wait_seconds=0']
    and s['volumes'][0]['target'] == '/mo\$\$dels')(docs[0]['services']['web'])"
sl target set web --serving-root ''
sl target render web --as systemd
ok "systemd"
printf '%s\n' "$out" >unit
prints "systemd: the tree and nothing else" "^BindReadOnlyPaths=\"$scratch/web\"\$"
if command -v systemd-analyze >/dev/null; then
    sed 's,^ExecStart=/usr/bin/tensorflow_model_server,ExecStart=/bin/true,' unit >web.service
    systemd-analyze verify --man=no "$scratch/web.service" >verify 2>&1 || true
    is "systemd understands every line" "$(grep web.service verify)" ""
else
    skip "systemd understands every line" "systemd-analyze is not installed"
fi
sl target render web --as nginx
prints "nginx: a place for each model" 'location ~ "\^/v1/models/My\\x20Model'
PATH=$PATH:/usr/sbin
if command -v nginx >/dev/null; then
    printf '%s\n' "$out" | sed "s,/var/log/nginx,$scratch,;s,listen 127.0.0.1:8080,listen unix:$scratch/socket," >site
    for d in client_body proxy fastcgi uwsgi scgi; do printf '%s_temp_path temp; ' $d; done >temps
    printf 'pid %s/pid; events { }\nhttp {\n%s\n%s\n}\n' "$scratch" "$(cat temps)" "$(cat site)" >nginx.conf
    check "nginx takes it" nginx -t -p "$scratch" -c "$scratch/nginx.conf" -e stderr
else
    skip "nginx takes it" "nginx is not installed"
fi
sl target render web --as envoy
fails "Envoy, without its file" 2 'sluice target set web --render routes,envoy'
sl target set web --render routes,envoy --status-url http://10.0.0.1:8501/v1
sl target render web --as envoy
printf '%s\n' "$out" >text
yaml "envoy: its own file, and the server" "(lambda d: [c['name'] for c in d['clusters']] == ['server', 'itself']
    and d['clusters'][0]['load_assignment']['endpoints'][0]['lb_endpoints'][0]['endpoint']['address']['socket_address']
        == {'address': '10.0.0.1', 'port_value': 8501}
    and d['listeners'][0]['filter_chains'][0]['filters'][0]['typed_config']['rds']['config_source']['path_config_source']
        == {'path': '$scratch/web/config/envoy.yaml', 'watched_directory': {'path': '$scratch/web'}})(docs[0]['static_resources'])"
sl target render web --as helm
fails "what there is not" 2 'there are compose, systemd, nginx, envoy'
sl target render wob --as compose
fails "no such target" 7 'no target "wob"'
sl target add lab lab --alias lab
sl target render lab --as compose
fails "a tree that no server reads" 2 'no server reads layout plain'
finish
