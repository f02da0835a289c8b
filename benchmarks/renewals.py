"""Renewal information and bulk revocation through the real server: ``python -m benchmarks.renewals``."""

from __future__ import annotations

import argparse
import json
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from benchmarks.http import Connection, Origin
from benchmarks.measure import usage
from benchmarks.postgres import Postgres, postgresql
from benchmarks.servers import LOOPBACK, Certctl, Running, ServerFailed, free_port, started
from benchmarks.workers import LoadFailed, Plan, run
from certctl.acme.renewal import CertID
from certctl.issuance.profile import key_bits
from certctl.storage.sqlite import connect

DESCRIPTION = """\
Start certctl on SQLite and on a PostgreSQL that is made for it, get some certificates by ACME and
copy their rows until there are enough, and measure: renewal information for some of them again
and again, over one connection; then the revocation of all of them by one request to the REST API,
and how long CRL and OCSP take to say so. CPU is the server's, its database's beside it.
"""
KEY = "key-of-the-benchmark"
ISSUED = 250  # certificates by ACME
ASKED = 200  # certificates whose renewal information is asked for
SEEN = 1000  # certificates of which OCSP is asked
AT_ONCE = 500  # certificates in a page of the API


@attrs.frozen
class Api:
    """The REST API of a running server, and its /pki/ by plain HTTP."""

    running: Running
    base: str
    pki: str

    def call(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """What it answers."""
        request = Request(f"{self.base}/api/{path}", method=method)
        request.add_header("Authorization", f"Bearer {KEY}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        context = ssl.create_default_context(cafile=str(self.running.ca))
        with urlopen(request, context=context, timeout=600) as answer:
            found: dict[str, object] = json.loads(answer.read())
        return found

    def fetched(self, path: str, body: bytes | None = None) -> bytes:
        """What /pki/ gives."""
        with urlopen(Request(f"{self.pki}/pki/iss-internal-ca/{path}", body), timeout=60) as answer:
            octets: bytes = answer.read()
        return octets

    def serials(self) -> Iterator[int]:
        """The serials of all certificates."""
        cursor = ""
        while True:
            found = self.call("GET", f"certificates?per_page={AT_ONCE}&cursor={cursor}")
            data, cursor = found["data"], str(found["next_cursor"] or "")
            assert isinstance(data, list)
            yield from (int(each["serial"], 16) for each in data)
            if not cursor:
                return


COPIES = (  # what a copy has of its own, in each table; v is the certificate, o the row, n the number
    ("acme_orders", "o.id = v.order_id", {"id": "o.id || n.n", "certificate_id": "v.id || n.n"}),
    (
        "managed_certificates",
        "o.id = v.certificate_id",
        {"id": "o.id || n.n", "newest_version_id": "v.id || n.n"},
    ),
    (
        "certificate_versions",
        "o.id = v.id",
        {
            "id": "o.id || n.n",
            "order_id": "o.order_id || n.n",
            "certificate_id": "o.certificate_id || n.n",
            "serial_number": "substr(o.serial_number, 1, 30) || CAST(100000 + n.n AS TEXT)",
        },
    ),
)


def copied(execute: Callable[[str], Any], columns: Callable[[str], list[str]], count: int) -> None:
    """Copy the rows of the first certificate so many times: all that is measured goes by the serials, which are new."""
    numbers = f"WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count})"
    for table, of, own in COPIES:
        names = columns(table)
        values = ", ".join(own.get(name, f"o.{name}") for name in names)
        execute(
            f"INSERT INTO {table} ({', '.join(names)}) {numbers} SELECT {values} FROM {table} o"
            f" JOIN certificate_versions v ON {of} CROSS JOIN n"
            " WHERE v.id = (SELECT min(id) FROM certificate_versions)"
        )


def copied_on_sqlite(file: Path, count: int) -> None:
    """Copy beside a running server."""
    with closing(connect(file)) as connection:
        copied(
            connection.execute,
            lambda table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")],
            count,
        )


def copied_on_postgres(database: Postgres, count: int) -> None:
    """Copy beside a running server."""
    names = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
    copied(database.sql, lambda table: [row[0] for row in database.sql(names, (table,))], count)
    database.sql("ANALYZE")  # as autovacuum does by itself, some time later


def told(what: str, figure: str) -> None:
    """Print a figure."""
    print(f"| {what} | {figure} |", flush=True)


def cpu(running: Running) -> tuple[float, float]:
    """Seconds of CPU that the server and its database have used."""
    server, database = usage(running.pids), usage(running.database_pids)
    return server.user + server.system, database.user + database.system


def renewal_information(api: Api, serials: Sequence[int], requests: int) -> None:
    """Ask for renewal information: the first time of each certificate, and then from memory."""
    issuer = x509.load_der_x509_certificate(api.fetched("ca"))
    key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    base = f"{api.running.directory.removesuffix('/directory')}/profile/prof-default/renewal-info"
    urls = [f"{base}/{CertID(key, f'{serial:x}')}" for serial in serials[:ASKED]]
    context = ssl.create_default_context(cafile=str(api.running.ca))
    connection = Connection(Origin.of(api.running.directory), context, 30)
    for what, asked in (("first answers", urls), ("from memory", urls * (requests // len(urls)))):
        before, began = cpu(api.running), time.perf_counter()
        for url in asked:
            answer = connection.request("GET", url)
            assert answer.status == 200, answer
        took, after = time.perf_counter() - began, cpu(api.running)
        each = [1000 * (one - other) / len(asked) for one, other in zip(after, before, strict=True)]
        told(
            f"renewal information, {what} ({len(asked)} requests)",
            f"{each[0]:.3f} ms CPU each, database {each[1]:.3f}; {len(asked) / took:.0f} /s over one connection",
        )
    connection.close()


def revocation(api: Api, serials: Sequence[int]) -> None:
    """Revoke all certificates by one request, and see that CRL and OCSP say so of each."""
    body = {"filter": {"profile_id": "prof-default"}, "reason": "superseded", "dry_run": False}
    before, began = cpu(api.running), time.perf_counter()
    revoked = api.call("POST", "certificates/revoke", body)["revoked"]
    took, after = time.perf_counter() - began, cpu(api.running)
    told(f"revoking {revoked} certificates by one request", f"{took:.1f} s")
    told(
        "CPU of that, server and database",
        " and ".join(f"{b - a:.1f} s" for a, b in zip(before, after, strict=True)),
    )
    while len(x509.load_der_x509_crl(api.fetched("crl"))) < len(serials):
        time.sleep(0.05)
    told("until all are on the CRL, from the beginning", f"{time.perf_counter() - began:.1f} s")
    issuer = x509.load_der_x509_certificate(api.fetched("ca"))
    name, key = hashed(issuer)
    seen, asked = time.perf_counter(), serials[:: max(1, len(serials) // SEEN)]
    for serial in asked:
        request = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name, key, serial, SHA256()).build()
        answer = ocsp.load_der_ocsp_response(api.fetched("ocsp", request.public_bytes(Encoding.DER)))
        assert answer.certificate_status is ocsp.OCSPCertStatus.REVOKED, serial
    told(f"OCSP says so of {len(asked)} of them", f"{time.perf_counter() - seen:.1f} s")


def hashed(issuer: x509.Certificate) -> tuple[bytes, bytes]:
    """SHA-256 of an issuer's name and key, as OCSP names it."""
    digests = []
    for octets in (issuer.subject.public_bytes(), key_bits(issuer.public_key())):
        digest = Hash(SHA256())
        digest.update(octets)
        digests.append(digest.finalize())
    return digests[0], digests[1]


def measure(
    name: str, settings: Mapping[str, str], options: argparse.Namespace, database: Postgres | None
) -> None:
    """Measure on one engine."""
    print(f"| {name} | |\n|---|---|")
    with started(Certctl(settings=settings)) as running:
        if database is not None:
            running = attrs.evolve(running, database_pids=(database.pid,))
        run(Plan(directory=running.directory, ca=running.ca, certificates=ISSUED, fresh_names=True))
        api = Api(running, running.directory.partition("/acme/")[0], settings["CERTCTL_PKI_URL"])
        serials = list(api.serials())
        told("certificates, issued by ACME", str(len(serials)))
        renewal_information(api, serials, options.requests)
        more = max(1, options.certificates - len(serials))
        if database is None:
            copied_on_sqlite(running.ca.parent / "certctl.sqlite", more)
        else:
            copied_on_postgres(database, more)
        revocation(api, list(api.serials()))


def settings_of(port: int) -> dict[str, str]:
    """The settings of a server that is asked by the API and by plain HTTP."""
    return {
        "CERTCTL_API_KEYS_NAMED": f"bench:{KEY}:admin",
        "CERTCTL_API_REQUESTS_PER_MINUTE": "0",
        "CERTCTL_PKI_HTTP_PORT": str(port),
        "CERTCTL_PKI_URL": f"http://{LOOPBACK}:{port}",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.renewals",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--certificates", type=int, default=10_000, metavar="N", help="(%(default)s)")
    parser.add_argument("--requests", type=int, default=10_000, metavar="N", help="from memory (%(default)s)")
    parser.add_argument(
        "--engines", nargs="+", choices=("sqlite", "postgres"), default=["sqlite", "postgres"]
    )
    options = parser.parse_args(arguments)
    try:
        if "sqlite" in options.engines:
            measure("SQLite", settings_of(free_port()), options, None)
        if "postgres" in options.engines:
            with (
                TemporaryDirectory(prefix="benchmark-") as place,
                postgresql(Path(place) / "postgres") as database,
            ):
                url = {"CERTCTL_DATABASE_URL": database.url}
                measure("PostgreSQL", {**settings_of(free_port()), **url}, options, database)
    except (LoadFailed, ServerFailed) as error:
        print(f"the run failed:\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
