"""For which names a CA may have certificates: the name constraints of its certificate (RFC 5280 section 4.2.1.10)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Self

import attrs
from cryptography import x509

from certctl.acme.identifiers import Identifier, IdentifierError, IdentifierType, dns_name

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
EVERY_NETWORK: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
EVERY_NAME = ""  # the subtree of all DNS names
_TOLD = 10  # subtrees, in a refusal


@attrs.frozen
class Subtrees:
    """DNS names with all that is below them, and networks."""

    names: tuple[str, ...] = ()  # with a dot in front: only what is below
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, names: Iterable[x509.GeneralName] | None) -> Self:
        """The subtrees among general names; those of other kinds are no identifier's."""
        found = list(names or ())
        return cls(
            tuple(each.value.lower() for each in found if isinstance(each, x509.DNSName)),
            tuple(
                value
                for each in found
                if isinstance(value := each.value, ipaddress.IPv4Network | ipaddress.IPv6Network)
            ),
        )

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Read subtrees as operators write them, ``corp.example`` and ``10.0.0.0/8``; raise ValueError."""
        names: list[str] = []
        networks: list[Network] = []
        for text in texts:
            try:
                networks.append(ipaddress.ip_network(text))
                continue
            except ValueError:
                if "/" in text or ":" in text:
                    raise ValueError(f"{text!r} is no IP network: 10.0.0.0/8 would be one") from None
            try:
                name = dns_name(text.removeprefix("*.").removeprefix("."))
            except IdentifierError as error:
                raise ValueError(f"{text!r} is no name: {error}") from None
            names.append(name.value)
        return cls(tuple(names), tuple(networks))

    def general(self) -> list[x509.GeneralName]:
        """The subtrees as a certificate has them."""
        return [*map(x509.DNSName, self.names), *map(x509.IPAddress, self.networks)]

    def hold(self, identifier: Identifier) -> bool:
        """Whether an identifier lies in one of them; a wildcard does if all that it stands for do."""
        if identifier.type is IdentifierType.IP:
            address = ipaddress.ip_address(identifier.value)
            return any(address in each for each in self.networks)
        return any(_below(identifier.value, each) for each in self.names)

    def touch(self, identifier: Identifier) -> bool:
        """Whether an identifier lies in one of them, or a wildcard stands for a name that does."""
        if self.hold(identifier):
            return True
        below = identifier.base.value
        return identifier.wildcard and any(
            each.removeprefix(".").partition(".")[2] == below for each in self.names
        )

    def __str__(self) -> str:
        texts = [*(each or "every name" for each in self.names), *map(str, self.networks)]
        more = len(texts) - _TOLD
        return ", ".join(texts[:_TOLD]) + (f" and {more} more" if more > 0 else "")


@attrs.frozen
class NameConstraints:
    """What one CA's certificate says of the names below it.

    Names are judged by permitted names, addresses by permitted networks; of a kind that has no permitted subtree, all
    is permitted. What is excluded is not, whatever is permitted.
    """

    owner: str  # the name of the CA
    permitted: Subtrees = attrs.field(factory=Subtrees)
    excluded: Subtrees = attrs.field(factory=Subtrees)

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Self | None:
        """The constraints of a CA's certificate; None if it has none."""
        try:
            found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            return None
        name = certificate.subject.rfc4514_string()
        return cls(name, Subtrees.of(found.permitted_subtrees), Subtrees.of(found.excluded_subtrees))

    def refusal(self, identifier: Identifier) -> str | None:
        """Why a CA below this one cannot have an identifier certified; None if it can."""
        if self.excluded.touch(identifier):
            return (
                f"the CA {self.owner} must not certify names in {self.excluded} (RFC 5280 section 4.2.1.10)"
            )
        kind = self.permitted.networks if identifier.type is IdentifierType.IP else self.permitted.names
        if kind and not self.permitted.hold(identifier):
            return f"the CA {self.owner} certifies only names in {self.permitted} (RFC 5280 section 4.2.1.10)"
        return None


def extension(permitted: Subtrees, excluded: Subtrees) -> x509.NameConstraints | None:
    """The extension that permits what is named and nothing else; None where nothing is named.

    With names alone, the standard would leave all addresses permitted, and with networks alone, all names; here these
    are excluded then.
    """
    if permitted.names and not permitted.networks:
        excluded = Subtrees(excluded.names, EVERY_NETWORK)
    elif permitted.networks and not permitted.names:
        excluded = Subtrees((EVERY_NAME,), excluded.networks)
    if not (permitted.names or permitted.networks or excluded.names or excluded.networks):
        return None
    return x509.NameConstraints(permitted.general() or None, excluded.general() or None)


@lru_cache(maxsize=256)
def of_chain(chain: tuple[bytes, ...]) -> tuple[NameConstraints, ...]:
    """The constraints under which the first CA of a chain is, in DER."""
    found = (NameConstraints.of(x509.load_der_x509_certificate(each)) for each in chain)
    return tuple(each for each in found if each is not None)


def refusals(constraints: Iterable[NameConstraints], identifier: Identifier) -> Iterator[str]:
    """Why an identifier cannot be had under these constraints."""
    for each in constraints:
        if (refusal := each.refusal(identifier)) is not None:
            yield refusal


def _below(name: str, base: str) -> bool:
    """Whether a name is the base with labels added on its left, or none (with a dot in front of it: at least one)."""
    if base == EVERY_NAME:
        return True
    if base.startswith("."):
        return name.endswith(base) and len(name) > len(base)
    return name == base or name.endswith(f".{base}")
