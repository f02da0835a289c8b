"""Which names a policy allows: its entries and the identifiers are compared in their one canonical form."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

import attrs
import idna

from certctl.acme.identifiers import Identifier, IdentifierError, IdentifierType, dns_name
from certctl.acme.members import Members, PolicyError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NO_POLICY = "no name policy"  # the rule that lets every name pass
NOT_DENIED = "not denied"  # the rule of a policy that has nothing but ``deny``
MAX_ENTRIES = 1000  # of a list
ENTRIES_TOLD = 10  # of a list, in a refusal
_MEMBERS = ("allow", "deny", "wildcards")
_REMEDY = "write a name, *.name for all below it, or an IP network"


@attrs.frozen
class Verdict:
    """Whether an identifier is allowed, and the rule that says so."""

    allowed: bool
    rule: str  # the entry that let it pass, or a sentence that says what refuses it


@attrs.frozen
class Entries:
    """A list of names, of ``*.name`` for everything below a name at any depth, and of networks."""

    texts: tuple[str, ...] = ()  # canonical
    _names: frozenset[str] = frozenset()
    _above: frozenset[str] = frozenset()  # the names of the entries ``*.name``
    _networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, texts: Sequence[str], path: str) -> Entries:
        """Read entries; raise PolicyError for one that is none."""
        if len(texts) > MAX_ENTRIES:
            raise PolicyError(path, f"has more than {MAX_ENTRIES} entries: split it into several profiles")
        names, above, networks = [], [], []
        for position, text in enumerate(texts):
            where = f"{path}[{position}]"
            if (network := _network(text, where)) is not None:
                networks.append(network)
            elif text.startswith("*."):
                above.append(_name(text, where, text[2:]))
            else:
                names.append(_name(text, where, text))
        told = (*names, *(f"*.{each}" for each in above), *(_text(each) for each in networks))
        return cls(told, frozenset(names), frozenset(above), tuple(networks))

    def matching(self, identifier: Identifier) -> str | None:
        """The entry that an identifier matches, if there is one."""
        if identifier.type is IdentifierType.IP:
            address = ipaddress.ip_address(identifier.value)
            return next((_text(each) for each in self._networks if address in each), None)
        if identifier.value in self._names:
            return identifier.value
        return next((f"*.{each}" for each in _parents(identifier.value) if each in self._above), None)

    def touching(self, identifier: Identifier) -> str | None:
        """The entry that an identifier matches, or a name that a wildcard would stand for."""
        if found := self.matching(identifier):
            return found
        if not identifier.wildcard:
            return None
        below = identifier.base.value
        return next((each for each in self.texts if each.partition(".")[2] == below), None)

    def __str__(self) -> str:
        more = len(self.texts) - ENTRIES_TOLD
        told = ", ".join(self.texts[:ENTRIES_TOLD])
        return f"{told} and {more} more" if more > 0 else told


@attrs.frozen
class NamePolicy:
    """Which identifiers are allowed; with no ``allow``, all that no ``deny`` entry names. ``deny`` wins.

    A wildcard is also denied if one name of those that it stands for is.
    """

    allow: Entries = attrs.field(factory=Entries)
    deny: Entries = attrs.field(factory=Entries)
    wildcards: bool = True

    @classmethod
    def of(cls, policy: Members) -> NamePolicy:
        """Read the member ``names`` of a policy; raise PolicyError."""
        names = policy.within("names", _MEMBERS)
        allow, deny = (
            Entries.of(_some(names, each), names.at(each)) if names.has(each) else Entries()
            for each in ("allow", "deny")
        )
        return cls(allow, deny, names.switch("wildcards", True))

    @property
    def is_open(self) -> bool:
        """Whether nothing says which names are allowed, so that all are that are not denied."""
        return not self.allow.texts

    def judge(self, identifier: Identifier, owner: str) -> Verdict:
        """Judge an identifier; ``owner`` is whose policy this is, in words."""
        if identifier.wildcard and not self.wildcards:
            return Verdict(False, f"name policy of {owner} allows no wildcards")
        if self.deny.texts and (denied := self.deny.touching(identifier)):
            return Verdict(False, f"name policy of {owner} denies {denied}")
        if self.is_open:
            return Verdict(True, NOT_DENIED if self.deny.texts else NO_POLICY)
        if rule := self.allow.matching(identifier):
            return Verdict(True, rule)
        return Verdict(False, f"name policy of {owner} allows {self.allow}")


def _some(names: Members, name: str) -> list[str]:
    """A list that is not empty: [] would read like "nothing", and would mean "everything"."""
    texts = names.texts(name)
    if not texts and name == "allow":
        raise PolicyError(names.at(name), "is empty: leave it out to allow every name, or write an entry")
    return texts or []


def _network(text: str, where: str) -> Network | None:
    """The network that an entry spells, None if it is a name."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        if "/" in text or ":" in text:
            raise PolicyError(where, f"{text!r} is no IP network: write one as 10.0.0.0/8") from None
        return None
    if "/" in text and network.network_address != ipaddress.ip_address(text.partition("/")[0]):
        raise PolicyError(where, f"{text!r} has bits beyond its prefix: write {network}")
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        raise PolicyError(where, f"{text!r} is IPv4 mapped into IPv6, which no identifier is: write IPv4")
    return network


def _name(text: str, where: str, name: str) -> str:
    """The canonical form of the name in an entry."""
    try:
        found = dns_name(name)
    except IdentifierError as error:
        raise PolicyError(where, f"{text!r} is refused, as {error}: {_remedy(text)}") from None
    if found.wildcard:
        raise PolicyError(where, f"{text!r} has two asterisks: {_REMEDY}")
    return found.value


def _remedy(text: str) -> str:
    """What to write instead; for an IDN, its A-labels."""
    if text in ("", "*"):
        return "leave allow out to allow every name"
    if text.isascii():
        return _REMEDY
    star = "*." if text.startswith("*.") else ""
    try:
        return f"write {star}{idna.encode(text[len(star) :].lower()).decode('ascii')}"
    except (idna.IDNAError, UnicodeError):
        return _REMEDY


def _text(network: Network) -> str:
    """A network, or an address if it is one of a single address."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _parents(name: str) -> Iterator[str]:
    """The names above a name, the nearest first."""
    while "." in name:
        name = name.partition(".")[2]
        yield name
