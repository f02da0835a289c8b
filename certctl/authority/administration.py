"""What operators may do. The REST API and the CLI stand on the use cases named here."""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.acme.objects import AuthMode
from certctl.authority.api_keys import ApiKeys
from certctl.authority.profiles import Profiles
from certctl.authority.trail import Trail
from certctl.storage.database import Database


@attrs.frozen(kw_only=True)
class Administration:
    """The use cases of operators, and the database for what is only looked at."""

    database: Database
    trail: Trail
    default_mode: AuthMode  # of a profile that names none
    api_keys: ApiKeys
    profiles: Profiles

    def now(self) -> datetime:
        """The time, in UTC."""
        return self.trail.now()
