#!/bin/sh
# Against skopeo (Debian: skopeo): a bundle is an OCI image layout that others read and carry.
. "$(dirname "$0")/../cli/lib.sh"
if ! command -v skopeo >/dev/null; then
    skip "skopeo reads and carries a bundle" "skopeo is not installed"
    finish
    exit
fi
sl init
sl push "$digits/v1" digits --golden "$digits/v1-golden"
sl push "$digits/v2" digits
sl export digits@1 digits@2 ./bundle
sl export digits@1 one.tar
check "skopeo reads the manifest" sh -c 'skopeo inspect --raw oci:bundle:digits-1 | grep -q application/vnd.sluice.version.v1'
check "and that of a tar" skopeo inspect --raw oci-archive:one.tar
check "it checks every digest while it copies" skopeo copy --insecure-policy oci:bundle:digits-2 oci:carried:digits-2
check "a tar made by it" skopeo copy --insecure-policy oci:bundle:digits-2 oci-archive:carried.tar
digest=$(sluice inspect digits@2 | sed -n '1s/.*sha256/sha256/p')
SLUICE_STORE=$scratch/other
sl init
sl import ./carried
prints "what it copied comes in with its digest" "digits@1 $digest .digits@2"
sl import carried.tar --as again
prints "and so does its tar" "again@1 $digest"
finish
