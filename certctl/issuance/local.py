"""An issuer whose key lies in a file: the server's own CA, or one under an organisation's root."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.acme.identifiers import Identifier
from certctl.acme.name_constraints import refusals
from certctl.issuance import chains, files, hierarchy, leaf, linting, profile, signatures
from certctl.issuance.crl import RevocationList, to_be_signed
from certctl.issuance.files import SigningKey
from certctl.issuance.issuer import INTERNAL_ISSUER_ID, Issued, StatusUrls, Template
from certctl.issuance.passphrase import Passphrase


@attrs.frozen(kw_only=True)
class LocalCA:
    """An Issuer that signs at once with a key in memory."""

    id: str
    common_name: str  # of the issuing CA as it is, whatever a setting says by now
    chain: tuple[bytes, ...]
    root: bytes | None
    expires_at: datetime
    _issuing: profile.IssuingCertificate = attrs.field(repr=False)
    _key: SigningKey = attrs.field(repr=False)
    _hash: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 = attrs.field(repr=False)
    _algorithm: bytes = attrs.field(repr=False)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        common_name: str,
        root_common_name: str,
        now: datetime,
        issuer_id: str = INTERNAL_ISSUER_ID,
        passphrase: Passphrase | None = None,
        make: bool = True,
    ) -> Self:
        """Return the CA of a state directory, made at the first start if it may be; raise IssuerError.

        The names are those of a CA that is made now; one that stands keeps its own.
        """
        paths = hierarchy.Files.under(directory)
        with files.reporting(directory), files.locked(directory):
            if make:
                hierarchy.complete(
                    paths,
                    common_name=common_name,
                    root_common_name=root_common_name,
                    now=now,
                    passphrase=passphrase,
                )
        root = files.read_certificates(paths.root)[0]
        if paths.root_key.exists():
            chains.check_pair(files.read_key(paths.root_key, passphrase), paths.root_key, root, paths.root)
        issuing = files.read_certificates(paths.issuing)
        key = files.read_key(paths.issuing_key, passphrase)
        return cls.of(
            issuer_id, key, [*issuing, root], now=now, key_path=paths.issuing_key, path=paths.issuing
        )

    @classmethod
    def from_files(
        cls,
        certificate_path: Path,
        key_path: Path,
        *,
        directory: Path,
        now: datetime,
        issuer_id: str = INTERNAL_ISSUER_ID,
        passphrase: Passphrase | None = None,
    ) -> Self:
        """Return a CA under an organisation's root; raise IssuerError.

        The certificate file has the issuing CA first and then the rest of its chain. If that ends in the
        root, the root is written to the state directory, where clients' administrators look for it.
        """
        certificates = files.read_certificates(certificate_path)
        key = files.read_key(key_path, passphrase)
        authority = cls.of(issuer_id, key, certificates, now=now, key_path=key_path, path=certificate_path)
        if chains.self_signed(certificates[-1]):
            with files.reporting(directory), files.locked(directory):
                _show_root(directory / hierarchy.ROOT_CERTIFICATE, certificates[-1])
        return authority

    @classmethod
    def of(
        cls,
        issuer_id: str,
        key: SigningKey,
        certificates: Sequence[x509.Certificate],
        *,
        now: datetime,
        key_path: Path,
        path: Path | str,
    ) -> Self:
        """Return the CA of a key and its certificates, the issuing CA's first; raise IssuerError.

        The paths are for the sentence that says what is wrong.
        """
        chains.check_pair(key, key_path, certificates[0], path)
        chains.check_chain(certificates, path, now)
        rooted = len(certificates) > 1 and chains.self_signed(certificates[-1])
        encoded = tuple(each.public_bytes(Encoding.DER) for each in certificates)
        issuing = profile.IssuingCertificate.of(*certificates)
        return cls(
            id=issuer_id,
            common_name=chains.common_name(certificates[0]),
            chain=encoded[:-1] if rooted else encoded,
            root=encoded[-1] if rooted else None,
            expires_at=issuing.expires_at,
            issuing=issuing,
            key=key,
            hash=hierarchy.signature_hash(key),
            algorithm=signatures.algorithm(key),
        )

    def publishing(self, urls: StatusUrls | None) -> Self:
        """Return this CA as one that writes into its certificates where their revocation is seen."""
        return attrs.evolve(self, issuing=attrs.evolve(self._issuing, urls=urls))

    def permits(self, identifier: Identifier) -> bool:
        """Whether the name constraints of this CA and those above it let it certify an identifier."""
        return not any(refusals(self._issuing.constraints, identifier))

    def sign_crl(self, crl: RevocationList) -> bytes:
        """Return the DER of a CRL."""
        facts = self._issuing
        octets = to_be_signed(crl, facts.subject, facts.authority_key_identifier, self._algorithm)
        return signatures.signed(self._key, octets)

    def certify(self, certificate: x509.CertificateBuilder) -> x509.Certificate:
        """Return a certificate for a part of the server itself, such as its OCSP responder."""
        facts = self._issuing
        return (
            certificate.serial_number(x509.random_serial_number())
            .issuer_name(facts.subject)
            .add_extension(facts.authority_key_identifier, critical=False)
            .sign(self._key, self._hash)
        )

    @property
    def at_once(self) -> bool:
        return True

    async def sign(self, template: Template, request_id: str) -> Issued:
        """Return the certificate for a template, which is checked as it stands there to be signed."""
        return self.issue(template)

    async def withdraw(self, request_id: str) -> None:
        """Nothing is left of a request once ``sign`` has returned."""

    def issue(self, template: Template) -> Issued:
        """Do what ``sign`` does without a coroutine, for a start that has no reactor yet; raise
        TemplateError.

        The serial has 159 random bits: positive, and 20 octets at most (RFC 5280 section 4.1.2.2).
        """
        serial = x509.random_serial_number()
        octets = leaf.to_be_signed(template, self._issuing, serial, self._algorithm)
        starts, ends = linting.lint(template, self._issuing, serial, octets)
        return Issued(f"{serial:x}", signatures.signed(self._key, octets), starts, ends)


def _show_root(path: Path, root: x509.Certificate) -> None:
    """Write the root's certificate. Another one that lies there is set aside: clients may still trust it."""
    content = root.public_bytes(Encoding.PEM)
    if path.exists():
        if path.read_bytes() == content:
            return
        earlier = files.read_certificates(path)[0].fingerprint(hashes.SHA256()).hex()[:16]
        path.replace(path.with_name(f"{path.stem}-{earlier}{path.suffix}"))
    files.write(path, content, files.PUBLIC)
