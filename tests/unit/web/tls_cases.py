"""What the tests of TLS share: certificates, and a client in memory."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from OpenSSL import SSL

from certctl.web.tls import ServerContext

NOW = datetime.now(UTC).replace(microsecond=0)  # OpenSSL reads the clock itself
DAY = timedelta(days=1)

Pem = tuple[bytes, bytes]


def pair(*names: str, key: Any = None, ends: datetime = NOW + DAY) -> Pem:
    """A self-signed certificate and its key, in PEM; addresses are told from names by how they look."""
    private = key or ec.generate_private_key(ec.SECP256R1())
    algorithm = None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0] if names else "nobody")])
    builder = x509.CertificateBuilder(
        subject, subject, private.public_key(), x509.random_serial_number(), NOW - 2 * DAY, ends
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False
        )
    return builder.sign(private, algorithm).public_bytes(Encoding.PEM), private_pem(private)


def general_name(name: str) -> x509.GeneralName:
    """A name as a certificate has it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def private_pem(key: Any, passphrase: bytes | None = None) -> bytes:
    """A private key in PKCS #8."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    assert isinstance(pem, bytes)
    return pem


def serving(certificate: Pem) -> ServerContext:
    """A context that serves a certificate."""
    context = ServerContext()
    context.use(*certificate)
    return context


class Client:
    """A TLS client that talks to a ServerContext in memory."""

    def __init__(
        self,
        server: ServerContext,
        *,
        version: int | None = None,
        alpn: tuple[bytes, ...] = (),
        session: SSL.Session | None = None,
        ciphers: bytes | None = None,
    ) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version or SSL.TLS1_2_VERSION)
        context.set_max_proto_version(version or 0)
        if ciphers:
            context.set_cipher_list(ciphers)
        if alpn:
            context.set_alpn_protos(list(alpn))
        self.near = SSL.Connection(context, None)
        self.near.set_connect_state()
        if session is not None:
            self.near.set_session(session)
        self.far = server.serverConnectionForTLS(None)  # type: ignore[arg-type]
        self.far.set_accept_state()
        for _ in range(4):
            for end in (self.near, self.far):
                self._step(end)

    def _step(self, end: SSL.Connection) -> None:
        other = self.far if end is self.near else self.near
        try:
            end.do_handshake()
        except SSL.WantReadError:
            pass
        finally:
            self.carry(end, other)

    @staticmethod
    def carry(source: SSL.Connection, sink: SSL.Connection) -> None:
        """Move what one end wrote to the other."""
        try:
            sink.bio_write(source.bio_read(65536))
        except SSL.WantReadError:
            return

    def echo(self, words: bytes) -> bytes:
        """Send words and read them at the other end, and back again (which also brings tickets)."""
        for source, sink in ((self.near, self.far), (self.far, self.near)):
            source.send(words)
            self.carry(source, sink)
            words = sink.recv(1000)
        return words

    @property
    def certificate(self) -> bytes:
        """The leaf that the server showed, in PEM."""
        found = self.near.get_peer_certificate(as_cryptography=True)
        assert found is not None
        return found.public_bytes(Encoding.PEM)
