"""The plan of `start`, for the command line: 60 hosts, 47 services."""

from __future__ import annotations

from scripts.benchmarks.plans import internet
from topologies.plan import Plan


def build() -> Plan:
    """Return 60 hosts."""
    return internet(9)
