"""cert-manager: its resources held against its schemas, its calls made against a server, its scripts run.

The calls are those of cert-manager v1.15.0, by the library that it builds on, from a program in Go.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from cryptography import x509
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.challenge_bench import ChallengeTestCase
from tests.integration.debian import temporary
from tests.integration.helm import WALKTHROUGH, render, the, values_of
from tests.integration.server import CHECKOUT, HOST, PROGRAMS, Ran, RunningServer, free_port, run

INTEGRATION = CHECKOUT / "deploy/test/acme-integration"
CERTS = CHECKOUT / "deploy/test/certs"
DATA = CHECKOUT / "tests/data"
SERVICE = "certctl-test.default.svc.cluster.local"
PLACEHOLDER = "CA_BUNDLE_BASE64"
NAME = "test.example.com"
BUILDS_WITHIN = 900.0  # seconds; Go compiles its standard library first


def resource(file: str, bundle: str | None = None) -> dict[str, Any]:
    """A resource of deploy/test, with a bundle in place of the placeholder, as the walkthrough puts one there."""
    text = (INTEGRATION / file).read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text.replace(PLACEHOLDER, bundle) if bundle else text)
    return found


def schema(plural: str) -> dict[str, Any]:
    """cert-manager's schema of v1 of a kind; as an API server that validates strictly, it knows no other members."""
    definition = yaml.safe_load(
        (DATA / f"cert-manager-v1.15.0/crd-{plural}.yaml").read_text(encoding="utf-8")
    )
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    made: dict[str, Any] = _closed(version["schema"]["openAPIV3Schema"])
    made["properties"]["metadata"] = {"type": "object"}
    return made


def _closed(part: Any) -> Any:
    """A schema whose objects have no members but those that it names."""
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    made = {name: _closed(each) for name, each in part.items()}
    open_ended = "additionalProperties" in part or part.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(part.get("properties"), dict) and part.get("type") == "object" and not open_ended:
        made["additionalProperties"] = False
    return made


class ResourceTests(SynchronousTestCase):
    """The files of deploy/test/acme-integration and deploy/test/certs."""

    issuers = ("clusterissuer-trust-authenticated.yaml", "clusterissuer-challenge.yaml")

    def test_schemas(self) -> None:
        """cert-manager v1.15.0 knows each member of them."""
        bundle = base64.b64encode((CERTS / "ca.crt").read_bytes()).decode()
        for file in self.issuers:
            jsonschema.validate(resource(file, bundle), schema("clusterissuers"))
        jsonschema.validate(resource("certificate-test.yaml"), schema("certificates"))

    def test_wrong_members_found(self) -> None:
        """A slip of the pen is found by the schemas."""
        wrong = resource("certificate-test.yaml")
        wrong["spec"]["dnsName"] = [NAME]
        with self.assertRaises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema("certificates"))

    def test_webhook(self) -> None:
        """What cert-manager's webhook asks beyond the schemas (internal/apis/certmanager/validation)."""
        for file in self.issuers:
            acme = resource(file, base64.b64encode((CERTS / "ca.crt").read_bytes()).decode())["spec"]["acme"]
            self.assertTrue(acme["privateKeySecretRef"]["name"] and acme["server"].startswith("https://"))
            self.assertNotIn("skipTLSVerify", acme)
            x509.load_pem_x509_certificates(base64.b64decode(acme["caBundle"]))
            for solver in acme["solvers"]:
                self.assertEqual([*solver], ["http01"])
                self.assertEqual([*solver["http01"]["ingress"]], ["ingressClassName"])
        spec = resource("certificate-test.yaml")["spec"]
        hours = {name: int(spec[name].removesuffix("h")) for name in ("duration", "renewBefore")}
        self.assertGreater(hours["renewBefore"] * 60, 5)
        self.assertLess(hours["renewBefore"], hours["duration"])
        self.assertEqual(spec["issuerRef"]["name"], resource(self.issuers[0])["metadata"]["name"])

    def test_placeholder(self) -> None:
        """An issuer whose bundle was forgotten is refused by the cluster: the placeholder is no base64."""
        for file in self.issuers:
            with self.assertRaises(binascii.Error):
                base64.b64decode(resource(file)["spec"]["acme"]["caBundle"], validate=True)

    def test_server(self) -> None:
        """The issuers name the service and the profile of the walkthrough's installation."""
        service = the(render(values_of(WALKTHROUGH)), "Service")
        port = service["spec"]["ports"][0]["port"]
        for file in self.issuers:
            url = resource(file)["spec"]["acme"]["server"]
            self.assertEqual(url, f"https://{SERVICE}:{port}/acme/profile/prof-test/directory")

    def test_bootstrap_certificates(self) -> None:
        """The server's is for the service's name, under the root, and says what it is for."""
        server = x509.load_pem_x509_certificate((CERTS / "server.crt").read_bytes())
        root = x509.load_pem_x509_certificate((CERTS / "ca.crt").read_bytes())
        server.verify_directly_issued_by(root)
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertIn(SERVICE, names.get_values_for_type(x509.DNSName))
        for each in (server, root):
            self.assertIn("TEST ONLY", each.subject.rfc4514_string())
        self.assertIn("For tests only", (CERTS / "README.md").read_text())

    def test_bootstrap_script(self) -> None:
        """The script makes such certificates anew, and keeps no key of the root."""
        place = Path(self.mktemp()).absolute()
        place.mkdir(parents=True)
        shutil.copy(CERTS / "make-certs.sh", place)
        run(place / "make-certs.sh").must_succeed()
        self.assertEqual(
            {each.name for each in place.iterdir()}, {"make-certs.sh", "ca.crt", "server.crt", "server.key"}
        )
        run("openssl", "verify", "-CAfile", place / "ca.crt", place / "server.crt").must_succeed()


@cache
def driver() -> Path:
    """The program that makes cert-manager's calls, built once."""
    go = shutil.which("go")
    if go is None:
        raise SkipTest("there is no Go here: https://go.dev")
    made = temporary("driver") / "driver"
    source = DATA / "certmanager-driver"
    command = (go, "build", "-C", source, "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", made, ".")
    run(*command, cwd=source, within=BUILDS_WITHIN).must_succeed()
    return made


class DriverTestCase(ChallengeTestCase):
    timeout = 1200

    def setUp(self) -> None:
        """Build the driver, or remember it."""
        self.driver = driver()
        self.home = self.path()

    def drive(self, server: RunningServer, *options: str) -> Ran:
        """Get a certificate as cert-manager does."""
        given = (f"--server={server.directory_url}", f"--ca={server.trust}", f"--out={self.home}")
        return run(self.driver, *given, "--email=ops@example.com", *options)

    def issued(self) -> x509.Certificate:
        """What would be tls.crt of the Secret: the leaf."""
        self.assertIn("PRIVATE KEY", (self.home / "tls.key").read_text())
        return x509.load_pem_x509_certificates((self.home / "tls.crt").read_bytes())[0]


class TrustTests(DriverTestCase):
    """An issuer whose profile trusts its accounts."""

    def test_first_and_renewal(self) -> None:
        """The order is ready at once, nothing is presented, and CN=test.example.com is in the certificate's names."""
        server = self.serve()
        said = self.drive(server).must_succeed().output.splitlines()
        self.assertTrue(said[0].startswith("Register: ") and said[0].endswith(" valid"), said[0])
        self.assertEqual(
            said[1:],
            [
                "AuthorizeOrder: ready",
                f"GetAuthorization: {NAME} valid",
                "GetOrder: ready",
                "CreateOrderCert: 2 certificates",
                "GetOrder: valid",
                "ListCertAlternates: 1",
            ],
        )
        names = self.issued().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), [NAME])
        first = self.issued().serial_number
        again = self.drive(server, "--email=new@example.com").must_succeed().output
        self.assertIn("Register: the account is there", again)
        self.assertIn("UpdateReg: [mailto:new@example.com]", again)
        self.assertNotEqual(self.issued().serial_number, first)
        self.assertEqual(server.rows("SELECT count(*) FROM acme_accounts"), [(1,)])

    def test_finalized_twice(self) -> None:
        """A controller that forgot that it finalized gets the same certificate."""
        said = self.drive(self.serve(), "--twice").must_succeed().output
        self.assertIn("CreateOrderCert again: the same certificate", said)

    def test_external_account_binding(self) -> None:
        """The account is bound when it is made; later it is found by its key alone, without a binding."""
        server = self.serve({"CERTCTL_ACME_SERVER_EAB_REQUIRED": "true"})
        refused = self.drive(server)
        self.assertEqual(refused.status, 1)
        self.assertIn("externalAccountRequired", refused.output)
        command = (PROGRAMS / "certctl", "eab", "create", "prof-default", "cluster", "--json")
        said = run(*command, env=server.settings).must_succeed().output
        made = json.loads(said[said.index("{") : said.rindex("}") + 1])
        bound = (f"--eab-kid={made['id']}", f"--eab-key={made['mac_key']}")
        self.drive(server, *bound).must_succeed()
        self.drive(server, *bound).must_succeed()
        self.assertEqual(server.rows("SELECT count(*) FROM acme_accounts"), [(1,)])

    def test_refused(self) -> None:
        """A name that the profile denies is a 4xx, which cert-manager takes for final."""
        server = self.serve()
        change = ("profile", "edit", "prof-default", "--set", 'policy.names.allow=["*.corp.example"]')
        run(PROGRAMS / "certctl", *change, env=server.settings).must_succeed()
        ran = self.drive(server)
        self.assertEqual(ran.status, 1)
        self.assertIn("AuthorizeOrder: 400 urn:ietf:params:acme:error:rejectedIdentifier", ran.output)


class ChallengeTests(DriverTestCase):
    """An issuer whose profile has names proved."""

    def test_http01(self) -> None:
        """The challenge is presented, accepted and waited for, and then the order is ready."""
        server = self.challenging(answer=lambda name, kind: [HOST] if (name, kind) == (NAME, "A") else [])
        said = self.drive(server, f"--http01={HOST}:{server.http_port}").must_succeed().output.splitlines()
        calls = [re.split(": |/", each)[0] + ": " + each.split(" ")[-1] for each in said]
        self.assertEqual(
            calls[1:3] + calls[4:8],
            [
                "AuthorizeOrder: pending",
                "GetAuthorization: pending",
                "Accept: processing",
                "WaitAuthorization: valid",
                "GetOrder: ready",
                "CreateOrderCert: certificates",
            ],
        )
        self.assertEqual(self.issued().subject.rfc4514_string(), f"CN={NAME}")

    def test_not_answered(self) -> None:
        """Where nothing answers, the authorization is invalid, and cert-manager is told why."""
        server = self.challenging(answer=lambda name, kind: [HOST] if kind == "A" else [])
        server.http_port += 1  # the driver answers where nobody asks
        ran = self.drive(server, f"--http01={HOST}:{server.http_port}")
        self.assertEqual(ran.status, 1)
        self.assertIn("WaitAuthorization: ", ran.output)
        self.assertIn("refused", ran.output)


FAKE = """#!/bin/sh
# Stands in for a program of a cluster: notes how it was called, and knows what was made before.
echo "$(basename "$0") $*" >>"$FAKE_STATE/calls"
case "$(basename "$0") $*" in
    "docker info"*) exit "${NO_DOCKER:-0}" ;;
    "kind get clusters") cat "$FAKE_STATE/cluster" 2>/dev/null || : ;;
    "kind create cluster"*) [ ! -e "$FAKE_STATE/cluster" ] || exit 1; echo certctl-test >"$FAKE_STATE/cluster" ;;
    *"get deployment cert-manager "*) cat "$FAKE_STATE/cert-manager" 2>/dev/null || : ;;
    "kubectl apply --filename https://"*) printf %s "${FAKE_VERSION:-v1.15.0}" >"$FAKE_STATE/cert-manager" ;;
    "kubectl apply --filename -") cat >"$FAKE_STATE/applied.yaml" ;;
    *"profile show prof-test") [ -e "$FAKE_STATE/profile" ] ;;
    *"profile create --id prof-test"*) [ ! -e "$FAKE_STATE/profile" ] || exit 6; touch "$FAKE_STATE/profile" ;;
    *"ca bundle --format base64") printf %s "$FAKE_BUNDLE" ;;
    *"get secret"*tls?.crt*) printf %s "$FAKE_BUNDLE" ;;
    *"get secret"*tls?.key*) printf %s a2V5 ;;
esac
"""


class ScriptTests(SynchronousTestCase):
    """The scripts of deploy/test/acme-integration, with programs in a cluster's place that note what they are asked."""

    def setUp(self) -> None:
        """Put the programs where the scripts find them before any others."""
        self.place = Path(self.mktemp()).absolute()
        for name in ("kubectl", "kind", "docker", "helm"):
            program = self.place / "bin" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(FAKE)
            program.chmod(0o755)
        self.bundle = base64.b64encode((CERTS / "ca.crt").read_bytes()).decode()

    def script(self, name: str, *arguments: str, **env: str) -> Ran:
        """Run a script among the programs."""
        path = f"{self.place / 'bin'}:{os.environ['PATH']}"
        none = str(self.place / "no-programs")  # of level controller, so that it is chosen nowhere
        given = {
            "PATH": path,
            "FAKE_STATE": str(self.place),
            "FAKE_BUNDLE": self.bundle,
            "CERT_MANAGER_PROGRAMS": none,
            **env,
        }
        return run(INTEGRATION / name, *arguments, env=given)

    def calls(self) -> list[str]:
        """What the programs were asked since the last time."""
        file = self.place / "calls"
        found = file.read_text().splitlines()
        file.unlink()
        return found

    def test_shellcheck(self) -> None:
        """Debian's shellcheck has nothing to say about any script below deploy/."""
        if not shutil.which("shellcheck"):
            raise SkipTest("shellcheck is not installed (Debian: shellcheck)")
        found = [*sorted((CHECKOUT / "deploy").rglob("*.sh"))]
        found += [CHECKOUT / "deploy/debian" / each for each in ("postinst", "prerm", "postrm")]
        run("shellcheck", *found).must_succeed()

    def test_install(self) -> None:
        """cert-manager is installed once; a second run waits for what is there."""
        self.assertIn("v1.15.0 is ready", self.script("cert-manager-install.sh").must_succeed().output)
        applied = [each for each in self.calls() if " apply " in each]
        self.assertEqual(len(applied), 1)
        self.assertIn("/v1.15.0/cert-manager.yaml", applied[0])
        self.assertIn("v1.15.0 is there", self.script("cert-manager-install.sh").must_succeed().output)
        again = self.calls()
        self.assertEqual([each for each in again if " apply " in each], [])
        self.assertEqual(sum("rollout status" in each for each in again), 3)

    def test_other_version(self) -> None:
        """Another version that is there is left alone."""
        (self.place / "cert-manager").write_text("v1.14.0")
        self.assertEqual(self.script("cert-manager-install.sh").status, 1)
        self.assertEqual([each for each in self.calls() if " apply " in each], [])

    def test_kind(self) -> None:
        """The whole way in a cluster, and once more in the same cluster."""
        first = self.script("cert-manager-test.sh").must_succeed().output
        self.assertIn("level kind", first)
        self.assertIn("the Secret test-tls has tls.crt and tls.key", first)
        made = self.calls()
        applied = yaml.safe_load((self.place / "applied.yaml").read_text())
        self.assertEqual(applied["spec"]["acme"]["caBundle"], self.bundle)
        installed = next(each for each in made if each.startswith("helm "))
        self.assertEqual(values_of(installed), values_of(WALKTHROUGH))
        self.script("cert-manager-test.sh").must_succeed()
        again = self.calls()
        for words in ("kind create", "profile create", "cert-manager.yaml"):
            self.assertTrue(any(words in each for each in made), words)
            self.assertFalse(any(words in each for each in again), words)

    def test_levels(self) -> None:
        """Without Docker's engine the level is another one, and says so; what cannot be asked for is refused."""
        refused = self.script("cert-manager-test.sh", "kind", NO_DOCKER="1")
        self.assertEqual(refused.status, 1)
        self.assertIn("needs a running Docker engine", refused.output)
        self.assertEqual(self.script("cert-manager-test.sh", "other").status, 2)
        if not shutil.which("go", path="/usr/bin:/bin"):
            path = f"{self.place / 'bin'}:/usr/bin:/bin"
            nothing = self.script("cert-manager-test.sh", NO_DOCKER="1", PATH=path)
            self.assertEqual(nothing.status, 1)
            self.assertIn("nothing was tested", nothing.output)

    def test_conformance(self) -> None:
        """The conformance script finds no fault with this server, and says each step."""
        if not shutil.which("lego"):
            raise SkipTest("lego is not installed (Debian: lego)")
        path = f"{PROGRAMS}:{os.environ['PATH']}"
        port = str(free_port())
        env = {"PATH": path, "CERTCTL_SERVER_PORT": port}
        ran = run(INTEGRATION / "conformance-lego.sh", env=env, within=240).must_succeed()
        self.assertEqual([each for each in ran.output.splitlines() if not each.startswith("ok ")], [_GOOD])
        self.assertGreater(ran.output.count("ok "), 12)

    def test_conformance_finds_faults(self) -> None:
        """A server that is not there is a fault in each step."""
        root = str(CERTS / "ca.crt")
        ran = run(INTEGRATION / "conformance-lego.sh", f"https://{HOST}:9/directory", root)
        self.assertEqual(ran.status, 1)
        self.assertIn("some steps FAILED", ran.output)

    def test_load(self) -> None:
        """The load scenario runs against a server, and every certificate is what was asked for."""
        with RunningServer(self.place / "server") as server:
            arguments = (server.directory_url, str(server.trust), "2", "20")
            ran = run(INTEGRATION / "load.sh", *arguments, env={"PYTHON": sys.executable}, within=120)
        self.assertIn("20", ran.must_succeed().output)


_GOOD = "conformance: all steps are ok"
