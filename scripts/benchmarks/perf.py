"""What the processors do while a command runs, seen by Linux' `perf`: for whom they work, and at what.

Theory of operation. `perf record` takes the stack of each process that the command has started, directly or
not, a thousand times a second while it works. The process' name says for whom it works
(scripts.benchmarks.machine), and the innermost function that WORK knows says at what; without one it is the
program's own code: the interpreter, its extensions, or what the kernel does for it besides.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from scripts.benchmarks import machine

FREQUENCY = 999
WORK = {
    "handle_softirqs": "timers and packets",
    "dup_mmap": "forking",
    "exc_page_fault": "copying and clearing pages",
    "packet_setsockopt": "setting up rings",
    "copy_net_ns": "making network namespaces",
    "rtnl_newlink": "making links",
    "rtnetlink_rcv_msg": "addresses and routes",
    "dev_ethtool": "switching offloads off",
    "proc_sys_call_handler": "settings",
    "do_mkdirat": "making directories",
    "do_sys_openat2": "opening files",
    "do_fsync": "waiting for the disk",
    "unmap_vmas": "ending processes",
}
REST = "its own code"
_OWN_PROCESSES_WITH_KERNEL = 1
_FRAME = re.compile(r"\s+[0-9a-f]+ (?P<symbol>\S+)")
_COMMANDS = {"mailbed": "mailbed up", "mailbed-up": "mailbed up"}


def why_missing() -> str | None:
    """Return None if `perf` can be used here, else why not."""
    if shutil.which("perf") is None:
        return "perf is not installed (linux-perf)"
    # perf itself would leave the kernel out without a word.
    level = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text(encoding="ascii"))
    if os.geteuid() != 0 and level > _OWN_PROCESSES_WITH_KERNEL:
        return f"perf may not look into the kernel (kernel.perf_event_paranoid = {level}): try as root"
    return None


def recording(samples: Path) -> list[str]:
    """Return the words before a command that have it watched, until it ends, into the file `samples`."""
    return ["perf", "record", "-e", "cpu-clock", "-g", "-F", str(FREQUENCY), "-o", str(samples), "--"]


def read(samples: Path) -> dict[str, dict[str, float]]:
    """Return seconds of work, by for whom, and then by at what."""
    command = ["perf", "script", "-i", str(samples), "-F", "comm,ip,sym"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        return work(process.stdout)


def work(lines: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return the same for the lines of `perf script -F comm,ip,sym`."""
    found: dict[str, Counter[str]] = {}
    for comm, symbols in _stacks(lines):
        kind = _COMMANDS.get(comm) or machine.kind_of(comm)
        if kind != "others":
            at = next((WORK[symbol] for symbol in symbols if symbol in WORK), REST)
            found.setdefault(kind, Counter())[at] += 1
    return {
        kind: {at: round(count / FREQUENCY, 3) for at, count in counts.most_common()}
        for kind, counts in sorted(found.items(), key=lambda item: -item[1].total())
    }


def _stacks(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Each sample's process name, and its functions from the innermost on."""
    comm, symbols = "", list[str]()
    for line in lines:
        frame = _FRAME.match(line)
        if frame:
            symbols.append(frame["symbol"].partition("+")[0])
        elif line.strip():
            comm, symbols = line.strip(), []
        elif comm:
            yield comm, symbols
            comm = ""
    if comm:
        yield comm, symbols
