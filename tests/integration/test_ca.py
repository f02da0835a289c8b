"""The CA as operators have it (docs/ca.md), with real processes and openssl's verdicts: a root on another machine,
several issuers, and one in the place of another while clients issue.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.acme.renewal import CertID
from tests.integration.acme import Refused, Session
from tests.integration.server import (
    HOST,
    PROGRAMS,
    READY_WITHIN,
    RunningServer,
    ServerTestCase,
    free_port,
    run,
)
from tests.integration.test_revocation import Issued, eventually_revoked, fetched

CERTCTL = PROGRAMS / "certctl"
OLD, NEW = "iss-internal-ca", "iss-next"
CLIENTS = 3
LEARNT = 8.0  # seconds after which a server has learnt of what a row says, on a busy machine
PERMITTED = (
    "--permit",
    "corp.example",
    "--permit",
    "localhost",
    "--permit",
    "127.0.0.0/8",
    "--permit",
    "::1/128",
)


@attrs.define
class Got:
    """A certificate that a client got, and where it may be fetched again."""

    name: str
    pem: bytes
    url: str

    @property
    def chain(self) -> list[x509.Certificate]:
        """The leaf, and what is above it."""
        return x509.load_pem_x509_certificates(self.pem)


class Client(threading.Thread):
    """A client that issues one certificate after another, until it is told to stop."""

    def __init__(self, server: RunningServer, number: int) -> None:
        super().__init__(daemon=True)
        self.session = Session(server)
        self.number = number
        self.got: list[Got] = []
        self.failed: list[str] = []
        self.told = threading.Event()

    def run(self) -> None:
        self.session.register()
        while not self.told.is_set():
            name = f"c{self.number}-{len(self.got)}.corp.example"
            try:
                order = self.session.order(name)
                valid = self.session.finalize(order.json["finalize"], name)
                url = valid.json["certificate"]
                self.got.append(Got(name, self.session.post(url, None).body, url))
            except Exception as error:  # whatever it is, the test tells of it
                self.failed.append(f"{name}: {error}")
            time.sleep(0.05)


class CaCase(ServerTestCase):
    def certctl(self, state: Path, *arguments: str | Path, status: int = 0, **settings: str) -> str:
        """What a command says that is run on a host with this state directory."""
        ran = run(CERTCTL, *arguments, env={"CERTCTL_STATE_DIR": str(state), **settings})
        self.assertEqual(ran.status, status, ran)
        self.assertNotIn("Traceback", ran.output)
        return ran.output

    def on(self, server: RunningServer, *arguments: str | Path, status: int = 0) -> str:
        """What a command says that asks the server on its host."""
        return self.certctl(server.state, *arguments, status=status, CERTCTL_SERVER_PORT=str(server.port))

    def shown(self, server: RunningServer, id: str) -> Any:
        return json.loads(self.on(server, "issuer", "show", id, "--json"))

    def verified(self, root: Path, untrusted: Path | None, *leaves: Path) -> None:
        """Assert that openssl verifies certificates."""
        more: Sequence[str | Path] = () if untrusted is None else ("-untrusted", untrusted)
        ran = run("openssl", "verify", "-x509_strict", "-CAfile", root, *more, *leaves)
        self.assertEqual(ran.must_succeed().output.count(": OK"), len(leaves), ran)

    def written(self, directory: Path, name: str, *certificates: x509.Certificate) -> Path:
        path = directory / name
        path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
        return path


class RootElsewhereTests(CaCase):
    def test_walkthrough(self) -> None:
        """Request, certificate and root are carried; the root's key is nowhere near the server."""
        desk, server = (
            self.path(),
            RunningServer(self.path(), {"CERTCTL_SERVER_TLS_NAMES": "ca.corp.example"}),
        )
        self.addCleanup(server.end)
        root = desk / "root"
        self.certctl(
            desk, "ca", "init", "--directory", root, "--name", "Corp Root", "--key", "ecdsa-p384", *PERMITTED
        )
        self.certctl(desk, "ca", "init", "--directory", root, "--name", "Another", status=1)
        csr, chain = desk / "request.pem", desk / "chain.pem"
        self.certctl(server.state, "ca", "request", "--name", "Corp issuing CA", "--output", csr)
        waiting = run(*server.command, cwd=server.directory, env=server.settings)
        self.assertNotEqual(waiting.status, 0)
        self.assertIn(
            "waits for its certificate; have it certified, and run: certctl ca install", waiting.output
        )
        self.certctl(desk, "ca", "sign", csr, "--directory", root, "--path-length", "1", status=1)
        self.certctl(desk, "ca", "sign", csr, "--directory", root, "--output", chain)
        self.certctl(server.state, "ca", "install", csr, status=1)
        self.certctl(server.state, "ca", "install", chain)
        self.verified(root / "root-ca.pem", None, server.state / "issuing-ca.pem")
        self.assertFalse((server.state / "root-ca-key.pem").exists())
        server.start()
        session = Session(server)
        self.addCleanup(session.close)
        session.register()
        leaf, *above = x509.load_pem_x509_certificates(session.certificate("www.corp.example"))
        self.verified(
            root / "root-ca.pem",
            self.written(desk, "above.pem", *above),
            self.written(desk, "leaf.pem", leaf),
        )
        refused = self.assertRaises(Refused, session.order, "www.corp.example", "www.example.org").response
        self.assertEqual(refused.error, "rejectedIdentifier")
        self.renewed(server, desk, root)

    def renewed(self, server: RunningServer, desk: Path, root: Path) -> None:
        """The same again renews the certificate for the same key."""
        before = x509.load_pem_x509_certificate((server.state / "issuing-ca.pem").read_bytes())
        csr, chain = desk / "again.pem", desk / "renewed.pem"
        self.certctl(server.state, "ca", "request", "--output", csr)
        self.certctl(desk, "ca", "sign", csr, "--directory", root, "--lifetime", "3000d", "--output", chain)
        self.certctl(server.state, "ca", "install", chain)
        after = x509.load_pem_x509_certificate((server.state / "issuing-ca.pem").read_bytes())
        self.assertEqual((after.subject, after.public_key()), (before.subject, before.public_key()))
        self.assertGreater(after.not_valid_after_utc, before.not_valid_after_utc)
        server.restart()
        found = self.shown(server, OLD)
        self.assertIn(f"{after.not_valid_after_utc:%Y-%m-%d}", found["not_after"])


class RotationTests(CaCase):
    """One issuer takes the place of another under load."""

    def setUp(self) -> None:
        self.port = free_port()
        self.server = self.serve(
            {
                "CERTCTL_PKI_HTTP_HOST": HOST,
                "CERTCTL_PKI_HTTP_PORT": str(self.port),
                "CERTCTL_PKI_URL": f"http://{HOST}:{self.port}",
            }
        )
        self.files = self.path()
        self.root = self.files / "root"
        self.certctl(
            self.files,
            "ca",
            "init",
            "--directory",
            self.root,
            "--name",
            "Next Root",
            "--key",
            "ecdsa-p384",
            *PERMITTED,
        )

    def staged(self) -> None:
        """The next issuer, under a root of its own, for which the old root vouches too."""
        csr, chain = self.files / "request.pem", self.files / "chain.pem"
        self.on(
            self.server, "issuer", "request", NEW, "--name", "Next CA", "--key", "ecdsa-p384", "--output", csr
        )
        self.certctl(self.files, "ca", "sign", csr, "--directory", self.root, "--output", chain)
        self.on(self.server, "issuer", "install", NEW, chain)
        own, cross = self.files / "next.pem", self.files / "cross.pem"
        own.write_text(self.on(self.server, "issuer", "show", NEW, "--pem"))
        self.certctl(self.files, "ca", "cross-sign", own, "--directory", self.server.state, "--output", cross)
        self.on(self.server, "issuer", "add-chain", NEW, cross)

    def test_under_load(self) -> None:
        """Nobody is refused, every chain verifies, and old and new are spoken of by their own keys."""
        clients = [Client(self.server, number) for number in range(CLIENTS)]
        for each in clients:
            each.start()
        try:
            time.sleep(1)
            self.staged()
            by = (datetime.now(UTC) + timedelta(days=9)).isoformat()
            self.on(self.server, "issuer", "switch", OLD, "--to", NEW, "--renew-by", by, "--yes")
            time.sleep(1.5)
        finally:
            for each in clients:
                each.told.set()
            for each in clients:
                each.join(30)
        self.assertEqual([failure for each in clients for failure in each.failed], [])
        old, new = self.parted([got for each in clients for got in each.got])
        self.assertGreater(min(len(old), len(new)), 3)
        self.chains_verify(old, new, clients[0].session)
        self.spoken_of(old[0], new[0], clients)
        self.told_to_renew(old[-1], new[-1])
        self.retired()

    def parted(self, got: list[Got]) -> tuple[list[Got], list[Got]]:
        """What the old one signed, and the new one."""
        new = [each for each in got if "Next CA" in each.chain[0].issuer.rfc4514_string()]
        return [each for each in got if each not in new], new

    def chains_verify(self, old: list[Got], new: list[Got], session: Session) -> None:
        """Each by its own root, and what the new one signed by the old root too."""
        for what, root, some in (("old", self.server.root, old), ("new", self.root / "root-ca.pem", new)):
            above = self.written(self.files, f"{what}-above.pem", *some[0].chain[1:])
            leaves = [
                self.written(self.files, f"{what}-{number}.pem", each.chain[0])
                for number, each in enumerate(some)
            ]
            self.verified(root, above, *leaves)
        mine = next(each for each in new if each.name.startswith("c0-"))
        links = session.post(mine.url, None).links("alternate")
        chains = [x509.load_pem_x509_certificates(session.post(each, None).body) for each in links]
        crossed = [chain for chain in chains if chain[-1].issuer != chains[0][-1].issuer or len(links) == 1]
        self.assertEqual(len(crossed), 1, "one alternate is by the old root")
        leaf = self.written(self.files, "crossed.pem", crossed[0][0])
        self.verified(self.server.root, self.written(self.files, "cross-above.pem", *crossed[0][1:]), leaf)

    def spoken_of(self, old: Got, new: Got, clients: list[Client]) -> None:
        """CRL and OCSP of both, before and after a revocation."""
        for what, got, root in (("old", old, self.server.root), ("new", new, self.root / "root-ca.pem")):
            issued = Issued.under(self.server, self.files / f"pki-{what}", got.name, got.pem, root)
            self.assertIn(": OK", issued.judged_by_crl())
            self.assertIn(": good", issued.judged_by_ocsp())
            owner = clients[int(got.name[1 : got.name.index("-")])].session
            owner.post("revoke-cert", issued.payload)
            eventually_revoked(issued, time.monotonic())
        self.old = Issued.under(self.server, self.files / "pki-old", old.name, old.pem, self.server.root)

    def told_to_renew(self, old: Got, new: Got) -> None:
        windows = []
        for each in (old, new):
            session = Session(self.server)
            url = session.url(f"renewal-info/{CertID.of(each.chain[0])}")
            windows.append(session.request("GET", url).json["suggestedWindow"]["end"])
            session.close()
        soon = (datetime.now(UTC) + timedelta(days=10)).isoformat()
        self.assertLess(windows[0], soon)
        self.assertGreater(windows[1], soon)

    def retired(self) -> None:
        """Refused while certificates live; then the old key signs CRL and OCSP all the same, a restart included, and
        the server's own certificate is the new one's.
        """
        words = self.on(self.server, "issuer", "retire", OLD, "--yes", status=6)
        self.assertIn("certificates of issuer iss-internal-ca live", words)
        self.on(self.server, "issuer", "retire", OLD, "--even-with-live", "--yes")
        self.server.trust = self.root / "root-ca.pem"
        deadline = time.monotonic() + LEARNT
        while "Next CA" not in self.shown_by_tls():
            self.assertLess(time.monotonic(), deadline, "the server's certificate is still the old issuer's")
            time.sleep(0.3)
        for _ in range(2):
            self.assertIn("certificate revoked", self.old.judged_by_crl())
            self.assertIn(": revoked", self.old.judged_by_ocsp())
            self.server.restart()
        self.assertIn("retired", self.on(self.server, "issuer", "list"))
        self.gone()

    def gone(self) -> None:
        """Once it is retired its key may go: the server starts, and makes no other CA in its place."""
        self.server.stop()
        for name in ("issuing-ca-key.pem", "issuing-ca.pem"):
            (self.server.state / name).unlink()
        self.server.start()
        self.assertFalse((self.server.state / "issuing-ca.pem").exists())
        error = self.assertRaises(HTTPError, fetched, f"http://{HOST}:{self.port}/pki/{OLD}/crl")
        self.assertEqual(error.code, 503)

    def shown_by_tls(self) -> str:
        ran = run("openssl", "s_client", "-connect", f"{HOST}:{self.server.port}", "-showcerts")
        return ran.output

    def test_killed(self) -> None:
        """A server that is killed while a switch is to come does it after its next start, once and wholly."""
        self.staged()
        self.on(self.server, "issuer", "switch", OLD, "--to", NEW, "--at", "1h", "--yes")
        self.server.kill()
        with closing(sqlite3.connect(self.server.state / "certctl.sqlite")) as database, database:
            database.execute(
                "UPDATE issuers SET switch_at = created_at WHERE switch_at IS NOT NULL"
            )  # an hour passes
        self.server.start()
        deadline = time.monotonic() + LEARNT
        while self.shown(self.server, OLD)["switched_at"] is None:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.2)
        session = Session(self.server)
        self.addCleanup(session.close)
        session.register()
        chain = x509.load_pem_x509_certificates(session.certificate("a.corp.example"))
        self.assertIn("Next CA", chain[0].issuer.rfc4514_string())
        profile = json.loads(self.on(self.server, "profile", "show", "prof-default", "--json"))
        self.assertEqual(profile["issuer_id"], NEW)
        trail = json.loads(self.on(self.server, "audit", "list", "--action", "issuer_switched", "--json"))
        self.assertEqual([each["actor"] for each in trail], ["acme-system:issuers"])
        self.key_away()

    def alive(self) -> None:
        """Return once the server answers, though it may not be ready."""
        deadline = time.monotonic() + READY_WITHIN
        while True:
            session = Session(self.server)
            try:
                session.request("GET", f"{self.server.url}/health")
            except OSError:
                self.assertLess(time.monotonic(), deadline, self.server.log)
                time.sleep(0.1)
            else:
                return
            finally:
                session.close()

    def key_away(self) -> None:
        """Without its key the issuer signs nothing here: the log, /ready and the doctor say so."""
        key = self.server.state / "issuers" / NEW / "key.pem"
        aside = self.files / "key.pem"
        self.server.stop()
        key.rename(aside)
        self.server.launch()
        self.alive()
        session = Session(self.server)
        self.addCleanup(session.close)
        session.register()
        refused = self.assertRaises(Refused, session.order, "b.corp.example").response
        self.assertEqual((refused.status, refused.error), (503, "serverInternal"))
        self.assertIn("has no key of issuer iss-next; copy", self.server.log)
        self.assertIn("has no key of issuer iss-next", self.on(self.server, "doctor", status=1))
        error = self.assertRaises(HTTPError, fetched, f"http://{HOST}:{self.port}/pki/{NEW}/crl")
        self.assertEqual(error.code, 503)
        aside.rename(key)
        session.certificate("c.corp.example")
        self.server.stop()
        other = self.server.state / "issuing-ca-key.pem"
        key.write_bytes(other.read_bytes())
        stopped = run(*self.server.command, cwd=self.server.directory, env=self.server.settings)
        self.assertNotEqual(stopped.status, 0)
        self.assertIn(
            "the key is not that of the certificate in the database's record of issuer", stopped.output
        )
