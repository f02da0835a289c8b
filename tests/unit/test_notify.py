"""What a service manager is told."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from certctl.notify import Notifier, to_systemd, watchdog


class NotifierTests(SynchronousTestCase):
    def test_words(self) -> None:
        """Each is in the words of sd_notify(3); a status is one line, whatever it is made of."""
        said: list[bytes] = []
        notifier = Notifier(said.append)
        notifier.ready("answers\nREADY=0 requests")
        notifier.status("x")
        notifier.stopping()
        notifier.alive()
        self.assertEqual(
            said,
            [
                b"READY=1\nSTATUS=answers READY=0 requests",
                b"STATUS=x",
                b"STOPPING=1\nSTATUS=stopping",
                b"WATCHDOG=1",
            ],
        )

    def test_reloading(self) -> None:
        """A reload tells the time, by which systemd knows it from an earlier one."""
        said: list[bytes] = []
        Notifier(said.append).reloading()
        first, second = said[0].decode().split("\n")
        self.assertEqual(first, "RELOADING=1")
        told = int(second.removeprefix("MONOTONIC_USEC="))
        self.assertLess(abs(told / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)), 5)

    def test_to_a_path_and_to_an_abstract_name(self) -> None:
        """Both kinds of address that systemd uses are understood."""
        directory = Path(self.mktemp())
        directory.mkdir()
        for address, bound in (
            ("/proc/self/cwd/" + str(directory / "notify"), None),
            (f"@certctl-test-{time.monotonic_ns()}", "\0"),
        ):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
                listening.bind(address if bound is None else bound + address[1:])
                to_systemd({"NOTIFY_SOCKET": address}).alive()
                self.assertEqual(listening.recv(100), b"WATCHDOG=1")

    def test_nobody_listens(self) -> None:
        """Without an address, with an odd one, and with one where nobody is, nothing happens."""
        for environ in ({}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/nowhere/at/all"}):
            to_systemd(environ).ready("x")

    def test_full(self) -> None:
        """Who listens and does not read keeps nobody waiting."""
        address = f"certctl-test-{time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind("\0" + address)
            notifier = to_systemd({"NOTIFY_SOCKET": "@" + address})
            for _ in range(2000):
                notifier.alive()


class WatchdogTests(SynchronousTestCase):
    def test_for_whom(self) -> None:
        """The time is for the process that is named, or for whoever reads it if none is."""
        self.assertEqual(watchdog({"WATCHDOG_USEC": "30000000"}, 7), 30)
        self.assertEqual(watchdog({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "7"}, 7), 1.5)
        for environ in (
            {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"},
            {},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "-1"},
            {"WATCHDOG_USEC": "x"},
        ):
            self.assertIsNone(watchdog(environ, 7), environ)
