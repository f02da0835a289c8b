"""What the documentation's site does with links that lead out of docs/: README.md is a page, other files are named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def slug(heading: str, separator: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def on_files(files: Files, config: Any) -> Files:
    """README.md is the first page."""
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links from and to README.md lead to pages, and name the files of the repository that are none."""
    folder = ROOT if page.file.src_uri == "index.md" else ROOT / "docs"
    return _LINK.sub(lambda link: _led(folder, *link.groups()), markdown)


def _led(folder: Path, words: str, target: str) -> str:
    path, hash, fragment = target.partition("#")
    if not path or ":" in path:
        return f"[{words}]({target})"
    file = (folder / path).resolve()
    if file == ROOT / "README.md":
        return f"[{words}](index.md{hash}{fragment})"
    if file.is_relative_to(ROOT / "docs"):
        return f"[{words}]({file.relative_to(ROOT / 'docs').as_posix()}{hash}{fragment})"
    return f"{words} (`{file.relative_to(ROOT).as_posix()}` in the repository)"
