"""What orders, authorizations and challenges are in every engine."""

from __future__ import annotations

from typing import Any

import attrs

from certctl.acme.identifiers import dns_name, ip_address
from certctl.acme.objects import (
    Authorization,
    AuthorizationState,
    Challenge,
    ChallengeType,
    Order,
    Status,
)
from certctl.storage import authorizations, failures, orders
from tests.unit.storage.contract import ACCOUNT, HOUR, NOW, PROFILE, DatabaseCase

ERROR = {"type": "urn:ietf:params:acme:error:dns", "detail": "\u00fc", "status": 400}


def authorization(number: int = 1, **members: Any) -> Authorization:
    """Return an authorization with two challenges, whose ids have this number in them."""
    id = f"acme-authz-{number}"
    challenges = tuple(
        Challenge(
            id=f"acme-chall-{number}-{type.value}",
            authorization_id=id,
            type=type,
            token=f"token-{number}",
            status=Status.PENDING,
        )
        for type in (ChallengeType.DNS01, ChallengeType.HTTP01)
    )
    values = {
        "profile_id": PROFILE.id,
        "account_id": ACCOUNT.id,
        "identifier": dns_name(f"{number}.example"),
        "status": Status.PENDING,
        "expires_at": NOW + HOUR,
        "created_at": NOW,
        "challenges": challenges,
    }
    return Authorization(id=id, **{**values, **members})


def order(*held: Authorization, **members: Any) -> Order:
    """Return an order that hangs on authorizations."""
    values = {
        "id": "acme-ord-1",
        "profile_id": PROFILE.id,
        "account_id": ACCOUNT.id,
        "status": Status.PENDING,
        "identifiers": tuple(each.covers for each in held),
        "authorizations": tuple(AuthorizationState(each.id, each.status, each.expires_at) for each in held),
        "expires_at": NOW + HOUR,
        "created_at": NOW,
    }
    return Order(**{**values, **members})


class OrdersCase(DatabaseCase):
    """Two authorizations, and an order that hangs on both."""

    def setUp(self) -> None:
        super().setUp()
        self.first = authorization(1)
        self.second = authorization(2, identifier=ip_address("10.1.2.3"))
        self.order = order(self.second, self.first, not_before=NOW, not_after=NOW + 2 * HOUR)
        for each in (self.first, self.second):
            self.write(*authorizations.insert(each))
        self.write(*orders.insert(self.order))

    def status(self, id: str = "acme-ord-1") -> Status:
        """Return the state of an order."""
        found = self.read(orders.by_id(id))
        assert found is not None
        return found.status

    def authorized(self, number: int) -> Authorization:
        """Return an authorization as it is now."""
        found = self.read(authorizations.by_id(f"acme-authz-{number}"))
        assert found is not None
        return found

    def begin(self, held: Authorization, number: int = 0) -> Challenge:
        """Move a challenge of an authorization to processing, and return it."""
        challenge = held.challenges[number]
        self.write(authorizations.process(challenge.id, NOW))
        return challenge


class OrderContract(OrdersCase):
    def test_round_trip(self) -> None:
        """An order is found as it was written, its authorizations in their order."""
        self.assertEqual(self.read(orders.by_id(self.order.id)), self.order)
        self.assertIsNone(self.read(orders.by_id("acme-ord-nobody")))

    def test_hanging_on(self) -> None:
        """The open orders that need an authorization are found."""
        self.write(*orders.insert(order(self.first, id="acme-ord-2", status=Status.READY)))
        self.write(*orders.insert(order(self.first, id="acme-ord-3", status=Status.INVALID)))
        self.write(*orders.insert(order(self.second, id="acme-ord-4")))
        self.assertEqual(self.read(orders.hanging_on(self.first.id)), ["acme-ord-1", "acme-ord-2"])
        self.assertEqual(self.read(orders.hanging_on("acme-authz-nobody")), [])

    def test_of_account(self) -> None:
        """An account's orders come in pages, in order, without those that are invalid."""
        for number in range(2, 8):
            status = Status.INVALID if number == 4 else Status.READY
            self.write(*orders.insert(order(self.first, id=f"acme-ord-{number}", status=status)))
        ids = [f"acme-ord-{number}" for number in (1, 2, 3, 5, 6, 7)]
        self.assertEqual(self.read(orders.of_account(ACCOUNT.id, "", 100)), ids)
        self.assertEqual(self.read(orders.of_account(ACCOUNT.id, "acme-ord-2", 2)), ids[2:4])
        self.assertEqual(self.read(orders.of_account("acme-acc-nobody", "", 100)), [])

    def test_ready_once_all_authorizations_are_valid(self) -> None:
        """An order is made ready when none of its authorizations is anything but valid."""
        for held in (self.first, self.second):
            self.write(orders.make_ready(self.order.id, NOW))
            self.assertEqual(self.status(), Status.PENDING)
            self.write(*authorizations.prove(self.begin(held), NOW + HOUR, NOW))
        self.write(orders.make_ready(self.order.id, NOW))
        self.assertEqual(self.status(), Status.READY)

    def test_ready_from_pending_alone(self) -> None:
        """An order that is not pending is not made ready."""
        self.write(orders.make_invalid(self.order.id, ERROR, NOW))
        self.write(*(authorizations.move(each, Status.VALID, NOW) for each in (self.first, self.second)))
        self.write(orders.make_ready(self.order.id, NOW))
        self.assertEqual(self.status(), Status.INVALID)

    def test_valid_from_ready_alone(self) -> None:
        """An order becomes valid once, from ready, with its certificate."""
        self.conflict(orders.make_valid(self.order.id, "cv-1", NOW))
        self.write(*orders.insert(order(self.first, id="acme-ord-2", status=Status.READY)))
        self.write(orders.make_valid("acme-ord-2", "cv-1", NOW))
        found = self.read(orders.by_id("acme-ord-2"))
        assert found is not None
        self.assertEqual((found.status, found.certificate_id), (Status.VALID, "cv-1"))
        self.conflict(orders.make_valid("acme-ord-2", "cv-2", NOW))

    def test_valid_in_time(self) -> None:
        """An order whose time is over does not become valid, swept or not."""
        self.write(*orders.insert(order(self.first, id="acme-ord-2", status=Status.READY)))
        self.conflict(orders.make_valid("acme-ord-2", "cv-1", NOW + HOUR + HOUR))
        self.write(orders.make_valid("acme-ord-2", "cv-1", NOW + HOUR))

    def test_invalid_while_open(self) -> None:
        """An open order becomes invalid with its error; what is settled stays."""
        self.write(orders.make_invalid(self.order.id, ERROR, NOW))
        found = self.read(orders.by_id(self.order.id))
        assert found is not None
        self.assertEqual((found.status, found.error), (Status.INVALID, ERROR))
        self.write(orders.make_invalid(self.order.id, {"detail": "late"}, NOW))
        self.assertEqual(self.read(orders.by_id(self.order.id)), found)
        self.write(*orders.insert(order(self.first, id="acme-ord-2", status=Status.VALID)))
        self.write(orders.make_invalid("acme-ord-2", ERROR, NOW))
        self.assertEqual(self.status("acme-ord-2"), Status.VALID)

    def test_cancel_all(self) -> None:
        """All open orders of an account become invalid, and nobody else's."""
        self.write(*orders.insert(order(self.first, id="acme-ord-2", status=Status.READY)))
        self.write(*orders.insert(order(self.first, id="acme-ord-3", status=Status.VALID)))
        self.write(orders.cancel_all("acme-acc-nobody", ERROR, NOW))
        self.assertEqual(self.status(), Status.PENDING)
        self.write(orders.cancel_all(ACCOUNT.id, ERROR, NOW))
        states = [self.status(f"acme-ord-{number}") for number in (1, 2, 3)]
        self.assertEqual(states, [Status.INVALID, Status.INVALID, Status.VALID])

    def test_expired(self) -> None:
        """Open orders are found, oldest first, once their time is over, and expired together or not at all."""
        for number in (2, 3, 4):
            status = Status.VALID if number == 4 else Status.READY
            ends = NOW + number * HOUR
            self.write(
                *orders.insert(order(self.first, id=f"acme-ord-{number}", status=status, expires_at=ends))
            )
        late = NOW + 10 * HOUR
        self.assertEqual(self.read(orders.expired(NOW + HOUR, 10)), [])
        self.assertEqual(self.read(orders.expired(late, 2)), ["acme-ord-1", "acme-ord-2"])
        ids = self.read(orders.expired(late, 10))
        self.assertEqual(ids, ["acme-ord-1", "acme-ord-2", "acme-ord-3"])
        self.conflict(orders.expire(ids, ERROR, NOW + 3 * HOUR))
        self.conflict(orders.expire([*ids, "acme-ord-4"], ERROR, late))
        self.assertEqual(self.status(), Status.PENDING)
        self.write(orders.expire(ids, ERROR, late))
        self.assertEqual({self.status(id) for id in ids}, {Status.INVALID})
        self.assertEqual(self.read(orders.expired(late, 10)), [])


class AuthorizationContract(OrdersCase):
    def test_round_trip(self) -> None:
        """An authorization is found as it was written, by its id and by each of its challenges."""
        trusted = attrs.evolve(self.first.challenges[0], id="x", authorization_id="acme-authz-3")
        trusted = attrs.evolve(trusted, status=Status.VALID, validated_at=NOW)
        wild = authorization(3, wildcard=True, proved=True, status=Status.VALID, challenges=(trusted,))
        self.write(*authorizations.insert(wild))
        for held in (self.first, self.second, wild):
            self.assertEqual(self.read(authorizations.by_id(held.id)), held)
            for challenge in held.challenges:
                self.assertEqual(self.read(authorizations.by_challenge(challenge.id)), held)
        self.assertIsNone(self.read(authorizations.by_id("acme-authz-nobody")))
        self.assertIsNone(self.read(authorizations.by_challenge("acme-chall-nobody")))

    def test_move(self) -> None:
        """An authorization is moved from the state in which it was seen."""
        self.write(authorizations.move(self.first, Status.DEACTIVATED, NOW))
        self.assertEqual(self.authorized(1).status, Status.DEACTIVATED)
        self.conflict(authorizations.move(self.first, Status.VALID, NOW))

    def test_process(self) -> None:
        """A challenge begins once, while its authorization is pending."""
        challenge = self.begin(self.first)
        self.assertEqual(self.authorized(1).challenges[0].status, Status.PROCESSING)
        self.conflict(authorizations.process(challenge.id, NOW))
        self.write(authorizations.move(self.second, Status.DEACTIVATED, NOW))
        self.conflict(authorizations.process(self.second.challenges[0].id, NOW))

    def test_processing(self) -> None:
        """What has been validated without news for long is found, oldest first, to be resumed."""
        self.assertEqual(self.read(authorizations.processing(NOW)), [])
        self.write(authorizations.process(self.second.challenges[1].id, NOW))
        self.write(authorizations.process(self.first.challenges[0].id, NOW + HOUR))
        expected = [(each.id, each.challenges[n].id) for each, n in ((self.second, 1), (self.first, 0))]
        self.assertEqual(self.read(authorizations.processing(NOW + HOUR)), expected)
        self.assertEqual(self.read(authorizations.processing(NOW)), expected[:1])

    def test_prove(self) -> None:
        """A challenge that was shown makes its authorization valid, for a time of its own."""
        challenge = self.begin(self.first)
        self.write(*authorizations.prove(challenge, NOW + 5 * HOUR, NOW + HOUR))
        found = self.authorized(1)
        self.assertEqual((found.status, found.proved, found.expires_at), (Status.VALID, True, NOW + 5 * HOUR))
        shown = found.challenges[0]
        self.assertEqual((shown.status, shown.validated_at, shown.error), (Status.VALID, NOW + HOUR, None))
        self.assertEqual(found.challenges[1].status, Status.PENDING)
        self.conflict(*authorizations.prove(challenge, NOW + 5 * HOUR, NOW))

    def test_prove_what_did_not_begin(self) -> None:
        """A challenge is settled from processing alone."""
        self.conflict(*authorizations.prove(self.first.challenges[0], NOW + HOUR, NOW))
        self.conflict(*authorizations.disprove(self.first.challenges[0], ERROR, NOW))
        self.conflict(authorizations.abandon(self.first.challenges[0], ERROR, NOW))

    def test_prove_too_late(self) -> None:
        """An authorization that was given up, or has expired, is not proved any more; neither is its challenge."""
        challenge = self.begin(self.first)
        self.conflict(*authorizations.prove(challenge, NOW + 5 * HOUR, NOW + 2 * HOUR))
        self.write(authorizations.move(self.first, Status.DEACTIVATED, NOW))
        self.conflict(*authorizations.prove(challenge, NOW + 5 * HOUR, NOW))
        self.assertEqual(self.authorized(1).challenges[0].status, Status.PROCESSING)

    def test_disprove(self) -> None:
        """A challenge that failed makes its authorization invalid, and says why."""
        challenge = self.begin(self.first)
        self.write(*authorizations.disprove(challenge, ERROR, NOW))
        found = self.authorized(1)
        self.assertEqual((found.status, found.challenges[0].status), (Status.INVALID, Status.INVALID))
        self.assertEqual(found.challenges[0].error, ERROR)

    def test_abandon(self) -> None:
        """A challenge that came too late ends without its authorization."""
        challenge = self.begin(self.first)
        self.write(authorizations.move(self.first, Status.VALID, NOW))
        self.conflict(*authorizations.disprove(challenge, ERROR, NOW))
        self.write(authorizations.abandon(challenge, ERROR, NOW))
        found = self.authorized(1)
        self.assertEqual((found.status, found.challenges[0].status), (Status.VALID, Status.INVALID))

    def test_expired(self) -> None:
        """Past its time a valid authorization is expired and a pending one invalid, together or not at all."""
        self.write(authorizations.move(self.first, Status.VALID, NOW))
        late = NOW + 2 * HOUR
        self.assertEqual(self.read(authorizations.expired(NOW + HOUR, 10)), [])
        self.assertEqual(len(self.read(authorizations.expired(late, 1))), 1)
        ids = self.read(authorizations.expired(late, 10))
        self.assertCountEqual(ids, [self.first.id, self.second.id])
        self.conflict(authorizations.expire(ids, NOW))
        self.write(authorizations.expire(ids, late))
        self.assertEqual(self.authorized(1).status, Status.EXPIRED)
        self.assertEqual(self.authorized(2).status, Status.INVALID)
        self.conflict(authorizations.expire(ids, late))

    def test_deactivate_all(self) -> None:
        """All that could still serve an account is deactivated, and what is settled stays."""
        self.write(authorizations.move(self.first, Status.VALID, NOW))
        self.write(*authorizations.insert(authorization(3, status=Status.INVALID)))
        self.write(authorizations.deactivate_all(ACCOUNT.id, NOW))
        states = [self.authorized(number).status for number in (1, 2, 3)]
        self.assertEqual(states, [Status.DEACTIVATED, Status.DEACTIVATED, Status.INVALID])

    def test_valid_for(self) -> None:
        """What an account has proved is what is valid, by a challenge, and not expired: wildcards as such."""
        members = {"status": Status.VALID, "proved": True}
        for held in (
            authorization(3, **members),
            authorization(4, **members, wildcard=True),
            authorization(5, **members, expires_at=NOW - HOUR),
            authorization(6, status=Status.VALID),
            authorization(7, status=Status.DEACTIVATED, proved=True),
        ):
            self.write(*authorizations.insert(held))
        found = self.read(authorizations.valid_for(ACCOUNT.id, NOW))
        self.assertEqual(found, {dns_name("3.example"), dns_name("*.4.example")})
        self.assertEqual(self.read(authorizations.valid_for("acme-acc-nobody", NOW)), set())

    def test_reusable(self) -> None:
        """What was proved serves again for the same identifier, if it holds for long enough; the last to end wins."""
        members = {"status": Status.VALID, "proved": True, "identifier": dns_name("a.example")}
        held = [
            authorization(3, **members),
            authorization(4, **members, expires_at=NOW + 3 * HOUR),
            authorization(5, **members, wildcard=True),
            authorization(6, **{**members, "proved": False}, expires_at=NOW + 9 * HOUR),
        ]
        for each in held:
            self.write(*authorizations.insert(each))
        asked = [dns_name("a.example"), dns_name("b.example")]
        found = self.read(authorizations.reusable(ACCOUNT.id, asked, NOW))
        state = AuthorizationState(held[1].id, Status.VALID, NOW + 3 * HOUR)
        self.assertEqual(found[dns_name("a.example")], state)
        self.assertNotIn(dns_name("b.example"), found)
        self.assertEqual(self.read(authorizations.reusable(ACCOUNT.id, asked, NOW + 4 * HOUR)), {})

    def test_methods(self) -> None:
        """How each identifier of an order was shown is known from the challenge that was."""
        self.assertEqual(self.read(authorizations.methods(self.order.id)), {})
        self.write(*authorizations.prove(self.begin(self.first, 1), NOW + HOUR, NOW))
        found = self.read(authorizations.methods(self.order.id))
        self.assertEqual(found, {self.first.identifier: ChallengeType.HTTP01})


class FailureContract(DatabaseCase):
    def test_counted_in_a_row(self) -> None:
        """Failures are counted for an account and a name, until control is shown or time has passed."""
        bad, good = dns_name("*.bad.example"), dns_name("good.example")
        for number in range(3):
            self.write(failures.count(ACCOUNT.id, bad, NOW + number * HOUR))
        self.write(failures.count(ACCOUNT.id, good, NOW))
        asked = [bad, good, dns_name("new.example")]
        self.assertEqual(self.read(failures.many(ACCOUNT.id, asked, 3, NOW)), {bad.value})
        self.assertEqual(self.read(failures.many(ACCOUNT.id, asked, 4, NOW)), set())
        self.assertEqual(self.read(failures.many(ACCOUNT.id, asked, 3, NOW + 3 * HOUR)), set())
        self.write(failures.forget(ACCOUNT.id, bad))
        self.assertEqual(self.read(failures.many(ACCOUNT.id, asked, 1, NOW)), {good.value})
        self.write(failures.forget_old(NOW + HOUR, 5))
        self.assertEqual(self.count("acme_validation_failures"), 0)
