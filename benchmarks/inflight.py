"""Many validations at once, and peers that never end: ``python -m benchmarks.inflight``."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.flow import POST_AS_GET, Client, FlowFailed, jws
from benchmarks.http import Connection, Origin
from benchmarks.keys import account_key, thumbprint, wanted
from benchmarks.measure import PROC, Latency, Usage, busy, usage
from benchmarks.report import MEGABYTE, machine
from benchmarks.responder import LOOPBACK, dns_answer, http_answer
from benchmarks.servers import Certctl, Running, free_port, started
from benchmarks.workers import FORK

DESCRIPTION = """\
Start a server in challenge mode and show two things. First: so many http-01 orders in flight at once, each
answered after a delay; how long it takes until every order is ready, and how fast new-nonce is answered
meanwhile to a client in a process of its own. Second: peers that send a byte now and then and never end,
beside honest ones; when the honest ones are through, and whether the server takes more threads for it.

Accounts, orders, nonces and signatures are made before the clock starts. Every order of the first part is
finalized in the end.
"""
SENDERS = 8  # connections that send the responses to challenges
PROBE_PAUSE = 0.005  # seconds between two requests for a nonce
SAMPLE_PAUSE = 0.05  # seconds between two looks at the server's process
DRIP = re.compile(rb"\r\nhost:\s*c0-drip", re.IGNORECASE)
DRIP_PAUSE = 0.2  # seconds between two bytes
POLL_PAUSE = 0.2  # seconds between two looks at an order
MAX_VALIDATION = 90.0  # seconds; four tries of at most 12 s, and what they wait for in between


class Peers:
    """The other side of the validations, in a process of its own: answers late, or drips for ever; counts both."""

    def __init__(self, thumbprint: str, delay: float) -> None:
        self._thumbprints = (thumbprint,)
        self._delay = delay
        self.open: Synchronized[int] = FORK.Value("i", 0)
        self.peak: Synchronized[int] = FORK.Value("i", 0)
        self.asked: Synchronized[int] = FORK.Value("i", 0)
        self.http = socket.create_server((LOOPBACK, 0), backlog=1024)
        self.dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.dns.bind((LOOPBACK, 0))

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer for as long as the context lasts."""
        process = FORK.Process(target=lambda: asyncio.run(self._serve()), daemon=True)
        process.start()
        self.http.close()
        self.dns.close()
        try:
            yield
        finally:
            _end(process)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(_Resolver, sock=self.dns)
        server = await asyncio.start_server(self._answer, sock=self.http, backlog=1024)
        await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.value += 1
        self.asked.value += 1
        self.peak.value = max(self.peak.value, self.open.value)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if DRIP.search(head):
                await self._drip(writer)
            await asyncio.sleep(self._delay)
            writer.write(http_answer(head, self._thumbprints))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the server hung up, which is its own affair
        finally:
            self.open.value -= 1
            writer.close()

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(DRIP_PAUSE)


class _Resolver(asyncio.DatagramProtocol):
    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self.transport.sendto(dns_answer(data), addr)


def _end(process: ForkProcess) -> None:
    process.terminate()
    process.join()


@attrs.frozen
class Order:
    """An order that waits for its one challenge."""

    name: str
    url: str
    finalize: str
    challenge: str


class Account(Client):
    """One account, which makes orders, and signs ahead what is to be sent at once."""

    @classmethod
    def at(cls, server: Running, key: Any) -> Account:
        """Make the account."""
        account = cls(_connection(server), server.directory, key, MAX_VALIDATION)
        account.register()
        return account

    def order(self, name: str) -> Order:
        """Make an order, and find its challenge."""
        made, url = self._new_order([name])
        (authorization,) = made["authorizations"]
        found = json.loads(self._post("authorization", authorization, POST_AS_GET).body)
        (challenge,) = [each["url"] for each in found["challenges"] if each["type"] == "http-01"]
        return Order(name, url, made["finalize"], challenge)

    def response(self, order: Order) -> tuple[str, bytes]:
        """A challenge's URL, and the signed response to be sent there."""
        nonce = self._new_nonce()
        key = self._key
        return order.challenge, jws(key.algorithm, self._identity, nonce, order.challenge, b"{}", key.sign)

    def status(self, order: Order) -> str:
        """What the order has become."""
        return str(json.loads(self._post("order", order.url, POST_AS_GET).body)["status"])

    def finalized(self, order: Order, key: ec.EllipticCurvePrivateKey) -> bool:
        """Get the certificate of a ready order."""
        answer = self._post("finalize", order.finalize, wanted([order.name], key).finalize)
        return bool(json.loads(answer.body)["status"] == "valid")


def _connection(server: Running) -> Connection:
    context = ssl.create_default_context(cafile=str(server.ca))
    return Connection(Origin.of(server.directory), context, MAX_VALIDATION)


@contextmanager
def probing(server: Running, found: list[float]) -> Iterator[None]:
    """Ask for nonces all the time, in a process of its own; the seconds that each took are in ``found`` afterwards."""
    stop = FORK.Event()
    results = FORK.SimpleQueue()

    def probe() -> None:
        connection = _connection(server)
        url = json.loads(connection.request("GET", server.directory).body)["newNonce"]
        times = []
        while not stop.is_set():
            began = time.perf_counter()
            connection.request("HEAD", url)
            times.append(time.perf_counter() - began)
            time.sleep(PROBE_PAUSE)
        results.put(times)

    process = FORK.Process(target=probe, daemon=True)
    process.start()
    try:
        yield
    finally:
        stop.set()
        found.extend(results.get())
        process.join()


@attrs.define
class Watch:
    """What a server's process had while it was looked at."""

    pid: int
    threads: set[int] = attrs.field(factory=set)
    sockets: int = 0  # the most at once

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """Look at it all the time."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(SAMPLE_PAUSE):
                self.threads.add(threads(self.pid))
                self.sockets = max(self.sockets, len(list((PROC / str(self.pid) / "fd").iterdir())))

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()


def threads(pid: int, proc: Path = PROC) -> int:
    """How many threads a process has."""
    for line in (proc / str(pid) / "status").read_text().splitlines():
        if line.startswith("Threads:"):
            return int(line.split()[1])
    raise ValueError(f"process {pid} does not say how many threads it has")


@attrs.frozen(kw_only=True)
class Scene:
    """A server in challenge mode, its peers and an account."""

    server: Running
    peers: Peers
    account: Account

    def send(self, orders: Sequence[Order]) -> float:
        """Send the responses to all challenges as fast as may be; return the seconds from the first to the last."""
        signed = [self.account.response(each) for each in orders]
        connections = [_connection(self.server) for _ in range(SENDERS)]
        for each in connections:
            each.request("GET", self.server.directory)

        def play(number: int) -> None:
            for url, body in signed[number::SENDERS]:
                response = connections[number].request("POST", url, body)
                if response.status != 200:
                    raise FlowFailed(f"{url}: {response.status} {response.body!r}")

        began = time.perf_counter()
        with ThreadPoolExecutor(SENDERS) as pool:
            for future in [pool.submit(play, number) for number in range(SENDERS)]:
                future.result()
        return time.perf_counter() - began

    def settled(self, orders: Sequence[Order]) -> list[str]:
        """What the orders became, each looked at until it is settled."""
        return [self._settled(each) for each in orders]

    def _settled(self, order: Order) -> str:
        deadline = time.monotonic() + MAX_VALIDATION
        while (status := self.account.status(order)) == "pending" and time.monotonic() < deadline:
            time.sleep(POLL_PAUSE)
        return status


@contextmanager
def staged(concurrency: int, delay: float) -> Iterator[Scene]:
    """Set a scene up."""
    key = account_key("ES256")
    peers = Peers(thumbprint(key), delay)
    # The address is asked for now: the sockets are closed in this process once the peers have theirs.
    http, dns = peers.http.getsockname()[1], peers.dns.getsockname()[1]
    settings = {
        "DEFAULT_AUTH_MODE": "challenge",
        "HTTP01_PORT": str(http),
        "TLSALPN01_PORT": str(free_port()),
        "DNS01_RESOLVER": f"{LOOPBACK}:{dns}",
        "EGRESS_ALLOW": f"{LOOPBACK}/32",
        "HTTP01_CONCURRENCY": str(concurrency),
    }
    named = {f"CERTCTL_ACME_SERVER_{name}": value for name, value in settings.items()}
    with peers.answering(), started(Certctl(settings=named)) as server:
        yield Scene(server=server, peers=peers, account=Account.at(server, key))


Row = tuple[str, str]


def in_flight(number: int, delay: float) -> Iterator[Row]:
    """Many orders at once; yield the lines of the table."""
    with staged(number, delay) as scene:
        orders = [scene.account.order(f"c0-{each}.bench.internal") for each in range(number)]
        times: list[float] = []
        watch = Watch(scene.server.pids[0])
        before, all_busy = usage(scene.server.pids), busy()
        with watch.watching(), probing(scene.server, times):
            began = time.perf_counter()
            sent = scene.send(orders)
            time.sleep(delay)
            statuses = scene.settled(orders)
            elapsed = time.perf_counter() - began
        used = usage(scene.server.pids).since(before)
        others = busy() - all_busy
        key = ec.generate_private_key(ec.SECP256R1())
        finalized = sum(scene.account.finalized(each, key) for each in orders)
        yield from _flight(number, delay, scene, sent, elapsed, statuses, finalized)
        yield from _load(watch, Latency.of(times), used, number, others / elapsed)


def _flight(
    number: int, delay: float, scene: Scene, sent: float, elapsed: float, statuses: list[str], finalized: int
) -> Iterator[Row]:
    yield "orders, each answered after", f"{number}, {delay:g} s"
    yield "responses sent within", f"{sent:.2f} s"
    yield "most connections open at the responder", f"{scene.peers.peak.value}"
    yield "connections in all", f"{scene.peers.asked.value}"
    yield "ready; otherwise", f"{statuses.count('ready')}; {len(statuses) - statuses.count('ready')}"
    yield "from the first response to the last order seen ready", f"{elapsed:.2f} s"
    yield "finalized afterwards", str(finalized)


def _load(watch: Watch, nonces: Latency, used: Usage, number: int, busy_share: float) -> Iterator[Row]:
    yield "new-nonce meanwhile: requests", str(nonces.count)
    yield "new-nonce p50 / p99 / longest", f"{nonces.p50:.1f} / {nonces.p99:.1f} / {nonces.longest:.1f} ms"
    yield "server's CPU for each order", f"{1000 * (used.user + used.system) / number:.2f} ms"
    yield "server's peak memory", f"{used.peak_memory / MEGABYTE:.0f} MB"
    yield "server's threads", _constant(watch.threads)
    yield "server's open files at most", str(watch.sockets)
    yield "processors busy, all programs", f"{100 * busy_share:.0f} % of one"


def _constant(found: set[int]) -> str:
    return ", ".join(map(str, sorted(found))) + (" (constant)" if len(found) == 1 else "")


def dripping(concurrency: int, drips: int, honest: int, delay: float) -> Iterator[Row]:
    """Peers that never end, sent first, beside honest ones; yield the lines of the table."""
    with staged(concurrency, delay) as scene:
        endless = [scene.account.order(f"c0-drip-{each}.bench.internal") for each in range(drips)]
        orders = [scene.account.order(f"c0-{each}.bench.internal") for each in range(honest)]
        watch = Watch(scene.server.pids[0])
        with watch.watching():
            began = time.perf_counter()
            scene.send([*endless, *orders])
            ready = scene.settled(orders).count("ready")
            elapsed = time.perf_counter() - began
            refused = scene.settled(endless).count("invalid")
            all_elapsed = time.perf_counter() - began
        yield (
            "slots / peers that drip / honest ones, answered after",
            f"{concurrency} / {drips} / {honest}, {delay:g} s",
        )
        yield "honest orders ready", f"{ready} after {elapsed:.1f} s"
        yield "dripping orders invalid", f"{refused} after {all_elapsed:.1f} s"
        yield "server's threads", _constant(watch.threads)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inflight",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add: Callable[..., object] = parser.add_argument
    add("--orders", type=int, default=500, metavar="N", help="in flight at once (500)")
    add("--answer-delay", type=float, default=1.0, metavar="SECONDS", help="of an honest peer (1)")
    add("--concurrency", type=int, default=20, metavar="N", help="slots, beside dripping peers (20)")
    add("--honest", type=int, default=40, metavar="N", help="honest orders beside dripping ones (40)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    for name, value in machine().items():
        print(f"{name}: {value}")
    slots, honest, delay = options.concurrency, options.honest, options.answer_delay
    tables = (
        lambda: in_flight(options.orders, delay),
        *((lambda drips=drips: dripping(slots, drips, honest, delay)) for drips in (0, slots - 1, slots)),
    )
    for table in tables:
        print()
        for name, value in table():
            print(f"  {name:<56} {value}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
