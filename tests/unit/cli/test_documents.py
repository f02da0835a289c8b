"""What README.md and docs/ tell people to type at ``certctl`` is a command that there is, with its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from certctl.cli.main import cli

ROOT = Path(__file__).parent.parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^(```+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_CALL = re.compile(r"(?:^ *|sudo |bin/|[(]|-- )certctl ([a-z-]+(?: [^\n]*)?)$")
_ENDS = re.compile(r"\d?[<>|&;)]+.*")


def typed(page: str) -> Iterator[tuple[str, bool]]:
    """The arguments of each call of the command on a page, and whether they are whole, as in a block."""
    for block in _BLOCK.findall(page):
        for line in block.replace("\\\n", " ").splitlines():
            if not line.startswith("#") and (found := _CALL.search(line.split(" #")[0])):
                yield found[1], True
    for span in _INLINE.findall(_FENCED.sub("", page).replace("\n", " ")):
        if found := _CALL.search(span):
            yield found[1], False


def wrong(arguments: str, *, whole: bool) -> str:
    """What ``certctl`` would say of these arguments before it does anything; empty if nothing."""
    words = []
    for word in shlex.split(re.sub(r"\$\([^)]*\)", "X", arguments)):
        if _ENDS.fullmatch(word):
            break
        words.append(word)
    command: click.Command = cli
    context = click.Context(cli, info_name="certctl")
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        if found is None:
            return f"there is no command {words[0]}"
        command, words = found, words[1:]
    context = click.Context(command, parent=context)
    try:
        given, left, _ = command.make_parser(context).parse_args(list(words))
    except click.BadOptionUsage as error:  # an option is named in prose without what follows it
        return error.format_message() if whole else ""
    except click.UsageError as error:
        return error.format_message()
    if left:
        return f"{left[0]} is too much"
    lacking = [
        str(each.name)
        for each in command.params
        if each.required and each.value_is_missing(given.get(each.name or ""))
    ]
    return f"lacks {', '.join(lacking)}" if whole and lacking else ""


class CommandsTests(SynchronousTestCase):
    def test_what_is_typed(self) -> None:
        """Each call on a page is understood; in a block nothing is left out."""
        number = 0
        for page in PAGES:
            for arguments, whole in typed(page.read_text(encoding="utf-8")):
                number += 1
                self.assertEqual(wrong(arguments, whole=whole), "", f"{page.name}: certctl {arguments}")
        self.assertGreater(number, 100)

    def test_mistakes_found(self) -> None:
        """A command that is not there, an option that it has not, too much, and in blocks too little."""
        self.assertIn("no command", wrong("profile paint", whole=True))
        self.assertIn("--profile", wrong("eab create --profile prof-caddy", whole=False))
        self.assertIn("too much", wrong("profile show prof-a prof-b", whole=False))
        self.assertIn("lacks", wrong("profile show", whole=True))
        self.assertEqual(wrong("profile show", whole=False), "")
        self.assertEqual(wrong("cert download ID --format chain > chain.pem", whole=True), "")
