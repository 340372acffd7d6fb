"""A server whose disk is full says so, loses nothing, and recovers by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_full_disk(tmp_path: Path) -> None:
    """On a full disk clients are told 452; what was taken arrives once, and then there is room again.

    That is so although the first message of all stays where it is.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    run = subprocess.run(
        ["unshare", *user, "--mount", sys.executable, "-m", "tests.lab.full_disk", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=200,
    )
    result = json.loads(run.stdout)
    codes = [reply[:9] for reply in result["told"]]
    taken = codes.count("250 2.0.0")
    assert set(codes) == {"250 2.0.0", "452 4.3.1"}
    assert 20 < taken == result["waiting"]
    assert {reply[:9] for reply in result["again"]} == {"250 2.0.0"}
    expected = [*(n for n, code in enumerate(codes) if n and code == "250 2.0.0"), *range(150, 160)]
    assert result["found"] == {str(number): 1 for number in expected}
    assert not any((tmp_path / "spool").iterdir())  # The disk went with its namespace.
