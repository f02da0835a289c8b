"""The sockets that a server listens on: its own, or those that it was started with (man 3 sd_listen_fds)."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.tcp import Port, Server

from certctl.settings import Settings

BACKLOG = 1024
TLS, PLAIN = "tls", "pki"  # what they are called; systemd's FileDescriptorName=


@attrs.frozen
class Sockets:
    """What a server listens on: for TLS, and for plain HTTP below /pki/."""

    tls: tuple[socket.socket, ...]
    plain: tuple[socket.socket, ...]

    def named(self) -> Iterator[tuple[str, socket.socket]]:
        """All of them, by what they are called when they are handed on."""
        yield from ((TLS, each) for each in self.tls)
        yield from ((PLAIN, each) for each in self.plain)

    def close(self) -> None:
        """Let go of them; whoever has a copy goes on."""
        for _, each in self.named():
            each.close()

    def warnings(self, settings: Settings) -> Iterator[str]:
        """A sentence for each port that was handed over and is not the one that the settings name."""
        for each in self.tls:
            port = each.getsockname()[1]
            if port != settings.server_port:
                yield (
                    f"the server was started with a socket on port {port}, but CERTCTL_SERVER_PORT is "
                    f"{settings.server_port}: the command certctl looks for the server there"
                )


def take(settings: Settings, handed: Iterable[tuple[str, int]]) -> Sockets:
    """The sockets of those descriptors, and for what there is none, sockets on what the settings name.

    Exits with one sentence if one cannot be had. May need root, for a port below 1024.
    """
    tls: list[socket.socket] = []
    plain: list[socket.socket] = []
    for name, descriptor in handed:
        found = _listening(descriptor)
        if found is None:
            raise SystemExit(f"certctl: file descriptor {descriptor} ({name}) is no listening TCP socket")
        (plain if name == PLAIN else tls).append(found)
    if not tls:
        tls.append(_bound(settings.server_host, settings.server_port, "CERTCTL_SERVER_PORT"))
    if not plain and settings.pki_http_port is not None:
        plain.append(_bound(settings.pki_http_host, settings.pki_http_port, "CERTCTL_PKI_HTTP_PORT"))
    return Sockets(tuple(tls), tuple(plain))


def handed_over(environ: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Name and descriptor of each socket that this process was started with.

    Twisted has taken LISTEN_PID and LISTEN_FDS out of the environment; its endpoints know the descriptors.
    """
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    for number, name in enumerate(names):
        try:
            endpoint: Any = serverFromString(None, f"systemd:domain=INET:index={number}")
        except IndexError:
            return
        yield name, endpoint.fileno


def _listening(descriptor: int) -> socket.socket | None:
    """The socket of a descriptor, if it is one on which TCP connections are taken."""
    try:
        found = socket.socket(fileno=descriptor)
        accepts = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        return None
    of_internet = found.family in (socket.AF_INET, socket.AF_INET6)
    if not (of_internet and found.type == socket.SOCK_STREAM and accepts):
        return None
    found.setblocking(False)
    found.set_inheritable(False)
    return found


def _bound(host: str, port: int, setting: str) -> socket.socket:
    try:
        return listening_socket(host, port)
    except OSError as error:
        raise SystemExit(
            f"certctl: cannot listen on {host}:{port} ({error.strerror}): set {setting}"
        ) from None


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; raise OSError if that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


class PromptServer(Server):
    """A connection whose octets are sent when they are written, as long as the socket takes them.

    Twisted asks the kernel to tell when the socket takes octets, is told so, sends, and asks no more: three system
    calls beside the one that sends. What the socket does not take, or what goes wrong, is left to that way.
    """

    def write(self, data: bytes) -> None:
        """Send, or keep for later what cannot be sent now."""
        if self.connected and not self._writeDisconnected and not self.dataBuffer and not self._tempDataLen:
            sent = self.writeSomeData(data)
            if isinstance(sent, int) and sent > 0:
                data = data[sent:]
        if data:
            super().write(data)


class SharedPort(Port):
    """A port on a socket that other processes accept from too: takes one connection at a time.

    Twisted's takes all that wait, and clients keep their connections: one process would get the work of all.
    """

    @property
    def numberAccepts(self) -> int:
        """How many connections are taken before something else gets its turn."""
        return 1

    @numberAccepts.setter
    def numberAccepts(self, _: int) -> None:
        """Twisted's way of adapting it."""


def serve(reactor: Any, listening: socket.socket, factory: Any, *, shared: bool) -> IListeningPort:
    """Answer on a socket, of which the port has a copy; the one that was given is closed."""
    kind = SharedPort if shared else Port
    port: Any = kind._fromListeningDescriptor(reactor, listening.fileno(), listening.family, factory)
    port.transport = PromptServer
    port.startListening()
    listening.close()
    return port  # type: ignore[no-any-return]
