"""The image that the Dockerfile describes, and pods of the chart in it: built and run by namespaces, without Docker.

A pod is started as a kubelet and a container runtime would: the image's entrypoint, the rendered environment, files of
ConfigMaps and Secrets at their places, volumes that are the pod's group's, no capabilities, a root that is read only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import TestCase

from certctl.issuance.files import key_pem
from certctl.issuance.hierarchy import issuing_certificate, root_certificate
from certctl.sealing import SECRET
from tests.integration.debian import FolderServer, Mount, Network, built, temporary, unusable
from tests.integration.helm import WALKTHROUGH, Manifest, render, secrets_in, the, values_of
from tests.integration.postgres import shared
from tests.integration.server import HOST, run

SEVERAL = {
    "acmeServer": {"enabled": True},
    "postgresql": {"enabled": True},
    "ca": {"existingSecret": "corp-ca"},
    "replicaCount": 2,
}
SERVICE = "certctl-test.default.svc.cluster.local"


def volume(group: int, mode: int = 0o2775) -> Path:
    """An empty directory as a kubelet makes it: root's, and writable for the pod's group."""
    place = temporary("volume")
    os.chown(place, 0, group)
    place.chmod(mode)
    return place


class Pod:
    """What a kubelet does for the first container of a Deployment's pod."""

    def __init__(self, manifests: Sequence[Manifest], secrets: Mapping[str, Mapping[str, str]]) -> None:
        self.spec: Manifest = the(manifests, "Deployment")["spec"]["template"]["spec"]
        (self.container,) = self.spec["containers"]
        self._manifests = manifests
        self._secrets = secrets
        self._group = self.spec["securityContext"]["fsGroup"]
        self.volumes = {each["name"]: self._volume(each) for each in self.spec["volumes"]}

    def _volume(self, declared: Manifest) -> Path:
        made = volume(self._group)
        content: Mapping[str, str] = {}
        mode = 0o644
        if "configMap" in declared:
            content = the(self._manifests, "ConfigMap", declared["configMap"]["name"])["data"]
        if "secret" in declared:
            content = self._secrets[declared["secret"]["secretName"]]
            mode = declared["secret"]["defaultMode"]
        for name, text in content.items():
            (made / name).write_text(text)
            os.chown(made / name, 0, self._group)
            (made / name).chmod(mode)
        return made

    def mounts(self) -> Iterator[Mount]:
        """The volumes at their places."""
        for each in self.container["volumeMounts"]:
            source = self.volumes[each["name"]] / each.get("subPath", "")
            yield Mount(source, each["mountPath"], read_only=each.get("readOnly", False))

    def env(self) -> dict[str, str]:
        """The container's environment, with what comes from Secrets."""
        found = {}
        for each in self.container["env"]:
            if "value" in each:
                found[each["name"]] = each["value"]
            else:
                reference = each["valueFrom"]["secretKeyRef"]
                found[each["name"]] = self._secrets[reference["name"]][reference["key"]]
        return found

    def command(self, words: Sequence[str] = (), mounts: Sequence[Mount] = ()) -> list[str]:
        """The container's program, or another one beside it, in the image."""
        image, _ = built()
        context = {**self.spec["securityContext"], **self.container["securityContext"]}
        return image.again().command(
            *(words or image.entrypoint),
            mounts=(*self.mounts(), *mounts),
            user=f"{context['runAsUser']}:{context['runAsGroup']}",
            groups=str(context["fsGroup"]),
            network=True,
            read_only=context["readOnlyRootFilesystem"],
            env=self.env(),
        )


class ImageTests(TestCase):
    """The image by itself."""

    skip = unusable()
    timeout = 1200

    def test_user(self) -> None:
        """It is run by the number that the chart names, which has a name, no shell, and no way to more rights."""
        image, _ = built()
        context = the(render({}), "Deployment")["spec"]["template"]["spec"]["securityContext"]
        self.assertEqual(image.user, f"{context['runAsUser']}:{context['runAsGroup']}")
        said = image.again().run("sh", "-ec", "id -un; touch /etc/x /usr/x 2>&1 || :").must_succeed().output
        self.assertIn("certctl\n", said)
        self.assertEqual(said.count("Permission denied"), 2)

    def test_slim(self) -> None:
        """What it takes to build is not in it, nor are lists of packages."""
        image, _ = built()
        absent = "usr/bin/make src usr/lib/python3/dist-packages/pip usr/lib/certctl/bin/pip var/log/dpkg.log"
        self.assertEqual([each for each in absent.split() if (image.upper / each).exists()], [])
        self.assertEqual([*(image.upper / "var/lib/apt/lists").glob("*Packages*")], [])

    def test_command(self) -> None:
        """The operator's command is on the path."""
        image, _ = built()
        self.assertIn("certctl ", image.again().run("certctl", "version").must_succeed().output)


class PodTests(TestCase):
    """Pods of the chart in the image."""

    skip = unusable()
    timeout = 1200

    def start(self, pod: Pod, network: Network, root: Path, *mounts: Mount) -> FolderServer:
        """Start the pod's container, and end it with the test."""
        place = temporary("pod")
        server = FolderServer(place, network, pod.command(mounts=mounts), root)
        self.addCleanup(server.end)
        return server.start()

    def network(self) -> Network:
        """A network that ends with the test."""
        made = Network()
        self.addCleanup(made.end)
        return made

    def test_walkthrough(self) -> None:
        """The one command's pod answers by the service's name, takes the API key, and gives certificates."""
        manifests = render(values_of(WALKTHROUGH))
        secrets = secrets_in(manifests)
        pod = Pod(manifests, secrets)
        server = self.start(pod, self.network(), pod.volumes["state"] / "root-ca.pem")
        with self.subTest("probes"):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                path = pod.container[probe]["httpGet"]["path"]
                server.curl(path, "--fail", "--header", "Host: 10.244.0.5:8443").must_succeed()
        with self.subTest("the service's name"):
            named = (
                "--resolve",
                f"{SERVICE}:8443:{HOST}",
                f"https://{SERVICE}:8443/acme/profile/prof-test/directory",
            )
            self.assertIn(
                "newNonce", server.curl("/health", "--fail", *named).output + self.profile(server, secrets)
            )
        with self.subTest("a certificate, by the short URL"):
            self.assertIn("DNS:one.internal", server.first_certificate("prof-test", "one.internal"))
            found = json.loads(server.curl("/acme/directory", "--fail").must_succeed().output)
            self.assertIn("/acme/profile/prof-test/", found["newOrder"])
        with self.subTest("the command in the container"):
            ran = run(*server.network.inside, *pod.command(("certctl", "ca", "bundle")))
            self.assertEqual(ran.must_succeed().output.strip(), server.root.read_text().strip())
        with self.subTest("another pod on the volume"):
            server.end()
            server.start()
            server.first_certificate("prof-test", "two.internal")

    def profile(self, server: FolderServer, secrets: Mapping[str, Mapping[str, str]]) -> str:
        """Make the default profile with the API key of the release; return what its directory says."""
        body = {
            "id": "prof-test",
            "name": "Test",
            "issuer_id": "iss-internal-ca",
            "max_ttl_seconds": 7776000,
            "acme_auth_mode": "trust_authenticated",
        }
        key = secrets["certctl-test-api-key"]["api-key"]
        headers = ("--header", f"Authorization: Bearer {key}", "--header", "Content-Type: application/json")
        server.curl("/api/profiles", "--fail", *headers, "--data", json.dumps(body)).must_succeed()
        named = ("--resolve", f"{SERVICE}:8443:{HOST}")
        url = f"https://{SERVICE}:8443/acme/directory"
        ran = server.network.run("curl", "--silent", "--fail", "--cacert", server.trust, *named, url)
        return ran.must_succeed().output

    def test_several(self) -> None:
        """Two pods with a CA and a secret from Secrets, on the PostgreSQL that the chart's own URL leads to."""
        made = render(SEVERAL)
        content = secrets_in(made)["certctl-test-database"]
        database = shared()
        database.sql(f"CREATE ROLE certctl LOGIN PASSWORD '{content['password']}'")
        self.addCleanup(database.sql, "DROP ROLE certctl")
        database.sql("CREATE DATABASE certctl OWNER certctl ENCODING 'UTF8' TEMPLATE template0")
        self.addCleanup(database.sql, "DROP DATABASE certctl WITH (FORCE)")
        # A network of a pod's own has no way to another's; a socket that both have is one.
        socket = Mount(database.directory, "/run/postgresql")
        database.directory.chmod(0o755)
        place = f"/certctl?host=/run/postgresql&port={database.port}"
        url = content["url"].replace("certctl-test-postgresql:5432/certctl", place)
        self.assertNotEqual(url, content["url"])
        key, chain, root = corporate_ca()
        secrets = {
            **secrets_in(made),
            "certctl-test-database": {"url": url},
            "corp-ca": {"tls.crt": chain, "tls.key": key},
        }
        self.assertEqual(len(bytes.fromhex(secrets["certctl-test-secret-key"]["secret-key"])), SECRET)
        for name in ("one.internal", "two.internal"):
            server = self.start(Pod(made, secrets), self.network(), root, socket)
            self.assertIn(f"DNS:{name}", server.first_certificate("prof-default", name))
        self.assertEqual(database.sql("SELECT count(*) FROM certificate_versions", "certctl"), [(2,)])


def corporate_ca() -> tuple[str, str, Path]:
    """The key of an issuing CA, its chain, and a file with its root."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.now(UTC)
    root = root_certificate(root_key, "Corp root", now)
    issuing = issuing_certificate(key, "Corp issuing CA", root_key, root, now)
    file = temporary("ca") / "root.pem"
    file.write_bytes(root.public_bytes(Encoding.PEM))
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in (issuing, root))
    return key_pem(key).decode(), chain.decode(), file
