"""Who signs, opened at the start: the CA whose key is here."""

from __future__ import annotations

from datetime import datetime

from certctl.issuance.local import LocalCA
from certctl.issuance.passphrase import Passphrase
from certctl.settings import Settings


def own_ca(settings: Settings, passphrase: Passphrase | None, now: datetime) -> LocalCA:
    """The CA of the settings' files, or that of the state directory, made at the first start; raises IssuerError."""
    if settings.ca_cert_path is not None and settings.ca_key_path is not None:
        return LocalCA.from_files(
            settings.ca_cert_path,
            settings.ca_key_path,
            directory=settings.state_dir,
            now=now,
            passphrase=passphrase,
        )
    return LocalCA.open(
        settings.state_dir,
        common_name=settings.ca_common_name,
        root_common_name=settings.ca_root_common_name,
        now=now,
        passphrase=passphrase,
    )
