"""Nonces over HTTP (RFC 8555 sections 6.5 and 7.2)."""

from __future__ import annotations

from tests.unit.web.bench import DEFAULT, ORIGIN, Bench, BenchCase

NEW_NONCE = f"{ORIGIN}/acme/profile/{DEFAULT}/new-nonce"


def spent(bench: Bench) -> int:
    """Return how many spent nonces the database remembers, and let it forget them."""
    return int(bench.result(bench.database.forget_nonces(b"\xff" * 16)))


class NewNonceTests(BenchCase):
    def test_head(self) -> None:
        """Section 7.2: HEAD is answered 200 with a nonce, not to be stored."""
        response = self.bench.request("HEAD", NEW_NONCE)
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(response.one("Cache-Control"), "no-store")
        self.assertTrue(response.nonce)

    def test_get(self) -> None:
        """Section 7.2: GET is answered 204 with a nonce, not to be stored."""
        response = self.bench.get(NEW_NONCE)
        self.assertEqual((response.status, response.body), (204, b""))
        self.assertEqual(response.one("Cache-Control"), "no-store")
        self.assertTrue(response.nonce)

    def test_post_as_get(self) -> None:
        """Section 6.3: POST-as-GET is for every resource, and brings one fresh nonce here too."""
        response = self.bench.account().read("new-nonce")
        self.assertEqual(response.status, 204)
        self.assertEqual(len(response.all("Replay-Nonce")), 1)

    def test_nonces_differ(self) -> None:
        """Section 6.5: no two clients are given the same nonce."""
        found = {self.bench.get(NEW_NONCE).nonce for _ in range(500)}
        self.assertEqual(len(found), 500)

    def test_minting_writes_nothing(self) -> None:
        """Nonces that are handed out cost the database nothing; those that are spent cost one entry."""
        for _ in range(50):
            self.bench.get(NEW_NONCE)
        self.assertEqual(spent(self.bench), 0)
        self.bench.account()
        self.assertEqual(spent(self.bench), 1)


class ReplayTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()
        assert self.client.kid is not None
        self.account = self.client.kid

    def test_second_use(self) -> None:
        """Section 6.5: a nonce is good once; the refusal brings another that works."""
        nonce = self.client.nonce
        self.assertEqual(self.client.post(self.account, None, nonce=nonce).status, 200)
        refused = self.client.post(self.account, None, nonce=nonce)
        self.assertProblem(refused, "badNonce", 400)
        self.assertNotEqual(refused.nonce, nonce)
        self.assertEqual(self.client.post(self.account, None, nonce=refused.nonce).status, 200)

    def test_many_requests_over_one_nonce(self) -> None:
        """Of 200 requests with one nonce, whatever they ask for, exactly one is accepted."""
        nonce = self.client.nonce
        answers = [self.client.post(self.account, None, nonce=nonce) for _ in range(200)]
        self.assertEqual([each.status for each in answers].count(200), 1)
        self.assertEqual({each.error for each in answers}, {"", "badNonce"})

    def test_one_nonce_on_two_replicas(self) -> None:
        """Two servers over one database know each other's nonces, and spend each only once."""
        replica = Bench(self, database=self.bench.database)
        nonce = self.client.nonce
        body = self.client.signed(self.account, None, nonce=nonce)
        headers = {"Content-Type": "application/jose+json"}
        answers = [bench.request("POST", self.account, body, headers) for bench in (replica, self.bench)]
        self.assertEqual([each.error for each in answers], ["", "badNonce"])

    def test_no_nonce(self) -> None:
        """Section 6.5.2: a request without a nonce is refused as badNonce."""
        self.assertProblem(self.client.post(self.account, None, nonce=None), "badNonce", 400)

    def test_nonces_of_others(self) -> None:
        """What this server did not make is a bad nonce: invented, changed, empty, too long, another server's."""
        nonce = self.client.nonce
        changed = nonce[:20] + ("A" if nonce[20] != "A" else "B") + nonce[21:]
        other = self.served().get(NEW_NONCE).nonce
        for bad in (changed, other, "", "x", "A" * 43, nonce + "A", nonce * 100):
            self.assertProblem(self.client.post(self.account, None, nonce=bad), "badNonce", 400)

    def test_lifetime(self) -> None:
        """A nonce is good for five minutes and no longer."""
        early, late = self.client.nonce, self.bench.get(NEW_NONCE).nonce
        self.bench.pass_by(minutes=5)
        self.assertEqual(self.client.post(self.account, None, nonce=early).status, 200)
        self.bench.pass_by(seconds=1)
        self.assertProblem(self.client.post(self.account, None, nonce=late), "badNonce", 400)

    def test_lifetime_is_a_setting(self) -> None:
        """``CERTCTL_ACME_SERVER_NONCE_TTL`` says how long a nonce waits."""
        bench = self.served(acme_server_nonce_ttl="10s")
        client = bench.client()
        nonce = client.nonce
        bench.pass_by(seconds=11)
        self.assertProblem(client.post("new-account", {}, nonce=nonce), "badNonce", 400)

    def test_swept_nonces_stay_spent(self) -> None:
        """The sweeper forgets a spent nonce only when it could not be used any more, whatever the clocks say."""
        nonce = self.client.nonce
        self.client.post(self.account, None, nonce=nonce)
        for _ in range(8):
            self.bench.pass_by(minutes=1)
            self.bench.sweep()
            self.assertProblem(self.client.post(self.account, None, nonce=nonce), "badNonce", 400)
        self.bench.pass_by(minutes=10)
        self.bench.sweep()
        self.assertEqual(spent(self.bench), 0)

    def test_errors_bring_nonces_that_work(self) -> None:
        """Section 6.5: an error brings a nonce too, and it is as good as any."""
        refused = self.client.try_order("not_a_name")
        self.assertProblem(refused, "rejectedIdentifier", 400)
        self.assertEqual(self.client.post(self.account, None, nonce=refused.nonce).status, 200)
