"""Tests for certctl.acme.jose."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme import jose, keys
from certctl.acme.encoding import from_base64url
from certctl.acme.problems import Problem, ProblemType
from tests.acme_client import Signer, as_json, b64
from tests.unit.acme.jws_builder import Honest, signer
from tests.unit.acme.jws_corpus import CASES

URL = "https://ca.example.org/acme/new-account"
KID = "https://ca.example.org/acme/account/acme-acc-1"
NONCE = "bm9uY2U"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def receive(body: bytes) -> dict[str, Any]:
    """Do with a request what new-account does."""
    jws = jose.parse(body)
    assert jws.jwk is not None
    jose.verify(jws, keys.public_key(jws.jwk))
    return jws.payload_object()


class HonestTests(SynchronousTestCase):
    """Requests as RFC 8555 section 6.2 describes them."""

    def test_every_algorithm(self) -> None:
        """A request with its key in it is read and verified with each of the algorithms."""
        for algorithm in jose.ALGORITHMS:
            with self.subTest(algorithm):
                honest = Honest(URL, NONCE, signer=signer(algorithm))
                self.assertEqual(receive(honest.body), {"termsOfServiceAgreed": True})

    def test_parts(self) -> None:
        """The parts of a request with an account's URL come out as they went in."""
        jws = jose.parse(signer("ES256").sign(URL, {"a": 1}, NONCE, KID))
        self.assertEqual((jws.algorithm, jws.url, jws.nonce), ("ES256", URL, NONCE))
        self.assertEqual((jws.jwk, jws.kid, jws.payload), (None, KID, b'{"a":1}'))
        self.assertEqual(len(jws.signature), 64)
        self.assertEqual(jws.signing_input.split(b".")[1], b64(b'{"a":1}').encode())
        self.assertFalse(jws.is_post_as_get)
        jose.verify(jws, keys.public_key(signer("ES256").jwk))

    def test_key(self) -> None:
        """A request with its key has no account's URL."""
        jws = jose.parse(signer("EdDSA").sign(URL, {}, NONCE))
        self.assertEqual((jws.jwk, jws.kid), (signer("EdDSA").jwk, None))

    def test_post_as_get(self) -> None:
        """An empty payload is POST-as-GET, and no object (RFC 8555 section 6.3)."""
        jws = jose.parse(signer("ES256").sign(URL, None, NONCE, KID))
        self.assertTrue(jws.is_post_as_get)
        self.assertIs(self.assertRaises(Problem, jws.payload_object).type, ProblemType.MALFORMED)

    def test_without_nonce(self) -> None:
        """A nonce that is not there is None, for the caller to judge; an empty one is a bad nonce later."""
        self.assertIsNone(jose.parse(signer("ES256").sign(URL, {}, None)).nonce)
        self.assertEqual(jose.parse(signer("ES256").sign(URL, {}, "")).nonce, "")

    def test_unknown_header_parameters(self) -> None:
        """Header parameters that are not understood are ignored (RFC 7515 section 4)."""
        receive(Honest(URL, NONCE).with_header(typ="JOSE", x5c=["AAAA"], resource="new-reg"))

    def test_inner(self) -> None:
        """The payload of a key change is a JWS without a nonce (RFC 8555 section 7.3.5)."""
        old, new = signer("ES256"), signer("EdDSA")
        inner = new.sign_value(new.header(URL, None), {"account": KID, "oldKey": old.jwk})
        outer = jose.parse(old.sign(URL, inner, NONCE, KID))
        jws = jose.parse_value(outer.payload_object())
        self.assertEqual((jws.url, jws.nonce, jws.jwk), (URL, None, new.jwk))
        jose.verify(jws, keys.public_key(new.jwk))
        self.assertEqual(jws.payload_object(), {"account": KID, "oldKey": old.jwk})

    def test_largest(self) -> None:
        """A body of exactly 64 KiB is read; with one more it is refused with 413."""
        body = Honest(URL, NONCE).body
        receive(body.ljust(jose.MAX_BODY))
        problem = self.assertRaises(Problem, jose.parse, body.ljust(jose.MAX_BODY + 1))
        self.assertEqual(problem.status, 413)


class ExampleTests(SynchronousTestCase):
    """Signatures that others made."""

    def jws(self, algorithm: str, signing_input: str, signature: str) -> jose.Jws:
        """Return a JWS whose header is not ours to judge."""
        octets = from_base64url(signature)
        return jose.Jws(algorithm, URL, None, {}, None, b"", octets, signing_input.encode())

    def test_es256(self) -> None:
        """The example of RFC 7515 appendix A.3 verifies."""
        key = keys.public_key(
            {
                "kty": "EC",
                "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            }
        )
        text = (
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
            "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        )
        signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
        jose.verify(self.jws("ES256", text, signature), key)

    def test_eddsa(self) -> None:
        """The example of RFC 8037 appendix A.4 verifies."""
        key = keys.public_key(
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
        )
        text = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
        signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        jose.verify(self.jws("EdDSA", text, signature), key)


class CorpusTests(SynchronousTestCase):
    """Requests that nobody honest sends."""

    def test_refused(self) -> None:
        """Every bad request of the corpus is refused with the problem that it deserves."""
        honest = Honest(URL, NONCE)
        for case in CASES:
            with self.subTest(case.name):
                problem = self.assertRaises(Problem, receive, case.make(honest))
                self.assertEqual(problem.type.value[0], case.problem, f"{case.name}: {problem.detail}")

    def test_algorithms_listed(self) -> None:
        """BadSignatureAlgorithm comes with the algorithms that are good (RFC 8555 section 6.2)."""
        problem = self.assertRaises(Problem, receive, Honest(URL, NONCE).with_header(alg="none"))
        self.assertEqual(
            problem.document()["algorithms"], ["ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA"]
        )

    def test_names_differ(self) -> None:
        """No two cases have one name."""
        self.assertEqual(len({case.name for case in CASES}), len(CASES))


class AccountKeyTests(SynchronousTestCase):
    """Requests with an account's URL, against the key that the account has."""

    def test_other_key(self) -> None:
        """A request that another account signed does not verify."""
        jws = jose.parse(Signer.generate("ES256").sign(URL, {}, NONCE, KID))
        problem = self.assertRaises(Problem, jose.verify, jws, keys.public_key(signer("ES256").jwk))
        self.assertIs(problem.type, ProblemType.MALFORMED)
        self.assertEqual(problem.detail, "the signature does not verify")

    def test_other_algorithm(self) -> None:
        """An algorithm that does not go with the account's key is badSignatureAlgorithm, for all pairs."""
        for algorithm in jose.ALGORITHMS:
            jws = jose.parse(signer(algorithm).sign(URL, {}, NONCE, KID))
            for other in {"ES256", "ES384", "ES512", "RS256", "EdDSA"} - {algorithm}:
                if {algorithm, other} <= {"RS256", "PS256"}:
                    continue
                problem = self.assertRaises(Problem, jose.verify, jws, keys.public_key(signer(other).jwk))
                self.assertIs(problem.type, ProblemType.BAD_SIGNATURE_ALGORITHM)
                self.assertEqual(problem.members, {"algorithms": list(jose.ALGORITHMS)})


class ArbitraryTests(SynchronousTestCase):
    """Whatever comes, a Jws or a Problem goes."""

    def read(self, body: bytes) -> None:
        """Read a request as far as it can be read."""
        try:
            receive_any(body)
        except Problem as problem:
            self.assertLess(problem.status, 500)

    @given(st.binary())
    @example(b'{"protected":"","payload":"","signature":""}')
    def test_octets(self, body: bytes) -> None:
        """A body of any octets raises nothing but Problem."""
        self.read(body)

    @given(
        st.fixed_dictionaries(
            {name: JSON | st.text("AQgw_-") for name in ("protected", "payload", "signature")}
        )
    )
    def test_members(self, value: dict[str, Any]) -> None:
        """Members of any kind raise nothing but Problem."""
        self.read(json.dumps(value).encode())

    @given(
        st.fixed_dictionaries(
            {"alg": st.sampled_from(jose.ALGORITHMS), "url": st.text()},
            optional=dict.fromkeys(("nonce", "jwk", "kid", "crit", "x"), JSON),
        ),
        st.binary(),
        st.binary(),
    )
    def test_headers(self, header: dict[str, Any], payload: bytes, signature: bytes) -> None:
        """Headers, payloads and signatures of any kind raise nothing but Problem."""
        members = {"protected": b64(as_json(header)), "payload": b64(payload), "signature": b64(signature)}
        self.read(as_json(members))

    @given(
        st.sampled_from(jose.ALGORITHMS),
        st.fixed_dictionaries(
            {"kty": st.sampled_from(["EC", "RSA", "OKP"])},
            optional={
                "crv": st.sampled_from(["P-256", "P-384", "P-521", "Ed25519"]),
                **{
                    name: st.binary(max_size=70).map(b64) | JSON
                    for name in ("x", "y", "n", "e", "alg", "use")
                },
            },
        ),
        st.binary(max_size=140),
    )
    def test_keys(self, algorithm: str, jwk: dict[str, Any], signature: bytes) -> None:
        """Keys of any kind raise nothing but Problem."""
        header = {"alg": algorithm, "url": URL, "nonce": NONCE, "jwk": jwk}
        self.read(as_json({"protected": b64(as_json(header)), "payload": "", "signature": b64(signature)}))

    @given(st.data(), st.sampled_from(jose.ALGORITHMS))
    def test_no_forgery(self, data: st.DataObject, algorithm: str) -> None:
        """A request with one octet of its signature or signed text changed does not verify."""
        jws = jose.parse(signer(algorithm).sign(URL, {}, NONCE, KID))
        name = data.draw(st.sampled_from(["signature", "signing_input"]))
        octets = bytearray(getattr(jws, name))
        octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
        if name == "signature":
            changed = attrs.evolve(jws, signature=bytes(octets))
        else:
            changed = attrs.evolve(jws, signing_input=bytes(octets))
        self.assertRaises(Problem, jose.verify, changed, keys.public_key(signer(algorithm).jwk))


def receive_any(body: bytes) -> None:
    """Read and verify a request, with its own key or with another."""
    jws = jose.parse(body)
    jose.verify(jws, keys.public_key(jws.jwk if jws.jwk is not None else signer("ES256").jwk))
    jws.payload_object()
