"""What the parts of a certificate cost by themselves, in this process: ``python -m benchmarks.steps``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.flow import jws
from benchmarks.keys import account_key, wanted
from certctl.acme import csr, jose, keys
from certctl.acme.identifiers import dns_name
from certctl.acme.nonces import NonceMint
from certctl.issuance.issuer import Template
from certctl.issuance.local import LocalCA
from certctl.storage import audit, profiles
from certctl.storage.database import Query
from certctl.storage.nonce_store import NonceStore
from certctl.storage.sqlite import SqliteDatabase

DESCRIPTION = """\
Time the parts of the way to a certificate, each alone and again and again, and print the median
of the rounds. Warm caches and no other work make these figures smaller than what the same part
costs in a server under load; they are for comparing one version of a part with the next.
"""
ROUNDS = 5
URL = "https://127.0.0.1:8443/acme/order/acme-ord-0/finalize"
NAME = "host.bench.internal"


@attrs.frozen
class Step:
    """A part that can be done any number of times."""

    name: str
    do: Callable[[], object]


def done(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("the coroutine waits, which cannot be timed here")


def signed_requests() -> Iterator[Step]:
    """JWS and CSR."""
    signer = account_key("ES256")
    key = keys.public_key(signer.jwk())
    want = wanted([NAME], ec.generate_private_key(ec.SECP256R1()))
    identity = '"kid":"https://127.0.0.1:8443/acme/account/acme-acc-0"'
    body = jws("ES256", identity, "x" * 43, URL, want.finalize, signer.sign)
    parsed = jose.parse(body)
    text: str = json.loads(want.finalize)["csr"]
    yield Step("JWS: parse", lambda: jose.parse(body))
    yield Step("JWS: verify ES256", lambda: jose.verify(parsed, key))
    yield Step("JWK to key (new account)", lambda: keys.public_key(signer.jwk()))
    yield Step("CSR: parse and verify", lambda: csr.parse(text))


def nonces(state: Path) -> Iterator[Step]:
    """Nonces: made, recognised, spent for ever."""
    store = NonceStore(state / "nonces.sqlite")
    mint = NonceMint(lambda: store.keys, timedelta(minutes=5))
    nonce = mint.mint(time.time())
    yield Step("nonce: mint", lambda: mint.mint(time.time()))
    yield Step("nonce: recognise", lambda: mint.redeemable(nonce, time.time()))
    yield Step(
        "nonce: mint, recognise, spend",
        lambda: store.spend(mint.redeemable(mint.mint(time.time()), time.time())),
    )


def signing(state: Path) -> Iterator[Step]:
    """The CA."""
    now = datetime.now(UTC)
    authority = LocalCA.open(
        state / "ca", common_name="benchmark", root_common_name="benchmark root", now=now
    )
    public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    template = Template(
        names=(dns_name(NAME),),
        common_name=None,
        public_key=public_key,
        not_before=now,
        not_after=now + timedelta(days=90),
    )
    yield Step("certificate: build, sign, check", lambda: authority.issue(template))


def storage(database: SqliteDatabase) -> Iterator[Step]:
    """SQLite, its commits in this thread; a server under load commits several changes at once."""
    event = audit.insert(
        created_at=datetime.now(UTC),
        actor="benchmark",
        action="benchmark",
        resource_type="benchmark",
        resource_id="benchmark",
        details={},
    )
    query: Query[Any] = profiles.by_id("prof-benchmark")
    yield Step("SQLite: read a row by its key", lambda: done(database.read(query)))
    yield Step("SQLite: commit one row (waits for the disk)", lambda: done(database.write(event)))


def timed(step: Step, seconds: float) -> float:
    """Return the microseconds that a step takes, the median of ROUNDS."""
    began = time.perf_counter()
    step.do()
    times = max(1, int(seconds / ROUNDS / max(time.perf_counter() - began, 1e-7)))
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            step.do()
        rounds.append((time.perf_counter() - began) / times)
    return 1e6 * median(rounds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.steps",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="for each part, roughly (%(default)s)")
    parser.add_argument(
        "--state", type=Path, help="directory for the files (default: the system's, for a while)"
    )
    options = parser.parse_args(arguments)
    print("| part | microseconds |\n|---|---:|")
    with TemporaryDirectory(prefix="benchmark-", dir=options.state) as name:
        state = Path(name)
        database = SqliteDatabase(state / "certctl.sqlite")
        for step in (*signed_requests(), *nonces(state), *signing(state), *storage(database)):
            print(f"| {step.name} | {timed(step, options.seconds):.1f} |")
        done(database.close())
    return 0


if __name__ == "__main__":
    sys.exit(main())
