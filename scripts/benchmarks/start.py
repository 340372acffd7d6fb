"""How long a lab takes from the command to every service ready, and down again, beside stock Mininet.

Stock Mininet starts the same hosts, links, addresses and routes, and no services. Runs alternate, so that
whatever else the machine does meets both; medians are compared.

    python -m scripts.benchmarks.start --runs 5 --sites 9
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

ROOT = Path(__file__).resolve().parent.parent.parent
PLAN = Path(__file__).with_name("sixty.py")
TARGETS = {"up": 1.5, "down": 0.2, "pss_mib": 8.0}
"""At most: times stock's time to be ready, part of stock's time to end, memory a service on average."""


def main() -> int:
    """Print the comparison; return 0 if every target is met."""
    parser = argparse.ArgumentParser(prog="scripts/bench start", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how often each is started (5)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()

    ours: list[dict[str, float]] = []
    stock: list[dict[str, float]] = []
    for number in range(1, options.runs + 1):
        print(f"bench: run {number} of {options.runs}", file=sys.stderr)
        stock.append(_stock())
        ours.append(_ours())
    report = _compare(ours, stock)
    print(json.dumps(report, indent=2) if options.json else _table(report))
    return 0 if report["met"] else 1


def _stock() -> dict[str, float]:
    enter = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--uts"]
    if os.geteuid() != 0:
        enter[1:1] = ["--user", "--map-root-user"]
    result = subprocess.run(
        [*enter, sys.executable, "-m", "scripts.benchmarks.stock", "9"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    measured: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return measured


def _ours() -> dict[str, float]:
    command = [str(ROOT / "scripts" / "mailbed")]
    name = f"bench-{os.getpid()}"
    with tempfile.TemporaryDirectory() as directory:
        began = time.monotonic()
        subprocess.run(
            [*command, "up", str(PLAN), "--lab", name, "--out", f"{directory}/run"],
            check=True,
            capture_output=True,
        )
        up_s = time.monotonic() - began
        try:
            rows = json.loads(
                subprocess.run(
                    [*command, "ps", "--lab", name, "--json"], check=True, capture_output=True, text=True
                ).stdout
            )
        finally:
            began = time.monotonic()
            subprocess.run([*command, "down", "--lab", name], check=True, capture_output=True)
            down_s = time.monotonic() - began
    memory = [row["pss_kib"] / 1024 for row in (rows["services"] if isinstance(rows, dict) else rows)]
    return {"up_s": up_s, "down_s": down_s, "pss_mib": statistics.mean(memory), "services": len(memory)}


def _compare(ours: list[dict[str, float]], stock: list[dict[str, float]]) -> dict[str, Any]:
    def median(rows: list[dict[str, float]], key: str) -> float:
        return statistics.median(row[key] for row in rows)

    up, down = median(ours, "up_s") / median(stock, "up_s"), median(ours, "down_s") / median(stock, "down_s")
    memory = median(ours, "pss_mib")
    return {
        "runs": len(ours),
        "services": int(ours[0]["services"]),
        "stock": {key: median(stock, key) for key in ("up_s", "down_s")},
        "mailbed": {key: median(ours, key) for key in ("up_s", "down_s", "pss_mib")},
        "ratio": {"up": up, "down": down},
        "target": TARGETS,
        "met": up <= TARGETS["up"] and down <= TARGETS["down"] and memory <= TARGETS["pss_mib"],
    }


def _table(report: dict[str, Any]) -> str:
    stock, ours, ratio = report["stock"], report["mailbed"], report["ratio"]

    def row(what: str, *values: object) -> str:
        texts = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
        return f"{what:<28}" + "".join(f"{text:>9}" for text in texts)

    lines = [
        f"60 hosts, 69 links, medians of {report['runs']}:",
        f"Mailbed with {report['services']} services and a capture, Mininet with neither",
        row("", "Mininet", "Mailbed", "ratio", "at most"),
        row("command to ready, s", stock["up_s"], ours["up_s"], ratio["up"], TARGETS["up"]),
        row("down, s", stock["down_s"], ours["down_s"], ratio["down"], TARGETS["down"]),
        row("memory a service, MiB (PSS)", "", ours["pss_mib"], "", TARGETS["pss_mib"]),
    ]
    return "\n".join([*lines, "all targets met" if report["met"] else "NOT all targets met"])


if __name__ == "__main__":
    sys.exit(main())
