"""The DNS hierarchy alone, to look up names in: one client, one resolver, no mail.

::

    office 198.18.1.0/24
    client resolver
           │
         core1 ────── core2        a-root … m-root
           │            │          com-ns1 … gov-ns2          each linked to one of the four, in turn
         core4 ────── core3        com-auth1 … net-auth2

    host                    address                      what it is
    core1 … core4           198.19.0.2 … 198.19.0.7      routers, in a ring
    a-root … m-root         198.41.0.4 … 202.12.27.33    root servers, at their real addresses
    com-ns1 … gov-ns2       198.19.0.10 … 198.19.0.28    two servers each for com, org, net, edu and gov
    com-auth1 com-auth2     198.19.0.30 198.19.0.32      example.com
    org-auth1 org-auth2     198.19.0.34 198.19.0.36      example.org
    net-auth1 net-auth2     198.19.0.38 198.19.0.40      example.net, .edu and .gov, nic.net, reverse zones
    client resolver         198.18.1.10 198.18.1.11

Try `mailbed up dns`, then `mailbed exec client -- dig www.example.com`: an alias into another domain.
"""

from __future__ import annotations

from topologies import hierarchy, parts
from topologies.parts import Part
from topologies.plan import Host, Link, Network, Plan, Resolver

TITLE = "the DNS hierarchy alone: 13 roots, top-level and domains' servers, a resolver and its client"

_RECORDS = {
    "example.com": ("www CNAME www.example.org.",),
    "example.org": ("www CNAME org-auth1", "*.sites CNAME www"),
    "example.edu": ("@ MX 0 .",),
}
"""Something to look up: an alias into another domain, a wildcard, a domain that takes no mail (RFC 7505)."""


def build() -> Plan:
    """Return the plan of `dns`."""
    plan = parts.plan(
        "dns",
        TITLE,
        hierarchy.ring(),
        hierarchy.roots(),
        hierarchy.top_level(),
        hierarchy.domain_servers(),
        _office(),
    )
    return parts.with_records(plan, _RECORDS)


def _office() -> Part:
    return Part(
        networks=(Network(name="office", subnet="198.18.1.0/24"),),
        hosts=(
            Host(name="client", fqdn="client.example.com", resolver="resolver"),
            Host(name="resolver", fqdn="resolver.example.com", roles=(Resolver(),), resolver="resolver"),
        ),
        links=(
            parts.access("core1", "office"),
            Link(a="client", b="office"),
            Link(a="resolver", b="office"),
        ),
    )
