"""ACME clients of others, each behind the same few methods. What a client can do, it has a method for.

A client's state lies in a directory of the test's. Whoever adds a client adds a class here and a test case in
``test_clients``.
"""

from __future__ import annotations

import re
import shutil
import time
from abc import ABC, abstractmethod
from pathlib import Path

import attrs

from tests.integration.server import PROGRAMS, Ran, RunningServer, run

EMAIL = "first@example.com"
OTHER_EMAIL = "second@example.com"
RSA, P256, P384 = "RSA 2048", "EC P-256", "EC P-384"
_STORE = b"/etc/ssl/certs"  # what Debian compiles into libcurl


@attrs.frozen
class Issued:
    """What a client left on the disk: the leaf (alone or first of the chain), what is above it, and the key."""

    certificate: Path
    chain: Path
    key: Path


def is_address(name: str) -> bool:
    """Whether it is an IP address, and not a DNS name."""
    return ":" in name or name.replace(".", "").isdigit()


class Client(ABC):
    """One client with one account. ``hook`` is called if it believes that it has to answer a challenge."""

    package: str  # where the program comes from, for who does not have it
    program: str
    places = f"{PROGRAMS}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

    def __init__(self, server: RunningServer, home: Path) -> None:
        self.server = server
        self.home = home
        self.mark = home / "hook-was-called"
        self.hook = self._script("hook", f'echo "$@" >>{self.mark}')
        program = shutil.which(self.program, path=self.places)
        if program is None:
            raise AssertionError(f"{self.program} is missing: install {self.package}")
        self.path = program

    def _script(self, name: str, text: str) -> Path:
        path = self.home / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)
        return path

    def run(self, *arguments: str | Path, **env: str) -> Ran:
        """Run the client; raise AssertionError with what it said if it fails."""
        return run(self.path, *arguments, cwd=self.home, env=env).must_succeed()

    @abstractmethod
    def issue(self, names: list[str], key: str) -> Issued:
        """Get a certificate, and an account before it if there is none."""


class Certbot(Client):
    """The EFF's client, from PyPI."""

    package = "certbot from PyPI (requirements-test.lock)"
    program = "certbot"

    def certbot(self, *arguments: str | Path) -> Ran:
        """Run it with directories of its own."""
        places = [f"--{name}-dir={self.home / name}" for name in ("config", "work", "logs")]
        return self.run(
            *arguments,
            *places,
            "--non-interactive",
            f"--server={self.server.directory_url}",
            REQUESTS_CA_BUNDLE=str(self.server.trust),
        )

    def issue(self, names: list[str], key: str) -> Issued:
        kinds = {
            RSA: ["--key-type=rsa", "--rsa-key-size=2048"],
            P256: ["--key-type=ecdsa", "--elliptic-curve=secp256r1"],
            P384: ["--key-type=ecdsa", "--elliptic-curve=secp384r1"],
        }
        self.certbot(
            "certonly",
            "--agree-tos",
            f"--email={EMAIL}",
            "--no-eff-email",
            "--manual",
            "--preferred-challenges=dns",
            f"--manual-auth-hook={self.hook}",
            "--cert-name=test",
            *kinds[key],
            *(f"--{'ip-address' if is_address(name) else 'domain'}={name}" for name in names),
        )
        return self._live()

    def _live(self) -> Issued:
        live = self.home / "config/live/test"
        return Issued(live / "cert.pem", live / "chain.pem", live / "privkey.pem")

    def renew(self, issued: Issued) -> Issued:
        """Get a new certificate for the same names."""
        self.certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")
        return self._live()

    def revoke(self, issued: Issued) -> None:
        """Revoke by the account, for a reason."""
        self.certbot(
            "revoke", f"--cert-path={issued.certificate}", "--reason=superseded", "--no-delete-after-revoke"
        )

    def revoke_by_key(self, issued: Issued) -> None:
        """Revoke by the certificate's key."""
        self.certbot(
            "revoke",
            f"--cert-path={issued.certificate}",
            f"--key-path={issued.key}",
            "--no-delete-after-revoke",
        )

    def update(self) -> None:
        """Change the account's contact to OTHER_EMAIL."""
        self.certbot("update_account", f"--email={OTHER_EMAIL}", "--no-eff-email")

    def deactivate(self) -> None:
        """Give the account up."""
        self.certbot("unregister")


class Lego(Client):
    """Traefik's and many others' library, by its command line."""

    package = "lego"
    program = "lego"

    def lego(self, issued: Issued | None, *command: str) -> Ran:
        """Run a command for the names of the first ``issue``."""
        return self.run(
            f"--server={self.server.directory_url}",
            "--accept-tos",
            f"--email={EMAIL}",
            "--dns=exec",
            f"--path={self.home}",
            f"--key-type={self._kind}",
            *(f"--domains={name}" for name in self._names),
            *command,
            LEGO_CA_CERTIFICATES=str(self.server.trust),
            EXEC_PATH=str(self.hook),
        )

    def issue(self, names: list[str], key: str) -> Issued:
        self._names = names
        self._kind = {RSA: "rsa2048", P256: "ec256", P384: "ec384"}[key]
        self.lego(None, "run")
        base = self.home / "certificates" / names[0].replace("*", "_").replace(":", "-")
        return Issued(*(Path(f"{base}.{end}") for end in ("crt", "issuer.crt", "key")))

    def renew(self, issued: Issued) -> Issued:
        """Get a new certificate for the same names."""
        self.lego(issued, "renew", "--days=400", "--no-random-sleep")
        return issued

    def revoke(self, issued: Issued) -> None:
        """Revoke by the account, for a reason."""
        self.lego(issued, "revoke", "--keep", "--reason=4")


class Uacme(Client):
    """A client in C, which calls its hook for every challenge."""

    package = "uacme"
    program = "uacme"

    def __init__(self, server: RunningServer, home: Path) -> None:
        super().__init__(server, home)
        for directory in ("lib", "roots"):
            (home / directory).mkdir()
        shutil.copy(server.trust, home / "roots/root.pem")
        linked = re.search(r"(libcurl\S*) => (\S+)", run("ldd", self.path).must_succeed().output)
        assert linked is not None
        octets = Path(linked[2]).read_bytes()
        assert octets.count(_STORE + b"\0") == 1, linked[2]
        (home / "lib" / linked[1]).write_bytes(octets.replace(_STORE, b"roots".ljust(len(_STORE), b"\0")))

    def uacme(self, *arguments: str | Path) -> Ran:
        """Run it with a copy of libcurl that looks for roots in the client's home.

        It takes them from the system's store alone: with GnuTLS there is no variable, and uacme has no option.
        """
        return run(
            self.path,
            f"--acme-url={self.server.directory_url}",
            f"--confdir={self.home}",
            "--yes",
            f"--hook={self.hook}",
            *arguments,
            cwd=self.home,
            env={"LD_LIBRARY_PATH": str(self.home / "lib")},
        ).must_succeed()

    def issue(self, names: list[str], key: str) -> Issued:
        if not (self.home / "private/key.pem").exists():
            self.uacme("new", EMAIL)
        kinds = {RSA: ("RSA", "2048"), P256: ("EC", "256"), P384: ("EC", "384")}
        type, bits = kinds[key]
        self._arguments = ("--force", f"--type={type}", f"--bits={bits}", "issue", *names)
        self.uacme(*self._arguments)
        folder = names[0].replace("*.", "")
        certificate = self.home / folder / "cert.pem"
        return Issued(certificate, certificate, self.home / "private" / folder / "key.pem")

    def renew(self, issued: Issued) -> Issued:
        """Get a new certificate for the same names."""
        self.uacme(*self._arguments)
        return issued

    def revoke(self, issued: Issued) -> None:
        """Revoke by the account, for a reason. It moves the file aside, so it gets a copy."""
        self.uacme("--reason=4", "revoke", shutil.copy(issued.certificate, self.home / "revoked.pem"))

    def revoke_by_key(self, issued: Issued) -> None:
        """Revoke by the certificate's key."""
        self.uacme("revoke", shutil.copy(issued.certificate, self.home / "revoked.pem"), issued.key)

    def update(self) -> None:
        """Change the account's contact to OTHER_EMAIL."""
        self.uacme("update", OTHER_EMAIL)

    def roll_key(self) -> None:
        """Give the account, whose key is RSA, one on P-384."""
        self.uacme("--type=EC", "--bits=384", "newkey")

    def deactivate(self) -> None:
        """Give the account up."""
        self.uacme("deactivate")


class Dehydrated(Client):
    """A client in Bash, with curl and openssl."""

    package = "dehydrated"
    program = "dehydrated"

    def dehydrated(self, *arguments: str | Path, email: str = EMAIL) -> Ran:
        """Run it with a configuration of its own."""
        settings = {
            "ACCOUNT_KEYSIZE": "2048",  # as the certificates' keys; 4096 take seconds to make
            "BASEDIR": self.home,
            "CA": self.server.directory_url,
            "CHALLENGETYPE": "dns-01",
            "CONTACT_EMAIL": email,
            "CURL_OPTS": f"--cacert {self.server.trust}",
            "HOOK": self.hook,
            "KEYSIZE": "2048",
        }
        config = self.home / "config"
        config.write_text("".join(f'{name}="{value}"\n' for name, value in settings.items()))
        return self.run(*arguments, "--config", config)

    def __init__(self, server: RunningServer, home: Path) -> None:
        super().__init__(server, home)
        # The hook hears of everything; what concerns challenges has these names.
        challenges = "deploy_challenge|clean_challenge|invalid_challenge"
        self.hook = self._script("hook", f'case "$1" in {challenges}) echo "$@" >>{self.mark};; esac')

    def issue(self, names: list[str], key: str) -> Issued:
        if not (self.home / "accounts").exists():
            self.dehydrated("--register", "--accept-terms")
        kind = {RSA: "rsa", P256: "prime256v1", P384: "secp384r1"}[key]
        named = [part for name in names for part in ("--domain", name)]
        self._arguments = ("--cron", "--force", *named, "--alias", "test", "--algo", kind)
        self._cron()
        made = self.home / "certs/test"
        return Issued(made / "cert.pem", made / "chain.pem", made / "privkey.pem")

    def renew(self, issued: Issued) -> Issued:
        """Get a new certificate for the same names."""
        self._cron()
        return issued

    def _cron(self) -> None:
        """Get a certificate in a second of its own: of two in one second, the later takes the CSR of the earlier."""
        time.sleep(1 - time.time() % 1)
        self.dehydrated(*self._arguments)

    def revoke(self, issued: Issued) -> None:
        """Revoke by the account; with a certificate's key it looks for that key's account first, and fails.

        It moves the file aside, so it gets a copy.
        """
        self.dehydrated("--revoke", shutil.copy(issued.certificate, self.home / "revoked.pem"))

    def update(self) -> None:
        """Change the account's contact to OTHER_EMAIL."""
        self.dehydrated("--account", email=OTHER_EMAIL)

    def deactivate(self) -> None:
        """Give the account up."""
        self.dehydrated("--deactivate")


class AcmeTiny(Client):
    """200 lines of Python that sign what openssl made."""

    package = "acme-tiny"
    program = "acme-tiny"

    def __init__(self, server: RunningServer, home: Path) -> None:
        super().__init__(server, home)
        self.mark = home / "challenges"  # it has no hook, but puts files here
        self._account = home / "account.pem"
        run("openssl", "genrsa", "-out", self._account, "2048").must_succeed()

    def issue(self, names: list[str], key: str) -> Issued:
        kinds = {
            RSA: ("rsa", "rsa_keygen_bits:2048"),
            P256: ("ec", "ec_paramgen_curve:P-256"),
            P384: ("ec", "ec_paramgen_curve:P-384"),
        }
        algorithm, option = kinds[key]
        sans = ",".join(f"DNS:{name}" for name in names)
        key_file, csr = self.home / "key.pem", self.home / "csr.pem"
        new_key = ("-newkey", algorithm, "-pkeyopt", option, "-nodes", "-keyout", key_file)
        request = ("-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={sans}", "-out", csr)
        run("openssl", "req", "-new", *new_key, *request).must_succeed()
        return self._sign(EMAIL)

    def _sign(self, email: str) -> Issued:
        chain = self.home / "chain.pem"
        ran = self.run(
            f"--directory-url={self.server.directory_url}",
            f"--account-key={self._account}",
            f"--csr={self.home / 'csr.pem'}",
            f"--acme-dir={self.mark}",
            "--quiet",
            "--contact",
            f"mailto:{email}",
            SSL_CERT_FILE=str(self.server.trust),
        )
        chain.write_text(ran.output[ran.output.index("-----BEGIN") :])
        return Issued(chain, chain, self.home / "key.pem")

    def renew(self, issued: Issued) -> Issued:
        """Get a new certificate for the same names and key."""
        return self._sign(EMAIL)

    def update(self) -> None:
        """Change the account's contact to OTHER_EMAIL, which it does with each certificate."""
        self._sign(OTHER_EMAIL)
