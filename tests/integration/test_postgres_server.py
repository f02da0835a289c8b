"""certctl on PostgreSQL, as an operator starts it: two servers on one database, and starts that cannot be."""

from __future__ import annotations

import itertools
import shutil

from tests.integration.postgres import shared
from tests.integration.server import HOST, RunningServer, ServerTestCase, free_port, run
from tests.integration.test_make_run import NOT_OURS

_numbers = itertools.count(1)


class ServersTests(ServerTestCase):
    def setUp(self) -> None:
        self.postgres = shared()
        self.name = f"servers_{next(_numbers)}"
        self.url = self.postgres.database(self.name)

    def another(self, first: RunningServer | None = None, **settings: str) -> RunningServer:
        """A server on the database, not started yet, with the CA of the first if there is one."""
        server = RunningServer(self.path(), {"CERTCTL_DATABASE_URL": self.url, **settings})
        if first is not None:
            shutil.copytree(first.state, server.state)
        self.addCleanup(server.end)
        return server

    def lego(self, server: RunningServer, command: str, *, name: str = "a.internal") -> str:
        """Run lego against a server, with one account for all."""
        options = ("--server", server.directory_url, "--accept-tos", "--email", "you@example.com", "--http")
        ran = run(
            *("lego", *options, "--domains", name, "--path", self.clients, command),
            env={"LEGO_CA_CERTIFICATES": str(server.root)},
        )
        return ran.must_succeed().output

    def refusal(self, server: RunningServer) -> str:
        """The one sentence with which a start ends."""
        ran = run(*server.command, cwd=server.directory, env=server.settings)
        self.assertNotEqual(ran.status, 0, ran)
        said = [line for line in ran.output.splitlines() if line and not NOT_OURS.match(line)]
        self.assertEqual(len(said), 1, ran)
        return said[0]

    def test_first_certificate(self) -> None:
        """A client gets a certificate, and the rows that operators look for are in the database."""
        server = self.another().start()
        self.clients = self.path()
        self.lego(server, "run")
        actions = self.postgres.sql(
            "SELECT action FROM audit_events WHERE actor LIKE 'acme:%' ORDER BY created_at", self.name
        )
        self.assertEqual(
            actions, [("acme_account_created",), ("acme_order_created",), ("acme_order_finalized",)]
        )
        server.restart()
        self.lego(server, "run", name="b.internal")

    def test_two_servers(self) -> None:
        """Two servers with the same CA share a database; the issuer is recorded once."""
        first = self.another().start()
        second = self.another(first).start()
        self.assertEqual(
            self.postgres.sql(
                "SELECT count(*) FROM audit_events WHERE action = 'issuer_recorded'", self.name
            ),
            [(1,)],
        )
        self.assertEqual(first.root.read_bytes(), second.root.read_bytes())

    def test_another_issuer(self) -> None:
        """A server with a CA of its own is refused, and told what to do; once accepted, the first one is refused."""
        first = self.another().start()
        stranger = self.another()
        said = self.refusal(stranger)
        for part in ("certctl: the CA of this server", "copy the CA's files", "CERTCTL_CA_ACCEPT"):
            self.assertIn(part, said)
        accepted = said.rpartition(" ")[2]
        first.stop()
        stranger.settings["CERTCTL_CA_ACCEPT"] = accepted
        self.assertIn("secret-key", self.refusal(stranger))  # it could not open what the first one sealed
        shutil.copy(first.state / "secret-key", stranger.state)
        stranger.start()
        self.assertIn("CERTCTL_CA_ACCEPT", self.refusal(first))
        recorded = self.postgres.sql(
            "SELECT details ->> 'sha256' FROM audit_events WHERE action = 'issuer_recorded' ORDER BY id",
            self.name,
        )
        self.assertEqual(recorded[1:], [(accepted,)])

    def test_no_database(self) -> None:
        """Why the database cannot be opened is said in one sentence, without the password."""
        self.url = f"postgresql://u:hunter2@{HOST}:{free_port()}/x"
        said = self.refusal(self.another())
        for part in ("the database cannot be opened", "refused", "CERTCTL_DATABASE_URL"):
            self.assertIn(part, said)
        self.assertNotIn("hunter2", said)
        self.url = "postgresql://u:hunter2%zz@h/x"
        said = self.refusal(self.another())
        self.assertIn("CERTCTL_DATABASE_URL", said)
        self.assertNotIn("hunter2", said)

    def test_database_goes_away(self) -> None:
        """While the database is away the server says so, and it is ready again when the database is."""
        server = self.another().start()
        self.postgres.sql(f"ALTER DATABASE {self.name} WITH ALLOW_CONNECTIONS false")
        self.postgres.sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'"
        )
        connection = server.connect()
        for _ in ("on the connection that is dead", "on a new one, which is refused"):
            connection.request("GET", "/acme/directory")
            answer = connection.getresponse()
            self.assertEqual(answer.status, 503)
            self.assertIsNotNone(answer.headers["Retry-After"])
            self.assertIn(b"serverInternal", answer.read())
        self.postgres.sql(f"ALTER DATABASE {self.name} WITH ALLOW_CONNECTIONS true")
        connection.request("GET", "/acme/directory")
        self.assertEqual(connection.getresponse().status, 200)
        server.wait_logged("the database answers again")
