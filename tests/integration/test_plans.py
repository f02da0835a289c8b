"""By which plans PostgreSQL answers a server whose database is filled: none reads what grows from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks import filled, pages, protocol
from benchmarks.console import SERVER_SETTINGS, Visitor
from tests.integration import plans
from tests.integration.acme import Session
from tests.integration.plans import Plan
from tests.integration.postgres import PostgresServer
from tests.integration.server import ServerTestCase

CERTIFICATES = 10_000
LITTLE = 300  # pages of 8 KiB: what walks over all certificates or events looks at more
READ_ALL = (
    "accounts?contact=.filled",
    "authorizations?profile_id=prof-other",
)  # it is of all; it has no index
COUNTED = "SELECT count(*) FROM acme_accounts"  # how many accounts there are, which their list says


class PlanTests(ServerTestCase):
    """A server on a database that holds what years brought; each thing is asked for with two kinds of plans."""

    def setUp(self) -> None:
        self.postgres = PostgresServer().start()
        self.addCleanup(self.postgres.remove)
        plans.prepare(self.postgres.sql)
        self.world = protocol.World(self.path())
        self.addCleanup(self.world.stop)
        url = self.postgres.database("filled")
        sweeping = {"CERTCTL_ACME_SERVER_GC_INTERVAL": "1s", "CERTCTL_DATABASE_URL": url}
        self.server = self.serve({**SERVER_SETTINGS, **self.world.settings, **sweeping})
        filled.fill(url, CERTIFICATES, 5, lambda _: None)
        session = Session(self.server)
        session.register()
        session.certificate("first.corp.example")

    def sql(self, text: str) -> list[tuple[object, ...]]:
        return self.postgres.sql(text, "filled")

    def test_nothing_is_read_from_end_to_end(self) -> None:
        """No page, no list and nothing that clients or the sweeper ask for reads a large table, whatever it finds."""
        asked = pages.paths(self.sql)
        visitor = Visitor.of(self.server)
        plans.record(self.postgres.sql, True)
        log, wrong = self.postgres.directory / "log", list[str]()
        for mode in ("auto", "force_generic_plan"):
            self.postgres.sql(f"ALTER SYSTEM SET plan_cache_mode = {mode}")
            plans.record(self.postgres.sql, True)
            for path in asked:
                wrong += judged(path, plans.done_meanwhile(log, partial(visitor.ask, path)))
            everything = partial(protocol.everything, self.server, self.sql, self.world)
            found = plans.done_meanwhile(log, everything)
            self.assertGreater(len(found), 500)
            wrong += judged("ACME", found)
        self.assertFalse(wrong, "\n\n".join(wrong))


def judged(path: str, found: list[Plan]) -> Iterator[str]:
    """What is wrong with the plans of what was done for a path."""
    little = "?" in path and any(each in path for each in pages.NOWHERE)
    for plan in found:
        if any(each in path for each in READ_ALL) or plan.sql.startswith(COUNTED):
            continue
        if plan.scanned() or (little and plan.pages > LITTLE):
            what = f"reads all of {plan.scanned()}" if plan.scanned() else f"looks at {plan.pages} pages"
            yield "\n".join((f"{path} {what}: {plan.sql}", *plan.lines()))
