"""The settings of the console."""

from __future__ import annotations

from datetime import timedelta

import attrs

from certctl import settings_parsing as kinds
from certctl.settings_declaration import Section
from certctl.settings_parsing import duration
from certctl.settings_signing import SigningSettings
from certctl.settings_values import DAY, HOUR, MINUTE

CONSOLE = Section("Console")


@attrs.frozen(kw_only=True)
class ConsoleSettings(SigningSettings):
    """A part of ``Settings``."""

    console_enabled: bool = CONSOLE.setting(
        kinds.BOOLEAN,
        True,
        "Whether there is a web console under `/console/`. It needs the REST API: with `CERTCTL_AUTH_TYPE=none` there "
        "is none.",
    )
    console_session_idle: timedelta = CONSOLE.setting(
        duration(MINUTE, DAY),
        30 * MINUTE,
        "How long somebody stays signed in at the console without using it.",
    )
    console_session_lifetime: timedelta = CONSOLE.setting(
        duration(MINUTE, 7 * DAY), 12 * HOUR, "How long somebody stays signed in at the console at most."
    )
