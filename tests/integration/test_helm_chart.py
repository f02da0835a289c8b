"""The Helm chart, rendered by Helm, and held against Kubernetes' schemas and the server's reading of its settings."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import helm_python
import kubernetes_validate
import yaml
from twisted.trial.unittest import SynchronousTestCase

from certctl.settings import Settings, SettingsError
from tests.integration.helm import (
    CHART,
    WALKTHROUGH,
    Manifest,
    notes,
    render,
    secrets_in,
    the,
    values_of,
)
from tests.integration.server import CHECKOUT

OLDEST = (1, 27)  # of the Kubernetes versions that the chart is for
EXTERNAL = {"url": "postgresql://certctl:pw@db.corp.example:5432/certctl"}
MANY: dict[str, Any] = {"replicaCount": 3, "database": EXTERNAL, "ca": {"existingSecret": "corp-ca"}}
CASES: dict[str, dict[str, Any]] = {
    "as the walkthrough installs it": values_of(WALKTHROUGH),
    "nothing set": {},
    "a small PostgreSQL": {"postgresql": {"enabled": True}},
    "many servers": {
        **MANY,
        "tls": {"existingSecret": "corp-tls", "names": ["acme.corp.example"]},
        "pki": {"http": {"enabled": True}},
        "serviceMonitor": {"enabled": True},
        "networkPolicy": {
            "from": [{"namespaceSelector": {}}],
            "egress": {"enabled": True, "to": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
        },
        "extraEnv": [
            {
                "name": "CERTCTL_API_KEYS_NAMED",
                "valueFrom": {"secretKeyRef": {"name": "operators", "key": "keys"}},
            }
        ],
        "podLabels": {"team": "pki"},
        "nodeSelector": {"zone": "a"},
        "pullSecrets": [{"name": "registry"}],
        "priorityClassName": "system-cluster-critical",
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    },
}


def versions() -> list[str]:
    """Of Kubernetes, from the oldest on that the chart is for."""
    known = {tuple(map(int, each.split(".")[:2])) for each in kubernetes_validate.utils.all_versions()}
    return [".".join(map(str, each)) for each in sorted(known) if each >= OLDEST]


def pod(manifests: list[Manifest]) -> Manifest:
    """The specification of the server's pod."""
    spec: Manifest = the(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


class ChartTestCase(SynchronousTestCase):
    def settings(self, manifests: list[Manifest]) -> Settings:
        """The settings file of a release, as the server reads it."""
        file = Path(self.mktemp())
        file.write_text(the(manifests, "ConfigMap")["data"]["certctl.env"])
        return Settings.load({}, file)

    def refused(self, words: str, **values: Any) -> None:
        """Helm does not render these values, and says why."""
        with self.assertRaises(helm_python.HelmError) as caught:
            render(values)
        self.assertIn(words, str(caught.exception))


class WalkthroughTests(ChartTestCase):
    """The one command, which needs no other value."""

    def setUp(self) -> None:
        self.manifests = render(values_of(WALKTHROUGH))

    def test_names(self) -> None:
        """A deployment and a service of the release's name, the service on 8443."""
        (container,) = pod(self.manifests)["containers"]
        self.assertEqual(container["image"], "certctl:test")
        (port,) = the(self.manifests, "Service")["spec"]["ports"]
        self.assertEqual((port["port"], port["targetPort"]), (8443, "https"))

    def test_settings(self) -> None:
        """ACME is on, the profile is the default one, and the certificate is for the service's names."""
        settings = self.settings(self.manifests)
        self.assertTrue(settings.acme_server_enabled)
        self.assertEqual(settings.acme_server_default_profile_id, "prof-test")
        self.assertIn("certctl-test.default.svc.cluster.local", settings.server_tls_names)
        self.assertEqual(settings.warnings, ())

    def test_selectors(self) -> None:
        """Service and network policy choose the pod, and the deployment counts it as its own."""
        deployment = the(self.manifests, "Deployment")
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        for selector in (
            deployment["spec"]["selector"]["matchLabels"],
            the(self.manifests, "Service")["spec"]["selector"],
            the(self.manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        ):
            self.assertLessEqual(selector.items(), labels.items())

    def test_notes(self) -> None:
        """What is said afterwards names the trust bundle and the profile that is still to be made."""
        said = notes(values_of(WALKTHROUGH))
        self.assertIn("exec deployment/certctl-test -- certctl ca bundle --format base64", said)
        self.assertIn("certctl profile create --id prof-test", said)


class PageTests(ChartTestCase):
    """docs/kubernetes.md."""

    page = (CHECKOUT / "docs/kubernetes.md").read_text(encoding="utf-8")

    def test_command(self) -> None:
        """The page has the command that the tests render."""
        self.assertIn(f"\n{WALKTHROUGH}\n", self.page)

    def test_values(self) -> None:
        """Each value of the page's table is one of values.yaml's."""
        known = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
        section = self.page.partition("\n## Values\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (`[a-z].*?) \|", section, re.MULTILINE)
        named = [each for row in rows for each in re.findall(r"`([\w.]+)`", row)]
        self.assertGreater(len(named), 10)
        for each in named:
            found = known
            for member in each.split("."):
                self.assertIn(member, found, each)
                found = found[member]


class ManifestTests(ChartTestCase):
    """Whatever the values."""

    def test_schemas(self) -> None:
        """Each object is one of Kubernetes' from 1.27 to the newest known; the monitor has a schema of its own."""
        self.assertGreater(len(versions()), 5)
        for case, values in CASES.items():
            for each in render(values):
                if each["kind"] != "ServiceMonitor":
                    for version in versions():
                        with self.subTest(case, kind=each["kind"], version=version):
                            kubernetes_validate.validate(each, version, strict=True)

    def test_wrong_objects_found(self) -> None:
        """The schemas find what is wrong."""
        deployment = the(render({}), "Deployment")
        deployment["spec"]["replica"] = 1
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, versions()[0], strict=True)

    def test_lint(self) -> None:
        """`helm lint --strict` has nothing to say but that there is no icon."""
        for values in CASES.values():
            report = helm_python.lint(CHART, values, strict=True)
            self.assertEqual(
                [each["error"] for each in report["messages"] if "icon" not in each["error"]], []
            )

    def test_restricted(self) -> None:
        """Each pod is what Kubernetes' Pod Security Standards call restricted, and its root is read only."""
        for case, values in CASES.items():
            for each in render(values):
                if each["kind"] not in ("Deployment", "StatefulSet"):
                    continue
                spec = each["spec"]["template"]["spec"]
                with self.subTest(case, kind=each["kind"]):
                    self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                    self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                    self.assertFalse(spec["automountServiceAccountToken"])
                    self.assertFalse(spec["enableServiceLinks"])
                    for container in spec["containers"]:
                        self.assertEqual(
                            container["securityContext"],
                            {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        )

    def test_volumes(self) -> None:
        """Each volume that is mounted is there, and each that is there is mounted."""
        for case, values in CASES.items():
            spec = pod(render(values))
            mounted = {each["name"] for each in spec["containers"][0]["volumeMounts"]}
            self.assertEqual(mounted, {each["name"] for each in spec["volumes"]}, case)

    def test_no_secrets_in_the_open(self) -> None:
        """Passwords and keys are in Secrets alone."""
        values = {"auth": {"apiKey": "k" * 40}, "database": EXTERNAL}
        for each in render(values):
            if each["kind"] != "Secret":
                self.assertNotIn("k" * 40, str(each))
                self.assertNotIn(EXTERNAL["url"], str(each))


class ValuesTests(ChartTestCase):
    """What values do, and which are refused."""

    def test_settings(self) -> None:
        """Any setting can be given, with whatever characters, and comes to the server as it was written."""
        name = 'Corp "issuing" $CA `1` \\ ü'
        given = {
            "CERTCTL_CA_COMMON_NAME": name,
            "CERTCTL_ACME_SERVER_RATE_LIMIT_ORDERS_PER_HOUR": 1000000,
            "CERTCTL_ACME_SERVER_ARI_ENABLED": False,
            "CERTCTL_ACME_SERVER_DNS01_RESOLVER": ["10.0.0.10:53", "10.0.0.11:53"],
        }
        settings = self.settings(render({"settings": given}))
        self.assertEqual(settings.ca_common_name, name)
        self.assertEqual(settings.acme_server_rate_limit_orders_per_hour, 1000000)
        self.assertFalse(settings.acme_server_ari_enabled)
        self.assertEqual(len(settings.acme_server_dns01_resolver), 2)

    def test_slip_of_the_pen(self) -> None:
        """The server refuses a setting that is none, and names the nearest; Helm refuses a value that is none."""
        with self.assertRaises(SettingsError) as caught:
            self.settings(render({"settings": {"CERTCTL_ACME_SERVER_NONCE_TLL": "5m"}}))
        self.assertIn("CERTCTL_ACME_SERVER_NONCE_TTL", str(caught.exception))
        self.refused("acmeserver", acmeserver={"enabled": True})
        self.refused("defaultAuthMode", acmeServer={"defaultAuthMode": "trust"})
        self.refused("CERTCTL_STATE_DIR", settings={"CERTCTL_STATE_DIR": "/elsewhere"})

    def test_many_servers(self) -> None:
        """They need a database and a CA that all have; what each has for itself ends with its pod."""
        self.refused("needs PostgreSQL", replicaCount=2)
        self.refused("needs a CA", replicaCount=2, database=EXTERNAL)
        self.refused("there is one database", database=EXTERNAL, postgresql={"enabled": True})
        manifests = render(MANY)
        spec = pod(manifests)
        self.assertIn({"name": "state", "emptyDir": {}}, spec["volumes"])
        self.assertEqual([each for each in manifests if each["kind"] == "PersistentVolumeClaim"], [])
        self.assertEqual(the(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"], 1)
        self.assertEqual(the(manifests, "Deployment")["spec"]["strategy"]["type"], "RollingUpdate")
        settings = self.settings(manifests)
        self.assertEqual(str(settings.ca_key_path), "/etc/certctl/ca/tls.key")

    def test_one_server(self) -> None:
        """One with a volume is stopped before its successor starts, and has no budget that would stop a drain."""
        manifests = render({})
        self.assertEqual(the(manifests, "Deployment")["spec"]["strategy"], {"type": "Recreate"})
        self.assertEqual([each for each in manifests if each["kind"] == "PodDisruptionBudget"], [])
        claim = the(manifests, "PersistentVolumeClaim")
        self.assertEqual(claim["metadata"]["annotations"], {"helm.sh/resource-policy": "keep"})

    def test_monitor(self) -> None:
        """The monitor reads /metrics of the server's port by its name in the service."""
        manifests = render(CASES["many servers"])
        (endpoint,) = the(manifests, "ServiceMonitor")["spec"]["endpoints"]
        ports = [each["name"] for each in the(manifests, "Service")["spec"]["ports"]]
        self.assertIn(endpoint["port"], ports)
        self.assertEqual((endpoint["scheme"], endpoint["path"]), ("https", "/metrics"))


class SecretTests(ChartTestCase):
    """What is made where none is given."""

    def test_kept(self) -> None:
        """An upgrade finds API key, password and secret in the cluster, and leaves them."""
        for values in (values_of(WALKTHROUGH), {"postgresql": {"enabled": True}}, MANY):
            made = secrets_in(render(values))
            self.assertEqual(secrets_in(render(values, made)), made)

    def test_own(self) -> None:
        """Two installations have nothing in common."""
        for values in (
            {"postgresql": {"enabled": True}},
            {**MANY, "database": {"existingSecret": "corp-db"}},
        ):
            one, other = secrets_in(render(values)), secrets_in(render(values))
            for name, content in one.items():
                self.assertEqual([key for key in content if content[key] == other[name][key]], [], name)

    def test_api_key(self) -> None:
        """The key that was made is one that the server takes."""
        (content,) = secrets_in(render({})).values()
        settings = Settings.load({"CERTCTL_AUTH_SECRET": content["api-key"]})
        self.assertEqual(settings.auth_secret, (content["api-key"],))
        self.assertGreaterEqual(len(content["api-key"]), 40)

    def test_given(self) -> None:
        """Secrets that are there already are used, and none are made."""
        manifests = render(
            {
                **MANY,
                "auth": {"existingSecret": "corp-api"},
                "database": {"existingSecret": "corp-db"},
                "secretKey": {"existingSecret": "corp-secret"},
            }
        )
        self.assertEqual(secrets_in(manifests), {})
        (container,) = pod(manifests)["containers"]
        named = {each["name"]: each.get("valueFrom", {}).get("secretKeyRef") for each in container["env"]}
        self.assertEqual(named["CERTCTL_DATABASE_URL"], {"name": "corp-db", "key": "url"})
        self.assertEqual(named["CERTCTL_AUTH_SECRET"], {"name": "corp-api", "key": "api-key"})

    def test_database(self) -> None:
        """The URL leads to the small PostgreSQL's service, with the password that its pod is given."""
        for password in ("", "p@ss/w:rd%+ &"):
            manifests = render({"postgresql": {"enabled": True, "password": password}})
            content = secrets_in(manifests)["certctl-test-database"]
            url = urlsplit(content["url"])
            service = the(manifests, "Service", "certctl-test-postgresql")
            self.assertEqual(url.hostname, service["metadata"]["name"])
            self.assertEqual(url.port, service["spec"]["ports"][0]["port"])
            self.assertEqual(unquote(url.password or ""), content["password"])
            (container,) = the(manifests, "StatefulSet", "certctl-test-postgresql")["spec"]["template"][
                "spec"
            ]["containers"]
            given = {each["name"]: each.get("value") for each in container["env"]}
            self.assertEqual((url.username, url.path), (given["POSTGRES_USER"], f"/{given['POSTGRES_DB']}"))
            settings = Settings.load({**os.environ, "CERTCTL_DATABASE_URL": content["url"]})
            self.assertTrue(settings.on_postgres)

    def test_secret_key(self) -> None:
        """The secret that seals is in the form of the server's own."""
        content = secrets_in(render(MANY))["certctl-test-secret-key"]["secret-key"]
        self.assertRegex(content, r"\A[0-9a-f]{64}\n\Z")
