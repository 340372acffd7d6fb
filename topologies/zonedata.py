"""Zone files and root hints, derived from a plan.

Theory of operation. A name belongs to the most specific zone that encloses it. Into its zone goes

    each host's name      an A record for its main address, and a PTR into the reverse zone of every address
    each zone             SOA, its NS records, and, in the zone above it, a delegation with glue
    each mail domain      its MX records, and what it publishes about its senders (senders)

and the plan's own lines. What comes out is RFC 1035 master-file text with absolute names: it is what our
servers load, what a foreign server loads too, and what people read in the run directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from ipaddress import IPv4Address
from itertools import chain

from topologies import senders
from topologies.addressing import Addressing
from topologies.plan import ROOT, Host, Plan, Zone

SERIAL = 2026010100
"""Zones are made once per run; the serial is fixed so that equal plans give equal files."""

_TIMERS = "14400 3600 1209600 300"
"""Refresh, retry, expire and negative TTL (s) as registries want them; NOTIFY makes changes quick."""

Record = tuple[str, str, str]
"""Owner without final dot, type, data as it stands in a master file."""


def enclosing_zone(name: str, origins: Mapping[str, Zone]) -> str | None:
    """Return the most specific of `origins` that `name` lies in (its own apex included)."""
    labels = name.lower().split(".") if name != ROOT else []
    for start in range(len(labels)):
        candidate = ".".join(labels[start:])
        if candidate in origins:
            return candidate
    return ROOT if ROOT in origins else None


def parent_zone(origin: str, origins: Mapping[str, Zone]) -> str | None:
    """Return the zone that delegates `origin`; the root has none."""
    if origin == ROOT:
        return None
    above = origin.partition(".")[2] or ROOT
    return enclosing_zone(above, origins)


def has_glue(fqdn: str, parent: str) -> bool:
    """Return whether a server of that name gets its address into a zone that delegates to it."""
    return parent == ROOT or fqdn.lower().endswith("." + parent)


def zone_files(plan: Plan, addressing: Addressing, keys: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the master file of every zone, by origin; `keys` are the DKIM records, by domain."""
    origins = {zone.origin: zone for zone in plan.zones}
    contents: dict[str, list[Record]] = {origin: [] for origin in origins}
    for record in chain(_records(plan, addressing), senders.records(plan, addressing, keys or {})):
        zone = enclosing_zone(record[0], origins)
        if zone is not None:
            contents[zone].append(record)
    for origin in origins:
        _delegate(plan, addressing, origins, origin, contents)
    mailed = {domain.name for domain in plan.domains}
    return {zone.origin: _text(plan, zone, contents[zone.origin], mailed) for zone in plan.zones}


def root_hints(plan: Plan, addressing: Addressing) -> str:
    """Return the root hints file (as InterNIC's named.root): the root's NS records and their addresses."""
    addresses = addressing.primary()
    servers = plan.servers_of(ROOT)
    lines = [f"{'.':<24} 3600000 NS  {server.fqdn}." for server in servers]
    lines += [f"{server.fqdn + '.':<24} 3600000 A   {addresses[server.name]}" for server in servers]
    return "\n".join(lines) + "\n"


def reverse_name(address: IPv4Address) -> str:
    """Return the name of an address's PTR record (RFC 1035 §3.5)."""
    return address.reverse_pointer


def _records(plan: Plan, addressing: Addressing) -> Iterator[Record]:
    addresses = addressing.primary()
    names = {host.name: host.fqdn for host in plan.hosts}
    for host in plan.hosts:
        if host.name in addresses:
            yield host.fqdn, "A", str(addresses[host.name])
    for interface in addressing.interfaces:
        yield reverse_name(interface.address.ip), "PTR", names[interface.host] + "."
    for domain in plan.domains:
        for exchanger in domain.exchangers:
            yield domain.name, "MX", f"{exchanger.preference} {names[exchanger.host]}."


def _delegate(
    plan: Plan,
    addressing: Addressing,
    origins: Mapping[str, Zone],
    origin: str,
    contents: dict[str, list[Record]],
) -> None:
    """Add a zone's NS records to itself and to its parent, there with glue for what lies below the cut."""
    servers = plan.servers_of(origin)
    parent = parent_zone(origin, origins)
    for server in servers:
        record = (origin, "NS", server.fqdn + ".")
        contents[origin].append(record)
        if parent is not None:
            contents[parent].append(record)
    # In the zone itself too: the root's own servers lie below a cut of the root.
    for zone in (origin, parent):
        if zone is not None:
            contents[zone] += _glue(servers, addressing, origins, zone)


def _glue(
    servers: list[Host], addressing: Addressing, origins: Mapping[str, Zone], zone: str
) -> Iterator[Record]:
    """Addresses of servers whose names lie below the zone, but past a cut of it (RFC 1034 §4.2.1)."""
    addresses = addressing.primary()
    for server in servers:
        home = enclosing_zone(server.fqdn, origins)
        if home != zone and has_glue(server.fqdn, zone):
            yield server.fqdn, "A", str(addresses[server.name])


def _text(plan: Plan, zone: Zone, records: list[Record], mailed: Set[str]) -> str:
    primary = plan.servers_of(zone.origin)[0]
    origin = _absolute(zone.origin)
    # Who is responsible can be written to, by the form of the address at least: a host takes mail too.
    place = zone.origin if zone.origin in mailed else primary.fqdn
    lines = [
        f"; {plan.name}: derived from the plan",
        f"$ORIGIN {origin}",
        f"$TTL {zone.ttl}",
        f"{origin} SOA {primary.fqdn}. hostmaster.{place}. {SERIAL} {_TIMERS}",
    ]
    ordered = sorted(set(records), key=lambda record: (record[0] != zone.origin, *record))
    lines += [f"{_absolute(owner)} {rtype} {data}" for owner, rtype, data in ordered]
    return "\n".join([*lines, *zone.records]) + "\n"


def _absolute(name: str) -> str:
    return name if name == ROOT else f"{name}."
