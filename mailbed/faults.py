"""Faults that a lab can be given, and how they are taken back.

    host-down HOST             power off: all that runs on it is killed, its links are down
    link-down A B              the cable between A and B is cut (B may be a network)
    service-down HOST ROLE     one service is killed

Each fault has a number; clearing it restores what it took away, and no more: a link that another fault
keeps down stays down, a service on a host that is still off stays off.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mailbed.errors import UsageError
from mailbed.eventlog import EventLog
from mailbed.services import Entry, Services
from topologies.network import Network

KINDS = {
    "host-down": ("HOST",),
    "link-down": ("A", "B"),
    "service-down": ("HOST", "ROLE"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault that is in force: `target` are the arguments that KINDS names."""

    number: int
    kind: str
    target: tuple[str, ...]


class Faults:
    """The faults in force."""

    def __init__(
        self, network: Network, services: Services, events: EventLog, kill_on: Callable[[str], None]
    ) -> None:
        """`kill_on` kills whatever else runs on a host (what `exec` started, a mail client)."""
        self._network = network
        self._services = services
        self._events = events
        self._kill_on = kill_on
        self._numbers = itertools.count(1)
        self.active: dict[int, Fault] = {}

    async def add(self, kind: str, target: Sequence[str]) -> Fault:
        """Put a fault in force and return it. Raises: UsageError."""
        arguments = KINDS.get(kind)
        if arguments is None:
            raise UsageError(f"there is no fault {kind!r}; there are {', '.join(KINDS)}")
        if len(target) != len(arguments):
            raise UsageError(f"{kind} takes {' '.join(arguments)}")
        # A cable is the same from either end: two faults that cut it could not be cleared one by one.
        same = sorted if kind == "link-down" else list
        if any(fault.kind == kind and same(fault.target) == same(target) for fault in self.active.values()):
            raise UsageError(f"{kind} {' '.join(target)} is in force already")
        actions: dict[str, Callable[[Sequence[str]], Awaitable[None]]] = {
            "host-down": self._host_down,
            "link-down": self._link_down,
            "service-down": self._service_down,
        }
        await actions[kind](target)
        fault = Fault(number=next(self._numbers), kind=kind, target=tuple(target))
        self.active[fault.number] = fault
        self._events.emit("", "", "fault", fault=kind, target=list(target), number=fault.number)
        return fault

    async def clear(self, number: int) -> Fault:
        """Take a fault back; return when what it took down serves again. Raises: UsageError, StartFailed."""
        fault = self.active.pop(number, None)
        if fault is None:
            raise UsageError(f"there is no fault {number}; mailbed fault list shows those in force")
        if fault.kind == "host-down":
            self._network.set_host(fault.target[0], up=True)
        elif fault.kind == "link-down":
            for link in self._network.links_between(*fault.target):
                self._network.set_link(link, up=True)
        await self._services.start(self._restorable())
        self._events.emit("", "", "fault-cleared", fault=fault.kind, target=list(fault.target), number=number)
        return fault

    def _restorable(self) -> list[Entry]:
        """Services that a fault took down and that no fault keeps down any more."""
        hosts = {fault.target[0] for fault in self.active.values() if fault.kind == "host-down"}
        roles = {fault.target for fault in self.active.values() if fault.kind == "service-down"}
        return [
            entry
            for entry in self._services.entries
            if entry.state == "down" and entry.host not in hosts and (entry.host, entry.role) not in roles
        ]

    def _known(self, host: str) -> None:
        if host not in self._network.namespaces:
            raise UsageError(f"there is no host {host} in {self._network.plan.name}")

    async def _host_down(self, target: Sequence[str]) -> None:
        (host,) = target
        self._known(host)
        # The cable first: nothing that dies on the host may still say goodbye on the wire.
        self._network.set_host(host, up=False)
        await self._services.stop([entry for entry in self._services.entries if entry.host == host])
        self._kill_on(host)

    async def _link_down(self, target: Sequence[str]) -> None:
        links = self._network.links_between(*target)
        if not links:
            raise UsageError(f"there is no link between {target[0]} and {target[1]}")
        for link in links:
            self._network.set_link(link, up=False)

    async def _service_down(self, target: Sequence[str]) -> None:
        host, role = target
        self._known(host)
        await self._services.stop(self._services.of(host, role))
