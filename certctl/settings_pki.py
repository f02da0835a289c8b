"""The settings of what relying parties fetch: CRLs, OCSP answers and issuers' certificates."""

from __future__ import annotations

from datetime import timedelta

import attrs

from certctl import settings_parsing as kinds
from certctl.settings_declaration import Section
from certctl.settings_parsing import duration, optional
from certctl.settings_values import DAY, HOUR, MINUTE, YEAR

PKI = Section("Revocation")


@attrs.frozen(kw_only=True)
class PkiSettings:
    """A part of ``Settings``."""

    pki_url: str | None = PKI.setting(
        optional(kinds.WEB_URL),
        None,
        "Where relying parties reach `/pki/`, such as `http://pki.corp.example`: written into each certificate. If "
        "empty, certificates do not say where their revocation is seen.",
    )
    pki_http_host: str = PKI.setting(
        kinds.LISTENING_ADDRESS, "127.0.0.1", "The address on which `/pki/` is served by plain HTTP."
    )
    pki_http_port: int | None = PKI.setting(
        optional(kinds.PORT),
        None,
        "The TCP port of that. If empty, `/pki/` is served on the server's port alone.",
    )
    pki_crl_lifetime: timedelta = PKI.setting(
        duration(HOUR, YEAR),
        DAY,
        "How long a CRL holds. One is made each quarter of that, and on revocation.",
    )
    pki_crl_shards: int = PKI.setting(
        kinds.POWER_OF_TWO,
        1,
        "How many CRLs the revocations are split into, for certificates issued from now on.",
    )
    pki_ocsp_lifetime: timedelta = PKI.setting(
        duration(MINUTE, YEAR), HOUR, "How long an OCSP answer holds, and so how long servers may staple it."
    )
