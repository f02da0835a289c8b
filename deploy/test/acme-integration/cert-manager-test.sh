#!/bin/sh
# make acme-cert-manager-test: cert-manager against certctl, at the highest level that this machine allows.
#   kind        a cluster by kind, cert-manager v1.15.0 in it, the chart, a Certificate until its Secret has tls.crt and tls.key
#   controller  cert-manager v1.15.0's controller, a Kubernetes API server and certctl as processes, until the Secret has them too
#   go          the calls of cert-manager v1.15.0's ACME engine, by golang.org/x/crypto/acme, against a server started here
# A level can be asked for: cert-manager-test.sh controller. Asked for, the controller's programs are built where they are missing
# (20 minutes of one processor); unasked, it is the level only where they are in $CERT_MANAGER_PROGRAMS.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../../.." && pwd)
cluster=certctl-test
python=${PYTHON:-python3}
programs=${CERT_MANAGER_PROGRAMS:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/certctl-cert-manager-v1.15.0}

lacks_for_kind() {
    for each in docker kind kubectl helm; do
        command -v "$each" >/dev/null || { echo "$each"; return; }
    done
    docker info >/dev/null 2>&1 || echo "a running Docker engine"
}

lacks_for_controller() {
    unshare --map-root-user --net --mount --pid --fork true 2>/dev/null || { echo "namespaces by unshare"; return; }
    for each in curl ip openssl; do
        command -v "$each" >/dev/null || { echo "$each"; return; }
    done
}

lacks_of_programs() {
    for each in etcd kube-apiserver kubectl acmesolver cert-manager-controller; do
        [ -x "$programs/$each" ] || { echo "$programs/$each"; return; }
    done
}

with_controller() {
    "$here/controller/build.sh" "$programs"
    "$here/controller/run.sh" "$programs"
    echo "level controller: cert-manager's controller filled the Secrets; no container ran${lacks:+ ($lacks is missing)}"
}

with_kind() {
    kind get clusters | grep -qx "$cluster" || kind create cluster --name "$cluster" --config "$here/kind-config.yaml"
    kubectl config use-context "kind-$cluster"
    docker build --file "$checkout/deploy/docker/Dockerfile" --tag certctl:test "$checkout"
    kind load docker-image certctl:test --name "$cluster"
    "$here/cert-manager-install.sh"
    helm upgrade --install certctl-test "$checkout/deploy/helm/certctl/" --set acmeServer.enabled=true \
        --set acmeServer.defaultProfileId=prof-test --set image.tag=test --wait --timeout 3m
    kubectl exec deployment/certctl-test -- certctl profile show prof-test >/dev/null 2>&1 \
        || kubectl exec deployment/certctl-test -- certctl profile create --id prof-test --name Test
    bundle=$(kubectl exec deployment/certctl-test -- certctl ca bundle --format base64)
    sed "s|CA_BUNDLE_BASE64|$bundle|" "$here/clusterissuer-trust-authenticated.yaml" | kubectl apply --filename -
    kubectl wait clusterissuer/certctl-trust-authenticated --for=condition=Ready --timeout=120s
    kubectl apply --filename "$here/certificate-test.yaml"
    kubectl wait certificate/test --for=condition=Ready --timeout=180s
    kubectl get secret test-tls --output "jsonpath={.data['tls\.crt']}" | base64 -d | openssl x509 -noout -subject -issuer -ext subjectAltName
    [ -n "$(kubectl get secret test-tls --output "jsonpath={.data['tls\.key']}")" ]
    echo "level kind: the Secret test-tls has tls.crt and tls.key"
}

with_go() {
    cd "$checkout"
    module=tests.integration.test_cert_manager
    "$python" -m twisted.trial $module.TrustTests $module.ChallengeTests
    echo "level go: by golang.org/x/crypto/acme, in cert-manager's order; no cluster was there ($lacks is missing)"
}

lacks=$(lacks_for_kind)
level=${1:-}
if [ -z "$level" ]; then
    if [ -z "$lacks" ]; then
        level=kind
    elif [ -z "$(lacks_for_controller)$(lacks_of_programs)" ]; then
        level=controller
    else
        level=go
    fi
fi
echo "level $level"
case $level in
    kind)
        [ -z "$lacks" ] || { echo "level kind needs $lacks" >&2; exit 1; }
        with_kind
        ;;
    controller)
        lack=$(lacks_for_controller)
        [ -n "$lack" ] || [ -z "$(lacks_of_programs)" ] || command -v go >/dev/null || lack="$(lacks_of_programs), or Go to build it"
        [ -z "$lack" ] || { echo "level controller needs $lack" >&2; exit 1; }
        with_controller
        ;;
    go)
        command -v go >/dev/null || { echo "level go needs Go, and level kind needs $lacks: nothing was tested" >&2; exit 1; }
        with_go
        ;;
    *)
        echo "there is no level $level" >&2
        exit 2
        ;;
esac
