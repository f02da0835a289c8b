from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.objects import AuthMode
from certctl.settings import AuthType, LogFormat, LogLevel, Settings, SettingsError, declared, field_name
from certctl.settings_signing import SignerModule

# Name, text, what it means; one row at least for each setting.
GOOD = (
    ("SERVER_HOST", "0.0.0.0", "0.0.0.0"),
    ("SERVER_HOST", "::", "::"),
    ("SERVER_HOST", "localhost", "127.0.0.1"),
    ("SERVER_PORT", "443", 443),
    ("SERVER_PORT", " 65535 ", 65535),
    ("SERVER_EXTERNAL_URL", "https://ACME.example.com", "https://acme.example.com"),
    ("SERVER_EXTERNAL_URL", "https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443"),
    ("SERVER_TLS_NAMES", "acme.example.com, 10.0.0.1,,::1", ("acme.example.com", "10.0.0.1", "::1")),
    ("SERVER_WORKERS", "1", 1),
    ("STATE_DIR", "/srv/certctl", Path("/srv/certctl")),
    ("DATABASE_URL", "sqlite:////srv/x.sqlite", "sqlite:////srv/x.sqlite"),
    ("DATABASE_URL", "postgres://a:1,b:2/c?sslmode=require", "postgres://a:1,b:2/c?sslmode=require"),
    ("DATABASE_MAX_CONNS", "1", 1),
    ("CA_COMMON_NAME", "Zertifizierungsstelle Süd", "Zertifizierungsstelle Süd"),
    ("CA_ROOT_COMMON_NAME", "r" * 64, "r" * 64),
    ("CA_ACCEPT", ":".join(["0A"] * 32), "0a" * 32),
    ("SECRET_KEY_ACCEPT", "0b" * 32, "0b" * 32),
    ("ACME_SERVER_ENABLED", "true", True),
    ("ACME_SERVER_ENABLED", "YES", True),
    ("ACME_SERVER_ENABLED", "1", True),
    ("ACME_SERVER_EAB_REQUIRED", "True", True),
    ("ACME_SERVER_ARI_ENABLED", "no", False),
    ("ACME_SERVER_ARI_ENABLED", "0", False),
    ("ACME_SERVER_DEFAULT_AUTH_MODE", "challenge", AuthMode.CHALLENGE),
    ("ACME_SERVER_DEFAULT_PROFILE_ID", "prof-default", "prof-default"),
    ("ACME_SERVER_NONCE_TTL", "90s", timedelta(seconds=90)),
    ("ACME_SERVER_ORDER_TTL", "1h30m", timedelta(minutes=90)),
    ("ACME_SERVER_AUTHZ_TTL", "1.5h", timedelta(minutes=90)),
    ("ACME_SERVER_GC_INTERVAL", "500ms", timedelta(milliseconds=500)),
    ("ACME_SERVER_ARI_POLL_INTERVAL", "1h", timedelta(hours=1)),
    ("ACME_SERVER_MAX_IDENTIFIERS", "1000", 1000),
    ("ACME_SERVER_REQUIRE_NAME_POLICY", "yes", True),
    ("ACME_SERVER_PAUSE_AFTER_FAILURES", "0", 0),
    ("ACME_SERVER_POLL_HOLD", "0s", timedelta(0)),
    ("ACME_SERVER_TOS_URL", "https://example.com/terms?v=1", "https://example.com/terms?v=1"),
    ("ACME_SERVER_WEBSITE", "http://ca.example.com", "http://ca.example.com"),
    ("ACME_SERVER_CAA_IDENTITIES", "ca.example.com,Example.ORG", ("ca.example.com", "example.org")),
    ("ACME_SERVER_HTTP01_CONCURRENCY", "20", 20),
    ("ACME_SERVER_DNS01_CONCURRENCY", "20", 20),
    ("ACME_SERVER_TLSALPN01_CONCURRENCY", "20", 20),
    ("ACME_SERVER_HTTP01_PORT", "5002", 5002),
    ("ACME_SERVER_TLSALPN01_PORT", "5001", 5001),
    ("ACME_SERVER_DNS01_RESOLVER", "9.9.9.9", (("9.9.9.9", 53),)),
    (
        "ACME_SERVER_DNS01_RESOLVER",
        "10.0.0.2:5353, [2001:db8::53]:5353, ::1",
        (("10.0.0.2", 5353), ("2001:db8::53", 5353), ("::1", 53)),
    ),
    ("ACME_SERVER_EGRESS_ALLOW", "127.0.0.0/8,::1", (ip_network("127.0.0.0/8"), ip_network("::1/128"))),
    ("ACME_SERVER_EGRESS_DENY", "10.1.0.0/16", (ip_network("10.1.0.0/16"),)),
    ("ACME_SERVER_RATE_LIMIT_ORDERS_PER_HOUR", "0", 0),
    ("ACME_SERVER_RATE_LIMIT_CONCURRENT_ORDERS", "50", 50),
    ("ACME_SERVER_RATE_LIMIT_KEY_CHANGE_PER_HOUR", "50", 50),
    ("ACME_SERVER_RATE_LIMIT_CHALLENGE_RESPONDS_PER_HOUR", "50", 50),
    ("ACME_SERVER_RATE_LIMIT_PROFILE_ORDERS_PER_HOUR", "5000", 5000),
    ("ACME_SERVER_RATE_LIMIT_NETWORK_ACCOUNTS_PER_HOUR", "0", 0),
    ("SERVER_TRUSTED_PROXIES", "10.0.0.7", (ip_network("10.0.0.7/32"),)),
    ("ACME_SERVER_ORDER_RETENTION", "0s", timedelta(0)),
    ("ACME_SERVER_CERTIFICATE_RETENTION", "720h", timedelta(days=30)),
    ("PKI_URL", "http://pki.corp.example", "http://pki.corp.example"),
    ("PKI_HTTP_HOST", "0.0.0.0", "0.0.0.0"),
    ("PKI_HTTP_PORT", "80", 80),
    ("PKI_CRL_LIFETIME", "72h", timedelta(hours=72)),
    ("PKI_CRL_SHARDS", "16", 16),
    ("PKI_OCSP_LIFETIME", "12h", timedelta(hours=12)),
    ("CA_PASSPHRASE_FILE", "/run/p", Path("/run/p")),
    ("SIGNER_MODULES", "iss-a=b.c:d", (SignerModule("iss-a", "b.c", "d"),)),
    ("SIGNER_TIMEOUT", "2m", timedelta(minutes=2)),
    ("SIGNER_DEADLINE", "24h", timedelta(hours=24)),
    ("AUTH_TYPE", "none", AuthType.NONE),
    ("AUTH_SECRET", "one, two", ("one", "two")),
    ("API_KEYS_NAMED", "ops:k1:admin,ci:k2", ("ops:k1:admin", "ci:k2")),
    ("API_REQUESTS_PER_MINUTE", "60", 60),
    ("CONSOLE_ENABLED", "no", False),
    ("CONSOLE_SESSION_IDLE", "10m", timedelta(minutes=10)),
    ("CONSOLE_SESSION_LIFETIME", "8h", timedelta(hours=8)),
    ("AUDIT_CHAIN_INTERVAL", "1s", timedelta(seconds=1)),
    ("AUDIT_CHECKPOINT_INTERVAL", "24h", timedelta(days=1)),
    ("LOG_LEVEL", "DEBUG", LogLevel.DEBUG),
    ("LOG_FORMAT", "text", LogFormat.TEXT),
)
IN_PAIRS = ("SERVER_TLS_CERT_PATH", "SERVER_TLS_KEY_PATH", "CA_CERT_PATH", "CA_KEY_PATH")

BAD = (
    ("SERVER_HOST", "acme.example.com"),
    ("SERVER_HOST", "127.0.0.1:8443"),
    ("SERVER_PORT", "0"),
    ("SERVER_PORT", "65536"),
    ("SERVER_PORT", "8_443"),
    ("SERVER_PORT", "٨٤٤٣"),
    ("SERVER_PORT", "9" * 5000),
    ("SERVER_EXTERNAL_URL", "http://acme.example.com"),
    ("SERVER_EXTERNAL_URL", "https://acme.example.com/acme"),
    ("SERVER_EXTERNAL_URL", "https://acme.example.com?x"),
    ("SERVER_EXTERNAL_URL", "https://acme.example.com:0"),
    ("SERVER_EXTERNAL_URL", "https://user@acme.example.com"),
    ("SERVER_EXTERNAL_URL", "https://[::1"),
    ("SERVER_EXTERNAL_URL", "https://[fe80]"),
    ("SERVER_EXTERNAL_URL", "tcp://10.0.0.1:8443"),
    ("SERVER_TLS_NAMES", "acme.example.com,not a name"),
    ("DATABASE_URL", "mysql://certctl@db/certctl"),
    ("DATABASE_URL", "postgresql://"),
    ("DATABASE_URL", "postgresql://certctl@db/certctl two"),
    ("DATABASE_URL", "sqlite:///"),
    ("DATABASE_URL", "/var/lib/certctl.sqlite"),
    ("CA_COMMON_NAME", "c" * 65),
    ("CA_COMMON_NAME", "ü" * 33),
    ("CA_COMMON_NAME", "\udc80"),
    ("CA_ACCEPT", "0a" * 31),
    ("CA_COMMON_NAME", "a\x07b"),
    ("ACME_SERVER_ENABLED", "on"),
    ("ACME_SERVER_DEFAULT_AUTH_MODE", "trust"),
    ("ACME_SERVER_DEFAULT_PROFILE_ID", "default"),
    ("ACME_SERVER_DEFAULT_PROFILE_ID", "prof-a/b"),
    ("ACME_SERVER_NONCE_TTL", "5"),
    ("ACME_SERVER_NONCE_TTL", "-5m"),
    ("ACME_SERVER_NONCE_TTL", "0"),
    ("ACME_SERVER_NONCE_TTL", "1d"),
    ("ACME_SERVER_NONCE_TTL", "5m 5m"),
    ("ACME_SERVER_NONCE_TTL", "25h"),
    ("ACME_SERVER_NONCE_TTL", "9" * 400 + "h"),
    ("ACME_SERVER_NONCE_TTL", "."),
    ("ACME_SERVER_TOS_URL", "ftp://example.com"),
    ("ACME_SERVER_TOS_URL", "https:///terms"),
    ("ACME_SERVER_TOS_URL", "https://example.com/a b"),
    ("ACME_SERVER_TOS_URL", "https://[::1"),
    ("ACME_SERVER_CAA_IDENTITIES", "ca_example"),
    ("ACME_SERVER_HTTP01_CONCURRENCY", "0"),
    ("ACME_SERVER_DNS01_RESOLVER", "dns.google"),
    ("ACME_SERVER_DNS01_RESOLVER", "8.8.8.8:dns"),
    ("ACME_SERVER_EGRESS_ALLOW", "10.0.0.1/8"),
    ("SERVER_TRUSTED_PROXIES", "proxy.corp.example"),
    ("ACME_SERVER_ORDER_RETENTION", "-1h"),
    ("PKI_URL", "ldap://pki.corp.example"),
    ("PKI_HTTP_HOST", "pki.corp.example"),
    ("PKI_CRL_SHARDS", "12"),
    ("PKI_CRL_LIFETIME", "1m"),
    ("AUTH_TYPE", "basic"),
    ("AUTH_SECRET", "hunter2 hunter2"),
    ("API_KEYS_NAMED", "hunter2"),
    ("API_KEYS_NAMED", "ops:hunter2:root"),
    ("LOG_LEVEL", "loud"),
    ("LOG_FORMAT", "xml"),
)


def load(**variables: str) -> Settings:
    """Load from an environment; the names are without their prefix."""
    return Settings.load({f"CERTCTL_{name}": value for name, value in variables.items()})


class ValueTests(SynchronousTestCase):
    """Each setting takes what is allowed, and says so otherwise."""

    def test_good(self) -> None:
        for name, text, meaning in GOOD:
            value: Any = getattr(load(**{name: text}), field_name(name))
            self.assertEqual((name, value), (name, meaning))
            self.assertIs(type(value), type(meaning))

    def test_every_setting_is_tried(self) -> None:
        tried = {f"CERTCTL_{name}" for name, *_ in GOOD} | {f"CERTCTL_{name}" for name in IN_PAIRS}
        self.assertEqual(tried, set(declared()))

    def test_bad_value_one_sentence(self) -> None:
        """The error names the variable, the value and what is allowed, on one line."""
        for name, text in BAD:
            error = str(self.assertRaises(SettingsError, load, **{name: text}))
            self.assertTrue(error.startswith(f"CERTCTL_{name} "), error)
            self.assertIn(declared()[f"CERTCTL_{name}"].kind.allowed, error)
            self.assertEqual((error.count("\n"), error[-1]), (0, "."))
            self.assertEqual(repr(text)[:70] in error, "hunter2" not in text and "DATABASE" not in name)

    def test_secret_not_shown(self) -> None:
        """A secret is neither in an error nor in the settings' own representation."""
        for name in ("AUTH_SECRET", "API_KEYS_NAMED"):
            error = self.assertRaises(SettingsError, load, **{name: "hunter2 hunter2"})
            self.assertNotIn("hunter2", str(error))
            self.assertNotIn("hunter2", repr(load(**{name: "ops:hunter2"})))
        error = self.assertRaises(SettingsError, load, DATABASE_URL="postgresql://u:hunter2@db/x y")
        self.assertNotIn("hunter2", str(error))

    def test_contract_defaults(self) -> None:
        settings = Settings()
        self.assertEqual((settings.server_host, settings.server_port), ("127.0.0.1", 8443))
        self.assertFalse(settings.acme_server_enabled)
        self.assertIs(settings.acme_server_default_auth_mode, AuthMode.TRUST_AUTHENTICATED)
        self.assertEqual(settings.acme_server_nonce_ttl, timedelta(minutes=5))
        self.assertEqual(settings.acme_server_dns01_resolver, (("8.8.8.8", 53),))
        self.assertIsNone(settings.acme_server_default_profile_id)

    def test_empty_is_default(self) -> None:
        self.assertEqual(load(SERVER_PORT="", ACME_SERVER_NONCE_TTL="  ").server_port, 8443)


class PairTests(SynchronousTestCase):
    """A certificate and its key come together."""

    def test_both(self) -> None:
        settings = load(
            CA_CERT_PATH="ca.pem", CA_KEY_PATH="ca.key", SERVER_TLS_CERT_PATH="/t", SERVER_TLS_KEY_PATH="/k"
        )
        self.assertEqual((settings.ca_cert_path, settings.ca_key_path), (Path("ca.pem"), Path("ca.key")))
        self.assertEqual(
            (settings.server_tls_cert_path, settings.server_tls_key_path), (Path("/t"), Path("/k"))
        )

    def test_one_alone(self) -> None:
        for name in IN_PAIRS:
            other = name.replace("KEY", "?").replace("CERT", "KEY").replace("?", "CERT")
            error = str(self.assertRaises(SettingsError, load, **{name: "/x.pem"}))
            self.assertIn(f"CERTCTL_{name} is '/x.pem'", error)
            self.assertIn(f"CERTCTL_{other} is empty", error)


class WorkersTests(SynchronousTestCase):
    """Several processes need a database for several."""

    def test_on_postgres(self) -> None:
        settings = load(SERVER_WORKERS="4", DATABASE_URL="postgresql://h/d")
        self.assertEqual(settings.server_workers, 4)

    def test_on_sqlite(self) -> None:
        for others in ({}, {"DATABASE_URL": "sqlite:////srv/x.sqlite"}):
            error = str(self.assertRaises(SettingsError, load, SERVER_WORKERS="4", **others))
            self.assertEqual(
                error,
                "CERTCTL_SERVER_WORKERS is 4, but an SQLite database has one process alone: "
                "set CERTCTL_DATABASE_URL to one of PostgreSQL, or CERTCTL_SERVER_WORKERS to 1.",
            )


class EnvironmentTests(SynchronousTestCase):
    """What else may be in the environment."""

    def test_unknown_warns(self) -> None:
        (warning,) = load(SERVER_PROT="1").warnings
        self.assertIn("CERTCTL_SERVER_PROT", warning)
        self.assertIn("the nearest one is CERTCTL_SERVER_PORT", warning)

    def test_service_links(self) -> None:
        """Kubernetes' addresses of services are told from settings, also under a setting's name."""
        settings = load(
            SERVER_PORT="tcp://10.0.0.1:8443",
            ACME_SERVER_HTTP01_PORT="udp://10.0.0.1:80",
            SERVER_SERVICE_HOST="10.0.0.1",
            TEST_SERVICE_PORT="8443",
            TEST_SERVICE_PORT_HTTPS="8443",
            PORT_8443_TCP_ADDR="10.0.0.1",
            PORT="tcp://10.0.0.1:8443",
            SERVICE_HOST="10.0.0.1",
        )
        self.assertEqual((settings.server_port, settings.acme_server_http01_port), (8443, 80))
        (warning,) = settings.warnings
        for name in ("SERVER_PORT", "TEST_SERVICE_PORT_HTTPS", "PORT_8443_TCP_ADDR", "PORT", "SERVICE_HOST"):
            self.assertIn(f"CERTCTL_{name}", warning)
        self.assertIn("enableServiceLinks: false", warning)

    def test_certificates_kept(self) -> None:
        """Certificates are kept for as long as lists may name them, whatever the setting; 0 is for ever."""
        for retention, crl, kept in (("720h", "24h", 30 * 24), ("1h", "72h", 6 * 24 + 72), ("0s", "72h", 0)):
            settings = load(ACME_SERVER_CERTIFICATE_RETENTION=retention, PKI_CRL_LIFETIME=crl)
            self.assertEqual(settings.certificates_kept, timedelta(hours=kept))

    def test_operators_own(self) -> None:
        """The variables of the operator's shell are no cause for a warning."""
        own = ("CERTCTL_API_KEY", "CERTCTL_SERVER_URL", "CERTCTL_CA_BUNDLE", "PATH")
        self.assertEqual(Settings.load(dict.fromkeys(own, "x")).warnings, ())


class FileTests(SynchronousTestCase):
    """The settings file."""

    def file(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        return path

    def test_environment_wins(self) -> None:
        path = self.file("CERTCTL_SERVER_PORT=1\nCERTCTL_LOG_FORMAT=text\n")
        settings = Settings.load({"CERTCTL_SERVER_PORT": "2"}, path)
        self.assertEqual((settings.server_port, settings.log_format), (2, LogFormat.TEXT))

    def test_named_in_environment(self) -> None:
        path = self.file("CERTCTL_SERVER_PORT=1\n")
        self.assertEqual(Settings.load({"CERTCTL_SETTINGS_FILE": str(path)}).server_port, 1)

    def test_argument_before_environment(self) -> None:
        """The file of the command line is read instead of the environment's."""
        environ = {"CERTCTL_SETTINGS_FILE": "/nonexistent"}
        self.assertEqual(Settings.load(environ, self.file("CERTCTL_SERVER_PORT=1\n")).server_port, 1)

    def test_unknown_name_stops(self) -> None:
        for name in ("CERTCTL_SERVER_PROT", "certctl_server_port", "CERTCLT_SERVER_PORT"):
            error = str(self.assertRaises(SettingsError, Settings.load, {}, self.file(f"{name}=1\n")))
            self.assertTrue(error.startswith(f"{name} in "), error)
            self.assertIn("the nearest one is CERTCTL_SERVER_PORT.", error)

    def test_names_of_others_pass(self) -> None:
        self.assertEqual(Settings.load({}, self.file("TZ=UTC\nSSL_CERT_FILE=/x\n")).warnings, ())

    def test_unreadable(self) -> None:
        error = self.assertRaises(SettingsError, Settings.load, {}, Path("/nonexistent/certctl.env"))
        self.assertIn("/nonexistent/certctl.env cannot be read: No such file", str(error))

    def test_not_understood(self) -> None:
        error = str(self.assertRaises(SettingsError, Settings.load, {}, self.file("# x\nhunter2\n")))
        self.assertIn("line 2 is neither NAME=value nor a comment", error)
        self.assertNotIn("hunter2", error)


class PlaceTests(SynchronousTestCase):
    """Where state is kept."""

    def test_state_dir(self) -> None:
        systemd = {"STATE_DIRECTORY": "/var/lib/private/certctl:/other"}
        self.assertEqual(Settings.load(systemd).state_dir, Path("/var/lib/private/certctl"))
        self.assertEqual(Settings.load({**systemd, "CERTCTL_STATE_DIR": "/x"}).state_dir, Path("/x"))

    def test_sqlite_path(self) -> None:
        self.assertEqual(load(STATE_DIR="/x").sqlite_path, Path("/x/certctl.sqlite"))
        self.assertEqual(load(DATABASE_URL="sqlite:////y/z").sqlite_path, Path("/y/z"))
        self.assertEqual(load(DATABASE_URL="sqlite:///y/z").sqlite_path, Path("y/z"))
        self.assertFalse(load(DATABASE_URL="sqlite:///y/z").on_postgres)

    def test_on_postgres(self) -> None:
        self.assertFalse(load().on_postgres)
        self.assertTrue(load(DATABASE_URL="postgresql://db/certctl").on_postgres)
        self.assertTrue(load(DATABASE_URL="postgres:///certctl?host=/run/postgresql").on_postgres)
