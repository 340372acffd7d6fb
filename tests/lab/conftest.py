"""What the tests of running labs share."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OTHER_USERS = ("mbtest", "nobody")
"""Who a second user may be; the first that this machine has."""

AsOther = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where runs go that are given no directory: not into the checkout, which may be somebody else's."""
    directory = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAILBED_RUNS", str(directory))
        yield directory


@pytest.fixture
def as_other_user() -> AsOther:
    """A function that runs Python code, which may import mailbed, as another user."""
    if os.geteuid() != 0:
        pytest.skip("needs root: to become another user")
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next(name for name in OTHER_USERS if name in known)

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["runuser", "-u", user, "--", sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        )

    return run
