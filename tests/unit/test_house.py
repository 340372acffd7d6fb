"""The house itself: where packages lie, what is pinned, what is tracked, who may import whom."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("topologies", "services", "captures", "mailbed")
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
SCRIPTS = sorted(
    path for path in (CHECKOUT / "scripts").iterdir() if path.is_file() and not path.suffix.startswith(".py")
)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_lies_in_the_checkout(package: str) -> None:
    """The packages have plain names, so one of a stranger's could come in their place."""
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == CHECKOUT / package / "__init__.py"
    assert [Path(path).resolve() for path in module.__path__] == [CHECKOUT / package]


def test_the_project_is_not_published() -> None:
    """Package indexes refuse what carries this classifier."""
    assert "Private :: Do Not Upload" in PYPROJECT["project"]["classifiers"]


def test_packages_are_found_explicitly() -> None:
    """What is installed is the four packages, and not whatever else lies in the checkout."""
    found = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert sorted(found) == sorted(f"{package}*" for package in PACKAGES)


def normalised(requirement: str) -> str:
    """The name in a requirement, spelled as indexes compare names (PEP 503)."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    assert match is not None, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def test_every_dependency_is_pinned() -> None:
    """The constraints give one version of each dependency, and name no index, address or path."""
    text = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert "://" not in text
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    pinned = [normalised(line) for line in lines]
    assert len(pinned) == len(set(pinned))
    project = PYPROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [requirement for group in groups for requirement in group]
    assert {normalised(requirement) for requirement in wanted} <= set(pinned)


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Git in the checkout, whoever owns it."""
    return subprocess.run(
        ["git", "-c", f"safe.directory={CHECKOUT}", *arguments], cwd=CHECKOUT, capture_output=True, text=True
    )


@pytest.mark.parametrize("path", ["/work[/]", re.escape(str(CHECKOUT))])
def test_nothing_tracked_names_a_path_of_this_machine(path: str) -> None:
    """What is tracked works wherever it is cloned to: no file holds where this checkout lies."""
    if git("rev-parse", "--git-dir").returncode != 0:
        pytest.skip("needs a git checkout: this is a copy")
    found = git("grep", "--cached", "-nIE", path)
    assert (found.returncode, found.stdout) == (1, ""), found.stdout + found.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and the settings in a directory of their own, to plant things in."""
    directory = tmp_path_factory.mktemp("copy")
    for name in (*PACKAGES, "scripts"):
        shutil.copytree(
            CHECKOUT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__", "runs")
        )
    shutil.copy(CHECKOUT / "pyproject.toml", directory)
    return directory


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says about the packages in a directory."""
    command = Path(sys.executable).with_name("lint-imports")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # Wide enough that it breaks no sentence over two lines.
    return subprocess.run(
        [command, "--no-cache", "--no-logo"],
        cwd=directory,
        capture_output=True,
        text=True,
        env={**environment, "COLUMNS": "300"},
    )


def test_imports_keep_to_the_contracts(copy: Path) -> None:
    """As it stands, nobody imports what they may not."""
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout
    assert " 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("file", "statement", "broken"),
    [
        ("services/errors.py", "import captures", "services is not allowed to import captures"),
        ("captures/errors.py", "import services.notices", "captures is not allowed to import services"),
        ("topologies/errors.py", "import services", "topologies is not allowed to import services"),
        ("services/dns/names.py", "import topologies.plan", "services is not allowed to import topologies"),
        ("captures/summary.py", "import mailbed.errors", "captures is not allowed to import mailbed"),
        ("mailbed/errors.py", "import scripts.experiments", "mailbed is not allowed to import scripts"),
        ("mailbed/errors.py", "import scapy", "mailbed is not allowed to import scapy"),
        ("mailbed/lab.py", "from scapy.packet import Packet", "mailbed is not allowed to import scapy"),
        ("captures/recorder.py", "import scapy.all", "captures is not allowed to import scapy"),
        (
            "mailbed/supervisor.py",
            "from mininet.net import Mininet",
            "mailbed is not allowed to import mininet",
        ),
        ("topologies/kernel.py", "import mininet.util", "topologies is not allowed to import mininet"),
        ("topologies/custom.py", "import mininet", "topologies is not allowed to import mininet"),
        ("services/smtp/session.py", "import asyncio", "session is not allowed to import asyncio"),
        ("services/smtp/transaction.py", "import asyncio", "transaction is not allowed to import asyncio"),
        ("services/smtp/server.py", "import socket", "services is not allowed to import socket"),
        ("services/smtp/trace.py", "import dnslib", "services.smtp is not allowed to import dnslib"),
        ("topologies/plan.py", "import socket", "topologies.plan is not allowed to import socket"),
        ("topologies/routing.py", "import time", "topologies.routing is not allowed to import time"),
        ("services/dns/cache.py", "import time", "services.dns.cache is not allowed to import time"),
        ("services/smtp/mx.py", "import asyncio", "services.smtp.mx is not allowed to import asyncio"),
        ("captures/reorder.py", "import threading", "captures.reorder is not allowed to import threading"),
        ("mailbed/tracking.py", "import subprocess", "mailbed.tracking is not allowed to import subprocess"),
        # Not directly: through a module that may.
        (
            "services/dns/answers.py",
            "import services.dns.server",
            "services.dns.answers is not allowed to import soc",
        ),
        ("mailbed/rpc.py", "import mailbed.client", "mailbed.rpc is not allowed to import socket"),
    ],
)
def test_a_planted_import_is_found(copy: Path, file: str, statement: str, broken: str) -> None:
    """An import that the design forbids makes the linter fail, and it says which."""
    path = copy / file
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(f"{before}\n\ndef planted() -> None:\n    {statement}\n", encoding="utf-8")
        result = lint_imports(copy)
    finally:
        path.write_text(before, encoding="utf-8")
    assert result.returncode == 1, result.stdout
    assert broken in result.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_says_what_it_does(script: Path, tmp_path: Path) -> None:
    """Each script can be run from anywhere and answers --help at once, without setting anything up."""
    assert os.access(script, os.X_OK)
    result = subprocess.run([script, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=10)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) >= 2
    assert result.stderr == ""


@pytest.mark.parametrize(
    # What `test` does not know it passes on to pytest.
    "script",
    [path for path in SCRIPTS if path.name != "test"],
    ids=lambda path: path.name,
)
def test_every_script_refuses_what_it_does_not_know(script: Path, tmp_path: Path) -> None:
    """An option that does not exist is a mistake in the command: status 2 and a line that says so."""
    result = subprocess.run([script, "--no-such"], cwd=tmp_path, capture_output=True, text=True, timeout=10)
    assert result.returncode == 2, result.stdout
    assert result.stderr
    assert result.stdout == ""


def test_the_scripts_are_there() -> None:
    """What people run is found where the documentation says."""
    assert {script.name for script in SCRIPTS} >= {"setup", "demo", "test", "lint", "bench", "mailbed"}
