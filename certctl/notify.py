"""What a server tells whoever started it and looks after it: systemd (man 3 sd_notify), or the parent of workers."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

MILLION = 1_000_000


class Notifier:
    """Tells how the server is, in systemd's words; a message that nobody takes is lost."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send

    def ready(self, status: str) -> None:
        """It answers requests, for the first time or after ``reloading``."""
        self._tell("READY=1", _status(status))

    def status(self, status: str) -> None:
        """What it is doing, for people."""
        self._tell(_status(status))

    def reloading(self) -> None:
        """It reads again what may have changed; ``ready`` follows."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """It is about to end."""
        self._tell("STOPPING=1", _status("stopping"))

    def alive(self) -> None:
        """It is well: the watchdog may sleep for another while."""
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        self._send("\n".join(lines).encode())


def _status(status: str) -> str:
    return f"STATUS={' '.join(status.split())}"


def to_systemd(environ: Mapping[str, str]) -> Notifier:
    """A notifier for the socket that NOTIFY_SOCKET names, or for nobody."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return Notifier(lambda _: None)
    address = "\0" + address[1:] if address.startswith("@") else address
    speaking = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    speaking.setblocking(False)

    def send(text: bytes) -> None:
        with suppress(OSError):  # who listens may be busy or gone; the server's work goes on
            speaking.sendto(text, address)

    return Notifier(send)


def watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """The seconds within which this process is expected to show that it lives (man 3 sd_watchdog_enabled)."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid) or not microseconds.isdecimal():
        return None
    return int(microseconds) / MILLION or None
