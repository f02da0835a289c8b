"""Servers to be measured: each is started on loopback with a state of its own, and stopped again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

LOOPBACK = "127.0.0.1"
PATIENCE = 30.0  # seconds for a server to start, and to stop
PEBBLE_HTTP_PORT = 5002  # where Pebble connects to for http-01


class ServerFailed(Exception):
    """A server did not start; the message has the end of its log."""


@attrs.frozen(kw_only=True)
class Running:
    """A server that answers."""

    pid: int
    directory: str
    ca: Path  # PEM; TLS is verified against it
    root: Path | None = None  # PEM; where the chains end


class Server(Protocol):
    """A server that can be measured."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    def running(self, state: Path) -> Iterator[Running]:
        """Start it with its state below ``state``, yield it once, and stop it."""


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def started(server: Server) -> Iterator[Running]:
    """Run a server with a state directory that is removed afterwards."""
    with TemporaryDirectory(prefix="benchmark-") as state:
        yield from server.running(Path(state))


@contextmanager
def process(command: Sequence[str], environment: Mapping[str, str], state: Path, port: int) -> Iterator[int]:
    """Run a command in ``state`` until the context ends; yield its pid when it listens on ``port``."""
    log = state / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=state, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(child, port, log)
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_for(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and child.poll() is None:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise ServerFailed(f"{child.args!r} does not listen on port {port}:\n{log.read_text()[-2000:]}")


@attrs.frozen(kw_only=True)
class Certctl:
    """certctl from this checkout on SQLite, its limits switched off."""

    name: str = "certctl"
    settings: Mapping[str, str] = attrs.field(factory=dict)

    def running(self, state: Path) -> Iterator[Running]:
        """Start it by twistd, as an installation does."""
        port = free_port()
        limits = (
            "ORDERS_PER_HOUR",
            "CONCURRENT_ORDERS",
            "KEY_CHANGE_PER_HOUR",
            "CHALLENGE_RESPONDS_PER_HOUR",
        )
        environment = {
            "CERTCTL_STATE_DIR": str(state / "certctl"),
            "CERTCTL_SERVER_PORT": str(port),
            "CERTCTL_ACME_SERVER_ENABLED": "true",
            "CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID": "prof-default",
            **{f"CERTCTL_ACME_SERVER_RATE_LIMIT_{limit}": "0" for limit in limits},
            "PYTHONPATH": str(Path(__file__).parent.parent),
            **self.settings,
        }
        command = [f"{sysconfig.get_path('scripts')}/twistd", "--nodaemon", "--pidfile=", "certctl"]
        with process(command, environment, state, port) as pid:
            root = state / "certctl" / "root-ca.pem"
            directory = f"https://{LOOPBACK}:{port}/acme/directory"
            yield Running(pid=pid, directory=directory, ca=root, root=root)


def challenging(dns_port: int) -> dict[str, str]:
    """The settings of a certctl that has each name proved on this machine, with names looked up at ``dns_port``."""
    return {
        "CERTCTL_ACME_SERVER_DEFAULT_AUTH_MODE": "challenge",
        "CERTCTL_ACME_SERVER_HTTP01_PORT": str(PEBBLE_HTTP_PORT),
        "CERTCTL_ACME_SERVER_DNS01_RESOLVER": f"{LOOPBACK}:{dns_port}",
        "CERTCTL_ACME_SERVER_EGRESS_ALLOW": f"{LOOPBACK}/32",
    }


@attrs.frozen(kw_only=True)
class Pebble:
    """Pebble, the ACME test server of Let's Encrypt: all of its state is in memory."""

    name: str = "pebble"
    reuses: bool = True  # valid authorizations
    dns_port: int = 0  # of the resolver for validations; 0: it takes each challenge for met

    def running(self, state: Path) -> Iterator[Running]:
        """Start it with a TLS certificate of its own."""
        port = free_port()
        program = shutil.which("pebble")
        if program is None:
            raise ServerFailed("pebble is not installed (Debian: apt-get install pebble)")
        certificate, key = _self_signed(state)
        config = {
            "listenAddress": f"{LOOPBACK}:{port}",
            "managementListenAddress": f"{LOOPBACK}:{free_port()}",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": PEBBLE_HTTP_PORT,
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
            yield Running(pid=pid, directory=f"https://{LOOPBACK}:{port}/dir", ca=certificate)


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
