"""The unit file is one that systemd takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "systemd/certctl.service"
INSTALLED = "/opt/certctl/venv/bin/"


class UnitFileTests(TestCase):
    """`systemd-analyze verify` has nothing to say."""

    if shutil.which("systemd-analyze") is None:
        skip = "systemd-analyze is not installed (Debian: systemd)"

    def test_verify(self) -> None:
        text = UNIT.read_text(encoding="utf-8")
        self.assertIn(f"ExecStart={INSTALLED}twistd ", text)
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        unit = directory / "certctl.service"
        unit.write_text(text.replace(INSTALLED, f"{Path(sys.executable).parent}/"), encoding="utf-8")
        done = subprocess.run(
            ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
        )
        said = [line for line in (done.stdout + done.stderr).splitlines() if "certctl" in line]
        self.assertEqual((done.returncode, said), (0, []))

    def test_callbacks_stay_possible(self) -> None:
        """Executable memory is not denied, because pyOpenSSL's callbacks for ALPN and SNI need it."""
        self.assertNotIn("\nMemoryDenyWriteExecute=", UNIT.read_text(encoding="utf-8"))
