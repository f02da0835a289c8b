"""JSON that operators write, read strictly: what is unknown or misread is refused by its path, with a remedy."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import attrs

E = TypeVar("E", bound=StrEnum)
WEB_URL = re.compile(r'https?://[^\s<>"\\^`{|}\x00-\x20\x7f-\U0010ffff]{1,2000}\Z')


class PolicyError(ValueError):
    """A policy that cannot be read: where, and what to write instead."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


@attrs.frozen
class Members:
    """The members of an object, each of which may be left out. Every reader raises PolicyError."""

    path: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, value: Any, path: str, known: Collection[str]) -> Members:
        """The members of an object that has none but the known ones."""
        if not isinstance(value, Mapping):
            raise PolicyError(path, f"is not an object: write {{}} or an object of {', '.join(known)}")
        for name in value:
            if name not in known:
                raise PolicyError(f"{path}.{name}", f"is not known here: there are {', '.join(known)}")
        return cls(path, value)

    def has(self, name: str) -> bool:
        """Whether a member is given."""
        return name in self.values

    def within(self, name: str, known: Collection[str]) -> Members:
        """The members of a member that is an object itself."""
        return Members.of(self.values.get(name, {}), self.at(name), known)

    def at(self, name: str) -> str:
        """The path of a member."""
        return f"{self.path}.{name}"

    def switch(self, name: str, default: bool) -> bool:
        """A member that is true or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise PolicyError(self.at(name), "is neither true nor false")
        return value

    def number(self, name: str, least: int, most: int) -> int | None:
        """A member that is an integer in these bounds."""
        value = self.values.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise PolicyError(self.at(name), f"is no whole number from {least} to {most}")
        return value if name in self.values else None

    def choice(self, name: str, kind: type[E]) -> E | None:
        """A member that is one of a few words."""
        if name not in self.values:
            return None
        words = {each.value: each for each in kind}
        value = self.values[name]
        if not isinstance(value, str) or value not in words:
            raise PolicyError(self.at(name), f"is none of {', '.join(words)}")
        return words[value]

    def url(self, name: str) -> str | None:
        """A member that is the URL of a page."""
        value = self.values.get(name)
        if name in self.values and not (isinstance(value, str) and WEB_URL.match(value)):
            raise PolicyError(self.at(name), "is no http:// or https:// URL: leave it out for the server's")
        return value

    def texts(self, name: str) -> list[str] | None:
        """A member that is a list of texts, none of them twice."""
        if name not in self.values:
            return None
        value = self.values[name]
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise PolicyError(self.at(name), "is not a list of texts")
        for position, each in enumerate(value):
            if each in value[:position]:
                raise PolicyError(
                    f"{self.at(name)}[{position}]", f"{each!r} stands there twice: leave one out"
                )
        return list(value)
