"""Validations on the ports that the RFCs name, between addresses that are not loopback, in a network of the test's own.

The test makes a network namespace and runs this file in it as a program (``scene``): there a public and a private
address, IPv4 and IPv6, carry a web server on port 80, a TLS server on 443 and a resolver on 53, and behind them stand a
metadata service and a service on loopback that no validation may reach. The verdicts come back as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.trial.unittest import TestCase

from certctl.acme.challenges import dns01_value
from certctl.acme.identifiers import dns_name
from certctl.acme.objects import ChallengeType
from certctl.acme.problems import Problem
from certctl.validation.addresses import Resolvers
from certctl.validation.attempt import Limits
from certctl.validation.table import validators
from tests.unit.validation.responders import (
    KEY_AUTHORIZATION,
    Connection,
    DNSResponder,
    Responder,
    TLSContext,
    acme_identifier,
    answering,
    attempt,
    certificate,
    general,
    reactor,
    redirecting,
)

ROOT = Path(__file__).parent.parent.parent
ADDRESSES = ("10.77.0.1/24", "93.184.215.14/32", "169.254.169.254/32", "fd77::1/64", "2606:2800:21f::1/128")


def _usable() -> str | None:
    """Why the test cannot run here, if so."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs root and iproute2"
    name = f"certctl-{uuid.uuid4().hex[:8]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True)
    if made.returncode:
        return "network namespaces cannot be made here"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


@cache
def played() -> dict[str, dict[str, Any]]:
    """The verdicts of the scene, which is played once."""
    name = f"certctl-{uuid.uuid4().hex[:8]}"
    inside = ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        for address in ADDRESSES:
            nodad = ["nodad"] if ":" in address else []
            subprocess.run([*inside, "ip", "addr", "add", address, "dev", "lo", *nodad], check=True)
        command = [*inside, sys.executable, "-m", "tests.integration.test_validation_network"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    if done.returncode:
        raise AssertionError(done.stderr[-3000:])
    verdicts: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return verdicts


class RealPortsTests(TestCase):
    """What the policy lets through without any entry of the operator, and what not."""

    skip = _usable()

    def setUp(self) -> None:
        """Play the scene, or remember it."""
        self.verdicts = played()

    def valid(self, name: str, address: str | None) -> None:
        self.assertEqual(self.verdicts[name].get("address", "?"), address, self.verdicts[name])

    def refused(self, name: str, words: str) -> None:
        self.assertIn(words, self.verdicts[name].get("detail", "validated"))

    def test_http01(self) -> None:
        """Public and private addresses, on port 80, IPv6 first."""
        self.valid("http-01 public.example", "2606:2800:21f::1")
        self.valid("http-01 private.example", "10.77.0.1")
        self.valid("http-01 10.77.0.1", "10.77.0.1")
        self.valid("http-01 fd77::1", "fd77::1")

    def test_dead_ipv6(self) -> None:
        """An AAAA record that leads nowhere (no route) or to a closed port does not stand in IPv4's way."""
        self.valid("http-01 noroute.example", "10.77.0.1")
        self.valid("http-01 closed.example", "10.77.0.1")

    def test_redirect_to_https(self) -> None:
        """From port 80 to 443 of the same name."""
        self.valid("http-01 secure.example", "10.77.0.1")

    def test_tlsalpn01(self) -> None:
        self.valid("tls-alpn-01 private.example", "10.77.0.1")
        self.refused("tls-alpn-01 public.example", "the certificate is not for public.example alone")

    def test_dns01(self) -> None:
        """Port 53 of a private resolver, by UDP and for the larger record by TCP."""
        self.valid("dns-01 private.example", None)
        self.valid("dns-01 large.example", None)

    def test_behind_the_server(self) -> None:
        """Loopback and the metadata service are not dialled, directly or by redirect."""
        self.refused("http-01 loopback.example", "127.0.0.1 is not dialled")
        self.refused("http-01 metadata.example", "169.254.169.254 is not dialled")
        self.refused("tls-alpn-01 loopback.example", "127.0.0.1 is not dialled")
        for place in ("loopback", "metadata", "mapped", "zero", "name", "decimal", "hex", "port"):
            self.refused(f"http-01 to-{place}.example", "not")
        self.assertEqual(self.verdicts["reached"], {"forbidden": 0})


def scene() -> None:
    """Set the responders up, validate, and print what came of it."""
    react(lambda _: Deferred.fromCoroutine(_play()), [])


REDIRECTS = {
    "secure": "https://secure.example/x",
    "to-loopback": "http://127.0.0.1/",
    "to-metadata": "http://169.254.169.254/latest/meta-data/iam",
    "to-mapped": "http://[::ffff:127.0.0.1]/",
    "to-zero": "http://0.0.0.0/",
    "to-name": "http://loopback.example/",
    "to-decimal": "http://2130706433/",
    "to-hex": "http://0x7f000001/",
    "to-port": "http://10.77.0.1:22/",
}


async def _play() -> None:
    forbidden = _serve(dns_name("private.example"))
    resolvers = Resolvers.of(["10.77.0.1"])
    limits = Limits(connect=1.0, hop=2.0, query=1.0, total=5.0)
    known = validators(reactor, http01_port=80, tlsalpn01_port=443, limits=limits)
    names = ["public", "private", "noroute", "closed", "loopback", "metadata", *REDIRECTS]
    asked = [("http-01", f"{name}.example") for name in names] + [
        ("http-01", "10.77.0.1"),
        ("http-01", "fd77::1"),
    ]
    asked += [("tls-alpn-01", f"{name}.example") for name in ("private", "public", "loopback")]
    asked += [("dns-01", "private.example"), ("dns-01", "large.example")]
    verdicts: dict[str, Any] = {}
    for kind, name in asked:
        started = time.monotonic()
        type = ChallengeType(kind)
        try:
            evidence = await known[type].validate(attempt(name, type, resolvers, allow=()))
            verdict = {"address": evidence.address}
        except Problem as problem:
            verdict = {"detail": problem.detail}
        verdicts[f"{kind} {name}"] = {**verdict, "seconds": round(time.monotonic() - started, 2)}
    verdicts["reached"] = {"forbidden": len(forbidden)}
    print(json.dumps(verdicts))


def _serve(identifier: Any) -> list[Any]:
    """Start every responder; return the list of connections to those that nobody may reach."""
    good = answering(KEY_AUTHORIZATION.encode())

    def script(connection: Connection) -> None:
        request = connection.factory.requests[-1].decode().lower()
        host = request.split("host: ")[1].split("\r\n")[0].removesuffix(".example")
        to = REDIRECTS.get(host) if not request.startswith("get /x") else None
        (redirecting(to) if to else good)(connection)

    private = [f"{name}.example" for name in ("private", "noroute", "closed", *REDIRECTS)]
    value = f'"{dns01_value(KEY_AUTHORIZATION)}"'
    zone = {
        **{(name, "A"): ["10.77.0.1"] for name in private},
        ("public.example", "A"): ["93.184.215.14"],
        ("public.example", "AAAA"): ["2606:2800:21f::1"],
        ("noroute.example", "AAAA"): ["2a00:1450:4001::1"],
        ("closed.example", "AAAA"): ["fd77::1:1"],
        ("loopback.example", "A"): ["127.0.0.1"],
        ("metadata.example", "A"): ["169.254.169.254"],
        ("_acme-challenge.private.example", "TXT"): [value],
        ("_acme-challenge.large.example", "TXT"): [*(f'"{number:0200d}"' for number in range(20)), value],
    }
    DNSResponder(zone).serve("10.77.0.1", 53)
    context = TLSContext(certificate([general(identifier)], acme_identifier()))
    for address in ("10.77.0.1", "93.184.215.14", "fd77::1", "2606:2800:21f::1"):
        reactor.listenTCP(80, Responder(script), interface=address)
        reactor.listenSSL(443, Responder(script), context, interface=address)
    behind = Responder(good)
    for address in ("127.0.0.1", "169.254.169.254", "::1"):
        for port in (80, 443):
            reactor.listenTCP(port, behind, interface=address)
    reactor.listenTCP(22, behind, interface="10.77.0.1")
    return behind.connections


if __name__ == "__main__":
    scene()
