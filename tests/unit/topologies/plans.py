"""Plans to test with: a small one to make mistakes in, and generated ones."""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from topologies import catalog
from topologies.check import check
from topologies.errors import PlanError
from topologies.plan import (
    Alias,
    Command,
    Domain,
    Exchanger,
    Host,
    Link,
    MailClient,
    MailRoute,
    MailServer,
    NameServer,
    Network,
    Plan,
    Resolver,
    Role,
    User,
    Zone,
)

BUILT_IN = [catalog.load(name) for name in catalog.BUILT_IN]
"""The built-in plans, with their parameters as they are by default."""


def small(**changes: Any) -> Plan:
    """A plan without mistakes: a mail server and its user on a LAN, a router, and a name server beyond it."""
    mail = MailServer(submission=True, mailboxes=("example.org",), relay_from=("lan",))
    names = NameServer(primary=(".", "org", "example.org"))
    parts: dict[str, Any] = {
        "name": "small",
        "networks": (Network(name="lan", subnet="198.18.1.0/24"),),
        "hosts": (
            Host(name="core", fqdn="core.example.org", router=True),
            Host(name="ns", fqdn="ns.example.org", roles=(names, Resolver())),
            Host(name="mx", fqdn="mx.example.org", roles=(mail,), resolver="ns"),
            Host(
                name="bob",
                fqdn="bob.example.org",
                roles=(MailClient(user="bob@example.org", server="mx"),),
                resolver="ns",
            ),
        ),
        "links": (
            Link(a="core", b="lan"),
            Link(a="ns", b="core"),
            Link(a="mx", b="lan"),
            Link(a="bob", b="lan"),
        ),
        "zones": tuple(Zone(origin=origin) for origin in (".", "org", "example.org")),
        "domains": (
            Domain(name="example.org", exchangers=(Exchanger(host="mx"),), users=(User(local="bob"),)),
        ),
    }
    return Plan(**{**parts, **changes})


ZONES = (
    ".",
    "org",
    "net",
    "nic.net",
    "example.org",
    "lab.example.org",
    "18.198.in-addr.arpa",
    "in-addr.arpa",
)
_PLACES = ("nic.net", "example.org", "lab.example.org", "org")
_FILLED_IN = st.lists(
    st.sampled_from(["${NAME}", "${DIR}", "$$"])
    | st.text(st.characters(codec="utf-8", exclude_characters="$")),
    max_size=3,
).map("".join)
_POSITIVE = st.floats(min_value=0.001, max_value=1e6, allow_nan=False)
_QUALITY: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "rate_mbit": _POSITIVE | st.integers(1, 10_000),
        "delay_ms": _POSITIVE,
        "loss_percent": st.floats(min_value=0, max_value=100),
    },
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans that `check` finds no mistake in: routers, LANs, hosts on one or two of them, zones and mail."""
    routers = [f"r{n}" for n in range(draw(st.integers(1, 5)))]
    lans = [f"lan{n}" for n in range(draw(st.integers(0, 3)))]
    servers = [f"ns{n}" for n in range(draw(st.integers(1, 4)))]
    others = [f"h{n}" for n in range(draw(st.integers(2, 5)))]
    roles = draw(_name_servers(servers)) | draw(_mail(others))
    fqdns = {name: f"{name}.{draw(st.sampled_from(_PLACES))}" for name in [*routers, *servers, *others]}
    plan = Plan(
        name=draw(st.from_regex(r"[a-z]{1,12}", fullmatch=True)),
        title=draw(st.text(max_size=20)),
        networks=tuple(Network(name=lan, subnet=f"198.18.{n}.0/{24 + n}") for n, lan in enumerate(lans)),
        hosts=tuple(
            Host(
                name=name,
                fqdn=fqdn,
                roles=roles.get(name, ()),
                router=name in routers,
                resolver="h0" if name in others else None,
            )
            for name, fqdn in draw(st.permutations(list(fqdns.items())))
        ),
        links=draw(_links(routers, lans, [*servers, *others])),
        zones=tuple(
            Zone(origin=origin, ttl=draw(st.integers(0, 86400)), records=draw(_records(origin)))
            for origin in ZONES
        ),
        domains=(
            Domain(
                name="example.org",
                exchangers=(Exchanger(host="h1", preference=draw(st.integers(0, 65535))),),
                users=(User(local="bob"), User(local="josé", password=draw(st.text(max_size=10)))),
                aliases=draw(st.sampled_from([(), (Alias(local="info", to=("bob", "josé+x@example.org")),)])),
            ),
            Domain(name=fqdns["h1"], implicit=True),
            Domain(name="lab.example.org", exchangers=(Exchanger(host="h1"),), transit=True),
        ),
        require=draw(st.sampled_from([(), ("netem",), ("htb", "nftables")])),
        switch=draw(st.sampled_from(["bridge", "openvswitch"])),
        transit=draw(st.sampled_from(["198.19.0.0/16", "100.64.0.0/24"])),
    )
    try:
        check(plan)
    except PlanError as error:
        # All that chance can get wrong: name servers whose names hang on each other.
        assume(not all("a delegation to nowhere" in mistake for mistake in error.mistakes))
        raise
    return plan


def _records(origin: str) -> st.SearchStrategy[tuple[str, ...]]:
    return (
        st.sampled_from([(), ('@ TXT "v=spf1 -all"',), ("www A 198.18.200.1",)])
        if "org" in origin
        else st.just(())
    )


@st.composite
def _links(draw: st.DrawFn, routers: list[str], lans: list[str], hosts: list[str]) -> tuple[Link, ...]:
    """All routers hang together, with some links more than that takes; every LAN has a router."""
    ends = [(router, draw(st.sampled_from(routers[:n]))) for n, router in enumerate(routers) if n]
    if len(routers) > 1:
        ends += draw(
            st.lists(st.tuples(*[st.sampled_from(routers)] * 2).filter(lambda e: e[0] != e[1]), max_size=4)
        )
    ends += [(draw(st.sampled_from(routers)), lan) for lan in lans]
    for host in hosts:
        places = draw(st.lists(st.sampled_from(routers + lans), min_size=1, max_size=2, unique=True))
        ends += [(host, place) for place in places]
    links = [Link(a=a, b=b, **draw(_QUALITY)) for a, b in draw(st.permutations(ends))]
    if not draw(st.booleans()):
        return tuple(links)
    return (*links, Link(a=hosts[0], b=routers[0], address="198.41.0.4"))


@st.composite
def _name_servers(draw: st.DrawFn, servers: list[str]) -> dict[str, tuple[Role, ...]]:
    zones: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in servers}
    for origin in ZONES:
        first, *more = draw(st.lists(st.sampled_from(servers), min_size=1, max_size=3, unique=True))
        zones[first][0].append(origin)
        for name in more:
            zones[name][1].append(origin)
    return {
        name: (NameServer(primary=tuple(mine), secondary=tuple(theirs)),)
        for name, (mine, theirs) in zones.items()
    }


@st.composite
def _mail(draw: st.DrawFn, hosts: list[str]) -> dict[str, tuple[Role, ...]]:
    """The first host resolves, the second holds the mailboxes; others run programs, or read mail."""
    routes = draw(st.sampled_from([(), (MailRoute(domain="*", via=("example.org", "lab.example.org")),)]))
    mail = MailServer(
        submission=True,
        mailboxes=("example.org",),
        relay_from=tuple(hosts[:1]),
        open_relay=draw(st.booleans()),
        routes=routes,
    )
    program = Command(
        name="program",
        command=("true", draw(_FILLED_IN)),
        files=draw(st.dictionaries(st.sampled_from(["a", "etc/b.conf"]), _FILLED_IN)),
        ready=draw(st.sampled_from(["started", "tcp:25", "log:ready|up"])),
    )
    reader = MailClient(user="bob@example.org", server=hosts[1])
    rest = {name: (draw(st.sampled_from([program, reader])),) for name in hosts[2:]}
    return {hosts[0]: (Resolver(),), hosts[1]: (mail,), **rest}
