"""Render docs/configuration.md and etc/certctl.env from the settings: ``python -m certctl.settings_docs .``"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from textwrap import fill

from certctl.settings import declared
from certctl.settings_declaration import Setting

NOT_YET = "**Not in force yet.**"

INTRODUCTION = """\
# Configuration

<!-- Made by `make docs` from certctl/settings.py: change it there. -->

Every setting is an environment variable. They are read once, when the server starts.

## Where values come from

1. The environment of the process.
2. What the environment does not set: the settings file, where one is named with `twistd certctl --settings FILE` or
   with `CERTCTL_SETTINGS_FILE` in the environment. No file is read unless it is named.
3. What neither sets, or sets to nothing: the default.

`make run` sets a few variables for a first try, unless the environment has them: `CERTCTL_STATE_DIR` (`var` in the
checkout), `CERTCTL_ACME_SERVER_ENABLED` (`true`), `CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID` (`prof-default`) and
`CERTCTL_LOG_FORMAT` (`text`). With `CERTCTL_SETTINGS_FILE` it sets none of them, so that the file decides.

A value that is not allowed stops the start with one sentence that says what would be. So does an unknown name that
begins with `CERTCTL_` in the settings file, or one that differs from a setting by a slip of the pen; names that have
nothing to do with certctl may stand in the file and are passed over. An unknown `CERTCTL_` name in the environment is
ignored with a warning that says which name is nearest: other programs may have put it there.

## How values are written

- **boolean**: `true`, `1` or `yes`, and `false`, `0` or `no`, in capitals or not.
- **duration**: as in Go, numbers with units: `5m`, `24h`, `1h30m`, `1.5h`, `500ms`. The units are `h`, `m`, `s`, `ms`,
  `us` (or `µs`) and `ns`. There are no signs, and no days.
- **list of ...**: items with commas between them; white space around an item does not count.
- **path**: absolute, or from the directory that the server starts in.

## The settings file

It is written as systemd's `EnvironmentFile=` is, so the same file serves both (`etc/certctl.env` is a sample):
`NAME=value` on each line; lines that begin with `#` or `;` are comments, also where they end with a backslash;
a value may stand in single quotes, where nothing is special, or in double quotes, where a backslash goes before `"`,
`\\`, `` ` `` and `$`. Outside quotes a backslash makes the next character plain. A backslash at the end of a line joins
the next line to it. A `#` behind a value belongs to the value, variables are not expanded, and of two lines with the
same name the last one counts. The file may hold secrets: let only the server's user read it.

## In Kubernetes

Kubernetes tells every container where the services of its namespace are, in variables named after the services. For
a service called `certctl-server` there is a `CERTCTL_SERVER_PORT` whose value is `tcp://10.0.0.1:8443`. Such values,
and names like `CERTCTL_PORT_8443_TCP_ADDR`, are recognised for what they are: they are ignored with a warning. Set
`enableServiceLinks: false` in the pod's specification, and they are not made at all.

## Where state is kept

`CERTCTL_STATE_DIR`; else the directory that systemd made for the service (`STATE_DIRECTORY`); else `/var/lib/certctl`
for root, and for others `certctl` in `$XDG_DATA_HOME`, which is `~/.local/share` by default (on macOS
`~/Library/Application Support/certctl`).

Settings that are marked with "Not in force yet" are read and checked, but this version does nothing with them; it
says so in the log when one of them is set.
"""

ENV_HEADER = """\
# Settings of certctl, for systemd's EnvironmentFile= or `twistd certctl --settings FILE`.
# Made by `make docs` from certctl/settings.py; docs/configuration.md says more.
# A line that is commented out shows the default.
"""


def render_configuration(settings: Mapping[str, Setting]) -> str:
    """Return the text of docs/configuration.md."""
    return INTRODUCTION + "".join(_tables(settings))


def _tables(settings: Mapping[str, Setting]) -> Iterator[str]:
    for section, members in groupby(settings.items(), key=lambda item: item[1].section):
        yield f"\n## {section.title}\n\n| variable | type | default | meaning |\n|---|---|---|---|\n"
        for variable, setting in members:
            meaning = setting.sentence if setting.in_force else f"{NOT_YET} {setting.sentence}"
            yield f"| `{variable}` | {setting.kind.name} | {_default(setting)} | {meaning} |\n"


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
            sentence = setting.sentence if setting.in_force else f"Not in force yet. {setting.sentence}"
            words = f"{sentence} ({setting.kind.name})".replace("`", "")
            yield f"\n{fill(words, 100, initial_indent='# ', subsequent_indent='# ')}\n"
            yield f"#{variable}={setting.default_text}\n"


def write(root: Path) -> None:
    """Write both files below ``root``, a checkout."""
    (root / "docs/configuration.md").write_text(render_configuration(declared()), encoding="utf-8")
    (root / "etc/certctl.env").write_text(render_env(declared()), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
