"""The run directory."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from mailbed import rundir
from mailbed.errors import LabError

NOW = datetime.datetime(2026, 11, 24, 4, 5, 6, tzinfo=datetime.UTC)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs are kept, for this test."""
    monkeypatch.setenv("MAILBED_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_a_run_gets_a_directory_of_its_own(base: Path) -> None:
    """Its name is the time, the topology and some hex digits, so that two runs in a second do not meet."""
    one, other = (rundir.create("minimal", out=None, now=NOW) for _ in range(2))
    assert one != other
    assert one.parent == base
    assert one.name.startswith("20261124T040506Z-minimal-")
    assert sorted(path.name for path in one.iterdir()) == ["hosts", "tls"]


@pytest.mark.parametrize("exists", [False, True])
def test_out_may_be_there_if_it_is_empty(tmp_path: Path, exists: bool) -> None:
    """A directory that the user names is made, or taken if nothing is in it; its path is absolute."""
    out = tmp_path / "a" / ".." / "out"
    if exists:
        (tmp_path / "out").mkdir()
    (tmp_path / "a").mkdir()
    assert rundir.create("minimal", out=out, now=NOW) == tmp_path / "out"


def test_what_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    """Nobody's files are mixed with a run's."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(LabError, match="is not empty: choose another --out"):
        rundir.create("minimal", out=tmp_path, now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A place where no directory can be is one line with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match=r"cannot make the run directory .*: Not a directory; use --out"):
        rundir.create("minimal", out=tmp_path / "file" / "out", now=NOW)


def test_the_record_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """run.json reads back as it was written, and no half-written file stays."""
    rundir.write_record(tmp_path, {"state": "running", "name": "Zoë"})
    rundir.write_record(tmp_path, {"state": "ended"})
    assert rundir.read_record(tmp_path) == {"state": "ended"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "there is no run.json in it"),
        ("", "run.json does not read as JSON"),
        ('{"state": ', "run.json does not read as JSON"),
        ("[]", "run.json holds no object"),
    ],
)
def test_what_is_no_run_is_told(tmp_path: Path, text: str | None, why: str) -> None:
    """A directory without a record, or with a broken one, is no run directory, and people are told why."""
    if text is not None:
        (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(LabError) as caught:
        rundir.read_record(tmp_path)
    assert str(caught.value) == f"{tmp_path} is no run directory: {why}"


def test_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    """What stands in the way of reading the record is told in the system's words."""
    (tmp_path / "run.json").mkdir()
    with pytest.raises(LabError) as caught:
        rundir.read_record(tmp_path)
    assert str(caught.value) == f"{tmp_path}/run.json cannot be read: Is a directory"


def test_versions_name_what_results_depend_on() -> None:
    """Every run says what it ran with, and that is JSON."""
    versions = rundir.versions()
    assert {"mailbed", "mininet", "dnslib", "scapy", "python", "kernel"} <= set(versions)
    assert json.loads(json.dumps(versions)) == versions


def test_runs_are_kept_in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless MAILBED_RUNS names a place, runs lie below captures/."""
    monkeypatch.delenv("MAILBED_RUNS", raising=False)
    assert rundir.default_base() == Path(rundir.__file__).parents[1] / "captures" / "runs"
