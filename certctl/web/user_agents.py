"""Which client a User-Agent names: one of a few families, whatever a stranger may send."""

from __future__ import annotations

OTHER = "other"
READ = 200  # octets of a header that are looked at; the clients below name themselves in the first 60

# What is in the header, in lower case, and the family. The first that is found counts, so whoever is built on
# another's library stands before it.
FAMILIES: tuple[tuple[bytes, str], ...] = (
    (b"traefik/", "Traefik"),  # containous-traefik/3.1.6 xenolf-acme/4.18.0 (release; linux; amd64)
    (b"xenolf-acme/", "lego"),  # lego-cli/dev xenolf-acme/4.9.1 (release; linux; amd64)
    (b"lego-cli", "lego"),
    (b"goacme-lego", "lego"),
    (b"cert-manager", "cert-manager"),  # cert-manager-clusterissuers/v1.15.0 (linux/amd64) cert-manager/...
    (b"caddy", "Caddy"),  # Caddy/2.6.2 CertMagic acmez (linux; amd64)
    (b"certbot", "certbot"),  # CertbotACMEClient/5.8.0 (certbot; Debian GNU/Linux 12 ...)
    (b"dehydrated/", "dehydrated"),  # dehydrated/0.7.1 curl/7.88.1
    (b"acme.sh/", "acme.sh"),  # acme.sh/3.0.7 (https://github.com/acmesh-official/acme.sh)
    (b"uacme/", "uacme"),  # uacme/1.7.4 (https://github.com/ndilieto/uacme)
    (b"win-acme/", "win-acme"),  # win-acme/2.2.9.1701 (+https://github.com/win-acme/win-acme)
    (b"posh-acme/", "Posh-ACME"),  # Posh-ACME/4.20.0 PowerShell/7.4.0
    (b"mod_md/", "mod_md"),  # Apache/2.4.57 mod_md/2.4.25
    (b"go-http-client/", "Go-http-client"),  # programs in Go that do not say who they are
)
NAMES = (*dict.fromkeys(name for _, name in FAMILIES), OTHER)


def family(header: bytes) -> str:
    """The family of a User-Agent header; ``other`` for none of them and for no header."""
    said = header[:READ].lower()
    return next((name for mark, name in FAMILIES if mark in said), OTHER)
