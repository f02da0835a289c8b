"""Other servers, to be measured beside certctl: Pebble, and the one that Caddy has in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.servers import HTTP_PORT, LOOPBACK, Running, ServerFailed, free_port, process


def _program(name: str) -> str:
    """The path of a program; raise ServerFailed if it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise ServerFailed(f"{name} is not installed (Debian: apt-get install {name})")
    return found


@attrs.frozen(kw_only=True)
class Pebble:
    """Pebble, the ACME test server of Let's Encrypt: all of its state is in memory."""

    name: str = "pebble"
    reuses: bool = True  # valid authorizations
    http_port: int = HTTP_PORT
    dns_port: int = 0  # of the resolver for validations; 0: it takes each challenge for met

    def running(self, state: Path) -> Iterator[Running]:
        """Start it with a TLS certificate of its own."""
        port, program = free_port(), _program("pebble")
        certificate, key = _self_signed(state)
        config = {
            "listenAddress": f"{LOOPBACK}:{port}",
            "managementListenAddress": f"{LOOPBACK}:{free_port()}",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": self.http_port,
            "tlsPort": 5001,
        }
        (state / "config.json").write_text(json.dumps({"pebble": config}))
        command = [program, "-config", "config.json"]
        if self.dns_port:
            command += ["-dnsserver", f"{LOOPBACK}:{self.dns_port}"]
        environment = {
            "PEBBLE_WFE_NONCEREJECT": "0",  # percent of good nonces that it refuses
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_AUTHZREUSE": "100" if self.reuses else "0",  # percent
            "PEBBLE_VA_ALWAYS_VALID": "0" if self.dns_port else "1",
        }
        with process(command, environment, state, port) as pid:
            yield Running(pids=(pid,), directory=f"https://{LOOPBACK}:{port}/dir", ca=certificate)


CADDYFILE = """\
{{
    admin off
    skip_install_trust
    auto_https disable_redirects
    storage file_system {state}/caddy
}}
https://{host}:{port} {{
    bind {host}
    tls internal
    acme_server
}}
"""


@attrs.frozen(kw_only=True)
class Caddy:
    """The ACME server of Caddy (smallstep's), with its state in files, each change written through to the disk.

    It cannot be told another port than 80 for http-01, and asks the resolver of the system: see ``network.enter``.
    """

    name: str = "caddy"
    http_port: int = 80
    dns_port: int = 53

    def running(self, state: Path) -> Iterator[Running]:
        """Start it, with a TLS certificate of its own CA."""
        port, program = free_port(), _program("caddy")
        (state / "Caddyfile").write_text(CADDYFILE.format(state=state, host=LOOPBACK, port=port))
        environment = {"HOME": str(state), "XDG_DATA_HOME": str(state), "XDG_CONFIG_HOME": str(state)}
        command = [program, "run", "--config", "Caddyfile"]
        with process(command, environment, state, port) as pid:
            root = state / "caddy" / "pki" / "authorities" / "local" / "root.crt"
            directory = f"https://{LOOPBACK}:{port}/acme/local/directory"
            yield Running(pids=(pid,), directory=directory, ca=root, root=root)


def _self_signed(state: Path) -> tuple[Path, Path]:
    """Write a TLS certificate for loopback and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "benchmark")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    certificate_file, key_file = state / "tls.pem", state / "tls.key"
    certificate_file.write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_file, key_file
