"""What the doctor makes of what it finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mailbed import doctor
from mailbed.cli import app
from topologies.features import FEATURES


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)]
)
def test_python(version: tuple[int, int], ok: bool) -> None:
    """Python 3.11 to 3.13 will do."""
    assert doctor.python(version).ok == ok


@pytest.mark.parametrize(("free", "ok"), [(doctor.ROOM_BYTES, True), (doctor.ROOM_BYTES - 1, False)])
def test_room(free: int, ok: bool) -> None:
    """A disk that is nearly full is found before a capture fills it."""
    assert doctor.room(free).ok == ok


def test_run_directory(tmp_path: Path) -> None:
    """Runs can be kept in a directory that does not exist yet, and trying does not make it."""
    base = tmp_path / "not" / "yet"
    assert doctor.run_directory(base).ok
    assert not (tmp_path / "not").exists()


def test_run_directory_that_is_a_file(tmp_path: Path) -> None:
    """A file in the way is found, and named."""
    (tmp_path / "file").touch()
    finding = doctor.run_directory(tmp_path / "file" / "runs")
    assert not finding.ok
    assert str(tmp_path / "file") in finding.detail
    assert "MAILBED_RUNS" in finding.remedy


@pytest.mark.parametrize("tool", doctor.TOOLS, ids=lambda tool: tool.name)
def test_tools(tool: doctor.Tool) -> None:
    """A tool that is missing comes with the package that brings it."""
    assert doctor.find_tool(tool, lambda name: f"/usr/bin/{name}").ok
    missing = doctor.find_tool(tool, lambda _name: None)
    assert not missing.ok
    assert missing.remedy == f"apt-get install {tool.package}"


def test_several_users() -> None:
    """A user without subordinate ids is told how to get them; a lab that needs none runs all the same."""
    assert doctor.several_users(True).ok
    missing = doctor.several_users(False)
    assert (missing.ok, missing.needed) == (False, False)
    assert "--add-subuids" in missing.remedy


def test_features() -> None:
    """A kernel feature is what a trial of it said; what is missing has a remedy and does not fail."""
    netem = FEATURES["netem"]
    assert doctor.try_feature(netem, None).ok
    missing = doctor.try_feature(netem, "qdisc kind is unknown")
    assert (missing.ok, missing.needed, missing.detail) == (False, False, "qdisc kind is unknown")
    assert "modprobe" in missing.remedy


def _finding(*, ok: bool, needed: bool) -> doctor.Finding:
    return doctor.Finding(name="x", purpose="y", ok=ok, needed=needed, remedy="apt-get install x")


@pytest.mark.parametrize(
    ("findings", "status"),
    [
        pytest.param([_finding(ok=True, needed=True)], 0, id="all there"),
        pytest.param([_finding(ok=True, needed=True), _finding(ok=False, needed=False)], 0, id="optional"),
        pytest.param([_finding(ok=False, needed=True), _finding(ok=True, needed=True)], 1, id="needed"),
    ],
)
def test_exit_status(
    findings: list[doctor.Finding],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It fails only if something is missing that labs need; each thing missing is told with its remedy."""
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    assert app.run_command(["doctor"]) == status
    out = capsys.readouterr().out
    assert ("apt-get install x" in out) == any(not finding.ok for finding in findings)
    assert app.run_command(["doctor", "--json"]) == status
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] == (status == 0)
    assert len(document["findings"]) == len(findings)
