"""A browser without a window, for tests that look at the console as a person does."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from twisted.trial.unittest import SkipTest

AXE = Path(__file__).parent / "axe-core" / "axe.min.js"
WITHIN = 30.0  # seconds that a page may take on a busy machine
# What keeps Chromium from asking hosts of its own, and what it needs to run as root.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--ignore-certificate-errors",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_CHECK = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: arguments[0], resultTypes: ["violations"]}).then(
  (found) => done(found.violations.map((each) => each.id + ": " + each.help + ": "
    + each.nodes.slice(0, 4).map((node) => node.target.join(" ") + " "
      + (node.any[0] || node.all[0] || {}).message).join("; "))),
  (error) => done(["axe failed: " + error]));
"""


class Browser:
    """A browser with a profile of its own, at a console."""

    def __init__(self, origin: str) -> None:
        """Start it; raises SkipTest if Chromium is not installed."""
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if chromium is None or driver is None:
            raise SkipTest("chromium and chromium-driver are not installed")
        self.origin = origin
        self._directory = tempfile.mkdtemp(prefix="browser-")
        options = ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={self._directory}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # The driver is named, so that selenium looks for none elsewhere.
        self.driver = Chrome(options, Service(driver, env={**os.environ, "SE_OFFLINE": "true"}))
        self.driver.set_page_load_timeout(WITHIN)
        self.driver.set_script_timeout(WITHIN)
        self.look(1280, 900)

    def close(self) -> None:
        """End it."""
        self.driver.quit()
        shutil.rmtree(self._directory, ignore_errors=True)

    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Have a screen of that size, and a system that wishes for light or dark."""
        command = self.driver.execute_cdp_cmd
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        command("Emulation.setDeviceMetricsOverride", metrics)
        wish = {"name": "prefers-color-scheme", "value": scheme}
        command("Emulation.setEmulatedMedia", {"features": [wish]})
        command("Emulation.setTimezoneOverride", {"timezoneId": "Europe/Berlin"})

    def go(self, path: str = "") -> None:
        """Open a page of the console."""
        self.driver.get(path if path.startswith("http") else f"{self.origin}/console/{path}")

    def sign_in(self, key: str) -> None:
        """Sign in with an API key."""
        self.go("sign-in")
        self.fill(key=key)
        self.press("Sign in")

    def find(self, selector: str) -> WebElement:
        """The element of a CSS selector, once it is there."""
        return WebDriverWait(self.driver, WITHIN).until(
            lambda driver: driver.find_element(By.CSS_SELECTOR, selector)
        )

    def all(self, selector: str) -> list[WebElement]:
        """All elements of a CSS selector that are there."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def fill(self, **fields: str) -> None:
        """Type into fields, by their names."""
        for name, value in fields.items():
            field = self.find(f"[name='{name}']:not([type=hidden])")
            field.clear()
            field.send_keys(value)

    def choose(self, name: str, value: str) -> None:
        """Choose an option of a list."""
        self.find(f"[name='{name}'] option[value='{value}']").click()

    def press(self, words: str) -> None:
        """Press the button, or follow the link, that is called so; wait for the next page."""
        xpath = f"//button[normalize-space()={words!r}] | //main//a[normalize-space()={words!r}]"
        before = self.driver.find_element(By.TAG_NAME, "html")
        self.driver.find_element(By.XPATH, xpath).click()
        WebDriverWait(self.driver, WITHIN).until(
            lambda driver: (
                driver.find_element(By.TAG_NAME, "html") != before
                and driver.execute_script("return document.readyState") == "complete"
            )
        )

    def wait_for(self, words: str) -> None:
        """Return once the page says this."""
        WebDriverWait(self.driver, WITHIN).until(lambda _: words in self.text, f"{words!r} is not there")

    @property
    def text(self) -> str:
        """What the page says."""
        return str(self.driver.execute_script("return document.body.innerText"))

    @property
    def path(self) -> str:
        """Where the browser is, without the origin."""
        return self.driver.current_url.removeprefix(self.origin)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script finds in the page."""
        return self.driver.execute_script(script, *arguments)

    def violations(self, standards: Sequence[str] = STANDARDS) -> list[str]:
        """What axe-core finds wrong with the page."""
        # Past the page's policy, as a person's tools are.
        self.driver.execute_script(AXE.read_text(encoding="utf-8"))
        return list(self.driver.execute_async_script(_CHECK, list(standards)))

    def complaints(self) -> list[str]:
        """What the browser logged since it was asked last: broken scripts, what the policy stopped."""
        return [
            each["message"]
            for each in self.driver.get_log("browser")
            if each["level"] in ("SEVERE", "WARNING")
        ]

    def overflows(self) -> bool:
        """Whether the page is wider than the screen."""
        return bool(self.run("return document.documentElement.scrollWidth > window.innerWidth"))

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write what is seen into a file, PNG or WebP by its name: the whole page, or what fits the screen."""
        path.parent.mkdir(parents=True, exist_ok=True)
        how = {"format": path.suffix[1:], **({"quality": 82} if path.suffix == ".webp" else {})}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {**how, "captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(shot["data"]))
