"""``twistd certctl``: a server from its start to its end. Only this module knows the reactor."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceCollection, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions

from certctl import __version__, log, signers, start
from certctl.assembly import Parts, assemble
from certctl.assembly_values import status_urls
from certctl.authority.audit_chain import Chain
from certctl.authority.challenges import SILENCE
from certctl.authority.witness import Witness
from certctl.issuance.issuer import IssuerError
from certctl.issuance.serving import ServingCertificate
from certctl.issuance.status import LocalStatusSigner
from certctl.sealing import Seal, SealError
from certctl.settings import LogFormat, Settings, SettingsError
from certctl.storage import profiles
from certctl.storage.database import Database, Unavailable
from certctl.storage.migrations import SchemaTooNew
from certctl.storage.sqlite import DatabaseInUse, SqliteDatabase
from certctl.web.pki.site import Nothing
from certctl.web.site import BoundedSite
from certctl.web.tls import ServerContext, TlsError

DRAIN = 20.0  # seconds that running requests have to end when the server stops
TLS_CARE = 6 * 3600.0  # seconds between looks at the server's own certificate; tickets live no longer
BACKLOG = 1024
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
GC_THRESHOLDS = (50_000, 50, 100)  # a request leaves some hundred objects that refer to each other


class Options(UsageOptions):
    """The command line of ``twistd certctl``; everything else is a setting."""

    optParameters = [["settings", "s", None, "File of CERTCTL_ settings; the environment wins over it."]]


def makeService(options: Mapping[str, Any]) -> Service:
    """Return the server's service; exit with one sentence if the settings are wrong."""
    file = Path(options["settings"]) if options["settings"] else None
    try:
        settings = Settings.load(os.environ, file)
    except SettingsError as error:
        raise SystemExit(f"certctl: {error}") from None
    return Daemon(settings)


class Daemon(Service):
    """The server from its start to its end."""

    _log = Logger(namespace="certctl")
    # There once the database is open.
    _database: Database
    _parts: Parts
    _chain: Chain
    _site: BoundedSite
    _plain_site: BoundedSite

    def __init__(self, settings: Settings) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._settings = settings
        self._tls = ServerContext()
        self._sweeping = LoopingCall(lambda: self._parts.background.run(self._sweep()))
        self._caring = LoopingCall(self._look_after_tls)
        self._chaining = LoopingCall(lambda: self._parts.background.run(self._chain.beat()))
        self._socket: socket.socket | None = None
        self._port: IListeningPort | None = None
        self._plain_socket: socket.socket | None = None
        self._plain_port: IListeningPort | None = None
        self._is_open = False

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application, and take over how it logs."""
        if not IServiceCollection.providedBy(parent) and hasattr(parent, "setComponent"):
            format = log.as_json if self._settings.log_format is LogFormat.JSON else log.as_text
            parent.setComponent(
                ILogObserver, log.observer(sys.stdout, format, self._settings.log_level.value)
            )
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Take the port, which may need root; exit with one sentence if that cannot be."""
        settings = self._settings
        try:
            self._socket = start.listening_socket(settings.server_host, settings.server_port, BACKLOG)
        except OSError as error:
            where = f"{settings.server_host}:{settings.server_port}"
            raise SystemExit(
                f"certctl: cannot listen on {where} ({error.strerror}): set CERTCTL_SERVER_PORT"
            ) from None
        if settings.pki_http_port is None:
            return
        host, port = settings.pki_http_host, settings.pki_http_port
        try:
            self._plain_socket = start.listening_socket(host, port, BACKLOG)
        except OSError as error:
            raise SystemExit(
                f"certctl: cannot listen on {host}:{port} ({error.strerror}): set CERTCTL_PKI_HTTP_PORT"
            ) from None

    def startService(self) -> None:
        """Open everything, and answer requests as soon as that is done."""
        super().startService()
        os.umask(0o077)
        start.raise_file_limit()
        for warning in self._settings.warnings:
            self._log.warn("{warning}", warning=warning)
        _ = Deferred.fromCoroutine(self._begin()).addErrback(self._fail)

    async def _begin(self) -> None:
        """Open everything, put into the database what the first start finds missing, and listen."""
        settings = self._settings
        local_key = start.private_directory(settings.state_dir)
        seal = Seal.kept_in(settings.state_dir)
        witness = Witness.open(settings.state_dir)
        passphrase = start.passphrase_of(settings)
        ca = signers.own_ca(settings, passphrase, start.now())
        self._ca = ca.publishing(status_urls(settings, ca.id))
        self._renew()
        self._database = await self._open_database()
        issuers = {self._ca.id: self._ca}
        answers_to = self._tls.answers_to
        self._parts = assemble(
            settings,
            self._database,
            issuers,
            self._reactor,
            answers_to,
            local_key=local_key,
            seal=seal,
            signers={self._ca.id: LocalStatusSigner(self._ca, settings.state_dir, passphrase)},
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
        self._is_open = True
        mode, accepted = settings.acme_server_default_auth_mode, settings.ca_accept
        await start.refuse_strangers(self._database, self._ca, seal, settings)
        await start.seed(self._database, self._parts.trail, self._ca, mode, accepted)
        await start.share_secret(self._database, self._parts.trail, seal, settings.secret_key_accept)
        warnings = await start.profile_warnings(self._database)
        if not self.running:  # asked to stop meanwhile
            return
        self._listen()
        # From here on the database may go away, and the server waits for it.
        resumed = await self._resume()
        # What stands now stands for ever: the collector need not walk over it again and again (5 % of the CPU).
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._tell(warnings, resumed)

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
        assert self._socket is not None
        factory = TLSMemoryBIOFactory(self._tls, False, self._site)
        factory.noisy = False
        self._port = self._reactor.adoptStreamPort(self._socket.fileno(), self._socket.family, factory)
        self._socket.close()
        if self._plain_socket is not None:
            taken = self._plain_socket
            self._plain_port = self._reactor.adoptStreamPort(taken.fileno(), taken.family, self._plain_site)
            taken.close()
        self._parts.background.start(self._parts.pki.warm())
        _ = self._sweeping.start(self._settings.acme_server_gc_interval.total_seconds())
        _ = self._caring.start(TLS_CARE, now=False)
        _ = self._chaining.start(self._settings.audit_chain_interval.total_seconds())
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload))
        self._reactor.callWhenRunning(signal.signal, signal.SIGTERM, self._asked_to_stop)

    def _tell(self, warnings: Iterable[str], resumed: int) -> None:
        """Say in the log what an operator who has just started the server wants to know."""
        for warning in warnings:
            self._log.warn("{warning}", warning=warning)
        if resumed:
            self._log.info("validations that the last stop interrupted go on", number=resumed)
        self._log.info("certctl {version} is ready", version=__version__)
        for format, fields in start.told(self._settings):
            self._log.info(format, **fields)

    def _asked_to_stop(self, *_: object) -> None:
        """Stop, and end with status 0: Twisted's own handler would die of the signal in the end."""
        self._reactor.callFromThread(lambda: self._reactor.stop() if self.running else None)

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
        for loop in (self._sweeping, self._caring, self._chaining):
            if loop.running:
                loop.stop()
        for port in (self._port, self._plain_port):
            if port is not None:
                await maybeDeferred(port.stopListening)
        await self._parts.background.drained(self._reactor, DRAIN)
        await self._site.close()
        await self._plain_site.close()
        await self._chain.finish()
        await self._leave()
        await self._database.close()
        if self._port is not None:
            self._log.info("certctl has stopped")

    async def _leave(self) -> None:
        """Take this server out of the list of those that are there; who finds no database is forgotten in time."""
        with contextlib.suppress(Unavailable):
            await self._parts.presence.gone()

    async def _sweep(self) -> None:
        try:
            self._parts.metrics.know(each.id for each in await self._database.read(profiles.everyone()))
            self._parts.metrics.swept(await self._parts.sweeper.sweep())
            await self._parts.presence.seen(swept=True)
            await self._parts.challenges.resume(SILENCE)
            await self._parts.jobs.resume()
        except Unavailable as error:  # the next sweep tries again
            self._log.warn("the sweeper was interrupted", why=str(error))
        except Exception:
            self._log.failure("the sweeper failed")

    def _look_after_tls(self) -> None:
        """Renew what is due and forget the keys of old sessions; whatever goes wrong, look again the next time."""
        try:
            self._renew()
            self._tls.rotate()
        except (IssuerError, TlsError) as error:
            self._log.error("the server's certificate cannot be renewed: {why}", why=str(error))

    def _renew(self) -> None:
        """Serve the operator's certificate, or our own, which is made anew well before it ends."""
        settings, now = self._settings, start.now()
        if settings.server_tls_cert_path is not None and settings.server_tls_key_path is not None:
            if self._tls.not_after is None:
                self._tls.load(settings.server_tls_cert_path, settings.server_tls_key_path, now=now)
            return
        own = ServingCertificate.ensure(settings.state_dir, self._ca, start.names(settings), now)
        if own.not_after != self._tls.not_after:
            self._tls.use(own.chain_pem, own.key_pem)

    def _reload(self) -> None:
        """Read the operator's certificate again, as SIGHUP asks; the old one stays if that fails."""
        settings = self._settings
        if settings.server_tls_cert_path is None or settings.server_tls_key_path is None:
            self._log.info("SIGHUP: the server's certificate is its own, and nothing is to be read again")
            return
        try:
            self._tls.load(settings.server_tls_cert_path, settings.server_tls_key_path, now=start.now())
        except TlsError as error:
            self._log.error("SIGHUP: {why}; the old certificate stays", why=str(error))
        else:
            self._parts.origin.forget()
            self._log.info(
                "SIGHUP: the server's certificate was read again", not_after=str(self._tls.not_after)
            )
