"""A company alone: steps A to D of the journey, and a provider that takes mail for the rest of the world.

::

    corp-lan 10.1.0.0/24                                    isp-a 198.18.10.0/24
    alice carol corp-msa corp-hub                                  isp-a1
                 │                                                   │
              corp-gw ───────────────── core1 ───────────────────────┘
                 │                        │
    corp-mta1 corp-mta2 corp-dns        names
    corp-dmz 198.18.1.0/24

    host                  address                    what it is
    alice carol           10.1.0.10 10.1.0.11        MUAs of alice@example.com and carol@example.com
    corp-msa              10.1.0.12                  MSA and MDA of example.com: submission, mailboxes, IMAP
    corp-hub              10.1.0.13                  the mail hub: all mail of the company passes it
    corp-mta1 corp-mta2   198.18.1.10 198.18.1.11    the MX hosts of example.com, 10 and 20
    corp-dns              198.18.1.12                the company's resolver
    corp-gw               198.19.0.2 …               router, and firewall
    core1                 198.19.0.3 …               router
    names                 198.19.0.4                 every zone, from the root down
    isp-a1                198.18.10.10               the provider: smarthost, resolver, and bob@example.org

Each hop finds the next by an MX look-up, so that what DNS says is what happens:

    out    corp-msa → hub.example.com → out.example.com: corp-mta1, else corp-mta2 → isp-a.example.net
    in     example.com: corp-mta1, else corp-mta2 → hub.example.com → store.example.com: corp-msa

What corp-mta2 has taken waits there for corp-mta1.
"""

from __future__ import annotations

from topologies import hierarchy, parts
from topologies.parts import Part
from topologies.plan import (
    Alias,
    Allow,
    Domain,
    Firewall,
    Host,
    ImapServer,
    Link,
    MailClient,
    MailRoute,
    MailServer,
    NameServer,
    Network,
    Plan,
    Resolver,
    User,
    Zone,
)

TITLE = "one company: users, MSA, hub and two MTAs, and a provider that takes mail for the world"

_LAN = {
    "corp-msa": MailServer(
        submission=True,
        mailboxes=("example.com",),
        routes=(MailRoute(domain="*", via=("hub.example.com",)),),
    ),
    "corp-hub": MailServer(
        relay_from=("corp-lan", "corp-dmz"),
        routes=(
            MailRoute(domain="example.com", via=("store.example.com",)),
            MailRoute(domain="*", via=("out.example.com",)),
        ),
    ),
}
_DMZ = {
    "corp-mta1": MailServer(
        relay_from=("corp-hub", "corp-mta2"),
        routes=(
            MailRoute(domain="example.com", via=("hub.example.com",)),
            MailRoute(domain="*", via=("isp-a.example.net",)),
        ),
    ),
    # Less preferred than the first one in both domains, it may send to nobody else (RFC 5321 §5.1).
    "corp-mta2": MailServer(
        relay_from=("corp-hub",),
        routes=(
            MailRoute(domain="example.com", via=("example.com",)),
            MailRoute(domain="*", via=("out.example.com",)),
        ),
    ),
    "corp-dns": Resolver(),
}


_FIREWALL = Firewall(
    allow=(
        Allow(source=("outside",), to=("corp-mta1", "corp-mta2"), services=("smtp",), per_minute=600),
        Allow(source=("corp-hub",), to=("corp-mta1", "corp-mta2"), services=("smtp",)),
        Allow(source=("corp-mta1", "corp-mta2"), to=("corp-hub",), services=("smtp",)),
        Allow(source=("corp-lan",), to=("corp-dns",), services=("dns",)),
        Allow(source=("corp-dmz",), to=("outside",), services=("dns", "smtp")),
        # For who wants to look at the world from a desk.
        Allow(source=("corp-lan",), to=("outside",), services=("dns",)),
        Allow(source=("corp-lan", "corp-dmz"), to=("any",), services=("ping",)),
    )
)


def build() -> Plan:
    """Return the plan of `company`."""
    return parts.plan("company", TITLE, office("core1"), _outside())


def office(router: str) -> Part:
    """Return the company, which reaches the rest of the world through `router`."""
    users = {name: MailClient(user=f"{name}@example.com", server="corp-msa") for name in ("alice", "carol")}
    inside = {**users, **_LAN}
    return Part(
        networks=(
            Network(name="corp-lan", subnet="10.1.0.0/24"),
            Network(name="corp-dmz", subnet="198.18.1.0/24"),
        ),
        hosts=(
            *(
                Host(
                    name=name,
                    fqdn=f"{name}.example.com",
                    roles=(role, ImapServer()) if name == "corp-msa" else (role,),
                    resolver="corp-dns",
                )
                for name, role in {**inside, **_DMZ}.items()
            ),
            Host(name="corp-gw", fqdn="corp-gw.example.com", router=True, firewall=_FIREWALL),
        ),
        links=(
            parts.access("corp-gw", router),
            parts.lan("corp-gw", "corp-dmz"),
            parts.lan("corp-gw", "corp-lan"),
            *(parts.lan(name, "corp-lan") for name in inside),
            *(parts.lan(name, "corp-dmz") for name in _DMZ),
        ),
        domains=(
            Domain(
                name="example.com",
                exchangers=parts.ranked("corp-mta1", "corp-mta2"),
                users=(User(local="alice"), User(local="carol")),
                aliases=(Alias(local="info", to=("alice", "carol")),),
                spf="-all",
                dkim=True,
                dmarc="reject",
            ),
            parts.transit("store.example.com", parts.ranked("corp-msa")),
            parts.transit("hub.example.com", parts.ranked("corp-hub")),
            parts.transit("out.example.com", parts.ranked("corp-mta1", "corp-mta2")),
        ),
    )


def _outside() -> Part:
    domains = ("example.com", "example.net", "example.org")
    zones = (".", "com", "net", "org", "in-addr.arpa", *domains, *hierarchy.SHARED)
    provider = MailServer(mailboxes=("example.org",), relay_from=("corp-dmz",))
    return Part(
        networks=(Network(name="isp-a", subnet="198.18.10.0/24"),),
        hosts=(
            Host(name="core1", fqdn="core1.nic.net", router=True),
            Host(name="names", fqdn="names.nic.net", roles=(NameServer(primary=zones),)),
            Host(
                name="isp-a1",
                fqdn="isp-a1.example.net",
                roles=(provider, Resolver()),
                resolver="isp-a1",
            ),
        ),
        links=(
            Link(a="names", b="core1", delay_ms=2),
            parts.access("core1", "isp-a"),
            parts.lan("isp-a1", "isp-a"),
        ),
        zones=tuple(Zone(origin=origin) for origin in zones),
        domains=(
            parts.transit("isp-a.example.net", parts.ranked("isp-a1")),
            Domain(name="example.org", exchangers=parts.ranked("isp-a1"), users=(User(local="bob"),)),
        ),
    )
