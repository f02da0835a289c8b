"""Certificates and their revocation (RFC 8555 sections 7.4.2 and 7.6)."""

from __future__ import annotations

import ssl
from functools import lru_cache

from certctl.acme.objects import Certificate
from certctl.acme.problems import Problem, ProblemType
from certctl.web.acme.call import Call
from certctl.web.answer import Answer

PEM_CHAIN = "application/pem-certificate-chain"  # RFC 8555 section 9.1


@lru_cache(maxsize=64)
def _above(chain: tuple[bytes, ...]) -> str:
    """The PEM of the certificates above the leaf, which are the same again and again."""
    return "".join(map(ssl.DER_cert_to_PEM_cert, chain))


def pem(chain: tuple[bytes, ...]) -> bytes:
    """A chain, leaf first."""
    return (ssl.DER_cert_to_PEM_cert(chain[0]) + _above(chain[1:])).encode("ascii")


async def certificate(call: Call[Certificate]) -> Answer:
    """A certificate with its chain, and links to its other chains."""
    chains = await call.authority.issuance.chains(call.found)
    chosen = call.arguments.get("chain", "0")
    if chosen not in map(str, range(len(chains))):
        raise Problem(ProblemType.MALFORMED, "the certificate has no such chain", status=404)
    links = [
        f'<{call.urls.to("alternate", call.found.id, number)}>;rel="alternate"'
        for number in range(len(chains))
        if number != int(chosen)
    ]
    return Answer(content_type=PEM_CHAIN, body=pem(chains[int(chosen)]), links=links)


async def revoke(call: Call[None]) -> Answer:
    """Revoke a certificate."""
    await call.authority.revocation.revoke(call.profile, call.account, call.signing_key, call.payload)
    return Answer()
