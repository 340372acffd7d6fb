"""How fast our name server and resolver answer, beside BIND, NSD and Unbound on the same core.

Authoritative servers have a zone of 3,000 records, and ours also one of 1,000 and of 100,000. Resolvers find
the same zone through a root and a TLD that NSD serves; warm, everything asked has been asked before; cold,
each look-up of an MX goes through the root, a TLD and a domain that nobody has asked for yet. dnsperf asks
from another core, with queries as `scripts/benchmarks/dnsqueries.py` describes them. Runs alternate, so that
whatever else the machine does meets all; medians are compared. Everything is in a network namespace of its
own and needs no root.

    python -m scripts.benchmarks.dns --runs 5 --seconds 3
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarks import dnsqueries as queries
from scripts.benchmarks import dnsservers as servers
from scripts.benchmarks.dnsservers import Server

ORIGIN = "example.org"
RECORDS, FEW, MANY = 3_000, 1_000, 100_000
TARGETS = {
    "authoritative_bind": 1.3,
    "authoritative_nsd": 0.7,
    "warm_bind": 1.0,
    "cold_unbound": 1.5,
    "many_few": 0.8,
    "bytes_a_record": 1024.0,
}
"""Rates: at least these parts of the peer's, and with 100,000 records of that with 1,000. At most: times
Unbound's median time; octets of memory a record."""
_AT_MOST = ("cold_unbound", "bytes_a_record")

Commands = dict[str, tuple[str, list[str]]]
"""By name: the address that the command serves, and the command."""

_LEVELS: dict[str, tuple[str, ...]] = {
    "root": ("127.0.1.1",),
    "tld": ("127.0.2.1",),
    "domain": ("127.0.3.1",),
    "child": queries.CHILD_SERVERS,
}
_SAID = {"Queries sent": "sent", "Queries completed": "completed", "Queries per second": "qps"}
_QUERIES = 300_000
_OUTSTANDING = 100
_LOOKUPS = 300
_INSIDE = "--inside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How often and for how long; the cores of servers and of who asks."""

    runs: int
    seconds: float
    core: int
    asking: int


def main() -> int:
    """Print the comparison; return 0 if every target is met."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench dns", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="how often each is asked (5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each time (3)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--only", action="append", choices=list(_PARTS), help="a part alone; repeatable")
    parser.add_argument(_INSIDE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        return _enter(sys.argv[1:])
    # BIND listens on addresses that an interface has; the others take any of 127.0.0.0/8.
    for command in ("ip link set lo up", "ip address add 127.0.0.11/8 dev lo"):
        subprocess.run(command.split(), check=True)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.error("two cores are needed: one for the server, one for who asks it")
    given = Options(runs=options.runs, seconds=options.seconds, core=cores[0], asking=cores[1])
    os.sched_setaffinity(0, {given.asking})
    began, load = time.monotonic(), os.getloadavg()[0]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for part in options.only or _PARTS:
            place = Path(directory) / part
            place.mkdir()
            results |= _PARTS[part](given, place)
    report = _judge(results) | {"runs": given.runs, "load_before": load, "took_s": time.monotonic() - began}
    print(json.dumps(report, indent=2) if options.json else _table(report))
    return 0 if report["met"] else 1


def _enter(arguments: Sequence[str]) -> int:
    """Run this benchmark in namespaces of its own; return its exit status."""
    enter = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        enter[1:1] = ["--user", "--map-root-user"]
    command = [*enter, sys.executable, "-m", "scripts.benchmarks.dns", _INSIDE, *arguments]
    return subprocess.run(command, check=False).returncode


def _authoritative(options: Options, directory: Path) -> dict[str, Any]:
    """Measure ours, BIND and NSD with the same zone."""
    zones = {ORIGIN: _write(directory / "zone", queries.zone_text(ORIGIN, RECORDS))}
    packets = _packets(directory, queries.authoritative_pool(ORIGIN, RECORDS))
    commands = {
        "mailbed": ("127.0.0.10", servers.mailbed(directory, "127.0.0.10", zones)),
        "bind": ("127.0.0.11", servers.bind(directory, "127.0.0.11", zones)),
        "nsd": ("127.0.0.12", servers.nsd(directory, ["127.0.0.12"], zones)),
    }
    with contextlib.ExitStack() as stack:
        started = _start(stack, commands, options, directory)
        return {"authoritative": _rates(started, {server.name: packets for server in started}, options)}


def _size(options: Options, directory: Path) -> dict[str, Any]:
    """Measure ours with few and with many records, and what memory a record takes."""
    few, many = directory / "few", directory / "many"
    commands: Commands = {}
    packets, every = {}, {}
    for place, records, address in ((few, FEW, "127.0.0.10"), (many, MANY, "127.0.0.11")):
        place.mkdir()
        zones = {ORIGIN: _write(place / "zone", queries.zone_text(ORIGIN, records))}
        pool = queries.authoritative_pool(ORIGIN, records)
        packets[place.name] = _packets(place, pool)
        every[place.name] = _write_packets(place / "all", queries.everything(pool))
        commands[place.name] = (address, servers.mailbed(directory, address, zones))
    with contextlib.ExitStack() as stack:
        started = _start(stack, commands, options, directory)
        loaded = {server.name: server.pss_kib() for server in started}
        for server in started:
            _dnsperf(server, every[server.name], "-n1", "-q50")
        asked = {server.name: server.pss_kib() for server in started}
        rates = _rates(started, packets, options)
        measured = {server.name: server.pss_kib() for server in started}
    per = {
        when: (kib["many"] - kib["few"]) * 1024 / (MANY - FEW)
        for when, kib in (("loaded", loaded), ("asked", asked), ("measured", measured))
    }
    return {"size": {"records": {"few": FEW, "many": MANY}, "rates": rates, "bytes_a_record": per}}


def _warm(options: Options, directory: Path) -> dict[str, Any]:
    """Measure ours, BIND and Unbound once everything that is asked has been asked before."""
    pool = queries.resolver_pool(ORIGIN, RECORDS)
    packets = _packets(directory, pool)
    every = _write_packets(directory / "all", queries.everything(pool))
    cuts = queries.cut_names(ORIGIN, RECORDS)
    zones = {
        "root": {".": queries.referring_zone_text(".", ["org"], ["127.0.2.1"], "127.0.1.1")},
        "tld": {"org": queries.referring_zone_text("org", ["example"], ["127.0.3.1"], "127.0.2.1")},
        "domain": {ORIGIN: queries.zone_text(ORIGIN, RECORDS)},
        "child": {cut: queries.child_zone_text(cut) for cut in cuts},
    }
    with contextlib.ExitStack() as stack:
        hints = _hierarchy(stack, zones, options, directory)
        started = _start(stack, _resolvers(directory, hints), options, directory)
        for server in started:
            for _ in range(2):
                _dnsperf(server, every, "-n1", "-q20")
        return {"warm": _rates(started, {server.name: packets for server in started}, options)}


def _cold(options: Options, directory: Path) -> dict[str, Any]:
    """Measure how long ours and Unbound take for an MX when root, TLD and domain all have to be asked."""
    tlds = [f"t{number}" for number in range(2 * _LOOKUPS + 20)]
    domains = [f"company.{tld}" for tld in tlds]
    zones = {
        "root": {".": queries.referring_zone_text(".", tlds, ["127.0.2.1"], "127.0.1.1")},
        "tld": {
            t: queries.referring_zone_text(t, ["company"], queries.CHILD_SERVERS, "127.0.2.1") for t in tlds
        },
        "child": {domain: queries.child_zone_text(domain) for domain in domains},
    }
    with contextlib.ExitStack() as stack:
        hints = _hierarchy(stack, zones, options, directory)
        commands = _resolvers(directory, hints)
        del commands["bind"]
        started = _start(stack, commands, options, directory)
        return {"cold": _lookups(started, domains)}


def _start(
    stack: contextlib.ExitStack, commands: Commands, options: Options, directory: Path
) -> list[Server]:
    """Start what is to be measured, all on one core."""
    return [
        stack.enter_context(servers.running(name, address, command, options.core, directory))
        for name, (address, command) in commands.items()
    ]


def _hierarchy(
    stack: contextlib.ExitStack, zones: Mapping[str, Mapping[str, str]], options: Options, directory: Path
) -> Path:
    """Serve the zones of each level with an NSD on the asking side's core; return the root hints."""
    for level, texts in zones.items():
        place = directory / level
        place.mkdir()
        files = {
            origin: _write(place / f"{number}.zone", text)
            for number, (origin, text) in enumerate(texts.items())
        }
        addresses = _LEVELS[level]
        command = servers.nsd(directory, addresses, files)
        stack.enter_context(servers.running(level, addresses[0], command, options.asking, directory))
    return _write(directory / "hints", f". 3600000 NS ns1.\nns1. 3600000 A {_LEVELS['root'][0]}\n")


def _resolvers(directory: Path, hints: Path) -> Commands:
    return {
        "mailbed": ("127.0.0.10", servers.mailbed_resolver(directory, "127.0.0.10", hints)),
        "bind": ("127.0.0.11", servers.bind_resolver(directory, "127.0.0.11", hints)),
        "unbound": ("127.0.0.12", servers.unbound_resolver(directory, "127.0.0.12", hints)),
    }


def _rates(started: Iterable[Server], packets: Mapping[str, Path], options: Options) -> dict[str, Any]:
    """Ask each server in turn, several times; return medians: queries a second, processor time."""
    rows: dict[str, list[dict[str, float]]] = {server.name: [] for server in started}
    for number in range(1, options.runs + 1):
        for server in started:
            print(f"bench: run {number} of {options.runs}: {server.name}", file=sys.stderr)
            before = server.cpu_s()
            row = _dnsperf(server, packets[server.name], f"-l{options.seconds}", f"-q{_OUTSTANDING}")
            row["cpu_us"] = (server.cpu_s() - before) / row["completed"] * 1e6
            rows[server.name].append(row)
    keys = ("qps", "cpu_us", "lost")
    return {
        name: {key: statistics.median(r[key] for r in runs) for key in keys} for name, runs in rows.items()
    }


def _dnsperf(server: Server, packets: Path, *arguments: str) -> dict[str, float]:
    """Ask a server with dnsperf; return how many queries a second, and what became of them."""
    command = ["dnsperf", "-s", server.address, "-B", "-d", str(packets), "-t1", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {key: re.search(rf"{key}: +([\d.]+)", result.stdout) for key in _SAID}
    values = {short: float(match[1]) for key, short in _SAID.items() if (match := found[key])}
    if len(values) < len(_SAID) or not values["completed"]:
        raise RuntimeError(f"dnsperf: {result.stdout}{result.stderr}")
    values["lost"] = 1 - values["completed"] / values["sent"]
    return values


def _lookups(started: Sequence[Server], domains: Sequence[str]) -> dict[str, Any]:
    """Ask each resolver in turn for MX records that nobody has asked for; return medians in ms."""
    left = iter(domains)
    times: dict[str, list[float]] = {server.name: [] for server in started}
    with contextlib.ExitStack() as stack:
        clients = {server.name: stack.enter_context(_client(server.address)) for server in started}
        for number in range(_LOOKUPS + 5):
            for server in started:
                packet = queries.query(queries.to_wire(next(left)), 15)
                began = time.perf_counter()
                clients[server.name].send(packet)
                reply = clients[server.name].recv(4096)
                took = time.perf_counter() - began
                if not int.from_bytes(reply[6:8], "big"):
                    raise RuntimeError(f"{server.name} does not find the MX: {reply.hex()}")
                # The first ones find the roots and warm the code.
                if number >= 5:
                    times[server.name].append(took * 1000)
    return {name: {"ms": statistics.median(took)} for name, took in times.items()}


def _client(address: str) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(10)
    client.connect((address, 53))
    return client


def _packets(directory: Path, pool: queries.Pool) -> Path:
    return _write_packets(directory / "queries", queries.mix(pool, _QUERIES, random.Random(1)))


def _write_packets(path: Path, packets: Iterable[bytes]) -> Path:
    with path.open("wb") as file:
        file.writelines(len(packet).to_bytes(2, "big") + packet for packet in packets)
    return path


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="ascii")
    return path


def _judge(results: dict[str, Any]) -> dict[str, Any]:
    """Hold what was measured against the targets."""
    ratios: dict[str, float] = {}
    if rates := results.get("authoritative"):
        for peer in ("bind", "nsd"):
            ratios[f"authoritative_{peer}"] = rates["mailbed"]["qps"] / rates[peer]["qps"]
    if size := results.get("size"):
        ratios["many_few"] = size["rates"]["many"]["qps"] / size["rates"]["few"]["qps"]
        ratios["bytes_a_record"] = max(size["bytes_a_record"].values())
    if rates := results.get("warm"):
        ratios["warm_bind"] = rates["mailbed"]["qps"] / rates["bind"]["qps"]
    if cold := results.get("cold"):
        ratios["cold_unbound"] = cold["mailbed"]["ms"] / cold["unbound"]["ms"]
    met = all(
        value <= TARGETS[key] if key in _AT_MOST else value >= TARGETS[key] for key, value in ratios.items()
    )
    return {**results, "ratio": ratios, "target": TARGETS, "met": met}


def _table(report: dict[str, Any]) -> str:
    lines = [f"medians of {report['runs']} runs; load of the machine before: {report['load_before']:.1f}"]
    for part, what in (("authoritative", "authoritative"), ("warm", "resolver, warm")):
        for name, row in report.get(part, {}).items():
            lines.append(_rate(f"{what}: {name}", row))
    for name, row in report.get("size", {}).get("rates", {}).items():
        lines.append(_rate(f"{report['size']['records'][name]:,} records: mailbed", row))
    for name, row in report.get("cold", {}).items():
        lines.append(f"{f'resolver, cold MX: {name}':<32}{row['ms']:>12.2f} ms")
    lines.append(f"{'':<32}{'reached':>12}  target")
    for key, value in report["ratio"].items():
        bound = "at most" if key in _AT_MOST else "at least"
        lines.append(f"{_MEANING[key]:<32}{value:>12.2f}  {bound} {TARGETS[key]:g}")
    return "\n".join([*lines, "all targets met" if report["met"] else "NOT all targets met"])


def _rate(what: str, row: dict[str, float]) -> str:
    lost = f"  {row['lost']:.2%} lost" if row["lost"] > 0.001 else ""
    return f"{what:<32}{row['qps']:>12,.0f} queries/s{row['cpu_us']:>8.1f} us of processor{lost}"


_MEANING = {
    "authoritative_bind": "authoritative / BIND",
    "authoritative_nsd": "authoritative / NSD",
    "many_few": "100,000 records / 1,000",
    "bytes_a_record": "octets of memory a record",
    "warm_bind": "resolver, warm / BIND",
    "cold_unbound": "resolver, cold / Unbound (time)",
}

_PARTS: dict[str, Callable[[Options, Path], dict[str, Any]]] = {
    "authoritative": _authoritative,
    "size": _size,
    "warm": _warm,
    "cold": _cold,
}


if __name__ == "__main__":
    sys.exit(main())
