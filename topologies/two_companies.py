"""Everything at once: a company, the Internet with its relays, and a recipient behind a firewall.

::

    corp-lan 10.1.0.0/24                                                     rcpt-lan 10.2.0.0/24
    alice carol corp-msa corp-hub       isp-a hosting     isp-b lab-lan      rcpt-mda bob dave
                 │                          │ │               │ │                    │
              corp-gw ────── core1 ──────── core2 ─────────── core3 ───────────── rcpt-fw
                 │              │                               │                    │
    corp-mta1 corp-mta2         └──────────── core4 ────────────┘    rcpt-mx1 rcpt-mx2 rcpt-filt
    corp-dns                                    │                    rcpt-dns
    corp-dmz 198.18.1.0/24                    isp-c                  rcpt-dmz 198.18.2.0/24

    host                    address                       what it is
    core1 … core4           198.19.0.2 … 198.19.0.7       routers, in a ring
    a-root … m-root         198.41.0.4 … 202.12.27.33     root servers, at their real addresses
    com-ns1 … gov-ns2       198.19.0.10 … 198.19.0.28     two each for com, org, net, edu, gov
    com-auth1 com-auth2     198.19.0.30 198.19.0.32       example.com
    org-auth1 org-auth2     198.19.0.34 198.19.0.36       example.org
    net-auth1 net-auth2     198.19.0.38 198.19.0.40       example.net, .edu, .gov, reverse zones
    alice carol             10.1.0.10 10.1.0.11           MUAs
    corp-msa                10.1.0.12                     MSA and MDA of example.com, IMAP
    corp-hub                10.1.0.13                     mail hub
    corp-mta1 corp-mta2     198.18.1.10 198.18.1.11       MX of example.com: 10 and 20
    corp-dns                198.18.1.12                   the company's resolver
    corp-gw                 198.19.0.42 …                 router, and the company's firewall
    rcpt-fw                 198.19.0.44 …                 router with three legs, and the recipient's firewall
    rcpt-mx1 rcpt-mx2       198.18.2.10 198.18.2.11       MX of example.org: 10 and 20
    rcpt-filt               198.18.2.12                   content filter with its engines, quarantine
    rcpt-dns                198.18.2.13                   the recipient's resolver
    rcpt-mda                10.2.0.10                     MSA and MDA of example.org, IMAP
    bob dave                10.2.0.11 10.2.0.12           MUAs
    isp-a1 isp-a2           198.18.10.10 198.18.10.11     the company's provider: smarthosts
    isp-dns                 198.18.10.12                  the providers' resolver
    isp-b1 isp-b2           198.18.11.10 198.18.11.11     transit; example.edu, example.gov
    isp-c1                  198.18.12.10                  transit
    open-1 open-2           198.18.20.10 198.18.20.11     open relays
    mallory                 198.18.20.12                  a spammer, with server and MUA
    lists                   198.18.20.13                  lists.example.net: friends, choir, chess
    bl-ns                   198.18.20.14                  block lists bl and dbl.example.net (RFC 5782)
    lab-auth lab-mx         198.18.30.10 198.18.30.11     lab.example.org: name server and MX

Name servers are linked to the core routers in turn. Mail finds each next hop by MX look-up:

    out     corp-msa → corp-hub → corp-mta1 → isp-a1 or isp-a2 → isp-b1, isp-b2 or isp-c1 → the domain's MX
    in      rcpt-mx1 → rcpt-filt → rcpt-mda; from bob it takes the same way back, then to the domain's MX

What corp-mta2 has taken waits there for corp-mta1, and what rcpt-mx2 has taken for rcpt-mx1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address

from topologies import company, hierarchy, parts
from topologies.addressing import assign
from topologies.parts import Part
from topologies.plan import (
    Allow,
    ContentFilter,
    Domain,
    Firewall,
    Host,
    ImapServer,
    Link,
    MailClient,
    MailingList,
    MailRoute,
    MailServer,
    NameServer,
    Network,
    Plan,
    Resolver,
    Role,
    SpamEngine,
    User,
    VirusEngine,
    Zone,
)

TITLE = "everything at once: a company, the Internet, and a recipient behind a firewall"

BLOCK_LIST = "bl.example.net"
URL_BLOCK_LIST = "dbl.example.net"
_LISTED = ("open-1", "open-2", "mallory")
# Domains that links in unwanted mail lead to (RFC 5782 §3.1); `test` is on every such list (§5).
_LISTED_DOMAINS = tuple(
    line
    for name in ("mallory.example.net", "test")
    for line in (f"{name} A 127.0.0.2", f'{name} TXT "unwanted mail leads to {name}"')
)
# On every block list, so that one can see that it works (RFC 5782 §5).
_TEST_ADDRESS = IPv4Address("127.0.0.2")


# Inside one network nothing passes the firewall: bob reaches his mailbox and submission at rcpt-mda anyhow.
_RECIPIENT_FIREWALL = Firewall(
    allow=(
        Allow(source=("outside",), to=("rcpt-dmz",), services=("dns",)),
        Allow(source=("outside",), to=("rcpt-mx1", "rcpt-mx2"), services=("smtp",), per_minute=600),
        Allow(source=("rcpt-filt",), to=("rcpt-mda",), services=("smtp",)),
        Allow(source=("rcpt-mda",), to=("rcpt-filt",), services=("smtp",)),
        Allow(source=("rcpt-lan",), to=("rcpt-dns",), services=("dns",)),
        Allow(source=("rcpt-dmz",), to=("outside",), services=("dns", "smtp")),
        # For who wants to look at the world from a desk.
        Allow(source=("rcpt-lan",), to=("outside",), services=("dns",)),
        Allow(source=("rcpt-lan", "rcpt-dmz"), to=("any",), services=("ping",)),
    )
)


def build() -> Plan:
    """Return the plan of `two-companies`."""
    plan = parts.plan(
        "two-companies",
        TITLE,
        hierarchy.ring(),
        hierarchy.roots(),
        hierarchy.top_level(),
        hierarchy.domain_servers(),
        company.office("core1"),
        _recipient("core3"),
        _relays(),
        _hosting("core2"),
        _laboratory("core3"),
    )
    return parts.with_records(plan, {BLOCK_LIST: _listings(plan), URL_BLOCK_LIST: _LISTED_DOMAINS})


def _recipient(router: str) -> Part:
    """The second company: two MX hosts, a filter and a resolver in the DMZ, mailboxes and users inside."""
    mx = MailServer(
        relay_from=("rcpt-filt",),
        routes=(MailRoute(domain="example.org", via=("filter.example.org",)),),
    )
    # What it has taken waits for a better MX, as long as DNS names one (RFC 5321 §5.1).
    held = MailRoute(domain="example.org", via=("example.org",), as_primary="filter.example.org")
    backup = MailServer(relay_from=("rcpt-filt",), routes=(held,))
    content_filter = MailServer(
        relay_from=("rcpt-dmz", "rcpt-mda"),
        routes=(
            MailRoute(domain="example.org", via=("store.example.org",)),
            MailRoute(domain="*", via=("out.example.org",)),
        ),
        content_filter=ContentFilter(border=("rcpt-mx1", "rcpt-mx2"), trusted_sealers=("lists.example.net",)),
    )
    mda = MailServer(
        submission=True,
        mailboxes=("example.org",),
        routes=(MailRoute(domain="*", via=("filter.example.org",)),),
    )
    users = {name: MailClient(user=f"{name}@example.org", server="rcpt-mda") for name in ("bob", "dave")}
    dmz = {"rcpt-mx1": mx, "rcpt-mx2": backup, "rcpt-filt": content_filter, "rcpt-dns": Resolver()}
    inside = {"rcpt-mda": mda, **users}
    engines = (VirusEngine(), SpamEngine(block_lists=(BLOCK_LIST,), url_block_lists=(URL_BLOCK_LIST,)))
    more: dict[str, tuple[Role, ...]] = {"rcpt-mda": (ImapServer(),), "rcpt-filt": engines}
    both = parts.ranked("rcpt-mx1", "rcpt-mx2")
    return Part(
        networks=(
            Network(name="rcpt-dmz", subnet="198.18.2.0/24"),
            Network(name="rcpt-lan", subnet="10.2.0.0/24"),
        ),
        hosts=(
            Host(name="rcpt-fw", fqdn="rcpt-fw.example.org", router=True, firewall=_RECIPIENT_FIREWALL),
            *_hosts({**dmz, **inside}, place="example.org", resolver="rcpt-dns", more=more),
        ),
        links=(
            parts.access("rcpt-fw", router),
            parts.lan("rcpt-fw", "rcpt-dmz"),
            parts.lan("rcpt-fw", "rcpt-lan"),
            *_linked(dmz, "rcpt-dmz"),
            *_linked(inside, "rcpt-lan"),
        ),
        domains=(
            Domain(
                name="example.org",
                exchangers=both,
                users=(User(local="bob"), User(local="dave")),
                spf="-all",
                dkim=True,
                dmarc="quarantine",
            ),
            parts.transit("filter.example.org", parts.ranked("rcpt-filt")),
            parts.transit("store.example.org", parts.ranked("rcpt-mda")),
            parts.transit("out.example.org", both),
        ),
    )


def _relays() -> Part:
    """Three providers: the first takes the company's mail and hands it to one of the others."""
    onwards = MailRoute(domain="*", via=("isp-b.example.net", "isp-c.example.net"))
    smarthost = MailServer(relay_from=("corp-dmz",), routes=(onwards,))
    first = {"isp-a1": smarthost, "isp-a2": smarthost, "isp-dns": Resolver()}
    second = {
        "isp-b1": MailServer(relay_from=("isp-a",), mailboxes=("example.edu", "example.gov")),
        "isp-b2": MailServer(relay_from=("isp-a",)),
    }
    third = {"isp-c1": MailServer(relay_from=("isp-a",))}
    hosted = parts.ranked("isp-b1", "isp-b2")
    return Part(
        networks=(
            Network(name="isp-a", subnet="198.18.10.0/24"),
            Network(name="isp-b", subnet="198.18.11.0/24"),
            Network(name="isp-c", subnet="198.18.12.0/24"),
        ),
        hosts=_hosts({**first, **second, **third}, place="example.net", resolver="isp-dns"),
        links=(
            parts.access("core2", "isp-a"),
            parts.access("core3", "isp-b"),
            parts.access("core4", "isp-c"),
            *_linked(first, "isp-a"),
            *_linked(second, "isp-b"),
            *_linked(third, "isp-c"),
        ),
        domains=(
            parts.transit("isp-a.example.net", parts.equal("isp-a1", "isp-a2")),
            parts.transit("isp-b.example.net", parts.equal("isp-b1", "isp-b2")),
            parts.transit("isp-c.example.net", parts.equal("isp-c1")),
            Domain(name="example.edu", exchangers=hosted, users=(User(local="erin"),), spf="-all"),
            Domain(name="example.gov", exchangers=hosted, users=(User(local="grace"),), spf="-all"),
        ),
    )


def _hosting(router: str) -> Part:
    """Open relays, a spammer and a list server at a hosting company, and a block list that knows them."""
    roles = {
        "open-1": MailServer(open_relay=True),
        "open-2": MailServer(open_relay=True),
        "mallory": MailServer(submission=True, mailboxes=("mallory.example.net",)),
        "lists": MailServer(mailboxes=("lists.example.net",)),
        "bl-ns": NameServer(primary=(BLOCK_LIST, URL_BLOCK_LIST)),
    }
    spammer = MailClient(user="mallory@mallory.example.net", server="mallory")
    return Part(
        networks=(Network(name="hosting", subnet="198.18.20.0/24"),),
        hosts=_hosts(roles, place="example.net", resolver="isp-dns", more={"mallory": (spammer,)}),
        links=(parts.access(router, "hosting"), *_linked(roles, "hosting")),
        zones=(Zone(origin=BLOCK_LIST), Zone(origin=URL_BLOCK_LIST)),
        domains=(
            Domain(
                name="mallory.example.net",
                exchangers=parts.ranked("mallory"),
                users=(User(local="mallory"),),
            ),
            Domain(
                name="lists.example.net",
                exchangers=parts.ranked("lists"),
                lists=_lists(),
                spf="-all",
                dkim=True,
            ),
        ),
    )


def _lists() -> tuple[MailingList, ...]:
    """Three lists of the same people: one as most are, and one with each remedy for what that breaks."""
    members = ("alice@example.com", "carol@example.com", "bob@example.org", "frank@lab.example.org")
    return (
        MailingList(local="friends", members=members),
        MailingList(local="choir", members=members, rewrite_from=True),
        MailingList(local="chess", members=members, seal=True),
    )


def _laboratory(router: str) -> Part:
    """A subdomain of the recipient's, with its own name server; its MX takes mail in its own name, too."""
    zone, implicit = "lab.example.org", "lab-mx.lab.example.org"
    roles = {"lab-auth": NameServer(primary=(zone,)), "lab-mx": MailServer(mailboxes=(zone, implicit))}
    return Part(
        networks=(Network(name="lab-lan", subnet="198.18.30.0/24"),),
        hosts=_hosts(roles, place=zone, resolver="isp-dns"),
        links=(parts.access(router, "lab-lan"), *_linked(roles, "lab-lan")),
        zones=(Zone(origin=zone),),
        domains=(
            Domain(name=zone, exchangers=parts.ranked("lab-mx"), users=(User(local="frank"),), spf="-all"),
            Domain(name=implicit, implicit=True, users=(User(local="frank"),)),
        ),
    )


def _hosts(
    roles: Mapping[str, Role],
    *,
    place: str,
    resolver: str,
    more: Mapping[str, tuple[Role, ...]] | None = None,
) -> tuple[Host, ...]:
    """Hosts with a role each, and those of `more` with further ones."""
    further = more or {}
    return tuple(
        Host(
            name=name,
            fqdn=f"{name}.{place}",
            roles=(role, *further.get(name, ())),
            resolver=resolver,
        )
        for name, role in roles.items()
    )


def _linked(hosts: Mapping[str, Role], network: str) -> Iterator[Link]:
    return (parts.lan(host, network) for host in hosts)


def _listings(plan: Plan) -> Sequence[str]:
    """The lines of the block list: an address that sends unwanted mail has a name there (RFC 5782 §2.1)."""
    addresses = assign(plan).primary()
    lines: list[str] = []
    for address in (_TEST_ADDRESS, *(addresses[host] for host in _LISTED)):
        name = address.reverse_pointer.removesuffix(".in-addr.arpa")
        lines += [f"{name} A 127.0.0.2", f'{name} TXT "unwanted mail came from {address}"']
    return lines
