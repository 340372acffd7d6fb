"""What the documentation says to type works as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from topologies import catalog, planfile

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.long


def blocks(language: str) -> list[str]:
    """The README's blocks of code in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """The commands of a console block, as words, that run the checkout's own programs."""
    lines = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    words = [shlex.split(line, comments=True) for line in lines]
    return [command for command in words if command and command[0] == "scripts/mailbed"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Run directories of the test's own."""
    return {**os.environ, "MAILBED_RUNS": str(tmp_path), "PYTHONPATH": str(ROOT)}


def test_the_console_session(environment: dict[str, str], tmp_path: Path) -> None:
    """The README's second console block is a session that works from its first line to its last."""
    session = commands(blocks("console")[1])
    assert [command[1] for command in session][:: len(session) - 1] == ["up", "down"]
    (tmp_path / "message.eml").write_text("Subject: hello\n\nHello Bob\n", encoding="utf-8")
    environment["MAILBED_RUNS"] = str(tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    # A network namespace of its own: control sockets of other labs are out of sight, `down` cannot end them.
    own = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-current-user", "--net"]
    script = "\n".join(shlex.join([str(ROOT / command[0]), *command[1:]]) for command in session)
    result = subprocess.run(
        [*own, "bash", "-e", "-c", script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert result.returncode == 0, result.stderr
    assert "10 rcpt-mx.example.org." in result.stdout
    assert "delivered to bob@example.org" in result.stdout


def test_the_python_program(environment: dict[str, str], tmp_path: Path) -> None:
    """The README's program runs, and prints the way that it says."""
    (program,) = blocks("python")
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert result.returncode == 0, result.stderr
    assert "('corp-mta', 'rcpt-mx')" in result.stdout
    assert "Ether / IP / UDP" in result.stdout


def test_the_plan(tmp_path: Path) -> None:
    """The README's hosts are accepted in a plan file that has the links and zones for them."""
    (hosts,) = blocks("toml")
    plan = planfile.dumps(catalog.load("minimal"))
    start = plan.index('[[hosts]]\nname = "a-root"')
    end = plan.index("[[hosts]]", start + 1)
    links = 'links = [\n    { a = "web", b = "rcpt-lan" },'
    path = tmp_path / "world.toml"
    path.write_text(
        (plan[:start] + hosts + "\n" + plan[end:]).replace("links = [", links, 1), encoding="utf-8"
    )
    loaded = catalog.load(str(path))
    assert loaded.host("a-root").roles[0].implementation == "nsd"
    assert loaded.host("web").roles[0].kind == "command"


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_the_paths(document: str) -> None:
    """Every file and folder that a document names is there."""
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(
        re.findall(r"`((?:topologies|services|captures|mailbed|scripts|tests|typings)/[\w./-]*)`", text)
    )
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
