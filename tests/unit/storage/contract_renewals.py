"""Mass renewals, and what becomes of the certificates that they mean, in every engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from certctl.acme import ids
from certctl.acme.mass_renewal import MassRenewal, Outcome, State
from certctl.acme.objects import Status
from certctl.storage import certificates, mass_renewals, orders
from certctl.storage.search import renewals
from tests.unit.storage.contract import HOUR, NOW, PROFILE
from tests.unit.storage.contract_search import SearchCase

SECOND = timedelta(seconds=1)


def renewal(**changes: Any) -> MassRenewal:
    """A mass renewal with everything."""
    values: dict[str, Any] = {
        "id": ids.new(ids.MASS_RENEWAL, NOW),
        "name": "weak keys",
        "drill": True,
        "serials": ("a1", "b2"),
        "issued_before": NOW,
        "starts_at": NOW,
        "due_at": NOW + HOUR,
        "explanation": "Why \u00fc",
        "explanation_url": "https://a.example/",
        "created_by": "api-key:me",
    }
    return MassRenewal(**{**values, **changes})


class MassRenewalContract(SearchCase):
    def test_round_trip(self) -> None:
        """A mass renewal is found as it was written, until it ends, which it does once."""
        made = renewal(profile_id="prof-a", issuer_id="iss-a", account_id="acme-acc-a")
        other = renewal(id=ids.new(ids.MASS_RENEWAL, NOW + SECOND), serials=(), drill=False)
        self.write(mass_renewals.insert(made), mass_renewals.insert(other))
        self.assertEqual(self.read(mass_renewals.by_id(made.id)), made)
        self.assertIsNone(self.read(mass_renewals.by_id("renew-x")))
        self.assertEqual(self.read(mass_renewals.running()), [made, other])
        self.assertEqual(self.read(mass_renewals.page(None, 10, 0)), [other, made])
        self.write(mass_renewals.end(made.id, Outcome.CANCELLED, NOW + HOUR))
        self.conflict(mass_renewals.end(made.id, Outcome.FINISHED, NOW + HOUR))
        ended = attrs.evolve(made, outcome=Outcome.CANCELLED, ended_at=NOW + HOUR)
        self.assertEqual(self.read(mass_renewals.by_id(made.id)), ended)
        self.assertEqual(self.read(mass_renewals.running_ids()), (other.id,))
        self.assertEqual(self.read(mass_renewals.page(False, 10, 0)), [ended])
        self.assertEqual([self.read(mass_renewals.count(each)) for each in (None, True, False)], [2, 1, 1])

    def test_states(self) -> None:
        """What was replaced has come, by its names or by an order; the rest waits, was revoked, or has expired."""
        start = NOW + 10 * HOUR
        wanted = renewal(serials=(), profile_id=PROFILE.id, starts_at=start, issued_before=start)
        found = self.members(wanted, tuple(State))
        self.assertEqual({each.state for each in found}, {State.WAITING})
        self.assertEqual(found, sorted(found, key=lambda each: each.id))
        first, second, third = found[:3]
        self.write(certificates.revoke(first.id, 4, start + SECOND))
        self.write(*self.renewing(second.id, start + SECOND))
        states = {each.id: each.state for each in self.members(wanted, tuple(State))}
        self.assertEqual((states[first.id], states[second.id]), (State.REVOKED, State.COME))
        self.assertEqual(states[third.id], State.WAITING)
        tally = self.read(renewals.tally(wanted, (), start, "", 100))
        self.assertEqual(sum(each.count for each in tally), len(found))
        self.assertEqual(max(each.last for each in tally), found[-1].id)
        self.assertEqual(self.read(renewals.end_of_page(wanted, (), first.id, 1)), second.id)
        self.assertIsNone(self.read(renewals.end_of_page(wanted, (), "", 100)))
        between = renewals.members(wanted, (), tuple(State), start, (first.id, second.id), 100)
        self.assertEqual([each.id for each in self.read(between)], [second.id])
        one = attrs.evolve(wanted, serials=(third.serial,))
        (part,) = renewals.parts(one)
        self.assertEqual(len(part), renewals.AT_ONCE)
        self.assertEqual([each.id for each in self.read(self.query(one, part, tuple(State)))], [third.id])

    def members(self, wanted: MassRenewal, states: tuple[State, ...]) -> list[renewals.Member]:
        return self.read(self.query(wanted, (), states))

    def query(self, wanted: MassRenewal, part: tuple[str, ...], states: tuple[State, ...]) -> Any:
        return renewals.members(wanted, part, states, wanted.starts_at, ("", None), 100)

    def renewing(self, certificate_id: str, now: Any) -> list[Any]:
        """An order that replaces a certificate, and has its own."""
        found = self.read(certificates.by_id(certificate_id))
        assert found is not None
        old = self.read(orders.by_id(found.order_id))
        assert old is not None
        own = {"id": ids.new(ids.ORDER, now), "created_at": now, "status": Status.VALID}
        return orders.insert(attrs.evolve(old, **own, replaces="x.y", replaces_id=certificate_id))
