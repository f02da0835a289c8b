"""Keys for external account bindings, as operators make and revoke them."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from certctl.acme.eab import EabKey, Standing
from certctl.authority.operators import Kind, Refused
from certctl.authority.trail import Action, Event
from certctl.storage import eab_keys
from tests.acme_client import BindingKey
from tests.unit.web.acme.test_external_account_binding import OPERATOR, make_key
from tests.unit.web.bench import DEFAULT, BenchCase
from tests.unit.web.wire import Response

POLICY = {"names": {"allow": ["*.web.corp.example"]}, "limits": {"orders_per_hour": 7}}
EVENTS = (
    "SELECT actor, action, resource_id, details FROM audit_events WHERE resource_type = 'eab_key' ORDER BY id"
)


class KeysTests(BenchCase):
    def create(self, **members: Any) -> tuple[EabKey, str]:
        """Make a key."""
        members = {"profile_id": DEFAULT, "name": "web team", **members}
        return self.bench.result(self.bench.parts.bindings.create(OPERATOR, **members))

    def refused(self, work: Any) -> Refused:
        """How a use case refuses."""
        error: Refused = self.failureResultOf(Deferred.fromCoroutine(work), Refused).value
        return error

    def events(self) -> list[tuple[Any, ...]]:
        """What the trail has of keys."""
        return [
            (*others, json.loads(details) if isinstance(details, str) else details)
            for *others, details in self.bench.rows(EVENTS)
        ]

    def test_created(self) -> None:
        """A key is stored as it was asked for, with who made it; the trail has all but the MAC key."""
        expires = self.bench.now + timedelta(days=1)
        key, mac_key = self.create(single_use=True, expires_at=expires, policy=POLICY)
        self.assertRegex(key.id, r"\Aeab-[0-9a-f]{44}\Z")
        self.assertRegex(
            mac_key, r"\A[A-Za-z0-9_-]{86}\Z"
        )  # 64 octets: enough for HS512 (RFC 7518 section 3.2)
        self.assertEqual(self.bench.result(self.bench.database.read(eab_keys.by_id(key.id))), key)
        self.assertEqual((key.created_by, key.standing(self.bench.now)), ("api-key:test", Standing.ACTIVE))
        details = {
            "profile": DEFAULT,
            "name": "web team",
            "single_use": True,
            "policy": POLICY,
            "expires_at": expires.isoformat(),
        }
        self.assertEqual(self.events(), [("api-key:test", "eab_key_created", key.id, details)])

    def test_every_key_is_another(self) -> None:
        """No two keys share an id or a MAC key."""
        made = [self.create() for _ in range(50)]
        self.assertEqual(len({key.id for key, _ in made}), 50)
        self.assertEqual(len({mac_key for _, mac_key in made}), 50)

    def test_refused(self) -> None:
        """What makes no sense is refused with a sentence, and leaves nothing."""
        cases: tuple[tuple[dict[str, Any], Kind, str], ...] = (
            ({"profile_id": "prof-absent"}, Kind.ABSENT, "there is no profile 'prof-absent'"),
            ({"name": ""}, Kind.INVALID, "name"),
            ({"name": " "}, Kind.INVALID, "name"),
            ({"name": "a\nb"}, Kind.INVALID, "name"),
            ({"name": "x" * 201}, Kind.INVALID, "name"),
            ({"expires_at": self.bench.now}, Kind.INVALID, "expires_at"),
            ({"policy": {"name": {}}}, Kind.INVALID, "policy.name"),
            ({"policy": {"eab": "off"}}, Kind.INVALID, "policy.eab"),
            ({"policy": {"names": {"allow": ["*"]}}}, Kind.INVALID, "policy.names.allow[0]"),
        )
        for members, kind, part in cases:
            members = {"profile_id": DEFAULT, "name": "x", **members}
            error = self.refused(self.bench.parts.bindings.create(OPERATOR, **members))
            self.assertEqual(error.kind, kind, members)
            self.assertIn(part, str(error))
        self.assertEqual((self.bench.value("SELECT count(*) FROM eab_keys"), self.events()), (0, []))

    def test_archived_profile(self) -> None:
        """A profile that is archived gets no more keys."""
        self.bench.execute("UPDATE certificate_profiles SET archived_at = ?", self.bench.now)
        error = self.refused(self.bench.parts.bindings.create(OPERATOR, profile_id=DEFAULT, name="x"))
        self.assertEqual(error.kind, Kind.CONFLICT)

    def test_revoked(self) -> None:
        """A key is revoked once; asked again, it is as it was, and the trail has one event."""
        key, _ = self.create()
        revoke = self.bench.parts.bindings.revoke
        first = self.bench.result(revoke(OPERATOR, key.id))
        self.bench.pass_by(hours=1)
        self.assertEqual(self.bench.result(revoke(OPERATOR, key.id)), first)
        self.assertEqual(first.standing(self.bench.now), Standing.REVOKED)
        self.assertEqual([event[1] for event in self.events()], ["eab_key_created", "eab_key_revoked"])
        self.assertEqual(self.events()[1][3], {"profile": DEFAULT, "name": "web team"})
        self.assertEqual(self.refused(revoke(OPERATOR, "eab-absent")).kind, Kind.ABSENT)


class SecrecyTests(BenchCase):
    """Where a MAC key must not be found: it is searched for wherever something is written or said."""

    def test_nowhere(self) -> None:
        """After keys were made, used well and badly, and revoked: in no log, row, metric, answer or exception."""
        with capturedLogs() as logged:
            keys, answers = self.exercise()
        where = {
            "log": repr(logged).encode(),
            "answers": b"".join(repr(each.headers).encode() + each.body for each in answers),
            "database": b"".join(repr(row).encode() for row in self.everything()),
        }
        self.assertTrue(any("eab_key_created" in str(each) for each in logged), "nothing was listened to")
        self.assertIn(b"eab_key_created", where["database"])
        for key in keys:
            for spelled in spellings(key):
                for place, content in where.items():
                    self.assertNotIn(spelled, content, place)

    def exercise(self) -> tuple[list[BindingKey], list[Response]]:
        """Do with keys what can be done, good and bad; return the keys, and what was answered."""
        keys = [make_key(self.bench, single_use=single, policy=POLICY) for single in (True, False, False)]
        answers: list[Response] = []
        for key in (*keys, *keys):
            client = self.bench.client()
            binding = key.bind(client.signer, client.url("new-account"))
            for sent in (binding, {**binding, "signature": "AAAA"}, {"x": 1}):
                answers.append(client.register(externalAccountBinding=sent))
            if client.kid is not None:
                answers.append(client.read(client.kid))
        self.bench.result(self.bench.parts.bindings.revoke(OPERATOR, keys[2].id))
        self.bench.execute("UPDATE eab_keys SET sealed_key = ? WHERE id = ?", b"\1" * 93, keys[1].id)
        client = self.bench.client()
        binding = keys[1].bind(client.signer, client.url("new-account"))
        answers.append(client.register(externalAccountBinding=binding))
        self.assertEqual(answers[-1].status, 500)
        answers += [self.bench.get("/metrics"), self.bench.get(f"/acme/profile/{DEFAULT}/directory")]
        return keys, answers

    def everything(self) -> list[tuple[Any, ...]]:
        """All rows of all tables."""
        tables = self.bench.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        return [row for (table,) in tables for row in self.bench.rows(f'SELECT * FROM "{table}"')]

    def test_it_would_be_found(self) -> None:
        """The search finds a key in an event that holds one."""
        key = make_key(self.bench)
        details = {"mac_key": key.mac_key}
        event = Event(
            actor="x", action=Action.EAB_KEY_CREATED, resource_type="x", resource_id="x", details=details
        )
        self.assertTrue(any(each in repr(event).encode() for each in spellings(key)))


def spellings(key: BindingKey) -> list[bytes]:
    """A MAC key as somebody may have written it, a good part of it at least."""
    octets = base64.urlsafe_b64decode(key.mac_key + "==")
    return [
        key.mac_key.encode()[:20],
        base64.b64encode(octets)[:20],
        octets.hex().encode()[:20],
        octets[:12],
        repr(octets).encode()[2:22],
    ]
