"""Make etc/certctl.env and the tables of docs/configuration.md and docs/acme-server.md from the settings' declarations.

``python -m certctl.settings_docs .`` writes them in a checkout.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from textwrap import fill

from certctl.settings import declared
from certctl.settings_declaration import Setting

MARKER = "<!-- Below this line everything is made by `make docs` from certctl/settings.py. -->\n"

BEGIN = "<!-- Between these lines everything is made by `make docs` from certctl/settings.py. -->\n"
END = "<!-- Here it ends. -->\n"
ACME = "CERTCTL_ACME_SERVER_"

ENV_HEADER = """\
# Settings of certctl, for systemd/certctl.service or `twistd certctl --settings FILE`.
# Made by `make docs` from certctl/settings.py; docs/configuration.md says more.
# A line that is commented out shows the default.
"""


def render_configuration(current: str, settings: Mapping[str, Setting]) -> str:
    """Return docs/configuration.md: what people wrote above the marker, and the tables made anew."""
    prose, marker, _ = current.partition(MARKER)
    return prose + marker + "".join(_tables(settings))


def render_acme_server(current: str, settings: Mapping[str, Setting]) -> str:
    """Return docs/acme-server.md, with the table of ACME's settings made anew."""
    before, begin, rest = current.partition(BEGIN)
    _, end, after = rest.partition(END)
    own = ((variable, each) for variable, each in settings.items() if variable.startswith(ACME))
    return f"{before}{begin}\n{''.join(_table(own))}\n{end}{after}"


def _tables(settings: Mapping[str, Setting]) -> Iterator[str]:
    for section, members in groupby(settings.items(), key=lambda item: item[1].section):
        yield f"\n## {section.title}\n\n"
        yield from _table(members)


def _table(settings: Iterable[tuple[str, Setting]]) -> Iterator[str]:
    yield "| variable | type | default | meaning |\n|---|---|---|---|\n"
    for variable, setting in settings:
        yield f"| `{variable}` | {setting.kind.name} | {_default(setting)} | {setting.sentence} |\n"


def _default(setting: Setting) -> str:
    if setting.default_words:
        return setting.default_words
    return f"`{setting.default_text}`" if setting.default_text else "empty"


def render_env(settings: Mapping[str, Setting]) -> str:
    """Return the text of etc/certctl.env: every setting with its sentence, commented out."""
    return ENV_HEADER + "".join(_samples(settings))


def _samples(settings: Mapping[str, Setting]) -> Iterator[str]:
    for section, members in groupby(settings.items(), key=lambda item: item[1].section):
        yield f"\n### {section.title}\n"
        for variable, setting in members:
            words = f"{setting.sentence} ({setting.kind.name})".replace("`", "")
            yield f"\n{fill(words, 100, initial_indent='# ', subsequent_indent='# ')}\n"
            yield f"#{variable}={setting.default_text}\n"


PAGES = {"docs/configuration.md": render_configuration, "docs/acme-server.md": render_acme_server}


def write(root: Path) -> None:
    """Write the files below ``root``, a checkout."""
    for name, render in PAGES.items():
        page = root / name
        page.write_text(render(page.read_text(encoding="utf-8"), declared()), encoding="utf-8")
    (root / "etc/certctl.env").write_text(render_env(declared()), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
