"""Programs that are run on a host."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from mailbed import Lab
from mailbed.client import Client
from mailbed.errors import UsageError
from tests.lab.residue import until


def test_its_streams_and_status(shared_lab: Lab) -> None:
    """A program reads what it is given; what it prints and its exit status come back."""
    result = shared_lab.exec("alice", "sh", "-c", "tr a-z A-Z; echo oops >&2; exit 3", stdin="hello\n")
    assert (result.stdout, result.stderr, result.returncode) == ("HELLO\n", "oops\n", 3)


def test_much_output(shared_lab: Lab) -> None:
    """Output is not cut, however much there is."""
    data = os.urandom(1 << 20).hex()
    assert shared_lab.exec("alice", "cat", stdin=data).stdout == data


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        pytest.param(["sh", "-c", "kill -9 $$"], -signal.SIGKILL, id="killed by a signal"),
        pytest.param(["no-such-program"], 127, id="not found"),
        pytest.param(["/etc/passwd"], 126, id="not to be run"),
        pytest.param(["/"], 126, id="a directory"),
    ],
)
def test_how_it_ended(shared_lab: Lab, argv: list[str], status: int) -> None:
    """A signal is a negative status; 127 and 126 are what shells say, with one line on standard error."""
    result = shared_lab.exec("alice", *argv)
    assert result.returncode == status
    assert len(result.stderr.splitlines()) == (status > 0)


def test_it_runs_on_its_host(shared_lab: Lab) -> None:
    """The program has the host's name, addresses and files."""
    script = "hostname; cat /etc/hostname; ip -4 -o addr show dev alice-eth0 | awk '{print $4}'"
    result = shared_lab.exec("alice", "sh", "-c", script)
    assert result.stdout.split() == ["alice", "alice", "198.18.1.10/24"]


def test_it_runs_where_the_caller_is(
    shared_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program has the caller's directory and environment, as a program outside would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLOUR", "green")
    assert shared_lab.exec("alice", "sh", "-c", "pwd; echo $COLOUR").stdout == f"{tmp_path}\ngreen\n"


def test_a_directory_that_the_sandbox_lacks(shared_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a directory that cannot be entered inside, the program starts in /."""
    monkeypatch.chdir("/proc/self/fdinfo")
    assert shared_lab.exec("alice", "pwd").stdout == "/\n"


def test_time_out(shared_lab: Lab) -> None:
    """After its time the program, and what it started, is killed."""
    with pytest.raises(TimeoutError, match=r"sh on alice ran longer than 0\.5 s"):
        shared_lab.exec("alice", "sh", "-c", "sleep 1234 | sleep 1234", timeout_s=0.5)
    until(lambda: shared_lab.exec("alice", "pgrep", "-f", "sleep 1234").returncode == 1 or None, 5)


def test_time_out_on_a_busy_machine(shared_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as such, however long the thread that closes the connection takes to say that it has."""
    close = Client.close

    def slowly(client: Client) -> None:
        close(client)
        time.sleep(0.3)

    monkeypatch.setattr(Client, "close", slowly)
    with pytest.raises(TimeoutError):
        shared_lab.exec("alice", "sleep", "1234", timeout_s=0.1)


def test_within_its_time(shared_lab: Lab) -> None:
    """A program that ends in time is not touched."""
    assert shared_lab.exec("alice", "echo", "hello", timeout_s=30).stdout == "hello\n"


def test_ctrl_c_goes_to_the_program(shared_lab: Lab) -> None:
    """An interrupt of the caller is the program's, which may end in its own way."""
    script = "trap 'echo caught; exit 7' INT; sleep 30 & wait"
    timer = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    result = shared_lab.exec("bob", "sh", "-c", script)
    timer.join()
    assert (result.stdout, result.returncode) == ("caught\n", 7)


def test_a_program_ends_with_its_client(shared_lab: Lab) -> None:
    """When whoever started it is gone, the program is killed."""
    shared_lab.exec("bob", "true")
    script = (
        "import sys, threading\n"
        "from mailbed import Lab\n"
        "lab = Lab.attach(sys.argv[1])\n"
        "threading.Thread(target=lab.exec, args=('bob', 'sleep', '4321')).start()\n"
        "while lab.exec('bob', 'pgrep', '-f', 'sleep 4321').returncode: pass\n"
        "import os; os._exit(0)\n"
    )
    import subprocess

    subprocess.run([sys.executable, "-c", script, shared_lab.name], check=True, cwd=Path(__file__).parents[2])
    until(lambda: shared_lab.exec("bob", "pgrep", "-f", "sleep 4321").returncode == 1 or None, 5)


@pytest.mark.parametrize(
    ("host", "argv", "says"),
    [
        pytest.param("nowhere", ["ls"], "no host nowhere", id="no such host"),
        pytest.param("alice", [], "no command", id="no command"),
    ],
)
def test_usage(shared_lab: Lab, host: str, argv: list[str], says: str) -> None:
    """What makes no sense is said, and changes nothing."""
    with pytest.raises(UsageError, match=says):
        shared_lab.exec(host, *argv)
