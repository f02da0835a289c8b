"""The certificate that clients see: the operator's, read again when that is asked, or our own, renewed in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from twisted.logger import Logger

from certctl.issuance.issuer import IssuerError
from certctl.issuance.serving import ServingCertificate
from certctl.web.tls import ServerContext, TlsError

INTERVAL = 6 * 3600.0  # seconds between looks at it; tickets live no longer


class TlsCare:
    """Looks after what a TLS context serves."""

    _log = Logger(namespace="certctl")

    def __init__(
        self,
        context: ServerContext,
        files: tuple[Path | None, Path | None],
        own: Callable[[datetime], ServingCertificate],
        now: Callable[[], datetime],
    ) -> None:
        """``files`` are the operator's certificate and key, or None; ``own`` makes ours where that is due."""
        self._context = context
        self._certificate, self._key = files
        self._own = own
        self._now = now

    def look(self) -> None:
        """Renew what is due and forget the keys of old sessions; whatever goes wrong, look again the next time."""
        try:
            self.renew()
            self._context.rotate()
        except (IssuerError, TlsError) as error:
            self._log.error("the server's certificate cannot be renewed: {why}", why=str(error))

    def serve_given(self) -> bool:
        """Serve the operator's certificate; return whether there is one. Raises TlsError if it cannot be served."""
        if self._certificate is None or self._key is None:
            return False
        if self._context.not_after is None:
            self._context.load(self._certificate, self._key, now=self._now())
        return True

    def renew(self) -> None:
        """Serve the operator's certificate, or our own, which is made anew well before it ends."""
        if self.serve_given():
            return
        own = self._own(self._now())
        if own.not_after != self._context.not_after:
            self._context.use(own.chain_pem, own.key_pem)

    def reload(self) -> bool:
        """Read the operator's certificate again, as SIGHUP asks; say whether that went well."""
        if self._certificate is None or self._key is None:
            self._log.info("SIGHUP: the server's certificate is its own, and nothing is to be read again")
            return False
        try:
            self._context.load(self._certificate, self._key, now=self._now())
        except TlsError as error:
            self._log.error("SIGHUP: {why}; the old certificate stays", why=str(error))
            return False
        self._log.info(
            "SIGHUP: the server's certificate was read again", not_after=str(self._context.not_after)
        )
        return True
