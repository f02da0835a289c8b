"""The settings of issuers whose keys are elsewhere."""

from __future__ import annotations

from datetime import timedelta

import attrs

from certctl.settings_declaration import Section
from certctl.settings_parsing import duration
from certctl.settings_pki import PkiSettings
from certctl.settings_values import DAY, HOUR, MINUTE, SECOND

SIGNERS = Section("Signers elsewhere")


@attrs.frozen(kw_only=True)
class SigningSettings(PkiSettings):
    """A part of ``Settings``, on top of another: classes with slots have one base."""

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
