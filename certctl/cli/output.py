"""What a command says: tables for people, JSON for programs, colours for terminals alone."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

WIDE = 1000  # columns of what is piped: nothing is cut off for a program
COLOURS = {
    "ok": "green",
    "valid": "green",
    "active": "green",
    "ready": "green",
    "warn": "yellow",
    "pending": "yellow",
    "paused": "yellow",
    "expired": "yellow",
    "archived": "yellow",
    "off": "yellow",
    "fail": "bold red",
    "no": "red",
    "invalid": "red",
    "revoked": "red",
    "deactivated": "red",
}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
# What a terminal would obey: names, reasons and the like may be any client's words.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

Column = tuple[str, str | Callable[[Any], Any]]  # the heading, and the member or what makes the cell


class Output:
    """Says things, as JSON or for people."""

    def __init__(self, *, as_json: bool = False, file: TextIO | None = None) -> None:
        self.as_json = as_json
        self._file = file

    @property
    def _console(self) -> Console:
        """Made when something is said: a test may have put another stream in the place of the first."""
        file = self._file or sys.stdout
        if file.isatty():
            return Console(file=file, highlight=False, emoji=False)
        return Console(
            file=file, highlight=False, emoji=False, width=WIDE, color_system=None, force_terminal=False
        )

    def json(self, value: Any) -> None:
        """Say a value as JSON."""
        click.echo(json.dumps(value, indent=2, ensure_ascii=False), file=self._file)

    def rows(self, found: Sequence[Any], columns: Sequence[Column], nothing: str) -> None:
        """Say a list: a line for each, under headings; ``nothing`` if there is none."""
        if self.as_json:
            self.json(list(found))
            return
        if not found:
            click.echo(nothing, err=True)
            return
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for heading, _ in columns:
            table.add_column(heading.upper(), overflow="fold")
        for each in found:
            table.add_row(*(_cell(_of(each, column)) for _, column in columns))
        self._lines(table)

    def event(self, found: Any, columns: Sequence[Column]) -> None:
        """Say one of many as it comes: a line, of JSON or for people."""
        if self.as_json:
            click.echo(json.dumps(found, ensure_ascii=False), file=self._file)
            return
        line = "  ".join(shown(_of(found, column)) for _, column in columns)
        click.echo(line.replace("\n", " "), file=self._file)

    def object(self, found: Mapping[str, Any], leave_out: Collection[str] = ()) -> None:
        """Say an object: a line for each member."""
        if self.as_json:
            self.json(found)
            return
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in found.items():
            if name not in leave_out:
                table.add_row(name, _cell(value))
        self._lines(table)

    def line(self, label: str, words: str) -> None:
        """Say a line that begins with a label in its colour."""
        text = Text(f"{label:5}", style=COLOURS.get(label, ""))
        text.append(printable(words), style="")
        self._console.print(text, soft_wrap=True)

    def done(self, words: str, value: Any = None) -> None:
        """Say that something was done: the words, or the value as JSON."""
        if self.as_json:
            self.json({} if value is None else value)
        else:
            self._console.print(escape(printable(words)), soft_wrap=True)

    def plain(self, text: str) -> None:
        """Say a text as it is, for the next program of a pipe."""
        click.echo(text, nl=not text.endswith("\n"), file=self._file)

    def warn(self, words: str) -> None:
        """Say something that is not the answer, to people alone."""
        click.secho(f"warning: {printable(words)}", fg="yellow", err=True)

    def _lines(self, table: Table) -> None:
        """Print a table without blanks at the ends of its lines."""
        console = self._console
        if console.is_terminal:
            console.print(table)
            return
        with console.capture() as captured:
            console.print(table)
        click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), file=self._file)


def _of(each: Any, column: str | Callable[[Any], Any]) -> Any:
    return each.get(column) if isinstance(column, str) else column(each)


def _cell(value: Any) -> Text:
    words = shown(value)
    return Text(words, style=COLOURS.get(words.partition(" ")[0], ""))


def shown(value: Any) -> str:
    """A value in a cell: times to the minute, lists with commas, other things as JSON has them."""
    if value is None or value == [] or value == {} or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return printable(moment(value) if _MOMENT.match(value) else value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return printable(", ".join(value))
    if isinstance(value, dict | list):
        return printable(json.dumps(value, ensure_ascii=False))
    return str(value)


def printable(text: str) -> str:
    """A text without what a terminal would obey, or show in another order."""
    return _CONTROL.sub(lambda found: "\n" if found[0] == "\n" else "\N{REPLACEMENT CHARACTER}", text)


def moment(text: str) -> str:
    """A time of the API to the minute, in UTC."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")
    except ValueError:
        return text


def identifiers(found: Mapping[str, Any]) -> str:
    """The names of an order, or of whatever has such a list."""
    given = found.get("identifiers") or found.get("names") or []
    return ", ".join(str(each.get("value")) if isinstance(each, dict) else str(each) for each in given)
