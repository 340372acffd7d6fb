"""A generated Internet: `internet:DOMAINS=n` has n mail domains, each with a server and a user.

::

    lan1 198.18.1.0/24                                              lan2 198.18.2.0/24
    mx1 mua1 … mx25 mua25 dns1                                      mx26 mua26 … mx50 mua50 dns2
             │                                                                  │
           edge1 ──────── core1 ──────────── core2 ───────────────────────── edge2
             │              │                  │                                │
           ns1-1          core4 ──────────── core3                            ns1-2
                            └── edge4, edge8 …  └── edge3, edge7 …

    host                    address                      what it is
    core1 … core4           198.19.0.2 … 198.19.0.7      routers, in a ring
    a-root … m-root         198.41.0.4 … 202.12.27.33    root servers, at their real addresses
    com-ns1 … gov-ns2       198.19.0.10 … 198.19.0.28    two servers each for com, org, net, edu and gov
    nic-ns1 nic-ns2         198.19.0.30 198.19.0.32      nic.net and the reverse zones
    edge1                   198.19.0.34 …                router of lan1, linked to core1; edge2 to core2, …
    dns1                    198.18.1.10                  the resolver of lan1
    mx1 mua1                198.18.1.11 198.18.1.12      mail server of d1.com, MUA of user@d1.com
    mx2 mua2                198.18.1.13 198.18.1.14      the same for d2.org; d3.net, d4.edu, d5.gov, d6.com …

and so on: 25 domains on a network, and for each 50 domains two name servers, `ns1-1` and `ns1-2`, …, at
the routers of their networks.
"""

from __future__ import annotations

from collections.abc import Sequence

from topologies import hierarchy, parts
from topologies.parameters import Parameter
from topologies.parts import Part
from topologies.plan import (
    Domain,
    Host,
    Link,
    MailClient,
    MailServer,
    Network,
    Plan,
    Resolver,
    User,
)

TITLE = "a generated Internet of any number of mail domains, each with a server and a user"
PARAMETERS = {"DOMAINS": Parameter(default=10, least=1, most=5000, meaning="mail domains")}

DOMAINS_PER_EDGE = 25
DOMAINS_PER_PAIR = 50


def build(domains: int = PARAMETERS["DOMAINS"].default) -> Plan:
    """Return the plan of `internet:DOMAINS=domains`; its name is `internet-` and the number."""
    edges = [_edge(number, group) for number, group in enumerate(_groups(domains, DOMAINS_PER_EDGE), start=1)]
    return parts.plan(
        f"internet-{domains}",
        TITLE,
        hierarchy.ring(),
        hierarchy.roots(),
        hierarchy.top_level(),
        hierarchy.pair("nic-ns", place="nic.net", zones=hierarchy.SHARED, routers=hierarchy.CORE[:2]),
        *edges,
        *(
            _name_servers(number, group, edges=len(edges))
            for number, group in enumerate(_groups(domains, DOMAINS_PER_PAIR), start=1)
        ),
    )


def _groups(domains: int, size: int) -> list[range]:
    """The numbers of the domains, from 1, in groups of that size; the last one may be smaller."""
    return [range(start, min(start + size, domains + 1)) for start in range(1, domains + 1, size)]


def domain_name(number: int) -> str:
    """Return the name of a domain, counted from 1: d1.com, d2.org, …, d6.com, …"""
    return f"d{number}.{hierarchy.TOP[(number - 1) % len(hierarchy.TOP)]}"


def _edge(number: int, domains: Sequence[int]) -> Part:
    """An access network: a router, a resolver, and for each domain a mail server and a user's host."""
    network, router, resolver = f"lan{number}", f"edge{number}", f"dns{number}"
    hosts = [
        Host(name=router, fqdn=f"{router}.nic.net", router=True),
        Host(name=resolver, fqdn=f"{resolver}.nic.net", roles=(Resolver(),), resolver=resolver),
    ]
    for domain in domains:
        hosts += _company(domain, resolver)
    return Part(
        networks=(Network(name=network, subnet=f"198.18.{number}.0/24"),),
        hosts=tuple(hosts),
        links=(
            parts.access(router, hierarchy.CORE[(number - 1) % len(hierarchy.CORE)]),
            *(Link(a=host.name, b=network) for host in hosts),
        ),
        domains=tuple(
            Domain(
                name=domain_name(domain),
                exchangers=parts.ranked(f"mx{domain}"),
                users=(User(local="user"),),
            )
            for domain in domains
        ),
    )


def _company(number: int, resolver: str) -> tuple[Host, Host]:
    domain, server = domain_name(number), f"mx{number}"
    mail = MailServer(submission=True, mailboxes=(domain,))
    client = MailClient(user=f"user@{domain}", server=server)
    return (
        Host(name=server, fqdn=f"mx.{domain}", roles=(mail,), resolver=resolver),
        Host(name=f"mua{number}", fqdn=f"mua.{domain}", roles=(client,), resolver=resolver),
    )


def _name_servers(number: int, domains: Sequence[int], *, edges: int) -> Part:
    """The two servers of some domains, `ns1-1` and `ns1-2` …: at the two edges where these domains are."""
    near = 2 * number - 1
    return hierarchy.pair(
        f"ns{number}-",
        place="nic.net",
        zones=[domain_name(domain) for domain in domains],
        routers=(f"edge{near}", f"edge{min(near + 1, edges)}"),
    )
