"""Conditions of a search, gathered one after another, and walks over tables that grow."""

from __future__ import annotations

from typing import Any, Self

import attrs


@attrs.define
class Where:
    """Conditions that must all hold, with ``?`` for their parameters."""

    _conditions: list[str] = attrs.field(factory=list)
    parameters: list[Any] = attrs.field(factory=list)

    def also(self, condition: str, *parameters: Any) -> Self:
        """Add a condition."""
        self._conditions.append(condition)
        self.parameters += parameters
        return self

    def equal(self, **values: Any) -> Self:
        """Add that columns have these values; None stands for any value."""
        for column, value in values.items():
            if value is not None:
                self.also(f"{column} = ?", value)
        return self

    def before(self, column: str, cursor: Any) -> Self:
        """Add that a walk goes on behind ``cursor``, if there is one: towards what is older."""
        return self if cursor is None else self.also(f"{column} < ?", cursor)

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""
