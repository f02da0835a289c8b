"""Issuers, added, switched and retired over the REST API, and what ACME clients see of that."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred

from certctl.acme.name_constraints import Subtrees
from certctl.acme.renewal import CertID
from certctl.authority.issuers import Issuers
from certctl.issuance import offline
from certctl.issuance.issuer import StatusUrls
from certctl.issuance.keyring import KEY, KeyDirectory
from certctl.issuance.offline import Bounds
from tests.acme_client import make_csr
from tests.unit.web.api.cases import ApiCase
from tests.unit.web.bench import ISSUER, NOW, Bench, authority

NEW = "iss-next"
YEAR = timedelta(days=365)
BOUNDS = Bounds(lifetime=YEAR, path_length=0)


def nowhere(issuer_id: str) -> StatusUrls | None:
    """No URL is known."""
    return None


class IssuerCase(ApiCase):
    """A server with a key directory, and a root on another machine."""

    def setUp(self) -> None:
        self.state = Path(self.mktemp())
        super().setUp()
        self.offline = Path(self.mktemp())
        offline.found_root(
            self.offline, "Corp root", "ecdsa-p384", Bounds(lifetime=5 * YEAR, path_length=1), NOW
        )

    def served(self, **settings: str) -> Bench:
        settings = {"api_keys_named": "boss:boss-key:admin", "api_requests_per_minute": "0", **settings}
        return Bench(self, settings, keyring=KeyDirectory(self.state, nowhere))

    def certified(self, request: str, bounds: Bounds = BOUNDS) -> str:
        made = offline.sign_request(self.offline, request.encode(), bounds, NOW)
        return "".join(each.public_bytes(Encoding.PEM).decode() for each in made)

    def added(self, id: str = NEW, bounds: Bounds = BOUNDS, key: str = "ecdsa-p256") -> Any:
        """An issuer under the other root, as the API shows it."""
        asked = {"id": id, "common_name": f"Corp {id}", "key_algorithm": key}
        request = self.ok("POST", "issuer-requests", asked, status=201)
        pem = self.certified(request["request"], bounds)
        return self.ok("POST", "issuers", {"id": id, "certificates": pem}, status=201)

    def switch(self, **body: Any) -> Any:
        return self.ok("POST", f"issuers/{ISSUER}/switch", {"to": NEW, **body})

    def issuer_of(self, chain: list[x509.Certificate]) -> str:
        return chain[0].issuer.rfc4514_string()

    def tick(self) -> None:
        """What every server does every few seconds."""
        self.bench.result(self.bench.parts.rotation.keep_time())


class AddingTests(IssuerCase):
    def test_request_and_certificate(self) -> None:
        """The key stays on the server; the certificate makes it an issuer that profiles can name."""
        self.assertEqual(self.call("GET", f"issuers/{NEW}").status, 404)
        found = self.added(key="rsa-3072")
        self.assertTrue(found["signs_here"])
        self.assertEqual(found["subject"], f"CN=Corp {NEW}")
        self.assertEqual((self.state / "issuers" / NEW / KEY).stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.ok("GET", "issuer-requests")["data"], [])
        self.assertEqual([each["id"] for each in self.ok("GET", "issuers")["data"]], [ISSUER, NEW])
        self.bench.add_profile("prof-rsa", issuer_id=NEW)
        issued = self.bench.account("prof-rsa").issue("a.example.org")
        self.assertEqual(self.issuer_of(issued.chain), f"CN=Corp {NEW}")
        self.assertEqual(
            self.actions()[-5:-3],
            [("api-key:boss", "issuer_requested"), ("api-key:boss", "issuer_installed")],
        )

    def test_killed_between_key_and_request(self) -> None:
        """A key that no request is stored for is taken up again, and not made anew."""
        keyring = KeyDirectory(self.state, nowhere)
        keyring.request(NEW, "Corp", "ecdsa-p256")
        before = (self.state / "issuers" / NEW / KEY).read_bytes()
        self.added()
        self.assertEqual((self.state / "issuers" / NEW / KEY).read_bytes(), before)
        other = {"id": "iss-other", "common_name": "Corp", "key_algorithm": "rsa-3072"}
        keyring.request("iss-other", "Corp", "ecdsa-p256")
        words = "there is a key already, and it is ecdsa-p256"
        self.assertRefused(self.call("POST", "issuer-requests", other), 409, "conflict", words)

    def test_certificates_that_will_not_do(self) -> None:
        """Another key, no chain, what has ended, no PEM: nothing becomes an issuer."""
        asked = {"id": NEW, "common_name": "Corp", "key_algorithm": "ecdsa-p256"}
        request = self.ok("POST", "issuer-requests", asked, status=201)
        good = self.certified(request["request"])
        leaf, root = (
            each + "-----END CERTIFICATE-----\n" for each in good.split("-----END CERTIFICATE-----\n")[:2]
        )
        other = KeyDirectory(self.state / "other", nowhere).request(NEW, "Corp", "ecdsa-p256")
        csr = x509.load_der_x509_csr(other).public_bytes(Encoding.PEM).decode()
        for pem, words in (
            (self.certified(csr), "key is not that of issuer"),
            (root + leaf, "allows no CA so far below it"),
            (leaf + leaf, "stands twice"),
            ("nonsense", "cannot be read"),
        ):
            response = self.call("POST", "issuers", {"id": NEW, "certificates": pem})
            self.assertRefused(response, 400, "invalid_request", words)
        self.bench.clock.advance(2 * YEAR.total_seconds())
        response = self.call("POST", "issuers", {"id": NEW, "certificates": good})
        self.assertRefused(response, 400, "invalid_request", "expired")
        self.assertEqual(self.call("GET", f"issuers/{NEW}").status, 404)

    def test_taken_ids(self) -> None:
        self.added()
        for id in (NEW, ISSUER):
            asked = {"id": id, "common_name": "Corp"}
            self.assertRefused(self.call("POST", "issuer-requests", asked), 409, "conflict", "already")
        for id in ("iss-", "../iss-x", "prof-x"):
            self.assertEqual(self.call("POST", "issuer-requests", {"id": id, "common_name": "C"}).status, 400)

    def test_names_that_no_certificate_can_have(self) -> None:
        """64 octets of UTF-8 are the most, whatever the characters; no key is made for such a name."""
        for name in ("\u00f4" * 33, "\U00012345" * 17, "x" * 65, "", " ", "two\nlines", "\u0087"):
            asked = {"id": NEW, "common_name": name}
            self.assertRefused(self.call("POST", "issuer-requests", asked), 400, "invalid_request")
            self.assertFalse((self.state / "issuers" / NEW).exists())
        self.ok("POST", "issuer-requests", {"id": NEW, "common_name": "\u00f4" * 32}, status=201)

    def test_withdrawn(self) -> None:
        self.ok("POST", "issuer-requests", {"id": NEW, "common_name": "Corp"}, status=201)
        self.ok("DELETE", f"issuer-requests/{NEW}", status=204)
        self.assertEqual(self.call("DELETE", f"issuer-requests/{NEW}").status, 404)

    def test_renewed(self) -> None:
        """A certificate of the same name and key takes the place of the old one."""
        found = self.added()
        key = KeyDirectory(self.state, nowhere).request(NEW, f"Corp {NEW}", "ecdsa-p256")
        csr = x509.load_der_x509_csr(key).public_bytes(Encoding.PEM).decode()
        longer = self.certified(csr, Bounds(lifetime=2 * YEAR, path_length=0))
        renewed = self.ok("PUT", f"issuers/{NEW}/certificate", {"certificates": longer})
        self.assertGreater(renewed["not_after"], found["not_after"])
        self.assertEqual(renewed["version"], found["version"] + 1)
        response = self.call("PUT", f"issuers/{ISSUER}/certificate", {"certificates": longer})
        self.assertRefused(response, 409, "conflict", "lies in a file")


class SwitchingTests(IssuerCase):
    def test_now(self) -> None:
        """The next order is the new issuer's; what the old one signed stays its own, chain and all."""
        client = self.bench.account()
        before = client.issue("a.example.org")
        self.added()
        self.switch()
        after = client.issue("b.example.org")
        self.assertEqual(self.issuer_of(before.chain), "CN=bench issuing CA")
        self.assertEqual(self.issuer_of(after.chain), f"CN=Corp {NEW}")
        again = x509.load_pem_x509_certificates(client.read(before.url).body)
        self.assertEqual(again, before.chain)
        self.assertEqual(self.bench.value("SELECT issuer_id FROM certificate_profiles"), NEW)
        rows = self.bench.rows("SELECT issuer_id FROM certificate_versions ORDER BY issuer_id")
        self.assertEqual(rows, [(ISSUER,), (NEW,)])
        actions = [action for _, action in self.actions()]
        self.assertIn("issuer_switched", actions)
        self.assertIn("profile_changed", actions)

    def test_order_under_way(self) -> None:
        """An order that was made before the switch gets its certificate from who signs then."""
        client = self.bench.account()
        order = client.order("a.example.org")
        self.added()
        self.switch()
        finalized = client.finalize(order, make_csr(["a.example.org"])[1])
        self.assertEqual(finalized.status, 200, finalized.body)
        chain = x509.load_pem_x509_certificates(client.read(finalized.json["certificate"]).body)
        self.assertEqual(self.issuer_of(chain), f"CN=Corp {NEW}")

    def test_at_a_time(self) -> None:
        """Done by whichever server looks first once its time has come; cancelled before, it is not done."""
        self.added()
        at = (NOW + timedelta(hours=1)).isoformat()
        planned = self.switch(at=at)
        self.assertIsNone(planned["switched_at"])
        self.tick()
        self.assertEqual(self.bench.value("SELECT issuer_id FROM certificate_profiles"), ISSUER)
        self.ok("DELETE", f"issuers/{ISSUER}/switch")
        self.bench.pass_by(hours=2)
        self.tick()
        self.assertEqual(self.bench.value("SELECT issuer_id FROM certificate_profiles"), ISSUER)
        self.assertRefused(self.call("DELETE", f"issuers/{ISSUER}/switch"), 409, "conflict")
        self.switch(at=(self.bench.now + timedelta(hours=1)).isoformat())
        self.bench.pass_by(hours=1)
        self.tick()
        self.tick()
        self.assertEqual(self.bench.value("SELECT issuer_id FROM certificate_profiles"), NEW)
        self.assertEqual(self.actions().count(("acme-system:issuers", "issuer_switched")), 1)

    def test_back_again(self) -> None:
        self.added()
        self.switch(renew_by=(NOW + timedelta(days=9)).isoformat())
        self.ok("POST", f"issuers/{NEW}/switch", {"to": ISSUER})
        self.assertEqual(self.bench.value("SELECT issuer_id FROM certificate_profiles"), ISSUER)
        old = self.ok("GET", f"issuers/{ISSUER}")
        self.assertEqual((old["switched_at"], old["renew_by"]), (None, None))

    def test_refused(self) -> None:
        """To nobody, to itself, to one that has no key here, and by who read an older version."""
        for to in ("iss-none", ISSUER):
            self.assertEqual(self.call("POST", f"issuers/{ISSUER}/switch", {"to": to}).status, 400)
        version = self.ok("GET", f"issuers/{ISSUER}")["version"]
        self.added()
        self.switch(at=(NOW + timedelta(hours=1)).isoformat())
        response = self.call("POST", f"issuers/{ISSUER}/switch", {"to": NEW}, If_Match=f'"{version}"')
        self.assertEqual(response.status, 412)
        late = {"to": NEW, "renew_by": (NOW - timedelta(hours=1)).isoformat()}
        self.assertRefused(
            self.call("POST", f"issuers/{ISSUER}/switch", late), 400, "invalid_request", "renew_by"
        )

    def test_renewal_information(self) -> None:
        """What hangs on the old one is to be renewed between the switch and the date; what is new is not."""
        client = self.bench.account()
        before = client.issue("a.example.org")
        usual = self.window(before.chain[0])
        self.added()
        self.switch(renew_by=(NOW + timedelta(days=14)).isoformat())
        hurried = self.window(before.chain[0])
        self.assertLess(hurried["end"], usual["start"])
        self.assertEqual(hurried["end"][:10], (NOW + timedelta(days=14)).isoformat()[:10])
        after = client.issue("b.example.org")
        self.assertEqual(self.window(after.chain[0])["end"][:10], usual["end"][:10])

    def window(self, certificate: x509.Certificate) -> Any:
        self.bench.pass_by(seconds=2)  # what was learnt is good for a second
        url = f"/acme/profile/prof-default/renewal-info/{CertID.of(certificate)}"
        return self.bench.get(url).json["suggestedWindow"]

    def test_old_certid_recognised(self) -> None:
        """An order may replace what the old issuer signed, and nothing else of it."""
        client = self.bench.account()
        before = client.issue("a.example.org")
        self.added()
        self.switch()
        order = client.order("a.example.org", replaces=str(CertID.of(before.chain[0])))
        self.assertEqual(order.json["replaces"], str(CertID.of(before.chain[0])))


class RetiringTests(IssuerCase):
    def test_refused_while_needed(self) -> None:
        """While profiles name it, and while certificates live, unless that is said."""
        client = self.bench.account()
        client.issue("a.example.org")
        self.added()
        path = f"issuers/{ISSUER}/retire"
        self.assertRefused(self.call("POST", path, {}), 409, "conflict", "profiles name issuer")
        self.switch()
        self.assertRefused(self.call("POST", path, {}), 409, "conflict", "1 certificates of issuer")
        retired = self.ok("POST", path, {"even_with_live": True})
        self.assertIsNotNone(retired["retired_at"])
        self.assertFalse(retired["signs_here"])
        named = {"name": "Late", "issuer_id": ISSUER, "max_ttl_seconds": 3600}
        self.assertRefused(self.call("POST", "profiles", named), 400, "invalid_request", "was retired")
        self.assertEqual(self.call("POST", f"issuers/{NEW}/switch", {"to": ISSUER}).status, 409)

    def test_once_all_have_ended(self) -> None:
        client = self.bench.account()
        client.issue("a.example.org")
        self.added()
        self.switch()
        self.bench.clock.advance(91 * 86400)
        self.ok("POST", f"issuers/{ISSUER}/retire", {})

    def test_profile_by_hand(self) -> None:
        """A profile that names a retired issuer all the same gets 503, and no certificate."""
        self.added()
        self.switch()
        self.ok("POST", f"issuers/{ISSUER}/retire", {})
        client = self.bench.account()
        self.bench.execute("UPDATE certificate_profiles SET issuer_id = ?", ISSUER)
        self.assertEqual(client.try_order("a.example.org").status, 503)


class LackingTests(IssuerCase):
    """Another server on the same database, whose state directory has no such key."""

    def setUp(self) -> None:
        super().setUp()
        self.added()
        self.switch()
        self.elsewhere = Path(self.mktemp())
        self.other = Bench(
            self,
            {"api_keys_named": "boss:boss-key:admin", "api_requests_per_minute": "0"},
            database=self.bench.database,
            keyring=KeyDirectory(self.elsewhere, nowhere),
        )

    def test_refused_clearly(self) -> None:
        """503 with Retry-After for orders, not ready, CRL 503: and never a signature by another key."""
        client = self.other.account()
        refused = client.try_order("a.example.org")
        self.assertEqual(refused.status, 503)
        self.assertTrue(refused.has("Retry-After"))
        self.assertIn(f"issuer {NEW} cannot sign on this server", refused.json["detail"])
        ready = self.other.get("/ready")
        self.assertEqual(ready.status, 503)
        self.assertEqual(ready.json["wrong"], [f"{NEW} cannot sign here"])
        self.assertEqual(self.other.get(f"/pki/{NEW}/crl").status, 503)
        self.flushLoggedErrors()

    def test_key_copied(self) -> None:
        """Nothing is to be restarted once the key is there."""
        (self.elsewhere / "issuers").mkdir(parents=True)
        source = self.state / "issuers" / NEW
        source.rename(self.elsewhere / "issuers" / NEW)
        issued = self.other.account().issue("a.example.org")
        self.assertEqual(self.issuer_of(issued.chain), f"CN=Corp {NEW}")
        self.assertEqual(self.other.get("/ready").status, 200)

    def test_key_of_another(self) -> None:
        """A key that is not the recorded one signs nothing, and stops a start."""
        keyring = KeyDirectory(self.elsewhere, nowhere)
        keyring.request(NEW, "Corp", "ecdsa-p256")
        self.assertEqual(self.other.account().try_order("a.example.org").status, 503)
        chain = self.bench.parts.issuers.all[NEW].record.chain
        self.assertIn("the key is not that of the certificate", keyring.wrong(NEW, chain[0]) or "")
        self.assertIsNone(KeyDirectory(self.state, nowhere).wrong(NEW, chain[0]))


class ChainTests(IssuerCase):
    def test_cross_certificate(self) -> None:
        """Offered as an alternate, and verified to another root."""
        found = self.added()
        old = Path(self.mktemp())
        offline.found_root(old, "Old root", "ecdsa-p256", Bounds(lifetime=5 * YEAR, path_length=1), NOW)
        cross = offline.sign_across(old, found["certificate"].encode(), YEAR, NOW)
        pem = "".join(each.public_bytes(Encoding.PEM).decode() for each in cross)
        shown = self.ok("POST", f"issuers/{NEW}/chains", {"certificates": pem}, status=201)
        self.assertEqual(len(shown["alternates"]), 1)
        self.assertEqual(self.call("POST", f"issuers/{NEW}/chains", {"certificates": pem}).status, 409)
        self.switch()
        client = self.bench.account()
        issued = client.issue("a.example.org")
        links = client.read(issued.url).links("alternate")
        chains = [x509.load_pem_x509_certificates(client.read(each).body) for each in links]
        self.assertEqual(len(chains), 2, "with the root, and by the old root")
        ends = {chain[-1].issuer.rfc4514_string() for chain in chains}
        self.assertEqual(ends, {"CN=Corp root", "CN=Old root"})
        for chain in chains:
            chain[0].verify_directly_issued_by(chain[1])
        digest = shown["alternates"][0]["sha256"]
        self.ok("DELETE", f"issuers/{NEW}/chains/{digest}")
        self.assertEqual(len(client.read(issued.url).links("alternate")), 1)

    def test_strangers(self) -> None:
        """What is no certificate of a CA in the chain is no chain of it."""
        self.added()
        other = Path(self.mktemp())
        paths = offline.found_root(other, "Stranger", "ecdsa-p256", Bounds(lifetime=YEAR, path_length=1), NOW)
        body = {"certificates": paths.root.read_text()}
        response = self.call("POST", f"issuers/{NEW}/chains", body)
        self.assertRefused(response, 400, "invalid_request", "of no CA in the issuer's chain")


class BoundTests(IssuerCase):
    def test_name_constraints(self) -> None:
        """A name outside is refused before an order exists, with a subproblem for it."""
        self.added(bounds=Bounds(lifetime=YEAR, path_length=0, permitted=Subtrees.parse(["corp.example"])))
        self.switch()
        client = self.bench.account()
        client.issue("a.corp.example")
        before = self.bench.value("SELECT count(*) FROM acme_orders")
        refused = client.try_order("a.corp.example", "a.example.org", "192.0.2.1")
        self.assertEqual(refused.json["type"], "urn:ietf:params:acme:error:rejectedIdentifier")
        told = [each["identifier"]["value"] for each in refused.json["subproblems"]]
        self.assertEqual(told, ["a.example.org", "192.0.2.1"])
        ahead = client.post("new-authz", {"identifier": {"type": "dns", "value": "a.example.org"}})
        self.assertEqual(ahead.error, "rejectedIdentifier")
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_orders"), before)

    def test_constraints_of_a_new_issuer(self) -> None:
        """An order from before the switch is judged again at the door to the signer."""
        client = self.bench.account()
        order = client.order("a.example.org")
        self.added(bounds=Bounds(lifetime=YEAR, path_length=0, permitted=Subtrees.parse(["corp.example"])))
        self.switch()
        refused = client.finalize(order, make_csr(["a.example.org"])[1])
        self.assertEqual(refused.json["type"], "urn:ietf:params:acme:error:rejectedIdentifier")
        self.assertEqual(self.bench.value("SELECT count(*) FROM certificate_versions"), 0)

    def test_beyond_the_issuer(self) -> None:
        """Shortened to the issuer's end; or refused, as the profile says. Never longer."""
        self.added(bounds=Bounds(lifetime=timedelta(days=10), path_length=0))
        self.bench.add_profile("prof-short", issuer_id=NEW)
        self.bench.add_profile("prof-strict", issuer_id=NEW, policy={"beyond_issuer": "refuse"})
        chain = self.bench.account("prof-short").issue("a.example.org").chain
        self.assertEqual(chain[0].not_valid_after_utc, chain[1].not_valid_after_utc)
        strict = self.bench.account("prof-strict")
        refused = strict.try_order("a.example.org")
        self.assertEqual((refused.status, refused.json["type"][-12:]), (403, "unauthorized"))
        self.assertIn("shortens no certificate", refused.json["detail"])
        ends = (NOW + timedelta(days=5)).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        self.assertEqual(strict.try_order("a.example.org", notAfter=ends).status, 201)
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_orders"), 2)


class ServerTests(IssuerCase):
    def test_who_certifies_the_server(self) -> None:
        """The first issuer, whatever profiles name, until it is retired: clients trust its root."""
        held: Issuers = self.bench.parts.issuers
        self.added()
        self.switch()
        self.assertIs(held.of_the_server(), authority())
        self.ok("POST", f"issuers/{ISSUER}/retire", {})
        self.assertIs(held.of_the_server(), held[NEW])

    def test_metrics(self) -> None:
        """The end of each issuer that signs."""
        self.added()
        self.assertIn(f'certctl_acme_issuer_expires_in_seconds{{issuer="{NEW}"}}', self.metrics())
        self.switch()
        self.ok("POST", f"issuers/{ISSUER}/retire", {})
        self.assertNotIn(f'certctl_acme_issuer_expires_in_seconds{{issuer="{ISSUER}"}}', self.metrics())

    def metrics(self) -> str:
        return self.bench.get("/metrics").body.decode()


class RaceTests(IssuerCase):
    def test_two_servers_at_once(self) -> None:
        """A switch that is due is done once, by one of two servers that look at the same moment."""
        self.added()
        other = Bench(self, {}, database=self.bench.database, keyring=KeyDirectory(self.state, nowhere))
        self.switch(at=(NOW + timedelta(hours=1)).isoformat())
        self.bench.pass_by(hours=2)
        other.pass_by(hours=2)
        both = [Deferred.fromCoroutine(each.parts.rotation.keep_time()) for each in (self.bench, other)]
        for each in both:
            self.successResultOf(each)
        actions = [action for _, action in self.actions()]
        self.assertEqual(actions.count("issuer_switched"), 1)
        self.assertEqual(actions.count("profile_changed"), 1)
