"""`python -m services.dns` as people run it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.dns.stub import StubResolver
from tests.unit.dns.conversation import EXAMPLE

COMMAND = [sys.executable, "-m", "services.dns"]
CHECKOUT = Path(__file__).parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False, cwd=CHECKOUT
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_a_directory_until_signalled(tmp_path: Path, number: signal.Signals) -> None:
    """Every *.zone file of the directory is served; SIGINT and SIGTERM end it quietly, with status 0."""
    (tmp_path / "example.org.zone").write_text(EXAMPLE)
    (tmp_path / "other.zone").write_text(EXAMPLE.replace("example.org", "example.net"))
    arguments = [str(tmp_path), "--port", "0", "--listen", "127.0.0.1"]
    with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, cwd=CHECKOUT) as process:
        assert process.stderr is not None
        listening, ready = (json.loads(process.stderr.readline()) for _ in range(2))
        assert ready == {"kind": "ready"}
        stub = StubResolver(["127.0.0.1"], port=listening["port"], rng=random.Random(1))
        for zone in ("example.org", "example.net"):
            assert asyncio.run(stub.query(f"ns1.{zone}", "A")).data("A") == ("198.18.0.1",)
        os.kill(process.pid, number)
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 0


def test_help_has_examples() -> None:
    """--help shows how it is used."""
    result = run("--help")
    assert result.returncode == 0
    assert "python -m services.dns zones/ --port 5300" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name a directory of zones, or say --recursive"),
        (["--recursive"], "--recursive needs --hints FILE and takes no zones"),
        (["zones", "--port", "70000"], "argument --port: invalid"),
        (["zones", "--listen", "localhost"], "'localhost' is no IPv4 address"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_usage_errors(arguments: list[str], reason: str) -> None:
    """A command line that makes no sense ends with status 2 and says why."""
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert reason in result.stderr.splitlines()[-1]


def test_failures_are_one_line(tmp_path: Path) -> None:
    """What cannot be served ends with status 1 and one line, without a traceback."""
    broken = tmp_path / "broken.zone"
    twice = tmp_path / "twice"
    twice.mkdir()
    broken.write_text("@ 60 SOA a b 1 1 1 1 1\n@ 60 A nonsense\n")
    for name in ("a.zone", "b.zone"):
        (twice / name).write_text(EXAMPLE)
    for arguments, reason in (
        ([str(tmp_path)], f"{broken}:2: A: 'nonsense' is no IPv4 address"),
        ([str(tmp_path / "none")], f"{tmp_path / 'none'}: not a directory"),
        ([str(CHECKOUT / "services")], f"{CHECKOUT / 'services'}: no file named *.zone"),
        ([str(twice)], f"{twice / 'b.zone'}: {twice / 'a.zone'} holds the zone example.org too"),
        (["--recursive", "--hints", str(tmp_path / "h")], f"{tmp_path / 'h'}: No such file or directory"),
        (["--config", str(tmp_path / "c")], f"{tmp_path / 'c'}: No such file or directory"),
    ):
        result = run(*arguments)
        assert (result.returncode, result.stderr) == (1, f"python -m services.dns: {reason}\n")
