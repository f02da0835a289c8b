"""Revocation (RFC 8555 section 7.6)."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.acme.objects import AuthMode
from tests.acme_client import Signer, b64, make_csr
from tests.unit.web.bench import BenchCase, Client


class RevocationTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()
        self.issued = self.client.issue("www.example.org")

    def revoked(self) -> list[tuple[Any, Any]]:
        """Return what the database says of each certificate's revocation."""
        return self.bench.rows("SELECT revocation_reason, revoked_at IS NOT NULL FROM certificate_versions")

    def test_by_its_account(self) -> None:
        """Section 7.6: the account that got the certificate revokes it; the answer is 200 and empty."""
        response = self.client.revoke(self.issued.der, reason=4)
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(self.revoked(), [(4, 1)])

    def test_without_a_reason(self) -> None:
        """Section 7.6: the reason may be left out."""
        self.assertEqual(self.client.revoke(self.issued.der).status, 200)
        self.assertEqual(self.revoked(), [(0, 1)])

    def test_by_its_key(self) -> None:
        """Section 7.6: who has the certificate's key revokes it without an account."""
        holder = self.bench.client(signer=Signer("ES256", self.issued.key))
        self.assertEqual(holder.revoke(self.issued.der, reason=1).status, 200)
        self.assertEqual(self.revoked(), [(1, 1)])
        actor = self.bench.value("SELECT actor FROM audit_events WHERE action = 'certificate_revoked'")
        self.assertEqual(actor, f"acme-cert-key:{self.issued.chain[0].serial_number:x}")

    def test_by_another_key(self) -> None:
        """Another key revokes nothing: neither a stranger's nor that of another certificate."""
        other = self.client.issue("www.example.org")
        for key in (ec.generate_private_key(ec.SECP256R1()), other.key):
            holder = self.bench.client(signer=Signer("ES256", key))
            self.assertProblem(holder.revoke(self.issued.der), "unauthorized", 403)
        self.assertEqual(self.revoked(), [(None, 0), (None, 0)])

    def test_by_the_accounts_key_without_the_account(self) -> None:
        """The account's key sent along as jwk is judged as a certificate's key, which it is not."""
        refused = self.client.post("revoke-cert", {"certificate": b64(self.issued.der)}, kid=None)
        self.assertProblem(refused, "unauthorized", 403)

    def test_by_another_account_in_trust_mode(self) -> None:
        """By trust any account holds any name, so holding the authorization proves nothing."""
        stranger = self.bench.account()
        stranger.issue("www.example.org")
        self.assertProblem(stranger.revoke(self.issued.der), "unauthorized", 403)
        self.assertEqual(self.client.revoke(self.issued.der).status, 200)

    def test_twice(self) -> None:
        """Section 7.6: a certificate that was revoked is alreadyRevoked, and keeps its first reason."""
        self.client.revoke(self.issued.der, reason=1)
        self.bench.pass_by(hours=1)
        self.assertProblem(self.client.revoke(self.issued.der, reason=4), "alreadyRevoked", 400)
        self.assertEqual(self.revoked(), [(1, 1)])

    def test_reasons(self) -> None:
        """Section 7.6: the codes of RFC 5280 that a subscriber may give; any other is badRevocationReason."""
        bad: tuple[Any, ...] = (2, 6, 7, 8, 10, 11, -1, 256, "1", True, 1.5, [1], None)
        for reason in bad:
            refused = self.client.revoke(self.issued.der, reason=reason)
            self.assertProblem(refused, "badRevocationReason", 400)
            self.assertIn("keyCompromise", refused.json["detail"])
        self.assertEqual(self.revoked(), [(None, 0)])
        for reason in (0, 1, 3, 4, 5, 9):
            issued = self.client.issue("www.example.org")
            self.assertEqual(self.client.revoke(issued.der, reason=reason).status, 200)

    def test_another_certificate_of_the_same_serial(self) -> None:
        """What is judged is what is revoked: a certificate that differs in one octet is not ours."""
        der = self.issued.der
        tampered = (
            der[:-1] + bytes([der[-1] ^ 1]),
            der.replace(b"www.example.org", b"www.example.com"),
            der + b"\0",
        )
        for each in tampered:
            refused = self.client.revoke(each)
            self.assertEqual(refused.error, "malformed")
            self.assertIn(refused.status, (400, 404))
        self.assertEqual(self.revoked(), [(None, 0)])

    def test_certificates_of_others(self) -> None:
        """A certificate that this profile has not issued is 404, the CA's own among them."""
        self.bench.add_profile("prof-other")
        other = Client(self.bench, "prof-other", self.client.signer)
        other.register()
        self.assertProblem(other.revoke(self.issued.der), "malformed", 404)
        foreign = self.served().account().issue("www.example.org")
        self.assertProblem(self.client.revoke(foreign.der), "malformed", 404)
        issuing = self.issued.chain[1]
        self.assertProblem(self.client.revoke(issuing.public_bytes(Encoding.DER)), "malformed", 404)

    def test_payloads_that_are_none(self) -> None:
        """What holds no certificate is malformed."""
        payloads: tuple[Any, ...] = (
            {},
            {"certificate": None},
            {"certificate": 1},
            {"certificate": ""},
            {"certificate": "AAAA"},
            {"certificate": b64(self.issued.der) + "="},
            {"certificate": b64(self.issued.der[:100])},
            {"certificate": b64(self.issued.csr)},
        )
        for payload in payloads:
            self.assertProblem(self.client.post("revoke-cert", payload), "malformed", 400)


class ProofTests(BenchCase):
    """Section 7.6: "the server MUST also consider [..] an account that holds authorizations for all of the names"."""

    def setUp(self) -> None:
        self.bench = self.served(acme_server_default_auth_mode="challenge", acme_server_authz_ttl="1h")
        self.owner, self.stranger = self.bench.account(), self.bench.account()
        names = ("a.corp.example", "*.b.corp.example", "10.1.2.3")
        order = self.owner.prove(*names)
        done = self.owner.finalize(order, make_csr(names)[1])
        self.assertEqual(done.status, 200, done.body)
        self.der = self.bench.value("SELECT certificate FROM certificate_versions")

    def test_all_names_proved(self) -> None:
        """An account that has proved control of all names revokes another account's certificate."""
        self.stranger.prove("a.corp.example", "*.b.corp.example", "10.1.2.3", "c.example")
        self.assertEqual(self.stranger.revoke(self.der, reason=3).status, 200)
        actor = self.bench.value("SELECT actor FROM audit_events WHERE action = 'certificate_revoked'")
        self.assertEqual(actor, f"acme:{self.stranger.id}")

    def test_proofs_of_several_orders(self) -> None:
        """It does not matter for which orders the names were proved."""
        self.stranger.prove("a.corp.example", "*.b.corp.example")
        self.assertProblem(self.stranger.revoke(self.der), "unauthorized", 403)
        self.stranger.prove("10.1.2.3")
        self.assertEqual(self.stranger.revoke(self.der).status, 200)

    def test_names_that_are_not_the_same(self) -> None:
        """A name stands for itself alone: neither its base for the wildcard, nor the wildcard for a host."""
        self.stranger.prove("b.corp.example", "x.b.corp.example", "*.corp.example", "10.1.2.3")
        self.assertProblem(self.stranger.revoke(self.der), "unauthorized", 403)

    def test_pending_is_not_proved(self) -> None:
        """An authorization that is pending proves nothing."""
        self.stranger.prove("a.corp.example", "*.b.corp.example")
        self.stranger.order("10.1.2.3")
        self.assertProblem(self.stranger.revoke(self.der), "unauthorized", 403)

    def test_expired_proofs(self) -> None:
        """A proof counts until it expires, and not until it is swept."""
        self.stranger.prove("a.corp.example", "*.b.corp.example", "10.1.2.3")
        self.bench.pass_by(hours=1, seconds=1)
        self.assertProblem(self.stranger.revoke(self.der), "unauthorized", 403)

    def test_proofs_given_up(self) -> None:
        """A proof that the account let go of counts no more."""
        order = self.stranger.prove("a.corp.example", "*.b.corp.example", "10.1.2.3")
        self.stranger.post(order.json["authorizations"][0], {"status": "deactivated"})
        self.assertProblem(self.stranger.revoke(self.der), "unauthorized", 403)

    def test_trust_after_proof(self) -> None:
        """Once the profile trusts its accounts, what they get by trust still proves nothing."""
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'trust_authenticated'")
        self.stranger.order("a.corp.example", "*.b.corp.example", "10.1.2.3")
        self.assertProblem(self.stranger.revoke(self.der), "unauthorized", 403)
        self.assertEqual(self.owner.revoke(self.der).status, 200)

    def test_proofs_in_another_profile(self) -> None:
        """An account of another profile cannot even name the certificate."""
        self.bench.add_profile("prof-other", acme_auth_mode=AuthMode.CHALLENGE)
        elsewhere = self.bench.account("prof-other")
        elsewhere.prove("a.corp.example", "*.b.corp.example", "10.1.2.3")
        self.assertProblem(elsewhere.revoke(self.der), "malformed", 404)
