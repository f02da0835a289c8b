from __future__ import annotations

import base64

import yaml

from certctl.web.console import snippets
from certctl.web.console.snippets import Snippet
from tests.unit.web.bench import DEFAULT, ISSUER, ORIGIN
from tests.unit.web.console.cases import ConsoleCase, Visitor

URL = f"{ORIGIN}/acme/profile/{DEFAULT}/directory"


class Profile:
    """As much of the API's document as snippets look at."""

    def __init__(self, **policy: str) -> None:
        self.directory_url = URL
        self.policy = policy


class SnippetTests(ConsoleCase):
    def of(self, **policy: str) -> dict[str, Snippet]:
        """The snippets, by their client."""
        root = self.ok("GET", f"issuers/{ISSUER}")["root"]
        return {each.client: each for each in snippets.of(Profile(**policy), root)}

    def test_cert_manager(self) -> None:
        """The ClusterIssuer has the directory, and the root as cert-manager takes it."""
        acme = yaml.safe_load(self.of()["cert-manager"].text)["spec"]["acme"]
        self.assertEqual(acme["server"], URL)
        self.assertTrue(base64.b64decode(acme["caBundle"]).startswith(b"-----BEGIN CERTIFICATE-----"))
        bound = yaml.safe_load(self.of(eab="required")["cert-manager"].text)["spec"]["acme"]
        self.assertEqual(bound["externalAccountBinding"]["keyID"], "KEY-ID")

    def test_traefik(self) -> None:
        """The resolver has the directory, and a key where one is asked for."""
        resolver = yaml.safe_load(self.of(eab="required")["Traefik"].text)["certificatesResolvers"][
            "certctl"
        ]["acme"]
        self.assertEqual((resolver["caServer"], resolver["eab"]["kid"]), (URL, "KEY-ID"))

    def test_keys_where_they_are_asked_for(self) -> None:
        """No snippet has a place for a key unless the profile asks for one; all have the directory."""
        for client, each in self.of().items():
            self.assertNotIn("KEY-ID", each.text, client)
            self.assertIn(URL, each.text, client)
        for client, each in self.of(eab="required").items():
            self.assertIn("KEY-ID", each.text, client)
            self.assertIn("MAC-KEY" if client != "cert-manager" else "mac-key", each.text, client)

    def test_on_the_page(self) -> None:
        """A profile's page has all of them."""
        visitor = Visitor(self.bench)
        visitor.sign_in("boss-key")
        said = self.words(visitor, f"profiles/{DEFAULT}")
        for client in ("certbot", "lego", "cert-manager", "Caddy", "Traefik"):
            self.assertIn(client, said)
