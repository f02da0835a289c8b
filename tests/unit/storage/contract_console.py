"""Sessions of the console, and the servers on a database, on every engine."""

from __future__ import annotations

import attrs

from certctl.storage import audit_chain, console_sessions, servers
from certctl.storage.console_sessions import ConsoleSession
from certctl.storage.search import audit
from certctl.storage.servers import Server
from tests.unit.storage.contract import HOUR, NOW, DatabaseCase, entry

SESSION = ConsoleSession(
    digest=b"\x01" * 32,
    key_digest=b"\xff\0" * 16,
    began_at=NOW,
    good_until=NOW + HOUR,
    ends_at=NOW + 12 * HOUR,
)
SERVER = Server(
    id="srv-1",
    host="one.corp.example",
    version="1",
    started_at=NOW,
    seen_at=NOW,
    swept_at=None,
    certificate_ends_at=NOW + 24 * HOUR,
)


class ConsoleContract(DatabaseCase):
    def test_session(self) -> None:
        """A session comes back as it went in, for as long as it is good."""
        self.write(console_sessions.insert(SESSION))
        self.assertEqual(self.read(console_sessions.good(SESSION.digest, NOW)), SESSION)
        self.assertIsNone(self.read(console_sessions.good(SESSION.digest, NOW + HOUR)))
        self.assertIsNone(self.read(console_sessions.good(b"\x02" * 32, NOW)))
        self.write(console_sessions.prolong(SESSION, NOW + 2 * HOUR))
        self.assertIsNotNone(self.read(console_sessions.good(SESSION.digest, NOW + HOUR)))

    def test_end(self) -> None:
        """A session is ended once; all of a key together; and those that are over are forgotten."""
        others = [attrs.evolve(SESSION, digest=bytes([number]) * 32) for number in (2, 3)]
        stranger = attrs.evolve(SESSION, digest=b"\x09" * 32, key_digest=bytes(32))
        self.write(*map(console_sessions.insert, (SESSION, *others, stranger)))
        self.write(console_sessions.end(SESSION))
        self.conflict(console_sessions.end(SESSION))
        self.write(console_sessions.end_all(SESSION.key_digest))
        self.assertEqual(self.rows("SELECT count(*) FROM console_sessions"), [(1,)])
        self.assertFalse(self.read(console_sessions.any_over(NOW)))
        self.assertTrue(self.read(console_sessions.any_over(NOW + HOUR)))
        self.write(console_sessions.forget_over(NOW + HOUR))
        self.assertEqual(self.rows("SELECT count(*) FROM console_sessions"), [(0,)])

    def test_servers(self) -> None:
        """A server's row is written again and again, and goes with it."""
        self.write(servers.seen(SERVER))
        later = attrs.evolve(SERVER, seen_at=NOW + HOUR, swept_at=NOW + HOUR)
        self.write(servers.seen(later), servers.seen(attrs.evolve(SERVER, id="srv-2")))
        self.assertEqual([each.id for each in self.read(servers.everyone())], ["srv-1", "srv-2"])
        self.assertEqual(self.read(servers.everyone())[0], later)
        self.write(servers.forget_unseen(NOW + HOUR))
        self.assertEqual(self.read(servers.everyone()), [later])
        self.write(servers.forget("srv-1"))
        self.assertEqual(self.read(servers.everyone()), [])

    def test_trail(self) -> None:
        """Events about some resources are found together, and those after one are counted up to a bound."""
        self.write(entry("one"), entry("two"), entry("three"))
        found = self.read(audit.about(["acme-acc-1", "absent"], 2))
        self.assertEqual([each.action for each in found], ["one", "two"])
        self.assertEqual(self.read(audit_chain.count_after(0, 100)), 3)
        self.assertEqual(self.read(audit_chain.count_after(found[0].id, 1)), 1)
        self.assertEqual(self.read(audit_chain.last_batches(3)), [])
