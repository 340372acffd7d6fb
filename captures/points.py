"""Capture points: where a packet was seen, and the path that follows from it.

An interface of a lab is named after its host (`core1-eth0`); elsewhere a name tells nothing of a host.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from captures.pcapng import DIRECTIONS, Direction

DROPS: Final = ":drop"
"""How the name of a capture point ends at which a firewall's log comes in: what it dropped."""
_INTERFACE: Final = re.compile(r"(.+?)(?:-eth\d+|:\w+)", re.DOTALL)


class Crossing(NamedTuple):
    """A packet's going in or out at an interface; one object for each, to be compared by identity."""

    interface: str
    host: str
    direction: Direction


class Point:
    """An interface that packets were captured at."""

    __slots__ = ("crossings", "drops", "host", "linktype", "place")

    def __init__(self, interface: str, linktype: int) -> None:
        self.linktype = linktype
        self.drops = interface.endswith(DROPS)
        self.host = host_of(interface)
        self.place = self.host or interface
        """The host, else the interface: in one place a packet is seen once, or twice on its way through."""
        self.crossings = {way: Crossing(interface, self.host, way) for way in DIRECTIONS}


def host_of(interface: str) -> str:
    """Return the host that an interface of a lab belongs to, "" for any other interface."""
    match = _INTERFACE.fullmatch(interface)
    return match[1] if match else ""


def path(crossings: Sequence[Crossing], home: str) -> tuple[str, ...]:
    """Return the hosts that a packet passed, in order, each once; `home` is the one that it was for.

    A bridge that does not know yet where a host is sends to all: those who only heard are left out.
    """
    hosts = list(dict.fromkeys(crossing.host for crossing in crossings if crossing.host))
    if not hosts:
        return ()
    passed = {crossing.host for crossing in crossings if crossing.direction != "in"}
    passed.add(home if home in hosts else hosts[-1])
    return tuple(host for host in hosts if host in passed)
