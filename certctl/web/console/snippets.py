"""What to type at the usual clients so that they use a profile, with the right root to trust."""

from __future__ import annotations

import base64
from typing import Any

import attrs

EMAIL = "you@example.com"
NAME = "host.corp.example"


@attrs.frozen
class Snippet:
    """A command, or a piece of configuration, for one client."""

    client: str
    words: str
    text: str


def of(profile: Any, root: str) -> list[Snippet]:
    """The snippets for a profile; ``root`` is the certificate in PEM that clients must trust."""
    url, bound = profile.directory_url, profile.policy.get("eab") == "required"
    return [
        _certbot(url, bound),
        _lego(url, bound),
        _cert_manager(url, bound, root),
        _caddy(url, bound),
        _traefik(url, bound),
    ]


def _certbot(url: str, bound: bool) -> Snippet:
    key = " \\\n    --eab-kid KEY-ID --eab-hmac-key MAC-KEY" if bound else ""
    text = (
        f"REQUESTS_CA_BUNDLE=root-ca.pem certbot certonly --server {url} \\\n"
        f"    --standalone --non-interactive --agree-tos --email {EMAIL} --domain {NAME}{key}"
    )
    return Snippet("certbot", "The variable is needed for each renewal as well.", text)


def _lego(url: str, bound: bool) -> Snippet:
    key = " \\\n    --eab --kid KEY-ID --hmac MAC-KEY" if bound else ""
    text = (
        f"LEGO_CA_CERTIFICATES=root-ca.pem lego --server {url} \\\n"
        f"    --accept-tos --email {EMAIL} --domains {NAME} --http{key} run"
    )
    return Snippet("lego", "The variable is needed for each renewal as well.", text)


def _cert_manager(url: str, bound: bool, root: str) -> Snippet:
    bundle = base64.b64encode(root.encode("ascii")).decode("ascii")
    key = (
        "    externalAccountBinding:\n      keyID: KEY-ID\n      keySecretRef: {name: certctl-eab, key: mac-key}\n"
        if bound
        else ""
    )
    text = (
        "apiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata:\n  name: certctl\nspec:\n  acme:\n"
        f"    server: {url}\n    caBundle: {bundle}\n    privateKeySecretRef:\n      name: certctl-account-key\n{key}"
        "    solvers:\n      - http01:\n          ingress:\n            ingressClassName: nginx\n"
    )
    return Snippet("cert-manager", "The root is in it. For kubectl apply -f.", text)


def _caddy(url: str, bound: bool) -> Snippet:
    key = "    acme_eab {\n        key_id KEY-ID\n        mac_key MAC-KEY\n    }\n" if bound else ""
    text = f"{{\n    acme_ca {url}\n    acme_ca_root /etc/caddy/root-ca.pem\n    email {EMAIL}\n{key}}}\n"
    return Snippet("Caddy", "At the top of the Caddyfile.", text)


def _traefik(url: str, bound: bool) -> Snippet:
    key = "      eab:\n        kid: KEY-ID\n        hmacEncoded: MAC-KEY\n" if bound else ""
    text = (
        "certificatesResolvers:\n  certctl:\n    acme:\n"
        f"      caServer: {url}\n      caCertificates: [/etc/traefik/root-ca.pem]\n      email: {EMAIL}\n"
        f"      storage: /var/lib/traefik/acme.json\n{key}      tlsChallenge: {{}}\n"
    )
    return Snippet(
        "Traefik", "In the static configuration; with Traefik 2, LEGO_CA_CERTIFICATES names the root.", text
    )
