"""The few requests of an ACME client by which the doctor orders a certificate (RFC 8555)."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.cli.client import Answer, Http

JOSE = {"Content-Type": "application/jose+json"}


class Refused(Exception):
    """The server answered with a problem; the text is its detail."""


def b64(octets: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(octets).decode("ascii").rstrip("=")


@attrs.define
class AcmeClient:
    """An account with a key of its own, for one profile."""

    _http: Http
    _directory: str
    _key: ec.EllipticCurvePrivateKey = attrs.field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    _urls: dict[str, Any] = attrs.field(factory=dict)
    _nonce: str = ""
    kid: str = ""

    async def begin(self) -> dict[str, Any]:
        """Read the directory; return its ``meta``."""
        answer = await self._http("GET", self._directory, None, {})
        _check(answer)
        self._urls = answer.json
        meta: dict[str, Any] = self._urls.get("meta", {})
        return meta

    async def register(self, binding: tuple[str, str] | None = None) -> None:
        """Make the account, bound by a key's id and MAC key if they are given."""
        payload: dict[str, Any] = {"termsOfServiceAgreed": True}
        if binding is not None:
            payload["externalAccountBinding"] = self._bound(*binding)
        answer = await self.post(self._urls["newAccount"], payload)
        self.kid = answer.headers["location"]

    async def order(self, name: str) -> tuple[str, Any]:
        """Make an order for a name; return its URL and document."""
        answer = await self.post(self._urls["newOrder"], {"identifiers": [{"type": "dns", "value": name}]})
        return answer.headers["location"], answer.json

    async def certificate(self, finalize: str, order: str, name: str) -> list[x509.Certificate]:
        """Finalize an order that is ready; return the chain."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(names, critical=False)
        )
        der = csr.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        await self.post(finalize, {"csr": b64(der)})
        document = (await self.post(order, None)).json
        if document["status"] != "valid":
            raise Refused(f"the order is {document['status']} after finalize")
        return x509.load_pem_x509_certificates((await self.post(document["certificate"], None)).body)

    async def revoke(self, certificate: x509.Certificate) -> None:
        """Revoke a certificate: cessationOfOperation (RFC 5280 section 5.3.1)."""
        der = certificate.public_bytes(Encoding.DER)
        await self.post(self._urls["revokeCert"], {"certificate": b64(der), "reason": 5})

    async def deactivate(self, url: str) -> None:
        """Deactivate an account or an authorization."""
        await self.post(url, {"status": "deactivated"})

    async def post(self, url: str, payload: object) -> Answer:
        """Send a signed request; raise Refused for a problem."""
        answer = await self._sent(url, payload)
        if answer.status == 400 and str(answer.json.get("type")).endswith(":badNonce"):
            answer = await self._sent(url, payload)
        _check(answer)
        return answer

    async def _sent(self, url: str, payload: object) -> Answer:
        if not self._nonce:
            self._nonce = (await self._http("HEAD", self._urls["newNonce"], None, {})).headers["replay-nonce"]
        nonce, self._nonce = self._nonce, ""
        answer = await self._http("POST", url, self._signed(url, nonce, payload), JOSE)
        self._nonce = answer.headers.get("replay-nonce", "")
        return answer

    @property
    def _jwk(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        x, y = (b64(each.to_bytes(32, "big")) for each in (numbers.x, numbers.y))
        return {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    def _signed(self, url: str, nonce: str, payload: object) -> bytes:
        signer: dict[str, Any] = {"kid": self.kid} if self.kid else {"jwk": self._jwk}
        protected = b64(json.dumps({"alg": "ES256", "nonce": nonce, "url": url, **signer}).encode())
        body = "" if payload is None else b64(json.dumps(payload).encode())
        r, s = decode_dss_signature(self._key.sign(f"{protected}.{body}".encode(), ec.ECDSA(hashes.SHA256())))
        signature = b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return json.dumps({"protected": protected, "payload": body, "signature": signature}).encode()

    def _bound(self, key_id: str, mac_key: str) -> dict[str, str]:
        """External account binding (RFC 8555 section 7.3.4)."""
        protected = b64(json.dumps({"alg": "HS256", "kid": key_id, "url": self._urls["newAccount"]}).encode())
        payload = b64(json.dumps(self._jwk).encode())
        secret = base64.urlsafe_b64decode(mac_key + "=" * (-len(mac_key) % 4))
        signature = b64(hmac.digest(secret, f"{protected}.{payload}".encode(), "sha256"))
        return {"protected": protected, "payload": payload, "signature": signature}


def _check(answer: Answer) -> None:
    if answer.status >= 400:
        try:
            problem = answer.json
            words = f"{str(problem.get('type')).rpartition(':')[2]}: {problem.get('detail')}"
        except Exception:
            words = f"status {answer.status}"
        raise Refused(words)
