"""Debian in a folder: clean ones made by mmdebstrap, the image that deploy/docker/Dockerfile describes, programs there.

What runs in a folder has mounts, processes and a network of its own, which end with it. A folder is layers, as an image
is: what is written goes into the uppermost one.
"""

from __future__ import annotations

import atexit
import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import attrs
from twisted.trial.unittest import SkipTest

from tests.integration.server import CHECKOUT, Ran, RunningServer, run

RELEASE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
DOCKERFILE = CHECKOUT / "deploy/docker/Dockerfile"
# A clean Debian, for the next run of the tests; made anew after a while, as Debian goes on.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "certctl-tests"
CACHED_FOR = 7 * 86_400.0  # seconds
BUILDS_WITHIN = 900.0  # seconds, on a busy machine and a slow network
_TRUST = "/run/host-roots.pem"  # the host's, as it may be behind a proxy with a CA of its own
_ARCHIVES = "/run/archives"  # packages that were fetched before


def unusable() -> str | None:
    """Why no folder can be made here, if so."""
    if os.geteuid() != 0 or not shutil.which("mmdebstrap") or not shutil.which("unshare"):
        return "needs root and mmdebstrap (Debian: mmdebstrap)"
    probe = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True)
    return "namespaces cannot be made here" if probe.returncode else None


def temporary(what: str) -> Path:
    """A directory that is gone with the tests."""
    place = Path(tempfile.mkdtemp(prefix=f"certctl-{what}-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


@attrs.frozen
class Mount:
    """Something of the host at a place in the folder."""

    source: Path
    target: str
    read_only: bool = True

    def script(self) -> str:
        """The shell's commands that mount it on ``$root``."""
        at = f'"$root"{shlex.quote(self.target)}'
        made = f"mkdir -p {at}" if self.source.is_dir() else f'mkdir -p "$(dirname {at})"; touch {at}'
        only = f"\nmount -o remount,bind,ro {at}" * self.read_only
        return f"{made}\nmount --bind {shlex.quote(str(self.source))} {at}{only}"


@attrs.frozen(kw_only=True)
class Folder:
    """A Debian: layers, the uppermost of which is written to."""

    layers: tuple[Path, ...]  # the lowest first
    place: Path  # has the uppermost layer, and what the kernel wants beside it
    env: Mapping[str, str] = attrs.field(factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()

    @property
    def upper(self) -> Path:
        """What was written on top of the layers."""
        return self.place / "upper"

    @classmethod
    def on(cls, *layers: Path) -> Folder:
        """A new folder on layers, gone with the tests."""
        place = temporary("debian")
        for name in ("upper", "work", "root"):
            (place / name).mkdir()
        return cls(layers=layers, place=place)

    def again(self) -> Folder:
        """A new folder on all that this one is; this one must be written to no more."""
        new = Folder.on(*self.layers, self.upper)
        return attrs.evolve(
            new, env=self.env, workdir=self.workdir, user=self.user, entrypoint=self.entrypoint
        )

    def command(
        self,
        *words: str,
        mounts: Sequence[Mount] = (),
        user: str | None = None,
        groups: str = "",
        network: bool = False,
        read_only: bool = False,
        env: Mapping[str, str] | None = None,
        before: str = "",
    ) -> list[str]:
        """The command line, for the host, of a program in the folder; ``before`` is shell in its network before it."""
        lower = ":".join(str(each) for each in reversed(self.layers))
        uid, _, gid = (user or self.user).partition(":")
        variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **self.env, **(env or {})}
        setting = [f"{name}={value}" for name, value in variables.items()]
        drop = [
            "setpriv",
            f"--reuid={uid}",
            f"--regid={gid}",
            f"--groups={groups}" if groups else "--clear-groups",
        ]
        if uid != "0":
            drop += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        inside = [
            "env",
            "-i",
            *setting,
            "sh",
            "-c",
            f'cd {shlex.quote(self.workdir)} && exec "$@"',
            "sh",
            *words,
        ]
        lines = [
            "set -e",
            f"root={shlex.quote(str(self.place / 'root'))}",
            f'mount -t overlay overlay -o lowerdir={lower},upperdir={self.upper},workdir={self.place / "work"} "$root"',
            'mount -t proc proc "$root/proc"',
            'mount --rbind /dev "$root/dev"',
            *(each.script() for each in mounts),
            'mount -o remount,bind,ro "$root"' if read_only else ":",
            "" if network else "ip link set lo up",
            before,
            f'exec chroot "$root" {shlex.join([*drop, *inside])}',
        ]
        isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        return [*isolated, "sh", "-c", "\n".join(lines)]

    def run(self, *words: str, within: float = BUILDS_WITHIN, **how: object) -> Ran:
        """Run a program in the folder to its end."""
        return run(*self.command(*words, **how), within=within)  # type: ignore[arg-type]

    def shell(self, script: str, mounts: Sequence[Mount] = ()) -> Ran:
        """Run a script as root, with the host's network and what it takes to get packages."""
        with tempfile.NamedTemporaryFile("w", prefix="certctl-resolv-") as resolv:
            shutil.copy("/etc/resolv.conf", resolv.name)
            needed = (Mount(Path(resolv.name), "/etc/resolv.conf"), *_registries())
            env = dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), _TRUST)
            return self.run(
                *("sh", "-ec", script),
                mounts=(*needed, *mounts),
                user="0:0",
                network=True,
                env={**env, "DEBIAN_FRONTEND": "noninteractive"},
            )


def _registries() -> Iterator[Mount]:
    """What the host knows about getting packages: whom it trusts, and what pip has already."""
    roots = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    if roots.exists():
        yield Mount(roots, _TRUST)
    wheels = Path.home() / ".cache/pip"
    if wheels.exists():
        yield Mount(wheels, "/root/.cache/pip", read_only=False)
    archives = CACHE / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    yield Mount(archives, _ARCHIVES, read_only=False)


@cache
def clean() -> Path:
    """A Debian with nothing in it but what every Debian has; nobody writes to it."""
    if why := unusable():
        raise SkipTest(why)
    packed = CACHE / f"{RELEASE}.tar"
    if not packed.exists() or time.time() - packed.stat().st_mtime > CACHED_FOR:
        CACHE.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkstemp(dir=CACHE, suffix=".tar")[1])
        command = ("mmdebstrap", "--variant=apt", "--mode=root", "--quiet", RELEASE, made, MIRROR)
        run(*command, within=BUILDS_WITHIN).must_succeed()
        made.rename(packed)
    place = temporary("debian")
    run("tar", "--extract", "--file", packed, "--directory", place, within=BUILDS_WITHIN).must_succeed()
    (place / "etc/apt/apt.conf.d/99tests").write_text(
        f'Dir::Cache::archives "{_ARCHIVES}";\nBinary::apt::APT::Keep-Downloaded-Packages "true";\n'
    )
    (place / "etc/dpkg/dpkg.cfg.d/99tests").write_text("force-unsafe-io\n")  # as Docker's Debian has it
    return place


class Dockerfile:
    """The steps of a Dockerfile, taken one after the other; what is not known stops the test."""

    def __init__(self, path: Path, context: Path) -> None:
        text = path.read_text(encoding="utf-8")
        lines = [each for each in text.splitlines() if not each.lstrip().startswith("#")]
        joined = re.sub(r"\\\n", " ", "\n".join(lines))
        self._steps = [each.strip().partition(" ") for each in joined.splitlines() if each.strip()]
        self._context = context
        self._stages: dict[str, Folder] = {}
        self._arguments: dict[str, str] = {}

    def build(self) -> Folder:
        """The image of the last stage."""
        folder = Folder.on(clean())
        for keyword, _, rest in self._steps:
            folder = getattr(self, f"_{keyword.lower()}")(folder, rest.strip())
        return folder

    def stage(self, name: str) -> Folder:
        """An earlier stage, by its name."""
        return self._stages[name]

    def _arg(self, folder: Folder, rest: str) -> Folder:
        name, _, value = rest.partition("=")
        self._arguments[name] = value
        if name == "SOURCE_DATE_EPOCH":
            return attrs.evolve(folder, env={**folder.env, name: value})
        return folder

    def _from(self, folder: Folder, rest: str) -> Folder:
        base, *named = rest.split(" AS ")
        assert base.replace("${BASE}", self._arguments["BASE"]) == f"debian:{RELEASE}-slim", rest
        new = Folder.on(clean())
        if named:
            self._stages[named[0]] = new
        self._current = named[0] if named else ""
        return new

    def _run(self, folder: Folder, rest: str) -> Folder:
        mounts: list[Mount] = []
        while found := re.match(r"--mount=(\S+)\s+", rest):
            options = dict(each.split("=", 1) for each in found[1].split(","))
            assert options["type"] == "bind", found[1]
            source = self._stages[options["from"]].upper / options["source"].lstrip("/")
            mounts.append(Mount(source, options["target"]))
            rest = rest[found.end() :]
        folder.shell(f"cd {folder.workdir}\n{rest}", mounts=tuple(mounts)).must_succeed()
        return folder

    def _copy(self, folder: Folder, rest: str) -> Folder:
        assert rest == ". .", rest
        target = folder.upper / folder.workdir.lstrip("/")
        shutil.copytree(self._context, target, ignore=self._ignored, dirs_exist_ok=True, symlinks=True)
        return folder

    def _ignored(self, directory: str, names: list[str]) -> set[str]:
        """What .dockerignore keeps out."""
        patterns = (self._context / ".dockerignore").read_text().splitlines()
        base = Path(directory).relative_to(self._context)
        return {
            name
            for name in names
            for pattern in patterns
            if pattern
            if fnmatch.fnmatch(str(base / name), pattern.removeprefix("**/"))
            or (pattern.startswith("**/") and fnmatch.fnmatch(name, pattern.removeprefix("**/")))
        }

    def _workdir(self, folder: Folder, rest: str) -> Folder:
        (folder.upper / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return self._keep(attrs.evolve(folder, workdir=rest))

    def _env(self, folder: Folder, rest: str) -> Folder:
        name, _, value = rest.partition("=")
        return self._keep(attrs.evolve(folder, env={**folder.env, name: value}))

    def _user(self, folder: Folder, rest: str) -> Folder:
        return attrs.evolve(folder, user=rest)

    def _entrypoint(self, folder: Folder, rest: str) -> Folder:
        return attrs.evolve(folder, entrypoint=tuple(json.loads(rest)))

    def _expose(self, folder: Folder, rest: str) -> Folder:
        return folder

    def _volume(self, folder: Folder, rest: str) -> Folder:
        return folder

    def _keep(self, folder: Folder) -> Folder:
        if self._current:
            self._stages[self._current] = folder
        return folder


@cache
def built() -> tuple[Folder, Path]:
    """The image, and the Debian package that it was made from."""
    dockerfile = Dockerfile(DOCKERFILE, CHECKOUT)
    image = dockerfile.build()
    (package,) = (dockerfile.stage("build").upper / "src/dist").glob("certctl_*.deb")
    return image, package


class Network:
    """A network with nothing but loopback, for a server on the ports that it really has, and its clients."""

    def __init__(self) -> None:
        self.name = f"certctl-{uuid.uuid4().hex[:8]}"
        self.inside = ("ip", "netns", "exec", self.name)
        run("ip", "netns", "add", self.name).must_succeed()
        run(*self.inside, "ip", "link", "set", "lo", "up").must_succeed()

    def end(self) -> None:
        """Remove it."""
        run("ip", "netns", "del", self.name).must_succeed()

    def run(self, *words: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Ran:
        """Run a program of the host in it."""
        return run(*self.inside, *words, cwd=cwd, env=env)


class FolderServer(RunningServer):
    """A server in a folder, on port 8443 of a network of its own."""

    def __init__(self, directory: Path, network: Network, command: Sequence[str], root: Path) -> None:
        super().__init__(directory, command=(*network.inside, *command))
        self.network, self.port = network, 8443
        self.root = self.trust = root
        self.settings = {}

    def curl(self, path: str, *options: str) -> Ran:
        """Ask the server, as a client in its network that trusts its root alone."""
        return self.network.run(
            "curl", "--silent", "--show-error", "--cacert", self.trust, *options, self.url + path
        )

    def _is_ready(self) -> bool:
        return self.trust.exists() and self.curl("/ready", "--fail").status == 0

    def stop(self) -> None:
        """Send SIGTERM to the first process of the folder, as whoever runs containers does."""
        (child,) = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        if status := self._ended():
            raise AssertionError(f"the server ended with {status}:\n{self.log}")

    def end(self) -> None:
        """Stop it if it runs; raise AssertionError if its log shows that it stumbled over anything."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        self.must_be_unhurt()

    def first_certificate(self, profile: str, name: str) -> str:
        """Get a certificate with lego, and return what openssl says of it."""
        url = f"{self.url}/acme/profile/{profile}/directory"
        home = self.directory / f"lego-{uuid.uuid4().hex[:8]}"
        options = ("--accept-tos", "--email=you@example.com", f"--domains={name}", "--http", f"--path={home}")
        trust = {"LEGO_CA_CERTIFICATES": str(self.trust)}
        self.network.run("lego", f"--server={url}", *options, "run", env=trust).must_succeed()
        leaf, chain = (home / f"certificates/{name}{end}" for end in (".crt", ".issuer.crt"))
        run("openssl", "verify", "-CAfile", self.trust, "-untrusted", chain, leaf).must_succeed()
        return run("openssl", "x509", "-in", leaf, "-noout", "-text").must_succeed().output
