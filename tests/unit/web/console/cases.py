"""The console on the bench: a browser's habits, as far as the server sees them."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlencode

from tests.unit.web.api.cases import ApiCase
from tests.unit.web.bench import ORIGIN, Bench
from tests.unit.web.wire import Response

_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')
TAG = re.compile(r"<[^>]*>")
SESSION = "__Secure-certctl-console"


class Visitor:
    """A browser: it keeps cookies, and sends what a form of the page has."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.cookies: dict[str, str] = {}
        self.csrf = ""

    def get(self, path: str = "", **headers: str) -> Response:
        """Open a page."""
        return self._keep(self.bench.request("GET", self._url(path), b"", self._headers(headers)))

    def post(self, path: str, **fields: str | list[str]) -> Response:
        """Send a form, with the token of the page before."""
        return self.send(path, {"csrf": self.csrf, **fields})

    def send(self, path: str, fields: dict[str, str | list[str]], **headers: str) -> Response:
        """Send whatever fields."""
        sent = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": ORIGIN,
            "Sec-Fetch-Site": "same-origin",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        body = urlencode(fields, doseq=True).encode()
        return self._keep(self.bench.request("POST", self._url(path), body, self._headers(sent)))

    def sign_in(self, key: str, next: str = "") -> Response:
        """Sign in with an API key."""
        self.get("sign-in")
        answer = self.post("sign-in", key=key, next=next)
        if answer.status == 303:
            self.get()
        return answer

    def _url(self, path: str) -> str:
        return path if path.startswith("/") else f"/console/{path}"

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        return {**({"Cookie": cookies} if cookies else {}), **headers}

    def _keep(self, answer: Response) -> Response:
        for header in answer.all("Set-Cookie"):
            name, _, value = header.partition(";")[0].partition("=")
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        if found := _CSRF.search(answer.body.decode("latin-1")):
            self.csrf = found[1]
        return answer


class ConsoleCase(ApiCase):
    """A server with a console, and somebody who is signed in as its admin."""

    def setUp(self) -> None:
        super().setUp()
        self.visitor = Visitor(self.bench)

    def signed_in(self, role: str = "") -> Visitor:
        """Somebody who is signed in: with the key of the settings, or with a new one of a role."""
        key = (
            self.ok("POST", "keys", {"name": f"{role}-key", "role": role}, status=201)["key"]
            if role
            else "boss-key"
        )
        visitor = Visitor(self.bench)
        self.assertEqual(visitor.sign_in(key).status, 303)
        return visitor

    def page(self, visitor: Visitor, path: str, status: int = 200) -> str:
        """What a page has, as it is sent."""
        answer = visitor.get(path)
        self.assertEqual(answer.status, status, answer.body[:2000])
        return answer.body.decode()

    def words(self, visitor: Visitor, path: str, status: int = 200) -> str:
        """What a page says."""
        return text(self.page(visitor, path, status))


def text(page: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", unescape(TAG.sub(" ", page)))
