"""A StatusSigner whose keys lie in files: the CA's for CRLs, a responder's for OCSP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography import x509

from certctl.issuance import ocsp, signatures
from certctl.issuance.crl import RevocationList
from certctl.issuance.issuer import IssuerError, IssuerUnavailable
from certctl.issuance.local import LocalCA
from certctl.issuance.passphrase import Passphrase
from certctl.issuance.profile import key_bits
from certctl.issuance.responder import Responder

RETRY = timedelta(minutes=10)  # until a renewal that failed is tried again, while the old certificate holds


class LocalStatusSigner:
    """Signs CRLs with a CA's key, and OCSP answers with a responder's, which it renews when that is due."""

    def __init__(self, ca: LocalCA, directory: Path, passphrase: Passphrase | None = None) -> None:
        self._ca = ca
        self._directory = directory
        self._passphrase = passphrase
        self._responder: Responder | None = None
        self._renew_at: datetime | None = None
        self._name = self._with = b""

    @property
    def certificate(self) -> bytes:
        return self._ca.chain[0]

    @cached_property
    def hashes(self) -> ocsp.Hashes:
        certificate = x509.load_der_x509_certificate(self.certificate)
        return ocsp.Hashes.of(certificate, key_bits(certificate.public_key()))

    async def sign_crl(self, crl: RevocationList) -> bytes:
        return self._ca.sign_crl(crl)

    async def sign_ocsp(self, statuses: Sequence[ocsp.Status], now: datetime, nonce: bytes | None) -> bytes:
        responder = self._ready(now)
        octets = ocsp.to_be_signed(statuses, self._name, now, nonce)
        return ocsp.response(signatures.signed(responder.key, octets, self._with))

    def _ready(self, now: datetime) -> Responder:
        if self._responder is None or self._renew_at is None or now >= self._renew_at:
            self._renew(now)
        assert self._responder is not None
        return self._responder

    def _renew(self, now: datetime) -> None:
        try:
            made = Responder.ensure(self._directory, self._ca, now, self._passphrase)
        except (IssuerError, IssuerUnavailable) as error:
            if self._responder is None or now >= self._responder.certificate.not_valid_after_utc:
                raise IssuerUnavailable(str(error)) from error
            self._renew_at = now + RETRY
        else:
            self._responder, self._renew_at = made, made.renew_at
            self._name = ocsp.key_hash(self._responder.key_bits)
            self._with = ocsp.certificates(self._responder.der)
