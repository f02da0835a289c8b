"""``twistd certctl``: one server, or the parent of several workers. Only this module knows the reactor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.python.usage import Options as UsageOptions

from certctl.settings import Settings, SettingsError


class Options(UsageOptions):
    """The command line of ``twistd certctl``; everything else is a setting."""

    optParameters = [
        ["settings", "s", None, "File of CERTCTL_ settings; the environment wins over it."],
        [
            "worker",
            None,
            None,
            "Which worker this is: for the parent that starts it, and for nobody else.",
            int,
        ],
    ]


def makeService(options: Mapping[str, Any]) -> Service:
    """Return the server's service; exit with one sentence if the settings are wrong.

    A parent imports nothing of the server, so that it stays small.
    """
    from twisted.internet import reactor

    file = options["settings"]
    try:
        settings = Settings.load(os.environ, Path(file) if file else None)
    except SettingsError as error:
        raise SystemExit(f"certctl: {error}") from None
    if settings.server_workers > 1:
        from certctl.supervisor import Supervisor

        return Supervisor(settings, ("--settings", file) if file else (), reactor)

    from certctl.channel import Parent
    from certctl.tap import Daemon

    number = options["worker"]
    return Daemon(settings, reactor, Parent(number) if number is not None else None)
