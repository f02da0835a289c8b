"""`make deb`: a Debian package of certctl with its own virtual environment below /usr/lib/certctl.

Run by the Python that the package will need, which is that of the release it is for, with the standard library alone.
Python packages come from PyPI, in the versions and with the hashes of requirements-postgres.lock.
"""

from __future__ import annotations

import gzip
import os
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
HERE = CHECKOUT / "deploy/debian"
REVISION = "1"
HOME = Path("usr/lib/certctl")  # of the virtual environment, in the package
UNIT_PROGRAMS = "/opt/certctl/venv/bin/"  # what systemd/certctl.service has
# What is needed while the environment is filled, and not afterwards; the scripts for shells have the path of the build.
BUILD_TOOLS = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")
NO_TESTS = ("twisted", "constantly", "hyperlink", "incremental", "klein", "treq", "zope")


def main() -> None:
    """Build the package into dist/."""
    sys.dont_write_bytecode = True
    root = CHECKOUT / "build/deb/root"
    shutil.rmtree(root.parent, ignore_errors=True)
    (root / "DEBIAN").mkdir(parents=True)
    environment(root / HOME)
    version = f"{certctl_version()}-{REVISION}"
    files(root, version)
    control(root, version)
    settle(root)
    package = CHECKOUT / f"dist/certctl_{version}_{architecture()}.deb"
    package.parent.mkdir(exist_ok=True)
    # One way of packing, so that the same files give the same package.
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z6", "--build", root, package)


def run(*command: str | Path, cwd: Path | None = None, **variables: str) -> str:
    """Run a program and return what it says; its failure is ours."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch()), **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def epoch() -> int:
    """The moment that files of the package bear: of the last commit, unless SOURCE_DATE_EPOCH says another."""
    if told := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(told)
    git = ("git", "-C", CHECKOUT, "log", "-1", "--format=%ct")
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else int((CHECKOUT / "setup.cfg").stat().st_mtime)


def certctl_version() -> str:
    """The version in certctl/__init__.py."""
    found = re.search(r'^__version__ = "(.+)"$', (CHECKOUT / "certctl/__init__.py").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def architecture() -> str:
    """As Debian calls it."""
    return run("dpkg", "--print-architecture").strip()


def environment(home: Path) -> None:
    """Make the virtual environment, as it will be when Debian's Python starts it from its place."""
    run(sys.executable, "-m", "venv", "--copies", home)
    pip = (
        home / "bin/python",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "--quiet",
    )
    # A part of PostgreSQL's driver is published as source alone: it is built with the setuptools of the lock file.
    run(*pip, "--no-compile", "--require-hashes", "-r", CHECKOUT / "requirements.lock")
    postgres = ("--require-hashes", "--no-build-isolation", "-r", CHECKOUT / "requirements-postgres.lock")
    run(*pip, "--no-compile", *postgres)
    run(*pip, "--no-compile", "--no-deps", "--no-build-isolation", CHECKOUT)
    run(home / "bin/python", "-B", home / "bin/twistd", "--help")  # writes the cache of plugins
    packages = next(home.glob("lib/python3.*/site-packages"))
    for path in unwanted(home, packages):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in ("python", "python3", f"python3.{sys.version_info.minor}"):
        (home / "bin" / name).unlink(missing_ok=True)
        (home / "bin" / name).symlink_to(f"../../../bin/python3.{sys.version_info.minor}")
    (home / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.{sys.version_info.minor}\n"
    )
    for script in (home / "bin").iterdir():
        if not script.is_symlink():
            body = script.read_text().partition("\n")[2]
            script.write_text(f"#!/{HOME}/bin/python\n{body}")
    for source in packages.rglob("*.py"):
        compile_one(source, f"/{HOME}/{source.relative_to(home)}")


def unwanted(home: Path, packages: Path) -> Iterator[Path]:
    """What the environment has that the package does without."""
    yield from (each for each in (home / "bin").iterdir() if each.name not in ("certctl", "twistd"))
    yield from (home / name for name in ("include", "lib64", "share") if (home / name).exists())
    for each in packages.iterdir():
        if each.name.split("-")[0] in BUILD_TOOLS or each.name in BUILD_TOOLS:
            yield each
        elif each.suffix == ".dist-info":  # says where the checkout was, and which files pip knew
            yield from (each / name for name in ("direct_url.json", "RECORD") if (each / name).exists())
    yield from packages.rglob("__pycache__")
    yield from packages.rglob(".git*")
    for name in NO_TESTS:
        yield from (each for each in (packages / name).rglob("test") if each.is_dir())
        yield from (each for each in (packages / name).rglob("tests") if each.is_dir())


def compile_one(source: Path, shown: str) -> None:
    """Compile a module so that its bytecode depends on nothing but the source; some are meant for other Pythons."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    try:
        py_compile.compile(str(source), dfile=shown, doraise=True, invalidation_mode=mode)
    except py_compile.PyCompileError as error:
        print(f"not compiled: {shown}: {error.exc_type_name}", file=sys.stderr)


def files(root: Path, version: str) -> None:
    """What the package has beside the environment."""
    unit = (CHECKOUT / "systemd/certctl.service").read_text()
    own = unit.replace(UNIT_PROGRAMS, f"/{HOME}/bin/").replace(
        "DynamicUser=yes", "User=certctl\nGroup=certctl"
    )
    own = re.sub(r"\A(?:#.*\n)+", "# The settings are in /etc/certctl/certctl.env.\n", own)
    own = re.sub(r"# A user that exists while the service runs\. ", "# ", own)
    assert UNIT_PROGRAMS not in own and "User=certctl" in own, "systemd/certctl.service has changed"
    put(root / "lib/systemd/system/certctl.service", own)
    for socket in sorted((CHECKOUT / "systemd").glob("*.socket")):
        put(root / "lib/systemd/system" / socket.name, socket.read_text())
    put(root / "etc/certctl/certctl.env", (CHECKOUT / "etc/certctl.env").read_text(), 0o640)
    link(root / "usr/bin/certctl", "../lib/certctl/bin/certctl")
    docs = root / "usr/share/doc/certctl"
    for page in (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))):
        put(docs / page.relative_to(CHECKOUT), page.read_text())
    put(docs / "copyright", (HERE / "copyright").read_text())
    moment = run("date", "--utc", "--rfc-email", f"--date=@{epoch()}").strip()
    log = (HERE / "changelog.in").read_text().format(version=version, moment=moment)
    put_packed(docs / "changelog.Debian.gz", log)
    put(root / "usr/share/lintian/overrides/certctl", (HERE / "lintian-overrides").read_text())
    manual = run(
        sys.executable, HERE / "manpage.py", PYTHONPATH=str(next((root / HOME).glob("lib/*/site-packages")))
    )
    put_packed(root / "usr/share/man/man1/certctl.1.gz", manual)


def control(root: Path, version: str) -> None:
    """What dpkg reads."""
    minor = sys.version_info.minor
    size = sum(each.lstat().st_size for each in root.rglob("*") if each.is_file()) // 1024
    text = (HERE / "control.in").read_text()
    filled = text.format(
        version=version, architecture=architecture(), size=size, python=f"3.{minor}", next=f"3.{minor + 1}"
    )
    put(root / "DEBIAN/control", filled)
    put(root / "DEBIAN/conffiles", "/etc/certctl/certctl.env\n")
    for name in ("postinst", "prerm", "postrm"):
        put(root / "DEBIAN" / name, (HERE / name).read_text(), 0o755)
    listed = sorted(each for each in root.rglob("*") if each.is_file() and "DEBIAN" not in each.parts)
    sums = run("md5sum", *(each.relative_to(root) for each in listed if not each.is_symlink()), cwd=root)
    put(root / "DEBIAN/md5sums", sums)


def put(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file, and its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def put_packed(path: Path, text: str) -> None:
    """Write a file packed with gzip, without the moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def link(path: Path, target: str) -> None:
    """Make a symbolic link, and its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def settle(root: Path) -> None:
    """Give all files the moment and the rights that they have in the package."""
    moment = epoch()
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            if path.is_dir():
                path.chmod(0o755)
            elif path.suffix in (".py", ".pyc", ".so", ".pyi", ".txt") or "site-packages" in path.parts:
                path.chmod(0o644)
        # Twisted reads its cache of plugins only if it is newer than they are.
        later = 60 if path.name == "dropin.cache" else 0
        os.utime(path, (moment - 60 + later, moment - 60 + later), follow_symlinks=False)


if __name__ == "__main__":
    main()
