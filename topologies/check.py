"""Every mistake of a plan, at once and by name.

Theory of operation. Each check looks at one thing and yields a sentence for each mistake; none stops at the
first. The checks run in two rounds: what the second round asks (do subnets overlap, does a delegation lead
somewhere) only makes sense when names, addresses and references are right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from math import inf
from pathlib import PurePosixPath

from topologies import check_dns, check_firewall, check_mail
from topologies.addressing import transit_pairs
from topologies.errors import PlanError
from topologies.plan import (
    NAME_LIMIT,
    ROOT,
    Command,
    Link,
    NameServer,
    Plan,
)

FEATURES = ("htb", "netem", "nftables", "openvswitch")
SWITCHES = ("bridge", "openvswitch")
INTERFACE_LIMIT = 15
"""Longest name that Linux gives an interface (IFNAMSIZ, less the final zero)."""

_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?", re.ASCII)
_ROLE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII | re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?", re.ASCII | re.IGNORECASE)


def check(plan: Plan) -> None:
    """Return if the plan can be built. Raises: PlanError with every mistake found."""
    mistakes = list(_first_round(plan))
    if not mistakes:
        mistakes = list(_second_round(plan))
    if mistakes:
        raise PlanError(plan.name or "the plan", mistakes)


def _first_round(plan: Plan) -> Iterator[str]:
    yield from _names(plan)
    yield from _duplicates(plan)
    yield from _subnets(plan)
    yield from _links(plan)
    yield from _roles(plan)
    yield from check_mail.mistakes(plan)
    yield from check_firewall.mistakes(plan)
    yield from _words(plan)


def _second_round(plan: Plan) -> Iterator[str]:
    yield from _interfaces(plan)
    yield from _room(plan)
    yield from _overlaps(plan)
    yield from check_dns.mistakes(plan)


def _names(plan: Plan) -> Iterator[str]:
    if not plan.name:
        yield "the plan has no name"
    for what, name in [("host", host.name) for host in plan.hosts] + [
        ("network", network.name) for network in plan.networks
    ]:
        if len(name) > NAME_LIMIT:
            yield (
                f"{what} {name}: the name is too long for an interface: {len(name)} characters, "
                f"at most {NAME_LIMIT} fit with -eth0"
            )
        elif not _NAME.fullmatch(name):
            yield f"{what} {name!r}: a name is a letter, then letters, digits and hyphens, all lower case"
    for host in plan.hosts:
        if not _is_domain_name(host.fqdn):
            yield f"host {host.name}: fqdn {host.fqdn!r} is no domain name"
    for what, name in [("zone", zone.origin) for zone in plan.zones if zone.origin != ROOT] + [
        ("domain", domain.name) for domain in plan.domains
    ]:
        if not _is_domain_name(name):
            yield f"{what} {name!r} is no domain name (written without a final dot)"
        elif name != name.lower():
            yield f"{what} {name}: write it in lower case"


def _is_domain_name(name: str) -> bool:
    labels = name.split(".")
    return len(name) <= 253 and all(len(label) <= 63 and _LABEL.fullmatch(label) for label in labels)


def _duplicates(plan: Plan) -> Iterator[str]:
    groups: dict[str, Iterable[str]] = {
        "host or network": [host.name for host in plan.hosts] + [net.name for net in plan.networks],
        "fqdn": [host.fqdn.lower() for host in plan.hosts],
        "zone": [zone.origin.lower() for zone in plan.zones],
        "domain": [domain.name.lower() for domain in plan.domains],
        "fixed address": [link.address for link in plan.links if link.address],
    }
    for what, names in groups.items():
        for name, times in Counter(names).items():
            if times > 1:
                yield f"{what} {name} is there {times} times"


def _subnets(plan: Plan) -> Iterator[str]:
    for network in plan.networks:
        if _subnet(network.subnet) is None:
            yield f"network {network.name}: {network.subnet!r} is no IPv4 subnet such as 198.18.1.0/24"
    if _subnet(plan.transit) is None:
        yield f"transit {plan.transit!r} is no IPv4 subnet such as 198.19.0.0/16"


def _subnet(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text)
    except ValueError:
        return None


def _links(plan: Plan) -> Iterator[str]:
    hosts = {host.name for host in plan.hosts}
    networks = {network.name: _subnet(network.subnet) for network in plan.networks}
    for link in plan.links:
        what = f"link {link.a} - {link.b}"
        if link.a not in hosts:
            hint = " (a network stands at b)" if link.a in networks else ""
            yield f"{what}: there is no host {link.a}{hint}"
        if link.b not in hosts and link.b not in networks:
            yield f"{what}: there is no host or network {link.b}"
        if link.a == link.b:
            yield f"{what}: a link needs two ends"
        yield from _link_quality(what, link)
        if link.address is not None:
            yield from _fixed_address(what, link.address, networks.get(link.b))
    linked = {end for link in plan.links for end in (link.a, link.b)}
    for host in plan.hosts:
        if host.name not in linked:
            yield f"host {host.name} has no link"


def _link_quality(what: str, link: Link) -> Iterator[str]:
    # What TOML calls nan compares with nothing.
    if link.rate_mbit is not None and not 0 < link.rate_mbit < inf:
        yield f"{what}: rate_mbit must be above 0"
    if link.delay_ms is not None and not 0 <= link.delay_ms < inf:
        yield f"{what}: delay_ms must not be negative"
    if link.loss_percent is not None and not 0 <= link.loss_percent <= 100:
        yield f"{what}: loss_percent lies between 0 and 100"


def _fixed_address(what: str, text: str, subnet: IPv4Network | None) -> Iterator[str]:
    try:
        address = IPv4Address(text)
    except ValueError:
        yield f"{what}: {text!r} is no IPv4 address"
        return
    if subnet is None:
        return
    if address not in subnet:
        yield f"{what}: address {address} lies outside {subnet}"
    elif address in (subnet.network_address, subnet.broadcast_address):
        yield f"{what}: address {address} is the network or broadcast address of {subnet}"


def _roles(plan: Plan) -> Iterator[str]:
    for host in plan.hosts:
        for kind, times in Counter(_role_name(role) for role in host.roles).items():
            if times > 1:
                yield f"host {host.name} has the role {kind} {times} times"
    zones = {zone.origin for zone in plan.zones}
    for host, role in plan.roles():
        where = f"host {host.name}"
        if isinstance(role, NameServer):
            yield from _name_server(where, role, zones)
        elif isinstance(role, Command):
            yield from _command(where, role)


def _name_server(where: str, role: NameServer, zones: Collection[str]) -> Iterator[str]:
    for origin, times in Counter(role.zones).items():
        if origin not in zones:
            yield f"{where} serves {origin}, which is no zone of the plan"
        if times > 1:
            yield f"{where} serves {origin} {times} times"


def _role_name(role: object) -> str:
    return role.name if isinstance(role, Command) else getattr(role, "kind", "")


def _command(where: str, role: Command) -> Iterator[str]:
    if not _ROLE_NAME.fullmatch(role.name):
        yield f"{where}: role {role.name!r}: a name is made of letters, digits and ._-, and names its log"
    for path in map(PurePosixPath, role.files):
        if path.is_absolute() or ".." in path.parts or not path.parts:
            yield f"{where}: file {str(path)!r} of {role.name} lies outside the host's directory"
    if not role.command:
        yield f"{where}: the role {role.name} has an empty command"
    kind, _, value = role.ready.partition(":")
    if kind == "tcp" and value.isdigit() and 0 < int(value) < 65536:
        return
    if kind == "log" and value:
        try:
            re.compile(value)
        except re.error as error:
            yield f"{where}: ready of {role.name}: {value!r} is no regular expression: {error}"
        return
    if role.ready != "started":
        yield f"{where}: ready of {role.name} is {role.ready!r}; it is tcp:PORT, log:REGEX or started"


def _words(plan: Plan) -> Iterator[str]:
    for feature in plan.require:
        if feature not in FEATURES:
            yield f"require: there is no feature {feature!r}; there are {', '.join(FEATURES)}"
    if plan.switch not in SWITCHES:
        yield f"switch {plan.switch!r}: it is {' or '.join(SWITCHES)}"


def _interfaces(plan: Plan) -> Iterator[str]:
    """Numbers are counted as `addressing` does: from 0 at hosts, from 1 at networks."""
    ends = Counter(end for link in plan.links for end in (link.a, link.b))
    last = [("host", host.name, ends[host.name] - 1) for host in plan.hosts]
    last += [("network", network.name, ends[network.name]) for network in plan.networks]
    for what, name, number in last:
        interface = f"{name}-eth{number}"
        if len(interface) > INTERFACE_LIMIT:
            yield (
                f"{what} {name}: the name is too long for an interface: with {ends[name]} links there is "
                f"{interface}, {len(interface)} characters of at most {INTERFACE_LIMIT}"
            )


def _room(plan: Plan) -> Iterator[str]:
    for network in plan.networks:
        members = sum(link.b == network.name for link in plan.links)
        room = IPv4Network(network.subnet).num_addresses - 2
        if members > room:
            yield f"network {network.name}: {members} hosts, but {network.subnet} has room for {max(room, 0)}"
    hosts = {host.name for host in plan.hosts}
    pairs = sum(link.b in hosts and link.address is None for link in plan.links)
    room = sum(1 for _ in islice(transit_pairs(IPv4Network(plan.transit)), pairs))
    if pairs > room:
        yield f"transit {plan.transit}: {pairs} links between hosts, but room for {room}"


def _overlaps(plan: Plan) -> Iterator[str]:
    networks = {network.name for network in plan.networks}
    named = [(f"network {network.name}", IPv4Network(network.subnet)) for network in plan.networks]
    named.append(("transit", IPv4Network(plan.transit)))
    named += [
        (f"link {link.a} - {link.b}", IPv4Network((int(IPv4Address(link.address)) & ~1, 31)))
        for link in plan.links
        if link.address and link.b not in networks
    ]
    ordered = sorted(named, key=lambda item: (int(item[1].network_address), item[1].prefixlen))
    # Subnets overlap only by one lying in the other, so it is enough to look at the last one not yet left.
    one, first = ordered[0]
    for other, second in ordered[1:]:
        if first.overlaps(second):
            yield f"{one} ({first}) and {other} ({second}) overlap"
        else:
            one, first = other, second
