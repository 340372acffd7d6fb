"""The peer of `start`: stock Mininet builds the same hosts and links, with no services, and takes them down.

Run inside a sandbox (scripts.benchmarks.start does): `python -m scripts.benchmarks.stock TOPOLOGY`. Prints
two times in seconds as JSON: `up_s` since the process started, `down_s`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from topologies.addressing import assign
from topologies.catalog import load
from topologies.nodes import stock_mininet


def main() -> None:
    """Build, take down, print."""
    plan = load(sys.argv[1])
    network = stock_mininet(plan, assign(plan))
    network.start()
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME) - _process_started()
    began = time.monotonic()
    network.stop()
    print(json.dumps({"up_s": up_s, "down_s": time.monotonic() - began}))


def _process_started() -> float:
    """When this process began, in seconds since boot: the interpreter's own start counts too."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    return ticks / 100


if __name__ == "__main__":
    main()
