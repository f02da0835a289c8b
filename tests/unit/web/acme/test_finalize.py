"""Finalizing orders (RFC 8555 section 7.4)."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from certctl.issuance.issuer import IssuerUnavailable
from tests.acme_client import b64, make_csr
from tests.unit.web.bench import JOSE, Bench, BenchCase, FarIssuer
from tests.unit.web.wire import Exchange, Response

NAMES = ("www.example.org", "example.org")


class FinalizeTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()

    def test_certificate(self) -> None:
        """Section 7.4: a good CSR makes the order valid, with the URL of the certificate and nothing lost."""
        order = self.client.order(*NAMES)
        _, csr = make_csr(NAMES)
        done = self.client.finalize(order, csr)
        self.assertEqual((done.status, done.location), (200, order.location))
        url = done.json["certificate"]
        self.assertTrue(url.startswith(f"{self.client.base}/certificate/"))
        self.assertEqual(done.json, {**order.json, "status": "valid", "certificate": url})
        self.assertEqual(self.client.see(order.location), done.json)

    def test_repeated(self) -> None:
        """Who polls by repeating the request gets the order; with another key it is orderNotReady."""
        issued = self.client.issue(*NAMES)
        again = self.client.finalize(issued.order, issued.csr)
        self.assertEqual((again.status, again.json["certificate"]), (200, issued.url))
        _, resigned = make_csr(NAMES, key=issued.key)
        again = self.client.finalize(issued.order, resigned)
        self.assertEqual((again.status, again.json["certificate"]), (200, issued.url))
        _, other = make_csr(NAMES)
        self.assertProblem(self.client.finalize(issued.order, other), "orderNotReady", 403)
        self.assertEqual(self.bench.value("SELECT count(*) FROM certificate_versions"), 1)

    def test_pending(self) -> None:
        """Section 7.4: an order that is not ready is orderNotReady, 403, whatever the CSR is."""
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'challenge'")
        order = self.client.order(*NAMES)
        _, csr = make_csr(NAMES)
        self.assertProblem(self.client.finalize(order, csr), "orderNotReady", 403)
        self.assertEqual(self.client.see(order.location)["status"], "pending")

    def test_another_account(self) -> None:
        """An order is finalized and seen by its account alone."""
        order = self.client.order(*NAMES)
        stranger = self.bench.account()
        _, csr = make_csr(NAMES)
        self.assertProblem(stranger.finalize(order, csr), "malformed", 404)
        self.assertProblem(stranger.read(order.location), "malformed", 404)
        self.assertEqual(self.client.see(order.location)["status"], "ready")

    def test_no_csr(self) -> None:
        """Section 7.4: the payload has a CSR."""
        order = self.client.order(*NAMES)
        payloads: tuple[Any, ...] = ({}, {"csr": None}, {"csr": 1}, {"csr": [""]})
        for payload in payloads:
            self.assertProblem(self.client.post(order.json["finalize"], payload), "malformed", 400)

    def test_csrs_that_are_refused(self) -> None:
        """Section 7.4: a CSR that is not exactly the order's is badCSR, and the order stays ready."""
        order = self.client.order(*NAMES)
        evil = "www.evil.example"
        cases = {
            "a name more": make_csr([*NAMES, evil])[1],
            "a name less": make_csr(NAMES[:1])[1],
            "other names": make_csr([evil, "evil.example"])[1],
            "no name": make_csr([])[1],
            "the CN another": make_csr(NAMES, cn=evil)[1],
            "the CN with a NUL": make_csr(NAMES, cn=f"{NAMES[0]}\0.{evil}")[1],
            "the CN a list": make_csr(NAMES, cn=f"{NAMES[0]},{evil}")[1],
            "the CN a homograph": make_csr(NAMES, cn="www.ex\u0430mple.org")[1],
            "the CN a wildcard over the names": make_csr(NAMES, cn="*.example.org")[1],
            "an address more": make_csr([*NAMES, "10.1.2.3"])[1],
            "a CA": make_csr(NAMES, extensions=[x509.BasicConstraints(ca=True, path_length=None)])[1],
            "must-staple": make_csr(
                NAMES, extensions=[x509.TLSFeature([x509.TLSFeatureType.status_request])]
            )[1],
            "the account's key": make_csr(NAMES, key=self._account_key())[1],
            "a weak key": make_csr(NAMES, key=rsa.generate_private_key(65537, 1024))[1],
            "another signature": self._forged(),
            "nothing": b"",
            "garbage": b"0\x82\xff\xff",
            "cut off": make_csr(NAMES)[1][:-20],
        }
        for name, csr in cases.items():
            refused = self.client.finalize(order, csr)
            self.assertEqual((refused.error, refused.status), ("badCSR", 400), (name, refused.body))
            self.assertEqual(self.client.see(order.location)["status"], "ready", name)
        self.assertEqual(self.bench.value("SELECT count(*) FROM certificate_versions"), 0)
        self.assertEqual(self.client.finalize(order, make_csr(NAMES)[1]).status, 200)

    def _forged(self) -> bytes:
        _, csr = make_csr(NAMES)
        return csr[:-1] + bytes([csr[-1] ^ 1])

    def _account_key(self) -> ec.EllipticCurvePrivateKey:
        key = self.client.signer.key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def test_csrs_that_are_good(self) -> None:
        """The CN may be one of the order's names, stand alone for it, or be in other case; keys of all kinds."""
        keys = (
            ec.generate_private_key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate(),
        )
        csrs = [
            make_csr(NAMES, cn=NAMES[0])[1],
            make_csr(NAMES[1:], cn=NAMES[0])[1],
            make_csr(NAMES, cn="WWW.Example.Org")[1],
            make_csr(reversed(NAMES))[1],
            *(make_csr(NAMES, key=key)[1] for key in keys),
        ]
        for csr in csrs:
            done = self.client.finalize(self.client.order(*NAMES), csr)
            self.assertEqual(done.status, 200, done.body)
            leaf = x509.load_pem_x509_certificates(self.client.read(done.json["certificate"]).body)[0]
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            self.assertEqual(names.get_values_for_type(x509.DNSName), list(NAMES))

    def test_nothing_is_copied_from_the_csr(self) -> None:
        """Subject and extensions are the server's own, whatever the CSR asks for."""
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        order = self.client.order(*NAMES)
        done = self.client.finalize(order, make_csr(NAMES, cn=NAMES[0], extensions=[usage])[1])
        leaf = x509.load_pem_x509_certificates(self.client.read(done.json["certificate"]).body)[0]
        found = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(found), [ExtendedKeyUsageOID.SERVER_AUTH])
        self.assertEqual(leaf.subject.rfc4514_string(), f"CN={NAMES[0]}")


class FarIssuerTests(BenchCase):
    """Between the judgement and the certificate other requests come in."""

    def setUp(self) -> None:
        self.issuer = FarIssuer()
        self.bench = Bench(self, issuer=self.issuer)
        self.client = self.bench.account()
        self.order = self.client.order(*NAMES)

    def begin(self, csr: bytes) -> Exchange:
        """Ask for the certificate, and leave the issuer waiting."""
        url = self.order.json["finalize"]
        return self.bench.begin("POST", url, self.client.signed(url, {"csr": b64(csr)}), JOSE)

    def sign(self) -> None:
        """Let the issuer sign all that it was asked for."""
        while self.issuer.waiting:
            self.issuer.waiting.pop().callback(None)

    def ended(self, *exchanges: Exchange) -> list[Response]:
        """Return the answers, after the issuer has signed."""
        self.assertEqual([each.answered for each in exchanges], [False] * len(exchanges))
        self.sign()
        self.assertEqual(self.bench.value("SELECT count(*) FROM certificate_versions"), 1)
        self.assertEqual(
            self.bench.value("SELECT count(*) FROM audit_events WHERE action = 'acme_order_finalized'"), 1
        )
        return [each.response for each in exchanges]

    def test_twice_at_once(self) -> None:
        """Two requests with one CSR give one certificate, and both answers name it."""
        _, csr = make_csr(NAMES)
        first, second = self.ended(self.begin(csr), self.begin(csr))
        self.assertEqual([first.status, second.status], [200, 200])
        self.assertEqual(first.json, second.json)
        self.assertIn("certificate", first.json)

    def test_two_keys_at_once(self) -> None:
        """Of two requests with different keys one gets its certificate, and the other is orderNotReady."""
        answers = self.ended(self.begin(make_csr(NAMES)[1]), self.begin(make_csr(NAMES)[1]))
        self.assertEqual(sorted(each.error for each in answers), ["", "orderNotReady"])

    def test_client_gone_certificate_still_issued(self) -> None:
        """A disconnect during finalize does not stop the issuance."""
        exchange = self.begin(make_csr(NAMES)[1])
        exchange.disconnect()
        self.assertEqual(len(self.bench.parts.background), 1)
        self.sign()
        self.assertEqual(len(self.bench.parts.background), 0)
        self.assertEqual(self.client.see(self.order.location)["status"], "valid")

    def test_authorization_given_up_meanwhile(self) -> None:
        """An order that was lost while the issuer signed gets no certificate."""
        exchange = self.begin(make_csr(NAMES)[1])
        url = self.order.json["authorizations"][0]
        self.assertEqual(self.client.post(url, {"status": "deactivated"}).status, 200)
        self.sign()
        self.assertProblem(exchange.response, "orderNotReady", 403)
        self.assertEqual(self.bench.value("SELECT count(*) FROM certificate_versions"), 0)

    def test_issuer_that_cannot_sign_now(self) -> None:
        """An issuer that does not answer is 503 with Retry-After; the order stays ready."""
        exchange = self.begin(make_csr(NAMES)[1])
        self.issuer.waiting.pop().errback(IssuerUnavailable("10.0.0.9 refused"))
        self.assertProblem(exchange.response, "serverInternal", 503)
        self.assertEqual(exchange.response.one("Retry-After"), "10")
        self.assertNotIn(b"10.0.0.9", exchange.response.body)
        self.assertEqual(self.client.see(self.order.location)["status"], "ready")

    def test_issuer_that_fails(self) -> None:
        """What nobody foresaw is a 500 without internals; the log has them, and the order stays ready."""
        exchange = self.begin(make_csr(NAMES)[1])
        self.issuer.waiting.pop().errback(ZeroDivisionError("key material"))
        self.assertProblem(exchange.response, "serverInternal", 500)
        self.assertNotIn(b"key material", exchange.response.body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.client.see(self.order.location)["status"], "ready")
        exchange = self.begin(make_csr(NAMES)[1])
        self.sign()
        self.assertEqual(exchange.response.status, 200)
