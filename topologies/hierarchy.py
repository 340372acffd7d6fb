"""The middle of the built-in topologies: the core of routers, and name servers from the root down.

The 13 root servers have their real names and IPv4 addresses, so that stock root hints work; they serve
`root-servers.net` too, as they do in the world. Everything else has names and addresses of the lab's own.
Name servers are linked to the core routers in turn, so that a zone's servers lie apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from topologies.parts import Part, join
from topologies.plan import ROOT, Host, Link, NameServer, Zone

CORE = ("core1", "core2", "core3", "core4")
TOP = ("com", "org", "net", "edu", "gov")
ROOTS = {
    "a": "198.41.0.4",
    "b": "170.247.170.2",
    "c": "192.33.4.12",
    "d": "199.7.91.13",
    "e": "192.203.230.10",
    "f": "192.5.5.241",
    "g": "192.112.36.4",
    "h": "198.97.190.53",
    "i": "192.36.148.17",
    "j": "192.58.128.30",
    "k": "193.0.14.129",
    "l": "199.7.83.42",
    "m": "202.12.27.33",
}
"""The root servers' addresses, by letter (InterNIC's named.root)."""
ROOT_ZONES = (ROOT, "root-servers.net")
REVERSE = ("10.in-addr.arpa", "18.198.in-addr.arpa", "19.198.in-addr.arpa")
"""The reverse zones of all addresses that the lab gives out itself."""
SHARED = ("nic.net", *REVERSE)
"""What is nobody's own: the names of routers and top-level servers, and the reverse zones."""


def ring() -> Part:
    """Return the routers of CORE, each linked to the next one."""
    following = (*CORE[1:], CORE[0])
    return Part(
        hosts=tuple(Host(name=name, fqdn=f"{name}.nic.net", router=True) for name in CORE),
        links=tuple(
            Link(a=name, b=after, rate_mbit=1000, delay_ms=delay)
            for name, after, delay in zip(CORE, following, (3, 4, 5, 4), strict=True)
        ),
    )


def roots() -> Part:
    """Return `a-root`, the primary of the root, and its secondaries up to `m-root`."""
    first, *others = ROOTS
    roles = {first: NameServer(primary=ROOT_ZONES)}
    roles |= dict.fromkeys(others, NameServer(secondary=ROOT_ZONES))
    return Part(
        hosts=tuple(
            Host(name=f"{letter}-root", fqdn=f"{letter}.root-servers.net", roles=(role,))
            for letter, role in roles.items()
        ),
        links=tuple(
            _near(f"{letter}-root", router, address)
            for (letter, address), router in zip(ROOTS.items(), cycle(CORE), strict=False)
        ),
        zones=_zones(ROOT_ZONES),
    )


def top_level() -> Part:
    """Return two servers for each top-level domain, `com-ns1`, `com-ns2`, …; in-addr.arpa is at net's."""
    return join(
        pair(
            f"{top}-ns",
            place="nic.net",
            zones=(top, "in-addr.arpa") if top == "net" else (top,),
            routers=(CORE[2 * number % 4], CORE[(2 * number + 1) % 4]),
        )
        for number, top in enumerate(TOP)
    )


def domain_servers() -> Part:
    """Return two servers each for the domains below com, org and net; net's have all the others, too."""
    others = ("example.net", "example.edu", "example.gov", *SHARED)
    return join(
        (
            pair("com-auth", place="example.com", zones=("example.com",), routers=CORE[:2]),
            pair("org-auth", place="example.org", zones=("example.org",), routers=CORE[2:]),
            pair("net-auth", place="example.net", zones=others, routers=CORE[:2]),
        )
    )


def pair(name: str, *, place: str, zones: Sequence[str], routers: Sequence[str]) -> Part:
    """Return two servers of some zones, NAME1 the primary and NAME2 the secondary, with names in `place`."""
    one, other = f"{name}1", f"{name}2"
    near, far = routers
    return Part(
        hosts=(
            Host(name=one, fqdn=f"{one}.{place}", roles=(NameServer(primary=tuple(zones)),)),
            Host(name=other, fqdn=f"{other}.{place}", roles=(NameServer(secondary=tuple(zones)),)),
        ),
        links=(_near(one, near), _near(other, far)),
        zones=_zones(zones),
    )


def _near(server: str, router: str, address: str | None = None) -> Link:
    """A name server's link. What it sends is too little for a rate to matter."""
    return Link(a=server, b=router, delay_ms=2, address=address)


def _zones(origins: Sequence[str]) -> tuple[Zone, ...]:
    return tuple(Zone(origin=origin) for origin in origins)
