"""Interfaces and addresses, derived from a plan.

Theory of operation. Interfaces are numbered per host in the order of the links: `NAME-eth0`, `NAME-eth1`, …
In a network, routers count up from the first address (`.1`) and other hosts from the tenth (`.10`), each in
the order of the links, so that a host added at the end changes nobody else's address. Hosts that are linked
directly share a /31 (RFC 3021): from the plan's transit range, or, if the link fixes an address, its
neighbour in the pair; that is how a root server keeps its real one.

A hardware address says whose it is: `02:00` followed by the four bytes of the IPv4 address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import chain
from types import MappingProxyType

from topologies.plan import Link, Plan

FIRST_ROUTER = 1
FIRST_HOST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One end of a link, at a host: `name` is `HOST-ethN`, `link` the link's place in the plan (from 0)."""

    host: str
    name: str
    link: int
    address: IPv4Interface
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One end of a link, at a network: the switch port `NETWORK-ethN`."""

    network: str
    name: str
    link: int
    mac: str


@dataclass(frozen=True)
class Addressing:
    """Every interface of a plan, and every switch port, in the order of the links."""

    interfaces: tuple[Interface, ...]
    ports: tuple[Port, ...]

    def of(self, host: str) -> tuple[Interface, ...]:
        """Return the interfaces of a host, `HOST-eth0` first."""
        return self._of.get(host, ())

    def ends(self, link: int) -> tuple[Interface | Port, Interface | Port]:
        """Return the two ends of a link, that of `a` first. Raises: KeyError."""
        first, other = self._ends[link]
        return first, other

    def primary(self) -> Mapping[str, IPv4Address]:
        """Return each host's main address: that of its first interface, which its name stands for in DNS."""
        return self._primary

    # All of these are asked for each host or link of a plan, so what answers is made once.
    @cached_property
    def _of(self) -> dict[str, tuple[Interface, ...]]:
        found: dict[str, list[Interface]] = {}
        for interface in self.interfaces:
            found.setdefault(interface.host, []).append(interface)
        return {host: tuple(interfaces) for host, interfaces in found.items()}

    @cached_property
    def _ends(self) -> dict[int, list[Interface | Port]]:
        # A port is always the far end: networks stand at b.
        found: dict[int, list[Interface | Port]] = {}
        ends: list[Interface | Port] = [*self.interfaces, *self.ports]
        for end in ends:
            found.setdefault(end.link, []).append(end)
        return found

    @cached_property
    def _primary(self) -> Mapping[str, IPv4Address]:
        return MappingProxyType({host: interfaces[0].address.ip for host, interfaces in self._of.items()})


def assign(plan: Plan) -> Addressing:
    """Return the interfaces of a plan in which `check` found no mistakes."""
    pools = _Pools(plan)
    # A switch's own port is port 0 in Mininet, so its links start at 1.
    counts = {network.name: 1 for network in plan.networks}
    interfaces: list[Interface] = []
    ports: list[Port] = []

    def next_name(owner: str) -> str:
        number = counts.get(owner, 0)
        counts[owner] = number + 1
        return f"{owner}-eth{number}"

    def add(host: str, index: int, address: IPv4Interface) -> None:
        mac = "02:00:" + ":".join(f"{byte:02x}" for byte in address.ip.packed)
        interfaces.append(Interface(host=host, name=next_name(host), link=index, address=address, mac=mac))

    networks = {network.name for network in plan.networks}
    for index, link in enumerate(plan.links):
        if link.b in networks:
            add(link.a, index, pools.in_network(link))
            mac = "02:01:" + ":".join(f"{byte:02x}" for byte in index.to_bytes(4, "big"))
            ports.append(Port(network=link.b, name=next_name(link.b), link=index, mac=mac))
        else:
            near, far = pools.pair(link)
            add(link.a, index, near)
            add(link.b, index, far)
    return Addressing(tuple(interfaces), tuple(ports))


def subnets(addressing: Addressing) -> dict[IPv4Network, list[str]]:
    """Return every subnet that has a host in it, with the names of those hosts."""
    found: dict[IPv4Network, list[str]] = {}
    for interface in addressing.interfaces:
        found.setdefault(interface.address.network, []).append(interface.host)
    return found


def transit_pairs(transit: IPv4Network) -> Iterator[tuple[IPv4Address, IPv4Address]]:
    """Yield the pairs of addresses that links between two hosts may have, in order."""
    for near in range(int(transit.network_address), int(transit.broadcast_address), 2):
        # .0 and .255 are legal in a /31, but people and some software take them for something else.
        if near % 256 not in (0, 254):
            yield IPv4Address(near), IPv4Address(near + 1)


class _Pools:
    """What is still free. Fixed addresses are set aside first, wherever they stand in the plan."""

    def __init__(self, plan: Plan) -> None:
        self._taken = {IPv4Address(link.address) for link in plan.links if link.address}
        self._routers = {host.name for host in plan.hosts if host.router}
        self._subnets = {network.name: IPv4Network(network.subnet) for network in plan.networks}
        self._next: dict[tuple[str, bool], Iterator[IPv4Address]] = {}
        self._transit = transit_pairs(IPv4Network(plan.transit))

    def in_network(self, link: Link) -> IPv4Interface:
        subnet = self._subnets[link.b]
        address = IPv4Address(link.address) if link.address else self._free(link)
        self._taken.add(address)
        return IPv4Interface((address, subnet.prefixlen))

    def _free(self, link: Link) -> IPv4Address:
        is_router = link.a in self._routers
        subnet = self._subnets[link.b]
        small = subnet.num_addresses <= 2 * FIRST_HOST
        start = FIRST_ROUTER if is_router or small else FIRST_HOST
        # The first and the last address of a subnet are its network and broadcast addresses. Hosts that find
        # no room behind the tenth get what routers have left.
        numbers = chain(range(start, subnet.num_addresses - 1), range(FIRST_ROUTER, start))
        usable = (subnet[number] for number in numbers)
        candidates = self._next.setdefault((link.b, is_router), usable)
        return next(address for address in candidates if address not in self._taken)

    def pair(self, link: Link) -> tuple[IPv4Interface, IPv4Interface]:
        if link.address:
            near = IPv4Address(link.address)
            far = IPv4Address(int(near) ^ 1)
        else:
            near, far = next(self._transit)
        self._taken |= {near, far}
        return IPv4Interface((near, 31)), IPv4Interface((far, 31))
