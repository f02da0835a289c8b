"""A signer far away, as the tests have it: it keeps what it was asked, and does each step when it is told."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from certctl.issuance.issuer import Issued, Template, TemplateError
from tests.unit.web.bench import ISSUER, authority


class SlowIssuer:
    """The CA of the bench behind a wire: requests wait before it signs, and answers wait after that."""

    at_once = False

    def __init__(self) -> None:
        self.id, self.expires_at = ISSUER, authority().expires_at
        self.chain, self.root = authority().chain, authority().root
        self.asked: list[str] = []
        self.signed: dict[str, Issued] = {}
        self.withdrawn: set[str] = set()
        self.requests: list[Deferred[None]] = []  # what arrived and was not looked at
        self.answers: list[Deferred[None]] = []  # what was signed and not told
        self.error: Exception | None = None  # what withdrawals raise

    async def sign(self, template: Template, request_id: str) -> Issued:
        self.asked.append(request_id)
        request: Deferred[None] = Deferred()
        self.requests.append(request)
        await request
        if request_id in self.withdrawn:
            raise TemplateError("it was withdrawn")
        if request_id not in self.signed:
            self.signed[request_id] = authority().issue(template)
        answer: Deferred[None] = Deferred()
        self.answers.append(answer)
        await answer
        return self.signed[request_id]

    async def withdraw(self, request_id: str) -> Issued | None:
        if self.error is not None:
            raise self.error
        self.withdrawn.add(request_id)
        return self.signed.get(request_id)

    def look(self, error: Exception | None = None) -> None:
        """Look at what arrived last: sign it, or raise."""
        request = self.requests.pop()
        request.errback(error) if error is not None else request.callback(None)

    def tell(self) -> None:
        """Send the last answer."""
        self.answers.pop().callback(None)

    def finish(self) -> None:
        """Do both."""
        self.look()
        self.tell()
