"""The name servers of each zone, as they name one another in their configurations.

The primary sends NOTIFY to the others, and they may have the zone; a secondary takes NOTIFY from the primary
and the zone too. All of them have the same copy when the lab starts.
"""

from __future__ import annotations

from mailbed.roles.service import World
from topologies.plan import Host, NameServer
from topologies.zonedata import SERIAL

LOOPBACK = "127.0.0.0/8"
"""Whoever is on a name server's host may have all its zones."""


def primaries(world: World, role: NameServer) -> dict[str, list[str]]:
    """Return, for the zones that the role is a secondary of, the primary's addresses, its main one first."""
    found: dict[str, list[str]] = {}
    for origin in role.secondary:
        primary = world.plan.servers_of(origin)[0].name
        others = [str(interface.address.ip) for interface in world.addressing.of(primary)]
        found[origin] = list(dict.fromkeys((world.addresses[primary], *others)))
    return found


def secondaries(world: World, host: Host, role: NameServer) -> dict[str, list[str]]:
    """Return, for the zones that the role is the primary of, the addresses of the others that serve it."""
    found: dict[str, list[str]] = {}
    for origin in role.primary:
        others = [server.name for server in world.plan.servers_of(origin) if server.name != host.name]
        if others:
            found[origin] = [world.addresses[name] for name in others]
    return found


def known(world: World, host: Host, role: NameServer) -> dict[str, int]:
    """Return the serials that the secondaries have from the start."""
    return dict.fromkeys(secondaries(world, host, role), SERIAL)
