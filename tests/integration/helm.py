"""Helm, as a library, and as much of a Kubernetes API server as it asks when it renders a chart for a cluster."""

from __future__ import annotations

import base64
import json
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import helm_python
import yaml

from tests.integration.server import CHECKOUT, HOST

CHART = CHECKOUT / "deploy/helm/certctl"
RELEASE = "certctl-test"
NAMESPACE = "default"
WALKTHROUGH = (
    f"helm install {RELEASE} deploy/helm/certctl/ --set acmeServer.enabled=true"
    " --set acmeServer.defaultProfileId=prof-test --set image.tag=test"
)
_KINDS = {
    "v1": ("Secret", "ConfigMap", "Service", "ServiceAccount", "PersistentVolumeClaim"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "policy/v1": ("PodDisruptionBudget",),
    "monitoring.coreos.com/v1": ("ServiceMonitor",),
}

Manifest = dict[str, Any]


def values_of(command: str) -> dict[str, Any]:
    """The values that the command line of a `helm install` sets, read by Helm."""
    words = shlex.split(command)
    given = [after for word, after in pairwise(words) if word == "--set"]
    return helm_python.parse_set_string(",".join(given))


def render(
    values: Mapping[str, Any], secrets: Mapping[str, Mapping[str, str]] | None = None
) -> list[Manifest]:
    """What Helm would make in a cluster that has the Secrets that are given (names to what is in them)."""
    with cluster(secrets or {}) as kubeconfig, _connected(kubeconfig) as helm:
        release = helm.install(CHART, RELEASE, dict(values), dry_run="server", namespace=NAMESPACE)
    return [each for each in yaml.safe_load_all(release["manifest"]) if each]


def notes(values: Mapping[str, Any]) -> str:
    """What Helm says after the installation."""
    with cluster({}) as kubeconfig, _connected(kubeconfig) as helm:
        release = helm.install(CHART, RELEASE, dict(values), dry_run="client", namespace=NAMESPACE)
    return str(release["notes"])


def the(manifests: Sequence[Manifest], kind: str, name: str = RELEASE) -> Manifest:
    """The one object of that kind and name."""
    (found,) = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def secrets_in(manifests: Sequence[Manifest]) -> dict[str, dict[str, str]]:
    """What is in the Secrets, by their names."""
    return {
        each["metadata"]["name"]: {
            name: base64.b64decode(text).decode() for name, text in each["data"].items()
        }
        for each in manifests
        if each["kind"] == "Secret"
    }


@contextmanager
def cluster(secrets: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """An API server on loopback, by its kubeconfig."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = _answer(self.path.partition("?")[0], secrets)
            octets = json.dumps(document or _NOT_FOUND).encode()
            self.send_response(200 if document else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield json.dumps(_kubeconfig(f"http://{HOST}:{server.server_port}"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _connected(kubeconfig: str) -> helm_python.Config:
    return helm_python.Config(kubeconfig_content=kubeconfig, namespace=NAMESPACE, storage_driver="memory")


def _kubeconfig(url: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }


_NOT_FOUND = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


def _answer(path: str, secrets: Mapping[str, Mapping[str, str]]) -> Manifest | None:
    """What the API server has at a path: discovery, schemas that leave validation to it, Secrets."""
    prefixes = {version: f"{'apis' if '/' in version else 'api'}/{version}" for version in _KINDS}
    if path == "/version":
        return {"major": "1", "minor": "30", "gitVersion": "v1.30.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [*map(_group, list(_KINDS)[1:])]}
    if path == "/openapi/v3":
        return {"paths": {each: {"serverRelativeURL": f"/openapi/v3/{each}"} for each in prefixes.values()}}
    for version, prefix in prefixes.items():
        if path == f"/{prefix}":
            return {
                "kind": "APIResourceList",
                "groupVersion": version,
                "resources": [*map(_resource, _KINDS[version])],
            }
        if path == f"/openapi/v3/{prefix}":
            return _schema(version)
    name = path.removeprefix(f"/api/v1/namespaces/{NAMESPACE}/secrets/")
    return _secret(name, secrets[name]) if name in secrets else None


def _group(version: str) -> Manifest:
    name, _, number = version.partition("/")
    known = {"groupVersion": version, "version": number}
    return {"name": name, "versions": [known], "preferredVersion": known}


def _resource(kind: str) -> Manifest:
    plural = f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"
    return {"name": plural, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]}


def _schema(version: str) -> Manifest:
    group, _, number = version.rpartition("/")
    parameters = [{"name": "fieldValidation", "in": "query"}]
    paths = {
        f"/{kind}": {
            "patch": {
                "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
                "parameters": parameters,
            }
        }
        for kind in _KINDS[version]
    }
    return {"openapi": "3.0.0", "info": {"title": "test", "version": "1"}, "paths": paths}


def _secret(name: str, content: Mapping[str, str]) -> Manifest:
    owner = {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": NAMESPACE}
    labels = {"app.kubernetes.io/managed-by": "Helm"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": owner, "labels": labels},
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in content.items()},
    }
