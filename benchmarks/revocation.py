"""What CRLs and OCSP answers cost, in one process: python -m benchmarks.revocation [certificates].

Fills an embedded database with revoked certificates, starts on it as a server does, and measures: the first reading,
the longest time for which the reactor did nothing else, a list made again after one more revocation, its size, and OCSP
answers, kept and not, with the CPU of each.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall, react

from certctl.authority.certificate_status import CertificateStatus
from certctl.authority.revocation_lists import FRESH, RevocationLists
from certctl.issuance.local import LocalCA
from certctl.issuance.profile import key_bits
from certctl.issuance.status import LocalStatusSigner
from certctl.storage.sqlite import SqliteDatabase, connect

ANSWERS = 20_000
ISSUER = "iss-internal-ca"
COLUMNS = (
    "id, certificate_id, order_id, profile_id, account_id, issuer_id, serial_number, certificate, not_before,"
    " not_after, created_at, revoked_at, revocation_reason, revocation_number"
)


def fill(path: Path, count: int, now: datetime) -> list[int]:
    """Put so many certificates into the database, all revoked but the last thousand; return their serials."""
    connection = connect(path)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN")
    serials = [x509.random_serial_number() for _ in range(count + 1000)]
    ends = now + timedelta(days=60)
    connection.executemany(
        f"INSERT INTO certificate_versions ({COLUMNS}) VALUES (?, 'm', ?, 'p', 'a', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (f"c{number}", f"o{number}", ISSUER, f"{serial:x}", b"x" * 700, now, ends, now)
            + ((now, 1, number + 1) if number < count else (None, None, None))
            for number, serial in enumerate(serials)
        ),
    )
    connection.execute("COMMIT")
    connection.close()
    return serials


def told(what: str, seconds: float, unit: str = "ms") -> None:
    """Print a figure."""
    print(f"{what:<62} {seconds * 1000:10.3f} {unit}")


async def stalled(work: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, float, float]:
    """What work returns, how long it took, and the longest time for which the reactor did nothing else."""
    ticks = [time.perf_counter()]
    watching = LoopingCall(lambda: ticks.append(time.perf_counter()))
    _ = watching.start(0.001)
    began = time.perf_counter()
    result = await work()
    took = time.perf_counter() - began
    pause: Deferred[None] = Deferred()
    reactor.callLater(0.01, pause.callback, None)
    await pause
    watching.stop()
    return result, took, max(later - earlier for earlier, later in pairwise(ticks))


async def answers(what: str, status: CertificateStatus, requests: list[bytes]) -> None:
    """Measure answers to these requests, one after the other."""
    began, cpu = time.perf_counter(), time.process_time()
    for each in requests:
        await status.answer(each)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    print(f"{what:<62} {len(requests) / took:10.0f} /s   {used / len(requests) * 1000:.3f} ms CPU each")


def asking(ca: LocalCA, serial: int, nonce: bytes | None = None) -> bytes:
    """An OCSP request."""
    issuer = x509.load_der_x509_certificate(ca.chain[0])
    digests = []
    for octets in (issuer.subject.public_bytes(), key_bits(issuer.public_key())):
        digest = hashes.Hash(hashes.SHA256())
        digest.update(octets)
        digests.append(digest.finalize())
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        digests[0], digests[1], serial, hashes.SHA256()
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), False)
    return builder.build().public_bytes(Encoding.DER)


async def measure(count: int) -> None:
    """Measure everything."""
    now = datetime.now(UTC)
    directory = Path(tempfile.mkdtemp(prefix="certctl-revocation-"))
    ca = LocalCA.open(directory, common_name="issuing", root_common_name="root", now=now)
    path = directory / "bench.sqlite"
    database = SqliteDatabase(path, reactor)
    serials = fill(path, count, now)
    signer = LocalStatusSigner(ca, directory)
    lists = RevocationLists(ISSUER, signer, None, database, reactor, timedelta(days=1))
    status = CertificateStatus(ISSUER, signer, lists, database, reactor, timedelta(hours=1))
    crl, took, stall = await stalled(lambda: lists.get(1, 0))
    told(f"first CRL of {count} entries, reading included", took)
    told("  the longest stall of the reactor meanwhile", stall)
    print(f"{'  its size':<62} {len(crl.der) / 1e6:10.3f} MB")
    connection = connect(path)
    connection.execute("UPDATE certificate_versions SET revoked_at = ? WHERE id = ?", (now, f"c{count}"))
    connection.close()
    time.sleep(FRESH)
    crl, took, stall = await stalled(lambda: lists.get(1, 0))
    told("the CRL again after one more revocation", took)
    told("  the longest stall of the reactor meanwhile", stall)
    assert len(x509.load_der_x509_crl(crl.der)) == count + 1
    one = [asking(ca, each) for each in serials[-900:]]
    await answers("OCSP, first answers", status, one)
    await answers("OCSP, kept answers", status, one * (ANSWERS // 900))
    nonced = [asking(ca, serials[-1], number.to_bytes(16, "big")) for number in range(5000)]
    await answers("OCSP, with a nonce", status, nonced)
    await database.close()


if __name__ == "__main__":
    react(lambda _: ensureDeferred(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)))
