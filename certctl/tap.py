"""A server from its start to its end: with workers, one of them."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from certctl import __version__, listening, log, notify, signers, start
from certctl.acme.objects import Profile
from certctl.assembly import Parts, assemble
from certctl.assembly_values import status_urls
from certctl.authority.audit_chain import Chain
from certctl.authority.challenges import SILENCE
from certctl.authority.witness import Witness
from certctl.channel import Parent
from certctl.issuance.issuer import Issuer, IssuerError
from certctl.issuance.keyring import KeyDirectory
from certctl.issuance.serving import ServingCertificate
from certctl.life import WELL, Life
from certctl.sealing import Seal, SealError
from certctl.settings import Settings
from certctl.storage import profiles
from certctl.storage.database import Database, Unavailable
from certctl.storage.migrations import SchemaTooNew
from certctl.storage.sqlite import DatabaseInUse, SqliteDatabase
from certctl.tls_care import INTERVAL, TlsCare
from certctl.web.pki.site import Nothing
from certctl.web.site import BoundedSite
from certctl.web.tls import PromptTls, ServerContext, TlsError

DRAIN = 20.0  # seconds that running requests have to end when the server stops
# What ends a start with the words of the exception alone.
EXPECTED = (
    IssuerError,
    TlsError,
    DatabaseInUse,
    SchemaTooNew,
    OSError,
    SealError,
    Unavailable,
    start.StartError,
)
ISSUERS_KNOWN = 5.0  # seconds after which a server has learnt what another did with issuers
GC_THRESHOLDS = (50_000, 50, 100)  # a request leaves some hundred objects that refer to each other


class Daemon(Service):
    """The server from its start to its end."""

    _log = Logger(namespace="certctl")
    # There once the database is open.
    _sockets: listening.Sockets
    _database: Database
    _parts: Parts
    _chain: Chain
    _care: TlsCare
    _site: BoundedSite
    _plain_site: BoundedSite

    def __init__(self, settings: Settings, reactor: Any, parent: Parent | None = None) -> None:
        """``parent`` is there where this is one of several workers."""
        self._reactor = reactor
        self._settings = settings
        self._parent = parent
        self._notifier = notify.to_systemd(os.environ) if parent is None else parent.notifier
        self._tls = ServerContext()
        self._sweeping = LoopingCall(lambda: self._parts.background.run(self._sweep()))
        self._caring = LoopingCall(lambda: self._care.look())
        self._chaining = LoopingCall(lambda: self._parts.background.run(self._chain.beat()))
        self._timing = LoopingCall(lambda: self._parts.background.run(self._keep_time()))
        self._ports: list[IListeningPort] = []
        self._is_serving = False
        self._certified_by: Issuer | None = None
        self._is_open = False

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application, and take over how it logs."""
        settings = self._settings
        number = {} if self._parent is None else {"worker": self._parent.number}
        log.take_over(parent, settings.log_format, settings.log_level, **number)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Take the sockets, which may need root; exit with one sentence if that cannot be."""
        self._sockets = listening.take(self._settings, listening.handed_over(os.environ))

    def startService(self) -> None:
        """Open everything, and answer requests as soon as that is done."""
        super().startService()
        os.umask(0o077)
        if self._parent is not None:
            self._parent.connect(
                self._reactor,
                figures=lambda: self._parts.metrics.answer().body,
                retire=lambda: Deferred.fromCoroutine(self._retire()).addErrback(self._fail),
                gone=self._asked_to_stop,
            )
        start.raise_file_limit()
        for warning in (*self._settings.warnings, *self._sockets.warnings(self._settings)):
            self._log.warn("{warning}", warning=warning)
        _ = Deferred.fromCoroutine(self._begin()).addErrback(self._fail)

    async def _begin(self) -> None:
        """Open everything, put into the database what the first start finds missing, and listen."""
        settings = self._settings
        local_key = start.private_directory(settings.state_dir)
        seal = Seal.kept_in(settings.state_dir)
        witness = Witness.open(settings.state_dir)
        passphrase = start.passphrase_of(settings)
        tls_files = settings.server_tls_cert_path, settings.server_tls_key_path
        self._care = TlsCare(self._tls, tls_files, self._own_certificate, start.now)
        _ = self._care.serve_given()  # a start that this refuses has recorded nothing
        self._database = await self._open_database()
        first = await signers.first_ca(settings, self._database, passphrase, start.now())
        own = {} if first is None else {first.id: first.publishing(status_urls(settings, first.id))}
        others = signers.others(settings, self._reactor)
        keyring = KeyDirectory(settings.state_dir, partial(status_urls, settings), passphrase)
        self._parts = assemble(
            settings,
            self._database,
            {**others, **own},
            self._reactor,
            self._tls.answers_to,
            local_key=local_key,
            seal=seal,
            signers=signers.speaking(others, own, settings.state_dir, passphrase),
            keyring=keyring,
        )
        self._chain = Chain(
            self._database,
            self._parts.trail,
            witness,
            interval=settings.audit_chain_interval,
            signing=settings.audit_checkpoint_interval,
        )
        self._parts.metrics.watch_certificate(lambda: self._tls.validity)
        self._parts.presence.watch_certificate(lambda: self._tls.not_after)
        self._site = BoundedSite(self._parts.resource, self._reactor, self._parts.shortcut)
        self._plain_site = BoundedSite(Nothing(), self._reactor, self._parts.pki.shortcut)
        self._life = Life(self._notifier, self._database, may_come_back=settings.on_postgres)
        self._is_open = True
        mode, accepted = settings.acme_server_default_auth_mode, settings.ca_accept
        await start.refuse_strangers(self._database, first, keyring, seal, settings)
        if first is not None:
            await start.seed(self._database, self._parts.trail, first, mode, accepted)
        await start.record(self._database, self._parts.trail, others.values(), accepted)
        await self._parts.issuers.refresh()
        self._care.renew()
        await start.note_restore(self._database, self._parts.trail, settings.state_dir)
        await start.share_secret(self._database, self._parts.trail, seal, settings.secret_key_accept)
        warnings = await start.profile_warnings(self._database)
        shown = await start.shown_profile(self._database, settings)
        if not self.running:  # asked to stop meanwhile
            return
        self._listen()
        # From here on the database may go away, and the server waits for it.
        resumed = await self._resume()
        # What stands now stands for ever: the collector need not walk over it again and again (5 % of the CPU).
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._tell(warnings, resumed, shown)
        self._life.begin(notify.watchdog(os.environ, os.getpid()))

    async def _resume(self) -> int:
        """Take up what the last stop interrupted; return how many validations that are."""
        # What is under way in a database for many may be another server's; the sweeper finds out.
        alone = not self._settings.on_postgres
        try:
            resumed = await self._parts.challenges.resume(timedelta(0) if alone else SILENCE)
            _ = await self._parts.jobs.resume(alone=alone)
        except Unavailable as error:  # the sweeper takes it up
            self._log.warn("what the last stop interrupted waits for the database", why=str(error))
            return 0
        return resumed

    async def _open_database(self) -> Database:
        """Open the database that the settings name; raise what EXPECTED names if it cannot be had."""
        settings = self._settings
        if settings.database_url is None or not settings.on_postgres:
            return start.opened(lambda: SqliteDatabase(settings.sqlite_path, self._reactor))
        try:
            from certctl.storage.postgres import PostgresDatabase
        except ImportError:
            raise start.StartError(start.NO_DRIVER) from None
        try:
            connections = settings.database_max_conns
            return await PostgresDatabase.open(settings.database_url, self._reactor, connections)
        except Unavailable as error:
            raise start.StartError(
                f"the database cannot be opened ({error}): see CERTCTL_DATABASE_URL"
            ) from None

    def _listen(self) -> None:
        """Serve the port that was taken, and begin what is done again and again."""
        factory = PromptTls(self._tls, False, self._site)
        shared = self._parent is not None
        for name, each in self._sockets.named():
            served = self._plain_site if name == listening.PLAIN else factory
            self._ports.append(listening.serve(self._reactor, each, served, shared=shared))
        self._parts.background.start(self._parts.pki.warm())
        _ = self._sweeping.start(self._settings.acme_server_gc_interval.total_seconds())
        _ = self._caring.start(INTERVAL, now=False)
        _ = self._chaining.start(self._settings.audit_chain_interval.total_seconds())
        _ = self._timing.start(ISSUERS_KNOWN, now=False)
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload))
        self._reactor.callWhenRunning(signal.signal, signal.SIGTERM, self._asked_to_stop)
        self._is_serving = True
        if self._parent is not None:
            self._parts.metrics.join(str(self._parent.number), self._parent.others)

    def _tell(self, warnings: Iterable[str], resumed: int, shown: Profile | None) -> None:
        """Say in the log what an operator who has just started the server wants to know."""
        for warning in warnings:
            self._log.warn("{warning}", warning=warning)
        if resumed:
            self._log.info("validations that the last stop interrupted go on", number=resumed)
        self._log.info("certctl {version} is ready", version=__version__)
        if self._parent is not None and self._parent.number > 1:
            return
        for format, fields in start.told(self._settings, shown):
            self._log.info(format, **fields)

    def _asked_to_stop(self, *_: object) -> None:
        """Stop, and end with status 0: Twisted's own handler would die of the signal in the end."""
        self._reactor.callFromThread(self._stop)

    def _stop(self) -> None:
        with contextlib.suppress(
            ReactorNotRunning
        ):  # it may have been asked twice, as by Control-C and a parent
            self._reactor.stop()

    def _fail(self, failure: Failure) -> None:
        """End a start that went wrong: with one sentence if that says it all, and an exit status that tells."""
        if failure.check(*EXPECTED):
            sys.stderr.write(f"certctl: {failure.value}\n")
        else:
            self._log.failure("certctl cannot start", failure)
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.callWhenRunning(self._reactor.stop)

    def stopService(self) -> Deferred[None]:
        """Stop; fires when all is closed."""
        super().stopService()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        """Close the listener first, let running requests end, then let go of everything."""
        if not self._is_open:
            return
        self._parts.health.stopping = True
        self._parts.jobs.stop()
        self._notifier.stopping()
        for loop in (self._sweeping, self._caring, self._chaining, self._timing):
            if loop.running:
                loop.stop()
        await self._close_ports()
        await self._parts.background.drained(self._reactor, DRAIN)
        await self._site.close()
        await self._plain_site.close()
        await self._chain.finish()
        await self._leave()
        await self._database.close()
        self._life.end()
        if self._is_serving:
            self._log.info("certctl has stopped")

    async def _leave(self) -> None:
        """Take this server out of the list of those that are there; who finds no database is forgotten in time."""
        with contextlib.suppress(Unavailable):
            await self._parts.presence.gone()

    async def _close_ports(self) -> None:
        """Take no more connections."""
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)

    async def _retire(self) -> None:
        """Take no more connections, answer on those that stand until their clients are done, and stop."""
        self._log.info("another worker takes the place of this one")
        self._parts.health.stopping = True
        await self._close_ports()
        await self._site.retire()
        await self._plain_site.retire()
        self._asked_to_stop()

    async def _sweep(self) -> None:
        try:
            self._parts.metrics.know(each.id for each in await self._database.read(profiles.everyone()))
            swept = await self._parts.sweeper.take_turn()
            if swept is not None:  # else another server looks after all that
                await self._parts.challenges.resume(SILENCE)
            self._parts.metrics.swept(swept or 0)
            await self._parts.presence.seen(swept=swept is not None)
            await self._parts.jobs.resume()
        except Unavailable as error:  # the next sweep tries again
            self._log.warn("the sweeper was interrupted", why=str(error))
        except Exception:
            self._log.failure("the sweeper failed")

    async def _keep_time(self) -> None:
        """Learn of other issuers, switch those that are due, and serve under another if ours was retired."""
        try:
            await self._parts.rotation.keep_time()
        except Unavailable as error:  # known issuers go on
            self._log.warn("the issuers cannot be read", why=str(error))
        except Exception:
            self._log.failure("the issuers cannot be looked after")
        if self._certified_by is not None and self._parts.issuers.of_the_server() is not self._certified_by:
            self._care.look()

    def _own_certificate(self, now: datetime) -> ServingCertificate:
        authority, names = self._parts.issuers.of_the_server(), start.names(self._settings)
        made = ServingCertificate.ensure(self._settings.state_dir, authority, names, now)
        self._certified_by = authority
        return made

    def _reload(self) -> None:
        """Do what SIGHUP asks."""
        self._notifier.reloading()
        if self._care.reload():
            self._parts.origin.forget()
        self._notifier.ready(WELL)
