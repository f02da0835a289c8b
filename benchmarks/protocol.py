"""Everything that clients ask by ACME, and relying parties beside it, each more than five times on one server.

By then PostgreSQL may have made a plan for all values of a statement's parameters at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certctl.acme.renewal import CertID
from tests.acme_client import Signer, b64
from tests.integration.acme import Session
from tests.integration.challenge_bench import Resolver, Responder
from tests.integration.server import HOST, PROFILE, RunningServer, free_port

TIMES = 7
PATIENCE = 20.0  # seconds for a validation


class World:
    """Names that are this machine's, and challenges that are answered."""

    def __init__(self, folder: Path) -> None:
        self.resolver, self.port, self.signer = Resolver(folder), free_port(), Signer.generate("ES256")
        self.responder = Responder(self.port, self.signer.thumbprint, 0.0)
        self.pki = f"http://{HOST}:{free_port()}"
        self.settings = {
            "CERTCTL_ACME_SERVER_DNS01_RESOLVER": self.resolver.address,
            "CERTCTL_ACME_SERVER_HTTP01_PORT": str(self.port),
            "CERTCTL_ACME_SERVER_EGRESS_ALLOW": f"{HOST}/32",
            "CERTCTL_PKI_URL": self.pki,
            "CERTCTL_PKI_HTTP_PORT": self.pki.rpartition(":")[2],
            "CERTCTL_ACME_SERVER_RATE_LIMIT_KEY_CHANGE_PER_HOUR": "0",
        }

    def stop(self) -> None:
        """Answer no more."""
        self.responder.stop()
        self.resolver.stop()


def everything(server: RunningServer, sql: Callable[[str], Any], world: World) -> None:
    """Ask it all: with the trust of the profile, and then with challenges."""
    session = Session(server)
    session.register()
    for number in range(TIMES):
        trusted(session, f"host-{number}.corp.internal", world.pki)
    mode = f"UPDATE certificate_profiles SET acme_auth_mode = '{{}}' WHERE id = '{PROFILE}'"
    sql(mode.format("challenge"))
    try:
        session = Session(server, world.signer)
        for number in range(TIMES):
            proved(session, f"{number}-{time.time_ns()}.corp.internal", "valid")
            proved(session, f"wrong-{number}-{time.time_ns()}.corp.internal", "invalid")
    finally:
        sql(mode.format("trust_authenticated"))
    for _ in range(TIMES):
        account(Session(server))


def trusted(session: Session, name: str, pki: str) -> None:
    """A certificate, and what becomes of it: it is renewed, and both are revoked."""
    first, issuer = issued(session, name)
    cert_id = CertID.of(first)
    assert session.request("GET", session.url(f"renewal-info/{cert_id}")).status == 200
    second, _ = issued(session, name, replaces=str(cert_id))
    assert session.request("GET", session.url(f"renewal-info/{cert_id}")).status == 200
    for each in (first, second):
        status(each, issuer, pki)
        session.post("revoke-cert", {"certificate": b64(each.public_bytes(Encoding.DER)), "reason": 4})
        status(each, issuer, pki)


def issued(session: Session, name: str, **more: str) -> list[x509.Certificate]:
    """A chain by trust, with every object on its way looked at."""
    order = session.post("new-order", {"identifiers": [{"type": "dns", "value": name}], **more})
    session.post(order.location, None)
    session.post(order.json["authorizations"][0], None)
    valid = session.finalize(order.json["finalize"], name)
    return x509.load_pem_x509_certificates(session.post(valid.json["certificate"], None).body)[:2]


def proved(session: Session, name: str, status: str) -> None:
    """An order that a challenge decides."""
    session.register()
    order = session.order(name)
    url = order.json["authorizations"][0]
    challenges = session.post(url, None).json["challenges"]
    session.post(next(each["url"] for each in challenges if each["type"] == "http-01"), {})
    deadline = time.monotonic() + PATIENCE
    while (found := session.post(url, None).json["status"]) == "pending" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == status, found
    if status == "valid":
        session.finalize(order.json["finalize"], name)


def account(session: Session) -> None:
    """An account's life: found again, changed, its key rolled, its orders listed, deactivated with one that is open."""
    session.register()
    session.kid = None
    kid = session.kid = session.post("new-account", {"onlyReturnExisting": True}).location
    session.post(kid, {"contact": ["mailto:ops@corp.internal"]})
    new, url = Signer.generate("ES256"), session.url("key-change")
    header = {"alg": new.algorithm, "jwk": new.jwk, "url": url}
    session.post(url, new.sign_value(header, {"account": kid, "oldKey": session.signer.jwk}))
    session.signer = new
    session.post(session.post(kid, {}).json["orders"], None)
    authorization = session.post("new-authz", {"identifier": {"type": "dns", "value": "own.corp.internal"}})
    session.post(authorization.location, {"status": "deactivated"})
    session.order("open.corp.internal")
    session.post(kid, {"status": "deactivated"})


def status(certificate: x509.Certificate, issuer: x509.Certificate, pki: str) -> None:
    """Ask what became of a certificate, by OCSP and by the revocation list."""
    asked = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA1()).build()
    for path, body in (("ocsp", asked.public_bytes(Encoding.DER)), ("crl", None)):
        urlopen(f"{pki}/pki/iss-internal-ca/{path}", body, timeout=PATIENCE).close()
