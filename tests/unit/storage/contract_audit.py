"""What the audit trail's chain is in every engine: append-only, made batch by batch, and read again as it was."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.task import Clock

from certctl.acme.audit_chain import Batch, Checkpoint, checkpoint_of_row
from certctl.acme.audit_coverage import LATEST
from certctl.acme.audit_verification import Kind, Report, Witness, verify
from certctl.authority import audit_chain as chain
from certctl.authority.audit_chain import Chain
from certctl.authority.trail import Trail
from certctl.authority.witness import CHECKPOINTS, KEY
from certctl.authority.witness import Witness as Signer
from certctl.storage import audit_chain
from certctl.storage.database import Database, Statement
from tests.unit.storage.contract import NOW, DatabaseCase, entry

TABLES = ("audit_events", "audit_batches", "audit_checkpoints")
BEAT = timedelta(seconds=10)


class ChainContract(DatabaseCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.directory = Path(self.mktemp())
        self.chain = self.chain_of(self.database)

    def chain_of(self, database: Database, directory: Path | None = None) -> Chain:
        """What a server has to make the chain with."""
        signer = Signer.open(directory or self.directory)
        return Chain(database, Trail(database, self.clock), signer, interval=BEAT, signing=timedelta(hours=1))

    def pass_by(self, time: timedelta = BEAT) -> None:
        """Let time pass."""
        self.clock.advance(time.total_seconds())

    def now(self) -> datetime:
        """The time."""
        return NOW + timedelta(seconds=self.clock.seconds() - NOW.timestamp())

    def events(self, count: int, **details: Any) -> None:
        """Record some events."""
        self.write(*[entry("did", number=number, **details) for number in range(count)])

    def insert(self, id: int) -> None:
        """Record an event under an id, as one that was long on its way, or as somebody who wants it there."""
        overriding = self.overriding
        self.write(
            Statement(
                f"INSERT INTO audit_events (id, created_at, actor, action, resource_type, resource_id, details)"
                f" {overriding} VALUES (?, ?, 'x', 'x', 'x', 'x', '{{}}')",
                (id, NOW),
            )
        )

    overriding = ""

    def extend(self) -> Batch | None:
        """Put all events into batches; the chain's end."""
        return self.result(self.chain.extend())

    def beat(self) -> None:
        """What the server does every few seconds."""
        self.result(self.chain.beat())

    def entries(self) -> list[Any]:
        """The trail as it is hashed."""
        return self.read(audit_chain.between(None, None))

    def report(self) -> Report:
        """Verify what there is."""
        batches = [*self.read(audit_chain.batches_since(NOW - LATEST))]
        stored = [checkpoint_of_row(row) for row in self.read(audit_chain.all_checkpoints())]
        return verify(batches, self.entries(), [Witness(each, "database") for each in stored], self.now())

    def test_append_only(self) -> None:
        """What is in the trail's tables can be neither changed nor deleted."""
        self.events(2)
        self.beat()
        for table in TABLES:
            for sql in (f"UPDATE {table} SET created_at = created_at", f"DELETE FROM {table}"):
                before = self.rows(f"SELECT * FROM {table}")
                self.assertRaises(self.broken_rule, self.write, Statement(sql, ()))
                self.assertEqual(self.rows(f"SELECT * FROM {table}"), before)
                self.assertNotEqual(before, [])

    def test_nothing(self) -> None:
        """Where nothing was recorded there is no batch."""
        self.assertIsNone(self.extend())
        self.beat()
        self.assertEqual(self.count("audit_batches"), 0)

    def test_grows(self) -> None:
        """Each batch holds what came since the one before, and follows it."""
        self.events(3)
        self.extend()
        self.extend()
        self.events(2)
        self.pass_by()
        self.extend()
        one, other = self.read(audit_chain.batches_since(NOW))
        self.assertEqual((one.ranges, other.ranges), (((1, 3),), ((4, 5),)))
        self.assertEqual((other.previous, other.last_event_id), (one.hash, 5))
        self.assertEqual(one.created_at, NOW)
        self.assertEqual((self.report().findings, self.report().events), ([], 5))

    def test_bounded(self) -> None:
        """What is much is put into several batches."""
        self.patch(chain, "BATCH", 4)
        self.events(10)
        self.extend()
        self.assertEqual(
            [each.ranges for each in self.read(audit_chain.batches_since(NOW))],
            [((1, 4),), ((5, 8),), ((9, 10),)],
        )
        self.assertEqual(self.report().events, 10)

    def test_late(self) -> None:
        """An event that comes after larger ids is in the next batch, as long as it may have been on its way."""
        self.events(2)
        self.insert(5)
        self.extend()
        for id in (3, 6):
            self.insert(id)
        self.pass_by()
        last = self.extend()
        assert last is not None
        self.assertEqual((last.ranges, last.last_event_id), (((3, 3), (6, 6)), 6))
        self.assertEqual((self.report().findings, self.report().events), ([], 5))

    def test_inserted(self) -> None:
        """Later it is in none, and is found."""
        for id in (1, 2, 4, 5, 6, 7):
            self.insert(id)
            self.extend()
        self.pass_by(LATEST)
        self.insert(8)
        self.extend()
        self.insert(3)
        self.pass_by()
        self.extend()
        report = self.report()
        self.assertEqual([(each.kind, each.events) for each in report.findings], [(Kind.INSERTED, ((3, 3),))])

    def test_two_servers(self) -> None:
        """Two that are at it together make one chain."""
        other = self.chain_of(self.database)
        self.patch(chain, "BATCH", 2)
        self.events(9)
        for each in (self.chain, other, self.chain):
            self.result(each.extend())
        self.assertEqual((self.report().findings, self.report().events), ([], 9))
        tail = self.read(audit_chain.last_batch())
        assert tail is not None
        self.conflict(audit_chain.append(tail))

    def test_turns(self) -> None:
        """Who finds that another was at it a moment ago leaves it at that."""
        self.events(1)
        self.beat()
        self.events(1)
        self.pass_by(BEAT / 4)
        self.result(self.chain_of(self.database).beat())
        self.assertEqual(self.count("audit_batches"), 1)
        self.pass_by(BEAT / 2)
        self.result(self.chain_of(self.database).beat())
        self.assertEqual(self.count("audit_batches"), 2)

    def test_checkpoints(self) -> None:
        """The chain's end is signed at the start and once in each hour in which it grew."""
        for _ in range(3):
            self.events(1)
            self.beat()
            self.pass_by(timedelta(minutes=30))
        self.assertEqual([each.batch_id for each in self.read(audit_chain.checkpoints(0, 9))], [1, 3])
        for _ in range(3):
            self.pass_by(timedelta(hours=1))
            self.beat()
        self.assertEqual(self.count("audit_checkpoints"), 2)
        self.assertEqual((self.report().findings, self.report().checkpoints), ([], 2))
        kept = (self.directory / CHECKPOINTS).read_text().splitlines()
        stored = self.read(audit_chain.checkpoints(0, 9))
        self.assertEqual(kept, [each.line().rstrip() for each in stored])
        self.assertEqual(self.read(audit_chain.last_checkpoint()), stored[-1])
        self.assertEqual((self.directory / KEY).stat().st_mode & 0o777, 0o600)

    def test_key_survives(self) -> None:
        """The key is made once; another server with the same file signs alike, one with its own signs beside it."""
        self.events(1)
        self.beat()
        self.result(self.chain_of(self.database).beat())
        self.assertEqual(self.count("audit_checkpoints"), 1)
        self.result(self.chain_of(self.database, Path(self.mktemp())).beat())
        self.assertEqual(self.count("audit_checkpoints"), 2)

    def test_contradiction(self) -> None:
        """A chain that is not the one that was signed is not signed again."""
        self.events(1)
        self.beat()
        signer = Signer.open(self.directory)
        stranger = Batch.of([each._replace(actor="nobody") for each in self.entries()], None, NOW)
        signer.remember(signer.sign(stranger, NOW))
        self.events(1)
        self.pass_by(timedelta(hours=1))
        self.beat()
        self.assertEqual((self.count("audit_batches"), self.count("audit_checkpoints")), (2, 1))

    def test_torn_line(self) -> None:
        """A line of the file that a crash tore is passed over, and the next one stands by itself."""
        self.events(1)
        self.beat()
        file = self.directory / CHECKPOINTS
        signed = Signer.open(self.directory).last()
        with file.open("a") as torn:
            torn.write('{"batch_id":2,"hash"')
        self.assertEqual(Signer.open(self.directory).last(), signed)
        self.events(1)
        self.pass_by(timedelta(hours=1))
        self.beat()
        self.assertEqual([each.startswith("{") for each in file.read_text().splitlines()], [True] * 3)
        last = Signer.open(self.directory).last()
        assert last is not None
        self.assertEqual(last.batch_id, 2)

    def test_stored_checkpoint(self) -> None:
        """A checkpoint is read as it was written."""
        self.events(1)
        tail = self.extend()
        assert tail is not None
        made = Checkpoint.over(tail, Ed25519PrivateKey.generate(), self.now())
        self.write(audit_chain.keep(made))
        self.write(audit_chain.keep(made))
        self.assertEqual(self.read(audit_chain.checkpoints(0, 9)), [made])
        self.assertEqual(self.read(audit_chain.hash_of(1)), tail.hash)
        self.assertIsNone(self.read(audit_chain.hash_of(2)))
