"""What the corpora of bad requests are made with: an honest request, and what can be done to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import attrs

from tests.acme_client import Signer, as_json

MALFORMED, ALGORITHM, KEY = "malformed", "badSignatureAlgorithm", "badPublicKey"


@cache
def signer(algorithm: str) -> Signer:
    """Return the one key of this algorithm that the tests share: making RSA keys takes time."""
    return Signer.generate(algorithm)


@attrs.frozen
class Honest:
    """A good request to new-account, before something is done to it."""

    url: str
    nonce: str
    payload: Mapping[str, Any] = attrs.field(factory=lambda: {"termsOfServiceAgreed": True})
    signer: Signer = attrs.field(factory=lambda: signer("ES256"))

    @property
    def header(self) -> dict[str, Any]:
        """The protected header."""
        return self.signer.header(self.url, self.nonce)

    @property
    def value(self) -> dict[str, Any]:
        """The signed request as an object."""
        return dict(self.signer.sign_value(self.header, self.payload))

    @property
    def body(self) -> bytes:
        """The signed request."""
        return as_json(self.value)

    def signed(self, header: Mapping[str, Any] | bytes, payload: object = None) -> bytes:
        """Sign whatever header and payload."""
        return as_json(self.signer.sign_value(header, self.payload if payload is None else payload))

    def with_header(self, **changes: object) -> bytes:
        """Change members of the header, or take those away that are None, and sign it."""
        return self.signed({k: v for k, v in {**self.header, **changes}.items() if v is not None})

    def with_members(self, **changes: object) -> bytes:
        """Change members of the signed request, or take those away that are None."""
        return as_json({k: v for k, v in {**self.value, **changes}.items() if v is not None})

    def with_key(self, algorithm: str, jwk: Mapping[str, Any], key: Signer | None = None) -> bytes:
        """Send ``jwk`` in the header and sign with ``key``, or with whatever there is."""
        header = {**self.header, "alg": algorithm, "jwk": dict(jwk)}
        return as_json((key or signer(algorithm)).sign_value(header, self.payload))


@attrs.frozen
class Case:
    """A bad request; ``problem`` is the error type without its namespace."""

    name: str
    make: Callable[[Honest], bytes]
    problem: str = MALFORMED
