"""Static routes, computed from a plan: a stand-in for a routing protocol.

Theory of operation. Hosts are points, networks are points too, links join them; only routers pass traffic on.
A router gets one route for each subnet that it is not in, along a shortest path (fewest links; among equal
ones the path whose next host comes first in the plan, so that equal plans give equal routes). A host that is
no router sends everything to the first router beside it, but for the subnets that are nearer, or only to be
reached, by another one. A subnet that no router is in is known to those in it alone. When a link or a host is
down the computation is made again without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from topologies.addressing import Addressing, Interface, Port, subnets
from topologies.plan import Plan

DEFAULT = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """Traffic for `destination` goes to `via`, a neighbour, out of the interface `device`."""

    destination: IPv4Network
    via: IPv4Address
    device: str


@dataclass(frozen=True, slots=True)
class _Step:
    """From one host to the next: out of `device` to the router `host`, a neighbour at `address`."""

    host: str
    address: IPv4Address
    device: str


@dataclass(frozen=True, slots=True)
class _Members:
    """Who is in a subnet; `doors` are the routers among them, in the order of the plan."""

    hosts: frozenset[str]
    doors: tuple[str, ...]


def routes(
    plan: Plan,
    addressing: Addressing,
    *,
    links_down: Collection[int] = (),
    hosts_down: Collection[str] = (),
) -> dict[str, tuple[Route, ...]]:
    """Return every host's routes, sorted; `links_down` are places in `plan.links`, `hosts_down` names."""
    order = {host.name: number for number, host in enumerate(plan.hosts)}
    routers = {host.name for host in plan.hosts if host.router} - set(hosts_down)
    neighbours = _neighbours(addressing, routers, links_down, hosts_down)
    for steps in neighbours.values():
        steps.sort(key=lambda step: order[step.host])
    # Attached to a subnet is who has a working link into it.
    attached = {
        subnet: _Members(
            hosts=frozenset(host for host in hosts if host not in hosts_down),
            doors=tuple(sorted(routers.intersection(hosts), key=order.__getitem__)),
        )
        for subnet, hosts in subnets(_working(addressing, links_down)).items()
    }

    table: dict[str, tuple[Route, ...]] = {}
    for host in plan.hosts:
        if host.name in hosts_down:
            table[host.name] = ()
        elif host.name in routers:
            table[host.name] = _subnet_routes(host.name, neighbours, attached)
        else:
            table[host.name] = _host_routes(host.name, neighbours, attached)
    return table


def _working(addressing: Addressing, links_down: Collection[int]) -> Addressing:
    return Addressing(
        tuple(interface for interface in addressing.interfaces if interface.link not in links_down),
        tuple(port for port in addressing.ports if port.link not in links_down),
    )


def _neighbours(
    addressing: Addressing,
    routers: Collection[str],
    links_down: Collection[int],
    hosts_down: Collection[str],
) -> dict[str, list[_Step]]:
    """Which routers can be reached from whom without passing another host: over a link, or one network."""
    members: dict[str, list[Interface]] = {}
    ports = {port.link: port for port in addressing.ports}
    for interface in addressing.interfaces:
        if interface.link in links_down or interface.host in hosts_down:
            continue
        port: Port | None = ports.get(interface.link)
        segment = f"network {port.network}" if port else f"link {interface.link}"
        members.setdefault(segment, []).append(interface)

    found: dict[str, list[_Step]] = {}
    for group in members.values():
        doors = [far for far in group if far.host in routers]
        for near in group:
            steps = found.setdefault(near.host, [])
            steps += [_Step(far.host, far.address.ip, near.name) for far in doors if far.host != near.host]
    return found


def _host_routes(
    host: str, neighbours: Mapping[str, list[_Step]], attached: Mapping[IPv4Network, _Members]
) -> tuple[Route, ...]:
    gateways = neighbours.get(host, [])
    if not gateways:
        return ()
    best = gateways[0]
    default = Route(DEFAULT, best.address, best.device)
    if len(gateways) == 1:
        return (default,)
    others = _subnet_routes(host, neighbours, attached)
    return (default, *(route for route in others if (route.via, route.device) != (best.address, best.device)))


def _subnet_routes(
    start: str, neighbours: Mapping[str, list[_Step]], attached: Mapping[IPv4Network, _Members]
) -> tuple[Route, ...]:
    """Breadth first: `first` is the step with which each router is reached, `distance` counts links."""
    distance = {start: 0}
    first: dict[str, _Step] = {}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for step in neighbours.get(here, []):
            if step.host not in distance:
                distance[step.host] = distance[here] + 1
                first[step.host] = step if here == start else first[here]
                queue.append(step.host)

    found: list[Route] = []
    for subnet, members in attached.items():
        doors = [door for door in members.doors if door in distance]
        if doors and start not in members.hosts:
            # Of equally near ones the first in the plan, as `min` has it.
            nearest = min(doors, key=distance.__getitem__)
            found.append(Route(subnet, first[nearest].address, first[nearest].device))
    return tuple(sorted(found))
