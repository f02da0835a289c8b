"""The walkthroughs of docs/, walked: each block of commands and configuration, by the programs that they name."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.integration.machine import ADDRESS, DEBIAN, NEWEST, Machine, unusable, walk

NAMES = "certctl.corp.example www.corp.example wiki.internal whoami.corp.example wiki.corp.example"
SETTINGS = {
    "CERTCTL_ACME_SERVER_ENABLED": "true",
    "CERTCTL_SERVER_HOST": "0.0.0.0",
    "CERTCTL_SERVER_EXTERNAL_URL": "https://certctl.corp.example:8443",
    "CERTCTL_LOG_FORMAT": "text",
    "CERTCTL_ACME_SERVER_DNS01_RESOLVER": f"{ADDRESS}:53",
}


class WalkthroughCase(TestCase):
    """A machine with a certctl, as the pages ask for."""

    skip = unusable()

    def machine(self, path: str = NEWEST) -> Machine:
        """A machine that ends with the test."""
        machine = Machine(NAMES, path)
        self.addCleanup(machine.end)
        machine.serve(SETTINGS)
        return machine


class CaddyTests(WalkthroughCase):
    """docs/acme-caddy-walkthrough.md."""

    def test_debian(self) -> None:
        """With the version of Debian 12."""
        walk("acme-caddy-walkthrough.md", self.machine(DEBIAN))

    def test_newest(self) -> None:
        """With that of today."""
        walk("acme-caddy-walkthrough.md", self.machine(NEWEST))


class TraefikTests(WalkthroughCase):
    """docs/acme-traefik-walkthrough.md."""

    def test_newest(self) -> None:
        """With the version of today; Debian has none."""
        walk("acme-traefik-walkthrough.md", self.machine())


class ClientTests(WalkthroughCase):
    """docs/acme-clients.md."""

    def test_debian(self) -> None:
        """With the versions of Debian 12, and certbot of today."""
        walk("acme-clients.md", self.machine(DEBIAN))
