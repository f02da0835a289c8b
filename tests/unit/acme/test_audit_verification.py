"""The audit trail's chain, tampered with: what was done to it is found, and which events it was done to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme import audit_verification
from certctl.acme.audit_chain import (
    GENESIS,
    Batch,
    Checkpoint,
    Damaged,
    Entry,
    batch_of,
    checkpoint_of,
    ranges_of,
)
from certctl.acme.audit_coverage import LATEST
from certctl.acme.audit_verification import Damage, Kind, Report, Witness, verify

NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LATER = NOW + timedelta(days=1)
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"o" * 32)


def entry(number: int, **changed: Any) -> Entry:
    """An event like no other."""
    at = (NOW + number * SECOND).isoformat(timespec="microseconds")
    order, details = f"acme-ord-{number}", f'{{"number":{number}}}'
    made = Entry(number, at, "acme:acme-acc-1", "acme_order_created", "acme_order", order, details)
    return made._replace(**changed)


def chained(*groups: Sequence[Entry], pause: timedelta = SECOND) -> list[Batch]:
    """The chain that has these events in these batches, made one pause after another."""
    chain: list[Batch] = []
    for number, group in enumerate(groups):
        chain.append(Batch.of(group, chain[-1] if chain else None, NOW + number * pause))
    return chain


def tens(count: int = 5) -> list[list[Entry]]:
    """Events 1 to 10, 11 to 20, and so on."""
    return [[entry(10 * group + number) for number in range(1, 11)] for group in range(count)]


def forged(batch: Batch, **changed: Any) -> Batch:
    """A batch that was changed by somebody who knows how its hash is made."""
    changed_batch = attrs.evolve(batch, **changed)
    return attrs.evolve(changed_batch, hash=changed_batch.computed_hash())


class ChainCase(SynchronousTestCase):
    """A chain of five batches with ten events each."""

    def setUp(self) -> None:
        self.groups = tens()
        self.entries = [each for group in self.groups for each in group]
        self.batches: list[Batch | Damage] = [*chained(*self.groups)]
        self.checkpoints: list[Checkpoint] = []

    def at(self, id: int) -> int:
        """Where an event stands."""
        return next(at for at, each in enumerate(self.entries) if each.id == id)

    def batch(self, id: int) -> Batch:
        """The batch with this id."""
        found = self.batches[id - 1]
        assert isinstance(found, Batch)
        return found

    def verified(self, now: datetime = LATER, keys: frozenset[bytes] = frozenset()) -> Report:
        """Verify what there is."""
        witnesses = [Witness(each, "database") for each in self.checkpoints]
        return verify(self.batches, sorted(self.entries, key=lambda each: each.id), witnesses, now, keys)

    def found(self, *expected: tuple[Kind, str]) -> None:
        """Show that this is found, and nothing else."""
        findings = self.verified().findings
        self.assertEqual([each.kind for each in findings], [kind for kind, _ in expected], findings)
        for finding, (_, words) in zip(findings, expected, strict=True):
            self.assertIn(words, finding.words)


class EventTests(ChainCase):
    def test_intact(self) -> None:
        """A trail that nobody touched has all its events in batches."""
        report = self.verified()
        self.assertEqual((report.findings, report.batches, report.events, report.pending), ([], 5, 50, 0))

    def test_empty(self) -> None:
        """A trail without events is intact."""
        self.assertTrue(verify([], [], [], NOW).intact)

    def test_changed(self) -> None:
        """Whatever is changed of an event, the event is named."""
        for changed in (
            {"created_at": "2026-05-17T12:00:17.000001+00:00"},
            {"created_at": "yesterday"},
            {"actor": "acme:acme-acc-2"},
            {"actor": b"acme:acme-acc-1"},
            {"action": "acme_order_finalized"},
            {"resource_type": "acme_account"},
            {"resource_id": "acme-ord-18"},
            {"details": '{"number":18}'},
            {"details": '{"number":18,"number":17}'},
            {"details": "no JSON"},
            {"details": None},
        ):
            self.setUp()
            self.entries[self.at(17)] = entry(17, **changed)
            self.found((Kind.CHANGED, "event 17 is not what it was"))

    def test_neighbours_together(self) -> None:
        """What was done to a run of events is said in one line."""
        for id in (19, 20, 21, 33):
            self.entries[self.at(id)] = entry(id, actor="nobody")
        self.found((Kind.CHANGED, "events 19 to 21 "), (Kind.CHANGED, "event 33 "))

    def test_removed(self) -> None:
        """An event that is gone is named, wherever it stood."""
        for id in (1, 17, 20, 50):
            self.setUp()
            del self.entries[self.at(id)]
            self.found((Kind.REMOVED, f"event {id} is missing"))

    def test_reordered(self) -> None:
        """Events that changed places are known again."""
        self.entries[self.at(17)], self.entries[self.at(41)] = (
            entry(41)._replace(id=17),
            entry(17)._replace(id=41),
        )
        self.found(
            (Kind.REORDERED, "in the place of event 17 stands what was event 41"),
            (Kind.REORDERED, "in the place of event 41 stands what was event 17"),
        )

    def test_renumbered(self) -> None:
        """So is an event that was given an id that none had."""
        self.entries[self.at(17)] = entry(17)._replace(id=51)
        more = [entry(id) for id in range(60, 64)]
        self.batches = [*chained(*self.groups, *([each] for each in more))]
        self.entries += more
        self.found((Kind.REORDERED, "in the place of event 51 stands what was event 17"))

    def test_inserted(self) -> None:
        """An event that came between others, long after them, is named."""
        self.groups[2].pop(4)
        self.batches = [*chained(*self.groups, *([entry(50 + more)] for more in range(1, 4)))]
        self.entries += [entry(51), entry(52), entry(53)]
        self.assertEqual(self.verified().findings[0].kind, Kind.INSERTED)
        self.found((Kind.INSERTED, "event 25 is in no batch, where no new one can be"))

    def test_inserted_before_all(self) -> None:
        """Ids that are never given are no place to hide."""
        for id in (0, -7):
            self.setUp()
            self.entries.append(entry(id))
            self.found((Kind.INSERTED, f"event {id} "))

    def test_twice(self) -> None:
        """Where somebody took away the primary key: an event that is there twice."""
        self.entries.append(entry(17, actor="nobody"))
        self.found((Kind.INSERTED, "event 17 "))

    def test_pending(self) -> None:
        """What came after the last batch waits for the next, and is no fault."""
        self.entries += [entry(51), entry(53)]
        report = self.verified()
        self.assertEqual((report.findings, report.pending), ([], 2))


class LateTests(SynchronousTestCase):
    """PostgreSQL gives out ids in one order and commits in another."""

    def late(self, wait: timedelta) -> Report:
        """Event 2 is seen with a batch that is made so long after event 3's, and after three others."""
        groups = [[entry(1), entry(3)], [entry(4)], [entry(5)], [entry(6)]]
        chain = chained(*groups)
        chain.append(Batch.of([entry(2)], chain[-1], NOW + wait))
        return verify(chain, [entry(id) for id in range(1, 7)], [], LATER)

    def test_late(self) -> None:
        """A late event may be in a later batch."""
        report = self.late(LATEST - SECOND)
        self.assertEqual((report.findings, report.events), ([], 6))

    def test_too_late(self) -> None:
        """But not hours later: then somebody put it there."""
        report = self.late(LATEST)
        self.assertIn(
            "batch 5 holds what was in a batch before, or came too late: event 2", str(report.findings)
        )

    def test_still_open(self) -> None:
        """An event in a gap that is not old waits, like those at the end."""
        chain = chained([entry(1), entry(3)], [entry(4)])
        report = verify(chain, [entry(id) for id in range(1, 5)], [], NOW + 2 * SECOND)
        self.assertEqual((report.findings, report.pending), ([], 1))

    def test_sealed_again(self) -> None:
        """An event that is changed and put into a second batch is found."""
        chain = chained([entry(1), entry(2)], [entry(3)], [entry(2, actor="nobody"), entry(4)])
        entries = [entry(1), entry(2, actor="nobody"), entry(3), entry(4)]
        kinds = {each.kind for each in verify(chain, entries, [], LATER).findings}
        self.assertIn(Kind.BATCH, kinds)
        self.assertIn(Kind.CHANGED, kinds)


class BatchTests(ChainCase):
    def test_changed(self) -> None:
        """A batch that is not what was hashed is named."""
        for changed in (
            {"created_at": NOW},
            {"digests": bytes(320)},
            {"last_event_id": 31},
            {"previous": GENESIS},
            {"hash": GENESIS},
        ):
            self.setUp()
            self.batches[2] = attrs.evolve(self.batch(3), **changed)
            findings = self.verified().findings
            self.assertIn("batch 3 was changed", str(findings), changed)

    def test_forged(self) -> None:
        """A batch whose hash was made anew has no successor."""
        changed = entry(25, actor="nobody")
        self.entries[self.at(25)] = changed
        digests = b"".join(each.digest() if each.id != 25 else changed.digest() for each in self.groups[2])
        self.batches[2] = forged(self.batch(3), digests=digests)
        self.found((Kind.BATCH, "batch 4 does not follow the one before it"))

    def test_removed(self) -> None:
        """A batch that is gone is named, and so are its events."""
        del self.batches[2]
        self.found(
            (Kind.INSERTED, "events 21 to 30 are in no batch that is left"),
            (Kind.BATCH, "removed: batch 3 is missing"),
        )

    def test_damaged(self) -> None:
        """A batch that is none ends nothing."""
        self.batches[2] = Damage(3, "its ranges and its digests do not fit together")
        self.found(
            (Kind.INSERTED, "events 21 to 30 are in no batch that is left"),
            (Kind.BATCH, "batch 3 is damaged: its ranges"),
        )

    def test_row(self) -> None:
        """What cannot be a batch is not taken for one."""
        batch = self.batch(1)
        good: list[Any] = [
            1,
            "2026-05-17T12:00:00.000000+00:00",
            "[[1,10]]",
            10,
            batch.digests,
            batch.previous,
            batch.hash,
        ]
        self.assertEqual(batch_of(good), batch)
        self.assertEqual(batch_of([*good[:1], "2026-05-17 12:00:00+00", *good[2:]]), batch)
        for at, bad in (
            (1, "yesterday"),
            (1, None),
            (1, "2026-05-17T12:00:00"),
            (2, "[[10,1]]"),
            (2, "[[1,9]]"),
            (2, "[[1,5],[5,9]]"),
            (2, "[[1.0,10]]"),
            (2, "[[0,9]]"),
            (2, "[]"),
            (2, "{"),
            (2, "[[1,10000000000]]"),
            (3, "ten"),
            (4, "text"),
            (4, None),
            (5, None),
            (6, 7),
        ):
            row = [*good]
            row[at] = bad
            self.assertRaises(Damaged, batch_of, row)


class CheckpointTests(ChainCase):
    def setUp(self) -> None:
        super().setUp()
        self.checkpoints = [Checkpoint.over(self.batch(id), KEY, NOW) for id in (2, 4)]

    def rewrite(self, id: int) -> None:
        """Change an event, and make all hashes anew from there on."""
        self.entries[self.at(id)] = entry(id, actor="nobody")
        groups = [self.entries[start : start + 10] for start in range(0, 50, 10)]
        self.batches = [*chained(*groups)]

    def test_intact(self) -> None:
        """Checkpoints in the chain are counted."""
        self.assertEqual((self.verified().findings, self.verified().checkpoints), ([], 2))

    def test_rewritten(self) -> None:
        """A history that was made anew is found by who kept a checkpoint, and from where on."""
        self.rewrite(25)
        self.found((Kind.CHECKPOINT, "it was rewritten after batch 2, from event 21 on"))
        self.rewrite(3)
        findings = self.verified().findings
        self.assertIn("rewritten from the beginning", findings[0].words)
        self.assertEqual(len(findings), 2)

    def test_rewritten_after_the_last(self) -> None:
        """What no checkpoint is over can be made anew: that is what they are for."""
        self.rewrite(45)
        self.assertTrue(self.verified().intact)

    def test_cut(self) -> None:
        """A tail that was cut off is found, and how much was there."""
        del self.batches[3:], self.entries[30:]
        self.found((Kind.CHECKPOINT, "the chain ends at batch 3; there were events up to 40"))

    def test_signature(self) -> None:
        """A checkpoint that was changed, or is signed by a key that is not one's own, counts for nothing."""
        for changed in (
            {"hash": GENESIS},
            {"batch_id": 3},
            {"signature": bytes(64)},
            {"public_key": b"short"},
        ):
            self.checkpoints[1] = attrs.evolve(Checkpoint.over(self.batch(4), KEY, NOW), **changed)
            self.found((Kind.SIGNATURE, "its signature is not good"))
        self.checkpoints = [Checkpoint.over(self.batch(4), OTHER_KEY, NOW)]
        known = frozenset([KEY.public_key().public_bytes_raw()])
        self.assertIn("signed by an unknown key", self.verified(keys=known).findings[0].words)
        self.assertTrue(self.verified().intact)

    def test_line(self) -> None:
        """A checkpoint is one line of JSON, and is read again as it was."""
        for each in self.checkpoints:
            self.assertEqual(each.line().count("\n"), 1)
            self.assertEqual(checkpoint_of(json.loads(each.line())), each)
        document = self.checkpoints[0].document()
        for member in document:
            self.assertRaises(Damaged, checkpoint_of, {**document, member: None})
            self.assertRaises(Damaged, checkpoint_of, {k: v for k, v in document.items() if k != member})


class FormatTests(SynchronousTestCase):
    """The page that says how it is computed holds for who computes it without us."""

    def test_by_hand(self) -> None:
        event = Entry(7, "2026-05-17 14:00:00+02", "ops", "x", "t", "i", '{"b": "\u00fc", "a": [1, 2.5]}')
        canonical = (
            '{"action":"x","actor":"ops","created_at":"2026-05-17T12:00:00.000000+00:00",'
            '"details":{"a":[1,2.5],"b":"\\u00fc"},"resource_id":"i","resource_type":"t"}'
        )
        digest = sha256(b"certctl audit event 1\n" + canonical.encode()).digest()
        self.assertEqual(event.digest(), digest)
        header = (
            '{"created_at":"2026-05-17T12:00:00.000000+00:00","digests":"' + sha256(digest).hexdigest() + '",'
            '"id":1,"last_event_id":7,"previous":"' + "00" * 32 + '","ranges":[[7,7]]}'
        )
        hash = sha256(b"certctl audit batch 1\n" + header.encode()).digest()
        batch = Batch.of([event], None, NOW)
        self.assertEqual(batch.hash, hash)
        checkpoint = Checkpoint.over(batch, KEY, NOW)
        signed = (
            '{"batch_id":1,"created_at":"2026-05-17T12:00:00.000000+00:00","hash":"' + hash.hex() + '",'
            '"last_event_id":7,"public_key":"' + KEY.public_key().public_bytes_raw().hex() + '"}'
        )
        KEY.public_key().verify(checkpoint.signature, b"certctl audit checkpoint 1\n" + signed.encode())

    def test_ranges(self) -> None:
        self.assertEqual(ranges_of([]), ())
        self.assertEqual(ranges_of([1, 2, 3, 5, 7, 8]), ((1, 3), (5, 5), (7, 8)))


_FIELDS = ("created_at", "actor", "action", "resource_type", "resource_id", "details")


@st.composite
def tampering(draw: st.DrawFn) -> tuple[str, int, int, str]:
    """Something to do to a trail of fifty events."""
    what = draw(st.sampled_from(["change", "remove", "swap", "batch", "unbatch"]))
    one, other = draw(st.integers(1, 50)), draw(st.integers(1, 50))
    return what, one, other, draw(st.sampled_from(_FIELDS))


class PropertyTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(tampering(), min_size=1, max_size=4), st.lists(st.integers(1, 12), min_size=5, max_size=30)
    )
    def test_tampering_is_found(self, done: list[tuple[str, int, int, str]], sizes: list[int]) -> None:
        """Whatever is changed, removed, swapped, in however large batches, the events it was done to are named."""
        rows = {id: entry(id) for id in range(1, 51)}
        chain = chained(*_cut([*rows.values()], sizes))
        for what, one, other, field in done:
            if what == "change" and one in rows:
                rows[one] = entry(one, **{field: "2020-01-01T00:00:00.000000+00:00"})
            elif what == "remove":
                rows.pop(one, None)
            elif what == "swap" and one in rows and other in rows:
                rows[one], rows[other] = rows[other]._replace(id=one), rows[one]._replace(id=other)
        broken = {one % len(chain) for what, one, _, _ in done if what == "batch"}
        batches = [
            attrs.evolve(each, hash=GENESIS) if at in broken else each for at, each in enumerate(chain)
        ]
        report = verify(batches, [rows[id] for id in sorted(rows)], [], LATER)
        wrong = {id for id in range(1, 51) if rows.get(id) != entry(id)}
        named = {
            id
            for each in report.findings
            if each.kind is not Kind.BATCH
            for first, last in each.events
            for id in range(first, last + 1)
        }
        came_from = {id for id in wrong if any(f"was event {id}" in each.words for each in report.findings)}
        self.assertEqual(named | came_from, wrong)
        self.assertEqual(bool(broken), any(each.kind is Kind.BATCH for each in report.findings))

    @settings(deadline=None, max_examples=100)
    @given(st.permutations(range(1, 41)), st.lists(st.integers(1, 9), min_size=8, max_size=40))
    def test_any_order_of_commits(self, order: list[int], sizes: list[int]) -> None:
        """In whatever order events are seen, and however many at a time, the trail is intact."""
        groups = [
            sorted(group, key=lambda each: each.id) for group in _cut([entry(id) for id in order], sizes)
        ]
        report = verify(chained(*groups), [entry(id) for id in range(1, 41)], [], LATER)
        self.assertEqual((report.findings, report.events), ([], 40))

    def test_more_than_is_kept(self) -> None:
        """A trail in which all is wrong fills no memory; what is not named is counted."""
        self.patch(audit_verification, "MOST_WRONG", 5)
        report = verify(chained(*tens()), [], [], LATER)
        self.assertEqual((str(report.findings[0].events), report.unmentioned), ("((1, 5),)", 45))


def _cut(entries: list[Entry], sizes: list[int]) -> list[list[Entry]]:
    """Events in groups of these sizes; the last one has what is left."""
    groups = []
    for size in sizes:
        if entries:
            groups.append(entries[:size])
            entries = entries[size:]
    return [*groups, *([entries] if entries else [])]
