"""How a setting is declared: everything that its reader and its documentation need, in one place."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs

from certctl.settings_parsing import Kind
from certctl.settings_sources import SettingsError

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Setting:
    """What is declared of one setting."""

    section: Section
    kind: Kind[Any]
    default: Any
    sentence: str
    secret: bool  # its value appears in no message
    default_words: str | None  # where the default depends on the machine

    @property
    def default_text(self) -> str:
        """The default as it would be written in a settings file."""
        return str(self.kind.render(self.default))

    def read(self, variable: str, text: str) -> Any:
        """Return the value that ``text`` spells; raise SettingsError in a sentence for the operator."""
        try:
            return self.kind.parse(text)
        except ValueError:
            given = "has a value that is not allowed" if self.secret else f"is {shown(text)}"
            raise SettingsError(f"{variable} {given}, but must be {self.kind.allowed}.") from None


def shown(text: str) -> str:
    """Quote a value for a message of one line."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


@attrs.frozen
class Section:
    """Settings that the documentation lists together."""

    title: str

    def setting(
        self,
        kind: Kind[T],
        default: T,
        sentence: str,
        *,
        secret: bool = False,
        default_words: str | None = None,
    ) -> T:
        """Declare a setting; used as the default of a field of Settings."""
        declaration = Setting(
            section=self,
            kind=kind,
            default=default,
            sentence=sentence,
            secret=secret,
            default_words=default_words,
        )
        field: T = attrs.field(default=default, repr=not secret, metadata={Setting: declaration})
        return field
