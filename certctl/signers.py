"""Who signs, opened at the start: the CA whose key is here, and issuers that others have written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from certctl.issuance.issuer import INTERNAL_ISSUER_ID, Issuer, IssuerError, StatusSigner
from certctl.issuance.local import LocalCA
from certctl.issuance.passphrase import Passphrase
from certctl.issuance.status import LocalStatusSigner
from certctl.settings import Settings
from certctl.settings_signing import SignerModule
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


def others(settings: Settings, reactor: Any) -> dict[str, Issuer]:
    """The issuers that CERTCTL_SIGNER_MODULES names, by their ids; raises IssuerError."""
    return {each.issuer_id: _made(each, reactor) for each in settings.signer_modules}


def speaking(
    others: Mapping[str, Any], own: Mapping[str, LocalCA], state: Path, passphrase: Passphrase | None
) -> dict[str, StatusSigner]:
    """Who signs CRLs and OCSP answers: our own, and those of other people's issuers that do that as well."""
    found = {id: each for id, each in others.items() if hasattr(each, "sign_crl")}
    return {**found, **{id: LocalStatusSigner(each, state, passphrase) for id, each in own.items()}}


def _made(named: SignerModule, reactor: Any) -> Issuer:
    """What the function makes that a setting names; any of its faults is a sentence."""
    where = f"CERTCTL_SIGNER_MODULES: {named.module}:{named.function}"
    try:
        issuer: Issuer = getattr(import_module(named.module), named.function)(named.issuer_id, reactor)
        id, wanted, at_once = issuer.id, named.issuer_id, issuer.at_once
        _ = issuer.chain[0], issuer.root, issuer.expires_at
    except IssuerError:
        raise
    except Exception as error:
        raise IssuerError(
            f"{where} makes no issuer ({type(error).__name__}: {error}); see docs/signers.md"
        ) from error
    if id != wanted:
        raise IssuerError(f"{where} made the issuer {id!r} and was asked for {wanted}; name it by its own id")
    if at_once:  # what such a one returns is not checked once more, and may be forgotten
        raise IssuerError(f"{where} made an issuer that is at_once; only the server's own CA may be")
    return issuer
