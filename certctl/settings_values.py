"""What some settings may be: the words that they choose from, and the bounds that several share."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from certctl.settings_parsing import integer

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
YEAR = timedelta(days=365)
COUNT = integer(0, 1_000_000)
CONCURRENCY = integer(1, 1000)


class AuthType(StrEnum):
    """How callers of the REST API show who they are."""

    API_KEY = "api-key"
    NONE = "none"


class LogLevel(StrEnum):
    """The least severe event that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


class LogFormat(StrEnum):
    """How an event is written."""

    JSON = "json"
    TEXT = "text"
