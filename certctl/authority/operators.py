"""Who operators are, and how a use case says no to them."""

from __future__ import annotations

from enum import Enum, StrEnum, auto

import attrs


class Role(StrEnum):
    """What the holder of a key may do; who may do more may also do less."""

    READ_ONLY = "read-only"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do what that one may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@attrs.frozen
class Caller:
    """Who asks: the name of a key, and its role."""

    name: str
    role: Role

    @property
    def actor(self) -> str:
        """How the trail names the caller."""
        return f"api-key:{self.name}"


class Kind(Enum):
    """Why something is not done."""

    INVALID = auto()  # what was asked makes no sense
    ABSENT = auto()  # what it is about is not there
    CONFLICT = auto()  # it contradicts what is there
    CHANGED = auto()  # what it is about was changed since it was read


class Refused(Exception):
    """A use case was asked for what it does not do. The text is one sentence for the operator."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def absent(what: str, id: str) -> Refused:
    """Nothing of that kind has that id."""
    return Refused(Kind.ABSENT, f"there is no {what} {id[:64]!r}")
