"""A run of the command: what was given on its line, and how a command that asks the server runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.failure import Failure as Wrapped

from certctl.cli import access
from certctl.cli.access import Access, Given
from certctl.cli.client import Api, Http, Https
from certctl.cli.output import Output
from certctl.settings import Settings

T = TypeVar("T")
Work = Callable[[Any], Coroutine[Any, Any, T]]
Handler = Callable[..., Coroutine[Any, Any, None]]


def run(work: Work[T]) -> T:
    """Run a coroutine, which is given the reactor, to its end; return or raise what it does."""
    outcome: list[Any] = []

    def begin(reactor: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(work(reactor)).addBoth(outcome.append)

    with suppress(SystemExit):
        react(begin, ())
    if not outcome:  # interrupted
        raise click.Abort
    if isinstance(outcome[0], Wrapped):
        outcome[0].raiseException()
    result: T = outcome[0]
    return result


class Command(click.Command):
    """A command with examples in its docstring: what follows a backslash and a b keeps its lines, as click has it."""

    def __init__(self, name: str | None = None, *, help: str | None = None, **options: Any) -> None:
        super().__init__(name, help=(help or "").replace("\\b", "\b"), **options)


class Group(Command, click.Group):
    """A group with examples."""


@attrs.define
class Session:
    """What was given, and the ways to the server. Tests give it others."""

    given: Given = attrs.field(factory=Given)
    output: Output = attrs.field(factory=Output)
    run: Callable[[Work[Any]], Any] = run
    reactor: Any = None  # there while a command asks the server
    reach: Callable[[Any, Access], Http] = Https.to

    def ask(self, question: Callable[[Api], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine that is given the API; return what it does."""

        async def work(reactor: Any) -> T:
            self.reactor = reactor
            return await question(self.api(reactor))

        found: T = self.run(work)
        return found

    @property
    def settings(self) -> Settings:
        """The settings of the server on this host."""
        return access.local_settings(self.given)

    def api(self, reactor: Any) -> Api:
        """The REST API of the server; raises Failure if it is not known which one."""
        found = access.find(self.given)
        return Api(found, self.reach(reactor, found))


def session() -> Session:
    """The session of the command that runs."""
    found = click.get_current_context().find_object(Session)
    assert found is not None
    return found


def with_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option --json."""

    def chosen(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            session_of(context).output.as_json = True

    option: Callable[..., Any] = click.option(
        "--json", is_flag=True, expose_value=False, callback=chosen, help="Answer in JSON."
    )
    decorated: Callable[..., Any] = option(function)
    return decorated


def session_of(context: click.Context) -> Session:
    """The session of a context, made where a test gave none."""
    found: Session = context.ensure_object(Session)
    return found


def over_api(function: Handler) -> Callable[..., None]:
    """Make a command of a coroutine that is given the API and the output before its arguments."""

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> None:
        current = session()
        current.ask(lambda api: function(api, current.output, *arguments, **options))

    return with_json(command)


def given(
    server: str | None,
    ca: Path | None,
    key_file: Path | None,
    settings: Path | None,
    environ: Mapping[str, str],
) -> Given:
    """What the command line and the environment say."""
    return Given(server=server, ca=ca, key_file=key_file, settings=settings, environ=dict(environ))
