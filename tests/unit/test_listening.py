"""Sockets that a server is started with, and those that it makes itself."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from certctl.listening import Sockets, handed_over, listening_socket, take
from certctl.settings import Settings


class TakeTests(SynchronousTestCase):
    def listening(self) -> socket.socket:
        """A socket that somebody else made."""
        made = listening_socket("127.0.0.1", 0)
        self.addCleanup(made.close)
        return made

    def take(self, *handed: tuple[str, socket.socket], **settings: object) -> Sockets:
        """What a server makes of the sockets that it is handed."""
        taken = take(
            Settings(**{"server_port": 0, **settings}),  # type: ignore[arg-type]
            [(name, each.detach()) for name, each in handed],
        )
        self.addCleanup(taken.close)
        return taken

    def test_by_name(self) -> None:
        """What is called pki is for plain HTTP, everything else for TLS; nothing else is opened."""
        one, two, three = (self.listening() for _ in range(3))
        ports = [each.getsockname()[1] for each in (one, two, three)]
        taken = self.take(("certctl.socket", one), ("pki", two), ("", three), pki_http_port=1)
        self.assertEqual([each.getsockname()[1] for each in taken.tls], [ports[0], ports[2]])
        self.assertEqual([each.getsockname()[1] for each in taken.plain], [ports[1]])
        self.assertEqual([name for name, _ in taken.named()], ["tls", "tls", "pki"])
        for _, each in taken.named():
            self.assertFalse(each.getblocking())
            self.assertFalse(each.get_inheritable())

    def test_what_is_missing_is_made(self) -> None:
        """Who is handed one kind of socket makes the other where the settings ask for it."""
        taken = self.take(("pki", self.listening()))
        self.assertEqual([len(taken.tls), len(taken.plain)], [1, 1])
        self.assertEqual([len(each) for each in attrs_of(self.take())], [1, 0])
        self.assertEqual([len(each) for each in attrs_of(self.take(pki_http_port=0))], [1, 1])

    def test_no_listening_socket(self) -> None:
        """A descriptor that is something else ends the start with one sentence."""
        connected, other = socket.socketpair()
        self.addCleanup(other.close)
        for wrong in (connected, socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)):
            number = wrong.fileno()
            error = self.assertRaises(SystemExit, self.take, ("x", wrong))
            self.assertEqual(str(error), f"certctl: file descriptor {number} (x) is no listening TCP socket")

    def test_port_in_use(self) -> None:
        """The sentence names the setting."""
        port = self.listening().getsockname()[1]
        error = self.assertRaises(SystemExit, self.take, server_port=port)
        self.assertEqual(
            str(error),
            f"certctl: cannot listen on 127.0.0.1:{port} (Address already in use): set CERTCTL_SERVER_PORT",
        )
        error = self.assertRaises(SystemExit, self.take, pki_http_port=port)
        self.assertIn("set CERTCTL_PKI_HTTP_PORT", str(error))

    def test_another_port_than_set(self) -> None:
        """Where the operator's command would look elsewhere, that is said."""
        one = self.listening()
        port = one.getsockname()[1]
        taken = self.take(("", one))
        self.assertEqual(list(taken.warnings(Settings(server_port=port))), [])
        (warning,) = taken.warnings(Settings(server_port=1))
        self.assertIn(f"socket on port {port}, but CERTCTL_SERVER_PORT is 1", warning)

    def test_nothing_handed_over(self) -> None:
        """Names alone are nothing."""
        self.assertEqual(list(handed_over({"LISTEN_FDNAMES": "tls:pki"})), [])


def attrs_of(taken: Sockets) -> tuple[tuple[socket.socket, ...], ...]:
    return taken.tls, taken.plain
