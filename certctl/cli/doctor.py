"""``certctl doctor``: what is wrong with a server, and what to do about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import click

from certctl.cli import access, doctor_network, doctor_order, doctor_server
from certctl.cli.client import Api
from certctl.cli.doctor_host import look_at_host
from certctl.cli.doctor_state import never_started
from certctl.cli.failures import Exit, Failure
from certctl.cli.findings import Finding, Level, fail, tell
from certctl.cli.session import Command, Session, session, with_json
from certctl.settings import Settings


@click.command(cls=Command)
@click.option("--reach", "hosts", multiple=True, metavar="HOST", help="Dial this host as a validator would.")
@click.option(
    "--resolve", "name", metavar="NAME", help="Ask the resolvers for this name, and not for the root."
)
@click.option(
    "--order", "profile", metavar="PROFILE", help="Order a certificate under this profile, and revoke it."
)
@click.option(
    "--name", "ordered", metavar="NAME", help="The name to order; if not given, one that nobody has."
)
@with_json
@click.pass_context
def doctor(
    context: click.Context,
    hosts: tuple[str, ...],
    name: str | None,
    profile: str | None,
    ordered: str | None,
) -> None:
    r"""Say what is wrong with a server, and what to do about it; exit 1 if something is.

    On its host, as root, it looks at settings, files, CA, database, clock and resolvers too; with --server, at what
    can be seen from here.

    \b
    Examples:
      certctl doctor
      certctl doctor --reach www.corp.example
      certctl doctor --order prof-default
    """
    current = session()
    settings: Settings | None = None
    found: list[Finding] = []
    if not (current.given.server or current.given.environ.get(access.SERVER_URL)):
        try:
            settings = current.settings
        except Failure as failure:
            found.append(fail("settings", failure.message, "correct it: the server would not start"))
            tell(current.output, found)
            context.exit(int(Exit.FAILED))
        found += look_at_host(settings)
    found += current.run(lambda reactor: _asked(current, reactor, settings, hosts, name, profile, ordered))
    tell(current.output, found)
    if any(each.level is Level.FAIL for each in found):
        context.exit(int(Exit.FAILED))


async def _asked(
    current: Session,
    reactor: Any,
    settings: Settings | None,
    hosts: tuple[str, ...],
    name: str | None,
    profile: str | None,
    ordered: str | None,
) -> list[Finding]:
    """What is found by asking the server and the network."""
    found: list[Finding] = []
    if settings is None or not never_started(settings):
        found += [each async for each in _server(current, reactor, settings, profile, ordered)]
    if settings is None:
        if hosts or name:
            remedy = "run this on the server's host, without --server"
            found.append(fail("reach", "what validators reach is seen from the server's host alone", remedy))
        return found
    found += [each async for each in doctor_network.look_at_resolvers(reactor, settings, name)]
    for each in hosts:
        found += [finding async for finding in doctor_network.look_at_host_of(reactor, settings, each)]
    return found


async def _server(
    current: Session, reactor: Any, settings: Settings | None, profile: str | None, ordered: str | None
) -> AsyncIterator[Finding]:
    try:
        api: Api = current.api(reactor)
    except Failure as failure:
        words, _, remedy = failure.message.partition(": ")
        yield fail("server", words, remedy)
        return
    answers = True
    async for finding in doctor_server.look_at_server(api, settings):
        answers = answers and not (finding.check == "server" and finding.level is Level.FAIL)
        yield finding
    if profile is not None and answers:
        async for finding in doctor_order.order_under(api, profile, ordered):
            yield finding
