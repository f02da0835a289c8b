"""Validations that end in the same moment, over the engine that writes behind a thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from certctl.acme.identifiers import dns_name
from certctl.acme.objects import Account, ChallengeType, Order, Profile, Status
from certctl.acme.problems import Problem, ProblemType
from certctl.assembly import assemble
from certctl.sealing import Seal
from certctl.settings import Settings
from certctl.start import seed
from certctl.storage import accounts, authorizations, orders, profiles
from certctl.storage.database import Query
from certctl.storage.sqlite import SqliteDatabase
from tests.acme_client import Signer, as_json
from tests.unit.storage.contract_orders import authorization, order
from tests.unit.web.bench import ISSUER, NOW, Validators, authority

T = TypeVar("T")
WRONG = Problem(ProblemType.INCORRECT_RESPONSE, "another body")


def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor


class SettlingTests(TestCase):
    """An order of two names, both of which are being validated."""

    async def begin(self) -> None:
        """Make the order, and begin both validations."""
        path = Path(self.mktemp())
        path.mkdir()
        clock = Clock()
        clock.advance(NOW.timestamp())
        self.database = SqliteDatabase(path / "certctl.sqlite", _reactor())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.database.close()))
        self.told = Validators()
        settings = Settings.load({"CERTCTL_STATE_DIR": str(path), "CERTCTL_ACME_SERVER_ENABLED": "true"})
        issuers = {ISSUER: authority()}
        self.parts = assemble(
            settings, self.database, issuers, clock, lambda _: True, self.told.table, seal=Seal(bytes(32))
        )
        await seed(self.database, self.parts.trail, authority(), settings.acme_server_default_auth_mode)
        (profile,) = await self.database.read(profiles.everyone())
        await self._order(profile)

    async def _order(self, profile: Profile) -> None:
        signer = Signer.generate("ES256")
        account = Account(
            id="acme-acc-1",
            profile_id=profile.id,
            thumbprint=signer.thumbprint,
            jwk=as_json(signer.jwk).decode(),
            created_at=NOW,
        )
        members = {"profile_id": profile.id, "expires_at": NOW.replace(year=2027)}
        held = [authorization(n, identifier=dns_name(f"{n}.example"), **members) for n in (1, 2)]
        made = order(*held, **members)
        added = [statement for each in held for statement in authorizations.insert(each)]
        await self.database.write(accounts.insert(account), *added, *orders.insert(made))
        for each in held:
            (challenge,) = [one for one in each.challenges if one.type is ChallengeType.HTTP01]
            await self.parts.challenges.respond(profile, account, each, challenge.id)

    async def settled(self) -> tuple[Order, list[str]]:
        """Return the order, and the states of its authorizations, once nothing runs any more."""
        await self.parts.background.drained(_reactor(), 10)
        await deferLater(_reactor(), 0)
        found = await self.database.read(orders.by_id("acme-ord-1"))
        assert found is not None
        query = Query("SELECT DISTINCT status FROM acme_challenges WHERE type = 'http-01'", (), list)
        states = await self.database.read(query)
        return found, [row[0] for row in states]

    async def test_both_fail(self) -> None:
        """The second failure finds the order settled by the first, and settles its own authorization all the same."""
        await self.begin()
        self.told.http01.fail(WRONG)
        self.told.http01.fail(WRONG)
        found, challenges = await self.settled()
        self.assertEqual(found.status, Status.INVALID)
        self.assertEqual([each.status for each in found.authorizations], [Status.INVALID] * 2)
        self.assertEqual(challenges, ["invalid"])

    async def test_both_succeed(self) -> None:
        """The order is ready whichever of the two comes last."""
        await self.begin()
        self.told.http01.succeed()
        self.told.http01.succeed()
        found, challenges = await self.settled()
        self.assertEqual(found.status, Status.READY)
        self.assertEqual(challenges, ["valid"])

    async def test_one_fails(self) -> None:
        """One failure is enough for the order, and the other authorization is valid."""
        await self.begin()
        self.told.http01.fail(WRONG)
        self.told.http01.succeed()
        found, _ = await self.settled()
        self.assertEqual(found.status, Status.INVALID)
        self.assertEqual([each.status for each in found.authorizations], [Status.INVALID, Status.VALID])
