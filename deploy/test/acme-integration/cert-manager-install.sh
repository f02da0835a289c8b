#!/bin/sh
# Installs cert-manager v1.15.0 into the cluster of the current context; a second run finds it there and changes nothing.
set -eu

version=v1.15.0
manifest=${CERT_MANAGER_MANIFEST:-https://github.com/cert-manager/cert-manager/releases/download/$version/cert-manager.yaml}
deployments="cert-manager cert-manager-cainjector cert-manager-webhook"

installed() {
    kubectl --namespace cert-manager get deployment cert-manager --ignore-not-found \
        --output "jsonpath={.metadata.labels['app\.kubernetes\.io/version']}"
}

found=$(installed)
case $found in
    "$version") echo "cert-manager $version is there" ;;
    "") kubectl apply --filename "$manifest" ;;
    *)
        echo "cert-manager $found is there, and this is for $version: remove it, or use another cluster" >&2
        exit 1
        ;;
esac
for each in $deployments; do
    kubectl --namespace cert-manager rollout status "deployment/$each" --timeout=180s
done
echo "cert-manager $version is ready"
