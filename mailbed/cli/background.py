"""The process that owns a lab that is `up`: it stays when the command has returned, and ends with the lab.

Theory of operation. `mailbed up` forks. The child leaves the terminal (a session of its own, no open
descriptor of the parent's), starts the lab, and tells the parent how that goes through a pipe, one JSON
object a line: the lab's events, then `up` or `failed`. It then waits until the lab ends, for whatever reason,
and completes run.json. SIGTERM makes it take the lab down in good order.

    parent gone before the lab is ready     nobody was told of it, so the lab is taken down again
    parent interrupted                      it ends the child, and waits for it

The child holds an abstract socket, `@mailbed-up/UID/LAB`, by which `down` sees that it is gone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from mailbed.errors import LabError, MailbedError, StartFailed
from mailbed.lab import Lab
from topologies import kernel

GONE_WITHIN_S = 20.0
_MARK = "mailbed-up"
_MOST_DESCRIPTORS = 1 << 16


class Reports:
    """The pipe from the child to the parent."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC)

    @property
    def fd(self) -> int:
        """The end that is written to."""
        return self._write

    def tell(self, report: dict[str, Any]) -> bool:
        """Tell the parent; return whether it is still there."""
        try:
            os.write(self._write, json.dumps(report).encode() + b"\n")
        except OSError:
            return False
        return True

    def progress(self, event: dict[str, Any]) -> None:
        """Pass on an event of the lab that starts."""
        self.tell({"event": event})

    def received(self) -> Iterator[dict[str, Any]]:
        """Yield what the child tells, until it ends. It is for the parent, once."""
        os.close(self._write)
        with open(self._read, encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


def start(lab: Lab, reports: Reports, progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Start the lab, which reports to `reports`, in a process that stays.

    Returns what `described` does, once every service is ready.
    Raises: LabError, and then that process is gone.
    """
    pid = os.fork()
    if pid == 0:
        _own(lab, reports)
    try:
        for report in reports.received():
            if "event" in report:
                progress(report["event"])
            elif "up" in report:
                up: dict[str, Any] = report["up"]
                return up
            elif "failed" in report:
                os.waitpid(pid, 0)
                raise _failure(report["failed"])
    except (KeyboardInterrupt, SystemExit):
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    _, status = os.waitpid(pid, 0)
    raise StartFailed(f"the lab's owner ended while it started (status {os.waitstatus_to_exitcode(status)})")


def described(lab: Lab, up: dict[str, Any]) -> dict[str, Any]:
    """Return a lab that is up as JSON values: its name, its run directory and what `Lab.up` returned."""
    return {
        "lab": lab.name,
        "topology": lab.plan.name,
        "seed": lab.seed,
        "hosts": len(lab.plan.hosts),
        "run": str(lab.run),
        **up,
    }


def wait_until_gone(name: str) -> None:
    """Return when the process that owned the lab of that name has ended. Raises: LabError."""
    deadline = time.monotonic() + GONE_WITHIN_S
    mark = f"@{_MARK}/{os.getuid()}/{name}"
    while any(line.endswith(mark) for line in Path("/proc/net/unix").read_text(errors="replace").split("\n")):
        if time.monotonic() > deadline:
            raise LabError(f"the owner of the lab {name} does not end")
        time.sleep(0.002)


def _failure(report: dict[str, str]) -> MailbedError:
    from mailbed import rpc

    return rpc.exception({"message": report["message"], "data": {"kind": report["kind"]}})


def _own(lab: Lab, reports: Reports) -> NoReturn:
    """Be the child."""
    status = 1
    try:
        _leave_terminal(reports.fd)
        status = _keep(lab, reports)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except MailbedError as error:
        reports.tell({"failed": {"kind": type(error).__name__, "message": str(error)}})
        status = error.exit_status
    except BaseException as error:
        traceback.print_exc()
        reports.tell({"failed": {"kind": "StartFailed", "message": f"{type(error).__name__}: {error}"}})
    finally:
        # Nothing of the parent's that waits for the interpreter's end may run here.
        os._exit(status)


def _leave_terminal(keep: int) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    kernel.set_process_name(_MARK)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(nothing, fd)
    # What else the parent had open (a pipe of whoever started it) must not be kept open by us.
    os.closerange(3, keep)
    os.closerange(keep + 1, _MOST_DESCRIPTORS)


def _keep(lab: Lab, reports: Reports) -> int:
    """Start the lab and stay until it has ended; return the exit status."""
    up = lab.up()
    log = os.open(lab.run / "lab.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir("/")
    try:
        with socket.socket(socket.AF_UNIX) as held:
            held.bind(f"\0{_MARK}/{os.getuid()}/{lab.name}")
            if not reports.tell({"up": described(lab, up)}):
                return 1
            lab.wait_until_ended()
    finally:
        lab.down()
    return 0
