"""Level controller of ``make acme-cert-manager-test``: when it is chosen, what is built for it, and the level itself.

The level itself runs only where ``CERT_MANAGER_PROGRAMS`` names a folder with its programs, as they take long to build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.server import CHECKOUT, PROGRAMS, Ran, run
from tests.integration.test_cert_manager import DATA, INTEGRATION

CONTROLLER = INTEGRATION / "controller"
NAMES = ("etcd", "kube-apiserver", "kubectl", "acmesolver", "cert-manager-controller")
NAMESPACES = ("unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "true")
ENDS_WITHIN = 600.0  # seconds, on a busy machine; a minute or two are usual


def program(path: Path, does: str) -> None:
    """Put a shell script there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


def need_namespaces() -> None:
    """Skip a test where the kernel or a sandbox has no namespaces for it."""
    if not shutil.which("unshare") or subprocess.run(NAMESPACES, capture_output=True).returncode:
        raise SkipTest("unshare makes no namespaces here")


class LevelTests(SynchronousTestCase):
    """Which level is chosen, with programs that end at once in the place of those that serve."""

    def setUp(self) -> None:
        """A machine whose Docker has no engine."""
        self.place = Path(self.mktemp()).absolute()
        self.programs = self.place / "programs"
        program(self.place / "bin/docker", "exit 1")

    def script(self, *arguments: str, path: str = os.environ["PATH"]) -> Ran:
        """Run cert-manager-test.sh."""
        env = {
            "PATH": f"{self.place / 'bin'}:{path}",
            "PYTHON": sys.executable,
            "CERT_MANAGER_PROGRAMS": str(self.programs),
        }
        return run(INTEGRATION / "cert-manager-test.sh", *arguments, env=env)

    def test_chosen_where_programs_are(self) -> None:
        """With all programs there it is the level; one that does not serve fails it, and what that said is shown."""
        need_namespaces()
        for name in NAMES:
            program(self.programs / name, f"echo {name} has no wish to serve; exit 3")
        ran = self.script()
        self.assertEqual(ran.output.splitlines()[0], "level controller")
        self.assertNotEqual(ran.status, 0)
        self.assertIn("etcd has no wish to serve", ran.output)

    def test_not_chosen_where_one_lacks(self) -> None:
        """Nothing is built unasked: with a program missing the level is go, which here has no Go."""
        self.without_go()
        for name in NAMES[:-1]:
            program(self.programs / name, "exit 3")
        ran = self.script(path="/usr/bin:/bin")
        self.assertEqual((ran.status, ran.output.splitlines()[0]), (1, "level go"))

    def test_asked_for(self) -> None:
        """Asked for where it cannot be had, it says what it lacks, and no lower level takes its place."""
        need_namespaces()
        self.without_go()
        ran = self.script("controller", path="/usr/bin:/bin")
        self.assertEqual(ran.status, 1)
        self.assertIn(f"level controller needs {self.programs}/etcd, or Go to build it", ran.output)

    def without_go(self) -> None:
        """Skip where Go is among Debian's own programs."""
        if shutil.which("go", path="/usr/bin:/bin"):
            raise SkipTest("there is a Go in /usr/bin")


class BuildTests(SynchronousTestCase):
    """controller/build.sh, without building."""

    def setUp(self) -> None:
        """A Go that notes what it is to build, and makes it."""
        self.place = Path(self.mktemp()).absolute()
        self.folder = self.place / "programs"
        made = 'while [ "$1" != -o ]; do shift; done; touch "$2"; chmod +x "$2"'
        program(self.place / "bin/go", f'echo "$*" >>"{self.place}/calls"; {made}')
        crds = self.place / "source/deploy/crds"
        shutil.copytree(DATA / "cert-manager-v1.15.0", crds)
        self.env = {
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "CERT_MANAGER_SOURCE": str(self.place / "source"),
            "KUBEBUILDER_ASSETS": "",
        }

    def build(self, **env: str) -> Ran:
        """Run it."""
        return run(CONTROLLER / "build.sh", self.folder, env={**self.env, **env}).must_succeed()

    def test_once(self) -> None:
        """Each program is built where it is missing, and the definitions are such that an API server takes them."""
        said = self.build().output.splitlines()
        self.assertEqual([each.split()[2].rstrip(":") for each in said], [*NAMES])
        calls = (self.place / "calls").read_text()
        self.assertIn("AppVersion=v1.15.0", calls)
        definition = yaml.safe_load((self.folder / "crds/crd-certificates.yaml").read_text())
        self.assertEqual(
            set(definition["metadata"]["labels"].values()), {"cert-manager"}, definition["metadata"]["labels"]
        )
        self.assertEqual(self.build().output, "")
        self.assertEqual((self.place / "calls").read_text(), calls)

    def test_assets(self) -> None:
        """The programs of envtest serve as well."""
        self.build(KUBEBUILDER_ASSETS="/usr/local/kubebuilder/bin")
        for name in NAMES[:3]:
            self.assertEqual(os.readlink(self.folder / name), f"/usr/local/kubebuilder/bin/{name}")

    def test_versions(self) -> None:
        """go.mod and build.sh name one Kubernetes, whose parts are of one version."""
        module = (CONTROLLER / "go.mod").read_text()
        script = (CONTROLLER / "build.sh").read_text()
        (version,) = set(re.findall(r"^kubernetes=v1\.(\S+)$", script, re.MULTILINE))
        self.assertEqual(set(re.findall(r"k8s\.io/kubernetes v1\.(\S+)", module)), {version})
        self.assertEqual(set(re.findall(r"=> k8s\.io/\S+ v0\.(\S+)", module)), {version})


if "CERT_MANAGER_PROGRAMS" in os.environ:  # and in no other run a test that is skipped

    class ControllerTests(SynchronousTestCase):
        """cert-manager's controller against certctl."""

        def test_secrets(self) -> None:
            """By the walkthrough's own resources: first certificates, renewals, challenges, a bound account."""
            env = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "PYTHON": sys.executable}
            script = INTEGRATION / "cert-manager-test.sh"
            ran = run(script, "controller", cwd=CHECKOUT, env=env, within=ENDS_WITHIN).must_succeed()
            self.assertEqual(ran.output.count("the chain ends in the root"), 7)
