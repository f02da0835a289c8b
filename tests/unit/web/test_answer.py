from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyChannel

from certctl.acme.problems import ProblemType
from certctl.web.answer import Answer
from certctl.web.channel import BoundedRequest


class StatusTests(SynchronousTestCase):
    """The status line."""

    def test_words(self) -> None:
        """Each status that a problem may have is one that HTTP has words for."""
        for status in {421, 429, 503, 413, 415, 404, *(each.status for each in ProblemType)}:
            request = BoundedRequest(DummyChannel(), False)
            Answer(status=status).send(request)
            self.assertNotEqual(request.code_message, b"Unknown Status", status)
