"""What ``certctl doctor`` tries of the network, as the server's validators see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from certctl.acme.identifiers import Identifier, IdentifierError, IdentifierType, dns_name, ip_address
from certctl.acme.problems import Problem
from certctl.cli.findings import Finding, fail, ok, warn
from certctl.settings import Settings
from certctl.validation.addresses import AddressDenied, EgressPolicy, Network, Resolvers
from certctl.validation.resolver import NameNotFound, NoRecords, Resolver
from certctl.validation.wire import Dialler

ROOT = "."  # every resolver knows something of it


def network_of(settings: Settings) -> Network:
    """The network as the settings let validation see it."""
    return Network(
        EgressPolicy(settings.acme_server_egress_allow, settings.acme_server_egress_deny),
        Resolvers.of(map(_spelled, settings.acme_server_dns01_resolver)),
    )


def _spelled(server: tuple[str, int]) -> str:
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def look_at_resolvers(reactor: Any, settings: Settings, name: str | None) -> AsyncIterator[Finding]:
    """Ask each resolver for a name, or for something of the root."""
    resolver = Resolver(reactor)
    for server in settings.acme_server_dns01_resolver:
        one = Resolvers.of([_spelled(server)])
        try:
            if name is None:
                await resolver.caa(ROOT, one)
                found = "it answers"
            else:
                found = f"{name} is {', '.join(map(str, await resolver.addresses(name, one)))}"
        except (NoRecords, NameNotFound) as problem:  # an answer as well
            found = "it answers" if name is None else str(problem.detail)
        except Problem as problem:
            yield warn(
                "resolver",
                f"{_spelled(server)}: {problem.detail}",
                "name one that this host can ask: CERTCTL_ACME_SERVER_DNS01_RESOLVER (challenge mode needs it);"
                " for one that knows its own zones alone: certctl doctor --resolve NAME",
            )
            continue
        yield ok("resolver", f"{_spelled(server)}: {found}")


async def look_at_host_of(reactor: Any, settings: Settings, text: str) -> AsyncIterator[Finding]:
    """Judge the addresses of a host, and dial its ports, as http-01 and tls-alpn-01 would."""
    host = identifier_of(text)
    if host is None:
        yield fail(
            "reach", f"{text!r} is neither a name nor an address", "write it as a client would order it"
        )
        return
    network, resolver = network_of(settings), Resolver(reactor)
    try:
        if host.type is not IdentifierType.IP:
            for address in await resolver.addresses(host.value, network.resolvers):
                yield _judged(host.value, address, network)
        ports = (
            ("http-01", settings.acme_server_http01_port),
            ("tls-alpn-01", settings.acme_server_tlsalpn01_port),
        )
        for type, port in ports:
            yield await _dialled(Dialler(reactor, resolver), type, host, port, network)
    except Problem as problem:
        yield fail(
            "reach", f"{host.value}: {problem.detail}", "put the name into the DNS that the resolvers ask"
        )


def identifier_of(text: str) -> Identifier | None:
    """The name or address that a text spells, if it does."""
    for read in (ip_address, dns_name):
        try:
            return read(text)
        except IdentifierError:
            continue
    return None


def _judged(name: str, address: Any, network: Network) -> Finding:
    try:
        network.egress.judge(address)
    except AddressDenied as denied:
        return _refused(f"{name} is {address}, which is not dialled: {denied.reason}", str(address))
    rule = network.egress.rule_for(address)
    return ok("reach", f"{name} is {address}, which may be dialled (rule {rule.network})")


def _refused(words: str, address: str) -> Finding:
    return warn("reach", words, f"if it is meant to be dialled: CERTCTL_ACME_SERVER_EGRESS_ALLOW={address}")


async def _dialled(dialler: Dialler, type: str, host: Identifier, port: int, network: Network) -> Finding:
    try:
        async with await dialler.wire(host, port, network) as wire:
            await wire.connect(Factory.forProtocol(Protocol))
            return ok("reach", f"{type} reaches {host.value} at {wire.dialled} port {port}")
    except AddressDenied as denied:
        remedy = f"if it is meant to be dialled: CERTCTL_ACME_SERVER_EGRESS_ALLOW={denied.address}"
        return fail("reach", f"{type} would refuse: {denied.detail}", remedy)
    except Problem as problem:
        remedy = f"let the server through to port {port}, or answer another challenge"
        return fail("reach", f"{type} cannot reach {host.value}: {problem.detail}", remedy)
