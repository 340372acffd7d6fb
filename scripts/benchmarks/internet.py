"""How long `internet:DOMAINS=n` takes to start, and how much memory it takes, against n.

Each size is started, carries its first message (from the first domain to the second, all caches cold), is
looked at while it lives, and taken down. Rounds go through all sizes, so that whatever else the machine does
meets all; medians are shown. With `--profile` also what the time went into: the phases of a start, one after
the other, and from one more start of each size for whom the processors worked, and at what.

    python -m scripts.benchmarks.internet --domains 10,100,300 --runs 3 --profile
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.benchmarks import machine, perf
from topologies.addressing import assign
from topologies.catalog import load

MAILBED = str(Path(__file__).resolve().parents[1] / "mailbed")
CALM_S = 1.0
_LEAST_SHARE = 0.03
"""Of the processors' work: what is less is not worth a line."""
Row = dict[str, Any]


def main() -> int:
    """Print the table, and the profile if asked for."""
    parser = argparse.ArgumentParser(prog="scripts/bench internet", description=__doc__)
    parser.add_argument("--domains", type=_numbers, default=[10, 100, 300], help="sizes (10,100,300)")
    parser.add_argument("--runs", type=int, default=3, help="how often each is started (3)")
    parser.add_argument("--profile", action="store_true", help="what the time goes into, too")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    refusal = perf.why_missing() if options.profile else None
    if refusal:
        print(f"bench: phases only: {refusal}", file=sys.stderr)

    # No run is removed before the last one has been measured: looking for a free inode, ext4 passes over each
    # that was freed a moment ago, which makes the next start slow.
    with tempfile.TemporaryDirectory() as directory:
        sizes = _rounds(options.domains, options.runs, Path(directory))
        if options.profile and not refusal:
            for size in sizes:
                size["work_s"] = _work(size["domains"], Path(directory))
    if options.json:
        print(json.dumps({"runs": options.runs, "sizes": sizes}, indent=2))
    else:
        print(_table(sizes, options.runs))
        print(*(f"\n{_account(size)}" for size in sizes if options.profile), sep="\n")
    return 0


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _rounds(domains: Sequence[int], runs: int, directory: Path) -> list[Row]:
    """Start each size in turn, several times; return what is known of each."""
    measured: dict[int, list[Row]] = {number: [] for number in domains}
    for turn in range(1, runs + 1):
        for number, rows in measured.items():
            print(f"bench: {number} domains, run {turn} of {runs}", file=sys.stderr)
            rows.append(_measure(number, directory / f"{number}-{turn}"))
    return [_size(number) | _medians(rows) for number, rows in measured.items()]


def _size(domains: int) -> Row:
    plan = load(f"internet:DOMAINS={domains}")
    return {"domains": domains, "hosts": len(plan.hosts), "interfaces": len(assign(plan).interfaces)}


def _measure(domains: int, run: Path) -> Row:
    """Start a lab, send its first message, look at it, and take it down."""
    machine.settle()
    kernel = machine.kernel_mib()
    with _lab(domains, run) as (name, up_s):
        sent = json.loads(_mailbed("send", "--lab", name, "--json")[1])
        kernel = machine.kernel_mib() - kernel
        processes = machine.processes(run)
        timers = _timers()
        down_s, _ = _mailbed("down", "--lab", name)
    timing = json.loads((run / "run.json").read_text(encoding="utf-8"))["timing"]
    return {
        "services": sum(process.kind == "services" for process in processes),
        "up_s": up_s,
        "delivered_s": sent["delivered_s"],
        "down_s": down_s,
        "phases_s": _phases(up_s, timing),
        "memory_mib": {**_memory_mib(processes), "kernel": kernel},
        "timers": timers,
    }


@contextmanager
def _lab(domains: int, run: Path, *, before: Sequence[str] = ()) -> Iterator[tuple[str, float]]:
    """A lab with its name, and how long the command took until all was ready; it ends with the block.

    `before` are words to put before the command.
    """
    name = f"bench-{os.getpid()}-{run.name}"
    command = [*before, MAILBED, "up", f"internet:DOMAINS={domains}", "--lab", name, "--out", str(run)]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield name, time.monotonic() - began
    finally:
        subprocess.run([MAILBED, "down", "--lab", name], check=False, capture_output=True)


def _mailbed(*arguments: str) -> tuple[float, str]:
    """Run a command; return how long it took and what it printed. Raises: CalledProcessError."""
    began = time.monotonic()
    result = subprocess.run([MAILBED, *arguments], check=True, capture_output=True, text=True)
    return time.monotonic() - began, result.stdout


def _timers() -> float:
    """How often timers go off in a second, while nobody sends anything."""
    before, began = machine.timers(), time.monotonic()
    time.sleep(CALM_S)
    return (machine.timers() - before) / (time.monotonic() - began)


def _phases(up_s: float, timing: Mapping[str, float]) -> dict[str, float]:
    """What the time until ready consists of, in order: `services_s` of run.json begins with the capture."""
    return {
        "preparing": up_s - timing["network_s"] - timing["services_s"],
        "network": timing["network_s"],
        "capture": timing["capture_s"],
        "services": timing["services_s"] - timing["capture_s"],
    }


def _memory_mib(processes: Sequence[machine.Process]) -> dict[str, float]:
    kib: Counter[str] = Counter()
    for process in processes:
        kib["services" if process.kind == "services" else "lab"] += process.pss_kib
        kib["rings"] += process.rings_kib
    return {what: kib[what] / 1024 for what in ("services", "rings", "lab")}


def _medians(rows: Sequence[Row]) -> Row:
    """Of rows of one shape the medians, value by value."""
    found: Row = {}
    for key, value in rows[0].items():
        values = [row[key] for row in rows]
        found[key] = _medians(values) if isinstance(value, dict) else statistics.median(values)
    return found


def _work(domains: int, directory: Path) -> dict[str, dict[str, float]]:
    """Start a lab once more, and return what the processors did meanwhile."""
    machine.settle()
    samples = directory / f"{domains}.perf"
    with _lab(domains, directory / f"{domains}-perf", before=perf.recording(samples)):
        pass
    return perf.read(samples)


def _table(sizes: Sequence[Row], runs: int) -> str:
    head = ("domains", "hosts", "interfaces", "services", "ready, s", "first message, s", "down, s")
    memory = ("services", "rings", "lab", "kernel")
    lines = [
        [*head, "memory, MiB", f"of it {memory[0]}", *memory[1:]],
        ["--:"] * (len(head) + 1 + len(memory)),
    ]
    for size in sizes:
        counts = [f"{size[key]:,.0f}" for key in ("domains", "hosts", "interfaces", "services")]
        times = [f"{size[key]:.2f}" for key in ("up_s", "delivered_s", "down_s")]
        parts = [size["memory_mib"][key] for key in memory]
        lines.append([*counts, *times, *(f"{mib:,.0f}" for mib in (sum(parts), *parts))])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{rows}\n\nMedians of {runs} on {os.cpu_count()} processors. Memory: services and lab (supervisor, "
        "zygote, recorder, owner) by\nproportional share, the capture's rings, and what the kernel took for "
        "itself meanwhile (namespaces, page tables)."
    )


def _account(size: Row) -> str:
    """Where the time of one size went, in lines."""
    phases = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in size["phases_s"].items())
    lines = [f"{size['domains']} domains: {phases}; then {size['timers']:,.0f} timers a second at rest"]
    work: Mapping[str, Mapping[str, float]] = size.get("work_s", {})
    least = _LEAST_SHARE * sum(sum(parts.values()) for parts in work.values())
    for whom, parts in work.items():
        named = ", ".join(f"{what} {seconds:.2f}" for what, seconds in parts.items() if seconds >= least)
        lines.append(f"  {whom:<12}{sum(parts.values()):6.2f} s of processor time: {named or 'nothing much'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
