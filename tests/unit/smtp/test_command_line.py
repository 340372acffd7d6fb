"""`python -m services.smtp`: what it says and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.smtp.running import free_port

COMMAND = [sys.executable, "-m", "services.smtp"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False)


def test_help() -> None:
    """--help shows examples and a configuration to begin with."""
    done = run("--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert "smtp_port = 2525" in done.stdout


def test_usage() -> None:
    """A missing option is a mistake of usage."""
    assert run().returncode == 2


def test_a_wrong_configuration(tmp_path: Path) -> None:
    """One line and status 2."""
    path = tmp_path / "mx.toml"
    path.write_text("hostname = 1")
    done = run("--config", str(path))
    assert done.returncode == 2
    assert done.stderr == f"smtp: {path}: hostname is 1, which is no string\n"


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """One line and status 1."""
    path = tmp_path / "mx.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path.write_text(f'hostname = "mx"\nlisten = ["127.0.0.1"]\nsmtp_port = {port}\n')
        done = run("--config", str(path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"smtp: 127.0.0.1:{port} cannot be bound: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(tmp_path: Path, number: signal.Signals) -> None:
    """After a signal it is gone with status 0, and has told nothing but that it was ready."""
    path = tmp_path / "mx.toml"
    path.write_text(f'hostname = "mx"\nlisten = ["127.0.0.1"]\nsmtp_port = {free_port()}\n')
    with subprocess.Popen([*COMMAND, "--config", str(path)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert json.loads(process.stderr.readline()) == {"kind": "ready"}
        process.send_signal(number)
        assert process.stderr.read() == ""
    assert process.returncode == 0
