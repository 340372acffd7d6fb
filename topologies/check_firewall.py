"""Mistakes in the firewalls of a plan, by name."""

from __future__ import annotations

from collections.abc import Iterator

from topologies.firewall import ANY, OUTSIDE, SERVICES, service_match
from topologies.plan import Allow, Plan


def mistakes(plan: Plan) -> Iterator[str]:
    """Yield a sentence for each mistake in what firewalls allow."""
    known = {host.name for host in plan.hosts} | {network.name for network in plan.networks} | {OUTSIDE, ANY}
    for host in plan.hosts:
        if host.firewall is None:
            continue
        if not host.router:
            yield f"host {host.name}: a firewall is a router; write router = true"
        for number, allow in enumerate(host.firewall.allow, start=1):
            for mistake in _allow(allow, known):
                yield f"host {host.name}: what its firewall allows, number {number}: {mistake}"


def _allow(allow: Allow, known: set[str]) -> Iterator[str]:
    for key, values in (("source", allow.source), ("to", allow.to), ("services", allow.services)):
        if not values:
            yield f"{key} names nothing"
    for name in dict.fromkeys((*allow.source, *allow.to)):
        if name not in known:
            yield f"{name} is no host and no network, nor {OUTSIDE} or {ANY}"
    for service in allow.services:
        if service_match(service) is None:
            yield f"{service!r} is no service: there are {', '.join(SERVICES)}, and ports such as tcp/8080"
    if allow.per_minute is not None and allow.per_minute < 1:
        yield f"per_minute is {allow.per_minute}: at least 1"
