#!/bin/sh
# Level controller of cert-manager-test.sh: run.sh FOLDER, with what build.sh puts there
# etcd, kube-apiserver, certctl and cert-manager's controller are processes in namespaces of their own, which have no network but
# loopback and end with this script. There is no kubelet, no scheduler, no controller manager: no pod runs. Nor does cert-manager's
# webhook (the API server holds resources against the custom resource definitions alone) nor its cainjector, which serves that webhook.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if [ "${2:-}" != inside ]; then
    exec unshare --map-root-user --net --mount --pid --fork --mount-proc --kill-child "$0" "$1" inside
fi

PATH="$1:$PATH"
crds=$1/crds
resources=$here/..
service=certctl-test.default.svc.cluster.local
work=$(mktemp -d)
export KUBECONFIG="$work/kubeconfig"
pids=

ended() {
    status=$?
    if [ $status != 0 ]; then
        for each in "$work"/*.log; do echo "--- ${each##*/}"; tail -n 25 "$each"; done
        [ ! -e "$KUBECONFIG" ] \
            || kubectl describe clusterissuers,certificates,certificaterequests,orders,challenges --all-namespaces || true
    fi >&2
    # shellcheck disable=SC2086
    kill $pids 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap ended EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND...
start() {
    log=$work/$1.log
    shift
    "$@" >"$log" 2>&1 &
    pids="$pids $!"
}

# until_it COMMAND...: two minutes, and no longer than the process that was started last
until_it() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 240 ] || ! kill -0 "${pids##* }" 2>/dev/null; then
            echo "does not come to pass: $*" >&2
            exit 1
        fi
        sleep 0.5
    done
}

network() {
    ip link set lo up
    echo "127.0.0.1 localhost $service" >"$work/hosts"
    mount --bind "$work/hosts" /etc/hosts
    echo "nameserver 127.0.0.1" >"$work/resolv.conf"
    mount --bind "$work/resolv.conf" /etc/resolv.conf
    start nameserver "${PYTHON:-python3}" "$here/nameserver.py"
    until_it grep serving "$work/nameserver.log"
}

api_server() {
    start etcd etcd --data-dir "$work/etcd" --unsafe-no-fsync
    until_it etcd_answers
    openssl genrsa -out "$work/accounts.key" 2048 2>/dev/null
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=kube-apiserver \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$work/api.key" -out "$work/api.crt" 2>/dev/null
    token=$(openssl rand -hex 16)
    echo "$token,test,test,system:masters" >"$work/tokens"
    start kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=127.0.0.1 --advertise-address=127.0.0.1 \
        --secure-port=6443 --tls-cert-file="$work/api.crt" --tls-private-key-file="$work/api.key" --token-auth-file="$work/tokens" \
        --authorization-mode=RBAC --service-cluster-ip-range=10.0.0.0/24 --endpoint-reconciler-type=none \
        --disable-admission-plugins=ServiceAccount \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$work/accounts.key" \
        --service-account-signing-key-file="$work/accounts.key"
    kubectl config set-cluster here --server=https://127.0.0.1:6443 --certificate-authority="$work/api.crt" >/dev/null
    kubectl config set-credentials test --token="$token" >/dev/null
    kubectl config set-context here --cluster=here --user=test >/dev/null
    kubectl config use-context here >/dev/null
    until_it kubectl get --raw /readyz
    until_it kubectl get namespace default
}

etcd_answers() { curl --silent --fail http://127.0.0.1:2379/health; }

certctl_server() {
    export CERTCTL_STATE_DIR="$work/state" CERTCTL_SERVER_PORT=8443 CERTCTL_SERVER_TLS_NAMES=$service CERTCTL_LOG_FORMAT=text \
        CERTCTL_ACME_SERVER_ENABLED=true CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID=prof-test CERTCTL_ACME_SERVER_DNS01_RESOLVER=127.0.0.1:53 \
        CERTCTL_ACME_SERVER_EGRESS_ALLOW=127.0.0.0/8
    start certctl twistd --nodaemon --pidfile= certctl
    until_it certctl_answers
    CERTCTL_API_KEY=$(cat "$work/state/api-key")
    export CERTCTL_API_KEY
    certctl profile create --id prof-test --name Test
}

certctl_answers() { curl --silent --fail --cacert "$work/state/root-ca.pem" "https://$service:8443/ready"; }

cert_manager() {
    kubectl apply --filename "$crds"
    kubectl wait --for=condition=Established --timeout=60s --filename "$crds" >/dev/null
    kubectl create namespace cert-manager
    start cert-manager-controller cert-manager-controller --kubeconfig="$KUBECONFIG" --cluster-resource-namespace=cert-manager \
        --leader-elect=false --metrics-listen-address=127.0.0.1:9402 --internal-healthz-listen-address=127.0.0.1:9403 --v=2
    until_it controller_lives
}

controller_lives() { curl --silent --fail http://127.0.0.1:9403/livez; }

# issuer MODE: the walkthrough's step 5
issuer() {
    bundle=$(certctl ca bundle --format base64)
    sed "s|CA_BUNDLE_BASE64|$bundle|" "$resources/clusterissuer-$1.yaml"
}

# certificate NAME ISSUER [DNS_NAME]: as the walkthrough's, with another name, another issuer, and one more name in it
certificate() {
    sed "s/name: test\$/name: $1/; s/test-tls/$1-tls/; s/certctl-trust-authenticated/$2/; ${3:+/^    - /p; s/^    - .*/    - \"$3\"/}" \
        "$resources/certificate-test.yaml"
}

of_secret() { kubectl get secret "$1" --output "jsonpath={.data['tls\.$2']}" | base64 -d; }

# holds SECRET NAME...: certificate and key of a Secret are a pair, the chain ends in certctl's root, and the names are in it
holds() {
    secret=$1
    shift
    of_secret "$secret" crt >"$work/tls.crt"
    of_secret "$secret" key >"$work/tls.key"
    [ "$(openssl x509 -in "$work/tls.crt" -noout -pubkey)" = "$(openssl pkey -in "$work/tls.key" -pubout)" ]
    openssl verify -CAfile "$work/state/root-ca.pem" -untrusted "$work/tls.crt" "$work/tls.crt" >/dev/null
    for each in "$@"; do openssl x509 -in "$work/tls.crt" -noout -ext subjectAltName | grep -q "DNS:$each"; done
    serial=$(openssl x509 -in "$work/tls.crt" -noout -serial)
    openssl x509 -in "$work/tls.crt" -noout -subject -issuer -enddate -ext subjectAltName
    echo "ok      $secret has tls.crt ($serial) and tls.key; the chain ends in the root"
}

# revised CERTIFICATE NUMBER: wait until cert-manager issued it so many times
revised() {
    kubectl wait "certificate/$1" --for="jsonpath={.status.revision}=$2" --timeout=120s
    kubectl wait "certificate/$1" --for=condition=Ready --timeout=120s
}

walkthrough() {
    issuer trust-authenticated | kubectl apply --filename -
    kubectl wait clusterissuer/certctl-trust-authenticated --for=condition=Ready --timeout=120s
    kubectl apply --filename "$resources/certificate-test.yaml"
    kubectl wait certificate/test --for=condition=Ready --timeout=180s
    holds test-tls test.example.com
}

# What `cmctl renew test` does.
renewal() {
    before=$serial
    kubectl patch certificate test --subresource=status --type=json --patch '[{"op": "add", "path": "/status/conditions/-", "value":
        {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "renewed by hand"}}]'
    revised test 2
    holds test-tls test.example.com
    [ "$before" != "$serial" ]
    kubectl patch certificate test --type=merge --patch '{"spec": {"dnsNames": ["test.example.com", "other.example.com"]}}'
    revised test 3
    holds test-tls test.example.com other.example.com
    kubectl delete secret test-tls
    revised test 4
    holds test-tls test.example.com other.example.com
}

# A name is proved by http-01. cert-manager's solver runs as its pod says, but where an ingress controller would be, on port 80.
answered() {
    certctl profile edit prof-test --set acme_auth_mode=challenge >/dev/null
    issuer challenge | kubectl apply --filename -
    kubectl wait clusterissuer/certctl-challenge --for=condition=Ready --timeout=120s
    certificate answered certctl-challenge | kubectl apply --filename -
    until_it pod_is_there
    # shellcheck disable=SC2086
    start acmesolver acmesolver $arguments --listen-port=80
    kubectl wait certificate/answered --for=condition=Ready --timeout=180s
    holds answered-tls test.example.com
    grep -c "got successful challenge request" "$work/acmesolver.log"
}

pod_is_there() {
    arguments=$(kubectl get pods --selector acme.cert-manager.io/http01-solver=true --output "jsonpath={.items[0].spec.containers[0].args[*]}")
    [ -n "$arguments" ]
}

# A wildcard is proved by cert-manager's dns-01 with RFC 2136.
proved() {
    kubectl patch clusterissuer certctl-challenge --type=merge \
        --patch '{"spec": {"acme": {"solvers": [{"dns01": {"rfc2136": {"nameserver": "127.0.0.1:53"}}}]}}}'
    certificate proved certctl-challenge "*.example.com" | kubectl apply --filename -
    kubectl wait certificate/proved --for=condition=Ready --timeout=180s
    holds proved-tls test.example.com "\*.example.com"
    cat "$work/nameserver.log"
}

# docs/external-account-binding.md: without a binding no account, with one an account and a certificate; its days are those asked for.
binding() {
    certctl profile edit prof-test --set acme_auth_mode=trust_authenticated --set policy.eab=required >/dev/null
    issuer trust-authenticated | sed 's/certctl-trust-authenticated/certctl-bound/' | kubectl apply --filename -
    kubectl wait clusterissuer/certctl-bound --for=condition=Ready=False --timeout=60s
    kubectl get clusterissuer certctl-bound --output "jsonpath={.status.conditions[0].message}{'\n'}" | tee "$work/refused"
    grep -q externalAccountRequired "$work/refused"
    certctl eab create prof-test cluster --json >"$work/eab"
    kubectl create secret generic certctl-eab --namespace cert-manager --from-literal=secret="$(member mac_key)"
    kubectl patch clusterissuer certctl-bound --type=merge --patch '{"spec": {"acme": {"externalAccountBinding":
        {"keyID": "'"$(member id)"'", "keySecretRef": {"name": "certctl-eab", "key": "secret"}}, "enableDurationFeature": true}}}'
    kubectl wait clusterissuer/certctl-bound --for=condition=Ready --timeout=120s
    certificate bound certctl-bound bound.example.com | kubectl apply --filename -
    kubectl wait certificate/bound --for=condition=Ready --timeout=120s
    holds bound-tls test.example.com bound.example.com
    ! openssl x509 -in "$work/tls.crt" -noout -checkend $((31 * 86400)) || exit 1
}

member() { sed -n "s/^ *\"$1\": \"\(.*\)\",*$/\1/p" "$work/eab"; }

network
api_server
certctl_server
cert_manager
etcd --version | head -n 1
kube-apiserver --version
cert-manager-controller --help | sed -n 's/.*acmesolver:\(v[0-9.]*\).*/cert-manager \1/p'
walkthrough
renewal
answered
proved
binding
curl --silent --fail --cacert "$work/state/root-ca.pem" --header "Authorization: Bearer $CERTCTL_API_KEY" "https://$service:8443/metrics" \
    | grep 'client="cert-manager"'
