"""Which requests are let in (RFC 8555 sections 6.2, 6.3 and 6.4)."""

from __future__ import annotations

from tests.acme_client import Signer
from tests.unit.acme.jws_builder import Honest, signer
from tests.unit.acme.jws_corpus import CASES, MAX_BODY
from tests.unit.web.bench import DEFAULT, JOSE, ORIGIN, BenchCase, Client

ALGORITHMS = ["ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA"]
BASE = f"{ORIGIN}/acme/profile/{DEFAULT}"
NEW_ACCOUNT = f"{BASE}/new-account"


class CorpusTests(BenchCase):
    def test_bad_requests(self) -> None:
        """Each request of the corpus is refused as it should be, with a fresh nonce, and makes no account."""
        wrong = []
        for case in CASES:
            honest = Honest(NEW_ACCOUNT, self.bench.get(f"{BASE}/new-nonce").nonce)
            response = self.bench.request("POST", NEW_ACCOUNT, case.make(honest), JOSE)
            status = 413 if response.status == 413 and "64 KiB" in case.name else 400
            if (response.error, response.status) != (case.problem, status):
                wrong.append((case.name, response.status, response.body))
        self.assertEqual(wrong, [])
        self.assertGreater(len(CASES), 100)
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_accounts"), 0)

    def test_honest_requests(self) -> None:
        """The requests that the corpus starts from are good."""
        for algorithm in ALGORITHMS:
            nonce = self.bench.get(f"{BASE}/new-nonce").nonce
            honest = Honest(NEW_ACCOUNT, nonce, signer=signer(algorithm))
            self.assertEqual(self.bench.request("POST", NEW_ACCOUNT, honest.body, JOSE).status, 201)

    def test_algorithms_are_listed(self) -> None:
        """Section 6.2: "the problem document returned with the error MUST include an algorithms field"."""
        for name in ("none", "HS256", "RS512"):
            honest = Honest(NEW_ACCOUNT, self.bench.get(f"{BASE}/new-nonce").nonce)
            refused = self.bench.request("POST", NEW_ACCOUNT, honest.with_header(alg=name), JOSE)
            self.assertProblem(refused, "badSignatureAlgorithm", 400)
            self.assertEqual(refused.json["algorithms"], ALGORITHMS)

    def test_largest_body(self) -> None:
        """64 KiB are read, and an octet more is 413."""
        honest = Honest(NEW_ACCOUNT, self.bench.get(f"{BASE}/new-nonce").nonce)
        body = honest.body.ljust(MAX_BODY)
        self.assertProblem(self.bench.request("POST", NEW_ACCOUNT, body + b" ", JOSE), "malformed", 413)
        self.assertEqual(self.bench.request("POST", NEW_ACCOUNT, body, JOSE).status, 201)

    def test_body_far_too_large(self) -> None:
        """A body that does not end is cut off, and what came of it is not kept."""
        exchange = self.bench.begin("POST", NEW_ACCOUNT, b" " * (3 * 1024 * 1024), JOSE)
        self.assertEqual((exchange.connected, exchange.answered), (False, False))
        self.assertEqual(len(self.bench.site.channels), 0)


class AccountRequestTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()
        assert self.client.kid is not None
        self.account = self.client.kid

    def test_every_algorithm(self) -> None:
        """An account of any supported algorithm gets a certificate."""
        for algorithm in ALGORITHMS:
            client = self.bench.client(signer=signer(algorithm))
            self.assertEqual(client.register().status, 201)
            client.issue("www.example.org")

    def test_content_type(self) -> None:
        """Section 6.2: another content type than application/jose+json is 415; parameters do no harm."""
        for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded", ""):
            body = self.client.signed(self.account, None)
            refused = self.bench.request("POST", self.account, body, {"Content-Type": content_type})
            self.assertProblem(refused, "malformed", 415)
        body = self.client.signed(self.account, None)
        self.assertProblem(self.bench.request("POST", self.account, body), "malformed", 415)
        headers = {"Content-Type": "Application/JOSE+json; charset=utf-8"}
        self.assertEqual(self.bench.request("POST", self.account, body, headers).status, 200)

    def test_signed_for_another_url(self) -> None:
        """Section 6.4: "if the two do not match, then the server MUST reject the request as unauthorized"."""
        order = self.client.order("www.example.org").location
        urls = (
            self.account,
            order + "/",
            order + "?",
            order.upper(),
            order.replace("https", "http"),
            order.replace("acme.example", "other.example"),
            order.removeprefix(ORIGIN),
            order.replace(f"/profile/{DEFAULT}", ""),
            "",
        )
        for url in urls:
            self.assertProblem(self.client.post(order, None, signed_url=url), "unauthorized", 403)

    def test_query_is_part_of_the_url(self) -> None:
        """Section 6.4: the URL of the request is compared whole."""
        url = f"{self.account}/orders"
        self.assertProblem(self.client.post(f"{url}?after=x", None, signed_url=url), "unauthorized", 403)

    def test_jwk_where_an_account_is_asked_for(self) -> None:
        """Section 6.2: but for newAccount and revokeCert, requests are signed with kid."""
        for path in ("new-order", "new-authz", "key-change", "order/x", "authz/x", "new-nonce", "directory"):
            self.assertProblem(self.client.post(path, None, kid=None), "malformed", 400)

    def test_kid_where_a_key_is_asked_for(self) -> None:
        """Section 6.2: newAccount is signed with jwk."""
        self.assertProblem(self.client.post("new-account", {}), "malformed", 400)

    def test_kid_is_exactly_the_account_url(self) -> None:
        """Section 6.2: kid is the account URL as newAccount gave it, and nothing that resembles it."""
        spellings = (
            self.account + "/",
            self.account + "?x",
            self.account + "#x",
            self.account.upper(),
            self.account.replace("acme.example", "other.example"),
            self.account.replace("https:", "http:"),
            self.account.replace(f"/profile/{DEFAULT}", ""),
            self.account.removeprefix(ORIGIN),
            self.client.id,
            f"{self.account}/../{self.client.id}",
            f"{BASE}/account/",
            f"{BASE}/account/acme-acc-x",
            "",
        )
        for kid in spellings:
            self.assertProblem(self.client.post(self.account, None, kid=kid), "accountDoesNotExist", 400)

    def test_kid_of_another_profile(self) -> None:
        """An account is of one profile: another has no account of that name, though the key is the same."""
        self.bench.add_profile("prof-other")
        elsewhere = Client(self.bench, "prof-other", self.client.signer)
        answer = elsewhere.post("new-order", {}, kid=self.account)
        self.assertProblem(answer, "accountDoesNotExist", 400)
        self.assertIn(
            f"no account of this profile, whose accounts' URLs begin with {elsewhere.base}",
            answer.json["detail"],
        )
        forged = f"{elsewhere.base}/account/{self.client.id}"
        self.assertProblem(elsewhere.post("new-order", {}, kid=forged), "accountDoesNotExist", 400)
        self.assertEqual(elsewhere.register().status, 201)

    def test_another_key(self) -> None:
        """A request that names an account but is signed by another key is refused."""
        stranger = Signer.generate("ES256")
        self.assertProblem(self.client.post(self.account, None, signer=stranger), "malformed", 400)

    def test_algorithm_of_another_key(self) -> None:
        """An algorithm that is not the account key's is badSignatureAlgorithm, with the list."""
        stranger = Signer.generate("EdDSA")
        refused = self.client.post(self.account, None, signer=stranger)
        self.assertProblem(refused, "badSignatureAlgorithm", 400)
        self.assertEqual(refused.json["algorithms"], ALGORITHMS)

    def test_post_as_get_has_no_payload(self) -> None:
        """Section 6.3: what is only read is asked for with an empty payload, not with an empty object."""
        issued = self.client.issue("www.example.org")
        for url in (issued.order.location, issued.url, f"{issued.url}/chain/1", f"{self.account}/orders"):
            for payload in ({}, {"x": 1}, b"[]", b"null"):
                self.assertProblem(self.client.post(url, payload), "malformed", 400)

    def test_payload_is_an_object(self) -> None:
        """What is changed is changed by a JSON object, and an empty payload asks for nothing."""
        order = self.client.order("www.example.org")
        challenge = self.client.see(order.json["authorizations"][0])["challenges"][0]["url"]
        targets = ("new-order", "new-authz", "key-change", "revoke-cert", order.json["finalize"], challenge)
        for url in targets:
            for payload in (b"[]", b"null", b'"x"', b"1", b"{"):
                self.assertProblem(self.client.post(url, payload), "malformed", 400)
        for url in targets[:-1]:
            self.assertProblem(self.client.post(url, None), "malformed", 400)

    def test_what_is_not_there(self) -> None:
        """An object that does not exist is 404, as is one with an id that nobody could have made."""
        for path in ("order/x", "order/x/finalize", "authz/x", "challenge/x", "certificate/x"):
            self.assertProblem(self.client.read(path), "malformed", 404)
        self.assertProblem(self.client.read("order/%00%0d%0aX-Evil:1"), "malformed", 404)
