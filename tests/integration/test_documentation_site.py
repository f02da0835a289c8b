"""The documentation as a site, built with links and anchors checked."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.integration.server import CHECKOUT, PROGRAMS, Ran, ServerTestCase, run


class SiteTests(ServerTestCase):
    def build(self, checkout: Path, into: Path) -> Ran:
        """Build the site of a checkout."""
        command = (PROGRAMS / "mkdocs", "build", "--strict", "--site-dir", into)
        return run(*command, cwd=checkout, env={"PYTHONPATH": str(checkout)})

    def test_built(self) -> None:
        """Every page is there, README.md the first of them."""
        into = self.path()
        self.build(CHECKOUT, into).must_succeed()
        self.assertIn("make run", (into / "index.html").read_text(encoding="utf-8"))
        for page in (CHECKOUT / "docs").glob("*.md"):
            self.assertTrue((into / page.stem / "index.html").exists(), page.name)

    def test_dead_link(self) -> None:
        """A link, and an anchor, that leads nowhere fails the build."""
        checkout = self.path()
        shutil.copytree(CHECKOUT / "docs", checkout / "docs")
        for name in ("README.md", "mkdocs.yml", "mkdocs_hooks.py"):
            shutil.copy(CHECKOUT / name, checkout)
        page = checkout / "docs/cli.md"
        text = page.read_text(encoding="utf-8")
        for link, words in (("absent.md", "absent.md"), ("api.md#absent", "absent")):
            page.write_text(f"{text}\n[nowhere]({link})\n")
            ran = self.build(checkout, self.path())
            self.assertNotEqual(ran.status, 0)
            self.assertIn(words, ran.output)
