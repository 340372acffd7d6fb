"""BIND, ISC's name server, in place of ours: as a resolver, or serving the same zone files.

The resolver is stock, with the root hints that are compiled in: it finds the lab's root if all root servers
bear their real addresses there; else it is given the plan's hints. Where a configuration differs from an
empty one, it says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import tomli_w

from mailbed.roles import peers
from mailbed.roles.built_in import zone_files, zone_path
from mailbed.roles.service import Service, World
from topologies.plan import Host, NameServer, Resolver

_OPTIONS = """\
options {{
    directory "{directory}";
    // Loopback too: that is where whoever is on the host asks.
    listen-on {{ {address}; 127.0.0.1; }};
    // What it would keep below /run is for rndc and nsupdate; here nobody is to steer it.
    pid-file none;
    session-keyfile none;
    lock-file none;
    // A lab's root is unsigned: by the trust anchor that is compiled in, every answer would be bogus.
    dnssec-validation no;
    {more}
}};
controls {{ }};
"""

_PRIVATE = ("10", *(f"{second}.172" for second in range(16, 32)), "168.192")

_RESOLVER = """\
// By default only the networks that the host is in may ask.
    allow-recursion {{ any; }};
    // The lab's own private networks (RFC 1918) have their reverse zones on its name servers.
    {unblocked}
    // By default it makes room for nine tenths of the machine's memory, which a lab has sixty uses for.
    max-cache-size 64m;""".format(
    unblocked="\n    ".join(f'disable-empty-zone "{zone}.in-addr.arpa";' for zone in _PRIVATE)
)

_HINTS = """\
zone "." { type hint; file "root.hints"; };
"""

_NAME_SERVER = """\
recursion no;
    // Who asks for it (NSID, RFC 5001) is told which server it is.
    server-id hostname;
    // It is told whom to tell of changes; by default it would look up the addresses of all NS records.
    notify explicit;"""

_PRIMARY = """\
zone "{origin}" {{
    type primary;
    file "{path}";
    also-notify {{{notified}}};
    allow-transfer {{{transfer}}};
}};
"""

_SECONDARY = """\
zone "{origin}" {{
    type secondary;
    file "{path}";
    // A copy that was transferred can be read.
    masterfile-format text;
    primaries {{{primaries}}};
    allow-transfer {{{transfer}}};
}};
"""


def resolver(world: World, host: Host, role: Resolver) -> Service:
    """Return BIND as the host's resolver. Its 9.18 and later versions accept this configuration."""
    text = _conf(world, host, _RESOLVER)
    if world.has_real_roots:
        return _service(world, host, role.kind, {"named.conf": text})
    return _service(world, host, role.kind, {"named.conf": text + _HINTS, "root.hints": world.hints})


def name_server(world: World, host: Host, role: NameServer) -> Service:
    """Return BIND for the role's zones. Its 9.18 and later versions accept this configuration.

    A secondary has its zones from the beginning, and asks their primaries for news.
    """
    text = _conf(world, host, _NAME_SERVER)
    secondaries, primaries = peers.secondaries(world, host, role), peers.primaries(world, role)
    for origin in role.zones:
        text += _zone(origin, secondaries.get(origin, ()), primaries.get(origin, ()))
    return _service(world, host, role.kind, {**zone_files(world, role), "named.conf": text})


def _zone(origin: str, secondaries: Sequence[str], primaries: Sequence[str]) -> str:
    template = _SECONDARY if primaries else _PRIMARY
    return template.format(
        origin=origin,
        path=zone_path(origin),
        primaries=_list(primaries),
        notified=_list(secondaries),
        transfer=_list((peers.LOOPBACK, *secondaries)),
    )


def _list(addresses: Iterable[str]) -> str:
    return "".join(f" {address};" for address in addresses) + " "


def _conf(world: World, host: Host, more: str) -> str:
    return _OPTIONS.format(
        directory=world.directory(host.name), address=world.addresses[host.name], more=more
    )


def _service(world: World, host: Host, kind: str, files: dict[str, str]) -> Service:
    directory = world.directory(host.name)
    config = {
        # IPv4, as a lab has no IPv6; in the foreground, and its log on standard error; one thread each.
        "command": ["named", "-4", "-g", "-n", "1", "-c", str(directory / "named.conf")],
        "ready": r"log: running$",
        "directory": str(directory),
        "log": str(directory / f"{kind}.log"),
        "events": {"starting BIND": "starting", r" (error|critical): (.*)": "error"},
    }
    return Service(
        host=host.name,
        role=kind,
        module="mailbed.daemon",
        config=f"{kind}.toml",
        files={**files, f"{kind}.toml": tomli_w.dumps(config)},
    )
