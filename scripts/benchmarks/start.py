"""How long a lab takes from the command to every service ready, and down again, beside stock Mininet.

Stock Mininet starts the same hosts, links, addresses and routes, and no services. Runs alternate, so that
whatever else the machine does meets both; medians are compared. The lab then carries its first message, all
caches cold, and once it is down `mailbed journey` reads the message's way from the capture.

    python -m scripts.benchmarks.start --runs 5 --topology two-companies
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
from pathlib import Path
from typing import Any

from topologies.catalog import load

ROOT = Path(__file__).resolve().parent.parent.parent
TARGETS = {"up": 1.5, "down": 0.2, "pss_mib": 8.0, "delivered_s": 1.0, "journey_s": 1.0}
"""At most: times stock's time to be ready, part of stock's time to end, memory a service on average;
seconds from submission to the mailbox, and for `mailbed journey` from command to account."""


def main() -> int:
    """Print the comparison; return 0 if every target is met."""
    parser = argparse.ArgumentParser(prog="scripts/bench start", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how often each is started (5)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--topology", default="two-companies", help="what is started (two-companies)")
    options = parser.parse_args()
    plan = load(options.topology)

    ours: list[dict[str, float]] = []
    stock: list[dict[str, float]] = []
    for number in range(1, options.runs + 1):
        print(f"bench: run {number} of {options.runs}", file=sys.stderr)
        stock.append(_stock(options.topology))
        ours.append(_ours(options.topology))
    report = {"hosts": len(plan.hosts), "links": len(plan.links), **_compare(ours, stock)}
    print(json.dumps(report, indent=2) if options.json else _table(report))
    return 0 if report["met"] else 1


def _stock(topology: str) -> dict[str, float]:
    enter = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--uts"]
    if os.geteuid() != 0:
        enter[1:1] = ["--user", "--map-root-user"]
    result = subprocess.run(
        [*enter, sys.executable, "-m", "scripts.benchmarks.stock", topology],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    measured: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return measured


def _ours(topology: str) -> dict[str, float]:
    name = f"bench-{os.getpid()}"
    with tempfile.TemporaryDirectory() as directory:
        run = f"{directory}/run"
        up_s, _ = _mailbed("up", topology, "--lab", name, "--out", run)
        try:
            _, sent = _mailbed("send", "--lab", name, "--json")
            _, rows = _mailbed("ps", "--lab", name, "--json")
        finally:
            down_s, _ = _mailbed("down", "--lab", name)
        journey_s, _ = _mailbed("journey", run, "--no-save")
    memory = [row["pss_kib"] / 1024 for row in json.loads(rows)["services"]]
    return {
        "up_s": up_s,
        "down_s": down_s,
        "pss_mib": statistics.mean(memory),
        "services": len(memory),
        "delivered_s": json.loads(sent)["delivered_s"],
        "journey_s": journey_s,
    }


def _mailbed(*arguments: str) -> tuple[float, str]:
    """Run a command; return how long it took and what it printed. Raises: CalledProcessError."""
    began = time.monotonic()
    command = [str(ROOT / "scripts" / "mailbed"), *arguments]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.monotonic() - began, result.stdout


def _compare(ours: list[dict[str, float]], stock: list[dict[str, float]]) -> dict[str, Any]:
    def median(rows: list[dict[str, float]], key: str) -> float:
        return statistics.median(row[key] for row in rows)

    up, down = median(ours, "up_s") / median(stock, "up_s"), median(ours, "down_s") / median(stock, "down_s")
    alone = {key: median(ours, key) for key in ("pss_mib", "delivered_s", "journey_s")}
    return {
        "runs": len(ours),
        "services": int(ours[0]["services"]),
        "stock": {key: median(stock, key) for key in ("up_s", "down_s")},
        "mailbed": {"up_s": median(ours, "up_s"), "down_s": median(ours, "down_s"), **alone},
        "ratio": {"up": up, "down": down},
        "target": TARGETS,
        "met": up <= TARGETS["up"]
        and down <= TARGETS["down"]
        and all(value <= TARGETS[key] for key, value in alone.items()),
    }


def _table(report: dict[str, Any]) -> str:
    stock, ours, ratio = report["stock"], report["mailbed"], report["ratio"]

    def row(what: str, *values: object) -> str:
        texts = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
        return f"{what:<30}" + "".join(f"{text:>9}" for text in texts)

    lines = [
        f"{report['hosts']} hosts, {report['links']} links, medians of {report['runs']}:",
        f"Mailbed with {report['services']} services and a capture, Mininet with neither",
        row("", "Mininet", "Mailbed", "ratio", "at most"),
        row("command to ready, s", stock["up_s"], ours["up_s"], ratio["up"], TARGETS["up"]),
        row("down, s", stock["down_s"], ours["down_s"], ratio["down"], TARGETS["down"]),
        row("memory a service, MiB (PSS)", "", ours["pss_mib"], "", TARGETS["pss_mib"]),
        row("first message delivered, s", "", ours["delivered_s"], "", TARGETS["delivered_s"]),
        row("mailbed journey, s", "", ours["journey_s"], "", TARGETS["journey_s"]),
    ]
    return "\n".join([*lines, "all targets met" if report["met"] else "NOT all targets met"])


if __name__ == "__main__":
    sys.exit(main())
