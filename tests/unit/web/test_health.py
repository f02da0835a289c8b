"""Alive and ready."""

from __future__ import annotations

from pathlib import Path

from certctl.storage.sqlite import SqliteDatabase
from tests.unit.web.bench import Bench, BenchCase, authority


class HealthTests(BenchCase):
    def test_alive(self) -> None:
        """``/health`` says that the process answers, by GET and HEAD."""
        response = self.bench.get("/health")
        self.assertEqual((response.status, response.json), (200, {"status": "ok"}))
        self.assertEqual(self.bench.request("HEAD", "/health").status, 200)
        self.assertEqual(self.bench.request("POST", "/health").status, 405)

    def test_ready(self) -> None:
        """``/ready`` says that requests may come."""
        response = self.bench.get("/ready")
        self.assertEqual((response.status, response.json), (200, {"status": "ready"}))

    def test_stopping(self) -> None:
        """A server that stops is not ready, and still alive."""
        self.bench.parts.health.stopping = True
        response = self.bench.get("/ready")
        self.assertEqual((response.status, response.json["wrong"]), (503, ["stopping"]))
        self.assertEqual(self.bench.get("/health").status, 200)

    def test_ca_has_expired(self) -> None:
        """A server whose CA cannot sign any more says so."""
        self.bench.clock.advance(authority().expires_at.timestamp() - self.bench.clock.seconds())
        response = self.bench.get("/ready")
        self.assertEqual((response.status, response.json["wrong"]), (503, ["iss-internal-ca has expired"]))

    def test_database_does_not_answer(self) -> None:
        """Without its database a server is not ready, and tells nobody why but the log."""
        path = Path(self.mktemp())
        path.mkdir()
        bench = Bench(self, database=SqliteDatabase(path / "certctl.sqlite"))
        bench.execute("ALTER TABLE certificate_profiles RENAME TO gone")
        response = bench.get("/ready")
        self.assertEqual((response.status, response.json["wrong"]), (503, ["database"]))
        self.assertTrue(self.flushLoggedErrors())

    def test_host_does_not_matter(self) -> None:
        """Probes ask by address, so these answer to any name."""
        for path in ("/health", "/ready", "/metrics"):
            self.assertEqual(self.bench.begin("GET", path, headers={"Host": "10.1.2.3"}).response.status, 200)
