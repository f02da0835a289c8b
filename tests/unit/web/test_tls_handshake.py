"""TLS as a client sees it."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from certctl.web.tls import ServerContext, TlsError
from tests.unit.web.tls_cases import Client, pair, serving


class HandshakeTests(SynchronousTestCase):
    VERSIONS = ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3"))

    def test_interface(self) -> None:
        verifyObject(IOpenSSLServerConnectionCreator, ServerContext())

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3, and nothing older."""
        server = serving(pair("localhost"))
        for version, name in self.VERSIONS:
            client = Client(server, version=version)
            self.assertEqual(client.near.get_protocol_version_name(), name)
            self.assertEqual(client.echo(b"hello"), b"hello")
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            self.assertRaises(SSL.Error, Client, server, version=version, ciphers=b"ALL:@SECLEVEL=0")

    def test_suites(self) -> None:
        """Forward-secret AEAD alone, for every kind of key."""
        wanted = "AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"
        rsa_key = rsa.generate_private_key(65537, 2048)
        for key, kind in ((None, "ECDSA"), (rsa_key, "RSA")):
            server = serving(pair("localhost", key=key))
            for suite in wanted:
                name = f"ECDHE-{kind}-{suite}"
                client = Client(server, version=SSL.TLS1_2_VERSION, ciphers=name.encode())
                self.assertEqual(client.near.get_cipher_name(), name)
            for refused in ("AES128-GCM-SHA256", f"ECDHE-{kind}-AES128-SHA", f"ECDHE-{kind}-AES256-SHA384"):
                self.assertRaises(
                    SSL.Error, Client, server, version=SSL.TLS1_2_VERSION, ciphers=refused.encode()
                )

    def test_client_chooses(self) -> None:
        """All suites are good, so the client's order counts."""
        server = serving(pair("localhost"))
        for first in ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384"):
            offered = f"{first}:ECDHE-ECDSA-AES128-GCM-SHA256".encode()
            client = Client(server, version=SSL.TLS1_2_VERSION, ciphers=offered)
            self.assertEqual(client.near.get_cipher_name(), first)

    def test_alpn(self) -> None:
        server = serving(pair("localhost"))
        self.assertEqual(Client(server).near.get_alpn_proto_negotiated(), b"")
        for offered in ((b"http/1.1",), (b"h2", b"http/1.1")):
            self.assertEqual(Client(server, alpn=offered).near.get_alpn_proto_negotiated(), b"http/1.1")

    def test_alpn_without_http(self) -> None:
        """A client that speaks something else is told so (RFC 7301 section 3.2)."""
        server = serving(pair("localhost"))
        for version, _ in self.VERSIONS:
            self.assertRaises(SSL.Error, Client, server, version=version, alpn=(b"acme-tls/1",))

    def test_no_renegotiation(self) -> None:
        client = Client(serving(pair("localhost")), version=SSL.TLS1_2_VERSION)
        client.near.renegotiate()
        self.assertRaises(SSL.WantReadError, client.near.do_handshake)
        client.carry(client.near, client.far)
        self.assertRaises(SSL.WantReadError, client.far.recv, 10)
        client.carry(client.far, client.near)
        with self.assertRaises(SSL.Error) as caught:
            client.near.do_handshake()
        self.assertIn("no renegotiation", str(caught.exception))

    def test_chain_is_sent(self) -> None:
        leaf, key = pair("localhost")
        above, _ = pair("above")
        client = Client(serving((leaf + above, key)))
        sent = client.near.get_peer_cert_chain(as_cryptography=True) or []
        self.assertEqual([each.public_bytes(Encoding.PEM) for each in sent], [leaf, above])

    def test_nothing_to_serve(self) -> None:
        self.assertRaises(TlsError, Client, ServerContext())


class Resuming:
    """A client that keeps the session of one connection for the next; Python's own, which says if it was used."""

    def __init__(self, version: ssl.TLSVersion) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.context.minimum_version = self.context.maximum_version = version
        self.session: ssl.SSLSession | None = None

    def connect(self, server: ServerContext) -> bool | None:
        """Whether a new connection resumed the session of the one before."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        near = self.context.wrap_bio(incoming, outgoing, session=self.session)
        far = server.serverConnectionForTLS(None)  # type: ignore[arg-type]
        far.set_accept_state()
        for _ in range(3):
            for step in (near.do_handshake, far.do_handshake):
                with contextlib.suppress(ssl.SSLWantReadError, SSL.WantReadError):
                    step()
                self.carry(outgoing, far, incoming)
        far.send(b"hello")  # behind the tickets of TLS 1.3
        self.carry(outgoing, far, incoming)
        assert near.read(10) == b"hello"
        self.session = near.session
        return near.session_reused

    @staticmethod
    def carry(outgoing: ssl.MemoryBIO, far: SSL.Connection, incoming: ssl.MemoryBIO) -> None:
        if outgoing.pending:
            far.bio_write(outgoing.read())
        with contextlib.suppress(SSL.WantReadError):
            incoming.write(far.bio_read(65536))


class ResumptionTests(SynchronousTestCase):
    VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

    def test_tickets(self) -> None:
        """Both versions resume, again and again."""
        server = serving(pair("localhost"))
        for version in self.VERSIONS:
            client = Resuming(version)
            self.assertEqual([client.connect(server) for _ in range(4)], [False, True, True, True])

    def test_end_of_tickets(self) -> None:
        """They end with the context: by rotation and by another certificate, with a full handshake and no error."""
        first, other = pair("localhost"), pair("localhost")
        for version in self.VERSIONS:
            server = serving(first)
            client = Resuming(version)
            self.assertEqual([client.connect(server) for _ in range(2)], [False, True])
            server.rotate()
            self.assertEqual([client.connect(server) for _ in range(2)], [False, True])
            server.use(*other)
            self.assertEqual([client.connect(server) for _ in range(2)], [False, True])

    def test_rotation_keeps_the_certificate(self) -> None:
        certificate = pair("localhost")
        server = serving(certificate)
        server.rotate()
        self.assertEqual(Client(server).certificate, certificate[0])
        ServerContext().rotate()


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class OpensslTests(TestCase):
    """What openssl s_client says of a real port."""

    def setUp(self) -> None:
        self.server = serving(pair("localhost"))
        factory = TLSMemoryBIOFactory(self.server, False, Factory.forProtocol(Echo))
        self.port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[arg-type]
        self.addCleanup(self.port.stopListening)

    async def s_client(self, *arguments: str) -> str:
        out, err, _ = await getProcessOutputAndValue(
            "openssl",
            ["s_client", "-connect", f"127.0.0.1:{self.port.getHost().port}", *arguments],
            stdinBytes=b"",
        )
        return str(out + err, "ascii")

    async def test_reconnect(self) -> None:
        """One full handshake and five that resume it."""
        output = await self.s_client("-tls1_2", "-reconnect")
        self.assertEqual((output.count("\nNew, "), output.count("\nReused, ")), (1, 5), output)

    async def test_session_file(self) -> None:
        """TLS 1.3 resumes with the ticket that came after the first answer."""
        file = self.mktemp()
        Path(file + ".in").write_text("hello\n")
        command = f"(cat {file}.in; sleep 0.3) | openssl s_client -tls1_3 -connect 127.0.0.1:%d %s {file}"
        outputs = []
        for option in ("-sess_out", "-sess_in"):
            out, _, _ = await getProcessOutputAndValue(
                "/bin/sh", ["-c", command % (self.port.getHost().port, option)]
            )
            outputs.append(out.decode())
        self.assertIn("\nNew, TLSv1.3", outputs[0])
        self.assertIn("\nReused, TLSv1.3", outputs[1])

    async def test_neither_compression_nor_old_versions(self) -> None:
        output = await self.s_client("-tls1_2", "-alpn", "h2,http/1.1")
        self.assertIn("Compression: NONE", output)
        self.assertIn("ALPN protocol: http/1.1", output)
        old = await self.s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        self.assertIn("protocol version", old)

    async def test_alert_without_common_protocol(self) -> None:
        output = await self.s_client("-alpn", "h2")
        self.assertIn("no application protocol", output)
