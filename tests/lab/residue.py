"""What a lab has on the machine, seen from outside: to count what is left of it.

Theory of operation. Other labs may run at the same time, so a lab is known by two things that no other has:
its run directory, which every process of the sandbox has in its command line or its environment, and the
namespaces that those processes are in. `Witness.look` notes the namespaces while the lab lives; `left` looks
for all of it again, once it should be gone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mailbed import sandbox
from topologies.addressing import assign
from topologies.plan import Plan

T = TypeVar("T")

KINDS = ("net", "mnt", "pid", "uts", "user")
PREFIXES = tuple(f"{kind}:[" for kind in KINDS)


@dataclass(kw_only=True)
class Witness:
    """Knows one lab from outside: by its run directory, its name, and the interfaces of its plan."""

    run: Path
    name: str
    plan: Plan
    namespaces: set[str] = field(default_factory=set)
    """The lab's own namespaces that were seen, as `net:[4026532281]`."""

    def look(self) -> dict[int, int]:
        """Note the lab's namespaces; return its processes: the number inside the sandbox, and outside."""
        own = {_link(f"/proc/self/ns/{kind}") for kind in KINDS}
        inside: dict[int, int] = {}
        for pid in self._processes():
            # `unshare` itself is in our namespaces still.
            self.namespaces |= {_link(f"/proc/{pid}/ns/{kind}") for kind in KINDS} - own - {""}
            # Hosts on which nothing runs are held by descriptors.
            self.namespaces |= {link for link in _descriptors(pid) if link.startswith(PREFIXES)} - own
            numbers = _inner_pids(pid)
            if len(numbers) > 1:
                inside[numbers[-1]] = pid
        return inside

    def left(self) -> list[str]:
        """Return what is left of the lab, one line each: processes, namespaces, interfaces, …"""
        found = [f"process {pid}: {_command(pid)}" for pid in self._processes()]
        found += [f"{where}: {name}" for where, name in _namespaces_in_use() if name in self.namespaces]
        found += [f"interface {name}" for name in self._interfaces()]
        found += [f"socket @mailbed/…/{name}" for name in sandbox.running() if name == self.name]
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        found += [f"mount {line}" for line in mounts if str(self.run) in line]
        return found

    def wait_until_gone(self, timeout_s: float = 10.0) -> float:
        """Return how long it took (s) until nothing was left. Raises: AssertionError with what is left."""
        began = time.monotonic()
        while left := self.left():
            assert time.monotonic() - began < timeout_s, f"left after {timeout_s:g} s: {left}"
            time.sleep(0.01)
        return time.monotonic() - began

    def process(self, number: int, timeout_s: float = 10.0) -> int:
        """Return the process that is `number` inside the sandbox as soon as it is there."""
        return until(lambda: self.look().get(number), timeout_s)

    def called(self, command: str) -> int | None:
        """Return the lab's process whose command (as `ps -o comm` has it, 15 characters) is that, if any."""
        wanted = command[:15].encode() + b"\n"
        return next((pid for pid in self.look().values() if _read(pid, "comm") == wanted), None)

    def _processes(self) -> Iterator[int]:
        mark = str(self.run).encode()
        for pid in _pids():
            if mark in _read(pid, "cmdline") or mark in _read(pid, "environ"):
                yield pid

    def _interfaces(self) -> set[str]:
        addressing = assign(self.plan)
        ours = {interface.name for interface in addressing.interfaces}
        ours |= {port.name for port in addressing.ports} | {network.name for network in self.plan.networks}
        return ours & set(os.listdir("/sys/class/net"))


def until(ready: Callable[[], T | None], timeout_s: float = 10.0) -> T:
    """Return what `ready` returns as soon as that is something. Raises: AssertionError."""
    deadline = time.monotonic() + timeout_s
    while (found := ready()) is None:
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s"
        time.sleep(0.002)
    return found


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())


def _read(pid: int, name: str) -> bytes:
    """A file of a process; nothing, if it is gone or somebody else's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _command(pid: int) -> str:
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")[:200]


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _descriptors(pid: int) -> Iterator[str]:
    """What a process' descriptors refer to."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            yield _link(f"/proc/{pid}/fd/{fd}")


def _inner_pids(pid: int) -> list[int]:
    """The process' numbers, from the namespace of /proc to its own."""
    for line in _read(pid, "status").decode().splitlines():
        if line.startswith("NSpid:"):
            return [int(number) for number in line.split()[1:]]
    return []


def _namespaces_in_use() -> Iterator[tuple[str, str]]:
    """Every namespace that a process is in, or holds open, or that is mounted; with where that is."""
    for pid in _pids():
        for kind in KINDS:
            yield f"namespace of process {pid}", _link(f"/proc/{pid}/ns/{kind}")
        for link in _descriptors(pid):
            yield f"descriptor of process {pid}", link
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        root, where = line.split()[3:5]
        yield f"mount at {where}", root
