"""One family of URLs for each profile, and the shorthand for the default one."""

from __future__ import annotations

from tests.unit.web.bench import DEFAULT, ORIGIN, BenchCase, Client


class MatrixTests(BenchCase):
    def _statuses(self, **settings: str) -> tuple[int, int]:
        """The statuses of a profile's directory and of the shorthand's."""
        bench = self.served(**settings)
        return tuple(  # type: ignore[return-value]
            bench.get(path).status for path in (f"/acme/profile/{DEFAULT}/directory", "/acme/directory")
        )

    def test_matrix(self) -> None:
        """ACME is there if it is enabled, the shorthand if a default profile is named."""
        off, default = {"acme_server_enabled": "false"}, {"acme_server_default_profile_id": DEFAULT}
        self.assertEqual(self._statuses(**off), (404, 404))
        self.assertEqual(self._statuses(**off, **default), (404, 404))
        self.assertEqual(self._statuses(), (200, 403))
        self.assertEqual(self._statuses(**default), (200, 200))

    def test_switched_off(self) -> None:
        """Without ACME there is no ACME route at all, and health and metrics answer."""
        bench = self.served(acme_server_enabled="false")
        for path in ("new-nonce", "new-account", "new-order"):
            for method in ("GET", "POST", "HEAD"):
                response = bench.begin(method, f"/acme/profile/{DEFAULT}/{path}").response
                self.assertEqual(response.status, 404)
                self.assertFalse(response.has("Replay-Nonce"))
        self.assertEqual(bench.get("/health").status, 200)

    def test_no_default_profile(self) -> None:
        """Without a default profile the shorthand says what to do, by every method."""
        for method in ("GET", "POST"):
            refused = self.bench.request(method, "/acme/new-nonce")
            self.assertProblem(refused, "userActionRequired", 403)
            self.assertIn("CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID", refused.json["detail"])

    def test_default_profile_that_is_not_there(self) -> None:
        """A default profile that nobody made is not found."""
        bench = self.served(acme_server_default_profile_id="prof-nobody")
        self.assertProblem(bench.get("/acme/directory"), "malformed", 404)


class ShorthandTests(BenchCase):
    def setUp(self) -> None:
        self.bench = self.served(acme_server_default_profile_id=DEFAULT)

    def test_it_is_the_profile(self) -> None:
        """The shorthand's directory is the default profile's, URLs included."""
        self.assertEqual(
            self.bench.get("/acme/directory").json,
            self.bench.get(f"/acme/profile/{DEFAULT}/directory").json,
        )
        self.assertEqual(self.bench.get("/acme/new-nonce").status, 204)

    def test_requests_signed_for_it(self) -> None:
        """A request to a short URL, signed for it, is as good."""
        client = self.bench.client()
        made = client.post(f"{ORIGIN}/acme/new-account", {}, kid=None)
        self.assertEqual(made.status, 201)
        self.assertTrue(made.location.startswith(f"{ORIGIN}/acme/profile/{DEFAULT}/account/"))
        client.kid = made.location
        order = client.post(
            f"{ORIGIN}/acme/new-order", {"identifiers": [{"type": "dns", "value": "a.example"}]}
        )
        self.assertEqual(order.status, 201)
        short = order.location.replace(f"/profile/{DEFAULT}", "")
        self.assertEqual(client.see(short), client.see(order.location))

    def test_index_link(self) -> None:
        """Section 7.1: an answer by a short URL links to the directory of the profile."""
        response = self.bench.get("/acme/new-nonce")
        self.assertEqual(response.links("index"), [f"{ORIGIN}/acme/profile/{DEFAULT}/directory"])


class ProfileTests(BenchCase):
    def test_unknown(self) -> None:
        """A profile that is not there is 404, by GET and POST."""
        self.assertProblem(self.bench.get("/acme/profile/prof-nobody/directory"), "malformed", 404)
        client = self.bench.client("prof-nobody")
        client.bench = self.bench
        body = client.signed("new-account", {}, nonce=self.bench.client().nonce)
        headers = {"Content-Type": "application/jose+json"}
        refused = self.bench.request("POST", client.url("new-account"), body, headers)
        self.assertProblem(refused, "malformed", 404)

    def test_disabled(self) -> None:
        """A profile that is switched off refuses everything, and comes back when it is switched on."""
        client = self.bench.account()
        self.bench.execute("UPDATE certificate_profiles SET enabled = FALSE")
        self.assertProblem(self.bench.get(f"/acme/profile/{DEFAULT}/directory"), "unauthorized", 403)
        self.assertProblem(client.try_order("a.example"), "unauthorized", 403)
        self.bench.execute("UPDATE certificate_profiles SET enabled = TRUE")
        self.assertEqual(client.try_order("a.example").status, 201)

    def test_objects_of_another_profile(self) -> None:
        """The same key has an account in each profile, and neither sees the other's objects."""
        self.bench.add_profile("prof-other")
        client = self.bench.account()
        other = Client(self.bench, "prof-other", client.signer)
        self.assertEqual(other.register().status, 201)
        issued = client.issue("www.example.org")
        for url in (issued.order.location, issued.order.json["authorizations"][0], issued.url):
            self.assertEqual(client.read(url).status, 200)
            self.assertProblem(other.read(url.replace(DEFAULT, "prof-other")), "malformed", 404)

    def test_mode_is_read_at_request_time(self) -> None:
        """A change of the mode in the database holds for the next order, and not for the one before."""
        client = self.bench.account()
        first = client.order("a.example")
        self.assertEqual(first.json["status"], "ready")
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'challenge'")
        second = client.order("a.example")
        self.assertEqual(second.json["status"], "pending")
        self.assertEqual(client.see(first.location)["status"], "ready")
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'trust_authenticated'")
        self.assertEqual(client.order("a.example").json["status"], "ready")
        self.assertEqual(client.see(second.location)["status"], "pending")

    def test_two_modes_at_once(self) -> None:
        """One server serves profiles of both modes."""
        from certctl.acme.objects import AuthMode

        self.bench.add_profile("prof-proof", acme_auth_mode=AuthMode.CHALLENGE)
        states = [
            self.bench.account(each).order("a.example").json["status"] for each in (DEFAULT, "prof-proof")
        ]
        self.assertEqual(states, ["ready", "pending"])

    def test_first_profile_has_the_default_mode(self) -> None:
        """``CERTCTL_ACME_SERVER_DEFAULT_AUTH_MODE`` is the mode of the profile that a first start makes."""
        bench = self.served(acme_server_default_auth_mode="challenge")
        self.assertEqual(bench.value("SELECT acme_auth_mode FROM certificate_profiles"), "challenge")

    def test_profile_id_that_would_be_a_header(self) -> None:
        """What stands in a path cannot add a header, or leave the link that it stands in."""
        for id in ("x%0d%0aX-Evil:%201", "x%22%3E;rel=%22evil", "%C3%A9", "x%3E,%3Cy"):
            response = self.bench.get(f"/acme/profile/{id}/directory")
            self.assertProblem(response, "malformed", 404)
            self.assertFalse(response.has("X-Evil"))
            self.assertEqual(response.links("evil"), [])
