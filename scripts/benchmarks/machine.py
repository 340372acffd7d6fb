"""What a lab has on the machine, read from /proc: its processes and their memory, the kernel's share.

Theory of operation. Every process of a lab has its run directory in its command line. What it is, its name
tells: services are called HOST/ROLE, the others are named in mailbed.supervisor, mailbed.zygote and so on.
Namespaces, interfaces and page tables are the kernel's memory; that is counted for the whole machine, so what
a lab has of it is a difference, and as exact as the machine is quiet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

KINDS = {"mailbed-lab": "supervisor", "mailbed-zygote": "zygote", "mailbed-record": "recorder"}
_KERNEL = ("Slab:", "Percpu:", "KernelStack:", "PageTables:")
_STILL_MIB = 2.0
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of a lab, with its share of memory and what it shares with the kernel through its sockets.

    Such a ring is the kernel's memory, all of it there from the beginning; it is mapped page by page as it is
    read.
    """

    kind: str
    pss_kib: int
    rings_kib: int


def processes(run: Path) -> list[Process]:
    """Return the processes of the lab whose run directory this is."""
    return list(_processes(str(run).encode()))


def kernel_mib() -> float:
    """Return how much memory the kernel has for itself, on the whole machine."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(_KERNEL)) / 1024


def settle(timeout_s: float = 60.0) -> None:
    """Return when the kernel has put away what labs that have ended had, or after so long.

    It removes network namespaces in the background, for seconds after the last process of a large lab.
    """
    deadline = time.monotonic() + timeout_s
    before, now = inf, kernel_mib()
    while now < before - _STILL_MIB and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)
        before, now = now, kernel_mib()


def timers() -> int:
    """Return how many times timers went off on this machine so far."""
    lines = Path("/proc/softirqs").read_text(encoding="ascii").splitlines()
    counts = [line.split()[1:] for line in lines if line.lstrip().startswith("HRTIMER:")]
    return sum(int(count) for count in counts[0]) if counts else 0


def kind_of(name: str) -> str:
    """Return what a process of that name is in a lab."""
    return "services" if "/" in name else KINDS.get(name, "others")


def _processes(mark: bytes) -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "cmdline").read_bytes():
                yield _process(entry)
        except (FileNotFoundError, ProcessLookupError):
            # It has ended meanwhile.
            continue


def _process(entry: Path) -> Process:
    pss = rings = 0
    ring = False
    for line in (entry / "smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        name, value, *_ = *line.split(), ""
        if not name.endswith(":"):
            ring = "socket:[" in line
        elif ring and name == "Size:":
            rings += int(value)
        elif not ring and name == "Pss:":
            pss += int(value)
    name = (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
    return Process(kind=kind_of(name), pss_kib=pss, rings_kib=rings)
