from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from certctl.settings import declared
from certctl.settings_docs import ACME, BEGIN, MARKER, render_acme_server, render_configuration, render_env
from certctl.settings_sources import parse_environment_file

ROOT = Path(__file__).parent.parent.parent


class CommittedFilesTests(SynchronousTestCase):
    """What is committed is what the settings say (`make docs` makes it so)."""

    def test_configuration_page(self) -> None:
        committed = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
        self.assertEqual(render_configuration(committed, declared()), committed)
        self.assertIn(MARKER, committed)

    def test_acme_server_page(self) -> None:
        committed = (ROOT / "docs/acme-server.md").read_text(encoding="utf-8")
        self.assertEqual(render_acme_server(committed, declared()), committed)
        self.assertIn(BEGIN, committed)
        self.assertEqual(
            [name for name in declared() if name.startswith(ACME) and f"| `{name}` |" not in committed], []
        )

    def test_sample_file(self) -> None:
        self.assertEqual(render_env(declared()), (ROOT / "etc/certctl.env").read_text(encoding="utf-8"))

    def test_every_setting_documented(self) -> None:
        page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
        self.assertEqual([name for name in declared() if f"| `{name}` |" not in page], [])

    def test_sample_defaults_are_read_back(self) -> None:
        """A line of the sample, no longer commented out, sets the default."""
        sample = (ROOT / "etc/certctl.env").read_text(encoding="utf-8").replace("\n#CERTCTL_", "\nCERTCTL_")
        values = dict(parse_environment_file(sample))
        self.assertEqual(values.keys(), declared().keys())
        for variable, setting in declared().items():
            if values[variable]:
                self.assertEqual(setting.read(variable, values[variable]), setting.default)
