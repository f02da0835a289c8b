"""External account binding and terms of service at newAccount (RFC 8555 sections 7.3.3 and 7.3.4)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred

from certctl.authority.bindings import REFUSED
from certctl.authority.operators import Caller, Role
from certctl.sealing import Seal
from tests.acme_client import BindingKey, Signer
from tests.unit.acme.binding_corpus import CASES, Bound
from tests.unit.web.bench import DEFAULT, JOSE, Bench, BenchCase, Client
from tests.unit.web.wire import Response

OPERATOR = Caller("test", Role.OPERATOR)
TERMS, OTHER_TERMS = "https://pki.example/terms", "https://pki.example/other-terms"
KEYS = "SELECT uses, revoked_at FROM eab_keys"


def make_key(bench: Bench, profile: str = DEFAULT, **members: Any) -> BindingKey:
    """A new key of a profile."""
    made = bench.parts.bindings.create(OPERATOR, profile_id=profile, name="test", **members)
    key, mac_key = bench.result(made)
    return BindingKey(key.id, mac_key)


class BindingCase(BenchCase):
    """A server whose default profile asks for a binding."""

    def setUp(self) -> None:
        self.bench = self.served(acme_server_eab_required="true")
        self.key = make_key(self.bench)

    def bind(self, key: BindingKey, client: Client | None = None, **payload: object) -> Response:
        """Ask for an account with a binding by a key."""
        client = client or self.bench.client()
        binding = key.bind(client.signer, client.url("new-account"))
        return client.register(externalAccountBinding=binding, **payload)

    def policy(self, profile: str = DEFAULT, **members: object) -> None:
        """Give a profile a policy, as an operator may."""
        sql = "UPDATE certificate_profiles SET policy = ? WHERE id = ?"
        self.bench.execute(sql, json.dumps(members), profile)

    def accounts(self) -> int:
        """How many accounts there are."""
        return int(self.bench.value("SELECT count(*) FROM acme_accounts"))

    def refusals(self) -> list[str]:
        """Why bindings were refused, as the trail has it."""
        sql = "SELECT details FROM audit_events WHERE action = 'eab_refused' ORDER BY id"
        return [details["why"] for (details,) in self.details(sql)]

    def details(self, sql: str) -> list[tuple[dict[str, Any]]]:
        """JSON that a query finds."""
        return [
            (json.loads(found) if isinstance(found, str) else found,) for (found,) in self.bench.rows(sql)
        ]


class NewAccountTests(BindingCase):
    def test_bound(self) -> None:
        """The account is made, shows its binding (section 7.3.4), names its key in the trail, and counts as a use."""
        client = self.bench.client()
        binding = self.key.bind(client.signer, client.url("new-account"))
        response = client.register(externalAccountBinding=binding)
        self.assertEqual((response.status, response.json["externalAccountBinding"]), (201, binding))
        self.assertEqual(self.bench.rows("SELECT eab_key_id FROM acme_accounts"), [(self.key.id,)])
        self.assertEqual(self.bench.rows(KEYS), [(1, None)])
        ((details,),) = self.details("SELECT details FROM audit_events WHERE action = 'acme_account_created'")
        self.assertEqual(details["eab_key"], self.key.id)
        client.issue("www.example.org")

    def test_every_algorithm(self) -> None:
        """HS256, HS384 and HS512 are taken."""
        for algorithm in ("HS256", "HS384", "HS512"):
            client = self.bench.client()
            binding = self.key.bind(client.signer, client.url("new-account"), algorithm)
            self.assertEqual(client.register(externalAccountBinding=binding).status, 201)
        self.assertEqual(self.bench.rows(KEYS), [(3, None)])

    def test_required(self) -> None:
        """Without a binding the answer is externalAccountRequired and names the remedy; null is none."""
        for payload in ({}, {"externalAccountBinding": None}):
            refused = self.bench.client().register(**payload)
            self.assertProblem(refused, "externalAccountRequired", 403)
            self.assertIn("ask the operator of this CA for a key id", refused.json["detail"])
        self.assertEqual(self.accounts(), 0)

    def test_corpus(self) -> None:
        """Bindings that nobody honest sends are refused, make no account, and use no key."""
        for case in CASES:
            with self.subTest(case.name):
                client = self.bench.client()
                bound = Bound(client.url("new-account"), self.key, client.signer)
                refused = client.register(externalAccountBinding=case.make(bound))
                self.assertEqual(refused.error, case.problem, refused.body)
        self.assertEqual((self.accounts(), self.bench.rows(KEYS)), (0, [(0, None)]))

    def test_known_account(self) -> None:
        """Section 7.3.1: who has an account is told it, with no binding, a bad one, or one whose key is gone."""
        client = self.bench.client()
        made = self.bind(self.key, client)
        self.bench.result(self.bench.parts.bindings.revoke(OPERATOR, self.key.id))
        payloads: tuple[dict[str, object], ...] = (
            {},
            {"onlyReturnExisting": True},
            {"externalAccountBinding": {"x": 1}},
            {"externalAccountBinding": self.key.bind(client.signer, client.url("new-account"))},
        )
        for payload in payloads:
            found = client.register(**payload)
            self.assertEqual((found.status, found.location), (200, made.location))
            self.assertNotIn("externalAccountBinding", found.json)
        self.assertEqual([uses for uses, _ in self.bench.rows(KEYS)], [1])

    def test_only_return_existing(self) -> None:
        """cert-manager's question for an account that is not there is answered so, with a binding or without."""
        client = self.bench.client()
        self.assertProblem(client.register(onlyReturnExisting=True), "accountDoesNotExist", 400)
        self.assertProblem(self.bind(self.key, onlyReturnExisting=True), "accountDoesNotExist", 400)
        self.assertEqual((self.accounts(), self.bench.rows(KEYS)), (0, [(0, None)]))

    def test_bad_contact_uses_nothing(self) -> None:
        """A key for a single use is not used up by a request that fails for another reason."""
        key = make_key(self.bench, single_use=True)
        self.assertProblem(self.bind(key, contact=["tel:1"]), "unsupportedContact", 400)
        self.assertEqual(self.bind(key).status, 201)

    def test_replayed_for_another_account(self) -> None:
        """Who has seen a binding cannot bind a key of their own with it."""
        seen = self.key.bind(Signer.generate("ES256"), self.bench.client().url("new-account"))
        refused = self.bench.client().register(externalAccountBinding=seen)
        self.assertProblem(refused, "malformed", 400)
        self.assertIn("its payload is the account's key", refused.json["detail"])

    def test_replayed_on_another_profile(self) -> None:
        """A binding is good for the newAccount URL for which it was made, and a key for its own profile."""
        self.bench.add_profile("prof-other")
        there, signer = self.bench.client("prof-other"), Signer.generate("ES256")
        there.signer = signer
        here = self.bench.client(signer=signer).url("new-account")
        self.assertProblem(
            there.register(externalAccountBinding=self.key.bind(signer, here)), "malformed", 400
        )
        refused = self.bind(self.key, there)
        self.assertProblem(refused, "unauthorized", 403)
        self.assertEqual(self.accounts(), 0)


class RefusalTests(BindingCase):
    """Keys that bind nobody: the client learns the remedy, the trail which it was."""

    def refused(self, key: BindingKey, why: str) -> None:
        """Ask with a key, and look at what is said to whom."""
        self.bench.pass_by(minutes=2)
        response = self.bind(key)
        self.assertProblem(response, "unauthorized", 403)
        self.assertEqual(response.json["detail"], REFUSED)
        self.assertIn("ask the operator of this CA for a new key", REFUSED)
        self.assertEqual(self.refusals()[-1], why)
        self.assertEqual(self.accounts(), self.before)

    def test_one_answer_for_all(self) -> None:
        """Unknown, wrong, of another profile, expired, revoked, used up: the same words and status."""
        self.bench.add_profile("prof-other")
        used = make_key(self.bench, single_use=True)
        expired = make_key(self.bench, expires_at=self.bench.now + timedelta(minutes=1))
        revoked = make_key(self.bench)
        self.bench.result(self.bench.parts.bindings.revoke(OPERATOR, revoked.id))
        self.assertEqual(self.bind(used).status, 201)
        self.before = self.accounts()
        self.refused(BindingKey("eab-unknown", self.key.mac_key), "unknown key")
        self.refused(BindingKey(self.key.id, used.mac_key), "wrong MAC")
        self.refused(make_key(self.bench, "prof-other"), "key of another profile")
        self.refused(expired, "expired")
        self.refused(revoked, "revoked")
        self.refused(used, "used")

    def test_who_lacks_the_key_learns_nothing(self) -> None:
        """The trail, too, says of a wrong MAC nothing but that: not even that the key is revoked."""
        self.bench.result(self.bench.parts.bindings.revoke(OPERATOR, self.key.id))
        self.before = 0
        self.refused(BindingKey(self.key.id, "AAAA"), "wrong MAC")

    def test_refusals_do_not_fill_the_disk(self) -> None:
        """A hundred refusals in a minute are one row, and the next says how many there were."""
        for _ in range(100):
            self.bind(BindingKey("k" * 1000, "AAAA"))
        self.bench.pass_by(minutes=2)
        self.bind(BindingKey("k" * 1000, "AAAA"))
        found = self.details("SELECT details FROM audit_events WHERE action = 'eab_refused' ORDER BY id")
        self.assertEqual([details.get("unrecorded") for (details,) in found], [None, 99])
        self.assertEqual({details["kid"] for (details,) in found}, {"k" * 100})

    def test_malformed_is_in_the_trail(self) -> None:
        """A binding that is none is in the trail, in the words that the client got."""
        client = self.bench.client()
        refused = client.register(externalAccountBinding={"x": 1})
        self.assertEqual(self.refusals(), [refused.json["detail"]])

    def test_server_with_another_secret(self) -> None:
        """A row that this server's secret does not open is no refusal of the client's: the log says what to do."""
        sealed = Seal(b"\1" * 32).seal(b"x" * 64, "eab-key", DEFAULT, self.key.id)
        self.bench.execute("UPDATE eab_keys SET sealed_key = ?", sealed)
        refused = self.bind(self.key)
        self.assertProblem(refused, "serverInternal", 500)
        self.assertIn("cannot open the key of the binding", refused.json["detail"])
        self.assertEqual(self.accounts(), 0)

    def test_row_moved_to_another_profile(self) -> None:
        """Who may write to the database cannot make one profile's key another's."""
        self.bench.add_profile("prof-other")
        self.bench.execute("UPDATE eab_keys SET profile_id = 'prof-other'")
        self.assertProblem(self.bind(self.key, self.bench.client("prof-other")), "serverInternal", 500)


class SingleUseTests(BindingCase):
    def setUp(self) -> None:
        super().setUp()
        self.key = make_key(self.bench, single_use=True)

    def test_race(self) -> None:
        """Of twenty requests with one key for a single use, all past the look at it, exactly one makes an account."""
        bindings = self.bench.parts.bindings
        clients = [self.bench.client() for _ in range(20)]
        read: list[Deferred[None]] = []
        admit = bindings.admit

        async def admit_together(*arguments: Any) -> Any:
            key = await admit(*arguments)
            waiting: Deferred[None] = Deferred()
            read.append(waiting)
            await waiting
            return key

        self.patch(bindings, "admit", admit_together)
        exchanges = []
        for client in clients:
            url = client.url("new-account")
            body = client.signed(url, {"externalAccountBinding": self.key.bind(client.signer, url)}, kid=None)
            exchanges.append(self.bench.begin("POST", url, body, JOSE))
        self.assertEqual(len(read), 20)
        for waiting in read:
            waiting.callback(None)
        answers = [each.response for each in exchanges]
        self.assertEqual(sorted(each.status for each in answers), [201] + [403] * 19)
        self.assertEqual({each.error for each in answers if each.status == 403}, {"unauthorized"})
        self.assertEqual(self.accounts(), 1)
        self.assertIn((1, None), self.bench.rows(KEYS))

    def test_deactivated_account(self) -> None:
        """A key for a single use stays used when its account is given up."""
        client = self.bench.client()
        account = self.bind(self.key, client).location
        client.post(account, {"status": "deactivated"})
        self.assertProblem(self.bind(self.key), "unauthorized", 403)
        self.assertProblem(self.bind(self.key, client), "unauthorized", 401)

    def test_key_rollover(self) -> None:
        """The account keeps its binding under its new key, and the old key gets no second account by it."""
        client = self.bench.client()
        account, old, new = self.bind(self.key, client).location, client.signer, Signer.generate("ES256")
        inner = new.sign_value(
            new.header(client.url("key-change"), None), {"account": account, "oldKey": old.jwk}
        )
        self.assertEqual(client.post("key-change", inner).status, 200)
        self.assertEqual(self.bench.rows("SELECT eab_key_id FROM acme_accounts"), [(self.key.id,)])
        client.signer = old
        self.assertProblem(self.bind(self.key, client), "unauthorized", 403)


class ProfileTests(BindingCase):
    """What a profile's policy says in place of the server's settings, from the next request on."""

    def meta(self) -> dict[str, Any]:
        """The directory's meta."""
        found: dict[str, Any] = self.bench.get(f"/acme/profile/{DEFAULT}/directory").json["meta"]
        return found

    def test_directory(self) -> None:
        """Section 7.1.1: externalAccountRequired says what is so for this profile."""
        for policy, required in (({}, True), ({"eab": "off"}, False), ({"eab": "optional"}, False)):
            self.policy(**policy)
            self.assertIs(self.meta()["externalAccountRequired"], required, policy)
        self.bench = self.served()
        for policy, required in (({}, False), ({"eab": "required"}, True)):
            self.policy(**policy)
            self.assertIs(self.meta()["externalAccountRequired"], required, policy)

    def test_optional(self) -> None:
        """Where it is optional, an account is made with a good binding and without; a bad one is refused."""
        self.policy(eab="optional")
        self.assertEqual(self.bench.client().register().status, 201)
        self.assertEqual(self.bind(self.key).status, 201)
        self.assertProblem(self.bind(BindingKey(self.key.id, "AAAA")), "unauthorized", 403)
        self.assertEqual(self.bench.rows(KEYS), [(1, None)])

    def test_off(self) -> None:
        """Section 7.3.4: where it is off, a binding is not verified, "MUST NOT reflect", and uses no key."""
        self.policy(eab="off")
        for sent in (self.key.bind(Signer.generate("ES256"), "x"), {"x": 1}, "x"):
            response = self.bench.client().register(externalAccountBinding=sent)
            self.assertEqual(response.status, 201)
            self.assertNotIn("externalAccountBinding", response.json)
        self.assertEqual(self.bench.rows("SELECT DISTINCT eab_key_id FROM acme_accounts"), [(None,)])
        self.assertEqual(self.bench.rows(KEYS), [(0, None)])

    def test_misread_policy(self) -> None:
        """A policy that somebody wrote by hand and that cannot be read asks for a binding."""
        self.bench = self.served()
        for policy in ({"eab": "of"}, {"eab": None}, {"eab": ["off"]}, {"eba": "required"}):
            self.policy(**policy)
            self.assertProblem(self.bench.client().register(), "externalAccountRequired", 403)

    def test_terms(self) -> None:
        """Section 7.3: a profile's own terms are in its directory, and must be agreed to."""
        self.bench = self.served(acme_server_tos_url=TERMS)
        self.assertEqual(self.meta()["termsOfService"], TERMS)
        self.policy(tos_url=OTHER_TERMS)
        self.assertEqual(self.meta()["termsOfService"], OTHER_TERMS)
        refused = self.bench.client().register()
        self.assertProblem(refused, "userActionRequired", 403)
        self.assertEqual(refused.links("terms-of-service"), [OTHER_TERMS])
        self.assertEqual(refused.json["instance"], OTHER_TERMS)
        self.assertEqual(self.bench.client().register(termsOfServiceAgreed=True).status, 201)

    def test_terms_of_one_profile_alone(self) -> None:
        """A profile may have terms where the server has none."""
        self.policy(eab="off", tos_url=TERMS)
        self.assertProblem(self.bench.client().register(), "userActionRequired", 403)
        self.bench.add_profile("prof-other", policy={"eab": "off"})
        self.assertEqual(self.bench.client("prof-other").register().status, 201)

    def test_terms_are_asked_before_the_key_is_used(self) -> None:
        """Who has not agreed has used up nothing."""
        self.policy(tos_url=TERMS)
        key = make_key(self.bench, single_use=True)
        self.assertProblem(self.bind(key), "userActionRequired", 403)
        self.assertEqual(self.bind(key, termsOfServiceAgreed=True).status, 201)


class InheritanceTests(BindingCase):
    """What an account has from the key that bound it."""

    def test_policy(self) -> None:
        """The account's policy is a copy of the key's."""
        policy = {"names": {"allow": ["*.web.corp.example"]}, "limits": {"orders_per_hour": 7}}
        key = make_key(self.bench, policy=policy)
        self.bind(key)
        self.bind(self.key)
        found = dict(self.bench.rows("SELECT eab_key_id, policy FROM acme_accounts"))
        self.assertEqual({id: _json(text) for id, text in found.items()}, {key.id: policy, self.key.id: {}})

    def test_names(self) -> None:
        """What the key's policy does not allow, the account does not get, though the profile would let it."""
        client, other = self.bench.client(), self.bench.client()
        self.bind(make_key(self.bench, policy={"names": {"allow": ["*.web.corp.example"]}}), client)
        self.bind(self.key, other)
        client.issue("a.web.corp.example")
        refused = client.try_order("a.web.corp.example", "a.db.corp.example")
        self.assertProblem(refused, "rejectedIdentifier", 400)
        self.assertEqual(
            [each["identifier"]["value"] for each in refused.json["subproblems"]], ["a.db.corp.example"]
        )
        other.issue("a.db.corp.example")

    def test_limits(self) -> None:
        """The limits of the key's policy are in the place of the server's."""
        client = self.bench.client()
        self.bind(make_key(self.bench, policy={"limits": {"orders_per_hour": 2}}), client)
        for _ in range(2):
            client.order("www.example.org")
        self.assertProblem(client.try_order("www.example.org"), "rateLimited", 429)

    def test_revocation_leaves_accounts(self) -> None:
        """Revoking a key takes nothing from the accounts that it bound."""
        client = self.bench.client()
        self.bind(self.key, client)
        self.bench.result(self.bench.parts.bindings.revoke(OPERATOR, self.key.id))
        client.issue("www.example.org")


def _json(found: Any) -> Any:
    return json.loads(found) if isinstance(found, str) else found
