"""Every setting of certctl, declared once: name, kind, default, sentence.

The field ``acme_server_nonce_ttl`` is the variable ``CERTCTL_ACME_SERVER_NONCE_TTL``. Reader, errors,
documentation and sample file all come from the declarations in ``Settings``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from certctl import settings_parsing as kinds
from certctl import settings_sources as sources
from certctl.acme.objects import AuthMode
from certctl.settings_console import ConsoleSettings
from certctl.settings_declaration import Section, Setting, shown
from certctl.settings_limits import LimitSettings, RetentionSettings
from certctl.settings_parsing import comma_list, duration, integer, one_of, optional
from certctl.settings_signing import CREDENTIAL
from certctl.settings_sources import PREFIX, SETTINGS_FILE, SettingsError
from certctl.settings_values import (
    CONCURRENCY,
    COUNT,
    DAY,
    HOUR,
    MILLISECOND,
    MINUTE,
    SECOND,
    YEAR,
    AuthType,
    LogFormat,
    LogLevel,
)

__all__ = ["AuthMode", "AuthType", "LogFormat", "LogLevel", "Settings", "SettingsError", "declared"]

SERVER = Section("Server")
DATABASE = Section("Database")
CA = Section("Certification authority")
ACME = Section("ACME")
AUTH = Section("REST API keys")
AUDIT = Section("Audit trail")
LOG = Section("Log")


@attrs.frozen(kw_only=True)
class Settings(ConsoleSettings, LimitSettings, RetentionSettings):
    """The settings of one server, read and checked. Made by ``load``; tests may construct it."""

    server_host: str = SERVER.setting(
        kinds.LISTENING_ADDRESS, "127.0.0.1", "The address that the server listens on."
    )
    server_port: int = SERVER.setting(kinds.PORT, 8443, "The TCP port that the server listens on.")
    server_external_url: str | None = SERVER.setting(
        optional(kinds.ORIGIN),
        None,
        "The server as its clients reach it: the beginning of all URLs that it hands out. If empty, the Host "
        "header of the request takes its place, provided that it is one of the names the server answers to.",
    )
    server_tls_cert_path: Path | None = SERVER.setting(
        optional(kinds.PATH),
        None,
        "The server's own certificate and its chain (PEM), read again on SIGHUP. If empty, the server makes "
        "its own with the internal CA and renews it.",
    )
    server_tls_key_path: Path | None = SERVER.setting(
        optional(kinds.PATH), None, "The private key of that certificate (PEM); both are set or neither."
    )
    server_tls_names: tuple[str, ...] = SERVER.setting(
        comma_list(kinds.NAME_OR_ADDRESS),
        (),
        "Names and addresses in the server's self-made certificate beside localhost and the host's name.",
    )
    server_workers: int = SERVER.setting(
        integer(1, 64), 1, "The number of processes that answer requests; more than one need PostgreSQL."
    )
    state_dir: Path = SERVER.setting(
        kinds.PATH,
        Path("/var/lib/certctl"),
        "The directory for all that the server keeps: the SQLite file, the CA's keys, the generated API key.",
        default_words="systemd's `STATE_DIRECTORY`, else the platform's data directory",
    )

    database_url: str | None = DATABASE.setting(
        optional(kinds.DATABASE_URL),
        None,
        "The database. If empty, the file `certctl.sqlite` in the state directory; `sqlite:///path` is "
        "another file (four slashes begin an absolute path). `postgresql://user:password@host:port/database` "
        "is PostgreSQL, for one or many servers: several hosts with commas between them are tried in turn, "
        "and TLS is asked for by libpq's parameters, such as `?sslmode=verify-full&sslrootcert=/path`.",
        secret=True,
    )
    database_max_conns: int = DATABASE.setting(
        integer(1, 1000), 25, "The most connections that one process opens to PostgreSQL."
    )

    ca_cert_path: Path | None = CA.setting(
        optional(kinds.PATH),
        None,
        "The certificate of an issuing CA under a root of your own, and its chain (PEM). If empty, the first "
        "start makes a root and an issuing CA.",
    )
    ca_key_path: Path | None = CA.setting(
        optional(kinds.PATH), None, "The private key of that CA (PEM); both are set or neither."
    )
    ca_common_name: str = CA.setting(
        kinds.COMMON_NAME, "certctl issuing CA", "The name of the issuing CA that the first start makes."
    )
    ca_root_common_name: str = CA.setting(
        kinds.COMMON_NAME, "certctl root CA", "The name of the root that the first start makes."
    )
    ca_accept: str | None = CA.setting(
        optional(kinds.FINGERPRINT),
        None,
        "The issuing certificate that may take the place of the one that the database records, although it has "
        "another key. If empty, a server with another CA than the recorded one does not start.",
    )
    secret_key_accept: str | None = CA.setting(
        optional(kinds.FINGERPRINT),
        None,
        "The fingerprint of the `secret-key` in the state directory that may take the place of the one that the "
        "database records; what was sealed under that one is lost. If empty, a server with another secret than the "
        "recorded one does not start.",
    )

    acme_server_enabled: bool = ACME.setting(
        kinds.BOOLEAN, False, "Whether there is an ACME server; if not, its URLs are 404."
    )
    acme_server_default_auth_mode: AuthMode = ACME.setting(
        one_of(AuthMode), AuthMode.TRUST_AUTHENTICATED, "The mode of a profile that names none."
    )
    acme_server_default_profile_id: str | None = ACME.setting(
        optional(kinds.PROFILE_ID),
        None,
        "The profile that the short URLs under `/acme/` stand for. If empty, they answer 403 "
        "`userActionRequired`.",
    )
    acme_server_nonce_ttl: timedelta = ACME.setting(
        duration(MILLISECOND, DAY), 5 * MINUTE, "How long a nonce may wait to be used."
    )
    acme_server_order_ttl: timedelta = ACME.setting(
        duration(MILLISECOND, YEAR), DAY, "How long an order may take to become a certificate."
    )
    acme_server_authz_ttl: timedelta = ACME.setting(
        duration(MILLISECOND, YEAR), DAY, "How long an authorization may be pending, and then be used."
    )
    acme_server_gc_interval: timedelta = ACME.setting(
        duration(100 * MILLISECOND, DAY), MINUTE, "How often what has expired is swept up."
    )
    acme_server_max_identifiers: int = ACME.setting(
        CONCURRENCY, 100, "The most names and addresses that one order may have."
    )
    acme_server_require_name_policy: bool = ACME.setting(
        kinds.BOOLEAN, False, "Whether profiles that trust accounts must have a name policy to give anything."
    )
    acme_server_poll_hold: timedelta = ACME.setting(
        duration(timedelta(0), MINUTE),
        timedelta(seconds=1),
        "How long the answer to who asks for an authorization waits for the end of its validation. 0s: not at all.",
    )
    acme_server_pause_after_failures: int = ACME.setting(
        COUNT, 20, "How many failed validations in a row pause a name for an account. 0: never."
    )
    acme_server_tos_url: str | None = ACME.setting(
        optional(kinds.WEB_URL), None, "The terms that new accounts agree to, if the profile names none."
    )
    acme_server_website: str | None = ACME.setting(
        optional(kinds.WEB_URL), None, "A page about this CA for people, listed in the directory."
    )
    acme_server_caa_identities: tuple[str, ...] = ACME.setting(
        comma_list(kinds.DNS_NAME),
        (),
        "The names that stand for this CA in CAA records, listed in the directory.",
    )
    acme_server_eab_required: bool = ACME.setting(
        kinds.BOOLEAN, False, "Whether new accounts need an external binding, if the profile does not say."
    )
    acme_server_http01_concurrency: int = ACME.setting(
        CONCURRENCY, 10, "The most http-01 challenges that are validated at the same time."
    )
    acme_server_dns01_concurrency: int = ACME.setting(
        CONCURRENCY, 10, "The most dns-01 challenges that are validated at the same time."
    )
    acme_server_tlsalpn01_concurrency: int = ACME.setting(
        CONCURRENCY, 10, "The most tls-alpn-01 challenges that are validated at the same time."
    )
    acme_server_http01_port: int = ACME.setting(
        kinds.PORT,
        80,
        "The port that http-01 dials; another than 80 is for laboratories (RFC 8555 section 8.3).",
    )
    acme_server_tlsalpn01_port: int = ACME.setting(
        kinds.PORT,
        443,
        "The port that tls-alpn-01 dials; another than 443 is for laboratories (RFC 8737 section 3).",
    )
    acme_server_dns01_resolver: tuple[kinds.SocketAddress, ...] = ACME.setting(
        comma_list(kinds.RESOLVER), (("8.8.8.8", 53),), "The DNS resolvers that validation asks."
    )
    acme_server_egress_allow: tuple[kinds.IPNetwork, ...] = ACME.setting(
        comma_list(kinds.NETWORK),
        (),
        "Networks that validation may dial although it would not by itself, such as 127.0.0.0/8 in a test.",
    )
    acme_server_egress_deny: tuple[kinds.IPNetwork, ...] = ACME.setting(
        comma_list(kinds.NETWORK),
        (),
        "Networks that validation never dials, even where they are also allowed.",
    )
    acme_server_ari_enabled: bool = ACME.setting(
        kinds.BOOLEAN, True, "Whether clients are told when to renew (RFC 9773)."
    )
    acme_server_ari_poll_interval: timedelta = ACME.setting(
        duration(10 * SECOND, YEAR), 6 * HOUR, "How long a client waits before it asks that again."
    )
    auth_type: AuthType = AUTH.setting(
        one_of(AuthType),
        AuthType.API_KEY,
        "How callers of the REST API show who they are; with `none` there is no REST API.",
    )
    auth_secret: tuple[str, ...] = AUTH.setting(
        comma_list(kinds.API_KEY),
        (),
        "API keys with all rights, beside the one in the state directory.",
        secret=True,
    )
    api_keys_named: tuple[str, ...] = AUTH.setting(
        comma_list(kinds.NAMED_API_KEY),
        (),
        "API keys with names, which the audit log shows; `admin` gives all rights, else the key is an operator's.",
        secret=True,
    )
    api_requests_per_minute: int = AUTH.setting(
        COUNT, 600, "The most requests to the REST API by one key in a minute, at one process; 0 is no limit."
    )

    audit_chain_interval: timedelta = AUDIT.setting(
        duration(100 * MILLISECOND, HOUR), 10 * SECOND, "How often new audit events are put into the chain."
    )
    audit_checkpoint_interval: timedelta = AUDIT.setting(
        duration(SECOND, YEAR), HOUR, "How often the end of the audit trail's chain is signed."
    )

    log_level: LogLevel = LOG.setting(
        one_of(LogLevel), LogLevel.INFO, "The least severe event that is logged."
    )
    log_format: LogFormat = LOG.setting(
        one_of(LogFormat), LogFormat.JSON, "One JSON object or one line of text for each event."
    )

    warnings: tuple[str, ...] = ()  # sentences for the log; the one field that is not a setting

    @classmethod
    def load(cls, environ: Mapping[str, str], file: Path | None = None) -> Settings:
        """Return the settings of ``environ`` and, where that has none, of the file.

        ``file`` counts before CERTCTL_SETTINGS_FILE. A variable that is set to nothing has its default.
        Raises SettingsError, whose text is one sentence for the operator.
        """
        known = declared()
        texts: dict[str, str] = {}
        file = file or (Path(environ[SETTINGS_FILE]) if environ.get(SETTINGS_FILE) else None)
        if file is not None:
            texts = sources.read_settings_file(file)
            sources.refuse_unknown(texts, known, file)
        urls = [variable for variable, setting in known.items() if setting.kind.is_url]
        from_environment, warnings = sources.split_environment(environ, known, urls)
        texts.update(from_environment)

        values: dict[str, Any] = {
            "state_dir": sources.default_state_dir(environ),
            "ca_passphrase_file": sources.credential(environ, CREDENTIAL),
        }
        for variable, setting in known.items():
            text = texts.get(variable, "").strip()
            if text:
                values[field_name(variable)] = setting.read(variable, text)
        return cls(**values, warnings=tuple(warnings))

    def __attrs_post_init__(self) -> None:
        """Raise SettingsError for values that exclude each other."""
        for one, other in (("server_tls_cert_path", "server_tls_key_path"), ("ca_cert_path", "ca_key_path")):
            for given, missing in ((one, other), (other, one)):
                if getattr(self, given) is not None and getattr(self, missing) is None:
                    raise SettingsError(
                        f"{variable_name(given)} is {shown(str(getattr(self, given)))}, but "
                        f"{variable_name(missing)} is empty: both must be set, or neither."
                    )

        if self.server_workers > 1 and not self.on_postgres:
            raise SettingsError(
                f"CERTCTL_SERVER_WORKERS is {self.server_workers}, but an SQLite database has one process alone: "
                "set CERTCTL_DATABASE_URL to one of PostgreSQL, or CERTCTL_SERVER_WORKERS to 1."
            )

    @property
    def certificates_kept(self) -> timedelta:
        """How long certificates are kept after their end, which CRLs may have to name for a while; 0: for ever."""
        kept = self.acme_server_certificate_retention
        return kept and max(kept, 2 * self.pki_crl_lifetime + 3 * DAY)

    @property
    def on_postgres(self) -> bool:
        """Whether the database is PostgreSQL."""
        return (self.database_url or "").startswith(kinds.POSTGRES_SCHEMES)

    @property
    def sqlite_path(self) -> Path:
        """Where the SQLite database lies, if it is one."""
        if self.database_url is None:
            return self.state_dir / "certctl.sqlite"
        return Path(self.database_url.removeprefix(kinds.SQLITE_SCHEME))


def variable_name(field: str) -> str:
    """Return the name of the variable that sets a field of Settings."""
    return PREFIX + field.upper()


def field_name(variable: str) -> str:
    """Return the name of the field of Settings that a variable sets."""
    return variable.removeprefix(PREFIX).lower()


@cache
def declared() -> Mapping[str, Setting]:
    """Return all settings by the names of their variables, in the order of their declaration."""
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(Settings)
    own = Settings.__annotations__
    fields = tuple(
        sorted(fields, key=lambda each: each.name not in own)
    )  # the parts of other modules come last
    return {variable_name(each.name): each.metadata[Setting] for each in fields if Setting in each.metadata}
