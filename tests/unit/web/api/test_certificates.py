from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from certctl.authority import withdrawal
from tests.unit.web.api.cases import ApiCase
from tests.unit.web.bench import ISSUER


class CertificateCase(ApiCase):
    """An account with certificates."""

    NAMES: tuple[tuple[str, ...], ...] = (
        ("a.example",),
        ("*.corp.example", "corp.example"),
        ("x.corp.example", "192.0.2.1"),
    )

    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()
        self.issued = []
        for names in self.NAMES:
            self.issued.append(self.client.issue(*names))
            self.bench.pass_by(hours=1)
        self.ids = [each.url.rpartition("/")[2] for each in self.issued]

    def found(self, query: str) -> list[str]:
        """Return the first names of what is found."""
        return [each["names"][0]["value"] for each in self.ok("GET", f"certificates?{query}")["data"]]


class SearchTests(CertificateCase):
    def test_by_name(self) -> None:
        """A name finds its certificates, and an asterisk all below."""
        for query, names in (
            ("", ["x.corp.example", "*.corp.example", "a.example"]),
            ("name=a.example", ["a.example"]),
            ("name=A.EXAMPLE.", ["a.example"]),
            ("name=192.0.2.1", ["x.corp.example"]),
            ("name=*.corp.example", ["x.corp.example", "*.corp.example"]),
            ("name=*.example", ["x.corp.example", "*.corp.example", "a.example"]),
            ("name=corp.example", ["*.corp.example"]),
            ("name=orp.example", []),
        ):
            self.assertEqual(self.found(query), names, query)
        for name in ("*", "*.", "a..b", "a%25", "x*"):
            response = self.call("GET", f"certificates?name={name}")
            self.assertRefused(response, 400, "invalid_request", "name")

    def test_by_serial(self) -> None:
        """A serial is found however it is written."""
        serial = f"{self.issued[0].chain[0].serial_number:x}"
        pairs = serial.rjust(len(serial) + len(serial) % 2, "0")
        colons = ":".join(pairs[at : at + 2] for at in range(0, len(pairs), 2))
        for text in (serial, serial.upper(), f"00{serial}", f"0x{serial}", colons.upper()):
            self.assertEqual(self.found(f"serial={text}"), ["a.example"], text)
        self.assertEqual(self.found("serial=1"), [])
        self.assertRefused(self.call("GET", "certificates?serial=xyz"), 400, "invalid_request", "serial")

    def test_by_the_rest(self) -> None:
        """Every other filter narrows what is found."""
        self.ok("POST", f"certificates/{self.ids[0]}/revoke", {})
        for query, count in (
            ("status=revoked", 1),
            ("status=valid", 2),
            ("status=expired", 0),
            (f"account_id={self.client.id}&profile_id=prof-default&issuer_id={ISSUER}", 3),
            ("account_id=none", 0),
            ("profile_id=none", 0),
            ("issuer_id=none", 0),
            ("expires_after=2126-05-17T12:00:00Z", 0),
            ("expires_before=2126-05-17T12:00:00Z", 3),
            ("status=valid&name=*.example", 2),
        ):
            self.assertEqual(len(self.found(query)), count, query)
        self.bench.pass_by(days=91)
        self.assertEqual(len(self.found("status=expired")), 2)

    def test_cursor(self) -> None:
        """A walk sees each once, whatever is issued meanwhile."""
        first = self.ok("GET", "certificates?per_page=2")
        self.client.issue("late.example")
        second = self.ok("GET", f"certificates?per_page=2&cursor={first['next_cursor']}")
        seen = [each["id"] for each in first["data"] + second["data"]]
        self.assertEqual(seen, list(reversed(self.ids)))


class OneTests(CertificateCase):
    def test_decoded(self) -> None:
        """A certificate is shown with what is in it."""
        shown = self.ok("GET", f"certificates/{self.ids[2]}")
        leaf = self.issued[2].chain[0]
        self.assertEqual(x509.load_pem_x509_certificate(shown["certificate"].encode()), leaf)
        decoded = shown["decoded"]
        self.assertEqual(decoded["subject_alternative_names"], ["x.corp.example", "192.0.2.1"])
        self.assertEqual(decoded["extended_key_usages"], ["serverAuth"])
        self.assertEqual(decoded["key"]["algorithm"], "EC secp256r1")
        self.assertEqual(decoded["serial"], shown["serial"])
        self.assertRegex(decoded["sha256"], r"\A[0-9a-f]{64}\Z")
        self.assertEqual((shown["status"], shown["newest"], shown["replaced_by"]), ("valid", True, None))

    def test_replaced(self) -> None:
        """A renewed certificate names the one that took its place."""
        newer = self.client.issue("a.example").url.rpartition("/")[2]
        shown = self.ok("GET", f"certificates/{self.ids[0]}")
        self.assertEqual((shown["newest"], shown["replaced_by"]), (False, newer))

    def test_download(self) -> None:
        """A certificate comes in each form, with its chain where that is asked for."""
        leaf, above = self.issued[0].chain[0], self.issued[0].chain[1:]
        path = f"certificates/{self.ids[0]}/download"

        def get(form: str) -> bytes:
            response = self.call("GET", f"{path}?format={form}")
            self.assertEqual(response.status, 200)
            self.assertIn("attachment", response.one("Content-Disposition"))
            return response.body

        self.assertEqual(x509.load_pem_x509_certificates(get("pem")), [leaf])
        self.assertEqual(x509.load_pem_x509_certificates(get("chain")), [leaf, *above])
        self.assertEqual(get("der"), leaf.public_bytes(Encoding.DER))
        self.assertCountEqual(pkcs7.load_der_pkcs7_certificates(get("pkcs7")), [leaf, *above])
        self.assertRefused(self.call("GET", f"{path}?format=jks"), 400, "invalid_request", "format")
        self.assertRefused(self.call("GET", "certificates/x/download"), 404, "not_found")

    def test_revoke(self) -> None:
        """A certificate is revoked once, for a reason, in the name of the key."""
        path = f"certificates/{self.ids[0]}/revoke"
        shown = self.ok("POST", path, {"reason": "keyCompromise"}, key="worker-key")
        self.assertEqual((shown["status"], shown["revocation_reason"]), ("revoked", "keyCompromise"))
        self.assertIn(("api-key:worker", "certificate_revoked"), self.actions())
        self.assertRefused(self.call("POST", path, {}), 409, "conflict", "before")
        self.assertRefused(self.call("POST", path, {"reason": "mood"}), 400, "invalid_request", "reason")
        self.assertRefused(self.call("POST", "certificates/x/revoke", {}), 404, "not_found")


class BulkTests(CertificateCase):
    NAMES = (*((f"n{number}.corp.example",) for number in range(7)), ("a.example",))

    def revoke(self, **asked: object) -> dict[str, object]:
        """Revoke many, and return the answer."""
        return dict(self.ok("POST", "certificates/revoke", asked, key="worker-key"))

    def revoked(self) -> int:
        """Return how many certificates are revoked."""
        return int(self.bench.value("SELECT count(*) FROM certificate_versions WHERE revoked_at IS NOT NULL"))

    def test_dry_run(self) -> None:
        """By default nothing is revoked, and it is said what would be."""
        answer = self.revoke(filter={"name": "*.corp.example"})
        self.assertEqual((answer["dry_run"], answer["total"], answer["revoked"]), (True, 7, 0))
        data = answer["data"]
        assert isinstance(data, list)
        self.assertEqual(len(data), 7)
        self.assertEqual(self.revoked(), 0)

    def test_bulk(self) -> None:
        """All that a filter finds are revoked, in transactions of a bounded size; once more finds none."""
        self.patch(withdrawal, "BATCH", 3)
        asked = {"filter": {"name": "*.corp.example"}, "reason": "superseded", "dry_run": False}
        self.assertEqual(self.revoke(**asked)["revoked"], 7)
        self.assertEqual(self.revoked(), 7)
        actions = [action for _, action in self.actions()]
        self.assertEqual(actions.count("certificate_revoked"), 7)
        self.assertEqual(actions.count("certificates_revoked"), 1)
        details = self.bench.value("SELECT details FROM audit_events WHERE action = 'certificates_revoked'")
        self.assertEqual(details, {"filter": {"name": "*.corp.example"}, "found": 7, "reason": "superseded"})
        self.assertEqual(self.revoke(**asked)["revoked"], 0)
        self.assertEqual([action for _, action in self.actions()], actions)

    def test_revoked_before(self) -> None:
        """What is revoked already is left as it is."""
        self.ok("POST", f"certificates/{self.ids[0]}/revoke", {"reason": "keyCompromise"})
        self.assertEqual(self.revoke(filter={"account_id": self.client.id}, dry_run=False)["revoked"], 7)
        shown = self.ok("GET", f"certificates/{self.ids[0]}")
        self.assertEqual(shown["revocation_reason"], "keyCompromise")

    def test_empty_filter(self) -> None:
        """An empty filter would be every certificate, and is refused."""
        bodies: list[dict[str, object]] = [{"filter": {}}, {"filter": {}, "dry_run": False}, {}]
        for body in (*bodies, {"filter": {"colour": "red"}}):
            response = self.call("POST", "certificates/revoke", body)
            self.assertRefused(response, 400, "invalid_request", "filter" if body != {} else "")
        self.assertEqual(self.revoked(), 0)
