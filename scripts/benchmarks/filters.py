"""How fast our filter engines judge, beside other people's on the same core: clamd and spamd.

Each engine is asked over loopback in its own protocol, from another core; both look at the same messages, of
which nothing is bad. Runs alternate, so that whatever else the machine does meets both; medians are compared.

    python -m scripts.benchmarks.filters --runs 5
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarks import spamengines, virusengines


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One engine and its peer: what measures them, tells it, and judges it."""

    measure: Callable[..., dict[str, Any]]
    lines: Callable[[Mapping[str, Any]], Iterator[str]]
    met: Callable[[Mapping[str, Any]], bool]


PARTS = {
    "virus": Part(measure=virusengines.measure, lines=virusengines.lines, met=virusengines.met),
    "spam": Part(measure=spamengines.measure, lines=spamengines.lines, met=spamengines.met),
}


def main() -> int:
    """Print the comparison; return 0 if every target is met, 1 if not, 2 if it cannot be made."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench filters",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=_some, default=5, help="how often each is measured (5)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="a part alone; repeatable")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("bench: two cores are needed: one for the engine, one for who asks", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {cores[1]})
    began, load = time.monotonic(), os.getloadavg()[0]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mailbed-bench-") as directory:
        for name in options.only or PARTS:
            place = Path(directory) / name
            place.mkdir()
            results[name] = PARTS[name].measure(place, runs=options.runs, core=cores[0])
    met = {name: PARTS[name].met(result) for name, result in results.items()}
    about = {"runs": options.runs, "load_before": load, "took_s": time.monotonic() - began}
    if options.json:
        print(json.dumps({**results, "met": met, **about}, indent=2))
    else:
        print("\n".join(line for name, result in results.items() for line in PARTS[name].lines(result)))
    return 0 if all(met.values()) else 1


def _some(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
