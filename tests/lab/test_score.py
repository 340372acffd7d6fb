"""`mailbed filter score`: the corpus through the whole world, and what its filter misjudges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mailbed.cli.app import run_command


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_corpus_is_scored_by_both_engines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every message has a verdict; what went to the list without a remedy is lost, and DMARC is named."""
    out = tmp_path / "score"
    assert run_command(["filter", "score", "--each", "7", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["engine"] for each in told["engines"]] == ["built-in", "spamassassin"]
    for each in told["engines"]:
        found = {rate["category"]: rate for rate in each["categories"]}
        assert len(found) == 6
        assert all(rate["messages"] == 7 for rate in found.values())
        assert any("DMARC: example.com" in one["cause"] for one in found["list"]["causes"])
        assert found["list"]["misjudged"] >= 3
        assert found["malware"]["misjudged"] == 0
    verdicts = json.loads((out / "score.json").read_text())["verdicts"]
    assert {one["score"] is not None for one in verdicts["spamassassin"]} >= {True}
    assert "<svg" in (out / "score.html").read_text()


def test_an_engine_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error that names those that are; nothing is left."""
    out = tmp_path / "score"
    assert run_command(["filter", "score", "--engine", "rspamd", "--out", str(out)]) == 2
    assert "there are built-in, spamassassin" in capsys.readouterr().err
    assert not out.exists()


def test_a_directory_that_is_not_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody's files are overwritten."""
    (tmp_path / "letter").write_text("x")
    assert run_command(["filter", "score", "--out", str(tmp_path)]) == 2
    assert "is not an empty directory" in capsys.readouterr().err
