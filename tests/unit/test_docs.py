"""What README.md and docs/ say of links, settings, modules, tests and imports is so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from certctl.authority.trail import Action
from certctl.settings import declared
from tests.unit.test_house import BELOW

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ARCHITECTURE = ROOT / "docs/architecture.md"

NO_SETTINGS = {
    "CERTCTL_SETTINGS_FILE",  # names the file of settings
    "CERTCTL_API_KEY",  # of the operator's shell, as the next two
    "CERTCTL_SERVER_URL",
    "CERTCTL_CA_BUNDLE",
    "CERTCTL_TEST_KILLS",  # of the tests, as the next one
    "CERTCTL_TEST_RACES",
    "CERTCTL_PORT_8443_TCP_ADDR",  # an example of what Kubernetes makes
}

_FENCED = re.compile(r"^(```+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_SETTING = re.compile(r"\bCERTCTL_[A-Z0-9_]+")
_TEST = re.compile(r"\btests(?:\.\w+)+")
_MODULE = re.compile(r"[\w/]+\.py\b")
_IMPORTS_ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$", re.MULTILINE)


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The fragments that lead to a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCED.sub("", text(page))):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        again = sum(each == slug or re.fullmatch(rf"{slug}-\d+", each) is not None for each in found)
        found.add(f"{slug}-{again}" if again else slug)
    return found


def leads_somewhere(page: Path, target: str) -> bool:
    """Whether a relative link's file is there, and in it the heading."""
    path, _, fragment = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and (not fragment or fragment in anchors(file))


def exists(dotted: str) -> bool:
    """Whether a dotted name is that of a module, or of something in one."""
    names = dotted.split(".")
    for length in range(len(names), 0, -1):
        try:
            found: object = import_module(".".join(names[:length]))
        except ModuleNotFoundError as error:
            if error.name is None or not dotted.startswith(error.name):
                raise
            continue
        for name in names[length:]:
            found = getattr(found, name, None)
        return found is not None
    return False


class PagesTests(SynchronousTestCase):
    """All pages."""

    def test_links(self) -> None:
        """Each relative link leads to a file that is there, and to a heading in it."""
        for page in PAGES:
            targets = [
                each for each in _LINK.findall(_FENCED.sub("", text(page))) if not re.match(r"[a-z]+:", each)
            ]
            self.assertEqual([each for each in targets if not leads_somewhere(page, each)], [], page.name)

    def test_dead_links_found(self) -> None:
        self.assertFalse(leads_somewhere(ARCHITECTURE, "absent.md"))
        self.assertFalse(leads_somewhere(ARCHITECTURE, "#absent"))
        self.assertTrue(leads_somewhere(ARCHITECTURE, "../README.md#trust-modes"))

    def test_settings(self) -> None:
        """Each CERTCTL_ name is a setting; one that ends in an underscore begins some."""
        for page in PAGES:
            unknown = {
                each
                for each in _SETTING.findall(text(page))
                if each not in {*declared(), *NO_SETTINGS}
                and not (each.endswith("_") and any(name.startswith(each) for name in declared()))
            }
            self.assertEqual(unknown, set(), page.name)

    def test_tests(self) -> None:
        """Each test that is named exists."""
        for page in PAGES:
            named = set(_TEST.findall(text(page)))
            self.assertEqual({each for each in named if not exists(each)}, set(), page.name)

    def test_absent_tests_found(self) -> None:
        self.assertTrue(exists("tests.unit.test_docs.PagesTests.test_tests"))
        self.assertFalse(exists("tests.unit.test_docs.PagesTests.test_absent"))
        self.assertFalse(exists("tests.unit.absent"))


class AuditTests(SynchronousTestCase):
    """docs/audit.md."""

    def test_actions(self) -> None:
        """The page lists the actions that there are, and no others."""
        rows = re.findall(r"^\| (`[a-z]+_.+?) \|", text(ROOT / "docs/audit.md"), re.MULTILINE)
        listed = [each for row in rows for each in re.findall(r"[a-z_]+", row)]
        self.assertEqual(sorted(listed), sorted(each.value for each in Action))


class CertManagerTests(SynchronousTestCase):
    """docs/acme-cert-manager-walkthrough.md."""

    def test_resources(self) -> None:
        """Each YAML block is the file that the line before it names, octet by octet, and all files are there."""
        page = text(ROOT / "docs/acme-cert-manager-walkthrough.md")
        shown = re.findall(r"^`(\S+\.yaml)`:\n\n```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        self.assertEqual(page.count("```yaml"), len(shown))
        for name, block in shown:
            self.assertEqual(block, text(ROOT / name), name)
        folder = ROOT / "deploy/test/acme-integration"
        self.assertEqual({ROOT / name for name, _ in shown}, set(folder.glob("*.yaml")))


class ModulesTests(SynchronousTestCase):
    """docs/architecture.md."""

    def test_tree_is_whole(self) -> None:
        """Each module of certctl/ has its line in the tree, and nothing else has one."""
        tree = next(each[0] for each in _FENCED.finditer(text(ARCHITECTURE)))
        own, _, _ = tree.partition("\ntwisted/")
        package, named = "", []
        for line in own.splitlines()[2:]:
            if opened := re.match(r"  (\w+/) ", line):
                package = opened[1]
            elif module := re.match(r"(    |  )([\w/]+\.py)\b", line):
                named.append((package if module[1] == "    " else "") + module[2])
        self.assertEqual(sorted(named), sorted(_modules()), "the tree in docs/architecture.md")

    def test_named_modules_exist(self) -> None:
        """In the prose a module's name is its path below certctl/, or below the checkout."""
        prose = _FENCED.sub("", text(ARCHITECTURE))
        named = set(_MODULE.findall(prose))
        absent = {
            each for each in named if not any((base / each).exists() for base in (ROOT, ROOT / "certctl"))
        }
        self.assertEqual(absent, set())


class ImportTests(SynchronousTestCase):
    """The directions of imports, as docs/architecture.md tells them."""

    def test_direction(self) -> None:
        """What a module imports of certctl is what the table lets it."""
        wrong = [
            f"{module} imports {name}"
            for module in _modules()
            for name in _imports(module)
            if name.startswith("certctl") and (room := _room(_dotted(module))) != _room(name)
            if _room(name) not in _table()[room]
        ]
        self.assertEqual(wrong, [])

    def test_same_rule(self) -> None:
        """Of the packages the table says what the test of the house's rules says."""
        rule = {
            _room(package): {_room(each) for each in below if each != "certctl.__version__"}
            for package, below in BELOW.items()
        }
        self.assertEqual({name: lower for name, lower in _table().items() if name in rule}, rule)


@cache
def _table() -> dict[str, set[str]]:
    """What docs/architecture.md lets modules import, by package or module."""
    rows = _IMPORTS_ROW.findall(text(ARCHITECTURE))
    return {name: set(re.findall(r"`(\w+)`", lower)) for name, lower in rows}


def _modules() -> list[str]:
    """The paths below certctl/ of all modules that have a name of their own."""
    base = ROOT / "certctl"
    return [str(each.relative_to(base)) for each in sorted(base.rglob("*.py")) if each.name != "__init__.py"]


def _dotted(module: str) -> str:
    return "certctl." + module.removesuffix(".py").replace("/", ".")


def _room(dotted: str) -> str:
    """The package below certctl, or the module beside the packages; ``settings`` for all that begin so."""
    name = dotted.split(".")[1] if "." in dotted else dotted
    return "settings" if name.startswith("settings") else name


def _imports(module: str) -> Iterator[str]:
    """The dotted names of the modules that a module imports, at whatever place in it."""
    for node in ast.walk(ast.parse(text(ROOT / "certctl" / module))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = (f"{node.module}.{each.name}" for each in node.names if not each.name.startswith("_"))
            yield from named if node.module == "certctl" else (node.module,)
