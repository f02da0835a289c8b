"""Which client a User-Agent names."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from certctl.web.user_agents import FAMILIES, NAMES, READ, family

# What the programs send: those above the line as seen on the wire, those below as their source or their logs have it.
SEEN = (
    (
        "CertbotACMEClient/5.8.0 (certbot; Debian GNU/Linux 12 (bookworm)) Authenticator/manual Installer/None"
        " (certonly; flags: n hook) Py/3.11.7",
        "certbot",
    ),
    ("lego-cli/dev xenolf-acme/4.9.1 (release; linux; amd64)", "lego"),
    ("dehydrated/0.7.0 curl/7.88.1", "dehydrated"),
    ("uacme/1.7.4 (https://github.com/ndilieto/uacme)", "uacme"),
    ("Caddy/2.6.2 CertMagic acmez (linux; amd64)", "Caddy"),
    # ------------------------------------------------------------------------------------------------
    ("Caddy/2.7.6 CertMagic acmez (linux; amd64)", "Caddy"),
    ("containous-traefik/3.1.6 xenolf-acme/4.18.0 (release; linux; amd64)", "Traefik"),
    ("goacme-lego/4.25.1 (release; linux; amd64)", "lego"),
    ("cert-manager-clusterissuers/v1.15.0 (linux/amd64) cert-manager/9f2b4d5", "cert-manager"),
    ("acme.sh/3.0.7 (https://github.com/acmesh-official/acme.sh)", "acme.sh"),
    ("win-acme/2.2.9.1701 (+https://github.com/win-acme/win-acme)", "win-acme"),
    ("Posh-ACME/4.20.0 PowerShell/7.4.0", "Posh-ACME"),
    ("Apache/2.4.57 mod_md/2.4.25", "mod_md"),
    ("Go-http-client/2.0", "Go-http-client"),
)


class FamilyTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Each client is known by what it sends."""
        self.assertEqual([(said, family(said.encode())) for said, _ in SEEN], list(SEEN))

    def test_every_family_is_tried(self) -> None:
        self.assertEqual({name for _, name in SEEN} | {"other"}, set(NAMES))

    def test_others(self) -> None:
        """What is not known is one family, whatever it says."""
        for said in (b"", b"curl/8.5.0", b"Mozilla/5.0", b"\xff\xfe\x00", b"certbo", b"x" * 20_000):
            self.assertEqual(family(said), "other", said[:20])

    def test_case_does_not_matter(self) -> None:
        self.assertEqual(family(b"CADDY/2.7"), "Caddy")

    def test_only_the_beginning_is_read(self) -> None:
        """A header of 16 KB costs no more than one of 200 octets."""
        self.assertEqual(family(b" " * READ + b"uacme/1"), "other")

    def test_marks_are_lower_case(self) -> None:
        """Otherwise they would never be found."""
        self.assertEqual([mark for mark, _ in FAMILIES if mark != mark.lower()], [])
