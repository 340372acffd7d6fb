"""NSD, NLnet Labs' authoritative server, in place of ours: it loads the same zone files."""

from __future__ import annotations

import tomli_w

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
    hide-version: yes
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
"""


def name_server(world: World, host: Host, role: NameServer) -> Service:
    """Return NSD for the role's zones. Its 4.6 and later versions accept this configuration."""
    directory = world.directory(host.name)
    text = _CONFIG.format(address=world.addresses[host.name], directory=directory)
    text += "".join(_ZONE.format(origin=origin, path=zone_path(origin)) for origin in role.zones)
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
