#!/bin/sh
# Puts what level controller of cert-manager-test.sh runs into a folder: build.sh FOLDER
#   of Kubernetes v1.30.14: etcd, kube-apiserver, kubectl, built by Go 1.24 or newer, or those of $KUBEBUILDER_ASSETS if that is set
#   of cert-manager v1.15.0: cert-manager-controller, acmesolver, crds/, built from $CERT_MANAGER_SOURCE, a checkout, or from a clone
# What the folder has is kept. The first time takes 20 minutes of one processor, half as long on two, and Go's caches 5 GB.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
kubernetes=v1.30.14
cert_manager=v1.15.0
commit=34032515413d5422af06f597a313e43bb5d646a0
origin=https://github.com/cert-manager/cert-manager

# build NAME MODULE PACKAGE [VARIABLE=VALUE...]
build() {
    name=$1 module=$2 package=$3
    shift 3
    flags="-s -w"
    for each in "$@"; do flags="$flags -X $each"; done
    echo "$(date +%T) building $name: $package"
    go build -C "$module" -mod=readonly -trimpath -buildvcs=false -ldflags "$flags" -o "$folder/$name" "$package"
}

of_kubernetes() {
    name=$1
    [ ! -x "$folder/$name" ] || return 0
    if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
        ln -s "$KUBEBUILDER_ASSETS/$name" "$folder/$name"
        return
    fi
    version=k8s.io/component-base/version
    build "$name" "$here" "$2" $version.gitVersion=$kubernetes $version.gitMajor=1 $version.gitMinor=30
}

of_cert_manager() {
    [ ! -x "$folder/cert-manager-controller" ] || [ ! -x "$folder/acmesolver" ] || return 0
    source=${CERT_MANAGER_SOURCE:-$folder/source}
    [ -d "$source" ] || git -c advice.detachedHead=false clone --quiet --depth 1 --branch $cert_manager $origin "$source"
    mkdir -p "$folder/crds"
    # Each is a template of the chart: comments, and labels.
    for each in "$source"/deploy/crds/crd-*.yaml; do sed 's/{{[^}]*}}/cert-manager/' "$each" >"$folder/crds/${each##*/}"; done
    version=github.com/cert-manager/cert-manager/pkg/util
    [ -x "$folder/acmesolver" ] || build acmesolver "$source/cmd/acmesolver" .
    [ -x "$folder/cert-manager-controller" ] || build cert-manager-controller "$source/cmd/controller" . $version.AppVersion=$cert_manager $version.AppGitCommit=$commit
}

of_kubernetes etcd go.etcd.io/etcd/server/v3
of_kubernetes kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
of_kubernetes kubectl k8s.io/kubernetes/cmd/kubectl
of_cert_manager
