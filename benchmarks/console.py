"""How long the console's pages take where there are many certificates: python -m benchmarks.console [certificates].

Starts a PostgreSQL and a server of its own, has one certificate issued, fills the database with copies of it under
other names and times, over 90 days, and asks for each page. For each it says
the slowest and the middle of several answers in milliseconds, the octets of the page, and which tables were read from
end to end meanwhile, by PostgreSQL's own count.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import quote, urlencode

from tests.integration.acme import Session
from tests.integration.postgres import PostgresServer
from tests.integration.server import RunningServer

TIMES = 5
KEY = "key-of-the-benchmark"
LARGE = "('acme_orders', 'certificate_versions', 'managed_certificates', 'managed_certificate_names', 'audit_events')"
PAGES = (
    "",
    "certificates",
    "certificates?name=h77.corp.example",
    "certificates?name=*.corp.example&status=valid",
    "certificates?status=revoked",
    "certificates?expires_before=2001-01-01",
    "certificates/{certificate}",
    "revoke?name=h77.corp.example",
    "orders",
    "orders?status=invalid",
    "orders?identifier=h77.corp.example",
    "orders/{order}",
    "profiles",
    "profiles/prof-default",
    "accounts",
    "accounts/{account}",
    "eab-keys",
    "renewals",
    "issuers/iss-internal-ca",
    "audit",
    "audit?action=certificate_revoked",
    "audit?actor=api-key:admin",
)
# Ids have the time in front (acme/ids.py); copies are spread over the 90 days before the first.
FILL = """
SET session_replication_role = replica;
CREATE TEMP TABLE copies AS SELECT n,
    lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - n * (90::bigint * 86400000 / {count})), 12, '0') AS at,
    md5(n::text) AS tail, now() - n * (interval '90 days' / {count}) AS made FROM generate_series(1, {count}) AS n;
INSERT INTO managed_certificates
    (id, profile_id, account_id, names, newest_version_id, not_after, created_at, updated_at)
    SELECT 'mc-' || at || tail, profile_id, account_id,
    jsonb_build_array(jsonb_build_object('type', 'dns', 'value', 'h' || n || '.corp.example')),
    'cv-' || at || tail, made + interval '90 days', made, made
    FROM copies, (SELECT * FROM managed_certificates LIMIT 1) AS m;
INSERT INTO managed_certificate_names
    SELECT 'mc-' || at || tail, convert_to(reverse('h' || n || '.corp.example'), 'UTF8') FROM copies;
INSERT INTO acme_orders
    (id, profile_id, account_id, status, identifiers, expires_at, certificate_id, created_at, updated_at)
    SELECT 'acme-ord-' || at || tail, profile_id, account_id, 'valid',
    jsonb_build_array(jsonb_build_object('type', 'dns', 'value', 'h' || n || '.corp.example')),
    made, 'cv-' || at || tail, made, made FROM copies, (SELECT * FROM acme_orders LIMIT 1) AS o;
INSERT INTO certificate_versions (id, certificate_id, order_id, profile_id, account_id, issuer_id, serial_number,
    certificate, not_before, not_after, created_at)
    SELECT 'cv-' || at || tail, 'mc-' || at || tail, 'acme-ord-' || at || tail, profile_id, account_id, issuer_id,
    tail, certificate, made, made + interval '90 days', made
    FROM copies, (SELECT * FROM certificate_versions LIMIT 1) AS v;
INSERT INTO audit_events (created_at, actor, action, resource_type, resource_id, details)
    SELECT made, 'acme:x', 'acme_order_finalized', 'acme_order', 'acme-ord-' || at || tail, '{{}}'
    FROM copies ORDER BY n DESC;
"""


def main(count: int) -> None:
    """Fill, ask, and say what was seen."""
    postgres = PostgresServer().start()
    try:
        url = postgres.database("console")
        settings = {"CERTCTL_DATABASE_URL": url, "CERTCTL_API_KEYS_NAMED": f"admin:{KEY}:admin"}
        settings |= {"CERTCTL_AUDIT_CHAIN_INTERVAL": "1h", "CERTCTL_API_REQUESTS_PER_MINUTE": "0"}
        with tempfile.TemporaryDirectory() as directory:
            server = RunningServer(Path(directory), settings).start()
            try:
                fill(server, postgres, count)
                ask_all(server, postgres)
            finally:
                server.kill()  # a stop would put all those events into the trail's chain first
    finally:
        postgres.stop()
        postgres.remove()


def fill(server: RunningServer, postgres: PostgresServer, count: int) -> None:
    """Have one certificate issued, and copy it."""
    session = Session(server)
    session.register()
    session.certificate("first.corp.example")
    began = time.monotonic()
    postgres.sql(FILL.format(count=count), "console")
    postgres.sql("VACUUM ANALYZE", "console")  # as autovacuum would have done meanwhile
    print(f"{count} certificates in {time.monotonic() - began:.0f} s")


def ask_all(server: RunningServer, postgres: PostgresServer) -> None:
    """Ask for each page some times, signed in."""
    ((certificate, order, account),) = postgres.sql(
        "SELECT id, order_id, account_id FROM certificate_versions ORDER BY id DESC LIMIT 1", "console"
    )
    connection = server.connect()
    cookie = sign_in(connection)
    for page in PAGES:
        path = page.format(certificate=certificate, order=order, account=account)
        before, took, size = scans(postgres), [], 0
        for _ in range(TIMES):
            began = time.perf_counter()
            connection.request("GET", f"/console/{quote(path, safe='/?=&:*-.')}", headers={"Cookie": cookie})
            answer = connection.getresponse()
            size = len(answer.read())
            took.append((time.perf_counter() - began) * 1000)
            assert answer.status == 200, (path, answer.status)
        time.sleep(1.2)  # until PostgreSQL has counted
        read = [name for name, number in scans(postgres).items() if number > before[name]]
        print(
            f"{max(took):7.1f} {statistics.median(took):7.1f} ms {size:7} octets  /console/{page}  {' '.join(read)}"
        )


def scans(postgres: PostgresServer) -> dict[str, int]:
    """How often each of the large tables was read from end to end."""
    sql = f"SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname IN {LARGE}"
    return {str(name): int(number) for name, number in postgres.sql(sql, "console")}


def sign_in(connection: HTTPSConnection) -> str:
    """Sign in; return the session's cookie."""
    connection.request("GET", "/console/sign-in")
    answer = connection.getresponse()
    csrf = answer.read().decode().partition('name="csrf" value="')[2][:64]
    secret = (answer.getheader("Set-Cookie") or "").partition(";")[0]
    form = {"Cookie": secret, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/console/sign-in", urlencode({"csrf": csrf, "key": KEY}), form)
    answer = connection.getresponse()
    answer.read()
    return next(each for each in answer.headers.get_all("Set-Cookie") or () if "console=" in each).partition(
        ";"
    )[0]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
