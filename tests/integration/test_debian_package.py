"""The Debian package: built in a clean Debian, installed in another, started, upgraded, rolled back, purged there."""

from __future__ import annotations

import os
import re
import shutil
from functools import cache
from pathlib import Path

import attrs
from twisted.trial.unittest import SkipTest, TestCase

from tests.integration.debian import Folder, FolderServer, Mount, Network, built, clean, temporary, unusable
from tests.integration.server import CHECKOUT, run

CREDENTIALS = "/run/credentials/certctl.service"
KEPT = "/etc/certctl/certctl.env"
CHANGED = (
    "CERTCTL_ACME_SERVER_ENABLED=true\nCERTCTL_LOG_FORMAT=text\nCERTCTL_CA_COMMON_NAME='Corp issuing CA'\n"
)


def repacked(package: Path, script: str, version: str) -> Path:
    """The package with another version, after a script has changed what is in it."""
    place = temporary("package")
    run("dpkg-deb", "--raw-extract", package, place / "root").must_succeed()
    change = f"sed -i 's/^Version: .*/Version: {version}/' DEBIAN/control\n{script}"
    run("sh", "-ec", change, cwd=place / "root").must_succeed()
    made = place / f"certctl_{version}.deb"
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", place / "root", made).must_succeed()
    return made


def install(debian: Folder, package: Path) -> None:
    """Install it for the first time, with what it depends on, as an operator does."""
    script = f"apt-get update; apt-get install --yes --no-install-recommends /mnt/{package.name}"
    debian.shell(script, mounts=(Mount(package.parent, "/mnt"),)).must_succeed()


def replace(debian: Folder, package: Path) -> str:
    """Install another version; dpkg's default is taken where somebody would be asked."""
    script = f"dpkg --force-confold --install /mnt/{package.name}"
    return debian.shell(script, mounts=(Mount(package.parent, "/mnt"),)).must_succeed().output


@cache
def installed() -> tuple[Folder, Path]:
    """A clean Debian with the package, and the package."""
    _, package = built()
    debian = Folder.on(clean())
    install(debian, package)
    return debian, package


@attrs.frozen
class Unit:
    """What the installed unit says about how the server is started."""

    text: str

    def one(self, name: str) -> str:
        """The value of a directive that is there once."""
        (value,) = re.findall(rf"^{name}=(.*)$", self.text, re.MULTILINE)
        return str(value)


class PackageTestCase(TestCase):
    skip = unusable()
    timeout = 1200

    def setUp(self) -> None:
        """Build and install, or remember it."""
        self.debian, self.package = installed()

    def says(self, script: str) -> str:
        """What a script in the Debian says, as root."""
        return self.debian.run("sh", "-ec", script).must_succeed().output


class InstalledTests(PackageTestCase):
    """What the package leaves behind."""

    def test_user(self) -> None:
        """A user of the system, without a shell, to whom alone the state directory is open."""
        user = r"^certctl:x:\d{3}:\d+::/var/lib/certctl:/usr/sbin/nologin"
        self.assertRegex(self.says("getent passwd certctl"), user)
        self.assertEqual(self.says("stat -c '%U:%G %a' /var/lib/certctl"), "certctl:certctl 700\n")

    def test_settings(self) -> None:
        """The sample of all settings, which root alone may read, and which dpkg keeps as it is changed."""
        self.assertEqual(self.says(f"stat -c '%U %a' {KEPT}"), "root 640\n")
        self.assertEqual(self.says(f"cat {KEPT}"), (CHECKOUT / "etc/certctl.env").read_text())
        self.assertIn(KEPT, self.says("dpkg-query --show --showformat='${Conffiles}' certctl"))

    def test_nothing_was_started(self) -> None:
        """The CA is made at the first start, which is the operator's."""
        self.assertEqual(self.says("ls -A /var/lib/certctl"), "")

    def test_unit(self) -> None:
        """The unit starts the package's program as the package's user."""
        text = self.says("cat /lib/systemd/system/certctl.service")
        self.assertEqual(Unit(text).one("User"), "certctl")
        self.assertNotIn("DynamicUser", text)
        self.assertNotIn("/opt/", self.says("cat /lib/systemd/system/certctl*"))
        self.assertTrue(Unit(text).one("ExecStart").startswith("/usr/lib/certctl/bin/twistd "))

    def test_manual(self) -> None:
        """The page of the command has each of its commands, and no macro that man does not know."""
        page = self.says("zcat /usr/share/man/man1/certctl.1.gz")
        for words in ("certctl profile create", "certctl ca bundle", "certctl backup", "certctl doctor"):
            self.assertIn(f".SS {words}", page)
        self.assertEqual(set(re.findall(r"^\.\w+", page, re.MULTILINE)) - _MACROS, set())

    def test_command(self) -> None:
        """The command is on the path, and finds everything without writing anything."""
        self.assertIn("certctl ", self.says("certctl version"))
        done = self.debian.run(
            "sh", "-ec", "certctl version; twistd=/usr/lib/certctl/bin/twistd; $twistd --help", read_only=True
        )
        self.assertIn("certctl", done.must_succeed().output)
        self.assertNotIn("Unable to write to plugin cache", done.output)

    def test_lintian(self) -> None:
        """Debian's checker has nothing to say about the package without the Python packages of others in it."""
        if not shutil.which("lintian"):
            raise SkipTest("lintian is not installed (Debian: lintian)")
        small = repacked(
            self.package,
            "rm -r usr/lib/certctl/lib; sed -i '\\|usr/lib/certctl/lib|d' DEBIAN/md5sums",
            "0.1.0-1",
        )
        options = ("--allow-root", "--suppress-tags=mismatched-override,unused-override")
        done = run("lintian", "--fail-on=error,warning", *options, small).must_succeed()
        self.assertEqual([each for each in done.output.splitlines() if each[:2] in ("E:", "W:")], [])


_MACROS = {".TH", ".SH", ".SS", ".TP", ".PP", ".nf", ".fi", ".B", ".BR"}


class LifeTests(PackageTestCase):
    """From the first start to the purge, in one Debian that nobody else has."""

    def setUp(self) -> None:
        """Begin with a Debian in which the package was installed."""
        before, self.package = installed()
        self.debian = before.again()
        self.network = Network()
        self.addCleanup(self.network.end)
        self.home = temporary("package")

    def server(self) -> FolderServer:
        """The server, started as the unit says."""
        unit = Unit(self.says("cat /lib/systemd/system/certctl.service"))
        uid = self.says(f"id -u {unit.one('User')}; id -g {unit.one('User')}").split()
        name, _, file = unit.one("LoadCredential").partition(":")
        credential = self.home / name
        credential.write_text(self.says(f"cat {file}"))
        os.chown(credential, int(uid[0]), int(uid[1]))
        credential.chmod(0o400)
        variable, _, value = unit.one("Environment").partition("=")
        env = {variable: value.replace("%d", CREDENTIALS), "CREDENTIALS_DIRECTORY": CREDENTIALS}
        command = self.debian.command(
            *unit.one("ExecStart").split(),
            mounts=(Mount(credential, f"{CREDENTIALS}/{name}"),),
            user=":".join(uid),
            network=True,
            env={**env, "STATE_DIRECTORY": "/var/lib/certctl"},
        )
        root = self.debian.upper / "var/lib/certctl/root-ca.pem"
        server = FolderServer(self.home, self.network, command, root)
        self.addCleanup(server.end)
        return server.start()

    def test_life(self) -> None:
        """Each step finds what the one before left: CA, settings, certificates."""
        self.says(f"cat >{KEPT} <<'END'\n{CHANGED}END")
        with self.subTest("first start, and a certificate"):
            server = self.server()
            self.assertIn(
                "Issuer: CN = Corp issuing CA", server.first_certificate("prof-default", "one.internal")
            )
            server.end()
        root = server.root.read_bytes()
        with self.subTest("upgrade"):
            newer = repacked(
                self.package, "echo '# new' >>etc/certctl/certctl.env; rm DEBIAN/md5sums", "99.0-1"
            )
            replace(self.debian, newer)
            self.assertEqual(self.says(f"cat {KEPT}"), CHANGED)
            server = self.server()
            server.first_certificate("prof-default", "two.internal")
            server.end()
        with self.subTest("rollback"):
            self.assertIn("downgrading certctl", replace(self.debian, self.package))
            self.assertIn("0.1.0-1", self.says("dpkg-query --show certctl"))
            server = self.server()
            server.first_certificate("prof-default", "three.internal")
            server.end()
            self.assertEqual(server.root.read_bytes(), root)
        with self.subTest("purge"):
            said = self.debian.shell("apt-get purge --yes certctl").must_succeed().output
            self.assertIn("/var/lib/certctl; remove it if nobody needs them", said)
            self.says(
                "test ! -e /etc/certctl; test ! -e /usr/lib/certctl; test -e /var/lib/certctl/root-ca-key.pem"
            )
