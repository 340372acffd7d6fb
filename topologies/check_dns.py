"""The mistakes of a plan that concern DNS: zones nobody serves or finds, resolvers, names outside every zone.

They make sense only for a plan in which names, addresses and references are right (topologies.check).
"""

from __future__ import annotations

from collections.abc import Iterator

from topologies.plan import ROOT, Command, MailClient, MailServer, NameServer, Plan, Resolver
from topologies.zonedata import enclosing_zone, has_glue, parent_zone


def mistakes(plan: Plan) -> Iterator[str]:
    """Yield a sentence for each mistake."""
    yield from _resolvers(plan)
    yield from _zones(plan)
    yield from _domain_names(plan)


def _resolvers(plan: Plan) -> Iterator[str]:
    resolvers = {host.name for host, role in plan.roles() if isinstance(role, Resolver | Command)}
    for host in plan.hosts:
        if host.resolver is not None and host.resolver not in resolvers:
            yield f"host {host.name} asks the resolver {host.resolver}, which has no such role"
    for host, role in plan.roles():
        if isinstance(role, MailServer | MailClient) and host.resolver is None:
            yield f"host {host.name} handles mail and needs a resolver"
    asked = {host.resolver for host in plan.hosts if host.resolver is not None}
    asked |= {host.name for host, role in plan.roles() if isinstance(role, Resolver)}
    if asked and not plan.servers_of(ROOT):
        yield "there are resolvers, but no root name server: a host must serve the zone ."


def _zones(plan: Plan) -> Iterator[str]:
    origins = {zone.origin: zone for zone in plan.zones}
    primaries = _primaries(plan)
    for zone in plan.zones:
        primary = primaries.get(zone.origin, [])
        servers = [host.name for host in plan.servers_of(zone.origin)]
        if not servers:
            yield f"zone {zone.origin}: a delegation to nowhere: no host serves it"
        elif not primary:
            yield f"zone {zone.origin} has secondaries ({', '.join(servers)}), but no primary"
        elif len(primary) > 1:
            yield f"zone {zone.origin} has two primaries: {' and '.join(primary)}"
        if zone.origin != ROOT and parent_zone(zone.origin, origins) is None:
            yield f"zone {zone.origin}: no zone of the plan delegates it, not even the root"
    if ROOT in origins:
        yield from _lost_servers(plan)
    for host in plan.hosts:
        if plan.zones and enclosing_zone(host.fqdn, origins) in (None, ROOT):
            yield f"host {host.name}: {host.fqdn} lies in no zone of the plan"


def _primaries(plan: Plan) -> dict[str, list[str]]:
    """By origin, the names of the hosts that say they are its primary."""
    found: dict[str, list[str]] = {}
    for host, role in plan.roles():
        for origin in role.primary if isinstance(role, NameServer) else ():
            found.setdefault(origin, []).append(host.name)
    return found


def _lost_servers(plan: Plan) -> Iterator[str]:
    """Zones whose servers have no glue and whose names nobody can look up without asking those servers."""
    origins = {zone.origin: zone for zone in plan.zones}
    waiting = [zone.origin for zone in plan.zones if zone.origin != ROOT and plan.servers_of(zone.origin)]
    found = set(origins) - set(waiting)

    def can_be_found(origin: str) -> bool:
        parent = parent_zone(origin, origins)
        return parent in found and any(
            has_glue(server.fqdn, parent) or enclosing_zone(server.fqdn, origins) in found
            for server in plan.servers_of(origin)
        )

    while new := [origin for origin in waiting if can_be_found(origin)]:
        found.update(new)
        waiting = [origin for origin in waiting if origin not in found]
    for origin in waiting:
        names = ", ".join(server.fqdn for server in plan.servers_of(origin))
        yield f"zone {origin}: a delegation to nowhere: no way leads from the root to the address of {names}"


def _domain_names(plan: Plan) -> Iterator[str]:
    origins = {zone.origin: zone for zone in plan.zones}
    for domain in plan.domains:
        if enclosing_zone(domain.name, origins) in (None, ROOT):
            yield f"domain {domain.name} lies in no zone of the plan"
    names = {host.fqdn.lower() for host in plan.hosts}
    for domain in plan.domains:
        if domain.implicit and domain.name.lower() not in names:
            yield f"domain {domain.name} is implicit, but no host bears that name"
