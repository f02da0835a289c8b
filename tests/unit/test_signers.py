"""Issuers that others have written, as the settings name them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from certctl import signers
from certctl.issuance.issuer import IssuerError
from certctl.settings import Settings, SettingsError
from tests.unit.authority.slow import SlowIssuer

NAME = "signers_of_the_tests"


class OthersTests(SynchronousTestCase):
    def setUp(self) -> None:
        module = ModuleType(NAME)
        sys.modules[NAME] = module
        self.module = cast(Any, module)
        self.module.make = self.make
        self.addCleanup(sys.modules.pop, NAME)

    def make(self, issuer_id: str, reactor: Any) -> SlowIssuer:
        """What a module is asked for."""
        made = SlowIssuer()
        made.id = issuer_id
        return made

    def hasty(self, issuer_id: str, reactor: Any) -> SlowIssuer:
        """One that would sign without a job."""
        made = self.make(issuer_id, reactor)
        made.at_once = True
        return made

    def opened(self, text: str = f"iss-a={NAME}:make, iss-b={NAME}:make") -> dict[str, Any]:
        """The issuers of a setting."""
        settings = Settings.load({"CERTCTL_SIGNER_MODULES": text})
        return dict(signers.others(settings, Clock()))

    def test_made(self) -> None:
        """Each is made under its own id; without the setting there are none."""
        found = self.opened()
        self.assertEqual({id: each.id for id, each in found.items()}, {"iss-a": "iss-a", "iss-b": "iss-b"})
        self.assertEqual(self.opened(""), {})

    def test_speaking(self) -> None:
        """One that signs CRLs as well does so; one that does not is not asked."""
        found = self.opened()
        found["iss-b"].sign_crl = None
        self.assertEqual([*signers.speaking(found, {}, None, None)], ["iss-b"])  # type: ignore[arg-type]

    def test_faults(self) -> None:
        """Whatever is wrong with a module is one sentence, which names it."""

        def broken(issuer_id: str, reactor: Any) -> None:
            raise ZeroDivisionError("no such vault")

        self.module.broken = broken
        self.module.nothing = lambda issuer_id, reactor: None
        self.module.another = lambda issuer_id, reactor: SlowIssuer()
        self.module.number = 7
        self.module.hasty = self.hasty
        for text, words in (
            ("iss-a=no_such_module:make", "no_such_module:make makes no issuer (ModuleNotFoundError"),
            (f"iss-a={NAME}:absent", "makes no issuer (AttributeError"),
            (f"iss-a={NAME}:number", "makes no issuer (TypeError"),
            (
                f"iss-a={NAME}:broken",
                "makes no issuer (ZeroDivisionError: no such vault); see docs/signers.md",
            ),
            (f"iss-a={NAME}:nothing", "makes no issuer (AttributeError"),
            (f"iss-a={NAME}:hasty", "made an issuer that is at_once"),
            (f"iss-a={NAME}:another", "made the issuer 'iss-internal-ca' and was asked for iss-a"),
        ):
            error = self.assertRaises(IssuerError, self.opened, text)
            self.assertIn(words, str(error))
            self.assertIn("CERTCTL_SIGNER_MODULES: ", str(error))

    def test_words(self) -> None:
        """A setting that names no function of a module is refused when it is read."""
        for text in ("iss-a", "iss-a=module", "a=module:make", "iss-a=module:", "iss-a=/etc/x.py:make"):
            error = self.assertRaises(SettingsError, self.opened, text)
            self.assertIn("such as iss-vault=our_signer.vault:make", str(error))
