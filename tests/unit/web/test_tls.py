"""The certificate that is served, as an operator changes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import SSL
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import Identifier, dns_name, ip_address
from certctl.web.tls import ServerContext, TlsError, covers
from tests.unit.web.tls_cases import DAY, NOW, Client, pair, private_pem, serving

CERTIFICATE, KEY = "certificate.pem", "key.pem"


class SwapTests(SynchronousTestCase):
    def test_old_connections_go_on(self) -> None:
        """New connections see the new certificate, and nothing happens to the others."""
        first, second = pair("first.example.org"), pair("second.example.org")
        server = serving(first)
        before = Client(server)
        server.use(*second)
        after = Client(server)
        self.assertEqual((before.certificate, after.certificate), (first[0], second[0]))
        self.assertEqual(before.echo(b"still here"), b"still here")
        self.assertEqual(server.names, {dns_name("second.example.org")})

    def test_handshake_under_way(self) -> None:
        """A handshake that has begun ends with the certificate it began with."""
        first = pair("first.example.org")
        server = serving(first)

        class Late(ServerContext):
            def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
                connection = server.serverConnectionForTLS(tlsProtocol)
                server.use(*pair("second.example.org"))
                return connection

        self.assertEqual(Client(Late()).certificate, first[0])

    def test_failure_changes_nothing(self) -> None:
        first, second = pair("localhost"), pair("other.example.org")
        weak = pair("weak.example.org", key=rsa.generate_private_key(65537, 1024))
        server = serving(first)
        for certificate, key in ((second[0], first[1]), (b"", first[1]), (first[0], b"x"), weak):
            self.assertRaises(TlsError, server.use, certificate, key)
            self.assertEqual(server.names, {dns_name("localhost")})
            self.assertEqual(Client(server).certificate, first[0])

    def test_facts(self) -> None:
        self.assertEqual((ServerContext().names, ServerContext().not_after), (frozenset(), None))
        server = serving(pair("localhost", "*.Example.org", "::1", "192.0.2.1", "under_score.example.org"))
        self.assertEqual(
            server.names,
            {dns_name("localhost"), dns_name("*.example.org"), ip_address("::1"), ip_address("192.0.2.1")},
        )
        self.assertEqual(server.not_after, NOW + DAY)
        self.assertTrue(server.answers_to("ca.example.org"))
        self.assertFalse(server.answers_to("example.com"))


class LoadTests(SynchronousTestCase):
    """The operator's own files."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.server = serving(pair("before.example.org"))
        self.events: list[Any] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def load(self, certificate: bytes | None, key: bytes | None) -> None:
        for name, content in ((CERTIFICATE, certificate), (KEY, key)):
            (self.directory / name).unlink(missing_ok=True)
            if content is not None:
                (self.directory / name).write_bytes(content)
        self.server.load(self.directory / CERTIFICATE, self.directory / KEY, now=NOW)

    def refused(self, certificate: bytes | None, key: bytes | None) -> str:
        error = self.assertRaises(TlsError, self.load, certificate, key)
        self.assertEqual(self.server.names, {dns_name("before.example.org")})
        return str(error).replace(f"{self.directory}/", "")

    def test_every_kind_of_key(self) -> None:
        for key in (
            ec.generate_private_key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate(),
        ):
            wanted = pair("own.example.org", key=key)
            self.load(*wanted)
            self.assertEqual(Client(self.server).certificate, wanted[0])
        self.assertEqual(self.server.names, {dns_name("own.example.org")})
        self.assertEqual(self.events, [])

    def test_one_file_for_both(self) -> None:
        certificate, key = pair("own.example.org")
        path = self.directory / "both.pem"
        for content in (certificate + key, key + certificate):
            path.write_bytes(content)
            self.server.load(path, path, now=NOW)
            self.assertEqual(Client(self.server).certificate, certificate)

    def test_refusals(self) -> None:
        certificate, key = pair("own.example.org")
        private = ec.generate_private_key(ec.SECP256R1())
        for wrong, words in (
            ((None, key), "certificate.pem: the file is missing"),
            ((certificate, None), "key.pem: the file is missing"),
            ((b"rubbish", key), "certificate.pem: this is not a certificate in PEM"),
            ((certificate[:-80], key), "certificate.pem: this is not a certificate in PEM"),
            ((key, key), "certificate.pem: this is not a certificate in PEM"),
            ((certificate, b""), "key.pem: this is not a private key in PEM"),
            ((certificate, certificate), "key.pem: this is not a private key in PEM"),
            (
                (certificate, private_pem(private)),
                "key.pem: the key is not that of the first certificate in certificate.pem",
            ),
            (
                (certificate, private_pem(private, b"secret")),
                "key.pem: the key is encrypted; write it without a passphrase",
            ),
        ):
            self.assertEqual(self.refused(*wrong), words)

    def test_key_too_small(self) -> None:
        weak = pair("weak.example.org", key=rsa.generate_private_key(65537, 1024))
        self.assertEqual(
            self.refused(*weak), "certificate.pem: TLS cannot use this with key.pem: ee key too small"
        )

    def test_file_that_cannot_be_read(self) -> None:
        (self.directory / "d").mkdir()
        error = self.assertRaises(
            TlsError, self.server.load, self.directory / "d", self.directory / "d", now=NOW
        )
        self.assertEqual(str(error), f"{self.directory}/d: the file cannot be read: Is a directory")

    def test_expired(self) -> None:
        """An expired certificate is served, with a warning."""
        expired = pair("own.example.org", ends=NOW - DAY)
        self.load(*expired)
        self.assertEqual(Client(self.server).certificate, expired[0])
        (event,) = self.events
        self.assertEqual(event["log_level"].name, "warn")
        self.assertEqual(event["not_after"], (NOW - DAY).isoformat())

    def test_without_names(self) -> None:
        self.load(*pair())
        (event,) = self.events
        self.assertIn("no subject alternative name", event["log_format"])


class CoversTests(SynchronousTestCase):
    NAMES = frozenset(
        {
            dns_name("localhost"),
            dns_name("ca.example.org"),
            dns_name("*.wild.example.org"),
            ip_address("192.0.2.1"),
            ip_address("2001:db8::1"),
        }
    )

    def test_answers(self) -> None:
        for host in (
            *("localhost", "LOCALHOST", "ca.example.org", "CA.Example.ORG", "ca.example.org."),
            *("a.wild.example.org", "A.WILD.example.org", "192.0.2.1", "[2001:db8::1]", "[2001:DB8:0::1]"),
        ):
            self.assertTrue(covers(self.NAMES, host), host)

    def test_does_not_answer(self) -> None:
        for host in (
            *("", ".", "example.org", "x.ca.example.org", "wild.example.org", "a.b.wild.example.org"),
            *("*.wild.example.org", ".wild.example.org", "a..wild.example.org", "ca.example.org:8443"),
            *("192.0.2.2", "[192.0.2.1]", "2001:db8::1", "[2001:db8::2]", "[2001:db8::1", "3221225985"),
            *("ca.example.org/", "ca.example.org\x00", "ca.example.org\n", "\u212aa.wild.example.org", "[]"),
            *("[2001:db8::1%eth0]", "a" * 70_000),
        ):
            self.assertFalse(covers(self.NAMES, host), host)

    def test_wildcard_is_for_names(self) -> None:
        """An asterisk matches no address, and a single label has no parent to match."""
        star = frozenset({Identifier(dns_name("a").type, "*.2.1"), Identifier(dns_name("a").type, "*.")})
        self.assertFalse(covers(star, "192.0.2.1"))
        self.assertTrue(covers(self.NAMES, "localhost"))
        self.assertFalse(covers(self.NAMES, "otherhost"))
