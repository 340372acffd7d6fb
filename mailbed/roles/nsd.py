"""NSD, NLnet Labs' authoritative server, in place of ours: it loads the same zone files."""

from __future__ import annotations

import tomli_w

from mailbed.roles import peers
from mailbed.roles.built_in import zone_files, zone_path
from mailbed.roles.service import Service, World
from topologies.plan import Host, NameServer

_CONFIG = """\
server:
    ip-address: {address}
    # Loopback too: that is where readiness is tried, out of the capture.
    ip-address: 127.0.0.1
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/nsd.pid"
    xfrdfile: "{directory}/xfrd.state"
    zonelistfile: "{directory}/zone.list"
    xfrdir: "{directory}"
    # A copy that was transferred is written at once: whoever wants to see it reads the file.
    zonefiles-write: 1
    hide-version: yes
    # Who asks for it (NSID, RFC 5001) is told which server it is.
    nsid: "ascii_{name}"
    server-count: 1
    do-ip6: no
    verbosity: 1
remote-control:
    control-enable: no
"""

_ZONE = """\
zone:
    name: "{origin}"
    zonefile: "{path}"
    provide-xfr: {loopback} NOKEY
"""
_SECONDARY = """\
    notify: {address} NOKEY
    provide-xfr: {address} NOKEY
"""
_PRIMARY = """\
    allow-notify: {address} NOKEY
    request-xfr: {address} NOKEY
"""


def name_server(world: World, host: Host, role: NameServer) -> Service:
    """Return NSD for the role's zones. Its 4.6 and later versions accept this configuration."""
    directory = world.directory(host.name)
    text = _CONFIG.format(name=host.name, address=world.addresses[host.name], directory=directory)
    text += "".join(_zone(world, host, role, origin) for origin in role.zones)
    config = {
        "command": ["nsd", "-d", "-c", str(directory / "nsd.conf")],
        "ready": "tcp:53",
        "directory": str(directory),
        "log": str(directory / "name-server.log"),
        "events": {"notice: nsd starting": "starting", "error: (.*)": "error"},
    }
    return Service(
        host=host.name,
        role=role.kind,
        module="mailbed.daemon",
        config="name-server.toml",
        files={**zone_files(world, role), "nsd.conf": text, "name-server.toml": tomli_w.dumps(config)},
    )


def _zone(world: World, host: Host, role: NameServer, origin: str) -> str:
    text = _ZONE.format(origin=origin, path=zone_path(origin), loopback=peers.LOOPBACK)
    for address in peers.secondaries(world, host, role).get(origin, ()):
        text += _SECONDARY.format(address=address)
    for address in peers.primaries(world, role).get(origin, ()):
        text += _PRIMARY.format(address=address)
    return text
