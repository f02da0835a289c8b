"""The seam between the registration authority and whatever signs: a key in a file, or a signer far away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import attrs
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from certctl.acme.identifiers import Identifier
from certctl.issuance import ocsp
from certctl.issuance.crl import RevocationList

INTERNAL_ISSUER_ID = "iss-internal-ca"  # exists after the first start


class IssuerError(Exception):
    """A certification authority that cannot be opened; one sentence with the file and the remedy."""


class IssuerUnavailable(Exception):
    """The signer cannot sign now; the same template may be handed to it again later."""


class TemplateError(ValueError):
    """A template that this issuer must not sign, or that its signer refuses; trying again changes nothing."""


@attrs.frozen(kw_only=True)
class Template:
    """What order and profile decide about a certificate; of the CSR it has the key and nothing else."""

    names: tuple[Identifier, ...]  # of the subject alternative name, in this order
    common_name: str | None  # kept only if it is one of the DNS names and short enough
    public_key: CertificatePublicKeyTypes
    not_before: datetime  # aware, UTC; a certificate has whole seconds
    not_after: datetime  # inclusive (RFC 5280 section 4.1.2.5)
    extended_key_usages: tuple[str, ...] = ("serverAuth",)  # names as in RFC 5280, or dotted OIDs
    must_staple: bool = False  # RFC 7633
    no_rev_avail: bool = False  # RFC 9608: nobody shall ask for its revocation
    revocable: bool = True  # whether it says where its revocation would be seen, if the issuer knows that


@attrs.frozen
class Issued:
    """A certificate that an issuer signed."""

    serial: str  # lower-case hex without leading zeros
    der: bytes
    not_before: datetime
    not_after: datetime


class Issuer(Protocol):
    """Signs templates under one issuing certificate.

    ``sign`` puts exactly the template's names, key, validity and usages into a certificate of a fresh serial,
    and writes nothing itself: what it returns is stored by the caller or lost. It raises TemplateError for
    what it must not sign (past ``expires_at``, say) and IssuerUnavailable if it cannot sign now. The caller
    keeps no transaction open meanwhile.

    An issuer that is ``at_once`` answers within the request that asks for the certificate, and a certificate
    that was never stored may be forgotten: a key in a file is one. It need not look at ``request_id``; two calls
    give two certificates.

    Any other is asked by a job that outlives crashes, perhaps again and again, by several servers, and after it
    has signed already. So it keeps what it was asked, and promises of one ``request_id``:

    - However often ``sign`` is called, there is one certificate, which each call returns; or each raises
      TemplateError. The template is the same each time.
    - IssuerUnavailable leaves open whether there is, or will be, a certificate. It is also what a signer that
      takes longer raises instead of waiting (for a person who approves, say): it is asked again later.
    - ``withdraw`` returns the certificate if there is one. If it returns None, there never will be: a call of
      ``sign`` that is under way, or comes later, raises TemplateError.
    - A call may be cancelled (its Deferred), which decides nothing.
    """

    @property
    def id(self) -> str:
        """The issuer's id: ``iss-...``."""

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The DER of the issuing CA, then of those above it, without the root; never empty."""

    @property
    def root(self) -> bytes | None:
        """The DER of the root that may follow ``chain``; None if unknown, or if the chain ends in it."""

    @property
    def expires_at(self) -> datetime:
        """When the first certificate of chain and root ends; no certificate may outlive it."""

    @property
    def at_once(self) -> bool:
        """Whether ``sign`` answers within a request, and what it returns may be forgotten."""

    async def sign(self, template: Template, request_id: str) -> Issued:
        """Return the certificate for a template; raise TemplateError or IssuerUnavailable."""

    async def withdraw(self, request_id: str) -> Issued | None:
        """Return the certificate of a request that nobody wants any more, or see to it that there never is one;
        raise IssuerUnavailable.
        """


@attrs.frozen
class StatusUrls:
    """Where relying parties find what they need to know of an issuer's certificates; written into each of them."""

    base: str  # http://pki.corp.example/pki/iss-internal-ca
    shards: int = 1  # how many lists the revocations are split into

    @property
    def ocsp(self) -> str:
        """The OCSP responder (RFC 5280 section 4.2.2.1)."""
        return f"{self.base}/ocsp"

    @property
    def certificate(self) -> str:
        """The issuer's certificate (RFC 5280 section 4.2.2.1)."""
        return f"{self.base}/ca"

    def crl(self, serial: int) -> str:
        """The CRL of a certificate (RFC 5280 section 4.2.1.13)."""
        return self.list(self.shards, serial % self.shards)

    def list(self, shards: int, index: int) -> str:
        """The list of the serials that leave this remainder on division by the number of lists."""
        return f"{self.base}/crl" if shards == 1 else f"{self.base}/crl/{shards}/{index}"


class StatusSigner(Protocol):
    """Signs what relying parties are told of an issuer's certificates: CRLs, and OCSP answers.

    Both coroutines raise IssuerUnavailable if that cannot be now; the caller may ask again. A local key answers at
    once.
    """

    @property
    def certificate(self) -> bytes:
        """The DER of the issuing certificate."""

    @property
    def hashes(self) -> ocsp.Hashes:
        """How OCSP requests name the issuer."""

    async def sign_crl(self, crl: RevocationList) -> bytes:
        """Return the DER of a CRL of the issuer's own."""

    async def sign_ocsp(self, statuses: Sequence[ocsp.Status], now: datetime, nonce: bytes | None) -> bytes:
        """Return the DER of an OCSP response."""


class Keyring(Protocol):
    """The keys of issuers that are made while the server runs.

    An issuer's certificates are in the database, for all servers; its key is where this server keeps keys, or is not.
    """

    def request(self, issuer_id: str, common_name: str, algorithm: str) -> bytes:
        """Make an issuer's key, or find the one that was made for it before; return the DER of a CSR.

        Raise IssuerError if the key cannot be kept, or if there is one of another algorithm.
        """

    def wrong(self, issuer_id: str, certificate: bytes) -> str | None:
        """A sentence if the key that is here is not that of the issuer's certificate; None if it is, or is not here."""

    def open(
        self, issuer_id: str, chain: tuple[bytes, ...], root: bytes | None, now: datetime
    ) -> tuple[Issuer, StatusSigner]:
        """Return what signs for an issuer; raise IssuerError if its key is not here, or is another than its
        certificate's.
        """
