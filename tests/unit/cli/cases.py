"""The command, run in this process against a server on a bench."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from certctl.cli.access import Access, Given
from certctl.cli.client import Answer
from certctl.cli.main import cli
from certctl.cli.session import Session, Work
from tests.unit.web.api.cases import ApiCase
from tests.unit.web.bench import ORIGIN, Bench


class BenchHttp:
    """A way to the bench in place of the network; keeps what was sent."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.sent: list[tuple[str, str, Mapping[str, str], bytes]] = []

    async def __call__(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        self.sent.append((method, url, headers, body or b""))
        response = self.bench.request(method, url, body or b"", headers)
        received = {name.lower(): value for name, value in response.headers}
        return Answer(response.status, received, response.body)


class CommandCase(ApiCase):
    """A server, and the command of an operator who has an admin's key."""

    def setUp(self) -> None:
        super().setUp()
        self.http = BenchHttp(self.bench)
        self.environ = {"CERTCTL_SERVER_URL": ORIGIN, "CERTCTL_API_KEY": "boss-key"}

    def run_command(
        self, *arguments: str, input: str | None = None, env: Mapping[str, str] | None = None
    ) -> Result:
        """Run the command to its end, whatever that is."""

        def run(work: Work[Any]) -> Any:
            outcome: list[Any] = []
            _ = Deferred.fromCoroutine(work(Clock())).addBoth(outcome.append)
            if isinstance(outcome[0], Failure):
                outcome[0].raiseException()
            return outcome[0]

        def reach(reactor: Any, access: Access) -> BenchHttp:
            return self.http

        session = Session(given=Given(environ=self.environ), run=run, reach=reach)
        result = CliRunner().invoke(cli, arguments, obj=session, input=input, env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def certctl(self, *arguments: str, input: str | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run a command that must succeed; return what it says."""
        result = self.run_command(*arguments, input=input, env=env)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout

    def told(self, *arguments: str) -> Any:
        """Run a command that must succeed; return its JSON."""
        return json.loads(self.certctl(*arguments, "--json"))

    def assertFails(self, status: int, words: str, *arguments: str, input: str | None = None) -> None:
        """Check the exit status, and that a sentence has these words and no traceback."""
        result = self.run_command(*arguments, input=input)
        self.assertEqual(result.exit_code, status, result.output)
        self.assertIn(words, result.stderr)
        self.assertNotIn("Traceback", result.output)
