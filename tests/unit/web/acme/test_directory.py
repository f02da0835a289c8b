"""The directory and the surface as a whole (RFC 8555 sections 6.1, 6.3, 7.1 and 7.1.1)."""

from __future__ import annotations

from certctl.web.acme.table import PATHS, ROUTES
from tests.unit.web.bench import DEFAULT, ORIGIN, Bench, BenchCase

HERE = f"{ORIGIN}/acme/profile/{DEFAULT}"


class DirectoryTests(BenchCase):
    def test_directory_lists_what_works(self) -> None:
        """The directory names the resources of section 7.1.1 that this server has, each of which answers."""
        response = self.bench.get(f"{HERE}/directory")
        self.assertEqual(response.status, 200)
        self.assertEqual(response.one("Content-Type"), "application/json")
        urls = {name: url for name, url in response.json.items() if name != "meta"}
        self.assertEqual(
            urls,
            {
                "newNonce": f"{HERE}/new-nonce",
                "newAccount": f"{HERE}/new-account",
                "newOrder": f"{HERE}/new-order",
                "newAuthz": f"{HERE}/new-authz",
                "revokeCert": f"{HERE}/revoke-cert",
                "keyChange": f"{HERE}/key-change",
                "renewalInfo": f"{HERE}/renewal-info",
            },
        )
        for name, url in urls.items():
            url += "/x" * (name == "renewalInfo")  # the beginning of its URLs (RFC 9773 section 4.1)
            self.assertNotEqual(self.bench.request("POST", url).status, 404)

    def test_meta_tells_what_is_configured(self) -> None:
        """The members of section 7.1.1's meta object come from the settings."""
        bench = self.served(
            acme_server_tos_url="https://pki.example/terms",
            acme_server_website="https://pki.example/",
            acme_server_caa_identities="pki.example, ca.example",
            acme_server_eab_required="true",
        )
        self.assertEqual(
            bench.get(f"{HERE}/directory").json["meta"],
            {
                "termsOfService": "https://pki.example/terms",
                "website": "https://pki.example/",
                "caaIdentities": ["pki.example", "ca.example"],
                "externalAccountRequired": True,
                "profiles": {DEFAULT: "Default"},
            },
        )

    def test_meta_leaves_out_what_is_not(self) -> None:
        """What is not configured is not a member: no null, no empty text."""
        meta = self.bench.get(f"{HERE}/directory").json["meta"]
        self.assertEqual(meta, {"externalAccountRequired": False, "profiles": {DEFAULT: "Default"}})

    def test_directory_by_head_and_post_as_get(self) -> None:
        """Section 6.3: GET is for directory and newNonce, and POST-as-GET is for every resource."""
        head = self.bench.request("HEAD", f"{HERE}/directory")
        self.assertEqual((head.status, head.body), (200, b""))
        client = self.bench.account()
        self.assertEqual(client.see("directory"), self.bench.get(f"{HERE}/directory").json)

    def test_directory_takes_no_payload(self) -> None:
        """A POST to the directory is a POST-as-GET."""
        self.assertProblem(self.bench.account().post("directory", {}), "malformed", 400)


class MethodTests(BenchCase):
    def test_get_of_everything_else(self) -> None:
        """Section 6.3: "a GET request to [other] resources [..] MUST return an error with status code 405"."""
        for route in ROUTES:
            if not route.gets:
                response = self.bench.get(f"{HERE}/{PATHS[route.name].replace('{}', 'x')}")
                self.assertProblem(response, "malformed", 405)
                self.assertIn("POST", response.one("Allow"))

    def test_other_methods(self) -> None:
        """PUT, PATCH and DELETE are nothing that ACME has."""
        for method in ("PUT", "PATCH", "DELETE"):
            self.assertEqual(self.bench.request(method, f"{HERE}/new-account").status, 405)

    def test_methods_nobody_knows(self) -> None:
        """A method outside HTTP's is not implemented."""
        self.assertEqual(self.bench.begin("BREW", f"{HERE}/directory").response.status, 501)

    def test_no_such_resource(self) -> None:
        """A path that is no route is 404, as a problem, with a nonce if it was a POST."""
        self.assertProblem(self.bench.get(f"{HERE}/nothing"), "malformed", 404)
        self.assertProblem(self.bench.request("POST", f"{HERE}/nothing"), "malformed", 404)

    def test_no_redirect_to_another_spelling(self) -> None:
        """A redirect would make a client sign another URL than it asked for: there are none."""
        for path in ("//directory", "/directory/", "/./directory"):
            self.assertIn(self.bench.get(HERE + path).status, (200, 404), path)


class OriginTests(BenchCase):
    def _directory(self, bench: Bench, host: str) -> str:
        response = bench.begin("GET", f"/acme/profile/{DEFAULT}/directory", headers={"Host": host}).response
        self.assertEqual(response.status, 200, response.body)
        return str(response.json["newNonce"]).removesuffix(f"/acme/profile/{DEFAULT}/new-nonce")

    def test_urls_begin_with_the_host_that_was_asked(self) -> None:
        """Each name that the certificate answers to works, with its port, an IPv6 address among them."""
        for host in ("acme.example", "acme.example:8443", "other.example:8443", "[2001:db8::1]:8443"):
            self.assertEqual(self._directory(self.bench, host), f"https://{host}")
        self.assertEqual(self._directory(self.bench, "[2001:db8::1]"), "https://[2001:db8::1]")

    def test_host_that_is_nobody_here(self) -> None:
        """The client chooses the Host header, so another name is refused with 421 instead of echoed."""
        for host in ("evil.example", "acme.example.evil.example", "acme.example:1@evil.example", "", "[::1"):
            response = self.bench.begin(
                "GET", f"/acme/profile/{DEFAULT}/directory", headers={"Host": host}
            ).response
            self.assertProblem(response, "malformed", 421)
            self.assertEqual(response.links("index"), [])
            self.assertIn("CERTCTL_SERVER_EXTERNAL_URL", response.json["detail"])

    def test_external_url_wins(self) -> None:
        """Behind a proxy, all URLs begin with the one that is set, whatever Host says."""
        bench = self.served(server_external_url="https://pki.example/")
        self.assertEqual(self._directory(bench, "10.1.2.3:8443"), "https://pki.example")

    def test_requests_are_signed_for_the_external_url(self) -> None:
        """Section 6.4: the url that is signed is the one that the client was told."""
        bench = self.served(server_external_url="https://pki.example")
        client = bench.client()
        path = f"/acme/profile/{DEFAULT}/new-account"
        body = client.signed(path, {}, signed_url=f"https://pki.example{path}")
        made = bench.request("POST", path, body, {"Content-Type": "application/jose+json"})
        self.assertEqual(made.status, 201, made.body)
        self.assertTrue(made.location.startswith("https://pki.example/acme/"))
        body = client.signed(path, {}, signed_url=ORIGIN + path)
        refused = bench.request("POST", path, body, {"Content-Type": "application/jose+json"})
        self.assertProblem(refused, "unauthorized", 403)
