"""A machine of its own for a page of the documentation, and the page's blocks.

The machine has namespaces for network, processes and mounts, and overlays over this machine's directories: what a page
writes into /etc is gone with it, ports 80 and 443 are free, names are those of its /etc/hosts, and no packet leaves it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from tests.integration.server import CHECKOUT, PROGRAMS, Ran, environment

ADDRESS = "10.77.0.1"  # of everything in the machine
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEWEST = f"{PROGRAMS}:{SYSTEM}"  # where programs are both Debian's and PyPI's, PyPI's
DEBIAN = f"{SYSTEM}:{PROGRAMS}"
_OVERLAID = ("etc", "var", "usr/local", "root", "opt", "srv")
_SETUP = f"""
set -eu
layers=$(mktemp -d)
mount -t tmpfs -o mode=0755 tmpfs "$layers"
for each in {" ".join(_OVERLAID)}; do
    mkdir -p "$layers/$each/upper" "$layers/$each/work"
    mount -t overlay overlay -o "lowerdir=/$each,upperdir=$layers/$each/upper,workdir=$layers/$each/work" "/$each"
done
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -m 1777 /run/lock
ip link set lo up
ip address add {ADDRESS}/24 dev lo
printf '127.0.0.1 localhost\\n{ADDRESS} %s\\n' "$1" >/etc/hosts
echo 'nameserver {ADDRESS}' >/etc/resolv.conf
echo ready
exec cat >/dev/null
"""


def unusable() -> str | None:
    """Why no machine can be made here, if so."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        return "needs root, util-linux and iproute2"
    return None


class Machine:
    """Made when constructed; ``end`` ends all that runs in it."""

    def __init__(self, names: str, path: str = NEWEST) -> None:
        """``names`` are those of its one address; ``path`` is where commands are looked for."""
        self._env = {**environment(), "PATH": path, "HOME": "/root", "LC_ALL": "C.UTF-8"}
        command = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc")
        # Its first process, and so all of it, ends with the pipe to it: with the test, whatever becomes of that.
        self._process = subprocess.Popen(
            (*command, "bash", "-c", _SETUP, "machine", names),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise AssertionError("the machine could not be made")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self._first = children.read_text().split()[0]

    def run(self, script: str, within: float = 90.0) -> Ran:
        """Run a script by bash, which ends with its first command that fails; what it leaves running stays."""
        enter = ("nsenter", f"--target={self._first}", "--mount", "--net", "--pid", "--wd=/root")
        said = self._process.pid, time.monotonic_ns()
        output = Path("/tmp") / f"certctl-machine-{said[0]}-{said[1]}"
        # Into a file: what is left running would keep a pipe open.
        try:
            with output.open("w") as file:
                ended = subprocess.run(
                    (*enter, "bash", "-euo", "pipefail", "-c", script),
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=within,
                )
            return Ran((script,), ended.returncode, output.read_text(errors="replace"))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{script}\ntook too long:\n{output.read_text(errors='replace')}") from None
        finally:
            output.unlink()

    def write(self, path: str, text: str) -> None:
        """Make a file, and the directories above it."""
        made = f"mkdir -p {Path(path).parent}; cat >{path} <<'END_OF_THE_FILE'\n{text}END_OF_THE_FILE\n"
        self.run(made).must_succeed()

    def serve(self, settings: Mapping[str, str]) -> None:
        """Start certctl as on a server's host; it is ready when this returns."""
        self.write(
            "/etc/certctl/certctl.env", "".join(f"{name}={value}\n" for name, value in settings.items())
        )
        self.run(
            "cd /var/lib; setsid twistd --nodaemon --pidfile= certctl --settings /etc/certctl/certctl.env"
            " >/var/log/certctl.log 2>&1 &\n"
            "for i in $(seq 300); do grep -q 'is ready' /var/log/certctl.log && exit 0; sleep 0.1; done\n"
            "cat /var/log/certctl.log; exit 1"
        ).must_succeed()

    def end(self) -> None:
        """End everything in it."""
        self._process.communicate(timeout=10)


@attrs.frozen
class Block:
    """A fenced block of a page: its kind, and the file that the line before it names."""

    kind: str
    text: str
    file: str | None


_BLOCK = re.compile(r"(?:`(/[^`\n]+)`[^`\n]*:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page below docs/, in order."""
    for file, kind, text in _BLOCK.findall((CHECKOUT / "docs" / page).read_text(encoding="utf-8")):
        yield Block(kind, text, file or None)


def walk(page: str, machine: Machine) -> None:
    """Do all that a page says, in order: files are written, ``sh`` is run, ``text`` is what that must have said.

    ``console`` is for people: what needs a running systemd, for instance. Raises AssertionError if the page is wrong.
    """
    said = ""
    for block in blocks(page):
        if block.file is not None:
            machine.write(block.file, block.text)
        elif block.kind == "sh":
            said = machine.run(block.text).must_succeed().output
        elif block.kind == "text":
            for line in block.text.splitlines():
                if line.strip() not in said:
                    raise AssertionError(f"{page} promises {line.strip()!r}, and this was said:\n{said}")
        elif block.kind != "console":
            raise AssertionError(f"{page} has a block {block.kind} that names no file:\n{block.text}")
