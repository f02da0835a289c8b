"""External account binding with the clients of others: what they get with a good key, and what they print without."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import stat
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.eab import EabKey
from certctl.storage import accounts, eab_keys
from certctl.storage.database import Conflict
from tests.acme_client import BindingKey, Signer
from tests.integration.acme import JOSE, Session
from tests.integration.clients import EMAIL, Certbot, Client, Lego
from tests.integration.postgres import shared
from tests.integration.server import (
    CHECKOUT,
    HOST,
    PROFILE,
    PROGRAMS,
    Ran,
    RunningServer,
    ServerTestCase,
    free_port,
    run,
)
from tests.integration.solvers import running, wait_for
from tests.integration.test_postgres_fleet import FleetCase
from tests.unit.authority.test_bindings import spellings
from tests.unit.storage.contract import ACCOUNT, NOW
from tests.unit.storage.contract import PROFILE as STORED_PROFILE
from tests.unit.storage.contract_eab_keys import KEY

NAME = "one.example.internal"
REMEDY = "ask the operator of this CA for a new key"
_numbers = itertools.count(1)


def administer(server: RunningServer, method: str, path: str, body: object = None) -> Any:
    """Ask a server's REST API with the key in its state directory; return what it answers."""
    key = (server.state / "api-key").read_text().strip()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with closing(server.connect()) as connection:
        connection.request(method, f"/api/{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
    assert answer.status < 300, content
    return json.loads(content) if content else None


def make_key(server: RunningServer, **members: Any) -> BindingKey:
    """A new key."""
    asked = {"profile_id": PROFILE, "name": "test", **members}
    made = administer(server, "POST", "eab-keys", asked)
    return BindingKey(made["id"], made["mac_key"])


class BindingCase(ServerTestCase):
    """A server that asks for bindings."""

    def setUp(self) -> None:
        self.server = self.serve({"CERTCTL_ACME_SERVER_EAB_REQUIRED": "true"})

    def key(self, **members: Any) -> BindingKey:
        """A new key."""
        return make_key(self.server, **members)

    def revoked(self) -> BindingKey:
        """A key that was revoked."""
        key = self.key()
        administer(self.server, "DELETE", f"eab-keys/{key.id}")
        return key

    def expired(self) -> BindingKey:
        """A key that has expired: none can be made that has already."""
        key = self.key(expires_at=(datetime.now(UTC) + timedelta(seconds=0.5)).isoformat())
        time.sleep(0.6)
        return key

    def bad_keys(self) -> dict[str, BindingKey]:
        """Keys that bind nobody, by why they do not."""
        used, good = self.key(single_use=True), self.key()
        session = Session(self.server)
        binding = used.bind(session.signer, session.url("new-account"))
        self.assertEqual(session.send("new-account", {"externalAccountBinding": binding}).status, 201)
        return {
            "wrong MAC": BindingKey(good.id, used.mac_key),
            "unknown key": BindingKey("eab-unknown", good.mac_key),
            "expired": self.expired(),
            "revoked": self.revoked(),
            "used": used,
        }

    def bound(self) -> list[tuple[Any, ...]]:
        """Which keys bound the accounts."""
        return self.server.rows("SELECT eab_key_id FROM acme_accounts ORDER BY id")


class ClientsCase(BindingCase):
    """What is the same with every client: how it is told the key is the subclass's."""

    kind: type[Client]

    def command(self, client: Client) -> Sequence[str | Path]:
        """Get a certificate, and an account before it."""
        raise NotImplementedError

    def told(self, key: BindingKey) -> Sequence[str]:
        """The arguments that hand the client a key."""
        raise NotImplementedError

    def ask(self, key: BindingKey | None) -> Ran:
        """Let a client that has no account yet get a certificate."""
        client = self.kind(self.server, self.path())
        command = [*self.command(client), *(() if key is None else self.told(key))]
        if self.kind is Lego:
            command.append("run")
        trust = str(self.server.trust)
        env = {"REQUESTS_CA_BUNDLE": trust, "LEGO_CA_CERTIFICATES": trust}
        return run(client.path, *command, cwd=client.home, env=env)


class Cases:
    """Kept in a class of its own, so that the case without a client is not run."""

    class Tests(ClientsCase):
        """What every client does."""

        def test_bound(self) -> None:
            """With a good key the client gets its certificate, and the account is the key's."""
            key = self.key(single_use=True)
            self.ask(key).must_succeed()
            self.assertEqual(self.bound(), [(key.id,)])
            self.assertEqual(self.server.rows("SELECT count(*) FROM certificate_versions"), [(1,)])

        def test_without(self) -> None:
            """Without a key the client reads in the directory that it needs one, and says so."""
            ran = self.ask(None)
            self.assertNotEqual(ran.status, 0, ran)
            self.assertRegex(ran.output, r"(?i)external account binding")
            self.assertEqual(self.bound(), [])

        def test_bad_keys(self) -> None:
            """Whatever is wrong with a key, the client prints the remedy, and the trail says which it was."""
            for why, key in self.bad_keys().items():
                ran = self.ask(key)
                self.assertNotEqual(ran.status, 0, ran)
                self.assertIn(REMEDY, re.sub(r"\s+", " ", ran.output), why)
            self.assertEqual(len(self.bound()), 1)
            self.assertEqual(self.server.rows("SELECT count(*) FROM certificate_versions"), [(0,)])
            recorded = self.server.rows(
                "SELECT json_extract(details, '$.why') FROM audit_events WHERE action = 'eab_refused'"
            )
            self.assertEqual(recorded, [("wrong MAC",)])  # one a minute; the others are counted


class CertbotTests(Cases.Tests):
    kind = Certbot

    def command(self, client: Client) -> Sequence[str | Path]:
        places = [f"--{name}-dir={client.home / name}" for name in ("config", "work", "logs")]
        return (
            "certonly",
            *places,
            "--non-interactive",
            f"--server={self.server.directory_url}",
            "--agree-tos",
            f"--email={EMAIL}",
            "--no-eff-email",
            "--manual",
            "--preferred-challenges=dns",
            f"--manual-auth-hook={client.hook}",
            f"--domain={NAME}",
        )

    def told(self, key: BindingKey) -> Sequence[str]:
        return (f"--eab-kid={key.id}", f"--eab-hmac-key={key.mac_key}")

    def test_other_algorithms(self) -> None:
        """Certbot can be asked for HS384 and HS512."""
        key = self.key()
        for algorithm in ("HS384", "HS512"):
            self.told = lambda key, name=algorithm: (  # type: ignore[method-assign, misc]
                *CertbotTests.told(self, key),
                f"--eab-hmac-alg={name}",
            )
            self.ask(key).must_succeed()
        self.assertEqual(self.bound(), [(key.id,)] * 2)


class LegoTests(Cases.Tests):
    kind = Lego

    def command(self, client: Client) -> Sequence[str | Path]:
        return (
            f"--server={self.server.directory_url}",
            "--accept-tos",
            f"--email={EMAIL}",
            "--http",
            f"--path={client.home}",
            f"--domains={NAME}",
        )

    def told(self, key: BindingKey) -> Sequence[str]:
        return ("--eab", f"--kid={key.id}", f"--hmac={key.mac_key}")


class CaddyTests(BindingCase):
    """Caddy, which keeps trying: what it says is in its log."""

    def caddy(self, key: BindingKey) -> tuple[Path, Path, Path]:
        """Write Caddy's configuration; return its home, that, and where its log will be."""
        home = self.path()
        config = home / "Caddyfile"
        config.write_text(
            "{\n"
            f"admin off\nstorage file_system {home}\nskip_install_trust\nauto_https disable_redirects\n"
            f"default_bind {HOST}\nhttp_port {free_port()}\nhttps_port {free_port()}\n"
            "}\n"
            f"{NAME} {{\n"
            f"tls {{\nissuer acme {self.server.directory_url} {{\n"
            f"email {EMAIL}\ntrusted_roots {self.server.trust}\neab {key.id} {key.mac_key}\n}}\n}}\n"
            'respond "caddy is here"\n}\n'
        )
        return home, config, home / "caddy.log"

    def test_bound(self) -> None:
        """With a good key Caddy gets its certificate."""
        key = self.key(single_use=True)
        home, config, log = self.caddy(key)
        with running(("caddy", "run", "--config", config), home, log):
            wait_for("certificate", lambda: list(home.glob(f"certificates/*/{NAME}/{NAME}.crt")), log)
        self.assertEqual(self.bound(), [(key.id,)])

    def test_bad_key(self) -> None:
        """With a key that was revoked, Caddy's log has the remedy."""
        home, config, log = self.caddy(self.revoked())
        with running(("caddy", "run", "--config", config), home, log):
            wait_for("remedy", lambda: REMEDY in log.read_text(), log)
        self.assertEqual(self.bound(), [])


class DocumentedTests(BindingCase):
    """What docs/external-account-binding.md tells people to write, with this server, key and name in place."""

    def documented(self, beginning: str, key: BindingKey) -> str:
        """The block of the page that begins so."""
        page = (CHECKOUT / "docs/external-account-binding.md").read_text()
        blocks: list[str] = [
            each
            for each in re.findall(r"^```\w+\n(.*?)^```$", page, re.M | re.S)
            if each.startswith(beginning)
        ]
        (block,) = blocks
        changes = {
            "https://pki.corp.example:8443/acme/profile/prof-web/directory": self.server.directory_url,
            "/etc/caddy/root-ca.pem": str(self.server.trust),
            "eab-01a2...": key.id,
            "MAC_KEY": key.mac_key,
            "you@corp.example": EMAIL,
            "host.web.corp.example": NAME,
        }
        for old, new in changes.items():
            block = block.replace(old, new)
        self.assertNotIn("corp.example", block)
        return block

    def test_certbot(self) -> None:
        """The command for certbot."""
        key, home = self.key(single_use=True), self.path()
        command = shlex.split(self.documented("certbot certonly", key).replace("\\\n", " "))
        places = [f"--{name}-dir={home / name}" for name in ("config", "work", "logs")]
        env = {"REQUESTS_CA_BUNDLE": str(self.server.trust), "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
        run(PROGRAMS / command[0], *command[1:], *places, "--non-interactive", env=env).must_succeed()
        self.assertEqual(self.bound(), [(key.id,)])

    def test_lego(self) -> None:
        """The command for lego."""
        key, home = self.key(single_use=True), self.path()
        command = shlex.split(self.documented("lego", key).replace("\\\n", " "))
        run(*command, cwd=home, env={"LEGO_CA_CERTIFICATES": str(self.server.trust)}).must_succeed()
        self.assertEqual(self.bound(), [(key.id,)])

    def test_caddy(self) -> None:
        """The site for Caddy."""
        key, home = self.key(single_use=True), self.path()
        config, log = home / "Caddyfile", home / "caddy.log"
        config.write_text(
            f"{{\nadmin off\nstorage file_system {home}\nskip_install_trust\nauto_https disable_redirects\n"
            f"default_bind {HOST}\nhttp_port {free_port()}\nhttps_port {free_port()}\n}}\n"
            + self.documented("host.web", key)
        )
        with running(("caddy", "run", "--config", config), home, log):
            wait_for("certificate", lambda: list(home.glob(f"certificates/*/{NAME}/{NAME}.crt")), log)
        self.assertEqual(self.bound(), [(key.id,)])


class ProbeTests(BindingCase):
    def test_cert_manager(self) -> None:
        """cert-manager asks with onlyReturnExisting and no binding: is told that there is no account, then which."""
        session = Session(self.server)
        probe = {"onlyReturnExisting": True}
        refused = session.send("new-account", probe)
        self.assertEqual((refused.status, refused.error), (400, "accountDoesNotExist"))
        binding = self.key(single_use=True).bind(session.signer, session.url("new-account"))
        made = session.post("new-account", {"termsOfServiceAgreed": True, "externalAccountBinding": binding})
        self.assertEqual((made.status, made.json["externalAccountBinding"]), (201, binding))
        for again in (probe, {"termsOfServiceAgreed": True}):
            found = session.post("new-account", again)
            self.assertEqual((found.status, found.location), (200, made.location))

    def test_race(self) -> None:
        """Twenty newAccounts at once with one key for a single use: one account, and nineteen refusals."""
        key = self.key(single_use=True)
        self.assertEqual(sorted(race(key, [self.server] * 20)), [201] + [403] * 19)
        self.assertEqual(self.bound(), [(key.id,)])


def race(key: BindingKey, servers: Sequence[RunningServer]) -> list[int]:
    """Ask for an account at each server at once, with one key; return the statuses of the answers."""
    sent = []
    for server in servers:
        with closing(Session(server)) as session:
            url, nonce = session.url("new-account"), session.fresh_nonce()
            binding = key.bind(session.signer, url)
            body = session.signer.sign(url, {"externalAccountBinding": binding}, nonce, None)
        connection = server.connect()
        connection.connect()
        sent.append((connection, url.removeprefix(server.url), body))
    for connection, path, body in sent:
        connection.request("POST", path, body, JOSE)
    answers = []
    for connection, _, _ in sent:
        with closing(connection):
            answers.append(connection.getresponse().status)
    return answers


class ServersTests(ServerTestCase):
    """Two servers on one PostgreSQL."""

    def setUp(self) -> None:
        self.name = f"bound_{next(_numbers)}"
        self.url = shared().database(self.name)
        self.first = self.another().start()

    def another(self, first: RunningServer | None = None) -> RunningServer:
        """A server, not started yet, with the state directory of the first if there is one."""
        settings = {"CERTCTL_DATABASE_URL": self.url, "CERTCTL_ACME_SERVER_EAB_REQUIRED": "true"}
        server = RunningServer(self.path(), settings)
        if first is not None:
            shutil.copytree(first.state, server.state)
        self.addCleanup(server.end)
        return server

    def test_shared(self) -> None:
        """A key that the API of one server made for a single use binds one account at both together."""
        second, key = self.another(self.first).start(), make_key(self.first, single_use=True)
        answers = race(key, [self.first, second] * 10)
        self.assertEqual(sorted(answers), [201] + [403] * 19)
        self.assertEqual(race(make_key(self.first), [second]), [201])

    def test_another_secret(self) -> None:
        """A server that has the CA of the first, and not its secret, does not start, and says which file it lacks."""
        stranger = self.another(self.first)
        (stranger.state / "secret-key").unlink()
        ran = run(*stranger.command, cwd=stranger.directory, env=stranger.settings)
        self.assertNotEqual(ran.status, 0, ran)
        self.assertIn("certctl: the secret-key of this server", ran.output)
        self.assertIn("copy that file from the state directory of a server that is right", ran.output)

    def test_refused_start_leaves_nothing(self) -> None:
        """A server with another CA, which is accepted, and another secret, which is not, records neither."""
        stranger = self.another()
        ran = run(*stranger.command, cwd=stranger.directory, env=stranger.settings)
        accept = re.search(r"set CERTCTL_CA_ACCEPT to (\w+)", ran.output)
        assert accept is not None, ran
        stranger.settings["CERTCTL_CA_ACCEPT"] = accept[1]
        ran = run(*stranger.command, cwd=stranger.directory, env=stranger.settings)
        self.assertIn("certctl: the secret-key of this server", ran.output)
        sql = "SELECT action FROM audit_events WHERE action LIKE '%_recorded' ORDER BY id"
        self.assertEqual(shared().sql(sql, self.name), [("issuer_recorded",), ("secret_key_recorded",)])


class SecretTests(BindingCase):
    def test_nothing_on_the_disk(self) -> None:
        """A MAC key is in no file of the state directory, in no log, and in no metric."""
        keys = [self.key(), self.key(single_use=True)]
        metrics = b""
        for key in (*keys, *keys, BindingKey(keys[0].id, keys[1].mac_key)):
            session = Session(self.server)
            binding = key.bind(session.signer, session.url("new-account"))
            session.send("new-account", {"externalAccountBinding": binding})
            metrics += session.request("GET", f"{self.server.url}/metrics").body
            session.close()
        self.server.stop()
        files = [each for each in self.server.directory.rglob("*") if each.is_file()]
        self.assertGreater(len(files), 5)
        for key in keys:
            for spelled in spellings(key):
                self.assertEqual([str(each) for each in files if spelled in each.read_bytes()], [])
                self.assertNotIn(spelled, metrics)
        self.server.start()

    def test_another_secret(self) -> None:
        """The secret is for the server's user alone; a server with another does not start, unless that is meant."""
        secret = self.server.state / "secret-key"
        self.assertEqual(stat.S_IMODE(secret.stat().st_mode), 0o600)
        key = self.key()
        self.server.stop()
        secret.unlink()
        said = self.refusal()
        self.assertIn("certctl: the secret-key of this server", said)
        accept = re.search(r"set CERTCTL_SECRET_KEY_ACCEPT to (\w+)", said)
        assert accept is not None
        self.server.settings["CERTCTL_SECRET_KEY_ACCEPT"] = accept[1]
        session = Session(self.server.start())
        binding = key.bind(session.signer, session.url("new-account"))
        refused = session.send("new-account", {"externalAccountBinding": binding})
        self.assertEqual((refused.status, refused.error), (500, "serverInternal"))
        self.assertIn("cannot open the key of the binding", refused.json["detail"])
        self.assertIn(
            f"{key.id} does not open with the secret-key of this server: copy that file", self.server.log
        )
        session.close()

    def refusal(self) -> str:
        """The sentence with which a start ends."""
        ran = run(*self.server.command, cwd=self.server.directory, env=self.server.settings)
        self.assertNotEqual(ran.status, 0, ran)
        said = [line for line in ran.output.splitlines() if "certctl: " in line]
        self.assertEqual(len(said), 1, ran)
        return said[0]


class PostgresRaceTests(FleetCase, SynchronousTestCase):
    def test_single_use(self) -> None:
        """Of twenty accounts that three processes make at once with one key for a single use, one is made."""
        key: EabKey = attrs.evolve(KEY, single_use=True)
        self.write(eab_keys.insert(key))
        processes = [self.database, self.another(), self.another()]
        made = [
            attrs.evolve(
                ACCOUNT,
                id=f"acme-acc-race-{n}",
                thumbprint=Signer.generate("ES256").thumbprint,
                eab_key_id=key.id,
            )
            for n in range(20)
        ]
        outcomes = self.together(
            *(
                processes[n % 3].write(eab_keys.use(key.id, NOW), accounts.insert(account))
                for n, account in enumerate(made)
            )
        )
        self.assertEqual(sorted(map(str, outcomes)), sorted(map(str, [None] + [Conflict] * 19)))
        found = self.rows("SELECT count(*) FROM acme_accounts WHERE eab_key_id = ?", key.id)
        self.assertEqual(found, [(1,)])
        stored = self.read(eab_keys.by_id(key.id))
        self.assertEqual((stored and stored.uses, STORED_PROFILE.id), (1, key.profile_id))
