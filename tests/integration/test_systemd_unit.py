"""The unit files are such as systemd takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "systemd/certctl.service"
UNITS = sorted((ROOT / "systemd").iterdir())
MOST_EXPOSED = 2.0  # of 10, by systemd-analyze
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
        for each in UNITS:
            written = each.read_text(encoding="utf-8").replace(INSTALLED, f"{Path(sys.executable).parent}/")
            (directory / each.name).write_text(written, encoding="utf-8")
        for each in UNITS:
            done = self.analyze("verify", directory / each.name)
            said = [line for line in (done.stdout + done.stderr).splitlines() if "certctl" in line]
            self.assertEqual((done.returncode, said), (0, []))

    def test_security(self) -> None:
        """What the service may do is little, by systemd's own score."""
        done = self.analyze("security", "--offline=true", "--no-pager", UNIT)
        score = re.search(r"exposure level for certctl.service: ([0-9.]+)", done.stdout)
        assert score is not None, done
        self.assertLess(float(score[1]), MOST_EXPOSED)

    def analyze(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run systemd-analyze."""
        return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)

    def test_callbacks_stay_possible(self) -> None:
        """Executable memory is not denied, because pyOpenSSL's callbacks for ALPN and SNI need it."""
        self.assertNotIn("\nMemoryDenyWriteExecute=", UNIT.read_text(encoding="utf-8"))
