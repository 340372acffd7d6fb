"""How fast our mail server takes and passes on mail, beside Postfix on the same core and the same disk.

smtp-source sends messages of 4 KB from another core, with one message a connection and with reuse (-d), in 1,
10 and 50 sessions.

  accept   messages are queued and stay: Postfix has them on hold, ours wait for a silent next hop
  relay    until the last one is at the next hop (smtp-sink)
  straight smtp-source to smtp-sink, with nobody between and nothing synced: no server can be faster
  queue    with 10,000 messages queued: time to list them and to start, memory of one
  sync     strace shows that no 250 goes out before its message is synced; not timed

Runs alternate, so that whatever else the machine does meets both; medians are compared. Each run begins with
an empty queue and a warm-up that does not count. Everything is in namespaces of its own, and nothing is left.
Needs root, as Postfix takes on users of its own.

    python -m scripts.benchmarks.mail --runs 3 --messages 1000
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from scripts.benchmarks import mailservers as servers
from scripts.benchmarks.mailservers import NAMES, Server

TARGETS = {
    "accept_10": 2.0,
    "relay": 4.0,
    "list_s": 1.0,
    "start_s": 1.0,
    "bytes_a_message": 1024.0,
    "replies_before_sync": 0.0,
}
"""Rates: at least so many times Postfix's, in each way of connecting. At most: seconds, octets, replies."""
_AT_MOST = ("list_s", "start_s", "bytes_a_message", "replies_before_sync")

SESSIONS = (1, 10, 50)
QUEUED = 10_000
_WARM_UP = 50
_FIRST = 500
_TRACED = 40
_INSIDE = "--inside"
_IN_MEMORY = ("tmpfs", "ramfs")
_QUEUED_AS = re.compile(r'(?:sendto|sendmsg|write|writev)\(.*"?250 2\.\d\.\d Ok: queued as')
_SYNCED = re.compile(r"(?:fsync|fdatasync|<\.\.\. (?:fsync|fdatasync) resumed>).* = 0$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How often, how many messages, in how many sessions; the cores of servers and of who sends."""

    runs: int
    messages: int
    sessions: tuple[int, ...]
    core: int
    sending: int


def main() -> int:
    """Print the comparison; return 0 if every target is met, 1 if not, 2 if it cannot be made."""
    options = _arguments()
    if os.geteuid() != 0:
        print("bench: Postfix needs several users: run it as root", file=sys.stderr)
        return 2
    if not options.inside:
        _enter(sys.argv[1:])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("bench: two cores are needed: one for the server, one for who sends", file=sys.stderr)
        return 2
    if (kind := _file_system(options.dir)) in _IN_MEMORY:
        print(f"bench: {options.dir} is a {kind}: name a directory on a disk with --dir", file=sys.stderr)
        return 2
    given = Options(
        runs=options.runs,
        messages=options.messages,
        sessions=tuple(options.sessions or SESSIONS),
        core=cores[0],
        sending=cores[1],
    )
    os.sched_setaffinity(0, {given.sending})
    began, load = time.monotonic(), os.getloadavg()[0]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mailbed-bench-", dir=options.dir) as directory:
        # Postfix's own user has to come in.
        os.chmod(directory, 0o711)  # noqa: S103 (others may pass, and see nothing)
        for part in options.only or _PARTS:
            place = Path(directory) / part
            place.mkdir()
            results |= _PARTS[part](given, place)
    about = {"runs": given.runs, "messages": given.messages, "file_system": kind, "load_before": load}
    report = judge(results) | about | {"took_s": time.monotonic() - began}
    print(json.dumps(report, indent=2) if options.json else table(report))
    return 0 if report["met"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench mail", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=_some, default=3, help="how often each is measured (3)")
    parser.add_argument("--messages", type=_some, default=1000, help="messages a run (1000)")
    parser.add_argument(
        "--sessions", type=_some, action="append", help="so many sessions alone; repeatable (1, 10, 50)"
    )
    # Below it each benchmark makes a directory of its own, with a name that nobody can guess.
    place = Path("/var/tmp")  # noqa: S108 (see above)
    parser.add_argument("--dir", type=Path, default=place, help=f"on the disk to use ({place})")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--only", action="append", choices=list(_PARTS), help="a part alone; repeatable")
    parser.add_argument(_INSIDE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.dir.is_dir():
        parser.error(f"{options.dir} is no directory")
    return options


def _some(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _enter(arguments: Sequence[str]) -> NoReturn:
    """Go on in namespaces of this benchmark's own, which end with this process, by whatever means."""
    enter = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*enter, sys.executable, "-m", "scripts.benchmarks.mail", _INSIDE, *arguments]
    os.execvp(command[0], command)  # noqa: S606 (a shell has no part in it)


def _file_system(directory: Path) -> str:
    found = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(directory)], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def _accept(options: Options, directory: Path) -> dict[str, Any]:
    """Measure how many messages a second are queued on disk."""

    def measure(name: str, sessions: int, reuse: bool, place: Path) -> float:
        server = Server(name=name, place=place, next_hop=servers.SILENT, held=True)
        with servers.silent(), servers.running(server, options.core):
            servers.send(server, _WARM_UP, sessions, reuse=reuse, core=options.sending)
            took = servers.send(server, options.messages, sessions, reuse=reuse, core=options.sending)
        return options.messages / took

    return {"accept": _rates("accept", options, directory, measure)}


def _relay(options: Options, directory: Path) -> dict[str, Any]:
    """Measure how many messages a second come to the next hop."""

    def measure(name: str, sessions: int, reuse: bool, place: Path) -> float:
        server = Server(name=name, place=place, next_hop=servers.SINK)
        sink = servers.Sink(options.sending)
        try:
            with servers.running(server, options.core):
                for count in (_WARM_UP, options.messages):
                    before, began = sink.messages, time.monotonic()
                    servers.send(server, count, sessions, reuse=reuse, core=options.sending)
                    sink.until(before + count, began + 600)
                return options.messages / (time.monotonic() - began)
        finally:
            sink.close()

    return {"relay": _rates("relay", options, directory, measure)}


def _straight(options: Options, directory: Path) -> dict[str, Any]:
    """Measure how many messages a second the programs that measure the servers can exchange themselves."""

    def measure(_name: str, sessions: int, reuse: bool, place: Path) -> float:
        place.mkdir()
        sink = servers.Sink(options.core)
        try:
            took = servers.send_to(
                "smtp-sink",
                servers.SINK,
                f"bob@[{servers.SINK}]",
                options.messages,
                sessions,
                reuse=reuse,
                core=options.sending,
            )
            return options.messages / took
        finally:
            sink.close()

    return {"straight": _rates("straight", options, directory, measure, names=("smtp-sink",))}


def _rates(
    part: str,
    options: Options,
    directory: Path,
    measure: Callable[[str, int, bool, Path], float],
    names: Sequence[str] = NAMES,
) -> dict[str, Any]:
    """Measure each server in each way, several times in turn; return medians by way and server."""
    ways = list(itertools.product((False, True), options.sessions))
    found: dict[str, dict[str, list[float]]] = {way_name(*way): {n: [] for n in names} for way in ways}
    for number in range(options.runs):
        for reuse, sessions in ways:
            for name in names if number % 2 == 0 else reversed(names):
                way = way_name(reuse, sessions)
                print(f"bench: {part}, run {number + 1} of {options.runs}: {name}, {way}", file=sys.stderr)
                place = directory / name
                found[way][name].append(measure(name, sessions, reuse, place))
                shutil.rmtree(place)
    return {
        way: {name: statistics.median(rates) for name, rates in row.items()} for way, row in found.items()
    }


def way_name(reuse: bool, sessions: int) -> str:
    """Return what a way of sending is called in reports."""
    return f"{'reuse' if reuse else 'connect'}_{sessions}"


def _queue(options: Options, directory: Path) -> dict[str, Any]:
    """Measure listing and starting with many messages queued, and what memory one takes."""
    found: dict[str, Any] = {}
    for name in NAMES:
        print(f"bench: queue of {QUEUED:,}: {name}", file=sys.stderr)
        server = Server(name=name, place=directory / name, next_hop=servers.SILENT, held=True)
        with servers.silent():
            with servers.running(server, options.core) as process:
                servers.send(server, _FIRST, 10, reuse=True, core=options.sending)
                few = process.pss_kib()
                servers.send(server, QUEUED - _FIRST, 10, reuse=True, core=options.sending)
                many = process.pss_kib()
            starts, lists = [], []
            for _ in range(options.runs):
                began = time.monotonic()
                with servers.running(server, options.core):
                    starts.append(time.monotonic() - began)
                    lists.append(_list(server, options.core))
        found[name] = {
            "start_s": statistics.median(starts),
            "list_s": statistics.median(lists),
            "bytes_a_message": (many - few) * 1024 / (QUEUED - _FIRST),
        }
    return {"queue": found}


def _list(server: Server, core: int) -> float:
    """Return how long listing takes, from the command to the last line. Raises: RuntimeError: some lack."""
    began = time.monotonic()
    command = ["taskset", "--cpu-list", str(core), *server.listing()]
    result = subprocess.run(command, cwd=servers.ROOT, capture_output=True, check=True)
    took = time.monotonic() - began
    if (lines := result.stdout.count(b"\n")) != QUEUED:
        raise RuntimeError(f"{server.name} lists {lines} of {QUEUED} messages")
    return took


def _sync(options: Options, directory: Path) -> dict[str, Any]:
    """Count, in one session, syncs and replies that went out with no sync since the one before."""
    found: dict[str, Any] = {}
    for name in NAMES:
        print(f"bench: sync: {name}", file=sys.stderr)
        server = Server(name=name, place=directory / name, next_hop=servers.SILENT, held=True)
        trace = directory / f"{name}.strace"
        calls = "--trace=fsync,fdatasync,sendto,sendmsg,write,writev"
        under = [servers.program("strace"), "-D", "-f", "-qq", "-s", "64", calls, "-o", str(trace)]
        with servers.silent(), servers.running(server, options.core, under=under):
            servers.send(server, _TRACED, 1, reuse=True, core=options.sending)
        syncs, replies, early = synced(trace.read_text(encoding="utf-8", errors="replace").splitlines())
        if replies != _TRACED:
            raise RuntimeError(f"strace saw {replies} of {_TRACED} replies of {name}")
        found[name] = {"messages": _TRACED, "syncs": syncs, "replies_before_sync": early}
    return {"sync": found}


def synced(lines: Iterable[str]) -> tuple[int, int, int]:
    """Return of a trace how many syncs ended, how many messages were acknowledged, and how many before one.

    It is the trace of one session: each acknowledgement needs a sync since the one before.
    """
    syncs = replies = early = since = 0
    for line in lines:
        if _SYNCED.search(line):
            syncs, since = syncs + 1, since + 1
        elif _QUEUED_AS.search(line):
            replies, early, since = replies + 1, early + (not since), 0
    return syncs, replies, early


def judge(results: dict[str, Any]) -> dict[str, Any]:
    """Hold what was measured against the targets: `ratio` by target and way, `met` of all."""
    ratios: dict[str, float] = {}
    bounds: dict[str, float] = {}
    for part in ("accept", "relay"):
        for way, row in results.get(part, {}).items():
            key = f"{part}_{way}"
            ratios[key] = row["mailbed"] / row["postfix"]
            sessions = way.rpartition("_")[2]
            if (target := TARGETS.get(part) or TARGETS.get(f"{part}_{sessions}")) is not None:
                bounds[key] = target
    for part in ("queue", "sync"):
        for key, value in results.get(part, {}).get("mailbed", {}).items():
            if key in TARGETS:
                ratios[key], bounds[key] = value, TARGETS[key]
    reached = {
        key: ratios[key] <= bound if key in _AT_MOST else ratios[key] >= bound
        for key, bound in bounds.items()
    }
    met = all(reached.values())
    return {**results, "ratio": ratios, "target": bounds, "reached": reached, "met": met}


def table(report: dict[str, Any]) -> str:
    """Return the report as text."""
    lines = [
        f"medians of {report['runs']} runs of {report['messages']} messages on {report['file_system']}; "
        f"load of the machine before: {report['load_before']:.1f}",
        f"{'messages/s':<36}{'mailbed':>10}{'postfix':>10}{'ratio':>8}  target",
    ]
    for part in ("accept", "relay"):
        for way, row in report.get(part, {}).items():
            key = f"{part}_{way}"
            what = f"{_WHAT[part]}, {_way(way)}"
            lines.append(
                f"{what:<36}{row['mailbed']:>10,.0f}{row['postfix']:>10,.0f}{report['ratio'][key]:>8.2f}"
                f"{_bound(report, key)}"
            )
    for way, row in report.get("straight", {}).items():
        (rate,) = row.values()
        lines.append(f"{f'smtp-sink alone, {_way(way)}':<36}{rate:>10,.0f}")
    for part in ("queue", "sync"):
        rows = report.get(part, {})
        for key in rows.get("mailbed", {}):
            values = "".join(f"{rows[name][key]:>10,.{3 if key.endswith('_s') else 0}f}" for name in NAMES)
            lines.append(f"{_WHAT[key]:<36}{values}{'':>8}{_bound(report, key)}")
    return "\n".join([*lines, "all targets met" if report["met"] else "NOT all targets met"])


def _bound(report: dict[str, Any], key: str) -> str:
    if key not in report["target"]:
        return ""
    bound = "at most" if key in _AT_MOST else "at least"
    return f"  {bound} {report['target'][key]:g}: {'reached' if report['reached'][key] else 'MISSED'}"


def _way(way: str) -> str:
    kind, _, sessions = way.partition("_")
    return f"{sessions} sessions{', reused' if kind == 'reuse' else ''}"


_WHAT = {
    "accept": "accept",
    "relay": "relay",
    "start_s": "10,000 queued: start, s",
    "list_s": "10,000 queued: list, s",
    "bytes_a_message": "memory a queued message, octets",
    "messages": "traced messages, 1 session",
    "syncs": "syncs",
    "replies_before_sync": "replies before a sync",
}

_PARTS: dict[str, Callable[[Options, Path], dict[str, Any]]] = {
    "sync": _sync,
    "accept": _accept,
    "relay": _relay,
    "straight": _straight,
    "queue": _queue,
}


if __name__ == "__main__":
    sys.exit(main())
