from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from certctl.cli import access, archive, failures, values
from certctl.cli.access import Given
from certctl.cli.archive import DATABASE, Member
from certctl.cli.client import USER_AGENT
from certctl.cli.failures import Failure
from certctl.cli.main import cli
from certctl.cli.output import Output


class ValueTests(SynchronousTestCase):
    def test_spans(self) -> None:
        for text, seconds in (("90d", 7776000), ("1h30m", 5400), ("2w", 1209600), ("5s", 5)):
            self.assertEqual(values.span(text), seconds)
        for text in ("", "5", "d", "5 d", "5y", "-5d", "٥d"):
            self.assertRaises(click.BadParameter, values.span, text)

    def test_moments(self) -> None:
        """Dates, times with their offset, and spans from now, before and after it."""
        self.assertEqual(values.moment("2027-01-31"), "2027-01-31T00:00:00+00:00")
        self.assertEqual(values.moment("2027-01-31T12:00:00+02:00"), "2027-01-31T12:00:00+02:00")
        past = datetime.fromisoformat(values.moment("-1d"))
        self.assertAlmostEqual((datetime.now(UTC) - past) / timedelta(days=1), 1, places=3)
        self.assertRaises(click.BadParameter, values.moment, "soon")

    def test_members(self) -> None:
        """Paths become objects, and values are JSON or text."""
        made = values.members(
            ["name=a=b", "policy.max_identifiers=5", "policy.eab=required", 'policy.names.allow=["x"]']
        )
        self.assertEqual(
            made,
            {"name": "a=b", "policy": {"max_identifiers": 5, "eab": "required", "names": {"allow": ["x"]}}},
        )
        for wrong in (["name"], ["=1"], ["a..b=1"], ["a=1", "a.b=2"]):
            self.assertRaises(click.UsageError, values.members, wrong)


class FailureTests(SynchronousTestCase):
    def test_statuses(self) -> None:
        """Each refusal has its exit status, and says what to do."""
        table = (
            (400, 1, "Refused"), (401, 4, "CERTCTL_API_KEY"), (403, 4, "role"), (404, 5, "list"), (409, 6, "conflicts"),
            (412, 6, "Start again"), (429, 7, "in 30 seconds"), (500, 1, "log"), (503, 7, "in 30 seconds"),
        )  # fmt: skip
        for status, exit, words in table:
            failure = failures.refused(status, "why.", "30", "abc")
            self.assertEqual(failure.exit_code, exit, status)
            self.assertIn(words, failure.message)
            self.assertEqual(failure.message.count("\n"), 0)


class OutputTests(SynchronousTestCase):
    def said(self, *, terminal: bool, as_json: bool = False) -> str:
        file = Terminal() if terminal else io.StringIO()
        output = Output(as_json=as_json, file=file)
        self.patch(__import__("os"), "environ", {"TERM": "xterm", "COLUMNS": "200"})
        rows = [{"id": "a" * 90, "status": "revoked", "names": ["evil\x1b[31m\u202e"]}]
        output.rows(rows, (("id", "id"), ("status", "status"), ("names", "names")), "none")
        return file.getvalue()

    def test_piped(self) -> None:
        """In a pipe there are no colours, and nothing is cut off or wrapped."""
        said = self.said(terminal=False)
        self.assertNotIn("\x1b", said)
        self.assertEqual(len(said.splitlines()), 2)
        self.assertIn("a" * 90, said)

    def test_terminal(self) -> None:
        """On a terminal there are colours of ours, and none that a client put into a name."""
        said = self.said(terminal=True)
        self.assertIn("\x1b[", said)
        self.assertNotIn("evil\x1b", said)
        self.assertNotIn("\u202e", said)

    def test_json(self) -> None:
        """JSON is what the server said."""
        self.assertEqual(
            json.loads(self.said(terminal=True, as_json=True))[0]["names"], ["evil\x1b[31m\u202e"]
        )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class AccessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = Path(self.mktemp())
        self.state.mkdir()
        (self.state / "api-key").write_text("local-key\n")
        self.local = {"CERTCTL_STATE_DIR": str(self.state), "CERTCTL_SERVER_PORT": "9443"}

    def failing(self, given: Given) -> str:
        return str(self.assertRaises(Failure, access.find, given).message)

    def test_named(self) -> None:
        """The line goes before the environment; the key is in neither line nor output."""
        environ = {"CERTCTL_SERVER_URL": "https://a.example", "CERTCTL_API_KEY": "secret"}
        found = access.find(Given(server="https://b.example:8443/", environ=environ))
        self.assertEqual((found.url, found.key, found.local), ("https://b.example:8443", "secret", False))
        self.assertNotIn("secret", repr(found))
        self.assertNotIn("--key ", cli.get_help(click.Context(cli)))

    def test_local_key_stays_local(self) -> None:
        """The key of the server on this host is not sent to another that is named."""
        words = self.failing(Given(server="https://b.example", environ=self.local))
        self.assertIn("no API key", words)

    def test_never_in_the_clear(self) -> None:
        for url in ("http://a.example", "https://u:p@a.example", "https://a.example/acme", "ftp://a"):
            self.assertIn("is not the URL", self.failing(Given(server=url, environ={"CERTCTL_API_KEY": "k"})))

    def test_nothing_given(self) -> None:
        """Who is not on the host is told what to give."""
        words = self.failing(Given(environ={"CERTCTL_STATE_DIR": "/nonexistent"}))
        self.assertIn("give --server URL", words)

    def test_no_api(self) -> None:
        self.assertIn(
            "CERTCTL_AUTH_TYPE", self.failing(Given(environ={**self.local, "CERTCTL_AUTH_TYPE": "none"}))
        )

    def test_bad_settings(self) -> None:
        self.assertIn(
            "CERTCTL_SERVER_PORT", self.failing(Given(environ={**self.local, "CERTCTL_SERVER_PORT": "x"}))
        )

    def test_key_file(self) -> None:
        """A file's key goes before the environment's; what no key can be is refused before it is sent."""
        file = self.state / "mine"
        file.write_text("of-the-file\n")
        environ = {"CERTCTL_API_KEY": "k"}
        self.assertEqual(
            access.find(Given(server="a.example", key_file=file, environ=environ)).key, "of-the-file"
        )
        file.write_text("two\nlines")
        self.assertIn("no API key", self.failing(Given(server="a.example", key_file=file)))

    def test_bad_ca(self) -> None:
        file = self.state / "api-key"
        words = self.failing(Given(server="a.example", ca=file, environ={"CERTCTL_API_KEY": "k"}))
        self.assertIn("no certificate", words)


class ArchiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.state = self.folder / "state"
        for name in ("api-key", "ca.lock", ".x.new", "certctl.sqlite", "certctl.sqlite-wal", "certctl-nonces/key",
                     "before-restore-x/api-key", "sub/file"):  # fmt: skip
            (self.state / name).parent.mkdir(parents=True, exist_ok=True)
            (self.state / name).write_text(name)
            (self.state / name).chmod(0o600)
        self.file = self.folder / "backup.tar.gz"

    def write(self) -> None:
        found = archive.members(self.state, self.state / "certctl.sqlite")
        found.append(Member(DATABASE, self.state / "certctl.sqlite", 0o600))
        archive.write(self.file, found, {"database": "sqlite"})

    def unpacked(self) -> list[str]:
        to = Path(self.mktemp())
        to.mkdir()
        archive.unpack(self.file, to)
        for path in to.rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o700 if path.is_dir() else 0o600, path)
        return sorted(str(each.relative_to(to)) for each in to.rglob("*") if each.is_file())

    def test_what_is_in_it(self) -> None:
        """The state without locks, spent nonces, beginnings, and what was put aside; the database once."""
        self.write()
        self.assertEqual(self.unpacked(), ["database.sqlite", "state/api-key", "state/sub/file"])
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)

    def test_changed(self) -> None:
        """A backup in which anything is changed, added or missing is refused."""
        import tarfile

        self.write()
        with tarfile.open(self.file) as old:
            entries = [(each, (old.extractfile(each) or io.BytesIO()).read()) for each in old]
        one, evil = tarfile.TarInfo("state/new"), tarfile.TarInfo("state/../../evil")
        for change, words in (
            (entries[:-1], "lacks"),
            ([*entries, (one, b"")], "does not"),
            ([*entries, (evil, b"")], "does not"),
            (entries[1:], "manifest"),
            ([*entries[:-1], (entries[-1][0], b"x" * len(entries[-1][1]))], "not what the manifest says"),
        ):
            with tarfile.open(self.file, "w:gz") as new:
                for entry, content in change:
                    entry.size = len(content)
                    new.addfile(entry, io.BytesIO(content))
            self.assertIn(words, self.assertRaises(Failure, self.unpacked).message)
        self.file.write_bytes(b"not a backup")
        self.assertIn("cannot be read", self.assertRaises(Failure, self.unpacked).message)


class HelpTests(SynchronousTestCase):
    def test_every_command(self) -> None:
        """Each says in a sentence what it does, each group has examples, and docs/cli.md names them all."""
        page = (Path(__file__).parents[3] / "docs/cli.md").read_text(encoding="utf-8")

        def look(command: click.Command, path: str) -> None:
            first = (command.help or "").partition("\n\n")[0]
            self.assertRegex(first, r"\A[A-Z][^\n]{3,}[.)]\Z|\A[A-Z]", path)
            self.assertIn(f"`{path}", page)
            self.assertNotIn("\\b", command.help or "", path)
            if isinstance(command, click.Group):
                self.assertIn(
                    "Examples:" if path != "certctl" else "certctl profile list", command.help or "", path
                )
                for name, below in command.commands.items():
                    look(below, f"{path} {name}")

        look(cli, "certctl")

    def test_user_agent(self) -> None:
        self.assertTrue(USER_AGENT.startswith("certctl-cli/"))
