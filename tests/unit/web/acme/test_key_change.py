"""Key rollover (RFC 8555 section 7.3.5)."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.acme_client import Signer
from tests.unit.acme.jws_builder import signer
from tests.unit.web.bench import BenchCase
from tests.unit.web.wire import Response


class KeyChangeTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()
        assert self.client.kid is not None
        self.account = self.client.kid
        self.new = Signer.generate("ES256")
        self.url = self.client.url("key-change")

    def inner(self, *, signed_by: Signer | None = None, **changes: Any) -> dict[str, str]:
        """Return the inner JWS; ``payload`` and ``header`` are changed member by member, None takes away."""
        by = signed_by or self.new
        header = {**by.header(self.url, None), **changes.get("header", {})}
        payload = {"account": self.account, "oldKey": self.client.signer.jwk, **changes.get("payload", {})}
        return by.sign_value(
            {k: v for k, v in header.items() if v is not None},
            {k: v for k, v in payload.items() if v is not None},
        )

    def change(self, inner: object) -> Response:
        """Ask for the change, signed by the account's present key."""
        return self.client.post("key-change", inner)

    def test_changed(self) -> None:
        """The new key signs for the account from now on, and the old one for nobody."""
        old = self.client.signer
        response = self.change(self.inner())
        self.assertEqual((response.status, response.json["status"]), (200, "valid"))
        self.assertProblem(self.client.read(self.account), "malformed", 400)
        self.client.signer = self.new
        self.assertEqual(self.client.read(self.account).status, 200)
        self.assertEqual(self.client.register().location, self.account)
        self.client.signer = old
        self.assertProblem(self.client.register(onlyReturnExisting=True), "accountDoesNotExist", 400)

    def test_to_another_kind_of_key(self) -> None:
        """A key may be followed by one of any supported algorithm."""
        for algorithm in ("RS256", "EdDSA", "ES384"):
            self.assertEqual(self.change(self.inner(signed_by=signer(algorithm))).status, 200)
            self.client.signer = signer(algorithm)
            self.assertEqual(self.client.read(self.account).status, 200)

    def test_orders_stay(self) -> None:
        """What the account has, it keeps under its new key."""
        issued = self.client.issue("www.example.org")
        self.change(self.inner())
        self.client.signer = self.new
        self.assertEqual(self.client.see(issued.order.location)["status"], "valid")
        self.assertEqual(self.client.read(issued.url).status, 200)

    def test_key_of_another_account(self) -> None:
        """A key that is taken is 409 with the holder's URL in Location; nothing changes."""
        other = self.bench.account()
        refused = self.change(self.inner(signed_by=other.signer))
        self.assertProblem(refused, "malformed", 409)
        self.assertEqual(refused.location, other.kid)
        self.assertEqual(self.client.read(self.account).status, 200)

    def test_own_key(self) -> None:
        """The present key is taken, by the account itself."""
        refused = self.change(self.inner(signed_by=self.client.signer))
        self.assertProblem(refused, "malformed", 409)
        self.assertEqual(refused.location, self.account)

    def test_key_of_another_profile_is_free(self) -> None:
        """Accounts of different profiles have nothing to do with each other."""
        self.bench.add_profile("prof-other")
        other = self.bench.account("prof-other")
        self.assertEqual(self.change(self.inner(signed_by=other.signer)).status, 200)

    def test_inner_requests_that_are_refused(self) -> None:
        """Each rule on the inner JWS, broken alone, is malformed, and the key stays."""
        other = self.bench.account()
        forged = self.inner()
        forged["payload"] = self.inner(payload={"x": 1})["payload"]
        cases = {
            "the url is another": self.inner(header={"url": self.account}),
            "the url is missing": self.inner(header={"url": None}),
            "there is a nonce": self.inner(header={"nonce": self.client.nonce}),
            "no jwk but kid": self.inner(header={"jwk": None, "kid": self.account}),
            "jwk and kid": self.inner(header={"kid": self.account}),
            "another account": self.inner(payload={"account": other.kid}),
            "an account by its id": self.inner(payload={"account": self.client.id}),
            "no account": self.inner(payload={"account": None}),
            "another old key": self.inner(payload={"oldKey": other.signer.jwk}),
            "the new key as the old one": self.inner(payload={"oldKey": self.new.jwk}),
            "an old key that is a text": self.inner(payload={"oldKey": "x"}),
            "no old key": self.inner(payload={"oldKey": None}),
            "another payload than the one signed": forged,
            "signed by the old key": self.inner(signed_by=self.client.signer, header={"jwk": self.new.jwk}),
            "an unknown member": {**self.inner(), "header": "x"},
            "no JWS": {"account": self.account, "oldKey": self.client.signer.jwk},
            "a payload that is no object": self.new.sign_value(self.new.header(self.url, None), b"[]"),
            "an empty payload": self.new.sign_value(self.new.header(self.url, None), None),
        }
        for name, inner in cases.items():
            refused = self.change(inner)
            self.assertEqual((refused.error, refused.status), ("malformed", 400), name)
            self.assertEqual(self.client.read(self.account).status, 200, name)

    def test_new_keys_that_are_refused(self) -> None:
        """A new key is judged like any: its algorithm and its strength."""
        algorithm = self.change(self.inner(header={"alg": "HS256"}))
        self.assertProblem(algorithm, "badSignatureAlgorithm", 400)
        weak = Signer("RS256", rsa.generate_private_key(65537, 1024))
        self.assertProblem(self.change(self.inner(signed_by=weak)), "badPublicKey", 400)
        self.assertProblem(
            self.change(self.inner(payload={"oldKey": {"kty": "oct", "k": "AA"}})), "badPublicKey", 400
        )
