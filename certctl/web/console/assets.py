"""Style, script and icon of the console: each under a name that changes with its contents, so that browsers keep it."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from importlib.resources import files

import attrs

from certctl.web.answer import Answer

TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
LONG = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}  # a year


@attrs.frozen
class Asset:
    """A file: its name with its hash, its octets, and the same packed."""

    path: str
    content_type: str
    plain: bytes = attrs.field(repr=False)
    packed: bytes = attrs.field(repr=False)

    def answer(self, accepted: str) -> Answer:
        """The file, packed for who takes that."""
        if "gzip" not in accepted:
            return Answer(content_type=self.content_type, body=self.plain, headers=LONG)
        headers = {**LONG, "Content-Encoding": "gzip"}
        return Answer(content_type=self.content_type, body=self.packed, headers=headers)


def read() -> Mapping[str, Asset]:
    """All assets, by the names of their files."""
    found = {}
    for file in sorted(files("certctl.web.console").joinpath("static").iterdir(), key=lambda each: each.name):
        stem, _, kind = file.name.rpartition(".")
        if kind in TYPES:
            octets = file.read_bytes()
            path = f"{stem}.{hashlib.sha256(octets).hexdigest()[:12]}.{kind}"
            found[file.name] = Asset(path, TYPES[kind], octets, gzip.compress(octets, 9, mtime=0))
    return found
