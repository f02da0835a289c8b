"""How events are written."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from certctl import log
from certctl.acme.objects import AuthMode


def event(text: str = "acme_order_created", **fields: Any) -> dict[str, Any]:
    """Return an event as a Logger makes it."""
    return {
        "log_time": 1779019200.25,
        "log_level": LogLevel.info,
        "log_format": text,
        "log_namespace": "certctl",
        **fields,
    }


def failed(message: str) -> Failure:
    """Return a failure as it is caught."""
    try:
        raise ValueError(message)
    except ValueError:
        return Failure()


class TextTests(SynchronousTestCase):
    def test_one_line(self) -> None:
        """An event is a line: time, level, text, and what the text does not say."""
        line = log.as_text(event("{what} is ready", what="certctl", order="acme-ord-1", names=["a", "b"]))
        self.assertEqual(line, "2026-05-17T12:00:00.250Z info  certctl is ready order=acme-ord-1 names=a,b\n")

    def test_no_name_begins_a_line(self) -> None:
        """What a client sent cannot forge a line, whatever breaks lines in it, in a field or in the text."""
        forged = "x\n2026-05-17T12:00:00.250Z info  acme_account_created actor=acme:admin"
        for separator in (
            "\n",
            "\r",
            "\r\n",
            "\x0b",
            "\x0c",
            "\x1c",
            "\x85",
            "\u2028",
            "\u2029",
            "\0",
            "\x1b[2K",
        ):
            name = forged.replace("\n", separator)
            for each in (event(name=name), event("asked for {name}", name=name), event(names=[name, "b"])):
                line = log.as_text(each)
                self.assertEqual(len(line.splitlines()), 1, repr(line))
                self.assertTrue(line[:-1].isprintable(), repr(line))

    def test_no_value_forges_a_field(self) -> None:
        """A value with a space in it stands in quotes, so that what follows is still its own."""
        line = log.as_text(event(name="x actor=acme:admin"))
        self.assertTrue(line.endswith('name="x actor=acme:admin"\n'))

    def test_objects_are_json(self) -> None:
        """A field of a field is JSON, not what Python writes for itself, and has quotes around it if it has spaces."""
        line = log.as_text(
            event("changed", mode={"old": AuthMode.CHALLENGE, "new": None}, name={"a": "x y=z"})
        )
        self.assertIn(' mode={"old":"challenge","new":null} name="{\\"a\\":\\"x y=z\\"}"', line)

    def test_braces_are_only_text(self) -> None:
        """What a client sent is never a format."""
        line = log.as_text(event("asked for {name}", name="{actor} {0} {x.y}", actor="acme:1"))
        self.assertIn("asked for {actor} {0} {x.y}", line)

    def test_failure(self) -> None:
        """A failure has its traceback below the line."""
        lines = log.as_text(event("a request failed", log_failure=failed("why"))).splitlines()
        self.assertTrue(lines[0].endswith("a request failed"))
        self.assertIn("ValueError: why", lines[-1])

    def test_failure_without_text(self) -> None:
        """A failure that nobody commented says its own words."""
        self.assertIn("why", log.as_text(event("", log_failure=failed("why"))).splitlines()[0])

    def test_message_of_a_failure_begins_no_line(self) -> None:
        """What a client sent may stand in an exception's message, and forges no line from there either."""
        forged = "2026-05-17T12:00:00.250Z info  acme_account_created actor=acme:admin"
        text = log.as_text(event("a request failed", log_failure=failed(f"x\n{forged}")))
        self.assertNotIn(forged, text.splitlines())


class JsonTests(SynchronousTestCase):
    def test_one_object(self) -> None:
        """An event is one JSON object on one line, its fields beside it."""
        line = log.as_json(event("{what} is ready", what="certctl\n\u2028", names=["a"], count=2))
        self.assertEqual(line.count("\n"), 1)
        self.assertTrue(line.isascii())
        self.assertEqual(
            json.loads(line),
            {
                "time": "2026-05-17T12:00:00.250Z",
                "level": "info",
                "event": "certctl\n\u2028 is ready",
                "what": "certctl\n\u2028",
                "names": ["a"],
                "count": 2,
            },
        )

    def test_failure(self) -> None:
        """A failure has its traceback as a field."""
        found = json.loads(log.as_json(event("failed", log_failure=failed("x\ny"))))
        self.assertIn("ValueError", found["traceback"])

    def test_values_of_other_types(self) -> None:
        """What JSON does not know is written as its text."""
        self.assertEqual(json.loads(log.as_json(event(level_of=LogLevel.warn, when={1})))["when"], "{1}")


class ObserverTests(SynchronousTestCase):
    def written(self, least: str) -> list[str]:
        """Return what is written of an event of each level, from certctl and from Twisted."""
        stream = io.StringIO()
        observing: Any = log.observer(stream, log.as_text, least)
        for namespace in ("certctl.authority.trail", "twisted.web"):
            logger = Logger(namespace=namespace, observer=observing)
            for level in LogLevel.iterconstants():
                logger.emit(level, f"{namespace.partition('.')[0]} {level.name}")
        return [" ".join(line.split()[2:4]) for line in stream.getvalue().splitlines()]

    def test_least_level(self) -> None:
        """``CERTCTL_LOG_LEVEL`` is the least level that is written."""
        found = {
            least: [each for each in self.written(least) if "certctl" in each] for least in ("debug", "error")
        }
        self.assertEqual(len(found["debug"]), 5)
        self.assertEqual(found["error"], ["certctl error", "certctl critical"])

    def test_twisted_is_quiet(self) -> None:
        """Of Twisted's own events only warnings and worse are written, however much is asked of ours."""
        found = [each for each in self.written("debug") if "twisted" in each]
        self.assertEqual(found, ["twisted warn", "twisted error", "twisted critical"])
