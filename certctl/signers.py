"""Who signs, opened at the start: the CA whose key is here."""

from __future__ import annotations

from datetime import datetime

from twisted.logger import Logger

from certctl.issuance.issuer import INTERNAL_ISSUER_ID, IssuerError
from certctl.issuance.local import LocalCA
from certctl.issuance.passphrase import Passphrase
from certctl.settings import Settings
from certctl.start import is_retired
from certctl.storage.database import Database

_log = Logger(namespace="certctl")


async def first_ca(
    settings: Settings, database: Database, passphrase: Passphrase | None, now: datetime
) -> LocalCA | None:
    """The CA with which the server began; None if it was retired, and has ended or gone. Raises IssuerError."""
    retired = await is_retired(database, INTERNAL_ISSUER_ID)
    try:
        return own_ca(settings, passphrase, now, make=not retired)
    except IssuerError as error:
        if not retired:
            raise
        _log.warn("the first issuer, which was retired, signs no CRLs any more: {why}", why=str(error))
        return None


def own_ca(settings: Settings, passphrase: Passphrase | None, now: datetime, *, make: bool = True) -> LocalCA:
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
        make=make,
    )
