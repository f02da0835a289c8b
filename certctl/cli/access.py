"""Which server a command speaks to, whom it trusts to be it, and with which key: told, or found on its host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import attrs
from cryptography import x509

from certctl.cli.failures import Exit, Failure
from certctl.issuance.hierarchy import Files
from certctl.settings import AuthType, Settings, SettingsError
from certctl.start import API_KEY

SETTINGS = Path("/etc/certctl/certctl.env")  # where systemd/certctl.service has them
SERVER_URL = "CERTCTL_SERVER_URL"
CA_BUNDLE = "CERTCTL_CA_BUNDLE"
KEY = "CERTCTL_API_KEY"


@attrs.frozen(kw_only=True)
class Given:
    """What the command line and the operator's environment say."""

    server: str | None = None
    ca: Path | None = None
    key_file: Path | None = None
    settings: Path | None = None
    environ: Mapping[str, str] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class Access:
    """A server, those who vouch for it, and a key."""

    url: str  # without a slash at its end
    anchors: tuple[x509.Certificate, ...] | None  # None: those of the operating system
    key: str = attrs.field(repr=False)
    dial: tuple[str, int] | None = (
        None  # for the server on this host: where it listens, whatever the URL's name is
    )

    @property
    def local(self) -> bool:
        """Whether it is the server on this host, found from its settings."""
        return self.dial is not None


def local_settings(given: Given) -> Settings:
    """The settings of the server on this host; raises Failure if they cannot be read."""
    file = given.settings or _named(given.environ, "CERTCTL_SETTINGS_FILE")
    if file is None and os.access(SETTINGS, os.R_OK):
        file = SETTINGS
    try:
        return Settings.load(given.environ, file)
    except SettingsError as error:
        raise Failure(str(error), Exit.USAGE) from None


def find(given: Given) -> Access:
    """The server that is told, or else the one on this host; raises Failure with what is missing."""
    url = given.server or given.environ.get(SERVER_URL, "").strip()
    if url:
        return Access(url=_origin(url), anchors=_anchors(given), key=_key(given))
    settings = local_settings(given)
    if settings.auth_type is AuthType.NONE:
        raise Failure("The server on this host has no REST API: CERTCTL_AUTH_TYPE is none.", Exit.USAGE)
    key = _key(given, settings.state_dir / API_KEY)
    anchors = _anchors(given)
    if anchors is None:
        anchors = trusted(settings)
    return Access(url=local_url(settings), anchors=anchors, key=key, dial=listening(settings))


def listening(settings: Settings) -> tuple[str, int]:
    """Where a client on this host reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.server_host, settings.server_host)
    return host, settings.server_port


def local_url(settings: Settings) -> str:
    """The URL of the server on this host, with a name that its certificate has.

    Its own certificate has the address that it listens on. One of the operator's has names that clients know: that of
    CERTCTL_SERVER_EXTERNAL_URL, if it has that, and else its first.
    """
    host, port = listening(settings)
    own = settings.state_dir / "server.pem"
    if settings.server_tls_cert_path is not None:
        host = _name_in(certificates(settings.server_tls_cert_path)[0], settings) or host
    elif os.access(own, os.R_OK):  # name constraints of the CA may have left the address out
        names = alternatives(certificates(own)[0])
        host = host if host in names or not names else names[0]
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def alternatives(certificate: x509.Certificate) -> list[str]:
    """The names and addresses of a certificate."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(each.value) for each in found]


def _name_in(certificate: x509.Certificate, settings: Settings) -> str | None:
    external = urlsplit(settings.server_external_url or "").hostname
    names = [each for each in alternatives(certificate) if not each.startswith("*")]
    return external if external in names else next(iter(names), None)


def trusted(settings: Settings) -> tuple[x509.Certificate, ...]:
    """Those who vouch for the server on this host: its root, or what the operator gave it."""
    given = settings.server_tls_cert_path or settings.ca_cert_path
    found = certificates(given or Files.under(settings.state_dir).root)
    further = (each for path in further_roots(settings) for each in certificates(path))
    return tuple(dict.fromkeys((*found, *further)))


def further_roots(settings: Settings) -> list[Path]:
    """The roots of issuers that were added while the server on this host ran."""
    return sorted(settings.state_dir.glob("issuers/*/root.pem"))


def certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file; raises Failure if it has none."""
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except OSError as error:
        raise Failure(f"The CA file {path} cannot be read: {error.strerror}.", Exit.USAGE) from None
    except Exception:  # malformed ASN.1 has many exceptions
        raise Failure(f"{path} holds no certificate in PEM: give --ca the root's file.", Exit.USAGE) from None


def _anchors(given: Given) -> tuple[x509.Certificate, ...] | None:
    path = given.ca or _named(given.environ, CA_BUNDLE)
    return None if path is None else certificates(path)


def _named(environ: Mapping[str, str], variable: str) -> Path | None:
    text = environ.get(variable, "").strip()
    return Path(text) if text else None


def _origin(url: str) -> str:
    """The scheme and the authority of a URL; raises Failure for one that would send the key in the clear."""
    split = urlsplit(url if "://" in url else f"https://{url}")
    if (
        split.scheme != "https"
        or not split.hostname
        or split.username
        or split.path not in ("", "/")
        or split.query
    ):
        raise Failure(
            f"{url!r} is not the URL of a server: https://certctl.corp.example:8443 would be.", Exit.USAGE
        )
    return f"https://{split.netloc}"


def _key(given: Given, local: Path | None = None) -> str:
    """The API key: of the file, of the environment, or, for the server on this host alone, of its state directory."""
    if given.key_file is not None:
        return _sendable(_read(given.key_file), given.key_file)
    if text := given.environ.get(KEY, "").strip():
        return _sendable(text, KEY)
    if local is None:
        raise Failure(f"There is no API key: set {KEY}, or give --key-file FILE.", Exit.DENIED)
    if not os.access(local, os.R_OK):
        raise Failure(
            f"No server is named, and the key of one on this host ({local}) cannot be read: give --server URL and"
            f" {KEY}, or run this as root on the server's host.",
            Exit.DENIED if os.access(local.parent, os.X_OK) and local.exists() else Exit.USAGE,
        )
    return _sendable(_read(local), local)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is not text"
        raise Failure(f"The key file {path} cannot be read: {words}.", Exit.USAGE) from None


def _sendable(key: str, where: object) -> str:
    if not key or not all("!" <= each <= "~" for each in key):
        raise Failure(f"{where} holds no API key: one line of printable ASCII would be one.", Exit.USAGE)
    return key
