"""The server's end of TLS: a context that is swapped whole when the certificate changes."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from certctl.acme.identifiers import Identifier, IdentifierError, IdentifierType, dns_name

# Of TLS 1.2 the forward-secret AEAD suites of Mozilla's "intermediate" list. All are good, so the client,
# who knows whether its processor has AES, chooses. Those of TLS 1.3 are OpenSSL's own three.
CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    b"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
HTTP = b"http/1.1"  # the one protocol spoken here (RFC 7301 section 6)
SESSION_LIFETIME = 7200  # seconds that a ticket is good for, unless ``rotate`` ends it sooner

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


class TlsError(Exception):
    """A certificate or key that cannot be served; one sentence with the file and what is wrong."""


@attrs.frozen
class _Material:
    """A certificate with its chain and its key, and what was read out of it."""

    chain: tuple[x509.Certificate, ...]
    key: _Key = attrs.field(repr=False)
    names: frozenset[Identifier]


@implementer(IOpenSSLServerConnectionCreator)
class ServerContext:
    """Makes the TLS connections of a listening port.

    Another certificate holds for the connections that come after it; those that stand go on. Sessions are
    resumed by tickets alone, under keys that live in memory and end with the context: nothing is kept for a
    client.
    """

    log = Logger()

    def __init__(self) -> None:
        self._material: _Material | None = None
        self._context: SSL.Context | None = None

    @property
    def names(self) -> frozenset[Identifier]:
        """The DNS names and addresses of the certificate; none before there is one."""
        return frozenset() if self._material is None else self._material.names

    @property
    def not_after(self) -> datetime | None:
        """When the certificate ends."""
        return None if self._material is None else self._material.chain[0].not_valid_after_utc

    @property
    def validity(self) -> tuple[datetime, datetime] | None:
        """The first and the last second of the certificate."""
        if self._material is None:
            return None
        leaf = self._material.chain[0]
        return leaf.not_valid_before_utc, leaf.not_valid_after_utc

    def use(self, certificate_chain_pem: bytes, key_pem: bytes) -> None:
        """Serve a certificate, leaf first, from now on; if that cannot be, raise TlsError, change nothing."""
        self._swap(_material(certificate_chain_pem, key_pem, "the certificate", "the key"))

    def load(self, certificate_path: Path, key_path: Path, *, now: datetime) -> None:
        """Serve the operator's files from now on; raise TlsError and leave all as it was if that cannot be.

        A certificate that is not valid at this time is served all the same, with a warning: clients that
        refuse it are told more by it than by a closed port.
        """
        material = _material(_read(certificate_path), _read(key_path), str(certificate_path), str(key_path))
        self._swap(material, str(certificate_path), str(key_path))
        leaf = material.chain[0]
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            self.log.warn(
                "{path}: the certificate is valid from {not_before} to {not_after} and not now",
                path=str(certificate_path),
                not_before=leaf.not_valid_before_utc.isoformat(),
                not_after=leaf.not_valid_after_utc.isoformat(),
            )
        if not material.names:
            self.log.warn(
                "{path}: the certificate has no subject alternative name, so no client will accept it",
                path=str(certificate_path),
            )

    def rotate(self) -> None:
        """Forget the keys of all tickets, for forward secrecy in TLS 1.2: once a day is enough."""
        if self._material is not None:
            self._swap(self._material)

    def answers_to(self, host: str) -> bool:
        """Whether a host (as in a URL, without the port) is one that the certificate is for."""
        return covers(self.names, host)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        if self._context is None:
            raise TlsError("there is no certificate yet")
        return SSL.Connection(self._context, None)

    def _swap(self, material: _Material, certificate: str = "the certificate", key: str = "the key") -> None:
        try:
            self._context = _context(material)
        except SSL.Error as error:
            raise TlsError(f"{certificate}: TLS cannot use this with {key}: {_reason(error)}") from None
        self._material = material


class PromptTls(TLSMemoryBIOFactory):
    """Adds TLS to connections, and makes a record of each write.

    Twisted's own protocol gathers small writes until the reactor's next turn. Here answers are written whole.
    """

    protocol = TLSMemoryBIOProtocol
    noisy = False


def covers(names: frozenset[Identifier], host: str) -> bool:
    """Whether a host is among the names; the asterisk stands for one whole label (RFC 9525 section 6.3)."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return _covers_name(names, host)
    if (address.version == 6) != (bare is not host):  # RFC 3986 section 3.2.2: brackets round IPv6 alone
        return False
    return Identifier(IdentifierType.IP, str(address)) in names


def _covers_name(names: frozenset[Identifier], host: str) -> bool:
    try:
        name = dns_name(host)
    except IdentifierError:
        return False
    if name.wildcard:
        return False
    parent = name.value.partition(".")[2]
    return name in names or Identifier(IdentifierType.DNS, f"*.{parent}") in names


def _context(material: _Material) -> SSL.Context:
    """TLS 1.2 and 1.3 with tickets, and without compression, renegotiation and a session cache."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | (SSL.OP_NO_RENEGOTIATION or 0))
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # some 30 KB less for each idle connection
    context.set_cipher_list(CIPHERS)
    context.set_alpn_select_callback(_protocol)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"certctl")
    context.set_timeout(SESSION_LIFETIME)
    leaf, *above = material.chain
    context.use_certificate(leaf)
    for certificate in above:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(material.key)
    context.check_privatekey()
    return context


def _protocol(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    """Choose HTTP, or end the handshake with the alert no_application_protocol (RFC 7301 section 3.2)."""
    if HTTP not in offered:
        raise SSL.Error([("", "", "no application protocol")])  # what makes pyOpenSSL send that alert
    return HTTP


def _material(certificate_pem: bytes, key_pem: bytes, certificate: str, key: str) -> _Material:
    try:
        chain = tuple(x509.load_pem_x509_certificates(certificate_pem))
        names = _names(chain[0])
    except Exception:  # malformed ASN.1 has many exceptions
        raise TlsError(f"{certificate}: this is not a certificate in PEM") from None
    private = _key(key_pem, key)
    if private.public_key() != chain[0].public_key():
        raise TlsError(f"{key}: the key is not that of the first certificate in {certificate}")
    return _Material(chain, private, names)


def _key(pem: bytes, key: str) -> _Key:
    try:
        private = load_pem_private_key(pem, password=None)
    except TypeError:
        raise TlsError(f"{key}: the key is encrypted; write it without a passphrase") from None
    except Exception:
        raise TlsError(f"{key}: this is not a private key in PEM") from None
    if not isinstance(private, _Key):
        raise TlsError(f"{key}: keys for TLS are RSA, EC, Ed25519 or Ed448")
    return private


def _names(certificate: x509.Certificate) -> frozenset[Identifier]:
    """The certificate's DNS names and addresses, those left out that no URL could name."""
    found = set()
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    for address in names.get_values_for_type(x509.IPAddress):
        found.add(Identifier(IdentifierType.IP, str(address)))
    for name in names.get_values_for_type(x509.DNSName):
        try:
            found.add(dns_name(name))
        except IdentifierError:
            continue
    return frozenset(found)


def _reason(error: SSL.Error) -> str:
    """What OpenSSL said last, such as "ee key too small"."""
    try:
        return str(error.args[0][-1][-1])
    except (IndexError, TypeError):
        return "no reason given"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise TlsError(f"{path}: the file is missing") from None
    except OSError as error:
        raise TlsError(f"{path}: the file cannot be read: {error.strerror}") from None
