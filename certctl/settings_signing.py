"""The settings of issuers whose keys are encrypted, or elsewhere."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import attrs

from certctl import settings_parsing as kinds
from certctl.settings_declaration import Section
from certctl.settings_parsing import Kind, comma_list, duration, optional
from certctl.settings_pki import PkiSettings
from certctl.settings_values import DAY, HOUR, MINUTE, SECOND

KEYS = Section("CA keys under a passphrase")
SIGNERS = Section("Signers elsewhere")
CREDENTIAL = "ca-passphrase"  # of systemd's LoadCredential=


_SIGNER_MODULE = re.compile(r"(iss-[a-z0-9][a-z0-9._-]{0,58})=([A-Za-z_][\w.]*):([A-Za-z_]\w*)", re.ASCII)


@attrs.frozen
class SignerModule:
    """An issuer that a function of somebody else's module makes."""

    issuer_id: str
    module: str
    function: str


def _signer_module(text: str) -> SignerModule:
    found = _SIGNER_MODULE.fullmatch(text)
    if found is None:
        raise ValueError
    return SignerModule(*found.groups())


SIGNER_MODULE = Kind(
    name="`iss-NAME=module:function`",
    allowed="an issuer's id and the function that makes it, such as iss-vault=our_signer.vault:make",
    parse=_signer_module,
    render=lambda each: f"{each.issuer_id}={each.module}:{each.function}",
)


@attrs.frozen(kw_only=True)
class SigningSettings(PkiSettings):
    """A part of ``Settings``, on top of another: classes with slots have one base."""

    ca_passphrase_file: Path | None = KEYS.setting(
        optional(kinds.PATH),
        None,
        "The file with the passphrase of the private keys of CAs and OCSP responders. With one, keys that the server"
        " makes are encrypted; those that are there are encrypted by `certctl ca encrypt-keys`.",
        default_words=f"systemd's credential `{CREDENTIAL}`, if there is one",
    )
    signer_modules: tuple[SignerModule, ...] = SIGNERS.setting(
        comma_list(SIGNER_MODULE),
        (),
        "Issuers of your own, by the functions that make them: docs/signers.md says what such an issuer is.",
    )
    signer_timeout: timedelta = SIGNERS.setting(
        duration(SECOND, HOUR),
        MINUTE // 2,
        "How long an issuer that does not sign at once may take for an answer, before it is asked again.",
    )
    signer_deadline: timedelta = SIGNERS.setting(
        duration(SECOND, 30 * DAY),
        HOUR,
        "How long an order may wait for the certificate of such an issuer, before it fails.",
    )
