"""The virtual machine itself: it touches nothing and leaves nothing, whatever becomes of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kernel import machine
from tests.kernel.conftest import Findings
from tests.kernel.machine import CHECKOUT, Machine, MachineError

pytestmark = pytest.mark.timeout(240)

_OWNER = """
import sys
from pathlib import Path
from tests.kernel.machine import Machine

with Machine(Path(sys.argv[1]), module="tests.kernel.idle") as machine:
    for line in machine.read(60):
        print(line["name"], flush=True)
"""


def left_of(directory: Path) -> list[str]:
    """Return what there is of a machine: processes that name its directory, mounts and sockets in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if int(path.parent.name) != os.getpid() and str(directory) in path.read_text(errors="replace"):
                found.append(f"process {path.parent.name}")
        except OSError:
            continue  # it has ended meanwhile
    for table in ("mounts", "net/unix"):
        lines = Path("/proc/self", table).read_text(encoding="utf-8", errors="replace").splitlines()
        found += [line for line in lines if str(directory) in line]
    return found


def wait_until_gone(directory: Path) -> list[str]:
    """Return what is left after five seconds, or nothing as soon as nothing is."""
    deadline = time.monotonic() + 5
    while (left := left_of(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def own(directory: Path) -> subprocess.Popen[str]:
    """Start a process that owns a machine in `directory`."""
    return subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(directory)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_its_owner(tmp_path: Path, number: signal.Signals) -> None:
    """However the tests end, interrupted or killed, no process, mount or socket of the machine stays."""
    with own(tmp_path) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "idle\n"
        # The owner, unshare, the keeper and some of User-mode Linux: what is counted is there to be counted.
        assert len(left_of(tmp_path)) > 4
        owner.send_signal(number)
    assert wait_until_gone(tmp_path) == []


@pytest.mark.parametrize("after_s", [0.05, 0.3, 1.0])
def test_it_ends_while_it_boots(tmp_path: Path, after_s: float) -> None:
    """The same when the owner dies before the machine is up."""
    with own(tmp_path) as owner:
        while len(left_of(tmp_path)) < 2:
            time.sleep(0.01)
        time.sleep(after_s)
        owner.kill()
    assert wait_until_gone(tmp_path) == []


def test_close_ends_it(tmp_path: Path) -> None:
    """A test that fails leaves its machine by `with`: everything is gone then."""
    with Machine(tmp_path, module="tests.kernel.idle") as running:
        assert next(iter(running.read(60)))["name"] == "idle"
    assert left_of(tmp_path) == []


def test_one_that_does_not_end_is_an_error(tmp_path: Path) -> None:
    """Its time is bounded, and the error shows its console."""
    with (
        Machine(tmp_path, module="tests.kernel.idle") as running,
        pytest.raises(MachineError, match="console"),
    ):
        list(running.read(0.5))


def test_the_rest_of_the_machine_is_read_only(findings: Findings) -> None:
    """Root in the virtual machine is root on the files of this one: it can write to the test's alone."""
    owned = os.access(Path(__file__).parent, os.W_OK)
    assert findings.of("probes")["writing"] == ("Read-only file system" if owned else "Permission denied")


@pytest.mark.parametrize(("tool", "package"), [("linux.uml", "user-mode-linux"), ("modprobe", "kmod")])
def test_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, package: str
) -> None:
    """Where User-mode Linux is missing, one line says what installs it."""
    for present in {"linux.uml", "modprobe"} - {tool}:
        (tmp_path / present).touch(mode=0o755)
    monkeypatch.setattr(machine, "_path", lambda: str(tmp_path))
    with pytest.raises(MachineError) as caught:
        Machine(tmp_path)
    assert str(caught.value) == (
        f"{tool} is not installed: scripts/setup --test installs it (Debian package {package})"
    )
