"""Answers to http-01 challenges, and the DNS that leads to them, in one process on loopback.

A request's Host header tells the client that it is about (names begin with ``c<number>-``), and the client's
key tells the answer, so nobody has to announce a token first.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkContext
from typing import cast

import attrs

LOOPBACK = "127.0.0.1"
CLIENT = re.compile(rb"\r\nhost:\s*c(\d+)-", re.IGNORECASE)
TOKEN = re.compile(rb"GET /\.well-known/acme-challenge/([A-Za-z0-9_-]+) ")
TYPE_A = 1  # RFC 1035 section 3.2.2
HEADER = 12  # bytes of a DNS message before its question (RFC 1035 section 4.1.1)
TTL = 60  # seconds


@attrs.frozen(kw_only=True)
class Answers:
    """Where challenges are answered, and how."""

    http_port: int
    dns_port: int = 0  # 0: none; else every A question is answered with 127.0.0.1
    delay: float = 0.0  # seconds before a challenge is answered


@contextmanager
def answering(answers: Answers | None, thumbprints: Sequence[str], processes: ForkContext) -> Iterator[None]:
    """Answer challenges in a process of their own for as long as the context lasts; None answers nothing."""
    if answers is None:
        yield
        return
    http = socket.create_server((LOOPBACK, answers.http_port), backlog=1024)
    dns = None
    if answers.dns_port:
        dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        dns.bind((LOOPBACK, answers.dns_port))
    process = processes.Process(target=_serve, args=(http, dns, thumbprints, answers.delay), daemon=True)
    process.start()
    http.close()
    if dns is not None:
        dns.close()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _serve(http: socket.socket, dns: socket.socket | None, thumbprints: Sequence[str], delay: float) -> None:
    asyncio.run(_serve_for_ever(http, dns, thumbprints, delay))


async def _serve_for_ever(
    http: socket.socket, dns: socket.socket | None, thumbprints: Sequence[str], delay: float
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(delay)
            writer.write(http_answer(head, thumbprints))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the server hung up, which is its own affair
        finally:
            writer.close()

    if dns is not None:
        await asyncio.get_running_loop().create_datagram_endpoint(_Resolver, sock=dns)
    server = await asyncio.start_server(answer, sock=http)
    await server.serve_forever()


def http_answer(head: bytes, thumbprints: Sequence[str]) -> bytes:
    """Return the whole answer to a request for a key authorization (RFC 8555 section 8.3), or 404."""
    token, client = TOKEN.match(head), CLIENT.search(head)
    if not token or not client or int(client[1]) >= len(thumbprints):
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    body = token[1] + b"." + thumbprints[int(client[1])].encode("ascii")
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)


def dns_answer(query: bytes) -> bytes:
    """Return an answer with 127.0.0.1 for a question of type A, and one without records for any other."""
    end = query.index(b"\0", HEADER) + 5  # the name, its end, type and class
    question = query[HEADER:end]
    found = int.from_bytes(question[-4:-2]) == TYPE_A
    header = query[:2] + b"\x84\x00" + b"\0\1" + (b"\0\1" if found else b"\0\0") + bytes(4)
    record = b"\xc0\x0c\0\1\0\1" + TTL.to_bytes(4) + b"\0\4" + socket.inet_aton(LOOPBACK)
    return header + question + (record if found else b"")


class _Resolver(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self.transport.sendto(dns_answer(data), addr)
