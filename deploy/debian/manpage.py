"""Writes the manual page of the command `certctl`, made from what the command says of itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import click

from certctl import __version__
from certctl.cli.main import cli

FILES = {
    "/etc/certctl/certctl.env": "the settings of the server",
    "/var/lib/certctl": "what the server keeps: its CA's keys, its database, an API key",
}


def page() -> str:
    """The whole page, in man's macros."""
    moment = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    return "\n".join(
        (
            f'.TH CERTCTL 1 "{moment:%Y-%m-%d}" "certctl {__version__}" "User Commands"',
            *(".SH NAME", "certctl \\- run an ACME server of one's own PKI"),
            *(".SH SYNOPSIS", ".B certctl", "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]..."),
            *(".SH DESCRIPTION", *paragraphs(cli.help or "")),
            *(".SH OPTIONS", *options(cli, click.Context(cli, info_name="certctl"))),
            *(".SH COMMANDS", *commands(cli, click.Context(cli, info_name="certctl"))),
            *(
                ".SH FILES",
                *(line for path, what in FILES.items() for line in (".TP", bold(path), text(what))),
            ),
            *(".SH SEE ALSO", ".BR systemctl (1),", "the pages in /usr/share/doc/certctl"),
            "",
        )
    )


def commands(group: click.Group, context: click.Context) -> Iterator[str]:
    """Each command below a group, with its options."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from commands(command, below)
            continue
        yield ".SS " + text(" ".join((below.command_path, *command.collect_usage_pieces(below)[1:])))
        yield from paragraphs(command.help or "")
        yield from options(command, below)


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Each option, and what it does."""
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            yield from (".TP", bold(record[0]), text(record[1]))


def paragraphs(help: str) -> Iterator[str]:
    """Help's text; a paragraph that begins with a backspace keeps its lines."""
    for paragraph in re.split(r"\n\s*\n", help.strip()):
        verbatim = paragraph.lstrip().startswith("\b")
        lines = [line.strip() for line in paragraph.replace("\b", "").strip().splitlines()]
        yield ".PP"
        yield from ((".nf", *map(text, lines), ".fi") if verbatim else (text(" ".join(lines)),))


def bold(words: str) -> str:
    """Words in bold."""
    return f"\\fB{text(words)}\\fR"


def text(words: str) -> str:
    """Words as they are, whatever man would make of them."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith((".", "\\(aq")) else escaped


if __name__ == "__main__":
    print(page(), end="")
