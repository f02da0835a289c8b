"""The settings of issuers whose keys are encrypted, or elsewhere."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import attrs

from certctl import settings_parsing as kinds
from certctl.settings_declaration import Section
from certctl.settings_parsing import duration, optional
from certctl.settings_pki import PkiSettings
from certctl.settings_values import DAY, HOUR, MINUTE, SECOND

KEYS = Section("CA keys under a passphrase")
SIGNERS = Section("Signers elsewhere")
CREDENTIAL = "ca-passphrase"  # of systemd's LoadCredential=


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
