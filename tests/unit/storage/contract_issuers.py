"""What issuers are in every engine."""

from __future__ import annotations

from datetime import timedelta

import attrs

from certctl.acme.objects import Status
from certctl.storage import authorizations, certificates, issuers, jobs, orders, profiles
from certctl.storage.issuers import IssuerRecord, IssuerRequest
from tests.unit.storage.contract import HOUR, NOW, PROFILE, DatabaseCase
from tests.unit.storage.contract_jobs import JOB
from tests.unit.storage.contract_objects import CERTIFICATE
from tests.unit.storage.contract_orders import authorization, order

SHORT, LONG = b"\x30\x03abc", b"\x30\x82\x01\x00" + bytes(256)
REQUEST = IssuerRequest(id="iss-next", request=b"\x30\x00", created_by="boss", created_at=NOW)
ID = PROFILE.issuer_id


class IssuerContract(DatabaseCase):
    def next(self) -> IssuerRecord:
        """Another issuer, which was requested before."""
        self.write(issuers.add_request(REQUEST))
        self.write(
            issuers.record("iss-next", [SHORT, LONG], None, NOW, SHORT), issuers.remove_request("iss-next")
        )
        return self.found("iss-next")

    def found(self, id: str = ID) -> IssuerRecord:
        record = self.read(issuers.by_id(id))
        assert record is not None
        return record

    def test_request(self) -> None:
        """An id is taken once, by a request or by an issuer."""
        self.write(issuers.add_request(REQUEST))
        self.assertEqual(self.read(issuers.request_by_id("iss-next")), REQUEST)
        self.assertEqual(self.read(issuers.requests()), [REQUEST])
        self.conflict(issuers.add_request(REQUEST))
        self.conflict(issuers.add_request(attrs.evolve(REQUEST, id=ID)))
        self.write(issuers.remove_request("iss-next"))
        self.conflict(issuers.remove_request("iss-next"))

    def test_round_trip(self) -> None:
        """Certificates that were joined come apart again, short and long ones."""
        made = self.next()
        self.assertEqual((made.chain, made.root, made.version), ((SHORT, LONG), SHORT, 1))
        self.assertEqual(self.read(issuers.versions()), {ID: 1, "iss-next": 1})
        self.assertEqual([each.id for each in self.read(issuers.everyone())], sorted([ID, "iss-next"]))
        self.write(issuers.record("iss-next", [LONG], SHORT, NOW))
        self.assertEqual((self.found("iss-next").chain, self.found("iss-next").version), ((LONG,), 2))
        self.conflict(issuers.record("iss-next", [LONG], SHORT, NOW))

    def test_planned(self) -> None:
        """What is to become of it, as of the version that was read."""
        self.next()
        planned = attrs.evolve(
            self.found(), successor_id="iss-next", switch_at=NOW + HOUR, renew_by=NOW + 2 * HOUR
        )
        self.write(issuers.plan(planned))
        self.assertEqual(self.found(), attrs.evolve(planned, version=2))
        self.conflict(issuers.plan(planned))

    def test_chains(self) -> None:
        record = self.next()
        self.write(*issuers.add_chain(record, [SHORT, SHORT], "digest", NOW))
        self.conflict(*issuers.add_chain(self.found("iss-next"), [LONG], "digest", NOW))
        self.conflict(*issuers.add_chain(record, [LONG], "another", NOW))
        self.assertEqual(self.read(issuers.alternates()), {"iss-next": ((SHORT, SHORT),)})
        self.conflict(*issuers.remove_chain(self.found("iss-next"), "another"))
        self.write(*issuers.remove_chain(self.found("iss-next"), "digest"))
        self.assertEqual(self.read(issuers.alternates()), {})

    def test_retired(self) -> None:
        """Not while a profile names it, a switch to it is to come, an order waits for it, or certificates live."""
        self.next()
        self.conflict(issuers.retire(self.found(), NOW, even_with_live=True))
        moved = attrs.evolve(PROFILE, issuer_id="iss-next", version=2)
        self.write(profiles.update(moved, 1, NOW))
        held = authorization(status=Status.VALID)
        self.write(*authorizations.insert(held), *orders.insert(order(held, status=Status.READY)))
        self.write(orders.make_processing("acme-ord-1", JOB.deadline, NOW), jobs.insert(JOB))
        self.conflict(issuers.retire(self.found(), NOW, even_with_live=True))
        self.write(jobs.drop(JOB))
        self.assertEqual(self.read(issuers.live(ID, NOW)), (0, None))
        issued = CERTIFICATE
        self.write(*certificates.insert(issued))
        self.assertEqual(self.read(issuers.live(ID, NOW)), (1, issued.not_after))
        self.conflict(issuers.retire(self.found(), NOW, even_with_live=False))
        after = issued.not_after + timedelta(seconds=1)
        self.assertEqual(self.read(issuers.live(ID, after)), (0, None))
        planned = attrs.evolve(self.found("iss-next"), successor_id=ID, switch_at=NOW + HOUR)
        self.write(issuers.plan(planned))
        self.conflict(issuers.retire(self.found(), after, even_with_live=False))
        self.write(issuers.plan(attrs.evolve(self.found("iss-next"), successor_id=None, switch_at=None)))
        self.write(issuers.retire(self.found(), after, even_with_live=False))
        self.assertEqual(self.found().retired_at, after)
        self.conflict(issuers.retire(self.found(), after, even_with_live=True))
        self.conflict(issuers.plan(self.found()))
