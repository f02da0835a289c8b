"""The house's rules, read from the source: who may import whom, and how long things are."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import certctl
from certctl.authority.trail import Action

ROOT = Path(certctl.__file__).parent
MAX_MODULE = 350  # lines
MAX_FUNCTION = 45  # lines

# What the modules of a package may import of certctl: themselves, and these.
BELOW = {
    "certctl.acme": (),
    "certctl.storage": ("certctl.acme",),
    "certctl.validation": ("certctl.__version__", "certctl.acme"),
    "certctl.issuance": ("certctl.acme",),
    "certctl.authority": (
        "certctl.acme",
        "certctl.storage",
        "certctl.validation",
        "certctl.issuance",
        "certctl.background",
        "certctl.sealing",
    ),
    "certctl.web": (
        "certctl.__version__",
        "certctl.acme",
        "certctl.storage",
        "certctl.validation",
        "certctl.issuance",
        "certctl.authority",
        "certctl.background",
    ),
    "certctl.cli": (
        "certctl.__version__",
        "certctl.start",
        "certctl.settings",
        "certctl.acme",
        "certctl.storage",
        "certctl.validation",
        "certctl.issuance",
        "certctl.authority",
        "certctl.sealing",
    ),
}
# Who joins concrete classes; everybody else knows the Protocols.
JOINERS = {"certctl.tap", "certctl.assembly", "certctl.signers"}
CONCRETE = (
    "certctl.storage.sqlite",
    "certctl.storage.postgres",
    "certctl.issuance.local",
    "certctl.validation.http01",
    "certctl.validation.dns01",
    "certctl.validation.tlsalpn01",
)
PURE = {"attrs", "cryptography", "idna", "certctl"}  # beside the standard library, for certctl.acme
IMPURE = {
    "asyncio",
    "socket",
    "ssl",
    "sqlite3",
    "http",
    "urllib",
    "threading",
    "subprocess",
    "time",
    "select",
}


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("certctl", *path.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the full names of what a module imports, wherever it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{each.name}" for each in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Say whether a name is one of the packages or lies in one."""
    return any(name == each or name.startswith(f"{each}.") for each in packages)


class ImportTests(SynchronousTestCase):
    def test_imports_point_down(self) -> None:
        """Web imports authority and below; authority imports acme and the three that never import each other."""
        wrong = [
            f"{name} imports {imported}"
            for name, tree in modules().items()
            for package, below in BELOW.items()
            if within(name, (package,))
            for imported in imports(tree)
            if within(imported, ("certctl",)) and not within(imported, (package, *below))
        ]
        self.assertEqual(wrong, [])

    def test_every_package_has_its_place(self) -> None:
        """A package that is new is given its place in the table above."""
        packages = {".".join(name.split(".")[:2]) for name in modules() if name.count(".") > 1}
        self.assertEqual(packages, set(BELOW))

    def test_acme_is_pure(self) -> None:
        """What the RFCs say needs no network, no database, no clock and no framework."""
        wrong = [
            f"{name} imports {imported}"
            for name, tree in modules().items()
            if within(name, ("certctl.acme",))
            for imported in imports(tree)
            if (top := imported.partition(".")[0]) in IMPURE or (not _standard(top) and top not in PURE)
        ]
        self.assertEqual(wrong, [])

    def test_only_service_imports_the_reactor(self) -> None:
        """All others are given it, so that tests can give them a clock."""
        found = {name for name, tree in modules().items() if "twisted.internet.reactor" in set(imports(tree))}
        self.assertEqual(found, {"certctl.service"})

    def test_only_joiners_know_concrete_classes(self) -> None:
        """An engine, a CA or a validator is known to what joins the parts, and to its own package."""
        wrong = [
            f"{name} imports {imported}"
            for name, tree in modules().items()
            if name not in JOINERS
            for imported in imports(tree)
            if within(imported, CONCRETE) and imported.split(".")[1] != name.split(".")[1]
        ]
        self.assertEqual(wrong, [])

    def test_parent_of_workers_is_small(self) -> None:
        """A parent loads nothing of the server that its workers are: no database, no signer, no HTTP."""
        loaded, wanted = set[str](), {"certctl.supervisor"}
        while wanted:
            name = wanted.pop()
            loaded.add(name)
            for imported in imports(modules()[name]):
                known = [each for each in (imported, imported.rpartition(".")[0]) if each in modules()]
                wanted |= set(known) - loaded - {"certctl"}
        packages = {each.split(".")[1] for each in loaded if each.count(".") > 1}
        self.assertEqual(packages, {"acme"})
        heavy = {"psycopg2", "klein", "cryptography", "OpenSSL", "prometheus_client", "sqlite3"}
        found = {top for each in loaded for top in (i.partition(".")[0] for i in imports(modules()[each]))}
        self.assertEqual(found & heavy, set())

    def test_klein_is_known_to_web(self) -> None:
        """The HTTP framework is nobody else's business."""
        found = {
            name
            for name, tree in modules().items()
            if any(
                within(each, ("klein", "twisted.web.resource", "twisted.web.server"))
                for each in imports(tree)
            )
        }
        self.assertEqual({each for each in found if not within(each, ("certctl.web",))}, {"certctl.assembly"})

    def test_sql_is_in_storage(self) -> None:
        """Statements are built in storage/ alone."""
        words = ("SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ")
        found = {
            name
            for name, tree in modules().items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(words)
        }
        self.assertEqual({each for each in found if not within(each, ("certctl.storage",))}, set())


class SizeTests(SynchronousTestCase):
    def test_modules(self) -> None:
        """No module has more lines than can be read at a sitting."""
        long = {
            path.name: lines
            for path in ROOT.rglob("*.py")
            if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_MODULE
        }
        self.assertEqual(long, {})

    def test_functions(self) -> None:
        """No function has more lines than fit a screen; what only joins parts may have more."""
        long = {
            f"{name}.{node.name}": length
            for name, tree in modules().items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION
            and name not in JOINERS
        }
        self.assertEqual(long, {})

    def test_docstrings(self) -> None:
        """Every module says what it is."""
        self.assertEqual([name for name, tree in modules().items() if not ast.get_docstring(tree)], [])


class TrailTests(SynchronousTestCase):
    def test_every_action_is_used(self) -> None:
        """An action that nothing does would be a promise that nobody keeps."""
        used = {
            node.attr
            for name, tree in modules().items()
            if name != "certctl.authority.trail"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "Action"
        }
        self.assertEqual(used, set(Action.__members__))

    def test_actions_are_those_of_the_documentation(self) -> None:
        """The names that operators search for are a contract."""
        promised = {
            "acme_account_created",
            "acme_account_contact_updated",
            "acme_account_deactivated",
            "acme_account_key_rolled",
            "acme_order_created",
            "acme_order_finalized",
            "acme_challenge_processing",
            "acme_challenge_completed",
            "certificate_revoked",
        }
        self.assertEqual(promised - {each.value for each in Action}, set())


def _standard(top: str) -> bool:
    return top in sys.stdlib_module_names
