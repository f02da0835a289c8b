"""The REST API as its clients meet it: curl, and whoever reads the OpenAPI document."""

from __future__ import annotations

import json
import os
import re
import sys

from tests.integration.acme import Session
from tests.integration.postgres import TEMPLATE, shared
from tests.integration.server import CHECKOUT, PROGRAMS, Ran, ServerTestCase, run

ADMIN = "admin-key-of-the-tests"
SETTINGS = {
    "CERTCTL_API_KEYS_NAMED": f"admin:{ADMIN}:admin",
    "CERTCTL_API_REQUESTS_PER_MINUTE": "0",
    "CERTCTL_ACME_SERVER_DEFAULT_AUTH_MODE": "trust_authenticated",
}
# schemathesis chooses its examples anew each time, unless this names a seed.
SEED = os.environ.get("SCHEMATHESIS_SEED", "")
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "25")
SECONDS = os.environ.get("SCHEMATHESIS_SECONDS", "25")
# What is schema-valid may still be refused: an issuer that is not there, a time that has passed, another If-Match. And
# what is not may be refused for its size first.
CONFIGURATION = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404", "409", "412", "413"]
negative_data_rejection.expected-statuses = ["400", "403", "404", "405", "409", "412", "413", "415"]
"""
# DELETE of a key revokes it: it is there still, and nothing can be done with it. Wrong keys are sent in a run of their
# own: who sends too many has to wait, with good ones as well.
NOT_HERE = "use_after_free,ignored_auth"
WALKTHROUGH = {
    "id": "prof-test",
    "name": "ACME test",
    "issuer_id": "iss-internal-ca",
    "max_ttl_seconds": 7776000,
    "acme_auth_mode": "trust_authenticated",
}


class ApiCase(ServerTestCase):
    """A server with an API key."""

    def setUp(self) -> None:
        self.server = self.serve({**SETTINGS, **self.database()})

    def database(self) -> dict[str, str]:
        """The settings of the database: none, for the embedded one."""
        return {}

    def curl(self, path: str, *arguments: str, key: str = ADMIN) -> Ran:
        """Ask the API by curl; what is returned is the body, and the status on a line of its own."""
        given = ("-sS", "--cacert", str(self.server.trust), "-w", "\n%{http_code}")
        bearer = ("-H", f"Authorization: Bearer {key}")
        return run("curl", *given, *bearer, *arguments, f"{self.server.url}/api/{path}").must_succeed()

    def ask(self, path: str, *arguments: str, status: int = 200) -> dict[str, object]:
        """Ask the API by curl for what must succeed, and return its document."""
        body, _, code = self.curl(path, *arguments).output.rpartition("\n")
        self.assertEqual(code, str(status), body)
        return dict(json.loads(body)) if body else {}

    def _fill(self) -> None:
        """Put something into the database that may be found."""
        sent = ("-X", "POST", "-H", "Content-Type: application/json", "-d")
        self.ask("profiles", *sent, json.dumps(WALKTHROUGH), status=201)
        self.reader = str(
            self.ask("keys", *sent, json.dumps({"name": "reader", "role": "read-only"}), status=201)["key"]
        )
        bound = {"profile_id": "prof-test", "name": "team"}
        self.ask("eab-keys", *sent, json.dumps(bound), status=201)
        session = Session(self.server)
        session.register()
        for number in range(5):
            session.certificate(f"h{number}.corp.example", f"www{number}.corp.example")

    def _schemathesis(self, key: str, *arguments: str) -> None:
        """Run it to its end, where it must have found nothing."""
        directory = self.path()
        (directory / "schemathesis.toml").write_text(CONFIGURATION)
        ran = run(
            *(PROGRAMS / "schemathesis", "run", f"{self.server.url}/api/openapi.json"),
            *("--header", f"Authorization: Bearer {key}", "--tls-verify", str(self.server.trust)),
            *("--max-examples", EXAMPLES, "--max-time", SECONDS, "--continue-on-failure"),
            *(("--seed", SEED) if SEED else ()),
            *arguments,
            cwd=directory,
            env={"PYTHONWARNINGS": "ignore", "COLUMNS": "120"},
            within=400,
        )
        summary = ran.output[ran.output.rfind("= SUMMARY =") :]
        if os.environ.get("SCHEMATHESIS_SHOW"):
            print(summary, file=sys.stderr)
        self.assertEqual(ran.status, 0, ran.output[-20000:])


class CurlTests(ApiCase):
    def test_walkthrough(self) -> None:
        """The walkthrough's call makes the profile with all that it names, and ACME serves it at once."""
        sent = ("-X", "POST", "-d", json.dumps(WALKTHROUGH))
        made = self.ask("profiles", *sent, "-H", "Content-Type: application/json", status=201)
        self.assertEqual({name: made[name] for name in WALKTHROUGH}, WALKTHROUGH)
        columns = ", ".join(WALKTHROUGH)
        stored = self.server.rows(f"SELECT {columns} FROM certificate_profiles WHERE id = 'prof-test'")
        self.assertEqual(stored, [tuple(WALKTHROUGH.values())])
        served = run("curl", "-sS", "--cacert", self.server.trust, str(made["directory_url"])).must_succeed()
        self.assertIn("/acme/profile/prof-test/new-order", served.output)

    def test_without_content_type(self) -> None:
        """What curl -d calls a form is refused with the header that is missing."""
        body, _, code = self.curl("profiles", "-d", json.dumps(WALKTHROUGH)).output.rpartition("\n")
        self.assertEqual(code, "415")
        self.assertIn("-H 'Content-Type: application/json'", json.loads(body)["message"])


class PageTests(ApiCase):
    """docs/api.md."""

    def test_examples(self) -> None:
        """Every example of the page does what the page says, one after another."""
        self._fill()
        text = (CHECKOUT / "docs/api.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        (directory := self.path()).joinpath("root-ca.pem").write_bytes(self.server.trust.read_bytes())
        first = blocks[0].replace("https://certctl.example:8443", self.server.url).replace("the-key", ADMIN)
        script = directory / "examples.sh"
        script.write_text("set -eux\n" + first + "".join(blocks[1:]))
        ids = {
            name: str(self.server.rows(f"SELECT max(id) FROM {table}")[0][0])
            for name, table in (
                ("ACCOUNT", "acme_accounts"),
                ("ORDER", "acme_orders"),
                ("CERTIFICATE", "certificate_versions"),
                ("EAB_KEY", "eab_keys"),
                ("API_KEY_ID", "api_keys"),
            )
        }
        ran = run("sh", script, cwd=directory, env=ids).must_succeed()
        self.assertGreater(ran.output.count("+ api "), 25)
        self.assertIn(b"BEGIN CERTIFICATE", (directory / "chain.pem").read_bytes())
        self.assertIn(b"certificates_revoked", (directory / "audit.csv").read_bytes())


class DescribedTests(ApiCase):
    """schemathesis, which reads the document and tries what it allows, and what it does not."""

    def setUp(self) -> None:
        super().setUp()
        self._fill()

    def test_admin(self) -> None:
        """Whatever an admin sends, the answer is one that the document tells."""
        self._schemathesis(ADMIN, "--checks", "all", "--exclude-checks", NOT_HERE)

    def test_reader(self) -> None:
        """The same with a key that may only read: what it may not do is refused, and nothing is changed."""
        before = self.server.rows("SELECT max(id) FROM audit_events WHERE actor LIKE 'api-key:%'")
        self._schemathesis(self.reader, "--checks", "all", "--exclude-checks", NOT_HERE)
        after = self.server.rows("SELECT max(id) FROM audit_events WHERE actor LIKE 'api-key:%'")
        self.assertEqual(after, before)

    def test_wrong_keys(self) -> None:
        """No operation answers who sends no key, or a wrong one."""
        self._schemathesis(ADMIN, "--checks", "ignored_auth", "--phases", "coverage")


class DescribedOnPostgresTests(ApiCase):
    """The same queries, on the engine that is strict about types."""

    def database(self) -> dict[str, str]:
        return {"CERTCTL_DATABASE_URL": shared().database("rest_api", TEMPLATE)}

    def test_admin(self) -> None:
        """Whatever an admin sends, the answer is one that the document tells."""
        self._fill()
        self._schemathesis(ADMIN, "--checks", "all", "--exclude-checks", NOT_HERE)
