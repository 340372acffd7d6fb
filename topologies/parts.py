"""Plans put together from parts, so that built-in topologies can share what they have in common.

A part is what a piece of the world adds to a plan: its hosts, and the networks, links, zones and domains that
come with them. Parts may name what stands in another part (a link ends at a router there); whether all of
that is there is for `check` to say of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any

from topologies.plan import Domain, Exchanger, Host, Link, Network, Plan, Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a plan; `a + b` holds what is in `a`, then what is in `b`."""

    networks: tuple[Network, ...] = ()
    hosts: tuple[Host, ...] = ()
    links: tuple[Link, ...] = ()
    zones: tuple[Zone, ...] = ()
    domains: tuple[Domain, ...] = ()

    def __add__(self, other: Part) -> Part:
        return join((self, other))


def join(parts: Iterable[Part]) -> Part:
    """Return one part that holds what is in all of them, in their order."""
    parts = list(parts)
    joined: dict[str, Any] = {
        field.name: tuple(chain.from_iterable(getattr(part, field.name) for part in parts))
        for field in fields(Part)
    }
    return Part(**joined)


def plan(name: str, title: str, *parts: Part) -> Plan:
    """Return the plan that consists of these parts, in their order; it is not checked."""
    whole = join(parts)
    return Plan(
        name=name,
        title=title,
        networks=whole.networks,
        hosts=whole.hosts,
        links=whole.links,
        zones=whole.zones,
        domains=whole.domains,
    )


def access(end: str, other: str) -> Link:
    """Return a link that joins a company or a provider to the core: 100 Mbit/s, and 1 ms away."""
    return Link(a=end, b=other, rate_mbit=100, delay_ms=1)


def lan(host: str, network: str) -> Link:
    """Return a link that joins a host to a network in the same building: 1 Gbit/s."""
    return Link(a=host, b=network, rate_mbit=1000)


def ranked(*hosts: str) -> tuple[Exchanger, ...]:
    """Return MX records that prefer these hosts in this order: 10, 20, …"""
    return tuple(Exchanger(host=host, preference=10 * place) for place, host in enumerate(hosts, start=1))


def equal(*hosts: str) -> tuple[Exchanger, ...]:
    """Return MX records that prefer none of these hosts to another."""
    return tuple(Exchanger(host=host) for host in hosts)


def transit(name: str, exchangers: tuple[Exchanger, ...]) -> Domain:
    """Return a domain that is a next hop of routes and nothing else."""
    return Domain(name=name, exchangers=exchangers, transit=True)


def with_records(plan: Plan, records: Mapping[str, Iterable[str]]) -> Plan:
    """Return the plan with more master-file lines in some of its zones, by origin."""
    zones = tuple(
        replace(zone, records=(*zone.records, *records.get(zone.origin, ()))) for zone in plan.zones
    )
    return replace(plan, zones=zones)
