"""Small plans that tests make labs of."""

from __future__ import annotations

from dataclasses import replace

from topologies import minimal
from topologies.plan import Command, Host, Link, Network, Plan, Role


def ring() -> Plan:
    """Four routers in a ring, and a host at each of two that lie opposite: there are two equal ways.

    ::

              ┌── r2 ──┐
        a ── r1        r3 ── b
              └── r4 ──┘
    """
    routers = ("r1", "r2", "r3", "r4")
    ends = ("a", "b")
    return Plan(
        name="ring",
        networks=(
            Network(name="left", subnet="198.18.1.0/24"),
            Network(name="right", subnet="198.18.2.0/24"),
        ),
        hosts=(
            *(Host(name=name, fqdn=f"{name}.example.org") for name in ends),
            *(Host(name=name, fqdn=f"{name}.example.net", router=True) for name in routers),
        ),
        links=(
            Link(a="a", b="left"),
            Link(a="b", b="right"),
            Link(a="r1", b="left"),
            Link(a="r3", b="right"),
            *(Link(a=one, b=other) for one, other in zip(routers, (*routers[1:], "r1"), strict=True)),
        ),
    )


def pair(*roles: Role, require: tuple[str, ...] = (), link: Link | None = None) -> Plan:
    """Two hosts on a network: `one` has the roles, `two` has none."""
    return Plan(
        name="pair",
        networks=(Network(name="lan", subnet="198.18.1.0/24"),),
        hosts=(
            Host(name="one", fqdn="one.example.org", roles=roles),
            Host(name="two", fqdn="two.example.org"),
        ),
        links=(link or Link(a="one", b="lan"), Link(a="two", b="lan")),
        require=require,
    )


def minimal_with(host: str, *roles: Role) -> Plan:
    """`minimal`, with roles that start on a host before those that it has."""
    plan = minimal.build()
    hosts = tuple(replace(h, roles=(*roles, *h.roles)) if h.name == host else h for h in plan.hosts)
    return replace(plan, hosts=hosts)


def program(code: str, *, name: str = "program", ready: str = "started") -> Command:
    """A service that is a line of Python, run by the system's own."""
    return Command(name=name, command=("/usr/bin/python3", "-c", code), ready=ready)
