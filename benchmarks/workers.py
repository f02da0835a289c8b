"""The processes that play the clients: made ready one and all, let go at once, asked for their times."""

from __future__ import annotations

import multiprocessing
import multiprocessing.queues
import ssl
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from threading import BrokenBarrierError

import attrs

from benchmarks.flow import Client
from benchmarks.http import Connection, Origin
from benchmarks.keys import AccountKey, Wanted, account_key, certificate_keys, thumbprint, wanted
from benchmarks.measure import Usage, busy, usage
from benchmarks.responder import Answers, answering
from benchmarks.verify import check, roots_of

FORK = multiprocessing.get_context("fork")  # workers inherit the account keys, which cannot be pickled
MAX_PROCESSES = 16  # beyond that many clients, several share a process, each in a thread of its own


class LoadFailed(Exception):
    """A client could not finish; the message holds what it met."""


@attrs.frozen(kw_only=True)
class Plan:
    """What a run does."""

    directory: str
    ca: Path  # PEM; TLS is verified against it
    root: Path | None = None  # PEM; the chains must end in it
    clients: int = 8
    certificates: int = 2000
    key_type: str = "ES256"
    names: int = 1
    fresh_names: bool = False
    domain: str = "bench.internal"
    warmup: int = 5  # certificates of each client before the clock starts
    level: bool = False  # end when one client has had its share, so that all are at work for the whole time
    challenge: str = "http-01"  # that pending authorizations are proved by
    answers: Answers | None = None  # where challenges are answered, if at all
    timeout: float = 60.0  # seconds for one answer, and for one object to settle
    processes: int = 0  # 0: one for each client, MAX_PROCESSES at most
    pids: tuple[int, ...] = ()  # of the server
    database_pids: tuple[int, ...] = ()  # of a database beside it, whose work counts as well

    def share(self, client: int) -> int:
        """The number of certificates that a client gets, which differs by one at most."""
        return len(range(client, self.certificates, self.clients))

    def names_of(self, client: int, number: int) -> list[str]:
        """The names of a client's certificate; the same for all of them unless fresh ones are wanted."""
        prefix = f"c{client}-{number}" if self.fresh_names else f"c{client}"
        return [f"{prefix}-n{each}.{self.domain}" for each in range(self.names)]


@attrs.frozen(kw_only=True)
class Part:
    """What the clients of one process did."""

    certificates: int = 0
    seconds: dict[str, list[float]]
    counts: Counter[str]
    cpu: float  # seconds
    error: str = ""


@attrs.frozen(kw_only=True)
class Outcome:
    """What all clients did, and what the server used meanwhile."""

    certificates: int
    elapsed: float  # seconds
    server: Usage  # its database included
    database: Usage
    machine: float  # seconds that all processors were busy, whoever with
    generator_cpu: float  # seconds
    seconds: dict[str, list[float]]
    counts: Counter[str]


def run(plan: Plan, while_it_runs: AbstractContextManager[object] | None = None) -> Outcome:
    """Run the plan; raise LoadFailed if any client fails or any certificate is not what was asked for.

    ``while_it_runs`` is entered when all clients are ready, and left when all are done.
    """
    keys = [account_key(plan.key_type) for _ in range(plan.clients)]
    processes = min(plan.processes or MAX_PROCESSES, plan.clients)
    barrier, enough = FORK.Barrier(processes + 1), FORK.Event()
    results: multiprocessing.queues.SimpleQueue[Part] = FORK.SimpleQueue()
    with answering(plan.answers, [thumbprint(key) for key in keys], FORK):
        shares = [range(index, plan.clients, processes) for index in range(processes)]
        workers = [
            FORK.Process(target=_work, args=(plan, keys, each, barrier, enough, results)) for each in shares
        ]
        for worker in workers:
            worker.start()
        try:
            found = _time(barrier, plan, while_it_runs or nullcontext())
        except BrokenBarrierError:
            found = _Time(0.0, Usage(), Usage(), 0.0)
        parts = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
    seconds, counts, cpu = _sum(parts)
    return Outcome(
        certificates=sum(part.certificates for part in parts),
        elapsed=found.elapsed,
        server=found.server + found.database,
        database=found.database,
        machine=found.machine,
        generator_cpu=cpu,
        seconds=seconds,
        counts=counts,
    )


@attrs.frozen
class _Time:
    """The seconds that the clients took, and what server, database and machine used meanwhile."""

    elapsed: float
    server: Usage
    database: Usage
    machine: float


def _time(barrier: Barrier, plan: Plan, while_it_runs: AbstractContextManager[object]) -> _Time:
    """Let the workers go when all are ready, and wait until all are done."""
    barrier.wait()
    with while_it_runs:
        server, database = usage(plan.pids), usage(plan.database_pids)
        machine, began = busy(), time.perf_counter()
        barrier.wait()
        barrier.wait()
        elapsed, worked = time.perf_counter() - began, busy() - machine
        servers, databases = usage(plan.pids).since(server), usage(plan.database_pids).since(database)
    return _Time(elapsed, servers, databases, worked)


def _sum(parts: Sequence[Part]) -> tuple[dict[str, list[float]], Counter[str], float]:
    """Put together what the processes did: times, counts, CPU; raise LoadFailed if one of them failed."""
    errors = [part.error for part in parts if part.error]
    if errors:
        raise LoadFailed(errors[0])
    seconds: dict[str, list[float]] = {}
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
        for step, times in part.seconds.items():
            seconds.setdefault(step, []).extend(times)
    return seconds, counts, sum(part.cpu for part in parts)


def _work(
    plan: Plan,
    keys: Sequence[AccountKey],
    clients: Sequence[int],
    barrier: Barrier,
    enough: Event,
    results: multiprocessing.queues.SimpleQueue[Part],
) -> None:
    """Be the process of some clients; whatever happens, put one Part."""
    try:
        part = _play(plan, [_Player(plan, client, keys[client], enough) for client in clients], barrier)
    except BrokenBarrierError:
        part = Part(seconds={}, counts=Counter(), cpu=0.0)
    except Exception:
        part = Part(seconds={}, counts=Counter(), cpu=0.0, error=traceback.format_exc())
        barrier.abort()
    results.put(part)


def _play(plan: Plan, players: Sequence[_Player], barrier: Barrier) -> Part:
    _in_threads([player.get_ready for player in players])
    barrier.wait()
    barrier.wait()
    began = time.process_time()
    _in_threads([player.play for player in players])
    cpu = time.process_time() - began
    barrier.wait()
    seconds: dict[str, list[float]] = {}
    counts: Counter[str] = Counter()
    for player in players:
        player.check()
        counts.update(player.client.counts)
        for step, times in player.client.seconds.items():
            seconds.setdefault(step, []).extend(times)
    return Part(certificates=sum(player.got for player in players), seconds=seconds, counts=counts, cpu=cpu)


def _in_threads(jobs: Sequence[Callable[[], None]]) -> None:
    """Run all jobs at once; a single one needs no thread."""
    if len(jobs) == 1:
        jobs[0]()
        return
    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result()


class _Player:
    """One client's part: what it will ask for, and what it got."""

    def __init__(self, plan: Plan, index: int, key: AccountKey, enough: Event) -> None:
        self._plan = plan
        self._enough = enough
        context = ssl.create_default_context(cafile=str(plan.ca))
        connection = Connection(Origin.of(plan.directory), context, plan.timeout)
        self.client = Client(connection, plan.directory, key, plan.timeout)
        self._roots = roots_of(plan.root.read_bytes() if plan.root else None)
        pairs = enumerate(islice(certificate_keys(plan.key_type), plan.warmup + plan.share(index)))
        self._wanted: list[Wanted] = [wanted(plan.names_of(index, number), key) for number, key in pairs]
        self._chains: list[bytes] = []

    def get_ready(self) -> None:
        """Make the account and the connection, and get the certificates that do not count."""
        self.client.register()
        for want in self._wanted[: self._plan.warmup]:
            self.client.issue(want, self._plan.challenge)
        self.client.forget_times()

    def play(self) -> None:
        """Get the certificates that count."""
        for want in self._wanted[self._plan.warmup :]:
            if self._enough.is_set():
                return
            self._chains.append(self.client.issue(want, self._plan.challenge))
        if self._plan.level:
            self._enough.set()

    @property
    def got(self) -> int:
        """How many certificates it got that count."""
        return len(self._chains)

    def check(self) -> None:
        """Check every certificate, now that the clock has stopped."""
        for want, chain in zip(self._wanted[self._plan.warmup :], self._chains, strict=not self._plan.level):
            reached = check(chain, want, self._roots)
            self.client.counts["certificates up to the root" if reached else "certificates"] += 1
