"""Unbound, NLnet Labs' resolver, in place of ours: stock, with the root hints that are compiled in.

It finds the lab's root if all root servers bear their real addresses there; else it is given the plan's
hints. Where the configuration differs from an empty one, it says why.
"""

from __future__ import annotations

import tomli_w

from mailbed.roles.service import Service, World
from topologies.plan import Host, Resolver

_CONFIG = """\
server:
    interface: {address}
    # Loopback too: that is where readiness is tried, out of the capture.
    interface: 127.0.0.1
    # By default only the host itself may ask.
    access-control: 0.0.0.0/0 allow
    # A lab has no IPv6.
    do-ip6: no
    # The lab's own private networks have their reverse zones on its name servers.
    unblock-lan-zones: yes
    # It would validate if there were a trust anchor. None is compiled in, and none is given: a lab's root is
    # not signed.
    # A sandbox may have one user only.
    username: ""
    chroot: ""
    directory: "{directory}"
    pidfile: ""
    use-syslog: no
    log-time-ascii: no
    num-threads: 1
{hints}\
remote-control:
    control-enable: no
"""


def resolver(world: World, host: Host, role: Resolver) -> Service:
    """Return Unbound as the host's resolver. Its 1.13 and later versions accept this configuration."""
    directory = world.directory(host.name)
    files = {} if world.has_real_roots else {"root.hints": world.hints}
    hints = "".join(f'    root-hints: "{directory}/{name}"\n' for name in files)
    text = _CONFIG.format(address=world.addresses[host.name], directory=directory, hints=hints)
    config = {
        "command": ["unbound", "-d", "-p", "-c", str(directory / "unbound.conf")],
        "ready": "tcp:53",
        "directory": str(directory),
        "log": str(directory / "resolver.log"),
        "events": {"start of service": "starting", r"\berror: (.*)": "error"},
    }
    return Service(
        host=host.name,
        role=role.kind,
        module="mailbed.daemon",
        config="resolver.toml",
        files={**files, "unbound.conf": text, "resolver.toml": tomli_w.dumps(config)},
    )
