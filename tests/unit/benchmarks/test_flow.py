"""The client's pure parts: requests as they are signed, answers as they are read, shares of the work."""

import base64
import json
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.flow import jws
from benchmarks.http import ConnectionLost, Origin, parse_head
from benchmarks.keys import KEY_TYPES, account_key, thumbprint, wanted
from benchmarks.load import parser, plan_of
from benchmarks.responder import dns_answer, http_answer
from benchmarks.workers import Plan
from certctl.acme import jose, keys

URL = "https://127.0.0.1:8443/acme/new-order"


def plan(clients: int, certificates: int) -> Plan:
    """A plan of which only the work matters."""
    return Plan(directory=URL, ca=Path("ca.pem"), clients=clients, certificates=certificates)


class SigningTests(SynchronousTestCase):
    """What the generator signs, the server's own reader takes."""

    def test_signature_verifies(self) -> None:
        for key_type in KEY_TYPES:
            key = account_key(key_type)
            identity = f'"jwk":{json.dumps(key.jwk())}'
            found = jose.parse(jws(key.algorithm, identity, "bm9uY2U", URL, b'{"a":1}', key.sign))
            self.assertEqual((found.url, found.nonce, found.payload), (URL, "bm9uY2U", b'{"a":1}'))
            jose.verify(found, keys.public_key(found.jwk or {}))

    def test_thumbprint_is_that_of_the_server(self) -> None:
        for key_type in KEY_TYPES:
            key = account_key(key_type)
            self.assertEqual(thumbprint(key), keys.public_key(key.jwk()).thumbprint)

    def test_csr_has_the_names_and_the_key(self) -> None:
        want = wanted(["a.example", "b.example"], ec.generate_private_key(ec.SECP256R1()))
        encoded: str = json.loads(want.finalize)["csr"]
        csr = x509.load_der_x509_csr(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["a.example", "b.example"])
        encoded_key = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.assertEqual(encoded_key, want.public_key)


class AnswerTests(SynchronousTestCase):
    """Heads of answers."""

    def test_names_of_headers_are_folded(self) -> None:
        head = b"HTTP/1.1 201 Created\r\nReplay-Nonce: abc\r\nLOCATION:https://x/1\r\nX-Empty:"
        expected = {"replay-nonce": "abc", "location": "https://x/1", "x-empty": ""}
        self.assertEqual(parse_head(head), (201, expected))

    def test_status_needs_no_reason(self) -> None:
        self.assertEqual(parse_head(b"HTTP/1.1 200 ")[0], 200)

    def test_other_protocols_are_refused(self) -> None:
        for head in (b"HTTP/1.0 200 OK", b"HTTP/1.1 abc", b"", b"\x15\x03\x01"):
            self.assertRaises(ConnectionLost, parse_head, head)

    def test_path_below_the_origin(self) -> None:
        origin = Origin.of("https://[::1]:14000/dir?x=1")
        self.assertEqual((origin.host, origin.port), ("::1", 14000))
        self.assertEqual(origin.path("https://[::1]:14000/order/1"), "/order/1")

    def test_other_origins_are_refused(self) -> None:
        origin = Origin.of("https://ca.example/dir")
        for url in ("https://ca.example.net/x", "http://ca.example/x", "https://other.example/x"):
            self.assertRaises(ValueError, origin.path, url)


class WorkTests(SynchronousTestCase):
    """Who does how much."""

    @given(st.integers(1, 40), st.integers(0, 500))
    def test_shares_are_even_and_complete(self, clients: int, certificates: int) -> None:
        shares = [plan(clients, certificates).share(each) for each in range(clients)]
        self.assertEqual(sum(shares), certificates)
        self.assertLessEqual(max(shares) - min(shares), 1)

    def test_command_line_without_options_is_the_plan_without_options(self) -> None:
        options = parser().parse_args(["--directory", URL, "--ca", "ca.pem"])
        self.assertEqual(plan_of(options), Plan(directory=URL, ca=Path("ca.pem")))

    def test_challenges_are_answered_on_request(self) -> None:
        arguments = ["--directory", URL, "--ca", "ca.pem", "--challenge", "http-01", "--answer-delay", "1"]
        answers: Any = plan_of(parser().parse_args(arguments)).answers
        self.assertEqual((answers.http_port, answers.dns_port, answers.delay), (5002, 0, 1.0))


class ResponderTests(SynchronousTestCase):
    """Answers to validations."""

    REQUEST = b"GET /.well-known/acme-challenge/tok-_en HTTP/1.1\r\nHost: c1-7-n0.bench.internal:5002\r\n\r\n"

    def test_key_authorization_is_of_the_client_in_the_host_header(self) -> None:
        answer = http_answer(self.REQUEST, ["first", "second"])
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n"))
        self.assertTrue(answer.endswith(b"\r\n\r\ntok-_en.second"))

    def test_unknown_client_and_path_are_not_found(self) -> None:
        for request in (self.REQUEST.replace(b"c1-", b"c2-"), b"GET / HTTP/1.1\r\nHost: c1-x\r\n\r\n"):
            self.assertTrue(http_answer(request, ["first", "second"]).startswith(b"HTTP/1.1 404 "))

    def test_address_is_answered_with_loopback(self) -> None:
        query = b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0\1a\4test\0" + b"\0\1\0\1"
        answer = dns_answer(query)
        self.assertEqual(answer[:12], b"\x12\x34\x84\x00\0\1\0\1\0\0\0\0")
        self.assertEqual(answer[12 : len(query)], query[12:])
        self.assertEqual(answer[len(query) :], b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1")

    def test_other_types_have_no_records(self) -> None:
        query = b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0\1a\4test\0" + b"\0\x1c\0\1"
        self.assertEqual(dns_answer(query), b"\x12\x34\x84\x00\0\1\0\0\0\0\0\0" + query[12:])
